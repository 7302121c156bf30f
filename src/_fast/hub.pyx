# SPDX-License-Identifier: Apache-2.0
"""What the links of one ganglion share, and the half of a link that sends."""

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
from plexo._fast.topics cimport TopicTable
from plexo._fast.turns cimport Turns, Waiters
from plexo._fast.wake cimport call_in, monotonic
from plexo.statistics import LinkStats

cdef extern from "Python.h":
    Py_ssize_t PY_SSIZE_T_MAX


cdef class Hub(Turns):
    """What the links of one ganglion share: topics, event loop, receive buffer, limits, and who waits to send."""

    def __init__(self, owner, topics, bint is_pair, uint64_t max_frame_bytes, Queue send_queue, double busy_poll_s=-1):
        Turns.__init__(self, owner, topics, max_frame_bytes, send_queue, busy_poll_s)
        self.is_pair = is_pair
        self.waiting = Waiters.__new__(Waiters)
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
        self.tells_once = type(loop).__module__.partition(".")[0] == "uvloop"
        self.begin_serving(loop)
        for link in self.links:
            link.start()

    def detach(self):
        """Take the sockets off their loop; they stay open. Those waiting to send belonged to it and are forgotten."""
        cdef Line link
        if self.intake is not None:
            self.intake.stop()
        for link in self.links:
            link.stop()
        self.end_serving()
        self.waiting.forget()

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
        self.waiting.fail(error)

    def forsake(self):
        """In a forked child: forget links and loop without touching either; both are the parent's."""
        cdef Line link
        if self.intake is not None:
            self.intake.forsake()
        for link in self.links:
            link.reading = False
        self.forsake_turns()
        self.pair_link = None
        self.waiting.entries = deque()

    @property
    def waiting_messages(self):
        """Messages not accepted yet: their senders wait for room or for a peer."""
        return self.waiting.count()

    cdef object wait_for_room(self, Synapse synapse, bytes payload):
        """Queue up behind those who wait already; the future ends when the message is accepted."""
        return self.waiting.wait(self.loop, synapse, payload)

    cdef int admit(self) except -1:
        """Accept what waits, in order, while there is room."""
        if self.waiting.admitting:
            return 0
        self.now = monotonic()
        if self.pair_link is not None and self.backlog.count:
            self.waiting.admitting = True  # a flush below calls back
            try:
                self.pair_link.refill()
            finally:
                self.waiting.admitting = False
        return self.waiting.admit()

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

    cdef size_t queued_bytes(self) noexcept:
        return self.outbox.queued_bytes

    cdef Py_ssize_t queued_messages(self) noexcept:
        return self.outbox.waiting()

    cdef int census(self, dict counts) except -1:
        return self.outbox.census(self.hub.is_pair, counts)

    cdef Py_ssize_t held_messages(self) noexcept:
        return self.outbox.held

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
