# SPDX-License-Identifier: Apache-2.0
"""The newest records of one neuron, for whoever reads them when it suits him.

The records lie in a row of slabs. What is handed out are arrays over a slab; a slab is written again only when it is out of
the ring and no array over it is left, so what was read never changes. Older records than `capacity` leave the ring one by one,
and those that nobody drained are counted.

Readers may be in any thread: every method runs under the interpreter's lock, changes its numbers first, and pins the slabs
it is about to make arrays over.
"""

from collections import deque

from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport uint8_t, uint64_t

from plexo._fast.batches cimport copy_records
from plexo._fast.completion cimport Completion, Place, Source, Target
from plexo._fast.inbox cimport Inbox
from plexo._fast.queues cimport Queue
from plexo._fast.slabs cimport Slab
from plexo._fast.tasks cimport TaskPool
from plexo.statistics import Cause

cdef object QUEUE_FULL = Cause.QUEUE_FULL
cdef object REMOVED = Cause.REMOVED

cdef extern from *:
    """
    #define PLEXO_NOBODY UINT64_MAX
    """
    uint64_t NOBODY "PLEXO_NOBODY"

cdef enum:
    # A ring is made of so many slabs, and one: finer ones waste less, coarser ones are joined less often.
    SLABS = 16
    LEAST_SLAB_RECORDS = 1024


