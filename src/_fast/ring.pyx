# SPDX-License-Identifier: Apache-2.0
"""The newest records of one neuron, for whoever reads them when it suits him.

The records lie in a row of slabs. What is handed out are arrays over a slab; a slab is written again only when it is out of
the ring and no array over it is left, so what was read never changes. Older records than `capacity` leave the ring one by one,
and those that nobody drained are counted.

Readers may be in any thread: every method runs under the interpreter's lock, changes its numbers first, and pins the slabs
it is about to make arrays over. Making any object may let another thread in, by way of the garbage collector; so nothing is
made between looking at the numbers and pinning, and the list of slabs is replaced, never changed.
"""

from cpython.bytes cimport PyBytes_AS_STRING
from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint64_t

from plexo._fast.batches cimport copy_records
from plexo._fast.completion cimport Completion, Place, Source, Target
from plexo._fast.inbox cimport Inbox
from plexo._fast.queues cimport Queue
from plexo._fast.slabs cimport Slab, is_idle
from plexo._fast.tasks cimport TaskPool
from plexo.statistics import Cause

cdef object REACTANT_ERROR = Cause.REACTANT_ERROR
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
        self.slabs = []
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
        if slab is None or not is_idle(<PyObject *>slab):
            slab = Slab.__new__(Slab, <size_t>self.slab_records * self.record_bytes)
        self.slabs = [*self.slabs, slab]
        return 0

    cdef int take_records(self, const uint8_t *data, size_t stride, Py_ssize_t count, TaskPool pool,
                          Source source) except -1:
        cdef Py_ssize_t piece
        while count > 0:
            self.make_place()
            if self.head - self.base >= <uint64_t>len(self.slabs) * <uint64_t>self.slab_records:
                # Making it let somebody in, who has filled it.
                continue
            piece = min(count, self.room())
            self.put(data, stride, piece, source)
            data += <size_t>piece * stride
            count -= piece
        return 0

    cdef int put(self, const uint8_t *data, size_t stride, Py_ssize_t count, Source source) except -1:
        """Within the last slab, where there is room for them."""
        cdef Slab slab
        cdef uint64_t lost
        self.ledger.accepted += <uint64_t>count
        if self.ended:
            # By another thread, and the subscription is on its way out.
            self.ledger.drop(REMOVED, <uint64_t>count)
            return self.place.count(REMOVED, source, <uint64_t>count)
        slab = self.slabs[len(self.slabs) - 1]
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
        if self.head - self.base >= <uint64_t>(self.capacity + self.slab_records):
            # `count` is within one slab, so no more than one has become free.
            slab = self.slabs[0]
            left = self.slabs[1:]
            self.slabs = left
            self.base += <uint64_t>self.slab_records
            if slab.exports == 0:
                self.spare = slab
        if self.head - self.tail >= self.least:
            self.wake_waiters(False)
        return 0

    cdef int offer(self, object data, object reaction_id, Completion completion, TaskPool pool,
                   Source source, object payload) except -1:
        cdef bytes encoded
        try:
            encoded = self.codec.encode(data)
            if <size_t>len(encoded) != self.record_bytes:
                raise ValueError(f"{self.codec!r} made {len(encoded)} bytes, expected {self.record_bytes}")
        except Exception as error:
            # A sender who waits is told; else it is reported.
            if completion is None or completion.settled is not None:
                self.ledger.accepted += 1
                self.ledger.drop(REACTANT_ERROR, 1)
                self.place.failed(error, self.reactant, source, data, payload)
            return 0 if completion is None else completion.one_done(error)
        self.take_records(<const uint8_t *>PyBytes_AS_STRING(encoded), self.record_bytes, 1, pool, source)
        return 0 if completion is None else completion.one_done(None)

    # -- out -----------------------------------------------------------------------------------------------------

    cdef list pin(self, uint64_t first, uint64_t last):
        """The records from `first` to before `last` as (slab, start, count), the slabs pinned."""
        cdef Slab slab
        cdef Py_ssize_t start, count
        cdef uint64_t each = <uint64_t>self.slab_records
        cdef uint64_t offset = first - self.base
        cdef list held = self.slabs
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

    def drain(self, Py_ssize_t least=0):
        """What has come since the last call, oldest first; None where that is less than `least`."""
        cdef uint64_t first = self.tail
        cdef uint64_t last = self.head
        cdef uint64_t dropped = self.dropping
        if last - first < <uint64_t>least:
            return None
        self.tail = last
        self.ledger.delivered += last - first
        self.dropping = 0
        pieces = self.pin(first, last)
        if dropped and self.place.owner is not None:
            self.place.owner._stopped_dropping(self.place.neuron, self.reactant, dropped)
        return self.array(pieces)

    def last(self, Py_ssize_t count):
        """The newest `count`, or as many as there are, oldest first; drained or not, and they stay."""
        cdef uint64_t held = min(self.head, <uint64_t>self.capacity)
        return self.array(self.pin(self.head - min(<uint64_t>count, held), self.head))

    def __len__(self):
        return <Py_ssize_t>(self.head - self.tail)

    # -- waiting -------------------------------------------------------------------------------------------------

    cdef int find_least(self) except -1:
        cdef uint64_t least = NOBODY
        cdef uint64_t count
        for waiter in self.waiters:
            count = (<tuple>waiter)[0]
            if count < least:
                least = count
        self.least = least
        return 0

    def call_at(self, uint64_t count, function):
        """Call `function()`, once, when `count` records wait or nothing more will come; maybe at once."""
        self.waiters.append((count, function))
        self.find_least()
        if self.head - self.tail >= count or self.ended:
            self.wake_waiters(self.ended)

    def forget(self, function):
        """Do not call it."""
        self.waiters = [waiter for waiter in self.waiters if waiter[1] is not function]
        self.find_least()

    cdef int wake_waiters(self, bint all_of_them) except -1:
        cdef uint64_t waiting = self.head - self.tail
        waiters, self.waiters = self.waiters, []
        for waiter in waiters:
            if not all_of_them and (<tuple>waiter)[0] > waiting:
                self.waiters.append(waiter)
        self.find_least()
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
        cdef uint64_t left
        self.end()
        left = self.head - self.tail
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
