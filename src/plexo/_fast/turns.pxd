# SPDX-License-Identifier: Apache-2.0
from libc.stdint cimport uint64_t
from plexo._fast.sending cimport Sending
from plexo._fast.synapse cimport Synapse
from plexo._fast.tasks cimport TaskPool
from plexo._fast.vigil cimport Vigil


cdef class Turns(Sending):
    # The largest message that is sent or taken.
    cdef readonly uint64_t max_frame_bytes
    cdef readonly object loop
    cdef TaskPool pool
    cdef list dirty
    cdef object flush_handle
    cdef readonly Vigil vigil
    # Whether what came from a socket is being worked off.
    cdef bint in_turn
    cdef double dirty_since
    # When a sender last let the event loop have a turn.
    cdef double turn
    # When and on which thread the event loop was last seen to be ours.
    # When the last message was sent, and whether it was the first after a silence.
    cdef double last_touch
    cdef bint was_quiet
    cdef double seen_at
    cdef unsigned long seen_thread
    cdef int begin_serving(self, object loop) except -1
    cdef int forsake_turns(self) except -1
    cdef int end_serving(self) except -1
    cdef int here(self) except -1
    cdef bint turn_is_over(self) noexcept
    cdef int begin_turn(self) except -1
    cdef int end_turn(self, TaskPool pool) except -1
    cpdef flush_all(self)


cdef class Waiters:
    # (future, synapse, payload) in the order of their calls.
    cdef object entries
    cdef Py_ssize_t cancelled
    cdef bint admitting
    cdef object wait(self, object loop, Synapse synapse, bytes payload)
    cdef int admit(self) except -1
    cdef int forget(self) except -1
    cdef int fail(self, object error) except -1
    cdef Py_ssize_t count(self)
