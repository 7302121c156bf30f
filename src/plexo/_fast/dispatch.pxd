# SPDX-License-Identifier: Apache-2.0
from plexo._fast.completion cimport Completion, Place, Source, Target
from plexo._fast.tasks cimport TaskPool


cdef class Fanout(Place):
    cdef readonly tuple targets
    cdef Py_ssize_t count
    cdef bint wants_reaction
    cdef readonly Py_ssize_t limit
    cdef object deliver(self, object data, object reaction_id)
    cdef object deliver_all(self, object data, object reaction_id, Completion completion, TaskPool pool)
    cdef int deliver_now(self, object data, object reaction_id) except -1
    cdef int post(self, object data, object reaction_id, TaskPool pool, Source source) except -1
    cdef bint would_wait(self)
    cdef int add_target(self, Target target) except -1
    cdef int remove_target(self, Target target) except -1
