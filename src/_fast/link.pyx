# SPDX-License-Identifier: Apache-2.0
"""An established ZMTP connection: drain the socket, cut frames, find the neuron, call its reactants.

A short read means that the socket is empty, and saves the `recv` that would say so. Not under uvloop: it closes its handle
with the first event that says "reset", and never calls again, so what waits behind the last bytes must be found at once.

One `recv` into a buffer shared by all links of a hub brings many frames; only what is left of an unfinished frame is
kept by the link. A frame of 64 KiB or more is received straight into memory of its own, which grows as data arrives, so that a
peer has to send what it wants us to hold; or which was there already, from a frame before.

The hand-shake, reconnecting and every decision are the connection's (Python, `plexo.ganglion`); it is called for what is
rare: connection.command(body), .subscription(body), .lost(error).
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_SetFromErrno
from cpython.object cimport PyObject
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcmp, memcpy

from plexo._fast.books cimport Ledger, tick
from plexo._fast.envelope cimport ENVELOPE_OK, Slice, envelope_parse, envelope_reason
from plexo._fast.frames cimport (BIG_FRAME, FLAG_COMMAND, FLAG_MORE, FRAME_COMMAND_MORE, FRAME_OK,
                                 FRAME_RESERVED_FLAGS, FrameHeader, frame_parse)
from plexo._fast.hub cimport Hub, Line, SCRATCH_BYTES
from plexo._fast.outbox cimport Outbox
from plexo._fast.slabs cimport Slab
from plexo._fast.synapse cimport Synapse
from plexo._fast.queues cimport Waiting
from plexo._fast.tasks cimport TaskPool
from plexo.statistics import Cause

cdef object MALFORMED = Cause.MALFORMED
cdef object UNKNOWN_TOPIC = Cause.UNKNOWN_TOPIC

cdef extern from "system.h" nogil:
    Py_ssize_t plexo_receive(int fd, void *room, size_t size)

cdef enum:
    FIRST_BIG_BYTES = 1048576
    # Messages of a run that are looked at before they are copied: so many stay in the first cache meanwhile.
    MAX_RUN = 256


cdef Py_ssize_t count_run(const uint8_t *data, size_t size, const uint8_t *head, size_t head_size, size_t stride,
                          Py_ssize_t most) noexcept nogil:
    """How many messages in a row, at most `most`, begin with `head` and are here whole."""
    cdef Py_ssize_t count = 0
    while count < most and size >= stride and memcmp(data, head, head_size) == 0:
        data += stride
        size -= stride
        count += 1
    return count


cdef class Link(Line):
    def __init__(self, Hub hub, connection, int fd, bint takes_messages, bytes received):
        """received: what the peer sent after its hand-shake. takes_messages: False where the peer only subscribes."""
        self.hub = self.queues = hub
        self.connection = connection
        self.host = connection.host
        self.fd = fd
        self.sending = Ledger.__new__(Ledger)
        self.backlog = hub.backlog if hub.is_pair else Waiting.__new__(Waiting, hub.send_queue)
        self.takes_messages = takes_messages
        self.outbox = Outbox.__new__(Outbox, fd)
        self.open = True
        self.save(<const uint8_t *><const char *>received, <size_t>len(received))

    def __dealloc__(self):
        free(self.partial)

    # -- event loop ----------------------------------------------------------------------------------------------

    def on_readable(self):
        """Drain the socket. Faults of the peer close this link; nothing of it reaches the event loop."""
        cdef Hub hub = self.hub
        # A reactant may close the ganglion, which takes the hub off its loop and pool.
        cdef TaskPool pool = hub.pool
        if not self.open or self.blocked or hub.loop is None or hub.in_turn:
            return
        hub.begin_turn()
        try:
            self.read_all()
        except OSError as error:
            self.lost(error)
        finally:
            hub.end_turn(pool)
        if self.blocked and self.reading:
            self.reading = False
            hub.loop.remove_reader(self.fd)

    # -- receiving -----------------------------------------------------------------------------------------------

    cdef int save(self, const uint8_t *data, size_t size) except -1:
        cdef void *grown
        if size > self.partial_capacity:
            grown = realloc(self.partial, size)
            if grown == NULL:
                raise MemoryError(f"no memory for {size} received bytes")
            self.partial = <uint8_t *>grown
            self.partial_capacity = size
        if size:
            memcpy(self.partial, data, size)
        elif self.partial_capacity > 4096:
            free(self.partial)
            self.partial = NULL
            self.partial_capacity = 0
        self.partial_size = size
        return 0

    cdef int read_all(self) except -1:
        cdef Hub hub = self.hub
        cdef uint8_t *scratch = hub.scratch
        cdef size_t have, room
        cdef Py_ssize_t got
        cdef int turn
        for turn in range(READS_PER_TURN):
            if self.big is not None:
                if self.read_big() == 0:
                    return 0
                if not self.open or self.blocked:
                    return 0
                continue
            have = self.partial_size
            if have:
                memcpy(scratch, self.partial, have)
            room = SCRATCH_BYTES - have
            got = 0
            if turn > 0 or have == 0 or not self.holds_frame():
                with nogil:
                    got = plexo_receive(self.fd, scratch + have, room)
                if got < 0:
                    if errno == EAGAIN or errno == EINTR:
                        return 0
                    PyErr_SetFromErrno(OSError)
                if got == 0:
                    self.lost(None)
                    return 0
                self.received_bytes += <uint64_t>got
            have += <size_t>got
            # What is not used is saved again below; a reactant that closes this link must find nothing to parse.
            self.partial_size = 0
            try:
                self.parse(scratch, have)
            finally:
                if self.open:
                    self.save(scratch + self.parsed, have - self.parsed)
            if not self.open or self.blocked:
                return 0
            if self.big is None and got > 0 and <size_t>got < room and not hub.tells_once:
                return 0
        if hub.tells_once and hub.loop is not None:
            hub.loop.call_soon(self.on_readable)
        return 0

    cdef bint holds_frame(self) noexcept:
        """Whether a whole frame waits in what was saved (after a pause, or behind the hand-shake)."""
        cdef FrameHeader header
        cdef int found = frame_parse(self.partial, self.partial_size, &header)
        return found < 0 or (found == FRAME_OK and (
            header.body_size >= BIG_FRAME or header.body_size <= self.partial_size - header.header_size))

    cdef int parse(self, const uint8_t *data, size_t size) except -1:
        """Handle every whole frame; `parsed` says how many bytes that were, also when this raises."""
        cdef FrameHeader header
        cdef size_t position = 0
        cdef size_t left
        cdef int found
        self.parsed = 0
        while self.open and self.blocked == 0 and self.big is None:
            if self.running is not None and self.part == 0:
                position = self.take_run(data, size, position)
                if not self.open or self.blocked:
                    break
            found = frame_parse(data + position, size - position, &header)
            if found != FRAME_OK:
                if found < 0:
                    self.received_bytes -= size - position
                    if found == FRAME_RESERVED_FLAGS:
                        self.fail("a frame without reserved flags", f"flags 0x{data[position]:02x}")
                    elif found == FRAME_COMMAND_MORE:
                        self.fail("a command frame without MORE", f"flags 0x{data[position]:02x}")
                    else:
                        self.fail("a frame size below 2**63", "one above")
                break
            if header.body_size > self.hub.max_frame_bytes:
                self.received_bytes -= size - position
                self.fail(f"a frame of at most {self.hub.max_frame_bytes} bytes", f"one of {header.body_size}")
                break
            left = size - position - header.header_size
            if header.body_size > left:
                if header.body_size >= BIG_FRAME:
                    self.begin_big(data + position + header.header_size, left, header.body_size, header.flags)
                    self.parsed = size
                break
            position += header.header_size + <size_t>header.body_size
            self.parsed = position
            self.frame(header.flags, data + position - <size_t>header.body_size, <size_t>header.body_size, None)
        return 0

    cdef size_t take_run(self, const uint8_t *data, size_t size, size_t position) except? 0:
        """Records that follow each other with one and the same head need no parsing; where the next message begins.

        The head is what a message to this neuron with a payload of this size begins with when we write it, flags and
        all. Who writes it differently is understood, and slower.
        """
        cdef Synapse synapse = self.running
        cdef Py_ssize_t count
        cdef const uint8_t *first
        while self.open and self.blocked == 0:
            if synapse.record_head is None or not synapse.takes_records():
                self.running = None
                break
            first = data + position
            count = count_run(first, size - position, <const uint8_t *>PyBytes_AS_STRING(synapse.record_head),
                              <size_t>len(synapse.record_head), synapse.record_stride,
                              min(<Py_ssize_t>MAX_RUN, synapse.room_for_records()))
            if count == 0:
                break
            position += <size_t>count * synapse.record_stride
            # Before anybody is called, who may close this link.
            self.parsed = position
            self.receiving.accepted += <uint64_t>count
            synapse.receive_records(first + len(synapse.record_head), synapse.record_stride, count, self.hub.pool, self)
        return position

    cdef int begin_big(self, const uint8_t *data, size_t have, uint64_t size, uint8_t flags) except -1:
        cdef size_t first = <size_t>size if size < FIRST_BIG_BYTES else <size_t>FIRST_BIG_BYTES
        self.big = self.hub.spares.take(<size_t>size)
        if self.big is None:
            self.big = Slab.__new__(Slab, max(first, have))
        memcpy(self.big.data, data, have)
        self.big_have = have
        self.big_size = size
        self.big_flags = flags
        return 0

    cdef int read_big(self) except -1:
        """Receive into the large frame: 1 it is complete and handled, 0 the socket is empty or closed."""
        cdef size_t room_bytes
        cdef Py_ssize_t got
        cdef char *room
        while self.big_have < self.big_size:
            room = self.big_room(&room_bytes)
            with nogil:
                got = plexo_receive(self.fd, room, room_bytes)
            if got < 0:
                if errno == EAGAIN or errno == EINTR:
                    return 0
                PyErr_SetFromErrno(OSError)
            if got == 0:
                self.lost(None)
                return 0
            self.received_bytes += <uint64_t>got
            self.big_have += <size_t>got
        self.end_big()
        return 1

    cdef char *big_room(self, size_t *room) except NULL:
        """Where the large frame goes on, and how many bytes it takes there now: at least one."""
        cdef size_t capacity = self.big.size
        if self.big_have == capacity:
            capacity = 2 * capacity if 2 * capacity < self.big_size else <size_t>self.big_size
            self.big.grow(capacity)
        room[0] = min(capacity, <size_t>self.big_size) - self.big_have
        return <char *>self.big.data + self.big_have

    cdef int end_big(self) except -1:
        whole, self.big = self.big, None
        try:
            return self.frame(self.big_flags, (<Slab>whole).data, <size_t>self.big_size, <Slab>whole)
        finally:
            self.hub.spares.give(<Slab>whole)

    cdef int frame(self, uint8_t flags, const uint8_t *body, size_t size, Slab whole) except -1:
        cdef PyObject *found
        cdef bint more = flags & FLAG_MORE
        if flags & FLAG_COMMAND:
            if self.part:
                return self.fail("the next part of a message", "a command")
            self.connection.command(PyBytes_FromStringAndSize(<const char *>body, <Py_ssize_t>size))
            return 0
        if not self.takes_messages:
            if self.part or more:
                self.part = more
                if more:
                    return 0
                tick(self.receiving.accepted)
                return self.drop_malformed("a subscription of several parts")
            if not self.connection.subscription(PyBytes_FromStringAndSize(<const char *>body, <Py_ssize_t>size)):
                tick(self.receiving.accepted)
                return self.drop_malformed("a message from a subscriber that is no subscription")
            return 0
        if self.hub.is_pair:
            if self.part or more:
                if not more:
                    self.part = 0
                    tick(self.receiving.accepted)
                    return self.drop_malformed("a message of several parts where one PlexoMessage was expected")
                self.part = 1
                return 0
            return self.envelope(body, size, whole)
        # Publish/subscribe: topic, then payload.
        if self.part == 0:
            self.target = None
            self.bad = not more
            if more:
                found = self.hub.topics.find(body, size)
                if found != NULL:
                    self.target = <Synapse>found
                else:
                    self.unknown = body[:size if size < NAMED_TOPIC_BYTES else NAMED_TOPIC_BYTES]
        elif self.part > 1 or more:
            self.bad = True
        if more:
            self.part = self.part + 1 if self.part < 2 else 2
            return 0
        self.part = 0
        tick(self.receiving.accepted)
        target, self.target = self.target, None
        if self.bad:
            return self.drop_malformed("a message that is not topic and payload")
        if target is None:
            return self.drop_unknown()
        if whole is not None:
            return (<Synapse>target).receive_large(whole, body, size, self.hub.pool, self)
        if (<Synapse>target).takers is not None:
            self.running = <Synapse>target
        return (<Synapse>target).receive(body, size, self.hub.pool, self)

    cdef int envelope(self, const uint8_t *body, size_t size, Slab whole) except -1:
        cdef Slice name
        cdef Slice payload
        cdef PyObject *found
        cdef int reason = envelope_parse(body, size, &name, &payload)
        tick(self.receiving.accepted)
        if reason != ENVELOPE_OK:
            return self.drop_malformed((<bytes>envelope_reason(reason)).decode())
        found = self.hub.topics.find(name.data, name.size)
        if found == NULL:
            self.unknown = name.data[:name.size if name.size < NAMED_TOPIC_BYTES else NAMED_TOPIC_BYTES]
            return self.drop_unknown()
        if whole is not None:
            return (<Synapse>found).receive_large(whole, payload.data, payload.size, self.hub.pool, self)
        if (<Synapse>found).takers is not None:
            self.running = <Synapse>found
        return (<Synapse>found).receive(payload.data, payload.size, self.hub.pool, self)

    def receive_asked(self, bytes body, settled):
        """A PlexoMessage whose sender asked to be told: settled(cause, errors) is called exactly once, maybe at once.

        (None, None) when every reactant has finished; (Cause.REACTANT_ERROR, errors); else the cause for which it was
        dropped, and None.
        """
        cdef Slice name
        cdef Slice payload
        cdef PyObject *found
        cdef int reason = envelope_parse(<const uint8_t *><const char *>body, <size_t>len(body), &name, &payload)
        tick(self.receiving.accepted)
        if reason != ENVELOPE_OK:
            self.drop_malformed((<bytes>envelope_reason(reason)).decode())
            settled(MALFORMED, None)
            return
        found = self.hub.topics.find(name.data, name.size)
        if found == NULL:
            self.unknown = name.data[:name.size if name.size < NAMED_TOPIC_BYTES else NAMED_TOPIC_BYTES]
            self.drop_unknown()
            settled(UNKNOWN_TOPIC, None)
            return
        (<Synapse>found).receive_bytes((<const char *>payload.data)[:payload.size], settled, self.hub.pool, self)

    # -- faults --------------------------------------------------------------------------------------------------

    cdef int drop_malformed(self, str reason) except -1:
        self.receiving.drop(MALFORMED, 1)
        self.connection.malformed(reason)
        return 0

    cdef int drop_unknown(self) except -1:
        unknown, self.unknown = self.unknown, None
        self.receiving.drop(UNKNOWN_TOPIC, 1)
        if self.hub.tally.add(UNKNOWN_TOPIC, "", self.host, 1):
            self.connection.unknown_topic(unknown)
        return 0

    cdef int fail(self, str expected, str received) except -1:
        self.connection.violation(expected, received, self.received_bytes)
        return 0

    cdef bint unfinished(self) noexcept:
        return self.part != 0 or self.partial_size > 0 or self.big is not None
