# SPDX-License-Identifier: Apache-2.0
"""Who gets called for a message, in which order, and what happens when a reactant takes its time.

Every reactant has a *lane*: it gets the messages of its neuron one after another, in the order they came. While its
coroutine is suspended the lane is busy and later messages wait in the lane's queue; no other reactant notices. Two ways
in:

* ``deliver``: a local ``transmit``, whose caller waits for the reactants and gets their errors. A caller that waits
  holds its own message, so such entries are not limited by the lane's queue.
* ``post``: a message from a link. Nobody waits; errors go to the report callback; a full lane pauses the link.

A reactant that transmits its own neuron would wait for itself; such a message is queued and not waited for.
"""

from types import GenericAlias

from libc.stdint cimport uint64_t

from plexo._fast.books cimport Ledger
from plexo._fast.completion cimport Completion, Place, Source, Target, raise_errors
from plexo._fast.inbox cimport Inbox
from plexo._fast.lanes cimport Lane
from plexo._fast.queues cimport Queue
from plexo._fast.tasks cimport TaskPool, running_pool
from plexo._fast.queues import DEFAULT_QUEUE_MESSAGES
from plexo.statistics import Cause, ReactantStats

cdef object CLOSED = Cause.CLOSED
cdef object REMOVED = Cause.REMOVED

# The same in bytes, for messages that came over a link.
DEFAULT_QUEUE_BYTES = 64 << 20
DEFAULT_QUEUE = Queue("block", DEFAULT_QUEUE_MESSAGES, DEFAULT_QUEUE_BYTES)


