# SPDX-License-Identifier: Apache-2.0
from libc.stdint cimport uint8_t
from plexo._fast.envelope cimport Slice


cdef enum:
    # Values that are checked and encoded before any of them is sent.
    LOAD_VALUES = 1024
    # And where they are large, fewer: no more are added to so many encoded bytes.
    LOAD_BYTES = 1048576


cdef class Breath:
    cdef bint taken


cdef class Load:
    cdef readonly Py_ssize_t count
    # Records of one size, one after another; else (NULL) `pieces`, whose bytes `payloads` or a buffer keep alive.
    cdef const uint8_t *records
    cdef size_t record_bytes
    cdef Slice *pieces
    cdef list payloads
    # Keeps alive what `records` or `pieces` point into.
    cdef object buffer
    # `values[offset]` is the value of message 0; None: a batch that is encoded only.
    cdef object values
    cdef Py_ssize_t offset
    # Whether an element of `values` is taken as an array without dimensions, not as a scalar.
    cdef bint as_arrays
    # The message with the largest payload.
    cdef Py_ssize_t largest
    # Where `Synapse.send_many` has come to.
    cdef Py_ssize_t reached
    cdef int begin(self, object values, Py_ssize_t offset) except -1
    cdef int make_pieces(self) except -1
    cdef size_t size(self, Py_ssize_t index) noexcept nogil
    cdef const uint8_t *data(self, Py_ssize_t index) noexcept nogil
    cdef bytes payload(self, Py_ssize_t index)
    cdef object value(self, Py_ssize_t index)
