# SPDX-License-Identifier: Apache-2.0
"""An established ZMTP connection: drain the socket, cut frames, find the neuron, call its reactants.

One `recv` into a buffer shared by all links of a hub brings many frames; only what is left of an unfinished frame is
kept by the link. A frame of 64 KiB or more is received straight into a bytes object that grows as data arrives, so that
a peer has to send what it wants us to hold.

The hand-shake, reconnecting and every decision are the connection's (Python, `plexo.ganglion`); it is called for what is
rare: connection.command(body), .subscription(body), .lost(error).
"""

from collections import deque

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_SetFromErrno
from cpython.object cimport PyObject
from cpython.ref cimport Py_XDECREF
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy

from plexo._fast.envelope cimport ENVELOPE_OK, Slice, envelope_parse, envelope_reason
from plexo._fast.frames cimport (FLAG_COMMAND, FLAG_MORE, FRAME_OK, FRAME_RESERVED_FLAGS, FRAME_COMMAND_MORE,
                                 FrameHeader, frame_parse)
from plexo._fast.tasks cimport TaskPool, pool_of, running_loop

cdef extern from "<sys/socket.h>" nogil:
    ssize_t recv(int, void *, size_t, int)

cdef extern from "<time.h>" nogil:
    struct timespec:
        long tv_sec
        long tv_nsec
    int CLOCK_MONOTONIC
    int clock_gettime(int, timespec *)

cdef extern from "Python.h":
    unsigned long PyThread_get_thread_ident() nogil
    int _PyBytes_Resize(PyObject **, Py_ssize_t) except -1
    PyObject *raw_bytes "PyBytes_FromStringAndSize"(const char *, Py_ssize_t) except NULL
    char *raw_bytes_data "PyBytes_AS_STRING"(PyObject *)

cdef enum:
    SCRATCH_BYTES = 262144
    # From this size on a frame gets a buffer of its own.
    BIG_FRAME = 65536
    FIRST_BIG_BYTES = 1048576
    # Reads per wake-up, so that one busy link cannot keep the others waiting.
    READS_PER_TURN = 8
    # Waiting bytes at which a link is flushed at once (DESIGN: or at the end of the loop's turn, or after 200 us).
    FLUSH_BYTES = 65536

cdef double FLUSH_AGE_S = 200e-6
# A link that nothing was sent on for so long is flushed at its first message, before the end of the turn.
cdef double QUIET_S = 20e-6
# How long a look at the running event loop holds good on one thread. Python up to 3.11 makes a system call for it; no loop
# ends and lets another one run in so short a time.
cdef double LOOP_CHECK_S = 5e-6


cdef inline double monotonic() noexcept:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <double>now.tv_sec + 1e-9 * <double>now.tv_nsec


