# SPDX-License-Identifier: Apache-2.0
from libc.stdint cimport uint8_t, uint64_t


cdef class Chunk:
    cdef size_t size
    cdef size_t sent
    cdef Py_ssize_t messages
    cdef Py_ssize_t push_out(self, int fd) except? -2
    cdef Py_ssize_t finished(self) noexcept
    cdef int census(self, bint is_pair, dict counts) except -1
    cdef int over(self) except -1
    cdef tuple unsent(self)


cdef class Big(Chunk):
    cdef bytes head
    cdef object payload
    cdef Py_buffer view
    cdef size_t padding
    cdef bytes topic
    # Whether `payload` belongs to a sender who waits, and what wakes that.
    cdef bint lent
    cdef object waiter
    cdef int own(self) except -1


cdef class Loan:
    cdef Big big


cdef class Run(Chunk):
    cdef uint8_t *data
    cdef size_t capacity
    # Where the first message begins that is not wholly sent, and how many are before it, as far as was looked.
    cdef size_t start
    cdef Py_ssize_t ended
    cdef uint8_t *reserve(self, size_t size) except NULL


cdef class Outbox:
    cdef int fd
    cdef object ahead
    cdef Run tail
    cdef readonly size_t queued_bytes
    # Messages in chunks that are not wholly sent, and in those that were.
    cdef Py_ssize_t held
    cdef uint64_t delivered
    cdef readonly uint64_t sent_bytes
    cdef uint8_t *reserve(self, size_t size, Py_ssize_t messages) except NULL
    cdef Big push_big(self, bytes head, object payload, size_t padding, bytes topic)
    cdef int flush(self) except -1
    cdef Chunk front(self)
    cdef Py_ssize_t waiting(self) noexcept
    cdef uint64_t taken(self) noexcept
    cdef int census(self, bint is_pair, dict counts) except -1
    cdef list take_unsent(self)
    cdef int put_back(self, list wires) except -1


cdef enum:
    RUN_BYTES = 65536
    BIG_PAYLOAD = 32768
