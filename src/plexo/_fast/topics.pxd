# SPDX-License-Identifier: Apache-2.0
from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint64_t


cdef uint64_t fnv1a_64(const uint8_t *data, size_t size) noexcept nogil


cdef class TopicTable:
    # Private layout is declared by the implementer below these three; other modules use only:
    cdef PyObject *find(self, const uint8_t *topic, size_t size) noexcept   # borrowed, or NULL
    cpdef insert(self, bytes topic, object value)                         # replaces
    cpdef remove(self, bytes topic)                                       # KeyError
