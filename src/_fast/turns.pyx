# SPDX-License-Identifier: Apache-2.0
"""When what was accepted is sent: the event loop's turns, as every transport with queues of its own uses them.

Small messages gather in an outlet (a link, or a multicast source). It is flushed at the end of the event loop's turn, when
64 KiB wait, when the oldest waiting byte is 1 ms old, and at once for the first message after a silence, since somebody may
be waiting for it.
"""

from collections import deque

from libc.stdint cimport uint64_t

from plexo._fast.queues cimport Queue, Waiting
from plexo._fast.sending cimport FLUSH_BYTES, Outlet
from plexo._fast.synapse cimport Synapse
from plexo._fast.tasks cimport TaskPool, pool_of, running_loop
from plexo._fast.vigil cimport Vigil
from plexo._fast.wake cimport monotonic

cdef extern from "Python.h":
    unsigned long PyThread_get_thread_ident() nogil

# Reached only by who sends without letting the event loop have a turn. To be woken for a few messages costs a receiver more
# than they do, so the flush is not sooner, and the loop gets its turn with it.
cdef double FLUSH_AGE_S = 1e-3
# How long senders in a tight loop go on without letting the event loop have a turn: some dozens of what a turn costs.
cdef double TURN_S = 1e-3
# Where a ganglion has sent nothing for so long, its next message is flushed before the end of the turn. Asked of the ganglion,
# not of the outlet: with many of them each has gaps like that in the middle of a burst.
cdef double QUIET_S = 20e-6
# How long a look at the running event loop holds good on one thread. Python up to 3.11 makes a system call for it; no
# loop ends and lets another one run in so short a time.
cdef double LOOP_CHECK_S = 20e-6


cdef class Turns(Sending):
    """The event loop that serves a ganglion, and the outlets that have something to send at the end of its turn.

    `owner._use_loop(loop)` is called where another event loop runs than the last one.
    """

    def __init__(self, owner, topics, uint64_t max_frame_bytes, Queue send_queue, double busy_poll_s=-1):
        self.owner = owner
        self.topics = topics
        self.max_frame_bytes = max_frame_bytes
        self.send_queue = send_queue
        self.vigil = Vigil.__new__(Vigil, busy_poll_s)
        self.tally = owner._tally
        self.backlog = Waiting.__new__(Waiting, send_queue)
        self.dirty = []

    cdef int forsake_turns(self) except -1:
        """In a forked child: forget outlets and loop without touching either; both are the parent's."""
        cdef Outlet outlet
        for outlet in self.links:
            outlet.open = outlet.writing = outlet.is_dirty = False
        self.links = []
        self.dirty = []
        self.loop = self.pool = self.flush_handle = None
        self.seen_at = 0
        return 0

    cdef int begin_serving(self, object loop) except -1:
        self.loop = loop
        self.pool = pool_of(loop)
        for synapse in self.owner._synapses.values():
            synapse.typed.revive()
            synapse.raw.revive()
        return 0

    cdef int end_serving(self) except -1:
        cdef Outlet outlet
        if self.flush_handle is not None:
            self.flush_handle.cancel()
            self.flush_handle = None
        self.vigil.end()
        # What they hold is sent when they are started again; a list left here would keep the next flush from its turn.
        for outlet in self.dirty:
            outlet.is_dirty = False
        self.dirty = []
        self.loop = None
        self.pool = None
        self.seen_at = 0
        return 0

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

    cdef bint touch(self, Outlet outlet) except -1:
        """Bytes were added to `outlet` (the caller has set `now`): flush now or at the end of the turn.

        True where the event loop should have a turn now: a full buffer went out, or it had none for long.
        """
        cdef double now = self.now
        self.vigil.sent(now, self.loop)
        if outlet.queued_bytes() >= FLUSH_BYTES and not outlet.writing:
            outlet.flush()
            return True
        if outlet.is_dirty:
            if now - self.dirty_since > FLUSH_AGE_S:
                self.flush_all()
                return True
            return False
        if now != self.last_touch:
            self.was_quiet = now - self.last_touch > QUIET_S
            self.last_touch = now
        if self.was_quiet and not self.in_turn and not outlet.writing:
            # The first message after a silence, to each of its receivers: somebody may be waiting for it.
            outlet.flush()
            return False
        outlet.is_dirty = True
        if not self.dirty:
            self.dirty_since = now
            # Without a loop this is being closed, and whoever closes flushes.
            if self.flush_handle is None and not self.in_turn and self.loop is not None:
                self.flush_handle = self.loop.call_soon(self.flush_dirty)
        self.dirty.append(outlet)
        return False

    cdef int begin_turn(self) except -1:
        """The event loop, or the receive thread, says that something came."""
        self.in_turn = True
        return self.vigil.received(monotonic(), self.loop)

    cdef int end_turn(self, TaskPool pool) except -1:
        """It is worked off; `pool` is the one that there was at `begin_turn`."""
        self.in_turn = False
        pool.finish()
        if self.dirty:
            self.flush_all()
        return 0

    cdef bint turn_is_over(self) noexcept:
        """Whether senders have held up the event loop for long enough (the caller has set `now`)."""
        if self.now - self.turn < TURN_S:
            return False
        self.turn = self.now
        return True

    def flush_dirty(self):
        self.flush_handle = None
        self.flush_all()

    cpdef flush_all(self):
        cdef Outlet outlet
        dirty, self.dirty = self.dirty, []
        for outlet in dirty:
            outlet.is_dirty = False
            if outlet.open and not outlet.writing:
                outlet.flush()


cdef class Waiters:
    """Senders whose messages were not accepted yet: they wait for room or for a peer, and are served in order."""

    def __cinit__(self):
        self.entries = deque()

    def __bool__(self):
        return len(self.entries) > 0

    cdef object wait(self, object loop, Synapse synapse, bytes payload):
        """Queue up behind those who wait already; the future ends when the message is accepted."""
        future = loop.create_future()
        future.add_done_callback(self.forget_cancelled)
        self.entries.append((future, synapse, payload))
        return future

    def forget_cancelled(self, future):
        """Senders that gave up must not pile up while no peer is there; clears them away by halves."""
        if future.cancelled():
            self.cancelled += 1
            if 2 * self.cancelled > len(self.entries):
                self.entries = deque([entry for entry in self.entries if not entry[0].done()])
                self.cancelled = 0

    cdef int admit(self) except -1:
        """Accept what waits, in order, while there is room."""
        cdef Synapse synapse
        if self.admitting:  # a flush below calls back
            return 0
        self.admitting = True
        try:
            while self.entries:
                future, synapse, payload = self.entries[0]
                if not future.done():  # cancelled: withdrawn
                    if not synapse.has_room():
                        break
                    synapse.push(payload)
                    future.set_result(None)
                self.entries.popleft()
        finally:
            self.admitting = False
        return 0

    cdef int forget(self) except -1:
        """The event loop they belonged to is over."""
        entries, self.entries = self.entries, deque()
        for waiter, _, _ in entries:
            if not waiter.done() and not waiter.get_loop().is_closed():
                waiter.cancel()
        return 0

    cdef int fail(self, object error) except -1:
        """No more sending: everybody gets `error`."""
        entries, self.entries = self.entries, deque()
        for waiter, _, _ in entries:
            if not waiter.done() and not waiter.get_loop().is_closed():
                waiter.set_exception(error)
        return 0

    cdef Py_ssize_t count(self):
        return sum([not entry[0].done() for entry in self.entries])
