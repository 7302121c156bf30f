# SPDX-License-Identifier: Apache-2.0
from libc.stdint cimport uint8_t, uint64_t
from plexo._fast.blocks cimport Block, Slot
from plexo._fast.scan cimport Walk

cdef extern from "system.h" nogil:
    ctypedef struct plexo_mutex:
        pass
    ctypedef struct plexo_condition:
        pass
    ctypedef struct plexo_polled:
        short revents

cdef enum:
    # Blocks that were read for one link and not given back; then its socket waits.
    BLOCKS_AHEAD = 4
    # In all, of about 320 KiB each; then every socket waits.
    MAX_BLOCKS = 64


cdef class Pump:
    cdef plexo_mutex mutex
    cdef plexo_condition changed
    # Towards the thread, towards the loop: where to read and where to write.
    cdef int wake_out, wake_in, tell_out, tell_in
    cdef int process
    cdef bint stopping, running, woken, told, forsaken
    # Whether the thread waits in poll, and how often it has come back from there.
    cdef bint polling
    cdef uint64_t rounds
    # Whether it leaves sockets alone because blocks are missing.
    cdef bint short
    # There was no memory for one.
    cdef bint starved
    cdef Slot **slots
    cdef int slot_count
    cdef Block *free_blocks
    cdef int free_count
    cdef int block_count
    cdef Block *ready_first
    cdef Block *ready_last
    # The thread's own.
    cdef plexo_polled *polled
    cdef int *polled_slots
    cdef int polled_room
    cdef int first
    # -- the thread
    cdef void body(self) noexcept nogil
    cdef int choose(self) noexcept nogil
    cdef bint read_slot(self, int index) noexcept nogil
    cdef void wake(self) noexcept nogil
    # -- the loop
    # Let the thread read `fd`, whose stream is where `walk` says, with `carry` before what comes; the slot. A slot that was
    # held goes on with `slot`, a new one is -1.
    cdef int admit(self, int slot, int fd, const Walk *walk, const uint8_t *carry, size_t size) except -1
    # Let it read no more; what it had read and nobody has taken, first first. Then the slot's own rest is in `carry`.
    cdef Block *hold(self, int slot, bint out_of_poll) noexcept
    cdef void release(self, int slot) noexcept
    cdef Block *take(self) noexcept
    cdef void give_back(self, Block *block) noexcept
    cdef uint64_t held(self, int slot) noexcept
    cdef void close_channels(self) noexcept
    cdef void forsake(self) noexcept
