# SPDX-License-Identifier: Apache-2.0
"""What waits to be sent, and what is dropped instead: the policies of the send queue.

What a link cannot take now depends on the policy. Under `block` the senders wait (`Waiters`: they hold their own
messages). Under `drop_newest` and `reject` the outbox is the queue. What is laid out in an outbox cannot be taken back, so
under `drop_oldest` and `latest` an outbox gets only what the system takes, and the rest waits in the link's backlog. A pair
has one backlog for all its links, one after another: it also keeps what came while no peer was there.
"""

from libc.stdint cimport uint64_t

from plexo._fast.books cimport tick
from plexo._fast.completion cimport Source
from plexo._fast.queues cimport BLOCK, DROP_NEWEST, DROP_OLDEST, LATEST, REJECT, Waiting
from plexo._fast.synapse cimport Synapse
from plexo._fast.wake cimport monotonic
from plexo._fast.outbox import census_of
from plexo.exceptions import QueueFull
from plexo.statistics import Cause

cdef extern from "Python.h":
    Py_ssize_t PY_SSIZE_T_MAX

cdef object QUEUE_FULL = Cause.QUEUE_FULL
cdef object SUPERSEDED = Cause.SUPERSEDED

# Forwarded messages, which no sender waits with, that are kept under `block` while a link has no room or no peer is there.
MAX_FORWARD_WAITING = 1000
cdef Py_ssize_t _max_forward_waiting = MAX_FORWARD_WAITING


cdef class Outlet(Source):
    """The sending half of one link, as a queue."""

    cdef int flush(self) except -1:
        """Send what the system takes."""
        raise NotImplementedError("an outlet must say how it sends")

    cdef size_t queued_bytes(self) noexcept:
        """Laid out and not sent."""
        return 0

    cdef Py_ssize_t queued_messages(self) noexcept:
        """Laid out and not wholly sent."""
        return 0

    cdef Py_ssize_t held_messages(self) noexcept:
        """Not less than `queued_messages`, and quickly said."""
        return self.queued_messages()

    cdef int census(self, dict counts) except -1:
        """Add `queued_messages`, by topic."""
        return 0

    cdef bint has_room(self) except -1:
        """Whether it takes one more message now."""
        cdef Queue queue = self.queues.send_queue
        if queue.rule == DROP_OLDEST or queue.rule == LATEST:
            if self.queued_bytes() >= FLUSH_BYTES and not self.writing:
                self.flush()
            return self.open and not self.writing
        if (self.queued_bytes() >= queue.most_bytes or self.held_messages() >= queue.most) and not self.writing:
            self.flush()
        return (self.open and self.queued_bytes() < queue.most_bytes
                and (self.held_messages() < queue.most or self.queued_messages() < queue.most))

    cdef size_t room_bytes(self) noexcept:
        """How many bytes a batch may add now, `has_room` having said that there is room for a message."""
        cdef int rule = self.queues.send_queue.rule
        cdef size_t most = self.queues.send_queue.most_bytes
        if rule == DROP_OLDEST or rule == LATEST:
            most = FLUSH_BYTES
        if most <= self.queued_bytes():
            return 1
        return min(most - self.queued_bytes(), <size_t>BURST_BYTES)

    cdef Py_ssize_t room_messages(self) noexcept:
        """The same in messages."""
        cdef Queue queue = self.queues.send_queue
        if queue.rule == DROP_OLDEST or queue.rule == LATEST or queue.most == PY_SSIZE_T_MAX:
            return PY_SSIZE_T_MAX
        return max(<Py_ssize_t>1, queue.most - self.queued_messages())

    cdef int refill(self) except -1:
        """From the backlog, while there is room; it is flushed at the end of the turn."""
        cdef Synapse synapse
        cdef Waiting backlog = self.backlog
        self.refilling = True
        self.queues.now = monotonic()
        try:
            while backlog.count and self.has_room():
                _, synapse, payload = backlog.pop()
                synapse.lay_out(self, payload)
                if self.queues.is_pair:
                    tick(self.sending.accepted)
                self.queues.touch(self)
        finally:
            self.refilling = False
        return 0

    cdef int tell_freed(self, bint ended) except -1:
        """Say once that nothing is dropped any more: the queue is half empty, or the link has ended."""
        cdef Queue queue = self.queues.send_queue
        if not ended and not (self.queued_bytes() <= queue.most_bytes // 2 and self.held_messages() <= queue.most // 2
                              and self.backlog.half_empty()):
            return 0
        lost, self.backlog.lost = self.backlog.lost, 0
        self.backlog.told = False
        self.queues.owner._queue_freed(self, lost)
        return 0


