# SPDX-License-Identifier: Apache-2.0
from plexo._fast.completion cimport Completion, Place, Source, Target
from plexo._fast.tasks cimport TaskPool


cdef class Lane(Target):
    cdef Place place
    cdef int arity
    cdef bint busy
    # Where its coroutine is suspended; a loop that was closed since will never go on with it.
    cdef object loop
    cdef Py_ssize_t limit
    cdef object pending
    cdef Completion completion
    cdef bint in_hand
    cdef list paused
    cdef object call(self, object data, object reaction_id)
    cdef int work_through(self, TaskPool pool) except -1
    cdef int settle(self, object error) except -1
    cdef object own_queue_full(self)
    cdef int queue(self, object data, object reaction_id, Completion completion, Source source) except -1
    cdef int relieve(self) except -1
    cdef int give_up(self) except -1
    cdef object deliver(self, object data, object reaction_id)
    cdef int deliver_now(self, object data, object reaction_id) except -1
