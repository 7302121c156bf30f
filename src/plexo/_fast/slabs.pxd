# SPDX-License-Identifier: Apache-2.0
from cpython.object cimport PyObject
from libc.stdint cimport uint8_t


cdef class Slab:
    cdef uint8_t *data
    cdef readonly size_t size
    # Buffers that others hold of it, and those that are about to be made.
    cdef readonly Py_ssize_t exports
    cdef int grow(self, size_t size) except -1


cdef class Spares:
    cdef list slabs
    # Whether one was used since `forget_unused` was last called.
    cdef bint used
    cdef Slab take(self, size_t size)
    cdef int give(self, Slab slab) except -1


# Whether nobody has any of it but whoever holds this one reference: then it may be written again.
cdef bint is_idle(PyObject *slab) noexcept
