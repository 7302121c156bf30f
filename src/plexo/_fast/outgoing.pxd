# SPDX-License-Identifier: Apache-2.0
from plexo._fast.load cimport Load
from plexo._fast.synapse cimport Synapse


cdef class Outgoing:
    cdef readonly object neuron
    # Values in the chunks before the present one, and of this one those that every external ganglion has accepted.
    cdef Py_ssize_t before
    cdef Py_ssize_t accepted
    # Reactants and peers, over all values.
    cdef Py_ssize_t handed
    # What local reactants raised in this chunk.
    cdef list errors
    # When the event loop had its last turn.
    cdef double began
    cdef Load load
    # None where the codec checks values itself.
    cdef object type
    # What is left: an iterator over values, and those that were taken from it and are not in a load yet.
    cdef object iterator
    cdef object ahead
    cdef Py_ssize_t ahead_at
    cdef Py_ssize_t ahead_count
    cdef bint checked
    # Whether values are so large that each is encoded into an object of its own.
    cdef bint apart
    # Or encoded records: an iterator over blocks, the present one, and the records of it that are left.
    cdef object blocks
    cdef Py_buffer view
    cdef bint has_view
    cdef size_t record_bytes
    cdef Py_ssize_t block_at
    cdef Py_ssize_t block_count
    cdef object values
    cdef Py_ssize_t taken
    cdef int begin(self, object values) except -1
    cdef int begin_records(self, object values) except -1
    cdef int check(self, object value, Py_ssize_t index) except -1
    cdef bint fill(self, bint encode, bint in_steps) except -1
    cdef bint fill_records(self, bint in_steps) except -1
    cdef bint fill_values(self, bint encode) except -1
    cdef int encode_into(self, Py_ssize_t most) except -1
    cdef int encode_each(self, Py_ssize_t most) except -1
    cdef int next_block(self) except -1
    cdef int release(self) except -1
    cdef int fits(self, tuple outside) except -1
    cdef int offer(self, Rest rest) except -1
    cdef int withdraw(self, list rests) except -1


cdef class Rest:
    cdef Synapse synapse
    # Up to where it has been given the chunk, and what must be awaited before it gets more.
    cdef Py_ssize_t reached
    cdef object pending
    cdef Py_ssize_t withdraw(self) except -1
