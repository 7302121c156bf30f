# SPDX-License-Identifier: Apache-2.0
"""One reactant with its queue: messages one after another, in the order they came.

While the reactant's coroutine is suspended the lane is busy and later messages wait in its queue; no other reactant
notices. See `dispatch` for the two ways in.
"""

from asyncio import CancelledError

from cpython.object cimport PyObject
from cpython.ref cimport Py_XDECREF

from plexo._fast.books cimport tick
from plexo._fast.completion cimport Completion, Place, Source, Target
from plexo._fast.inbox cimport Inbox
from plexo._fast.queues cimport REJECT
from plexo._fast.tasks cimport Driven, PyIter_Send, TaskPool, as_coroutine, current_pool, drive_alone, finish_current, running_loop
from plexo.arity import reactant_arity
from plexo.exceptions import QueueFull
from plexo.statistics import Cause

cdef object CANCELLED = Cause.CANCELLED
cdef object CLOSED = Cause.CLOSED
cdef object REACTANT_ERROR = Cause.REACTANT_ERROR
cdef object WITHDRAWN = Cause.WITHDRAWN

# How long what waits for a reactant rests after its task was cancelled from outside.
cdef double HALT_PAUSE_S = 0.05


cdef class Lane(Inbox):
    """One reactant with its queue."""

    def __cinit__(self, Place place, reactant, queue, *args):
        self.arity = reactant_arity(reactant)
        self.wants_reaction = self.arity == 3

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

    cdef object own_queue_full(self):
        return QueueFull(f"{self.place.neuron}: {self.reactant!r} transmits its own neuron faster than it reacts; "
                         f"{self.pending.count} messages wait for it, and it cannot wait for itself")

    cdef bint own_full(self) noexcept:
        """Whether what the reactant transmits to itself, and cannot wait for, finds no place."""
        return self.queue.waits() and self.pending is not None and self.pending.full(0, 0)

    cdef int give_up(self) except -1:
        """The loop that our coroutine was suspended in was closed."""
        runner, self.runner = self.runner, None
        self.loop = None
        self.turn += 1
        self.busy = self.running = False
        if self.in_hand:
            self.completion = None
            self.not_delivered(CANCELLED)
        if runner is not None:
            runner.abandon()
        return 0

    cdef int look_elsewhere(self) except -1:
        """It is suspended in a loop that does not run here: 1 where that was closed and we gave up.

        RuntimeError where it runs in another thread: neither its futures nor this queue are locked.
        """
        if self.loop.is_closed():
            self.give_up()
            return 1
        if self.loop.is_running():
            raise RuntimeError(f"{self.place.neuron}: {self.reactant!r} is suspended in the event loop of another thread; "
                               "transmit from there, or with asyncio.run_coroutine_threadsafe(..., loop)")
        return 0

    cdef int suspended(self, list found) except -1:
        if self.busy and self.loop is not None and not self.loop.is_closed():
            found.append((self.reactant, None if self.runner is None else self.runner.task, self.loop))
        return 0

    cdef Target forsake(self):
        # Its task goes on in the parent, and there only.
        self.pending = self.paused = None
        return Lane.__new__(Lane, self.place, self.reactant, self.queue)

    cdef int revive(self) except -1:
        if self.busy and self.loop is not None and self.loop.is_closed():
            self.give_up()
        if self.any_pending() and not self.busy:
            self.busy = True
            current_pool().start(self)
        return 0

    cdef int cancel(self) except -1:
        cdef int dropped = self.drop_all(CLOSED)
        # Not where the reactant itself is who closes.
        if self.busy and not self.running and self.loop is not None:
            if self.loop.is_closed():
                self.give_up()
            elif self.runner is None:  # driven by its sender's task, which goes on
                pass
            elif self.loop is not running_loop() and self.loop.is_running():
                self.loop.call_soon_threadsafe(self.runner.task.cancel)
            else:
                self.runner.task.cancel()
        return dropped

    cdef int turn_away(self, object error, Completion completion, Source source, object data, object payload) except -1:
        """A message it cannot take: not raised here, so that the other targets still get it."""
        if completion is None or completion.settled is not None:
            tick(self.ledger.accepted)
            self.ledger.drop(REACTANT_ERROR, 1)
            self.place.failed(error, self.reactant, source, data, payload)
        return 0 if completion is None else completion.one_done(error)

    cdef int offer(self, object data, object reaction_id, Completion completion, TaskPool pool,
                   Source source, object payload) except -1:
        if self.busy:
            if self.loop is not None and (pool is None or self.loop is not pool.loop) and self.loop is not running_loop():
                try:
                    if self.look_elsewhere():
                        return self.offer(data, reaction_id, completion, pool, source, payload)
                except RuntimeError as error:
                    return self.turn_away(error, completion, source, data, payload)
            if completion is not None and self.running and source is None:
                if self.own_full():
                    completion.one_done(self.own_queue_full())
                    return 0
                completion.one_done(None)
                completion = None
            self.enqueue(data, reaction_id, completion, source, payload)
            return 0
        self.busy = True
        if self.any_pending():
            # Left over from an event loop that ended: those come first.
            try:
                self.enqueue(data, reaction_id, completion, source, payload)
            except BaseException:
                self.busy = False
                raise
        else:
            tick(self.ledger.accepted)
            self.take(data, completion, source, payload)
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
                self.completion = None
                self.not_delivered(REACTANT_ERROR)
                self.busy = False
                raise
            finally:
                self.running = False
            self.settle(error)
            if not self.any_pending():
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

    cdef int take(self, object data, Completion completion, Source source, object payload) except -1:
        self.completion = completion
        self.source = source
        if source is not None:
            # For the dead letters, should the reactant fail.
            self.data = data
            self.payload = payload if self.place.keeps_payload else None
        self.in_hand = True
        return 0

    cdef int settle(self, object error) except -1:
        """The message in hand is done with: delivered, or dropped by its `error`; tell who waits for it."""
        cdef Completion completion = self.completion
        self.completion = None
        if error is not None:
            return self.settle_failed(error, completion)
        tick(self.ledger.delivered)
        self.let_go()
        if completion is not None:
            completion.one_done(None)
        return 0

    cdef int settle_failed(self, object error, Completion completion) except -1:
        cdef bint cancelled = isinstance(error, CancelledError)
        source, data, payload = self.source, self.data, self.payload
        if cancelled:
            self.not_delivered(WITHDRAWN if completion is not None and completion.abandoned else CANCELLED)
        else:
            self.ledger.drop(REACTANT_ERROR, 1)
            self.let_go()
            if completion is None or completion.settled is not None:
                self.place.failed(error, self.reactant, source, data, payload)
        if completion is not None:
            if cancelled and completion.settled is not None:
                completion.one_lost(CANCELLED)
            else:
                completion.one_done(error)
        return 0

    cdef object advance(self, object error):
        cdef Completion completion
        if self.in_hand:
            self.settle(error)
        while self.any_pending():
            entry = self.pending.pop()
            data = entry[1]
            reaction_id = entry[2]
            completion = entry[3]
            if self.paused is not None or self.dropping:
                self.relieve()
            if completion is not None and completion.abandoned:
                self.drop(WITHDRAWN, None, entry[4])
                continue
            self.take(data, completion, entry[4], entry[5])
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
            # A cancellation: the loop is ending, or somebody cancelled this very task; not a fault of the reactant.
            self.settle(error)
        self.busy = False
        self.loop = None
        if self.any_pending() and running_loop() is not None:
            # Not at once: if the loop is being shut down, what waits is for the next one.
            running_loop().call_later(HALT_PAUSE_S, self.go_on)
        return 0

    def go_on(self):
        self.revive()

    cdef bint withdrawn(self):
        return self.completion is not None and self.completion.abandoned

    cdef Completion queue_for(self, object data, object reaction_id):
        """Behind others: what its sender awaits."""
        cdef Completion completion = Completion.__new__(Completion)
        completion.waiting = 1
        completion.targets = (self,)
        self.offer(data, reaction_id, completion, None, None, None)
        return completion

    cdef object deliver(self, object data, object reaction_id):
        """A local message with this reactant alone: None when done, or what the sender must await."""
        cdef PyObject *out
        cdef Completion completion
        cdef Inline inline = None
        if self.busy:
            if self.loop is not None and self.loop is not running_loop() and self.look_elsewhere():
                return self.deliver(data, reaction_id)
            if self.running:
                if self.own_full():
                    raise self.own_queue_full()
                self.enqueue(data, reaction_id, None, None, None)
                return None
            completion = self.queue_for(data, reaction_id)
            # A policy that drops or rejects has decided already.
            return completion if completion.waiting or completion.errors is not None else None
        if self.any_pending():
            completion = self.queue_for(data, reaction_id)
            finish_current()
            return completion
        tick(self.ledger.accepted)
        self.busy = True
        self.running = True
        self.in_hand = True
        done = False
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
                    inline.turn = self.turn
                    inline.coroutine = coroutine
                    inline.yielded = <object>out
                    inline.has_yielded = True
                    self.loop = running_loop()
                    Py_XDECREF(out)
                    return inline
                elif coroutine is not None:
                    Py_XDECREF(out)
            done = True
            return None
        finally:
            self.running = False
            if inline is None:
                self.in_hand = False
                if done:
                    tick(self.ledger.delivered)
                else:
                    self.ledger.drop(REACTANT_ERROR, 1)
                if self.pending is None:
                    self.busy = False
                else:
                    self.go_on_with(None)

    cdef int go_on_with(self, TaskPool pool) except -1:
        """After a local message: what came meanwhile."""
        if self.any_pending():
            self.work_through(pool)
            finish_current()
        else:
            self.busy = False
        return 0

    cdef int deliver_now(self, object data, object reaction_id) except -1:
        """A local message that nobody waits for: raises what the reactant raises at once, reports what it raises later."""
        cdef bint suspended = False
        cdef bint done = False
        cdef TaskPool pool
        if self.busy:
            if self.loop is not None and self.loop is not running_loop() and self.look_elsewhere():
                return self.deliver_now(data, reaction_id)
            if self.queue.rule == REJECT and self.refuses():
                raise self.queue_full()
            self.enqueue(data, reaction_id, None, None, None)
            return 0
        if self.any_pending():
            self.offer(data, reaction_id, None, None, None, None)
            finish_current()
            return 0
        tick(self.ledger.accepted)
        self.busy = True
        self.running = True
        self.in_hand = True
        try:
            if self.arity == 1:
                result = self.reactant(data)
            else:
                result = self.call(data, reaction_id)
            if result is not None:
                coroutine = as_coroutine(result)
                if coroutine is not None:
                    pool = drive_alone(self, coroutine)
                    if pool is not None:
                        suspended = True
                        self.completion = None
                        self.loop = pool.loop
            done = True
        finally:
            self.running = False
            if not suspended:
                self.in_hand = False
                if done:
                    tick(self.ledger.delivered)
                else:
                    self.ledger.drop(REACTANT_ERROR, 1)
                if self.pending is None:
                    self.busy = False
                else:
                    self.go_on_with(None)
        return 0


cdef class Inline(Driven):
    """The rest of a suspended reactant, driven by the task that awaits the ``transmit``."""

    cdef Lane lane
    cdef unsigned long turn
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
                self.release(CANCELLED)

    def __del__(self):
        # Never awaited, or dropped with its loop: the lane must not stay busy for ever.
        if self.coroutine is not None and self.lane is not None:
            self.close()

    cdef int release(self, object cause) except -1:
        """The reactant has ended: delivered where `cause` is None."""
        cdef Lane lane = self.lane
        self.coroutine = None
        if lane.turn != self.turn:  # given up with its loop; the lane has gone on
            return 0
        lane.running = False
        lane.loop = None
        if cause is None:
            tick(lane.ledger.delivered)
            lane.let_go()
        else:
            lane.not_delivered(cause)
        if lane.any_pending() and running_loop() is not None:
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
        except StopIteration:
            self.release(None)
            raise
        except BaseException as fault:
            # Counted here, raised to the sender.
            self.release(WITHDRAWN if isinstance(fault, CancelledError) else REACTANT_ERROR)
            raise
        self.lane.running = False
        return result
