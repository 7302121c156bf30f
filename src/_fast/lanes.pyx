# SPDX-License-Identifier: Apache-2.0
"""One reactant with its queue: messages one after another, in the order they came.

While the reactant's coroutine is suspended the lane is busy and later messages wait in its queue; no other reactant
notices. See `dispatch` for the two ways in.
"""

import inspect
from asyncio import CancelledError
from collections import deque

from cpython.object cimport PyObject
from cpython.ref cimport Py_XDECREF

from plexo._fast.completion cimport Completion, Place, Source, Target
from plexo.exceptions import QueueFull
from plexo._fast.tasks cimport Driven, PyIter_Send, TaskPool, as_coroutine, current_pool, running_loop

# How long what waits for a reactant rests after its task was cancelled from outside.
cdef double HALT_PAUSE_S = 0.05


def reactant_arity(reactant):
    """How many of (data, neuron, reaction_id) `reactant` takes: 1, 2 or 3.

    Parameters with a default count where they are meant for it: behind two required ones (1.0's `reaction_id=None`), or
    named `neuron` or `reaction_id`. So `def react(data, tank=tank)`, which binds a loop's variable, takes one.

    Raises TypeError where it is not callable or takes none of these counts.
    """
    if not callable(reactant):
        raise TypeError(f"reactant: expected a callable, got {type(reactant).__name__}")
    try:
        parameters = inspect.signature(reactant).parameters.values()
    except ValueError:  # a builtin without a signature, such as list.append
        return 1
    positional = 0
    required = 0
    for parameter in parameters:
        if parameter.kind == parameter.VAR_POSITIONAL:
            positional = 3
        elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            if parameter.default is parameter.empty:
                required += 1
                positional += 1
            elif positional == 0 or required >= 2 or parameter.name in ("neuron", "reaction_id"):
                positional += 1
        elif parameter.kind == parameter.KEYWORD_ONLY and parameter.default is parameter.empty:
            raise TypeError(f"reactant {reactant!r} needs the keyword argument {parameter.name!r}; "
                            "it is called with (data[, neuron[, reaction_id]])")
    if positional == 0 or required > 3:
        raise TypeError(f"reactant {reactant!r} takes {required or 'no'} positional arguments; expected one to three: "
                        "(data[, neuron[, reaction_id]])")
    return min(positional, 3)