cdef class Ring(Inbox):
    """At most `capacity` records that `codec` describes, see batches.RecordBatch."""

    def __cinit__(self, Place place, reactant, Queue queue, codec):
        self.codec = codec
        self.record_bytes = codec.record_bytes
        self.capacity = queue.most
        self.slab_records = min(self.capacity, max(<Py_ssize_t>LEAST_SLAB_RECORDS, (self.capacity + SLABS - 1) // SLABS))
        self.slabs = deque()
        self.waiters = []
        self.least = NOBODY

    # -- in ------------------------------------------------------------------------------------------------------

    cdef Py_ssize_t queued(self) noexcept:
        return <Py_ssize_t>(self.head - self.tail)

    cdef Py_ssize_t room(self) noexcept:
        """To the end of the slab, and no more than the ring holds."""
        cdef Py_ssize_t used = <Py_ssize_t>((self.head - self.base) % <uint64_t>self.slab_records)
        return self.slab_records - used

    cdef int make_place(self) except -1:
        """A slab for the next record, where the last is full."""
        cdef Slab slab
        if self.head - self.base < <uint64_t>len(self.slabs) * <uint64_t>self.slab_records:
            return 0
        slab, self.spare = self.spare, None
        if slab is None or slab.exports:
            slab = Slab.__new__(Slab, <size_t>self.slab_records * self.record_bytes)
        self.slabs.append(slab)
        return 0

    cdef int take_records(self, const uint8_t *data, size_t stride, Py_ssize_t count, TaskPool pool,
                          Source source) except -1:
        cdef Slab slab
        cdef uint64_t lost
        self.ledger.accepted += <uint64_t>count
        if self.ended:
            # By another thread, and the subscription is on its way out.
            self.ledger.drop(REMOVED, <uint64_t>count)
            return self.place.count(REMOVED, source, <uint64_t>count)
        self.make_place()
        slab = self.slabs[-1]
        copy_records(slab.data + <size_t>((self.head - self.base) % <uint64_t>self.slab_records) * self.record_bytes,
                     data, stride, self.record_bytes, count)
        self.head += <uint64_t>count
        if self.head - self.tail > <uint64_t>self.capacity:
            lost = self.head - self.tail - <uint64_t>self.capacity
            self.tail += lost
            self.overwritten += lost
            self.ledger.drop(QUEUE_FULL, lost)
            self.place.count(QUEUE_FULL, source, lost)
            self.dropping += lost
            if self.dropping == lost and self.place.owner is not None:
                self.place.owner._dropping(self.place.neuron, self.reactant, self.queue.policy)
        while self.head - self.base >= <uint64_t>(self.capacity + self.slab_records):
            slab = self.slabs.popleft()
            self.base += <uint64_t>self.slab_records
            if slab.exports == 0:
                self.spare = slab
        if self.head - self.tail >= self.least:
            self.wake_waiters(False)
        return 0

    cdef int offer(self, object data, object reaction_id, Completion completion, TaskPool pool,
                   Source source, object payload) except -1:
        cdef bytes encoded
        fault = None
        try:
            encoded = self.codec.encode(data)
            self.take_records(<const uint8_t *>PyBytes_AS_STRING(encoded), self.record_bytes, 1, pool, source)
        except Exception as error:
            fault = error
            self.place.failed(error, self.reactant, source, data, payload)
        return 0 if completion is None else completion.one_done(fault)

    # -- out -----------------------------------------------------------------------------------------------------

    cdef list pin(self, uint64_t first, uint64_t last):
        """The records from `first` to before `last` as (slab, start, count), the slabs pinned.

        Making an object may let another thread in, which may change everything here: so that comes last.
        """
        cdef Slab slab
        cdef Py_ssize_t start, count
        cdef Py_ssize_t position = 0
        cdef uint64_t each = <uint64_t>self.slab_records
        cdef uint64_t offset = first - self.base
        held = []
        held.extend(self.slabs)
        for slab in held:
            slab.exports += 1
        found = []
        for slab in held:
            if first < last and offset < each:
                start = <Py_ssize_t>offset
                count = min(<Py_ssize_t>each - start, <Py_ssize_t>(last - first))
                found.append((slab, start, count))
                first += <uint64_t>count
                offset = 0
            else:
                slab.exports -= 1
                if offset >= each:
                    offset -= each
        return found

    cdef object array(self, list pieces):
        """One array over the pieces: a view where they are one, else a copy. Read-only."""
        cdef Slab slab
        try:
            if len(pieces) == 0:
                array = self.codec.from_records(b"", 0, 0)
            elif len(pieces) == 1:
                array = self.codec.from_records(*pieces[0])
            else:
                from numpy import concatenate

                array = concatenate([self.codec.from_records(*piece) for piece in pieces])
        finally:
            for slab, _, _ in pieces:
                slab.exports -= 1
        array.flags.writeable = False
        return array

    def drain(self):
        """What has come since the last call, oldest first."""
        cdef uint64_t first = self.tail
        cdef uint64_t last = self.head
        self.tail = last
        self.ledger.delivered += last - first
        pieces = self.pin(first, last)
        if self.dropping:
            dropped, self.dropping = self.dropping, 0
            if self.place.owner is not None:
                self.place.owner._stopped_dropping(self.place.neuron, self.reactant, dropped)
        return self.array(pieces)

    def last(self, Py_ssize_t count):
        """The newest `count`, or as many as there are, oldest first; drained or not, and they stay."""
        cdef uint64_t held = min(self.head, <uint64_t>self.capacity)
        return self.array(self.pin(self.head - min(<uint64_t>count, held), self.head))

    def __len__(self):
        return <Py_ssize_t>(self.head - self.tail)

    # -- waiting -------------------------------------------------------------------------------------------------

    def call_at(self, uint64_t count, function):
        """Call `function()`, once, when `count` records wait or nothing more will come; maybe at once."""
        self.waiters.append((count, function))
        self.least = min(self.least, count)
        if self.head - self.tail >= count or self.ended:
            self.wake_waiters(self.ended)

    def forget(self, function):
        """Do not call it."""
        self.waiters = [waiter for waiter in self.waiters if waiter[1] is not function]
        self.least = min([count for count, _ in self.waiters], default=NOBODY)

    cdef int wake_waiters(self, bint all_of_them) except -1:
        cdef uint64_t waiting = self.head - self.tail
        waiters, self.waiters = self.waiters, []
        self.least = NOBODY
        left = [waiter for waiter in waiters if not all_of_them and waiter[0] > waiting]
        if left:
            self.waiters = left + self.waiters
            self.least = min([count for count, _ in self.waiters])
        for count, function in waiters:
            if all_of_them or count <= waiting:
                function()
        return 0

    # -- the end -------------------------------------------------------------------------------------------------

    def end(self):
        """Nothing more will come; what is there can still be read."""
        self.ended = True
        self.wake_waiters(True)

    def discard(self):
        """Nobody will read any more."""
        cdef uint64_t left = self.head - self.tail
        self.end()
        self.tail = self.head
        if left:
            self.ledger.drop(REMOVED, left)
            self.place.count(REMOVED, None, left)

    cdef int drop_all(self, object cause) except -1:
        """Removed or closed: nothing more will come. What has come can still be read."""
        self.end()
        return 0

    cdef int cancel(self) except -1:
        self.end()
        return 0

    cdef Target forsake(self):
        # The reader is the parent's.
        self.ended = True
        self.waiters = []
        self.least = NOBODY
        self.tail = self.head
        return None
