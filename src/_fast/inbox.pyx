# SPDX-License-Identifier: Apache-2.0
"""What waits for one receiver, and its book: bounded by a `Queue`, which says what happens to one message more.

A message of a link counts with the size of its payload. At the bound, `block` stops the links that it came on; local
senders, each of whom holds one message and waits for it, are not counted.
"""

from libc.stdint cimport uint64_t

from plexo._fast.books cimport tick
from plexo._fast.completion cimport Completion, Place, Source, Target
from plexo._fast.queues cimport BLOCK, DROP_NEWEST, DROP_OLDEST, LATEST, REJECT, Queue, Waiting
from plexo.exceptions import Closed, QueueFull
from plexo.statistics import Cause

cdef object QUEUE_FULL = Cause.QUEUE_FULL
cdef object REACTANT_ERROR = Cause.REACTANT_ERROR
cdef object REMOVED = Cause.REMOVED
cdef object SUPERSEDED = Cause.SUPERSEDED


cdef class Inbox(Target):
    """A queue before a receiver. Entries: (size, data, reaction_id, completion, source, payload or None)."""

    def __cinit__(self, Place place, reactant, Queue queue, *args):
        self.place = place
        self.reactant = reactant
        self.queue = queue

    cdef bint any_pending(self) noexcept:
        return self.pending is not None and self.pending.count > 0

    cdef Py_ssize_t queued(self) noexcept:
        return (0 if self.pending is None else self.pending.count) + self.in_hand

    cdef bint refuses(self):
        return self.queue.waits() and self.pending is not None and self.pending.full(0, 0)

    cdef object queue_full(self):
        return QueueFull(f"{self.place.neuron}: {self.pending.count} messages wait for {self.reactant!r}, whose queue "
                         f"is {self.queue!r}; await transmit(), or react faster")

    cdef int enqueue(self, object data, object reaction_id, Completion completion, Source source,
                     object payload) except -1:
        """Let one message wait, or drop one, as the policy says. Never raises: whoever could be told has a `completion`."""
        cdef Waiting pending = self.pending
        cdef int rule = self.queue.rule
        cdef tuple entry
        cdef tuple before
        if pending is None:
            pending = self.pending = Waiting.__new__(Waiting, self.queue)
        if rule == REJECT and source is None and completion is not None and pending.full(0, 0):
            return completion.one_done(self.queue_full())
        tick(self.ledger.accepted)
        if (rule == DROP_NEWEST or rule == REJECT) and pending.full(0, 0):
            return self.drop(QUEUE_FULL, completion, source)
        entry = (0 if payload is None else len(payload), data, reaction_id, completion, source,
                 payload if self.place.keeps_payload else None)
        if rule == LATEST:
            try:
                before = pending.replace(self.queue.key_of(data, self.place.neuron), entry)
            except Exception as error:
                # The user's key function, or a key that is not hashable.
                self.ledger.drop(REACTANT_ERROR, 1)
                if completion is not None:
                    completion.one_done(error)
                if source is not None or completion is None:
                    self.place.failed(error, self.reactant, source, data, payload)
                return 0
            if before is not None:
                self.evict(before, SUPERSEDED)
                return 0
            while pending.count > 1 and pending.full(-1, 0):
                self.evict(pending.pop(), QUEUE_FULL)
            return 0
        if rule == DROP_OLDEST:
            while pending.full(0, 0):
                self.evict(pending.pop(), QUEUE_FULL)
        pending.append(entry)
        if rule == BLOCK and source is not None and pending.full(0, 0):
            self.pause(source)
        return 0

    cdef int pause(self, Source source) except -1:
        if self.paused is None:
            self.paused = []
        if source not in self.paused:
            source.blocked += 1
            self.paused.append(source)
        return 0

    cdef int relieve(self) except -1:
        """Once the queue is half empty: let paused sources go on, say that nothing is dropped any more."""
        cdef Source source
        if self.pending is not None and not self.pending.half_empty():
            return 0
        if self.paused is not None:
            paused, self.paused = self.paused, None
            for source in paused:
                source.blocked -= 1
                if source.blocked == 0:
                    source.resume()
        if self.dropping:
            count, self.dropping = self.dropping, 0
            if self.place.owner is not None:
                self.place.owner._stopped_dropping(self.place.neuron, self.reactant, count)
        return 0

    cdef int drop(self, object cause, Completion completion, Source source) except -1:
        """One accepted message is not delivered."""
        self.ledger.drop(cause, 1)
        self.place.count(cause, source, 1)
        if cause is QUEUE_FULL:
            self.dropping += 1
            if self.dropping == 1 and self.place.owner is not None:
                self.place.owner._dropping(self.place.neuron, self.reactant, self.queue.policy)
        if completion is not None:
            completion.one_lost(cause)
        return 0

    cdef int evict(self, tuple entry, object cause) except -1:
        return self.drop(cause, <Completion>entry[3], <Source>entry[4])

    cdef int let_go(self) except -1:
        self.in_hand = False
        if self.source is not None:
            self.source = None
            self.data = self.payload = None
        return 0

    cdef int not_delivered(self, object cause) except -1:
        """The message in hand is dropped, without a word to its sender."""
        self.ledger.drop(cause, 1)
        self.place.count(cause, self.source, 1)
        return self.let_go()

    cdef int drop_all(self, object cause) except -1:
        """Drop everything that waits, by `cause`; how many messages those were. Senders who wait get Closed."""
        cdef Completion completion
        cdef int dropped = 0
        if self.pending is not None:
            for entry in self.pending.clear():
                completion = entry[3]
                self.ledger.drop(cause, 1)
                self.place.count(cause, entry[4], 1)
                dropped += 1
                if completion is None:
                    continue
                if completion.settled is not None or completion.detached or cause is REMOVED:
                    completion.one_lost(cause)
                else:
                    # The sender was not cancelled: it must not look as if somebody had ended it.
                    completion.one_done(Closed(f"{self.place.neuron}: closed before {self.reactant!r} got this message"))
        self.relieve()
        return dropped
