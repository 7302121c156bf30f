# SPDX-License-Identifier: Apache-2.0
"""What the links of one ganglion share, and the half of a link that sends.

Small messages gather in a link's outbox. It is flushed at the end of the event loop's turn, when 64 KiB wait, when the
oldest waiting byte is 200 us old, and at once for the first message after a silence, since somebody may be waiting for it.
"""

from collections import deque

from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from plexo._fast.completion cimport Source
from plexo._fast.outbox cimport Outbox
from plexo._fast.synapse cimport Synapse
from plexo._fast.tasks cimport TaskPool, pool_of, running_loop
from plexo._fast.topics cimport TopicTable

cdef extern from "<time.h>" nogil:
    struct timespec:
        long tv_sec
        long tv_nsec
    int CLOCK_MONOTONIC
    int clock_gettime(int, timespec *)

cdef extern from "Python.h":
    unsigned long PyThread_get_thread_ident() nogil

cdef enum:
    FLUSH_BYTES = 65536

cdef double FLUSH_AGE_S = 200e-6
# A link that nothing was sent on for so long is flushed at its first message, before the end of the turn.
cdef double QUIET_S = 20e-6
# How long a look at the running event loop holds good on one thread. Python up to 3.11 makes a system call for it; no
# loop ends and lets another one run in so short a time.
cdef double LOOP_CHECK_S = 5e-6


cdef double monotonic() noexcept:
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
        cdef Line link
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
        cdef Line link
        for link in self.links:
            link.stop()
        if self.flush_handle is not None:
            self.flush_handle.cancel()
            self.flush_handle = None
        # What they hold is sent when they are started again; a list left here would keep the next flush from its turn.
        for link in self.dirty:
            link.is_dirty = False
        self.dirty = []
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

    def add(self, Line link):
        self.links.append(link)
        if self.is_pair:
            self.pair_link = link
        link.start()
        link.flush()
        if link.open:
            self.admit()

    def discard(self, Line link):
        if link in self.links:
            self.links.remove(link)
        if self.pair_link is link:
            self.pair_link = None

    def close(self, error):
        """No more sending: everybody who waits for room gets `error`."""
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

    cdef bint touch(self, Line link) except -1:
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
        cdef Line link
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
        cdef Line link = self.pair_link
        if link is None:
            return False
        if link.outbox.queued_bytes >= self.send_queue_bytes and not link.writing:
            link.flush()
        return link.open and link.outbox.queued_bytes < self.send_queue_bytes


cdef class Line(Source):
    """One established connection on its event loop, and its sending half; `Link` adds the receiving half."""

    def start(self):
        if not self.open or self.hub.loop is None:
            return
        if self.unfinished():
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

    cdef bint unfinished(self) noexcept:
        """Whether the beginning of a message is here and its end is not."""
        return False

    cdef int lost(self, object error) except -1:
        if self.open:
            self.connection.lost(error, self.unfinished())
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
