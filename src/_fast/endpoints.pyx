# SPDX-License-Identifier: Apache-2.0
"""The sending halves of the ZMTP synapses: how one message of a neuron is laid out on a link.

pair          one frame: a Cap'n Proto PlexoMessage with topic and payload
publish       two frames: topic, payload; to every link that subscribed
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy, memset

from plexo._fast.books cimport tick
from plexo._fast.completion cimport Source
from plexo._fast.envelope cimport ENVELOPE_MAX_PAYLOAD, envelope_head, envelope_padding, envelope_patch
from plexo._fast.frames cimport FLAG_MORE, MAX_HEADER, frame_header_size, frame_write
from plexo._fast.hub cimport Hub, Line
from plexo._fast.load cimport Breath, Load
from plexo._fast.outbox cimport BIG_PAYLOAD, Big, Loan, Outbox
from plexo._fast.queues cimport BLOCK, LATEST, REJECT, Queue
from plexo._fast.sending cimport BURST_BYTES, Outlet
from plexo._fast.synapse cimport Synapse, as_payload
from plexo._fast.turns cimport Turns, Waiters
from plexo.statistics import Cause

cdef object UNDECODABLE = Cause.UNDECODABLE


cdef int forward_spilled(Turns hub, Outlet link, Synapse synapse, bytes payload) except -1:
    """A forwarded message that finds no room. Nobody is there to be told: what cannot be kept is dropped and counted."""
    cdef bint kept = False
    try:
        kept = hub.spill(hub.backlog if link is None else link.backlog, link, synapse, payload,
                         hub.key_of(synapse, payload, None))
    except Exception as error:
        # QueueFull; or, for the key of `latest`, it does not decode.
        tick(synapse.sending.accepted)
        if link is not None and not hub.is_pair:
            tick(link.sending.accepted)
        if hub.send_queue.rule == LATEST:
            hub.drop(synapse, link, UNDECODABLE)
            hub.owner._undecodable(error, payload, synapse, "")
        else:
            hub.drop_for_room(hub.backlog if link is None else link.backlog, synapse, link)
    synapse.handed += kept
    return 0


cdef void lay_records(uint8_t *room, const uint8_t *head, size_t head_size, const uint8_t *records, size_t size,
                      size_t padding, Py_ssize_t count) noexcept nogil:
    """Messages of equal size: what is before and behind the payload is the same for all."""
    cdef Py_ssize_t i
    for i in range(count):
        memcpy(room, head, head_size)
        room += head_size
        memcpy(room, records, size)
        room += size
        records += size
        if padding:
            memset(room, 0, padding)
            room += padding


cdef class WireSynapse(Synapse):
    """What pair and publish/subscribe share: a message is a head, which depends on the payload's size alone, the payload
    as it is, and padding."""

    def __init__(self, neuron, owner, Turns hub, Queue receive_queue, Waiters waiting):
        Synapse.__init__(self, neuron, owner, receive_queue)
        self.hub = hub
        self.waiting = waiting
        self.head = self.make_head()
        self.fixed = <const uint8_t *>PyBytes_AS_STRING(self.head)
        self.fixed_size = <size_t>len(self.head)

    cdef bytes make_head(self):
        """What of a head is the same for payloads of every size."""
        raise NotImplementedError("a synapse must say what is before its payloads")

    cdef size_t head_size(self, size_t size) noexcept nogil:
        return 0

    cdef size_t write_head(self, uint8_t *room, size_t size) noexcept nogil:
        """Write the head of a message with so large a payload; returns `head_size` of it."""
        return 0

    cdef size_t padding(self, size_t size) noexcept nogil:
        return 0

    cdef bytes whole_head(self, size_t size):
        cdef bytes head = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>self.head_size(size))
        self.write_head(<uint8_t *>PyBytes_AS_STRING(head), size)
        return head

    cdef uint8_t *make_room(self, Outbox outbox, size_t size) except NULL:
        """Write all of a message but its payload of so many bytes; returns where that goes."""
        raise NotImplementedError("a synapse must say what its messages look like")

    cdef int lay_out(self, Source source, bytes payload) except -1:
        cdef Line link = <Line>source
        cdef size_t size = <size_t>len(payload)
        if size >= BIG_PAYLOAD:
            link.outbox.push_big(self.whole_head(size), payload, self.padding(size), self.topic)
        else:
            memcpy(self.make_room(link.outbox, size), <const char *>payload, size)
        return 0

    cdef int prepare_records(self) except -1:
        cdef size_t size = self.record_bytes
        cdef size_t stride = self.head_size(size) + size + self.padding(size)
        if size < BIG_PAYLOAD and stride <= self.hub.max_frame_bytes:
            self.record_head = self.whole_head(size)
            self.record_stride = stride
        return 0

    # -- batches -------------------------------------------------------------------------------------------------

    cdef Py_ssize_t span(self, Load load, Py_ssize_t start, Py_ssize_t most, size_t most_bytes) noexcept nogil:
        """How many messages from `start` on go out together: at least one, and of large payloads no more.

        Up to `most`, and until `most_bytes` are reached: the last one may go over, as a single message may.
        """
        cdef Py_ssize_t end = load.count
        cdef Py_ssize_t i = start + 1
        cdef size_t size = load.size(start)
        cdef size_t total = self.head_size(size) + size + self.padding(size)
        if size >= BIG_PAYLOAD:
            return 1
        if most < end - start:
            end = start + most
        if load.records != NULL:
            if total <= most_bytes and <size_t>(end - start) > (most_bytes - 1) // total + 1:
                return <Py_ssize_t>((most_bytes - 1) // total + 1)
            return end - start if total <= most_bytes else 1
        while i < end and total < most_bytes:
            size = load.size(i)
            if size >= BIG_PAYLOAD:
                break
            total += self.head_size(size) + size + self.padding(size)
            i += 1
        return i - start

    cdef int lay_out_many(self, Outlet outlet, Load load, Py_ssize_t start, Py_ssize_t count) except -1:
        """Write the messages from `start` on, as many as `span` said, into the outbox of `outlet`."""
        cdef Line link
        cdef size_t size = load.size(start)
        cdef size_t head_size = self.head_size(size)
        cdef size_t padding = self.padding(size)
        cdef size_t total = 0
        cdef const uint8_t *head
        cdef uint8_t *room
        cdef Py_ssize_t i
        if size >= BIG_PAYLOAD:
            return self.lay_out(outlet, load.payload(start))
        link = <Line>outlet
        if load.records != NULL:
            if self.sent_head is None or self.sent_bytes != size:
                self.sent_head = self.whole_head(size)
                self.sent_bytes = size
            head = <const uint8_t *>PyBytes_AS_STRING(self.sent_head)
            room = link.outbox.reserve((head_size + size + padding) * <size_t>count, count)
            with nogil:
                lay_records(room, head, head_size, load.data(start), size, padding, count)
            return 0
        for i in range(start, start + count):
            size = load.size(i)
            total += self.head_size(size) + size + self.padding(size)
        room = link.outbox.reserve(total, count)
        with nogil:
            for i in range(start, start + count):
                size = load.size(i)
                padding = self.padding(size)
                room += self.write_head(room, size)
                memcpy(room, load.data(i), size)
                room += size
                memset(room, 0, padding)
                room += padding
        return 0


cdef class PairSynapse(WireSynapse):
    def __init__(self, neuron, owner, Hub hub, Queue receive_queue):
        WireSynapse.__init__(self, neuron, owner, hub, receive_queue, hub.waiting)

    cdef bytes make_head(self):
        return envelope_head(self.topic)

    cdef size_t head_size(self, size_t size) noexcept nogil:
        return frame_header_size(self.fixed_size + size + envelope_padding(size)) + self.fixed_size

    cdef size_t write_head(self, uint8_t *room, size_t size) noexcept nogil:
        cdef size_t header = frame_write(room, 0, self.fixed_size + size + envelope_padding(size))
        memcpy(room + header, self.fixed, self.fixed_size)
        envelope_patch(room + header, self.fixed_size, size)
        return header + self.fixed_size

    cdef size_t padding(self, size_t size) noexcept nogil:
        return envelope_padding(size)

    cdef uint8_t *make_room(self, Outbox outbox, size_t size) except NULL:
        cdef size_t padding = envelope_padding(size)
        cdef size_t body = self.fixed_size + size + padding
        cdef uint8_t *room = outbox.reserve(frame_header_size(body) + body, 1)
        room += frame_write(room, 0, body)
        memcpy(room, self.fixed, self.fixed_size)
        envelope_patch(room, self.fixed_size, size)
        room += self.fixed_size
        memset(room + size, 0, padding)
        return room

    cdef int push(self, bytes payload) except -1:
        cdef Line link = (<Hub>self.hub).pair_link
        self.lay_out(link, payload)
        tick(self.sending.accepted)
        tick(link.sending.accepted)
        self.hub.touch(link)
        return 0

    cdef bint has_room(self) except -1:
        return (<Hub>self.hub).has_room()

    cdef int check(self, size_t size) except -1:
        if size > ENVELOPE_MAX_PAYLOAD or size > self.hub.max_frame_bytes:
            self.hub.owner._too_large(self, size, min(<size_t>ENVELOPE_MAX_PAYLOAD, self.hub.max_frame_bytes))
        return 0

    cpdef object send(self, object payload, object data=None):
        cdef Hub hub = <Hub>self.hub
        cdef Line link
        cdef bytes wire = as_payload(payload)
        hub.here()
        self.check(<size_t>len(wire))
        self.handed = 1
        if hub.waiting or not hub.has_room():
            if hub.send_queue.rule == BLOCK:
                return hub.wait_for_room(self, wire)
            self.handed = hub.spill(hub.backlog, hub.pair_link, self, wire, hub.key_of(self, wire, data))
            return None
        link = hub.pair_link
        self.lay_out(link, wire)
        tick(self.sending.accepted)
        tick(link.sending.accepted)
        if hub.touch(link) and hub.turn_is_over():
            return Breath.__new__(Breath)
        return None

    cpdef object lend(self, object view, object data):
        cdef Hub hub = <Hub>self.hub
        cdef size_t size = <size_t>len(view)
        cdef Line link
        cdef Big big
        hub.here()
        self.check(size)
        # Only `block` has senders who wait, and whose message is sent at once.
        if hub.send_queue.rule != BLOCK or hub.waiting or not hub.has_room():
            return self.send(bytes(view), data)
        link = hub.pair_link
        big = link.outbox.push_big(self.whole_head(size), view, self.padding(size), self.topic)
        self.handed = 1
        tick(self.sending.accepted)
        tick(link.sending.accepted)
        hub.touch(link)
        if big.sent < big.size:
            return Loan.__new__(Loan, big)
        big.own()
        return Breath.__new__(Breath) if hub.turn_is_over() else None

    cdef object send_many(self, Load load, Py_ssize_t start):
        cdef Hub hub = <Hub>self.hub
        cdef Line link
        cdef Py_ssize_t count
        self.handed = 0
        load.reached = start
        while load.reached < load.count:
            hub.here()
            if not hub.waiting and hub.has_room():
                link = hub.pair_link
                count = self.span(load, load.reached, link.room_messages(), link.room_bytes())
                self.lay_out_many(link, load, load.reached, count)
                self.sending.accepted += <uint64_t>count
                link.sending.accepted += <uint64_t>count
                load.reached += count
                self.handed += count
                # Nobody else has a chance where this takes all the room as soon as there is some.
                if (hub.touch(link) and hub.turn_is_over()) or (link.writing and load.reached < load.count):
                    return Breath.__new__(Breath)
            elif hub.send_queue.rule == BLOCK:
                load.reached += 1
                self.handed += 1
                return hub.wait_for_room(self, load.payload(load.reached - 1))
            else:
                payload = load.payload(load.reached)
                key = None if hub.send_queue.rule != LATEST else hub.key_of(self, payload, load.value(load.reached))
                self.handed += hub.spill(hub.backlog, hub.pair_link, self, payload, key)
                load.reached += 1
                if hub.turn_is_over():
                    return Breath.__new__(Breath)
        return None

    cpdef bint would_wait(self):
        cdef Hub hub = <Hub>self.hub
        hub.here()
        if hub.send_queue.rule == BLOCK:
            return bool(hub.waiting) or not hub.has_room()
        return (hub.send_queue.rule == REJECT and not hub.has_room() and hub.backlog.full(
            0 if hub.pair_link is None else hub.pair_link.outbox.waiting(),
            0 if hub.pair_link is None else hub.pair_link.outbox.queued_bytes))

    cpdef int forward(self, object payload, Source source) except -1:
        cdef Hub hub = <Hub>self.hub
        cdef bytes wire = as_payload(payload)
        hub.here()
        self.handed = 0
        if hub.waiting or not hub.has_room():
            return forward_spilled(hub, hub.pair_link, self, wire)
        self.handed = 1
        return self.push(wire)


cdef class PubSynapse(WireSynapse):
    def __init__(self, neuron, owner, Turns hub, Queue receive_queue, Waiters waiting):
        WireSynapse.__init__(self, neuron, owner, hub, receive_queue, waiting)
        self.subscribers = ()

    cdef bytes make_head(self):
        cdef uint8_t header[MAX_HEADER]
        cdef size_t size = frame_write(header, FLAG_MORE, <size_t>len(self.topic))
        return (<const char *>header)[:size] + self.topic

    cdef size_t head_size(self, size_t size) noexcept nogil:
        return self.fixed_size + frame_header_size(size)

    cdef size_t write_head(self, uint8_t *room, size_t size) noexcept nogil:
        memcpy(room, self.fixed, self.fixed_size)
        return self.fixed_size + frame_write(room + self.fixed_size, 0, size)

    cdef uint8_t *make_room(self, Outbox outbox, size_t size) except NULL:
        cdef uint8_t *room = outbox.reserve(self.fixed_size + frame_header_size(size) + size, 1)
        memcpy(room, self.fixed, self.fixed_size)
        room += self.fixed_size
        return room + frame_write(room, 0, size)

    def set_subscribers(self, links):
        """The links whose peers subscribed to this topic now."""
        self.subscribers = tuple(links)

    @property
    def subscriber_count(self):
        return len(self.subscribers)

    cpdef bint wanted_outside(self):
        if len(self.subscribers) == 0:
            # Sockets that an earlier event loop left alone may have something to say. Otherwise `send` looks.
            self.hub.here()
        return len(self.subscribers) > 0

    cdef bint publish(self, bytes payload, object data, bint forwarded) except -1:
        """To every subscriber; True where a full buffer went out."""
        cdef Turns hub = self.hub
        cdef Outlet link
        cdef bint breath = False
        self.handed = 0
        # First: a key that raises must find nothing sent.
        key = None if forwarded or hub.send_queue.rule != LATEST else hub.key_of(self, payload, data)
        for link in self.subscribers:
            if not link.open:
                continue
            if link.backlog.count == 0 and link.has_room():
                self.lay_out(link, payload)
                tick(self.sending.accepted)
                tick(link.sending.accepted)
                self.handed += 1
                if hub.touch(link):
                    breath = True
            elif forwarded:
                forward_spilled(hub, link, self, payload)
            elif hub.spill(link.backlog, link, self, payload, key):
                self.handed += 1
        return breath

    cdef int push(self, bytes payload) except -1:
        self.publish(payload, None, False)
        return 0

    cdef bint has_room(self) except -1:
        cdef Outlet link
        for link in self.subscribers:
            if link.open and not link.has_room():
                if self.hub.send_queue.rule == BLOCK:
                    self.hub.tell_full(link.backlog, self, link)
                return False
        return True

    cdef int check(self, size_t size) except -1:
        if size > self.hub.max_frame_bytes:
            self.hub.owner._too_large(self, size, self.hub.max_frame_bytes)
        return 0

    cpdef object send(self, object payload, object data=None):
        cdef Turns hub = self.hub
        cdef bytes wire = as_payload(payload)
        hub.here()
        self.check(<size_t>len(wire))
        if hub.send_queue.waits() and (self.waiting or not self.has_room()):
            if hub.send_queue.rule == REJECT:
                raise hub.queue_full(self.full_link(), self)
            self.handed = len(self.subscribers)
            return self.waiting.wait(hub.loop, self, wire)
        if self.publish(wire, data, False) and hub.turn_is_over():
            return Breath.__new__(Breath)
        return None

    cdef object send_many(self, Load load, Py_ssize_t start):
        cdef Turns hub = self.hub
        cdef bint waits = hub.send_queue.waits()
        cdef bint breath
        self.handed = 0
        load.reached = start
        while load.reached < load.count:
            hub.here()
            if waits and (self.waiting or not self.has_room()):
                if hub.send_queue.rule == REJECT:
                    raise hub.queue_full(self.full_link(), self)
                load.reached += 1
                self.handed += len(self.subscribers)
                return self.waiting.wait(hub.loop, self, load.payload(load.reached - 1))
            breath = self.publish_many(load)
            if breath and hub.turn_is_over():
                return Breath.__new__(Breath)
        return None

    cdef bint publish_many(self, Load load) except -1:
        """The next messages to every subscriber; True where a full buffer went out, or a queue was full."""
        cdef Turns hub = self.hub
        cdef Outlet link
        cdef Py_ssize_t handed = self.handed
        cdef Py_ssize_t most = load.count - load.reached
        cdef size_t most_bytes = BURST_BYTES
        cdef Py_ssize_t end
        cdef bint breath = False
        if hub.send_queue.rule == LATEST:
            self.publish(load.payload(load.reached), load.value(load.reached), False)
            self.handed += handed
            load.reached += 1
            return True
        if hub.send_queue.waits():
            # All of them have room for one message; as many as fit everywhere.
            for link in self.subscribers:
                if link.open:
                    most = min(most, link.room_messages())
                    most_bytes = min(most_bytes, link.room_bytes())
        end = load.reached + self.span(load, load.reached, most, most_bytes)
        for link in self.subscribers:
            if link.open and self.offer_many(link, load, end):
                breath = True
        load.reached = end
        return breath

    cdef bint offer_many(self, Outlet link, Load load, Py_ssize_t end) except -1:
        """The messages up to `end` to one subscriber, or into its queue."""
        cdef Turns hub = self.hub
        cdef Py_ssize_t at = load.reached
        cdef Py_ssize_t count
        cdef bint breath = False
        while at < end:
            if link.open and link.backlog.count == 0 and link.has_room():
                count = self.span(load, at, min(end - at, link.room_messages()), link.room_bytes())
                self.lay_out_many(link, load, at, count)
                self.sending.accepted += <uint64_t>count
                link.sending.accepted += <uint64_t>count
                self.handed += count
                at += count
                if hub.touch(link):
                    breath = True
            elif link.open:
                self.handed += hub.spill(link.backlog, link, self, load.payload(at), None)
                at += 1
                breath = True
            else:
                break
        return breath

    cdef Outlet full_link(self):
        cdef Outlet link
        for link in self.subscribers:
            if link.open and not link.has_room():
                return link
        return None

    cpdef bint would_wait(self):
        self.hub.here()
        return self.hub.send_queue.waits() and (bool(self.waiting) or not self.has_room())

    cpdef int forward(self, object payload, Source source) except -1:
        self.hub.here()
        self.publish(as_payload(payload), None, True)
        return 0
