# SPDX-License-Identifier: Apache-2.0
"""What the links of one ganglion share, and the half of a link that sends.

Small messages gather in a link's outbox. It is flushed at the end of the event loop's turn, when 64 KiB wait, when the
oldest waiting byte is 1 ms old, and at once for the first message after a silence, since somebody may be waiting for it.
"""

from collections import deque

from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from plexo._fast.books cimport tick
from plexo._fast.outbox cimport Outbox
from plexo._fast.queues cimport DROP_OLDEST, LATEST, Queue, Waiting
from plexo._fast.sending cimport Outlet, Sending
from plexo._fast.slabs cimport Spares
from plexo._fast.synapse cimport Synapse
from plexo._fast.tasks cimport TaskPool, pool_of, running_loop
from plexo._fast.topics cimport TopicTable
from plexo._fast.vigil cimport Vigil
from plexo._fast.wake cimport call_in, monotonic
from plexo.statistics import LinkStats

cdef extern from "Python.h":
    unsigned long PyThread_get_thread_ident() nogil
    Py_ssize_t PY_SSIZE_T_MAX

cdef enum:
    FLUSH_BYTES = 65536

# Reached only by who sends without letting the event loop have a turn. To be woken for a few messages costs a receiver more
# than they do, so the flush is not sooner, and the loop gets its turn with it.
cdef double FLUSH_AGE_S = 1e-3
# How long senders in a tight loop go on without letting the event loop have a turn: some dozens of what a turn costs.
cdef double TURN_S = 1e-3
# Where a ganglion has sent nothing for so long, its next message is flushed before the end of the turn. Asked of the ganglion,
# not of the link: with many subscribers each link has gaps like that in the middle of a burst.
cdef double QUIET_S = 20e-6
# How long a look at the running event loop holds good on one thread. Python up to 3.11 makes a system call for it; no
# loop ends and lets another one run in so short a time.
cdef double LOOP_CHECK_S = 20e-6


cdef class Hub(Sending):
    """What the links of one ganglion share: topics, event loop, receive buffer, limits, and who waits to send."""

    def __init__(self, owner, topics, bint is_pair, uint64_t max_frame_bytes, Queue send_queue, double busy_poll_s=-1):
        self.owner = owner
        self.topics = topics
        self.is_pair = is_pair
        self.max_frame_bytes = max_frame_bytes
        self.send_queue = send_queue
        self.vigil = Vigil.__new__(Vigil, busy_poll_s)
        self.tally = owner._tally
        self.backlog = Waiting.__new__(Waiting, send_queue)
        self.dirty = []
        self.waiting = deque()
        self.spares = Spares.__new__(Spares)
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
        self.tells_once = type(loop).__module__.partition(".")[0] == "uvloop"
        self.pool = pool_of(loop)
        for synapse in self.owner._synapses.values():
            synapse.typed.revive()
            synapse.raw.revive()
        for link in self.links:
            link.start()

    def detach(self):
        """Take the sockets off their loop; they stay open. Those waiting to send belonged to it and are forgotten."""
        cdef Line link
        if self.intake is not None:
            self.intake.stop()
        for link in self.links:
            link.stop()
        if self.flush_handle is not None:
            self.flush_handle.cancel()
            self.flush_handle = None
        self.vigil.end()
        # What they hold is sent when they are started again; a list left here would keep the next flush from its turn.
        for link in self.dirty:
            link.is_dirty = False
        self.dirty = []
        self.loop = None
        self.pool = None
        self.seen_at = 0
        waiting, self.waiting = self.waiting, deque()
        for waiter, _, _ in waiting:
            if not waiter.done() and not waiter.get_loop().is_closed():
                waiter.cancel()

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
        if self.waiting and not self.is_pair:
            # Everybody may have waited for this one subscriber.
            self.admit()

    def close(self, error):
        """No more sending: everybody who waits for room gets `error`."""
        waiting, self.waiting = self.waiting, deque()
        for waiter, _, _ in waiting:
            if not waiter.done() and not waiter.get_loop().is_closed():
                waiter.set_exception(error)

    def forsake(self):
        """In a forked child: forget links and loop without touching either; both are the parent's."""
        cdef Line link
        if self.intake is not None:
            self.intake.forsake()
        for link in self.links:
            link.open = link.reading = link.writing = link.is_dirty = False
        self.links = []
        self.dirty = []
        self.pair_link = None
        self.loop = self.pool = self.flush_handle = None
        self.seen_at = 0
        self.waiting = deque()

    @property
    def waiting_messages(self):
        """Messages not accepted yet: their senders wait for room or for a peer."""
        return sum([not entry[0].done() for entry in self.waiting])

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

        True where the event loop should have a turn now: a full buffer went out, or it had none for long.
        """
        cdef double now = self.now
        self.vigil.sent(now, self.loop)
        if link.outbox.queued_bytes >= FLUSH_BYTES and not link.writing:
            link.flush()
            return True
        if link.is_dirty:
            if now - self.dirty_since > FLUSH_AGE_S:
                self.flush_all()
                return True
            return False
        if now != self.last_touch:
            self.was_quiet = now - self.last_touch > QUIET_S
            self.last_touch = now
        if self.was_quiet and not self.scratch_in_use and not link.writing:
            # The first message after a silence, to each of its receivers: somebody may be waiting for it.
            link.flush()
            return False
        link.is_dirty = True
        if not self.dirty:
            self.dirty_since = now
            # Without a loop this is being closed, and `Connection.finish_sending` flushes.
            if self.flush_handle is None and not self.scratch_in_use and self.loop is not None:
                self.flush_handle = self.loop.call_soon(self.flush_dirty)
        self.dirty.append(link)
        return False

    cdef int begin_turn(self) except -1:
        """The event loop, or the receive thread, says that something came."""
        self.scratch_in_use = True
        return self.vigil.received(monotonic(), self.loop)

    cdef int end_turn(self, TaskPool pool) except -1:
        """It is worked off; `pool` is the one that there was at `begin_turn`."""
        self.scratch_in_use = False
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
                self.waiting = deque([entry for entry in self.waiting if not entry[0].done()])
                self.cancelled = 0

    cdef int admit(self) except -1:
        """Accept what waits, in order, while there is room."""
        cdef Synapse synapse
        if self.admitting:  # a flush below calls back
            return 0
        self.admitting = True
        self.now = monotonic()
        try:
            if self.pair_link is not None and self.backlog.count:
                self.pair_link.refill()
            while self.waiting:
                future, synapse, payload = self.waiting[0]
                if not future.done():  # cancelled: withdrawn
                    if not synapse.has_room():
                        break
                    synapse.push(payload)
                    future.set_result(None)
                self.waiting.popleft()
        finally:
            self.admitting = False
        return 0

    cdef bint has_room(self) except -1:
        """Whether the pair's link is up and takes one more message now."""
        return self.pair_link is not None and self.backlog.count == 0 and self.pair_link.has_room()


