# SPDX-License-Identifier: Apache-2.0
"""Encoded messages of one neuron, side by side: what a batch hands to the synapses at once.

No object is made for a message until a queue has to keep it: a synapse lays it out from here into the outbox of its link.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdlib cimport free, malloc


cdef class Breath:
    """Awaited after a full buffer went out: lets the event loop have a turn in a sender's tight loop."""

    def __await__(self):
        return self

    def __iter__(self):
        return self

    def __next__(self):
        if self.taken:
            raise StopIteration
        self.taken = True
        return None


cdef class Load:
    """`count` messages; `outgoing` fills it, again and again for one batch. Indices are the caller's to check."""

    def __dealloc__(self):
        free(self.pieces)

    cdef int begin(self, object values, Py_ssize_t offset) except -1:
        """Empty it; what is put in now are the encodings of values[offset:]."""
        self.count = self.largest = self.reached = 0
        self.records = NULL
        self.record_bytes = 0
        self.payloads = self.buffer = None
        self.values = values
        self.offset = offset
        return 0

    cdef int make_pieces(self) except -1:
        if self.pieces == NULL:
            self.pieces = <Slice *>malloc(LOAD_VALUES * sizeof(Slice))
            if self.pieces == NULL:
                raise MemoryError("no memory for the list of a batch's messages")
        return 0

    cdef size_t size(self, Py_ssize_t index) noexcept nogil:
        return self.pieces[index].size if self.records == NULL else self.record_bytes

    cdef const uint8_t *data(self, Py_ssize_t index) noexcept nogil:
        if self.records == NULL:
            return self.pieces[index].data
        return self.records + <size_t>index * self.record_bytes

    cdef bytes payload(self, Py_ssize_t index):
        """As an object of its own, which outlives this."""
        if self.payloads is not None:
            return <bytes>self.payloads[index]
        return PyBytes_FromStringAndSize(<const char *>self.data(index), <Py_ssize_t>self.size(index))

    cdef object value(self, Py_ssize_t index):
        if self.as_arrays:
            return self.values[self.offset + index, ...]
        return self.values[self.offset + index]
