# SPDX-License-Identifier: Apache-2.0
from libc.stdint cimport uint8_t, uint64_t
from plexo._fast.sending cimport Outlet, Sending
from plexo._fast.slabs cimport Spares
from plexo._fast.synapse cimport Synapse
from plexo._fast.tasks cimport TaskPool
from plexo._fast.vigil cimport Vigil

cdef enum:
    SCRATCH_BYTES = 262144
    # What a batch lays out before it is sent, at most: larger ones save no more on system calls, and with a message more
    # it stays in 256 KiB of memory, which the processor's second cache holds.
    BURST_BYTES = 245760


cdef class Hub(Sending):
    cdef readonly object loop
    cdef TaskPool pool
    # Whether this kind of loop tells a reader only once that its connection was reset (uvloop does).
    cdef bint tells_once
    cdef Line pair_link
    cdef readonly uint64_t max_frame_bytes
    cdef list dirty
    cdef object flush_handle
    cdef readonly Vigil vigil
    cdef double dirty_since
    # When a sender last let the event loop have a turn.
    cdef double turn
    # The last clock reading, and when and on which thread the event loop was last seen to be ours.
    cdef double now
    # When the last message was sent, and whether it was the first after a silence.
    cdef double last_touch
    cdef bint was_quiet
    cdef double seen_at
    cdef unsigned long seen_thread
    cdef object waiting
    cdef Py_ssize_t cancelled
    cdef bint admitting
    cdef readonly Spares spares
    cdef uint8_t *scratch
    cdef bint scratch_in_use
    # Where a thread reads: an Intake.
    cdef public object intake
    cdef bint touch(self, Line link) except -1
    cdef bint turn_is_over(self) noexcept
    cdef int here(self) except -1
    cdef int begin_turn(self) except -1
    cdef int end_turn(self, TaskPool pool) except -1
    cdef object wait_for_room(self, Synapse synapse, bytes payload)
    cdef int admit(self) except -1
    cdef bint has_room(self) except -1
    cpdef flush_all(self)


cdef class Line(Outlet):
    cdef object __weakref__
    cdef readonly Hub hub
    cdef readonly int fd
    cdef readonly uint64_t received_bytes
    cdef bint refilling
    cdef readonly bint open
    cdef bint reading
    cdef bint writing
    cdef bint is_dirty
    cdef uint64_t arrived(self) noexcept
    cdef int start_writing(self) except -1
    cdef bint unfinished(self) noexcept
    cdef int lost(self, object error) except -1
    cdef int flush(self) except -1
    cdef bint has_room(self) except -1
    cdef size_t room_bytes(self) noexcept
    cdef Py_ssize_t room_messages(self) noexcept
    cdef int refill(self) except -1
    cdef int tell_freed(self, bint ended) except -1
    cdef list shut(self)
