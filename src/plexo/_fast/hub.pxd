# SPDX-License-Identifier: Apache-2.0
from libc.stdint cimport uint8_t, uint64_t
from plexo._fast.sending cimport Outlet
from plexo._fast.slabs cimport Spares
from plexo._fast.synapse cimport Synapse
from plexo._fast.turns cimport Turns, Waiters

cdef enum:
    SCRATCH_BYTES = 262144


cdef class Hub(Turns):
    # Whether this kind of loop tells a reader only once that its connection was reset (uvloop does).
    cdef bint tells_once
    cdef Line pair_link
    cdef readonly Waiters waiting
    cdef readonly Spares spares
    cdef uint8_t *scratch
    # Where a thread reads: an Intake.
    cdef public object intake
    cdef object wait_for_room(self, Synapse synapse, bytes payload)
    cdef int admit(self) except -1
    cdef bint has_room(self) except -1


cdef class Line(Outlet):
    cdef object __weakref__
    cdef readonly Hub hub
    cdef readonly int fd
    cdef readonly uint64_t received_bytes
    cdef bint reading
    cdef uint64_t arrived(self) noexcept
    cdef int start_writing(self) except -1
    cdef bint unfinished(self) noexcept
    cdef int lost(self, object error) except -1
    cdef list shut(self)
