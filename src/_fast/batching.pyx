# SPDX-License-Identifier: Apache-2.0
"""A reactant that gets its messages by batches: everything that one turn of the event loop brought, or `max_batch`.

A batch is handed over when it is full or its queue is, at the end of the turn, or, with `max_wait_s`, so long after its
first message. While the reactant is busy the next batches fill; its queue bounds what is in them, message by message, as
elsewhere. A local sender is done when its message is in a batch; a peer that asked to be told is told when the batch is
done with.
"""

from asyncio import CancelledError
from collections import deque

from libc.stdint cimport uint8_t, uint64_t

from plexo._fast.batches cimport Batch
from plexo._fast.completion cimport Completion, Place, Source, Target
from plexo._fast.lanes cimport Lane
from plexo._fast.queues cimport BLOCK, DROP_OLDEST, REJECT
from plexo._fast.tasks cimport TaskPool, as_coroutine, current_pool, running_loop
from plexo.exceptions import Closed
from plexo.failure import DeadLetter
from plexo.statistics import Cause

cdef object CANCELLED = Cause.CANCELLED
cdef object CLOSED = Cause.CLOSED
cdef object QUEUE_FULL = Cause.QUEUE_FULL
cdef object REACTANT_ERROR = Cause.REACTANT_ERROR