cdef class Lane(Target):
    """One reactant with its queue."""

    def __cinit__(self, Place place, reactant, Py_ssize_t limit):
        self.place = place
        self.reactant = reactant
        self.arity = reactant_arity(reactant)
        self.wants_reaction = self.arity == 3
        self.limit = limit

    cdef object call(self, object data, object reaction_id):
        if self.arity == 1:
            return self.reactant(data)
        if self.arity == 2:
            return self.reactant(data, self.place.neuron)
        return self.reactant(data, self.place.neuron, reaction_id)

    cdef int cancel_for(self, Completion completion) except -1:
        if self.in_hand and self.completion is completion and self.runner is not None:
            self.runner.task.cancel()
        return 0

    cdef bint full(self):
        return self.pending is not None and len(self.pending) >= self.limit

    cdef object own_queue_full(self):
        return QueueFull(f"{self.place.neuron}: {self.reactant!r} transmits its own neuron faster than it reacts; "
                         f"{self.limit} messages wait for it, and it cannot wait for itself")

    cdef int queue(self, object data, object reaction_id, Completion completion, Source source) except -1:
        if self.pending is None:
            self.pending = deque()
        self.pending.append((data, reaction_id, completion))
        if source is not None and completion is None and len(self.pending) >= self.limit:
            if self.paused is None:
                self.paused = []
            if source not in self.paused:
                source.blocked += 1
                self.paused.append(source)
        return 0

    cdef int give_up(self) except -1:
        """The loop that our coroutine was suspended in was closed."""
        runner, self.runner = self.runner, None
        self.loop = None
        self.busy = self.running = self.in_hand = False
        self.completion = None
        if runner is not None:
            runner.abandon()
        return 0

    cdef int revive(self) except -1:
        if self.busy and self.loop is not None and self.loop.is_closed():
            self.give_up()
        if self.pending and not self.busy:
            self.busy = True
            current_pool().start(self)
        return 0

    cdef int cancel(self) except -1:
        cdef Completion completion
        cdef int dropped = 0
        if self.pending:
            waiting, self.pending = self.pending, None
            for _, _, completion in waiting:
                if completion is None:
                    dropped += 1
                else:
                    completion.one_done(CancelledError())
        self.relieve()
        if self.busy and self.runner is not None and self.loop is not None and not self.loop.is_closed():
            self.runner.task.cancel()
        return dropped

    cdef int relieve(self) except -1:
        """Let paused sources go on once the queue is half empty."""
        cdef Source source
        if self.paused is not None and (self.pending is None or 2 * len(self.pending) <= self.limit):
            paused, self.paused = self.paused, None
            for source in paused:
                source.blocked -= 1
                if source.blocked == 0:
                    source.resume()
        return 0

    cdef int offer(self, object data, object reaction_id, Completion completion, TaskPool pool,
                   Source source) except -1:
        if self.busy:
            if self.loop is not None and self.loop.is_closed():
                self.give_up()
                return self.offer(data, reaction_id, completion, pool, source)
            if completion is not None and self.running:
                if self.full():
                    completion.one_done(self.own_queue_full())
                    return 0
                completion.one_done(None)
                completion = None
            self.queue(data, reaction_id, completion, source)
            return 0
        self.busy = True
        if self.pending:
            # Left over from an event loop that ended: those come first.
            self.queue(data, reaction_id, completion, source)
        else:
            self.completion = completion
            self.in_hand = True
            error = None
            self.running = True
            try:
                result = self.call(data, reaction_id)
                if result is not None:
                    coroutine = as_coroutine(result)
                    if coroutine is not None:
                        if pool is None:
                            pool = current_pool()
                        if pool.drive(self, coroutine) == 0:
                            self.loop = pool.loop
                            return 0
            except (Exception, CancelledError) as fault:
                error = fault
            except BaseException:
                self.in_hand = False
                self.busy = False
                raise
            finally:
                self.running = False
            self.settle(error)
            if not self.pending:
                self.busy = False
                return 0
        return self.work_through(pool)

    cdef int work_through(self, TaskPool pool) except -1:
        """Messages that came while the reactant ran (it transmitted its own neuron), or that an ended loop left."""
        coroutine = self.advance(None)
        while coroutine is not None:
            if pool is None:
                pool = current_pool()
            error = None
            self.running = True
            try:
                if pool.drive(self, coroutine) == 0:
                    self.loop = pool.loop
                    return 0
            except (Exception, CancelledError) as fault:
                error = fault
            finally:
                self.running = False
            coroutine = self.advance(error)
        return 0

    cdef int settle(self, object error) except -1:
        cdef Completion completion = self.completion
        self.completion = None
        self.in_hand = False
        if completion is not None:
            completion.one_done(error)
        elif error is not None:
            self.place.failed(error, self.reactant)
        return 0

    cdef object advance(self, object error):
        cdef Completion completion
        if self.in_hand:
            self.settle(error)
        while self.pending:
            data, reaction_id, completion = self.pending.popleft()
            if self.paused is not None:
                self.relieve()
            if completion is not None and completion.abandoned:
                continue
            self.completion = completion
            self.in_hand = True
            fault = None
            self.running = True
            try:
                result = self.call(data, reaction_id)
                if result is not None:
                    coroutine = as_coroutine(result)
                    if coroutine is not None:
                        return coroutine
            except (Exception, CancelledError) as raised:
                fault = raised
            finally:
                self.running = False
            self.settle(fault)
        self.busy = False
        self.loop = None
        return None

    cdef int halt(self, object error) except -1:
        if self.in_hand:
            if self.completion is None and isinstance(error, CancelledError):
                # The loop is ending, or somebody cancelled this very task: not a fault of the reactant.
                self.in_hand = False
            else:
                self.settle(error)
        self.busy = False
        self.loop = None
        if self.pending and running_loop() is not None:
            # Not at once: if the loop is being shut down, what waits is for the next one.
            running_loop().call_later(HALT_PAUSE_S, self.go_on)
        return 0

    def go_on(self):
        self.revive()

    cdef bint withdrawn(self):
        return self.completion is not None and self.completion.abandoned

    cdef object deliver(self, object data, object reaction_id):
        """A local message with this reactant alone: None when done, or what the sender must await."""
        cdef PyObject *out
        cdef Completion completion
        cdef Inline inline = None
        if self.busy:
            if self.loop is not None and self.loop.is_closed():
                self.give_up()
                return self.deliver(data, reaction_id)
            if self.running:
                if self.full():
                    raise self.own_queue_full()
                self.queue(data, reaction_id, None, None)
                return None
            completion = Completion.__new__(Completion)
            completion.waiting = 1
            completion.targets = (self,)
            self.queue(data, reaction_id, completion, None)
            return completion
        if self.pending:
            completion = Completion.__new__(Completion)
            completion.waiting = 1
            completion.targets = (self,)
            self.offer(data, reaction_id, completion, None, None)
            finish_current()
            return completion
        self.busy = True
        self.running = True
        try:
            if self.arity == 1:
                result = self.reactant(data)
            else:
                result = self.call(data, reaction_id)
            if result is not None:
                coroutine = as_coroutine(result)
                if coroutine is not None and PyIter_Send(coroutine, None, &out) == 1:
                    inline = Inline.__new__(Inline)
                    inline.lane = self
                    inline.coroutine = coroutine
                    inline.yielded = <object>out
                    inline.has_yielded = True
                    self.loop = running_loop()
                    Py_XDECREF(out)
                    return inline
                elif coroutine is not None:
                    Py_XDECREF(out)
            return None
        finally:
            self.running = False
            if inline is None:
                if self.pending:
                    self.work_through(None)
                    finish_current()
                else:
                    self.busy = False


    cdef int deliver_now(self, object data, object reaction_id) except -1:
        """A local message that nobody waits for: raises what the reactant raises at once, reports what it raises later."""
        cdef bint suspended = False
        cdef TaskPool pool
        if self.busy:
            if self.loop is not None and self.loop.is_closed():
                self.give_up()
                return self.deliver_now(data, reaction_id)
            self.queue(data, reaction_id, None, None)
            return 0
        if self.pending:
            self.offer(data, reaction_id, None, None, None)
            finish_current()
            return 0
        self.busy = True
        self.running = True
        try:
            if self.arity == 1:
                result = self.reactant(data)
            else:
                result = self.call(data, reaction_id)
            if result is not None:
                coroutine = as_coroutine(result)
                if coroutine is not None:
                    suspended = drive_alone(self, coroutine)
        finally:
            self.running = False
            if not suspended:
                if self.pending:
                    self.work_through(None)
                    finish_current()
                else:
                    self.busy = False
        return 0