cdef class Hub:
    """What the links of one ganglion share: topics, event loop, receive buffer, limits, and who waits to send."""

    def __init__(self, owner, topics, bint is_pair, uint64_t max_frame_bytes, size_t send_queue_bytes):
        self.owner = owner
        self.topics = topics
        self.is_pair = is_pair
        self.max_frame_bytes = max_frame_bytes
        self.send_queue_bytes = send_queue_bytes
        self.links = []
        self.dirty = []
        self.waiting = deque()
        self.scratch = <uint8_t *>malloc(SCRATCH_BYTES)
        if self.scratch == NULL:
            raise MemoryError(f"no memory for {SCRATCH_BYTES} bytes of receive buffer")

    def __dealloc__(self):
        free(self.scratch)

    def attach(self, loop):
        """Serve the sockets from `loop`, whatever served them before."""
        cdef Link link
        self.detach()
        self.loop = loop
        self.pool = pool_of(loop)
        for synapse in self.owner._synapses.values():
            synapse.typed.revive()
            synapse.raw.revive()
        for link in self.links:
            link.start()

    def detach(self):
        """Take the sockets off their loop; they stay open. Those waiting to send belonged to it and are forgotten."""
        cdef Link link
        for link in self.links:
            link.stop()
        if self.flush_handle is not None:
            self.flush_handle.cancel()
            self.flush_handle = None
        self.loop = None
        self.pool = None
        self.seen_at = 0
        kept = deque()
        for entry in self.waiting:
            waiter = entry[0]
            if waiter is None:
                kept.append(entry)
            elif not waiter.done() and not waiter.get_loop().is_closed():
                waiter.cancel()
        self.waiting = kept

    def add(self, Link link):
        self.links.append(link)
        if self.is_pair:
            self.pair_link = link
        link.start()
        link.flush()
        if link.open:
            self.admit()

    def discard(self, Link link):
        if link in self.links:
            self.links.remove(link)
        if self.pair_link is link:
            self.pair_link = None

    def close(self, error):
        """No more sending: everybody who waits for room gets `error`."""
        self.closed = True
        waiting, self.waiting = self.waiting, deque()
        for waiter, _, _ in waiting:
            if waiter is not None and not waiter.done() and not waiter.get_loop().is_closed():
                waiter.set_exception(error)

    @property
    def waiting_messages(self):
        """Messages whose senders wait for room or for a peer."""
        return len(self.waiting)

    cdef int here(self) except -1:
        """Be on the running loop: 1.0's users run one ganglion under several, one after another."""
        cdef double now = monotonic()
        self.now = now
        if now - self.seen_at < LOOP_CHECK_S and PyThread_get_thread_ident() == self.seen_thread:
            return 0
        loop = running_loop()
        if loop is not self.loop or loop is None:
            self.owner._use_loop(loop)
        self.seen_at = now
        self.seen_thread = PyThread_get_thread_ident()
        return 0

    cdef bint touch(self, Link link) except -1:
        """Bytes were added to `link` (the caller has set `now`): flush now or at the end of the turn.

        True where a full buffer went out.
        """
        cdef double now = self.now
        if link.outbox.queued_bytes >= FLUSH_BYTES and not link.writing:
            link.flush()
            return True
        if link.is_dirty:
            if now - self.dirty_since > FLUSH_AGE_S:
                self.flush_all()
            return False
        if now - link.last_touch > QUIET_S and not self.scratch_in_use and not link.writing:
            # The first message after a silence: somebody may be waiting for it.
            link.last_touch = now
            link.flush()
            return False
        link.last_touch = now
        link.is_dirty = True
        if not self.dirty:
            self.dirty_since = now
            if self.flush_handle is None and not self.scratch_in_use:
                self.flush_handle = self.loop.call_soon(self.flush_dirty)
        self.dirty.append(link)
        return False

    def flush_dirty(self):
        self.flush_handle = None
        self.flush_all()

    cpdef flush_all(self):
        cdef Link link
        dirty, self.dirty = self.dirty, []
        for link in dirty:
            link.is_dirty = False
            if link.open and not link.writing:
                link.flush()

    cdef object wait_for_room(self, Synapse synapse, bytes payload):
        """Queue up behind those who wait already; the future ends when the message is accepted."""
        future = self.loop.create_future()
        future.add_done_callback(self.forget_cancelled)
        self.waiting.append((future, synapse, payload))
        return future

    def forget_cancelled(self, future):
        """Senders that gave up must not pile up while no peer is there; clears them away by halves."""
        if future.cancelled():
            self.cancelled += 1
            if 2 * self.cancelled > len(self.waiting):
                self.waiting = deque([entry for entry in self.waiting if entry[0] is None or not entry[0].done()])
                self.cancelled = 0

    cdef int admit(self) except -1:
        """Accept what waits, in order, while there is room."""
        cdef Synapse synapse
        if self.admitting:  # a flush below calls back
            return 0
        self.admitting = True
        self.now = monotonic()
        try:
            while self.waiting and self.has_room():
                future, synapse, payload = self.waiting.popleft()
                if future is not None and future.done():  # cancelled: withdrawn
                    continue
                synapse.push(payload)
                if future is not None:
                    future.set_result(None)
                self.touch(self.pair_link)
        finally:
            self.admitting = False
        return 0

    cdef bint has_room(self) except -1:
        """Whether the pair's link is up and takes one more message now."""
        cdef Link link = self.pair_link
        if link is None:
            return False
        if link.outbox.queued_bytes >= self.send_queue_bytes and not link.writing:
            link.flush()
        return link.open and link.outbox.queued_bytes < self.send_queue_bytes


