# SPDX-License-Identifier: Apache-2.0
"""The sending halves of the ZMTP synapses: how one message of a neuron is laid out on a link.

pair          one frame: a Cap'n Proto PlexoMessage with topic and payload
publish       two frames: topic, payload; to every link that subscribed
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t
from libc.string cimport memcpy, memset

from plexo._fast.books cimport tick
from plexo._fast.completion cimport Source
from plexo._fast.envelope cimport (ENVELOPE_MAX_PAYLOAD, envelope_head, envelope_head_size, envelope_padding,
                                   envelope_patch)
from plexo._fast.frames cimport FLAG_MORE, MAX_HEADER, frame_header_size, frame_write
from plexo._fast.hub cimport Hub, Line
from plexo._fast.outbox cimport BIG_PAYLOAD
from plexo._fast.queues cimport BLOCK, LATEST, REJECT, Queue
from plexo._fast.synapse cimport Synapse, as_payload
from plexo.statistics import Cause

cdef object UNDECODABLE = Cause.UNDECODABLE


cdef class Breath:
    """Awaited after a full buffer went out: lets the event loop have a turn in a sender's tight loop."""

    cdef bint taken

    def __await__(self):
        return self

    def __iter__(self):
        return self

    def __next__(self):
        if self.taken:
            raise StopIteration
        self.taken = True
        return None


cdef int forward_spilled(Hub hub, Line link, Synapse synapse, bytes payload) except -1:
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


cdef class PairSynapse(Synapse):
    def __init__(self, neuron, owner, Hub hub, Queue receive_queue):
        Synapse.__init__(self, neuron, owner, receive_queue)
        self.hub = hub
        self.head = envelope_head(self.topic)

    cdef int lay_out(self, Source source, bytes payload) except -1:
        cdef Line link = <Line>source
        cdef size_t size = <size_t>len(payload)
        cdef size_t head_size = <size_t>len(self.head)
        cdef size_t padding = envelope_padding(size)
        cdef size_t body = head_size + size + padding
        cdef size_t header
        cdef uint8_t *room
        cdef bytes head
        if size >= BIG_PAYLOAD:
            head = PyBytes_new(frame_header_size(body) + head_size)
            room = <uint8_t *>PyBytes_AS_STRING(head)
            header = frame_write(room, 0, body)
            memcpy(room + header, <const char *>self.head, head_size)
            envelope_patch(room + header, head_size, size)
            link.outbox.push_big(head, payload, padding, self.topic)
        else:
            room = link.outbox.reserve(frame_header_size(body) + body, 1)
            room += frame_write(room, 0, body)
            memcpy(room, <const char *>self.head, head_size)
            envelope_patch(room, head_size, size)
            memcpy(room + head_size, <const char *>payload, size)
            memset(room + head_size + size, 0, padding)
        return 0

    cdef int prepare_records(self) except -1:
        cdef size_t head_size = <size_t>len(self.head)
        cdef size_t body = head_size + self.record_bytes + envelope_padding(self.record_bytes)
        cdef size_t header = frame_header_size(body)
        cdef bytes head
        if self.record_bytes < BIG_PAYLOAD and body <= self.hub.max_frame_bytes:
            head = PyBytes_new(header + head_size)
            frame_write(<uint8_t *>PyBytes_AS_STRING(head), 0, body)
            memcpy(PyBytes_AS_STRING(head) + header, <const char *>self.head, head_size)
            envelope_patch(<uint8_t *>PyBytes_AS_STRING(head) + header, head_size, self.record_bytes)
            self.record_stride = header + body
            self.record_head = head
        return 0

    cdef int push(self, bytes payload) except -1:
        cdef Line link = self.hub.pair_link
        self.lay_out(link, payload)
        tick(self.sending.accepted)
        tick(link.sending.accepted)
        self.hub.touch(link)
        return 0

    cdef bint has_room(self) except -1:
        return self.hub.has_room()

    cdef int check(self, bytes payload) except -1:
        cdef size_t size = <size_t>len(payload)
        if size > ENVELOPE_MAX_PAYLOAD or size > self.hub.max_frame_bytes:
            self.hub.owner._too_large(self, size, min(<size_t>ENVELOPE_MAX_PAYLOAD, self.hub.max_frame_bytes))
        return 0

    cpdef object send(self, object payload, object data=None):
        cdef Hub hub = self.hub
        cdef Line link
        cdef bytes wire = as_payload(payload)
        hub.here()
        self.check(wire)
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
        if hub.touch(link):
            return Breath.__new__(Breath)
        return None

    cpdef bint would_wait(self):
        cdef Hub hub = self.hub
        hub.here()
        if hub.send_queue.rule == BLOCK:
            return len(hub.waiting) > 0 or not hub.has_room()
        return (hub.send_queue.rule == REJECT and not hub.has_room() and hub.backlog.full(
            0 if hub.pair_link is None else hub.pair_link.outbox.waiting(),
            0 if hub.pair_link is None else hub.pair_link.outbox.queued_bytes))

    cpdef int forward(self, object payload, Source source) except -1:
        cdef Hub hub = self.hub
        cdef bytes wire = as_payload(payload)
        hub.here()
        self.handed = 0
        if hub.waiting or not hub.has_room():
            return forward_spilled(hub, hub.pair_link, self, wire)
        self.handed = 1
        return self.push(wire)


