# SPDX-License-Identifier: Apache-2.0
from libc.stdint cimport uint8_t
from plexo._fast.blocks cimport Block
from plexo._fast.hub cimport Hub
from plexo._fast.link cimport Link
from plexo._fast.pump cimport Pump
from plexo._fast.scan cimport Entry
from plexo._fast.tasks cimport TaskPool

cdef enum:
    # Blocks that are worked off before the event loop has its turn again: as much as READS_PER_TURN reads.
    BLOCKS_PER_TURN = 8


cdef class Intake:
    cdef Hub hub
    cdef Pump pump
    cdef object thread
    cdef bint listening
    # By slot.
    cdef list links
    cdef Pump running(self)


cdef class PumpedLink(Link):
    # -1: the pump does not know this link.
    cdef int slot
    # Whether the thread reads its socket. While it does not, what it had read is here: `partial` from `at` on.
    cdef bint inside
    cdef size_t at
    # What comes behind that, where the thread has seen it: see pump.pxd.
    cdef int fate
    # How much of what is being parsed is done with, and how much of it has been added to `received_bytes`.
    cdef size_t used
    cdef size_t counted
    cdef int enter(self) except -1
    cdef int leave(self, bint for_good) except -1
    cdef int keep(self, const uint8_t *data, size_t size) except -1
    cdef int keep_first(self, const uint8_t *data, size_t size) except -1
    cdef int go_on(self, int reads) except -1
    cdef int go_on_soon(self) except -1
    cdef int work_off(self) except -1
    cdef int read_now(self) except -1
    cdef int meet_fate(self) except -1
    cdef int take_block(self, Block *block) except -1
    cdef int take_entries(self, Block *block) except -1
    cdef int take_messages(self, const uint8_t *data, const Entry *entry) except -1
    cdef int digest(self, const uint8_t *data, size_t size) except -1
    cdef int fill(self, const uint8_t *data, size_t size) except -1
