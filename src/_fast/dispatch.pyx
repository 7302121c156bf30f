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

from plexo._fast.completion cimport Completion, Place, Source, Target, raise_errors
from plexo._fast.lanes cimport Lane
from plexo._fast.tasks cimport TaskPool, current_pool, running_loop

# Messages that may wait for one reactant (received ones; see the module's text).
DEFAULT_QUEUE_MESSAGES = 1000


cdef class Fanout(Place):
    """The reactants of one neuron at one place, and how a message reaches them.

    report(error, reactant, neuron) is called for errors that nobody awaits.
    """

    __class_getitem__ = classmethod(GenericAlias)

    def __cinit__(self, neuron, report, Py_ssize_t limit=DEFAULT_QUEUE_MESSAGES):
        if limit < 1:
            raise ValueError(f"limit: expected at least 1 message, got {limit}")
        self.neuron = neuron
        self.report = report
        self.targets = ()
        self.limit = limit

    def __len__(self):
        return self.count

    @property
    def reactants(self):
        """The user's reactants, in the order they were added."""
        return tuple([target.reactant for target in self.targets if target.reactant is not None])

    @property
    def queued(self):
        """Messages waiting for a busy reactant, over all reactants."""
        cdef Target target
        waiting = 0
        for target in self.targets:
            if isinstance(target, Lane) and (<Lane>target).pending:
                waiting += len((<Lane>target).pending)
        return waiting

    def add(self, reactant):
        """Add a reactant; False if it is there already."""
        cdef Target target
        for target in self.targets:
            if target.reactant == reactant:
                return False
        self.add_target(Lane.__new__(Lane, self, reactant, self.limit))
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

    cdef int add_target(self, Target target) except -1:
        self.targets = (*self.targets, target)
        self.count = len(self.targets)
        self.wants_reaction = self.wants_reaction or target.wants_reaction
        return 0

    cdef int remove_target(self, Target target) except -1:
        cdef Completion completion
        cdef Target left
        self.targets = tuple([known for known in self.targets if known is not target])
        self.count = len(self.targets)
        self.wants_reaction = False
        for left in self.targets:
            self.wants_reaction = self.wants_reaction or left.wants_reaction
        if isinstance(target, Lane) and (<Lane>target).pending:
            dropped = list((<Lane>target).pending)
            (<Lane>target).pending.clear()
            (<Lane>target).relieve()
            for _, _, completion in dropped:
                if completion is not None:
                    completion.one_done(None)
        return 0

    cdef bint would_wait(self):
        cdef Target target
        for target in self.targets:
            if target.full():
                return True
        return False

    cdef object deliver(self, object data, object reaction_id):
        """A local message: None when every reactant is done, else an awaitable. Raises what they raise."""
        cdef Completion completion
        cdef Target target
        cdef TaskPool pool = None
        if self.count == 1 and type(self.targets[0]) is Lane:
            return (<Lane>self.targets[0]).deliver(data, reaction_id)
        if self.count == 0:
            return None
        completion = Completion.__new__(Completion)
        completion.waiting = self.count
        completion.targets = self.targets
        if running_loop() is not None:
            pool = current_pool()
        return self.deliver_all(data, reaction_id, completion, pool)

    cdef object deliver_all(self, object data, object reaction_id, Completion completion, TaskPool pool):
        cdef Target target
        entered = previous = None
        if pool is not None:
            # This may run inside a reactant's first step: its task is not ours to use.
            entered, previous = pool.entered, pool.previous
            pool.entered = None
        try:
            for target in self.targets:
                target.offer(data, reaction_id, completion, pool, None)
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
        """A local message that nobody waits for (see Lane.deliver_now); the caller has asked `would_wait`."""
        cdef Completion completion
        cdef TaskPool pool = None
        if self.count == 1 and type(self.targets[0]) is Lane:
            return (<Lane>self.targets[0]).deliver_now(data, reaction_id)
        if self.count == 0:
            return 0
        completion = Completion.__new__(Completion)
        completion.waiting = self.count
        completion.place = self
        if running_loop() is not None:
            pool = current_pool()
        self.deliver_all(data, reaction_id, completion, pool)
        # From here on nobody looks at the errors: what still runs reports its own.
        completion.detached = True
        return 0

    cdef int post(self, object data, object reaction_id, TaskPool pool, Source source) except -1:
        cdef Target target
        for target in self.targets:
            target.offer(data, reaction_id, None, pool, source)
        return 0

    def revive(self):
        """The event loop is another one now; go on with what an ended loop has left."""
        cdef Target target
        for target in self.targets:
            target.revive()

    def cancel(self):
        """The end: cancel suspended reactants, drop what waits for them; how many messages that were."""
        cdef Target target
        dropped = 0
        for target in self.targets:
            dropped += target.cancel()
        return dropped

    def transmit(self, data, reaction_id=None):
        """`deliver` for Python callers: None, or an awaitable."""
        return self.deliver(data, reaction_id)

    def receive(self, data, reaction_id=None):
        """`post` for Python callers: nobody waits, errors are reported."""
        cdef TaskPool pool = None
        if running_loop() is None:
            self.post(data, reaction_id, None, None)
            return
        pool = current_pool()
        entered, previous = pool.entered, pool.previous
        pool.entered = None
        try:
            self.post(data, reaction_id, pool, None)
        finally:
            pool.finish()
            pool.entered = entered
            pool.previous = previous
