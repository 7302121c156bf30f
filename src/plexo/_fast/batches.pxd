# SPDX-License-Identifier: Apache-2.0
from libc.stdint cimport uint8_t
from plexo._fast.completion cimport Completion, Source
from plexo._fast.slabs cimport Slab


cdef class Batch:
    # Messages added, of which the first `skipped` were dropped again.
    cdef Py_ssize_t count
    cdef Py_ssize_t skipped
    cdef Py_ssize_t most
    # Their encoded bytes, and of each message where somebody may have to take it out again.
    cdef size_t bytes
    cdef object sizes
    # Who they came from, as (Source or None, count) in their order; the last pair is not in the list yet.
    cdef list spans
    cdef Source last_source
    cdef Py_ssize_t last_count
    # For dead letters, parallel to the messages; and (place, Completion) of those whose senders asked to be told.
    cdef list payloads
    cdef list asked
    cdef int note(self, Source source, Py_ssize_t count, size_t size) except -1
    cdef Py_ssize_t left(self) noexcept
    cdef list all_spans(self)
    cdef Source drop_front(self)
    cdef int clear(self) except -1
    cdef int add(self, object data) except -1
    cdef int add_records(self, const uint8_t *data, size_t stride, Py_ssize_t count) except -1
    cdef object cut(self)
    cdef Batch empty(self)


cdef class ListBatch(Batch):
    cdef list values


cdef class SlabBatch(Batch):
    cdef Slab slab
    cdef size_t row_bytes
    # Rows that the slab has, and the one where this batch begins.
    cdef Py_ssize_t rows
    cdef Py_ssize_t start
    cdef int new_slab(self, Py_ssize_t rows) except -1


cdef class RecordBatch(SlabBatch):
    cdef object codec


cdef class ColumnBatch(SlabBatch):
    cdef tuple columns
    cdef object kind
    cdef object frombuffer
    cdef Py_ssize_t *offsets
    cdef char *codes


cdef void copy_records(uint8_t *out, const uint8_t *data, size_t stride, size_t size, Py_ssize_t count) noexcept