cdef class BatchLane(Lane):
    def __cinit__(self, Place place, reactant, queue, Batch batch, double max_wait_s, size_t record_bytes,
                  size_t batch_bytes):
        self.filling = batch
        self.max_wait_s = max_wait_s
        self.record_bytes = record_bytes
        self.batch_bytes = batch_bytes
        self.full = deque()
        # A batch has no one reaction.
        self.wants_reaction = False

    cdef bint is_whole(self) noexcept:
        """Whether the batch that fills now takes no more."""
        return self.filling.count >= self.filling.most or self.filling.bytes >= self.batch_bytes

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

    cdef Py_ssize_t space(self, size_t size) noexcept:
        """Messages of `size` bytes until the queue is full; the last one may go over the bound in bytes."""
        cdef size_t by_bytes
        cdef Py_ssize_t left
        if self.is_full():
            return 0
        left = self.queue.most - self.waiting
        if size:
            by_bytes = (self.queue.most_bytes - self.waiting_bytes - 1) // size + 1
            if by_bytes < <size_t>left:
                left = <Py_ssize_t>by_bytes
        return left

    cdef Py_ssize_t make_room(self, Source source, Py_ssize_t count, size_t size) except -1:
        """By the policy, for `count` messages of `source`, of `size` bytes each; how many of them are taken."""
        cdef int rule = self.queue.rule
        cdef Batch oldest
        cdef Source dropped
        cdef size_t before
        if rule == BLOCK:
            return count
        if rule == DROP_OLDEST:
            while self.waiting and self.space(size) < count:
                oldest = self.full[0] if self.full else self.filling
                before = oldest.bytes
                dropped = oldest.drop_front()
                self.waiting -= 1
                self.waiting_bytes -= before - oldest.bytes
                self.drop(QUEUE_FULL, self.forget_asked(oldest), dropped)
                if oldest.left() == 0:
                    self.waiting_bytes -= oldest.bytes
                    oldest.clear()
                    if self.full:
                        self.full.popleft()
            return count
        return min(count, self.space(size))

    cdef int refuse(self, object cause, Source source, Py_ssize_t count) except -1:
        """So many messages of `source` are accepted and not delivered."""
        if count:
            self.ledger.accepted += <uint64_t>count
            self.ledger.drop(cause, <uint64_t>count)
            self.place.count(cause, source, <uint64_t>count)
            if cause is QUEUE_FULL:
                self.dropping += <uint64_t>count
                if self.dropping == <uint64_t>count and self.place.owner is not None:
                    self.place.owner._dropping(self.place.neuron, self.reactant, self.queue.policy)
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
        if self.ended is not None:
            self.refuse(self.ended, source, 1)
            return 0 if completion is None else completion.one_lost(self.ended)
        was_full = self.is_full()
        if was_full:
            if self.running and source is None and completion is not None and self.queue.rule == BLOCK:
                # The reactant sends itself more than it takes, and cannot wait for itself.
                return completion.one_done(self.own_queue_full())
            if self.queue.rule == REJECT and source is None and completion is not None:
                return completion.one_done(self.queue_full())
            if self.make_room(source, 1, size) == 0:
                self.refuse(QUEUE_FULL, source, 1)
                return 0 if completion is None else completion.one_lost(QUEUE_FULL)
        try:
            self.filling.add(data)
        except Exception as error:
            return self.turn_away(error, completion, source, data, payload)
        self.filling.note(source, 1, size)
        self.ledger.accepted += 1
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
        cdef Py_ssize_t room = self.filling.most - self.filling.count
        if self.queue.rule == BLOCK or not self.busy:
            # Until the queue is full, when the source has to stop, or what waits is handed over.
            room = min(room, self.space(self.record_bytes))
        elif self.queue.rule == DROP_OLDEST:
            # What an empty queue would take.
            room = min(room, self.queue.most)
            if self.queue.most_bytes // self.record_bytes < <size_t>room:
                room = <Py_ssize_t>(self.queue.most_bytes // self.record_bytes)
        return max(1, room)

    cdef int take_records(self, const uint8_t *data, size_t stride, Py_ssize_t count, TaskPool pool,
                          Source source) except -1:
        cdef Py_ssize_t taken
        if self.ended is not None:
            return self.refuse(self.ended, source, count)
        if self.busy and self.loop is not None and self.loop is not pool.loop:
            try:
                self.look_elsewhere()
            except RuntimeError as error:
                self.refuse(REACTANT_ERROR, source, count)
                return self.place.tell_failed(error, self.reactant, source, None, None)
        taken = self.make_room(source, count, self.record_bytes)
        self.refuse(QUEUE_FULL, source, count - taken)
        if taken == 0:
            return 0
        if self.place.keeps_payload:
            self.keep_records(data, stride, taken)
        self.filling.add_records(data, stride, taken)
        self.filling.note(source, taken, self.record_bytes)
        self.ledger.accepted += <uint64_t>taken
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
        if not self.busy and (self.is_whole() or self.is_full()):
            self.due = True
            self.run(pool)
        elif self.is_whole():
            self.full.append(self.filling)
            self.filling = self.fresh()
            self.due = False
            self.disarm()
        elif self.handle_loop is None or pool is None or pool.loop is not self.handle_loop:
            self.arm(pool)
        if source is not None and self.queue.rule == BLOCK and self.is_full():
            self.pause(source)
        return 0

    cdef Batch fresh(self):
        """An empty batch, in memory that was used before where there is some."""
        spare, self.spare = self.spare, None
        return self.filling.empty() if spare is None else spare

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
        try:
            return self.work_through(pool)
        except BaseException:
            # KeyboardInterrupt and the like, which end the program or at least this turn.
            self.not_delivered(REACTANT_ERROR)
            self.busy = False
            raise

    cdef Batch next_batch(self):
        """What the reactant gets now, which is in hand then; None where nothing is full and the rest may wait."""
        cdef Batch batch = None
        if self.full:
            batch = self.full.popleft()
        elif self.filling.count and (self.due or self.is_whole() or self.max_wait_s <= 0):
            batch = self.filling
            self.filling = self.fresh()
            self.due = False
            self.disarm()
        if batch is not None:
            self.hand = batch
            self.in_hand = True
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
        cdef Source source
        cdef Py_ssize_t at = batch.skipped
        spans = batch.all_spans()
        self.ledger.drop(REACTANT_ERROR, <uint64_t>batch.left())
        for source, count in spans:
            self.place.count(REACTANT_ERROR, source, <uint64_t>count)
        self.place.tell_failed(error, self.reactant, <Source>spans[0][0] if spans else None, data, None)
        if batch.payloads is not None and owner is not None:
            for source, count in spans:
                for payload in batch.payloads[at:at + count]:
                    if payload is not None:
                        owner._bury(DeadLetter(self.place.neuron, payload, REACTANT_ERROR, error,
                                               "" if source is None else source.host))
                at += count
        return self.tell_asked(batch, error, None)

    cdef int drop_batch(self, Batch batch, object cause) except -1:
        self.ledger.drop(cause, <uint64_t>batch.left())
        for source, count in batch.all_spans():
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
        self.ended = cause
        batches = [*self.full, self.filling]
        self.full.clear()
        self.waiting = 0
        self.waiting_bytes = 0
        self.filling = self.filling.empty()
        self.disarm()
        for batch in batches:
            if batch.left():
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
                                 self.record_bytes, self.batch_bytes)

    cdef object queue_full(self):
        return self.full_error("await transmit(), or react faster")

    cdef object own_queue_full(self):
        return self.full_error("it transmits its own neuron faster than it reacts, and cannot wait for itself")

    cdef object full_error(self, str why):
        from plexo.exceptions import QueueFull

        return QueueFull(f"{self.place.neuron}: {self.waiting} messages wait for {self.reactant!r}, whose queue is "
                         f"{self.queue!r}; {why}")