cdef class Fanout(Place):
    """The reactants of one neuron at one place, and how a message reaches them.

    owner (or None) is told of what nobody awaits, see Place. `queue` bounds what waits for each reactant.
    """

    __class_getitem__ = classmethod(GenericAlias)

    def __cinit__(self, neuron, owner, Queue queue=DEFAULT_QUEUE):
        self.settle_in(neuron, owner)
        self.targets = ()
        self.queue = queue
        self.gone = Ledger.__new__(Ledger)
        self.leaving = []

    def __len__(self):
        return self.count

    @property
    def reactants(self):
        """The user's reactants, in the order they were added."""
        return tuple([target.reactant for target in self.targets if target.reactant is not None])

    @property
    def queued(self):
        """Messages that wait for reactants or are in their hands, over all of them."""
        cdef Target target
        cdef Py_ssize_t queued = 0
        for target in (*self.targets, *self.leaving):
            queued += target.queued()
        return queued

    def reactant_stats(self):
        """A ReactantStats for each reactant and stream, in the order they were added."""
        return tuple([ReactantStats(target.reactant, target.book) for target in self.targets
                      if isinstance(target, Inbox)])

    cdef int add_up(self, Ledger total) except -1:
        """Add the books of all receivers, also of those that were removed."""
        cdef Target target
        for target in (*self.targets, *self.leaving):
            total.absorb(target.ledger)
        return total.absorb(self.gone)

    @property
    def book(self):
        """A statistics.Book over all receivers, also those that were removed."""
        cdef Ledger total = Ledger.__new__(Ledger)
        self.add_up(total)
        return total.book(self.queued)

    def add(self, reactant, Queue queue=None):
        """Add a reactant, with a queue of its own or the usual one; False if it is there already."""
        cdef Target target
        for target in self.targets:
            if target.reactant == reactant:
                return False
        self.add_target(Lane.__new__(Lane, self, reactant, self.queue if queue is None else queue))
        return True

    def remove(self, reactant):
        """Remove a reactant; False if it is not there. What it has begun it finishes; what waits for it is dropped."""
        cdef Target target
        for target in self.targets:
            if target.reactant == reactant:
                self.remove_target(target)
                return True
        return False

    def attach(self, Target target, bint present):
        """Have `target` in or out; nothing happens where that is so already."""
        if (target in self.targets) != present:
            if present:
                self.add_target(target)
            else:
                self.remove_target(target)

    def takers(self):
        """All receivers, where each of them takes records undecoded; else None."""
        cdef Target target
        for target in self.targets:
            if target.record_bytes == 0:
                return None
        return self.targets or None

    cdef int add_target(self, Target target) except -1:
        self.targets = (*self.targets, target)
        self.count = len(self.targets)
        self.wants_reaction = self.wants_reaction or target.wants_reaction
        return 0

    cdef int remove_target(self, Target target) except -1:
        cdef Target left
        self.targets = tuple([known for known in self.targets if known is not target])
        self.count = len(self.targets)
        self.wants_reaction = False
        for left in self.targets:
            self.wants_reaction = self.wants_reaction or left.wants_reaction
        if isinstance(target, Inbox):
            (<Inbox>target).drop_all(REMOVED)
        # What a reactant has begun it finishes; then its book is closed into the sum.
        self.leaving.append(target)
        for left in tuple(self.leaving):
            if left.queued() == 0:
                self.gone.absorb(left.ledger)
                self.leaving.remove(left)
        return 0

    cdef bint refuses(self):
        cdef Target target
        for target in self.targets:
            if target.refuses():
                return True
        return False

    cdef object deliver(self, object data, object reaction_id):
        """A local message: None when every reactant is done, else an awaitable. Raises what they raise."""
        cdef Completion completion
        cdef Target target
        if self.count == 1 and type(self.targets[0]) is Lane:
            return (<Lane>self.targets[0]).deliver(data, reaction_id)
        if self.count == 0:
            return None
        completion = Completion.__new__(Completion)
        completion.waiting = self.count
        completion.targets = self.targets
        return self.deliver_all(data, reaction_id, completion, running_pool())

    cdef object deliver_all(self, object data, object reaction_id, Completion completion, TaskPool pool):
        cdef Target target
        entered = previous = None
        if pool is not None:
            # This may run inside a reactant's first step: its task is not ours to use.
            entered, previous = pool.entered, pool.previous
            pool.entered = None
        try:
            for target in self.targets:
                target.offer(data, reaction_id, completion, pool, None, None)
        finally:
            if pool is not None:
                pool.finish()
                pool.entered = entered
                pool.previous = previous
        if completion.waiting == 0 or (completion.place is not None and completion.errors is not None):
            completion.detached = completion.place is not None
            raise_errors(completion.errors)
            return None
        return completion

    cdef int deliver_now(self, object data, object reaction_id) except -1:
        """A local message that nobody waits for (see Lane.deliver_now); the caller has asked `refuses`."""
        cdef Completion completion
        if self.count == 1 and type(self.targets[0]) is Lane:
            return (<Lane>self.targets[0]).deliver_now(data, reaction_id)
        if self.count == 0:
            return 0
        completion = Completion.__new__(Completion)
        completion.waiting = self.count
        completion.place = self
        self.deliver_all(data, reaction_id, completion, running_pool())
        # From here on nobody looks at the errors: what still runs reports its own.
        completion.detached = True
        return 0

    cdef int post(self, object data, object reaction_id, Completion completion, TaskPool pool, Source source,
                  object payload) except -1:
        """What came from elsewhere: nobody here waits. `completion` where a peer asked to be told."""
        cdef Target target
        for target in self.targets:
            target.offer(data, reaction_id, completion, pool, source, payload)
        return 0

    def revive(self):
        """The event loop is another one now; go on with what an ended loop has left."""
        cdef Target target
        for target in (*self.targets, *self.leaving):
            target.revive()

    def cancel(self):
        """The end: cancel suspended reactants, drop what waits for them; how many messages that were."""
        cdef Target target
        dropped = 0
        for target in (*self.targets, *self.leaving):
            dropped += target.cancel()
        return dropped

    def drop_waiting(self):
        """Drop what came since `cancel`, which cancels once; how many messages that were."""
        cdef Target target
        dropped = 0
        for target in (*self.targets, *self.leaving):
            if isinstance(target, Inbox):
                dropped += (<Inbox>target).drop_all(CLOSED)
        return dropped

    @property
    def suspended(self):
        """(reactant, task, event loop) of every reactant that waits in an event loop which is not closed.

        The task is None where it is the sender's own.
        """
        cdef Target target
        found = []
        for target in (*self.targets, *self.leaving):
            target.suspended(found)
        return found

    def forsake(self):
        """In a forked child: what reactants have in hand or before them is the parent's; begin anew."""
        cdef Target target
        fresh = []
        for target in self.targets:
            fresh.append(target.forsake())
        for target in self.leaving:
            target.forsake()
        self.targets = tuple([target for target in fresh if target is not None])
        self.count = len(self.targets)
        self.leaving = []
        self.gone = Ledger.__new__(Ledger)

    def transmit(self, data, reaction_id=None):
        """`deliver` for Python callers: None, or an awaitable."""
        return self.deliver(data, reaction_id)

    def receive(self, data, reaction_id=None, Source source=None):
        """`post` for Python callers: nobody waits, errors are reported."""
        cdef TaskPool pool = running_pool()
        if pool is None:
            self.post(data, reaction_id, None, None, source, None)
            return
        entered, previous = pool.entered, pool.previous
        pool.entered = None
        try:
            self.post(data, reaction_id, None, pool, source, None)
        finally:
            pool.finish()
            pool.entered = entered
            pool.previous = previous
