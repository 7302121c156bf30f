# SPDX-License-Identifier: Apache-2.0
from libc.stdint cimport uint8_t


cdef class Slab:
    cdef uint8_t *data
    cdef readonly size_t size
    # Buffers that others hold of it: while there are any, nothing that was handed out is written again.
    cdef readonly Py_ssize_t exports
