# SPDX-License-Identifier: Apache-2.0
from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint32_t, uint64_t


cdef uint64_t fnv1a_64(const uint8_t *data, size_t size) noexcept nogil


# Private: one topic. `key` points into the bytes object that the table's list keeps alive.
cdef struct TopicEntry:
    uint64_t hash
    const uint8_t *key
    size_t size


cdef class TopicTable:
    # Private layout, see topics.pyx.
    cdef list _items
    cdef TopicEntry *_entries
    cdef uint32_t *_slots
    cdef uint64_t _secret_xor
    cdef uint64_t _secret_odd
    cdef uint32_t _count
    cdef uint32_t _last
    cdef uint32_t _bits
    cdef readonly uint32_t _probe_limit

    cdef uint32_t _home(self, uint64_t hash) noexcept
    cdef uint32_t _locate(self, uint64_t hash, const uint8_t *topic, size_t size) noexcept
    cdef void _place(self, uint32_t entry) noexcept
    cdef int _resize(self, uint32_t bits) except -1

    # Other modules use only:
    cdef PyObject *find(self, const uint8_t *topic, size_t size) noexcept   # borrowed, or NULL
    cpdef insert(self, bytes topic, object value)                         # replaces
    cpdef remove(self, bytes topic)                                       # KeyError
