# SPDX-License-Identifier: Apache-2.0
"""A reactant that gets its messages by batches: everything that one turn of the event loop brought, or `max_batch`.

A batch is handed over when it is full, at the end of the turn, or, with `max_wait_s`, so long after its first message.
While the reactant is busy the next batches fill; its queue bounds what is in them, message by message, as elsewhere. A
local sender is done when its message is in a batch; a peer that asked to be told is told when the batch is done with.
"""

from asyncio import CancelledError
from collections import deque

from libc.stdint cimport uint8_t, uint64_t

from plexo._fast.batches cimport Batch
from plexo._fast.completion cimport Completion, Place, Source, Target
from plexo._fast.lanes cimport Lane
from plexo._fast.queues cimport BLOCK, DROP_NEWEST, DROP_OLDEST, REJECT
from plexo._fast.tasks cimport TaskPool, as_coroutine, current_pool, running_loop
from plexo.exceptions import Closed
from plexo.failure import DeadLetter
from plexo.statistics import Cause

cdef object CANCELLED = Cause.CANCELLED
cdef object CLOSED = Cause.CLOSED
cdef object QUEUE_FULL = Cause.QUEUE_FULL
cdef object REACTANT_ERROR = Cause.REACTANT_ERROR


cdef class BatchLane(Lane):
    def __cinit__(self, Place place, reactant, queue, Batch batch, double max_wait_s, size_t record_bytes):
        self.filling = batch
        self.max_wait_s = max_wait_s
        self.record_bytes = record_bytes
        self.full = deque()
        # A batch has no one reaction.
        self.wants_reaction = False

    # -- in ------------------------------------------------------------------------------------------------------

    cdef bint is_full(self) noexcept:
        return self.waiting >= self.queue.most or self.waiting_bytes >= self.queue.most_bytes

    cdef bint any_pending(self) noexcept:
        return self.waiting > 0

    cdef bint refuses(self):
        return self.queue.waits() and self.is_full()

    cdef bint own_full(self) noexcept:
        return self.refuses()

    cdef Py_ssize_t queued(self) noexcept:
        return self.waiting + (self.hand.left() if self.hand is not None else 0)

    cdef Py_ssize_t make_room(self, Source source, Py_ssize_t count) except -1:
        """By the policy, for `count` messages of `source`; how many of them are taken."""
        cdef int rule = self.queue.rule
        cdef Batch oldest
        cdef Source dropped
        cdef size_t before
        if rule == BLOCK:
            return count
        if rule == DROP_OLDEST:
            while self.waiting and (self.waiting + count > self.queue.most or self.waiting_bytes >= self.queue.most_bytes):
                oldest = self.full[0] if self.full else self.filling
                before = oldest.bytes
                dropped = oldest.drop_front()
                self.waiting -= 1
                self.waiting_bytes -= before - oldest.bytes
                self.drop(QUEUE_FULL, self.forget_asked(oldest), dropped)
                if oldest.left() == 0:
                    oldest.clear()
                    if self.full:
                        self.full.popleft()
            return count
        return 0 if self.is_full() else min(count, self.queue.most - self.waiting)

    cdef int drop_some(self, object cause, Source source, Py_ssize_t count) except -1:
        """So many accepted messages of `source` are not delivered."""
        if count:
            self.drop(cause, None, source)
            self.ledger.drop(cause, <uint64_t>(count - 1))
            self.place.count(cause, source, <uint64_t>(count - 1))
            if cause is QUEUE_FULL:
                self.dropping += <uint64_t>(count - 1)
        return 0

    cdef int offer(self, object data, object reaction_id, Completion completion, TaskPool pool,
                   Source source, object payload) except -1:
        cdef Completion asked = completion if completion is not None and completion.settled is not None else None
        cdef size_t size = 0 if payload is None else <size_t>len(payload)
        cdef bint was_full
        if self.busy and self.loop is not None and (pool is None or self.loop is not pool.loop) \
                and self.loop is not running_loop():
            try:
                self.look_elsewhere()
            except RuntimeError as error:
                return self.turn_away(error, completion, source, data, payload)
        was_full = self.is_full()
        if was_full:
            if self.running and source is None and completion is not None and self.queue.rule == BLOCK:
                # The reactant sends itself more than it takes, and cannot wait for itself.
                return completion.one_done(self.own_queue_full())
            if self.queue.rule == REJECT and source is None and completion is not None:
                return completion.one_done(self.queue_full())
            if self.make_room(source, 1) == 0:
                self.ledger.accepted += 1
                return self.drop(QUEUE_FULL, completion, source)
        try:
            self.filling.add(data)
        except Exception as error:
            return self.turn_away(error, completion, source, data, payload)
        self.ledger.accepted += 1
        self.filling.note(source, 1, size)
        self.waiting += 1
        self.waiting_bytes += size
        if self.place.keeps_payload:
            if self.filling.payloads is None:
                self.filling.payloads = [None] * (self.filling.count - 1)
            self.filling.payloads.append(payload)
        if asked is not None:
            if self.filling.asked is None:
                self.filling.asked = []
            self.filling.asked.append((self.filling.count - 1, asked))
        elif completion is not None:
            if was_full and self.queue.rule == BLOCK and not self.running:
                if self.senders is None:
                    self.senders = deque()
                self.senders.append(completion)
            else:
                completion.one_done(None)
        return self.added(pool, source)

    cdef Py_ssize_t room(self) noexcept:
        cdef Py_ssize_t most = self.queue.most
        if self.queue.rule == BLOCK and most > self.waiting:
            most -= self.waiting
        return max(1, min(most, self.filling.most - self.filling.count))

    cdef int take_records(self, const uint8_t *data, size_t stride, Py_ssize_t count, TaskPool pool,
                          Source source) except -1:
        cdef Py_ssize_t taken
        if self.busy and self.loop is not None and self.loop is not pool.loop:
            try:
                self.look_elsewhere()
            except RuntimeError as error:
                self.ledger.accepted += <uint64_t>count
                self.drop_some(REACTANT_ERROR, source, count)
                return self.place.tell_failed(error, self.reactant, source, None, None)
        taken = self.make_room(source, count)
        self.ledger.accepted += <uint64_t>count
        if taken < count:
            self.drop_some(QUEUE_FULL, source, count - taken)
        if taken == 0:
            return 0
        if self.place.keeps_payload:
            self.keep_records(data, stride, taken)
        self.filling.add_records(data, stride, taken)
        self.filling.note(source, taken, self.record_bytes)
        self.waiting += taken
        self.waiting_bytes += <size_t>taken * self.record_bytes
        return self.added(pool, source)

    cdef int keep_records(self, const uint8_t *data, size_t stride, Py_ssize_t count) except -1:
        """For the dead letters."""
        cdef Py_ssize_t i
        if self.filling.payloads is None:
            self.filling.payloads = [None] * self.filling.count
        for i in range(count):
            self.filling.payloads.append((<const char *>data + <size_t>i * stride)[:self.record_bytes])
        return 0

    cdef int added(self, TaskPool pool, Source source) except -1:
        """Hand over what is full, see that the rest is handed over in time, and stop the source where it must."""
        if source is not None and self.queue.rule == BLOCK and self.is_full():
            self.pause(source)
        if self.filling.count >= self.filling.most:
            if self.busy:
                self.full.append(self.filling)
                self.filling = self.filling.empty()
            else:
                return self.run(pool)
        elif self.handle_loop is None or (pool is not None and pool.loop is not self.handle_loop):
            return self.arm(pool)
        return 0

    # -- when ----------------------------------------------------------------------------------------------------

    cdef int arm(self, TaskPool pool) except -1:
        loop = running_loop() if pool is None else pool.loop
        if loop is None:
            # No turn of a loop to wait for.
            self.due = True
            return 0 if self.busy else self.run(None)
        self.disarm()
        self.handle_loop = loop
        self.handle = loop.call_later(self.max_wait_s, self.flush) if self.max_wait_s > 0 else loop.call_soon(self.flush)
        return 0

    cdef int disarm(self) except -1:
        handle, self.handle = self.handle, None
        loop, self.handle_loop = self.handle_loop, None
        if handle is not None and not loop.is_closed():
            handle.cancel()
        return 0

    def flush(self):
        """The time is over: hand over what is there."""
        cdef TaskPool pool
        self.handle = self.handle_loop = None
        if self.waiting == 0:
            return
        self.due = True
        if not self.busy:
            pool = current_pool()
            try:
                self.run(pool)
            finally:
                pool.finish()

    cdef int run(self, TaskPool pool) except -1:
        self.busy = True
        return self.work_through(pool)

    cdef Batch next_batch(self):
        """What the reactant gets now; None where nothing is full and the rest may wait."""
        cdef Batch batch = None
        if self.full:
            batch = self.full.popleft()
        elif self.filling.count and (self.due or self.filling.count >= self.filling.most or self.max_wait_s <= 0):
            batch = self.filling
            self.filling = batch.empty() if self.spare is None else self.spare
            self.spare = None
            self.due = False
            self.disarm()
        if batch is not None:
            self.waiting -= batch.left()
            self.waiting_bytes -= batch.bytes
            if self.paused is not None or self.dropping or self.senders:
                self.relieve()
        return batch

    cdef int relieve(self) except -1:
        cdef Completion completion
        if 2 * self.waiting <= self.queue.most and 2 * self.waiting_bytes <= self.queue.most_bytes:
            Lane.relieve(self)
        while self.senders and not self.is_full():
            completion = self.senders.popleft()
            completion.one_done(None)
        return 0

    # -- out -----------------------------------------------------------------------------------------------------

    cdef object advance(self, object error):
        if self.in_hand:
            self.settle(error)
        while (batch := self.next_batch()) is not None:
            self.hand = batch
            self.in_hand = True
            fault = None
            self.running = True
            try:
                self.data = (<Batch>batch).cut()
                result = self.call(self.data, None)
                if result is not None:
                    coroutine = as_coroutine(result)
                    if coroutine is not None:
                        return coroutine
            except (Exception, CancelledError) as raised:
                fault = raised
            except BaseException:
                self.not_delivered(REACTANT_ERROR)
                self.busy = False
                raise
            finally:
                self.running = False
            self.settle(fault)
        self.busy = False
        self.loop = None
        return None

    cdef Batch lay_down(self):
        """The batch in hand, which is in hand no more."""
        batch, self.hand = self.hand, None
        self.in_hand = False
        return batch

    cdef int settle(self, object error) except -1:
        cdef Batch batch
        data, self.data = self.data, None
        batch = self.lay_down()
        if error is None:
            self.ledger.delivered += <uint64_t>batch.left()
            self.tell_asked(batch, None, None)
        elif isinstance(error, CancelledError):
            self.drop_batch(batch, CANCELLED)
        else:
            self.drop_failed(batch, error, data)
        data = None
        return self.forget(batch)

    cdef int drop_failed(self, Batch batch, object error, object data) except -1:
        owner = self.place.owner
        first = None
        for source, count in batch.all_spans():
            first = source if first is None else first
            self.ledger.drop(REACTANT_ERROR, <uint64_t>count)
            self.place.count(REACTANT_ERROR, source, <uint64_t>count)
        self.place.tell_failed(error, self.reactant, first, data, None)
        if batch.payloads is not None and owner is not None:
            host = "" if first is None else (<Source>first).host
            for payload in batch.payloads[batch.skipped:]:
                if payload is not None:
                    owner._bury(DeadLetter(self.place.neuron, payload, REACTANT_ERROR, error, host))
        return self.tell_asked(batch, error, None)

    cdef int drop_batch(self, Batch batch, object cause) except -1:
        for source, count in batch.all_spans():
            self.ledger.drop(cause, <uint64_t>count)
            self.place.count(cause, source, <uint64_t>count)
        return self.tell_asked(batch, None, cause)

    cdef int tell_asked(self, Batch batch, object error, object cause) except -1:
        cdef Completion completion
        if batch.asked is not None:
            asked, batch.asked = batch.asked, None
            for _, completion in asked:
                if cause is not None:
                    completion.one_lost(cause)
                else:
                    completion.one_done(error)
        return 0

    cdef Completion forget_asked(self, Batch batch):
        """Of the oldest message, which was just skipped: who asked to be told of it."""
        if batch.asked and batch.asked[0][0] == batch.skipped - 1:
            return batch.asked.pop(0)[1]
        return None

    cdef int forget(self, Batch batch) except -1:
        """Nobody needs it any more: its memory is for the next."""
        batch.clear()
        self.spare = batch
        return 0

    # -- the end -------------------------------------------------------------------------------------------------

    cdef int not_delivered(self, object cause) except -1:
        cdef Batch batch
        self.data = None
        batch = self.lay_down()
        if batch is not None:
            self.drop_batch(batch, cause)
            self.forget(batch)
        return 0

    cdef int drop_all(self, object cause) except -1:
        cdef Completion completion
        cdef Py_ssize_t dropped = self.waiting
        cdef Batch batch
        batches = [*self.full, self.filling]
        self.full.clear()
        self.waiting = 0
        self.waiting_bytes = 0
        self.filling = self.filling.empty()
        self.disarm()
        for batch in batches:
            self.drop_batch(batch, cause)
        senders, self.senders = self.senders, None
        for completion in senders or ():
            completion.one_done(None if cause is not CLOSED else Closed(
                f"{self.place.neuron}: closed before {self.reactant!r} got this message"))
        self.relieve()
        return <int>dropped

    cdef int revive(self) except -1:
        if self.handle_loop is not None and self.handle_loop.is_closed():
            self.disarm()
        self.due = self.waiting > 0
        return Lane.revive(self)

    cdef Target forsake(self):
        self.full = deque()
        self.paused = self.senders = self.handle = self.handle_loop = self.hand = None
        return BatchLane.__new__(BatchLane, self.place, self.reactant, self.queue, self.filling.empty(), self.max_wait_s,
                                 self.record_bytes)

    cdef object queue_full(self):
        return self.full_error("await transmit(), or react faster")

    cdef object own_queue_full(self):
        return self.full_error("it transmits its own neuron faster than it reacts, and cannot wait for itself")

    cdef object full_error(self, str why):
        from plexo.exceptions import QueueFull

        return QueueFull(f"{self.place.neuron}: {self.waiting} messages wait for {self.reactant!r}, whose queue is "
                         f"{self.queue!r}; {why}")