cdef class PubSynapse(Synapse):
    def __init__(self, neuron, owner, Hub hub, Queue receive_queue):
        cdef size_t size = <size_t>len(neuron.topic)
        cdef uint8_t header[MAX_HEADER]
        Synapse.__init__(self, neuron, owner, receive_queue)
        self.hub = hub
        self.head = (<const char *>header)[:frame_write(header, FLAG_MORE, size)] + self.topic
        self.subscribers = ()

    cdef int prepare_records(self) except -1:
        cdef uint8_t header[MAX_HEADER]
        if self.record_bytes < BIG_PAYLOAD and self.record_bytes <= self.hub.max_frame_bytes:
            self.record_head = self.head + (<const char *>header)[:frame_write(header, 0, self.record_bytes)]
            self.record_stride = <size_t>len(self.record_head) + self.record_bytes
        return 0

    def set_subscribers(self, links):
        """The links whose peers subscribed to this topic now."""
        self.subscribers = tuple(links)

    @property
    def subscriber_count(self):
        return len(self.subscribers)

    cpdef bint wanted_outside(self):
        self.hub.here()
        return len(self.subscribers) > 0

    cdef int lay_out(self, Source source, bytes payload) except -1:
        cdef Line link = <Line>source
        cdef size_t size = <size_t>len(payload)
        cdef size_t head_size = <size_t>len(self.head)
        cdef size_t header = frame_header_size(size)
        cdef uint8_t *room
        cdef bytes head
        if size >= BIG_PAYLOAD:
            head = PyBytes_new(head_size + header)
            memcpy(PyBytes_AS_STRING(head), <const char *>self.head, head_size)
            frame_write(<uint8_t *>PyBytes_AS_STRING(head) + head_size, 0, size)
            link.outbox.push_big(head, payload, 0, self.topic)
        else:
            room = link.outbox.reserve(head_size + header + size, 1)
            memcpy(room, <const char *>self.head, head_size)
            frame_write(room + head_size, 0, size)
            memcpy(room + head_size + header, <const char *>payload, size)
        return 0

    cdef bint publish(self, bytes payload, object data, bint forwarded) except -1:
        """To every subscriber; True where a full buffer went out."""
        cdef Hub hub = self.hub
        cdef Line link
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
        cdef Line link
        for link in self.subscribers:
            if link.open and not link.has_room():
                if self.hub.send_queue.rule == BLOCK:
                    self.hub.tell_full(link.backlog, self, link)
                return False
        return True

    cdef int check(self, bytes payload) except -1:
        if <size_t>len(payload) > self.hub.max_frame_bytes:
            self.hub.owner._too_large(self, len(payload), self.hub.max_frame_bytes)
        return 0

    cpdef object send(self, object payload, object data=None):
        cdef Hub hub = self.hub
        cdef bytes wire = as_payload(payload)
        hub.here()
        self.check(wire)
        if hub.send_queue.waits() and (hub.waiting or not self.has_room()):
            if hub.send_queue.rule == REJECT:
                raise hub.queue_full(self.full_link(), self)
            self.handed = len(self.subscribers)
            return hub.wait_for_room(self, wire)
        if self.publish(wire, data, False):
            return Breath.__new__(Breath)
        return None

    cdef Line full_link(self):
        cdef Line link
        for link in self.subscribers:
            if link.open and not link.has_room():
                return link
        return None

    cpdef bint would_wait(self):
        self.hub.here()
        return self.hub.send_queue.waits() and (len(self.hub.waiting) > 0 or not self.has_room())

    cpdef int forward(self, object payload, Source source) except -1:
        self.hub.here()
        self.publish(as_payload(payload), None, True)
        return 0


cdef bytes PyBytes_new(size_t size):
    return PyBytes_FromStringAndSize(NULL, <Py_ssize_t>size)
