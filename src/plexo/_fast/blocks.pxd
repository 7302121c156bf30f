# SPDX-License-Identifier: Apache-2.0
from libc.stdint cimport uint8_t, uint64_t
from plexo._fast.scan cimport Entry, Walk

cdef enum:
    # One read. Of this at most two frames of BIG_FRAME are what is left of the read before.
    BLOCK_BYTES = 262144
    # A block of the smallest pair messages with 64 bytes of payload, all of them different, has less.
    ENTRIES = 2048

cdef enum:
    # What came behind the last byte: nothing yet; else a number of `errno`.
    OPEN = 0
    CLOSED = -1


cdef struct Block:
    Block *next
    int slot
    int fate
    size_t size
    size_t got
    size_t count
    Entry entries[ENTRIES]
    uint8_t data[BLOCK_BYTES]


cdef struct Slot:
    int fd
    bint used
    # Whether the thread may read it, whether it does so now, and whether it has read the end.
    bint eligible
    bint busy
    bint ended
    # Blocks that were read for it and not given back.
    int ahead
    # The thread's alone while it is busy.
    Walk walk
    uint8_t *carry
    size_t carry_size
    size_t carry_capacity
    # What was read and not taken.
    uint64_t held


# One read. Sets the block's `got`, its size (of what is divided), count and fate, and the slot's carry.
cdef void read_block(Slot *slot, Block *block) noexcept nogil
cdef void free_blocks(Block *first) noexcept nogil

# A descriptor to read from and one to write to, for waking somebody.
cdef tuple open_channel()
cdef void ring(int fd) noexcept nogil
cdef void quiet(int fd) noexcept nogil
