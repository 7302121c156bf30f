# SPDX-License-Identifier: Apache-2.0
"""Memory that arrays are made over, and that is used again when the last of them is gone.

Fresh memory costs more in page faults than what is copied into it. So whoever fills a slab asks `exports` before
beginning at its start again: numpy's arrays hold a buffer of it as long as they, or views of them, live.
"""

from cpython.buffer cimport PyBuffer_FillInfo
from libc.stdint cimport uint8_t
from libc.stdlib cimport free

cdef extern from "<stdlib.h>" nogil:
    int posix_memalign(void **, size_t, size_t)

cdef enum:
    # A cache line, and enough for every vector instruction.
    ALIGNMENT = 64


cdef class Slab:
    """`size` bytes, not initialised. MemoryError where they cannot be had."""

    def __cinit__(self, size_t size):
        cdef void *data = NULL
        if posix_memalign(&data, ALIGNMENT, size if size else 1) != 0:
            raise MemoryError(f"no memory for {size} bytes")
        self.data = <uint8_t *>data
        self.size = size

    def __dealloc__(self):
        free(self.data)

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, self.data, <Py_ssize_t>self.size, False, flags)
        self.exports += 1

    def __releasebuffer__(self, Py_buffer *view):
        self.exports -= 1