cdef class Link(Source):
    def __init__(self, Hub hub, connection, int fd, bint takes_messages, bytes received):
        """received: what the peer sent after its hand-shake. takes_messages: False where the peer only subscribes."""
        self.hub = hub
        self.connection = connection
        self.fd = fd
        self.takes_messages = takes_messages
        self.outbox = Outbox.__new__(Outbox, fd)
        self.open = True
        self.save(<const uint8_t *><const char *>received, <size_t>len(received))

    def __dealloc__(self):
        free(self.partial)
        Py_XDECREF(self.big)

    # -- event loop ----------------------------------------------------------------------------------------------

    def start(self):
        if not self.open or self.hub.loop is None:
            return
        if self.partial_size:
            self.hub.loop.call_soon(self.on_readable)
        if self.blocked == 0:
            self.reading = True
            self.hub.loop.add_reader(self.fd, self.on_readable)
        if self.outbox.queued_bytes:
            self.writing = True
            self.hub.loop.add_writer(self.fd, self.on_writable)

    def stop(self):
        loop = self.hub.loop
        if loop is not None and not loop.is_closed():
            if self.reading:
                loop.remove_reader(self.fd)
            if self.writing:
                loop.remove_writer(self.fd)
        self.reading = self.writing = False

    cdef int resume(self) except -1:
        if self.open and self.hub.loop is not None and not self.hub.loop.is_closed():
            self.hub.loop.call_soon(self.on_resume)
        return 0

    def on_resume(self):
        self.on_readable()
        if self.open and self.blocked == 0 and not self.reading and self.hub.loop is not None:
            self.reading = True
            self.hub.loop.add_reader(self.fd, self.on_readable)

    def on_readable(self):
        """Drain the socket. Faults of the peer close this link; nothing of it reaches the event loop."""
        cdef Hub hub = self.hub
        # A reactant may close the ganglion, which takes the hub off its loop and pool.
        cdef TaskPool pool = hub.pool
        if not self.open or self.blocked or hub.loop is None or hub.scratch_in_use:
            return
        hub.scratch_in_use = True
        try:
            self.read_all()
        except OSError as error:
            self.lost(error)
        finally:
            hub.scratch_in_use = False
            pool.finish()
            if hub.dirty:
                hub.flush_all()
        if self.blocked and self.reading:
            self.reading = False
            hub.loop.remove_reader(self.fd)

    def on_writable(self):
        if self.open:
            self.flush()

    cdef int flush(self) except -1:
        cdef int done
        try:
            done = self.outbox.flush()
        except OSError as error:
            self.lost(error)
            return 0
        if done == self.writing and self.hub.loop is not None:
            self.writing = not done
            if done:
                self.hub.loop.remove_writer(self.fd)
            else:
                self.hub.loop.add_writer(self.fd, self.on_writable)
        if self.hub.waiting and self.hub.pair_link is self:
            self.hub.admit()
        return 0

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
        cdef ssize_t got
        cdef int turn
        for turn in range(READS_PER_TURN):
            if self.big != NULL:
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
                    got = recv(self.fd, scratch + have, room, 0)
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
            if self.big == NULL and got > 0 and <size_t>got < room:
                return 0
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
        while self.open and self.blocked == 0 and self.big == NULL:
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

    cdef int begin_big(self, const uint8_t *data, size_t have, uint64_t size, uint8_t flags) except -1:
        cdef size_t first = <size_t>size if size < FIRST_BIG_BYTES else <size_t>FIRST_BIG_BYTES
        if first < have:
            first = have
        self.big = raw_bytes(NULL, <Py_ssize_t>first)
        memcpy(raw_bytes_data(self.big), data, have)
        self.big_have = have
        self.big_size = size
        self.big_flags = flags
        return 0

    cdef int read_big(self) except -1:
        """Receive into the large frame: 1 it is complete and handled, 0 the socket is empty or closed."""
        cdef size_t capacity
        cdef ssize_t got
        cdef char *room
        cdef object whole
        while self.big_have < self.big_size:
            capacity = <size_t>len(<object>self.big)
            if self.big_have == capacity:
                capacity = 2 * capacity if 2 * capacity < self.big_size else <size_t>self.big_size
                _PyBytes_Resize(&self.big, <Py_ssize_t>capacity)
            room = raw_bytes_data(self.big) + self.big_have
            with nogil:
                got = recv(self.fd, room, capacity - self.big_have, 0)
            if got < 0:
                if errno == EAGAIN or errno == EINTR:
                    return 0
                PyErr_SetFromErrno(OSError)
            if got == 0:
                self.lost(None)
                return 0
            self.received_bytes += <uint64_t>got
            self.big_have += <size_t>got
        whole = <object>self.big
        Py_XDECREF(self.big)
        self.big = NULL
        self.frame(self.big_flags, <const uint8_t *>PyBytes_AS_STRING(whole), <size_t>self.big_size, whole)
        return 1

    cdef int frame(self, uint8_t flags, const uint8_t *body, size_t size, object whole) except -1:
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
                return self.drop_malformed("a subscription of several parts")
            self.connection.subscription(PyBytes_FromStringAndSize(<const char *>body, <Py_ssize_t>size))
            return 0
        if self.hub.is_pair:
            if self.part or more:
                if not more:
                    self.part = 0
                    self.received += 1
                    self.hub.received += 1
                    return self.drop_malformed("a message of several parts where one PlexoMessage was expected")
                self.part = 1
                return 0
            return self.envelope(body, size)
        # Publish/subscribe: topic, then payload.
        if self.part == 0:
            self.target = None
            self.bad = not more
            if more:
                found = self.hub.topics.find(body, size)
                if found != NULL:
                    self.target = <Synapse>found
                else:
                    self.hub.unknown_topics += 1
                    self.connection.unknown_topic(body[:size if size < 256 else 256])
        elif self.part > 1 or more:
            self.bad = True
        if more:
            self.part = self.part + 1 if self.part < 2 else 2
            return 0
        self.part = 0
        self.received += 1
        self.hub.received += 1
        target, self.target = self.target, None
        if self.bad:
            return self.drop_malformed("a message that is not topic and payload")
        if target is None:
            return 0
        if whole is not None:
            return (<Synapse>target).receive_bytes(whole, self.hub.pool, self)
        return (<Synapse>target).receive(body, size, self.hub.pool, self)

    cdef int envelope(self, const uint8_t *body, size_t size) except -1:
        cdef Slice name
        cdef Slice payload
        cdef PyObject *found
        cdef int reason = envelope_parse(body, size, &name, &payload)
        self.received += 1
        self.hub.received += 1
        if reason != ENVELOPE_OK:
            return self.drop_malformed((<bytes>envelope_reason(reason)).decode())
        found = self.hub.topics.find(name.data, name.size)
        if found == NULL:
            self.hub.unknown_topics += 1
            self.connection.unknown_topic(name.data[:name.size if name.size < 256 else 256])
            return 0
        return (<Synapse>found).receive(payload.data, payload.size, self.hub.pool, self)

    # -- faults --------------------------------------------------------------------------------------------------

    cdef int drop_malformed(self, str reason) except -1:
        self.hub.malformed += 1
        self.connection.malformed(reason)
        return 0

    cdef int fail(self, str expected, str received) except -1:
        self.connection.violation(expected, received, self.received_bytes)
        return 0

    cdef int lost(self, object error) except -1:
        if self.open:
            self.connection.lost(error, self.part != 0 or self.partial_size > 0 or self.big != NULL)
        return 0

    # -- for the connection --------------------------------------------------------------------------------------

    def write(self, bytes wire):
        """Whole frames that are no message: commands, subscriptions."""
        if self.open and wire:
            memcpy(self.outbox.reserve(<size_t>len(wire), 0), <const char *>wire, <size_t>len(wire))
            self.hub.now = monotonic()
            self.hub.touch(self)

    def push_out(self):
        """Flush now; whether everything is with the kernel."""
        if self.open:
            self.flush()
        return self.outbox.queued_bytes == 0

    def close(self):
        """Off the loop and out of the hub; what was not sent, for `inherit`. The connection closes the socket."""
        if not self.open:
            return []
        self.stop()
        self.open = False
        self.hub.discard(self)
        return self.outbox.take_unsent()

    def inherit(self, unsent):
        """First in line on this link: what `close` of its predecessor gave."""
        self.outbox.put_back(unsent)

    @property
    def reading_now(self):
        """Whether this side takes what arrives; not while a reactant's queue is full."""
        return self.reading

    @property
    def unsent_messages(self):
        return self.outbox.waiting()
