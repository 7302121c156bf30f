# SPDX-License-Identifier: Apache-2.0
"""What dispatch is made of: where messages come from, who takes them, and who waits for them to be done."""

import asyncio
import sys
from asyncio import CancelledError

from plexo._fast.tasks cimport TaskPool, Work


cdef class Place:
    """Where reactants of one neuron are. report(error, reactant, neuron) is told of errors that nobody awaits."""

    cdef int failed(self, object error, object reactant) except -1:
        self.errors += 1
        if self.report is not None:
            self.report(error, reactant, self.neuron)
        return 0


cdef class Source:
    """Something that messages come from and that can be told to stop reading for a while."""

    cdef int resume(self) except -1:
        return 0


cdef class Completion:
    """How far one local message has come with its reactants; awaitable by the one who sent it."""

    cdef int one_done(self, object error) except -1:
        if error is not None:
            if self.detached:
                self.place.failed(error, None)
            elif self.errors is None:
                self.errors = [error]
            else:
                self.errors.append(error)
        self.waiting -= 1
        if self.waiting == 0 and self.future is not None and not self.future.done():
            self.future.set_result(None)
        return 0

    def __await__(self):
        return self.wait().__await__()

    async def wait(self):
        cdef Target target
        if self.waiting > 0:
            self.future = asyncio.get_running_loop().create_future()
            try:
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
    """One receiver of a neuron's messages: a reactant's lane, or a port into a plexus."""

    cdef int offer(self, object data, object reaction_id, Completion completion, TaskPool pool,
                   Source source) except -1:
        """Take one message: now, or into the queue. `completion` (or None) learns when it is done."""
        return 0

    cdef bint full(self):
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