cdef bint drive_alone(Lane lane, object coroutine) except -1:
    """The coroutine's first step under a spare task; True if it suspended (the lane is told when it ends)."""
    cdef TaskPool pool
    try:
        pool = current_pool()
    except RuntimeError:
        close = getattr(coroutine, "close", None)
        if close is not None:
            close()
        raise
    entered, previous = pool.entered, pool.previous
    pool.entered = None
    try:
        if pool.drive(lane, coroutine) == 0:
            lane.in_hand = True
            lane.completion = None
            lane.loop = pool.loop
            return True
        return False
    finally:
        pool.finish()
        pool.entered = entered
        pool.previous = previous


cdef int finish_current() except -1:
    if running_loop() is not None:
        current_pool().finish()
    return 0


cdef class Inline(Driven):
    """The rest of a suspended reactant, driven by the task that awaits the ``transmit``."""

    cdef Lane lane
    cdef object coroutine
    cdef object yielded
    cdef bint has_yielded

    def close(self):
        coroutine, self.coroutine = self.coroutine, None
        if coroutine is not None:
            close = getattr(coroutine, "close", None)
            try:
                if close is not None:
                    close()
            finally:
                self.release()

    def __del__(self):
        # Never awaited, or dropped with its loop: the lane must not stay busy for ever.
        if self.coroutine is not None and self.lane is not None:
            self.close()

    cdef int release(self) except -1:
        cdef Lane lane = self.lane
        self.coroutine = None
        lane.running = False
        lane.loop = None
        if lane.pending and running_loop() is not None:
            current_pool().start(lane)
        else:
            lane.busy = False
        return 0

    cdef object step(self, object error):
        cdef PyObject *out
        if self.coroutine is None:
            raise RuntimeError("cannot await the same transmission twice")
        if self.has_yielded and error is None:
            yielded, self.yielded = self.yielded, None
            self.has_yielded = False
            return yielded
        self.has_yielded = False
        self.yielded = None
        self.lane.running = True
        try:
            if error is not None:
                result = self.coroutine.throw(error)
            elif PyIter_Send(self.coroutine, None, &out) == 1:
                result = <object>out
                Py_XDECREF(out)
            else:
                Py_XDECREF(out)
                raise StopIteration
        except BaseException:
            self.release()
            raise
        self.lane.running = False
        return result
