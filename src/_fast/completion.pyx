# SPDX-License-Identifier: Apache-2.0
"""What dispatch is made of: where messages come from, who takes them, and who waits for them to be done."""

import asyncio
import sys
from asyncio import CancelledError

from libc.stdint cimport uint8_t, uint64_t

from plexo._fast.books cimport Ledger, Tally
from plexo._fast.tasks cimport TaskPool, Work
from plexo._fast.wake cimport wake_of
from plexo.statistics import Cause

cdef extern from "Python.h":
    unsigned long PyThread_get_thread_ident() nogil

cdef object REACTANT_ERROR = Cause.REACTANT_ERROR


cdef class Place:
    """Where reactants of one neuron are. `owner`, if there is one, is told what nobody awaits:

    owner._tally                                                counts, by cause, neuron and peer
    owner._reactant_failed(error, reactant, neuron, peer, data, payload)
    owner._dropping(neuron, reactant, policy)                   a reactant's queue begins to drop
    owner._stopped_dropping(neuron, reactant, count)            it is half empty again
    """

    cdef int settle_in(self, object neuron, object owner) except -1:
        self.neuron = neuron
        self.name = neuron.name
        self.owner = owner
        self.tally = Tally.__new__(Tally) if owner is None else owner._tally
        return 0

    cdef int count(self, object cause, Source source, uint64_t count) except -1:
        self.tally.add(cause, self.name, "" if source is None else source.host, count)
        return 0

    cdef int failed(self, object error, object reactant, Source source, object data, object payload) except -1:
        self.count(REACTANT_ERROR, source, 1)
        return self.tell_failed(error, reactant, source, data, payload)

    cdef int tell_failed(self, object error, object reactant, Source source, object data, object payload) except -1:
        """`failed`, for what is counted already."""
        if self.owner is not None:
            self.owner._reactant_failed(error, reactant, self.neuron, "" if source is None else source.host, data,
                                        payload)
        return 0


cdef class Source:
    """Something that messages come from and that can be told to stop reading for a while."""

    def __cinit__(self, *args, **kwargs):
        self.host = ""
        self.receiving = Ledger.__new__(Ledger)

    cdef int resume(self) except -1:
        return 0


cdef class Feed(Source):
    """For ganglia written in Python: what comes from the peers on `host`. `resumed()` is called when `stopped` ends."""

    def __init__(self, str host, resumed):
        self.host = host
        self.resumed = resumed

    @property
    def stopped(self):
        """Whether the full queue of a reactant wants nothing more from here for a while."""
        return self.blocked > 0

    cdef int resume(self) except -1:
        self.resumed()
        return 0


cdef class Completion:
    """How far one local message has come with its reactants; awaitable by the one who sent it."""

    cdef int one_done(self, object error) except -1:
        if error is not None:
            if self.detached:
                self.place.failed(error, None, None, None, None)
            elif self.errors is None:
                self.errors = [error]
            else:
                self.errors.append(error)
        self.waiting -= 1
        if self.waiting == 0:
            if self.future is not None:
                wake_of(self.future, self.thread)
            if self.settled is not None:
                settled, self.settled = self.settled, None
                if self.errors is not None and self.cause is None:
                    self.cause = REACTANT_ERROR
                settled(self.cause, self.errors)
        return 0

    cdef int one_lost(self, object cause) except -1:
        """A queue dropped it by its policy. The local sender has nothing more to wait for; a peer that asked is told."""
        self.cause = cause
        return self.one_done(None)

    def __await__(self):
        return self.wait().__await__()

    async def wait(self):
        cdef Target target
        if self.waiting > 0:
            self.thread = PyThread_get_thread_ident()
            self.future = asyncio.get_running_loop().create_future()
            try:
                # A stream's reader may have been at it, in another thread.
                if self.waiting > 0:
                    await self.future
            except CancelledError:
                # As with asyncio.gather: withdraw what waits, cancel what runs.
                self.abandoned = True
                for target in self.targets:
                    target.cancel_for(self)
                raise
        raise_errors(self.errors)


cdef int raise_errors(list errors) except -1:
    if errors is None:
        return 0
    if len(errors) == 1:
        raise errors[0]
    if sys.version_info >= (3, 11):
        kind = ExceptionGroup if all(isinstance(error, Exception) for error in errors) else BaseExceptionGroup
        raise kind(f"{len(errors)} reactants failed", errors)
    # Python 3.10 has no groups: the first is raised and carries the others.
    errors[0].plexo_other_errors = tuple(errors[1:])
    raise errors[0]


cdef class Target(Work):
    """One receiver of a neuron's messages: a reactant's lane, a stream, or a port into a plexus."""

    def __cinit__(self, *args):
        self.ledger = Ledger.__new__(Ledger)

    @property
    def book(self):
        """A statistics.Book of what this receiver got."""
        return self.ledger.book(self.queued())

    cdef Py_ssize_t queued(self) noexcept:
        """What waits, and what the receiver has in hand."""
        return 0

    cdef int offer(self, object data, object reaction_id, Completion completion, TaskPool pool,
                   Source source, object payload) except -1:
        """Take one message: now, or into the queue. `completion` (or None) learns when it is done.

        `payload` is what `data` was decoded from; None for a local message.
        """
        return 0

    cdef Py_ssize_t room(self) noexcept:
        """Messages, at least 1, that `take_records` is given at most."""
        return 1

    cdef int take_records(self, const uint8_t *data, size_t stride, Py_ssize_t count, TaskPool pool,
                          Source source) except -1:
        """Take so many messages of `record_bytes` each, undecoded and `stride` bytes apart, as `offer` takes one."""
        raise NotImplementedError("this receiver takes no records")

    cdef bint refuses(self):
        """Whether a sender would have to wait, or be refused, now."""
        return False

    cdef int revive(self) except -1:
        """The event loop is another one now: give up what the old one will never finish, go on with what waits."""
        return 0

    cdef int cancel_for(self, Completion completion) except -1:
        """The sender of this message is gone: cancel what is suspended over it."""
        return 0

    cdef int cancel(self) except -1:
        """The end: cancel what is suspended, drop what waits; how many messages that were."""
        return 0

    cdef int suspended(self, list found) except -1:
        """Add (reactant, task, event loop) to `found` where a reactant waits in a loop that is not closed."""
        return 0

    cdef Target forsake(self):
        """In a forked child: what takes its place, with a new book, or None. What it had is the parent's."""
        self.ledger = Ledger.__new__(Ledger)
        return self