cdef class Line(Outlet):
    """One established connection on its event loop, and its sending half; `Link` adds the receiving half."""

    def start(self):
        if not self.open or self.hub.loop is None:
            return
        if self.unfinished():
            self.hub.loop.call_soon(self.on_readable)
        if self.blocked == 0:
            self.reading = True
            self.hub.loop.add_reader(self.fd, self.on_readable)
        self.start_writing()

    cdef int start_writing(self) except -1:
        if self.outbox.queued_bytes:
            self.writing = True
            self.hub.loop.add_writer(self.fd, self.on_writable)
        return 0

    def stop(self):
        loop = self.hub.loop
        if loop is not None and not loop.is_closed():
            if self.reading:
                loop.remove_reader(self.fd)
            if self.writing:
                loop.remove_writer(self.fd)
        self.reading = self.writing = False

    cdef int resume(self) except -1:
        loop = self.hub.loop
        if self.open and loop is not None and not loop.is_closed():
            # A stream's reader may be in another thread.
            call_in(loop, self.on_resume, ())
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
        if self.backlog.told:
            self.tell_freed(False)
        if self.backlog.count and not self.hub.is_pair and not self.refilling:
            self.refill()
        if self.hub.waiting or (self.hub.is_pair and self.backlog.count):
            self.hub.admit()
        return 0

    cdef bint has_room(self) except -1:
        """Whether the outbox takes one more message now."""
        cdef Queue queue = self.hub.send_queue
        cdef Outbox outbox = self.outbox
        if queue.rule == DROP_OLDEST or queue.rule == LATEST:
            if outbox.queued_bytes >= FLUSH_BYTES and not self.writing:
                self.flush()
            return self.open and not self.writing
        if (outbox.queued_bytes >= queue.most_bytes or outbox.held >= queue.most) and not self.writing:
            self.flush()
        return (self.open and outbox.queued_bytes < queue.most_bytes
                and (outbox.held < queue.most or outbox.waiting() < queue.most))

    cdef size_t room_bytes(self) noexcept:
        """How many bytes a batch may add now, `has_room` having said that there is room for a message."""
        cdef int rule = self.hub.send_queue.rule
        cdef size_t most = self.hub.send_queue.most_bytes
        if rule == DROP_OLDEST or rule == LATEST:
            most = FLUSH_BYTES
        if most <= self.outbox.queued_bytes:
            return 1
        return min(most - self.outbox.queued_bytes, <size_t>BURST_BYTES)

    cdef Py_ssize_t room_messages(self) noexcept:
        """The same in messages."""
        cdef Queue queue = self.hub.send_queue
        if queue.rule == DROP_OLDEST or queue.rule == LATEST or queue.most == PY_SSIZE_T_MAX:
            return PY_SSIZE_T_MAX
        return max(<Py_ssize_t>1, queue.most - self.outbox.waiting())

    cdef int refill(self) except -1:
        """From the backlog into the outbox, while there is room; the outbox is flushed at the end of the turn."""
        cdef Synapse synapse
        cdef Waiting backlog = self.backlog
        self.refilling = True
        self.hub.now = monotonic()
        try:
            while backlog.count and self.has_room():
                _, synapse, payload = backlog.pop()
                synapse.lay_out(self, payload)
                if self.hub.is_pair:
                    tick(self.sending.accepted)
                self.hub.touch(self)
        finally:
            self.refilling = False
        return 0

    cdef int tell_freed(self, bint ended) except -1:
        """Say once that nothing is dropped any more: the queue is half empty, or the link has ended."""
        cdef Queue queue = self.hub.send_queue
        if not ended and not (self.outbox.queued_bytes <= queue.most_bytes // 2 and self.outbox.held <= queue.most // 2
                              and self.backlog.half_empty()):
            return 0
        lost, self.backlog.lost = self.backlog.lost, 0
        self.backlog.told = False
        self.hub.owner._queue_freed(self, lost)
        return 0

    cdef uint64_t arrived(self) noexcept:
        """All bytes that were read from the socket; `received_bytes` are those of them that came to be parsed."""
        return self.received_bytes

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
            # Where no loop serves it now, `start` finds it in the outbox.
            if self.hub.loop is not None and not self.hub.loop.is_closed():
                self.hub.now = monotonic()
                self.hub.touch(self)

    def push_out(self):
        """Flush now; whether everything is with the kernel."""
        if self.open:
            self.flush()
        return self.outbox.queued_bytes == 0

    def close(self):
        """Off the loop and out of the hub; what was not sent, for `inherit`. The connection closes the socket.

        May be repeated where it was broken off.
        """
        unsent = self.shut()
        if self.hub.is_pair:
            # Taken back: these are not this link's any more.
            for _, messages in unsent:
                self.sending.accepted -= <uint64_t>messages
        self.hub.discard(self)
        return unsent

    def end(self, cause):
        """`close` for good: what was not sent is dropped by `cause`; how many messages those were."""
        lost = self.hub.write_off(self.shut(), cause, self)
        if not self.hub.is_pair:
            lost += self.drop_backlog(cause)
        self.hub.discard(self)
        return lost

    cdef list shut(self):
        if not self.open:
            return []
        self.stop()
        if self.backlog.told and not self.hub.is_pair:
            self.tell_freed(True)
        self.open = False
        return self.outbox.take_unsent()

    def drop_backlog(self, cause):
        """For a subscriber that is gone: what waited for it, and how many messages that were."""
        cdef Synapse synapse
        entries = self.backlog.clear()
        for _, synapse, _ in entries:
            self.hub.drop(synapse, self, cause)
        return len(entries)

    def inherit(self, unsent):
        """First in line on this link: what `close` of its predecessor gave."""
        for _, messages in unsent:
            self.sending.accepted += <uint64_t>messages
        self.outbox.put_back(unsent)

    def stats(self, peer):
        """LinkStats of this link, whose peer's address is `peer`."""
        self.sending.delivered = self.outbox.taken()
        queued = self.outbox.waiting() + (0 if self.hub.is_pair else self.backlog.count)
        return LinkStats(peer, self.receiving.book(0), self.sending.book(queued), self.arrived(),
                         self.outbox.sent_bytes, self.outbox.queued_bytes)

    @property
    def reading_now(self):
        """Whether this side takes what arrives; not while a reactant's queue is full."""
        return self.reading

    @property
    def arrived_bytes(self):
        """All bytes that were read from the socket, also those that wait to be parsed. Safe from any thread."""
        return self.arrived()