cdef class Sending:
    """The send queues of one ganglion. `owner` is told of the rare:

    owner._queue_full(link or None, synapse)    a link's queue begins to be full (None: a pair's, without peer)
    owner._queue_freed(link, dropped)           it is half empty again, or the link is gone
    """

    def __cinit__(self, *args, **kwargs):
        self.links = []

    cdef bint touch(self, Outlet outlet) except -1:
        """Bytes were added to `outlet` (the caller has set `now`): see to it that they are sent."""
        raise NotImplementedError("somebody must say when an outlet is flushed")

    cdef object key_of(self, Synapse synapse, bytes payload, object data):
        """For `latest`: whose place this message takes. `data` is what was encoded; None: decode. Raises what either raises."""
        if self.send_queue.rule != LATEST or self.send_queue.key is None:
            return synapse
        # Values of several neurons share a queue.
        key = (synapse, self.send_queue.key(synapse.decode(payload) if data is None else data))
        hash(key)
        return key

    cdef bint spill(self, Waiting backlog, Outlet link, Synapse synapse, bytes payload, object key) except -1:
        """A message that `link` (None: no peer is there) does not take now: keep it, or drop one, as the policy says.

        `key` is what `key_of` said. True where this one is kept. Raises QueueFull under `reject`.
        """
        cdef int rule = self.send_queue.rule
        cdef tuple entry = (len(payload), synapse, payload)
        cdef tuple before
        if rule == BLOCK:
            full = backlog.count >= _max_forward_waiting
        elif rule == REJECT or rule == DROP_NEWEST:
            full = backlog.full(0, 0) if link is None else backlog.full(link.queued_messages(), link.queued_bytes())
        if rule == REJECT and full:
            raise self.queue_full(link, synapse)
        tick(synapse.sending.accepted)
        if link is not None and not self.is_pair:
            tick(link.sending.accepted)
        if rule == LATEST:
            before = backlog.replace(key, entry)
            if before is not None:
                self.drop(<Synapse>before[1], link, SUPERSEDED)
            while backlog.count > 1 and backlog.full(-1, 0):
                self.drop_for_room(backlog, <Synapse>backlog.pop()[1], link)
            return True
        if rule == DROP_OLDEST:
            while backlog.full(0, 0):
                self.drop_for_room(backlog, <Synapse>backlog.pop()[1], link)
        elif full:
            self.drop_for_room(backlog, synapse, link)
            return False
        backlog.append(entry)
        return True

    cdef int drop(self, Synapse synapse, Outlet link, object cause) except -1:
        """One accepted message of `synapse` is not sent."""
        synapse.sending.drop(cause, 1)
        if link is not None and not self.is_pair:
            link.sending.drop(cause, 1)
        self.tally.add(cause, synapse.name, "" if link is None else link.host, 1)
        return 0

    cdef int drop_for_room(self, Waiting backlog, Synapse synapse, Outlet link) except -1:
        self.drop(synapse, link, QUEUE_FULL)
        backlog.lost += 1
        return self.tell_full(backlog, synapse, link)

    cdef int tell_full(self, Waiting backlog, Synapse synapse, Outlet link) except -1:
        """Once, until the queue is half empty again (`Outlet.tell_freed`)."""
        if not backlog.told:
            backlog.told = True
            self.owner._queue_full(link, synapse)
        return 0

    cdef object queue_full(self, Outlet link, Synapse synapse):
        to = "a peer that is not there" if link is None else link.connection.peer
        return QueueFull(f"{synapse.neuron}: the queue to {to} is full ({self.send_queue!r}); nothing was sent")

    def queued_by_topic(self, unsent):
        """Messages accepted and not wholly with the system, by topic; `unsent`: what lost links gave back."""
        cdef Outlet link
        cdef dict counts = census_of(unsent, self.is_pair)
        for link in self.links:
            link.census(counts)
            if link.backlog is not self.backlog:
                count_entries(link.backlog, counts)
        count_entries(self.backlog, counts)
        return counts

    def drop_backlog(self, cause):
        """The end of a pair: what waited for a peer is dropped; how many messages that were."""
        cdef Synapse synapse
        entries = self.backlog.clear()
        for _, synapse, _ in entries:
            self.drop(synapse, None, cause)
        return len(entries)

    def write_off(self, unsent, cause, Outlet link):
        """What `Line.close` gave back will never be sent: count it, by neuron; how many messages that were.

        Taken out of the list, so that it cannot be counted twice.
        """
        cdef Synapse synapse
        total = 0
        counts = census_of(unsent, self.is_pair)
        unsent.clear()
        for topic, count in counts.items():
            synapse = self.topics.get(topic)
            total += count
            if link is not None:
                link.sending.drop(cause, count)
            if synapse is not None:
                synapse.sending.drop(cause, count)
                self.tally.add(cause, synapse.name, "" if link is None else link.host, count)
        return total


cdef int count_entries(Waiting backlog, dict counts) except -1:
    cdef Synapse synapse
    if backlog.count:
        for _, synapse, _ in backlog.all():
            counts[synapse.topic] = counts.get(synapse.topic, 0) + 1
    return 0
