# SPDX-License-Identifier: Apache-2.0
from libc.stdint cimport uint8_t, uint64_t
from plexo._fast.completion cimport Source
from plexo._fast.inbox cimport Inbox
from plexo._fast.slabs cimport Slab


cdef class Ring(Inbox):
    cdef object codec
    cdef readonly Py_ssize_t capacity
    # Records in one slab; slabs, oldest first, in a list that is replaced and never changed; one to use next.
    cdef Py_ssize_t slab_records
    cdef list slabs
    cdef Slab spare
    # Counted since the beginning: the first record of slabs[0], the first that was not drained, and the next to come.
    cdef uint64_t base
    cdef uint64_t tail
    cdef uint64_t head
    cdef readonly uint64_t overwritten
    cdef readonly bint ended
    # Who waits, as [records, what to call], and the least of these numbers.
    cdef list waiters
    cdef uint64_t least
    cdef int make_place(self) except -1
    cdef int put(self, const uint8_t *data, size_t stride, Py_ssize_t count, Source source) except -1
    cdef int find_least(self) except -1
    cdef int wake_waiters(self, bint all_of_them) except -1
    cdef list pin(self, uint64_t first, uint64_t last)
    cdef object array(self, list pieces)
