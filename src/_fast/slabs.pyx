# SPDX-License-Identifier: Apache-2.0
"""Memory that arrays are made over, and that is used again when the last of them is gone.

Fresh memory costs more in page faults than what is copied into it. So whoever fills a slab asks `is_idle` before beginning at
its start again. numpy's arrays hold a buffer of it, or the slab itself, as long as they, or views of them, live.
"""

from cpython.buffer cimport PyBuffer_FillInfo
from cpython.object cimport PyObject
from libc.stdint cimport uint8_t
from libc.stdlib cimport free, malloc, realloc

cdef extern from "Python.h":
    Py_ssize_t Py_REFCNT(PyObject *) noexcept

cdef enum:
    # Slabs that a hub keeps for the next large frame: one that a reactant still has, and one to receive into.
    MAX_SPARES = 2

# A larger one goes back to the system when it is not needed any more.
MAX_SPARE_BYTES = 128 << 20
cdef size_t _max_spare_bytes = MAX_SPARE_BYTES


cdef class Slab:
    """`size` bytes, not initialised. MemoryError where they cannot be had."""

    def __cinit__(self, size_t size):
        self.data = <uint8_t *>malloc(size if size else 1)
        if self.data == NULL:
            raise MemoryError(f"no memory for {size} bytes")
        self.size = size

    def __dealloc__(self):
        free(self.data)

    cdef int grow(self, size_t size) except -1:
        """Make it larger; nobody else may have any of it."""
        cdef void *grown = realloc(self.data, size)
        if grown == NULL:
            raise MemoryError(f"no memory for {size} bytes")
        self.data = <uint8_t *>grown
        self.size = size
        return 0

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, self.data, <Py_ssize_t>self.size, False, flags)
        self.exports += 1

    def __releasebuffer__(self, Py_buffer *view):
        self.exports -= 1


cdef bint is_idle(PyObject *slab) noexcept:
    return (<Slab>slab).exports == 0 and Py_REFCNT(slab) == 1


cdef class Spares:
    """Slabs that were received into, for the next large frame."""

    def __cinit__(self):
        self.slabs = []

    cdef Slab take(self, size_t size):
        """One that is large enough and that nobody has any more, or None."""
        cdef Slab slab
        cdef Py_ssize_t index
        for index in range(len(self.slabs)):
            slab = <Slab>self.slabs[index]
            if slab.size >= size:
                del self.slabs[index]
                # The variable alone holds it now.
                if is_idle(<PyObject *>slab):
                    self.used = True
                    return slab
                self.slabs.insert(index, slab)
        return None

    cdef int give(self, Slab slab) except -1:
        """It is filled and handed on; a reactant may still have it."""
        self.used = True
        if slab.size <= _max_spare_bytes:
            self.slabs.append(slab)
            if len(self.slabs) > MAX_SPARES:
                del self.slabs[0]
        return 0

    @property
    def sizes(self):
        """What is kept now, in bytes."""
        cdef Slab slab
        return tuple([slab.size for slab in self.slabs])

    def forget_unused(self):
        """Give back to the system what was not needed since the last call."""
        if not self.used:
            self.slabs.clear()
        self.used = False
