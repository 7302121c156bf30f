# SPDX-License-Identifier: Apache-2.0
from libc.stdint cimport uint8_t, uint32_t, uint64_t

# What is known of a packet that is not delivered.
cdef enum Place:
    PLACE_EMPTY = 0            # not here; so is everything out of reach
    PLACE_STORED
    PLACE_LOST                 # given up

cdef struct Slot:
    uint8_t *data              # of what is stored; owned
    size_t size
    uint32_t sqn
    uint8_t place


cdef class ReceiveWindow:
    cdef readonly uint32_t most_packets
    cdef readonly size_t most_bytes
    # Packets that are stored, their bytes, and marks of lost ones.
    cdef readonly uint32_t stored
    cdef readonly size_t stored_bytes
    cdef readonly uint32_t marks

    cdef Slot *slots
    cdef uint32_t capacity     # a power of two, or 0

    cdef Place place(self, uint32_t sqn) noexcept
    # Copy a packet in. `expected` is the next one to be delivered: it is always taken, others while there is room, and at
    # most most_packets - 1 ahead of it. True if it is stored now; False: no room or memory, or there is one already. A mark
    # gives way.
    cdef bint store(self, uint32_t expected, uint32_t sqn, const uint8_t *data, size_t size) noexcept
    # Mark what is empty as lost; False where it is out of reach, stored, or there is no memory.
    cdef bint mark_lost(self, uint32_t expected, uint32_t sqn) noexcept
    # Take a stored packet out; the bytes are the caller's, who frees them. NULL: none is stored.
    cdef uint8_t *pull(self, uint32_t sqn, size_t *size) noexcept
    # Take a mark away; whether there was one.
    cdef bint pull_mark(self, uint32_t sqn) noexcept
    cdef void clear(self) noexcept

    cdef bint reach(self, uint32_t ahead) noexcept
    cdef void forget(self) noexcept
