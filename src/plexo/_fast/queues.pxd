# SPDX-License-Identifier: Apache-2.0
from libc.stdint cimport uint64_t


cdef enum:
    BLOCK = 0
    DROP_OLDEST = 1
    DROP_NEWEST = 2
    REJECT = 3
    LATEST = 4


cdef class Queue:
    cdef readonly str policy
    cdef readonly object messages
    cdef readonly object bytes
    cdef readonly object key
    cdef int rule
    # The bounds again, as numbers that are never reached where there is no bound.
    cdef Py_ssize_t most
    cdef size_t most_bytes
    cdef bint waits(self) noexcept
    cdef object key_of(self, object data, object neuron)


cdef class Waiting:
    cdef Queue queue
    cdef object entries
    cdef readonly Py_ssize_t count
    cdef readonly size_t bytes
    # For a link: whether its owner was told that this queue is full, and what was dropped since.
    cdef bint told
    cdef uint64_t lost
    cdef bint full(self, Py_ssize_t more_messages, size_t more_bytes) noexcept
    cdef bint half_empty(self) noexcept
    cdef int append(self, tuple entry) except -1
    cdef tuple replace(self, object key, tuple entry)
    cdef tuple pop(self)
    cdef list all(self)
    cdef list clear(self)
