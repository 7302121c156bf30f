# SPDX-License-Identifier: Apache-2.0
from plexo._fast.completion cimport Completion, Source
from plexo._fast.inbox cimport Inbox
from plexo._fast.tasks cimport TaskPool


cdef class Lane(Inbox):
    cdef int arity
    cdef bint busy
    # Where its coroutine is suspended; a loop that was closed since will never go on with it.
    cdef object loop
    # Changes where what was suspended is given up.
    cdef unsigned long turn
    cdef Completion completion
    cdef object call(self, object data, object reaction_id)
    cdef int work_through(self, TaskPool pool) except -1
    cdef int go_on_with(self, TaskPool pool) except -1
    cdef int take(self, object data, Completion completion, Source source, object payload) except -1
    cdef int settle(self, object error) except -1
    cdef int settle_failed(self, object error, Completion completion) except -1
    cdef object own_queue_full(self)
    cdef bint own_full(self) noexcept
    cdef int give_up(self) except -1
    cdef int look_elsewhere(self) except -1
    cdef int turn_away(self, object error, Completion completion, Source source, object data, object payload) except -1
    cdef Completion queue_for(self, object data, object reaction_id)
    cdef object deliver(self, object data, object reaction_id)
    cdef int deliver_now(self, object data, object reaction_id) except -1
