# SPDX-License-Identifier: Apache-2.0
from plexo._fast.tasks cimport TaskPool, Work


cdef class Place:
    cdef readonly object neuron
    cdef object report
    cdef readonly unsigned long long errors
    cdef int failed(self, object error, object reactant) except -1


cdef class Source:
    # Number of reactants whose full queue this source waits for; it reads nothing while that is above zero.
    cdef Py_ssize_t blocked
    cdef int resume(self) except -1


cdef class Completion:
    cdef Py_ssize_t waiting
    cdef list errors
    cdef object future
    # The sender is gone (cancelled): entries still queued are skipped.
    cdef bint abandoned
    # Nobody will look at the errors: `place` reports them.
    cdef bint detached
    cdef Place place
    cdef tuple targets
    cdef int one_done(self, object error) except -1


cdef class Target(Work):
    cdef readonly object reactant
    cdef bint wants_reaction
    cdef int offer(self, object data, object reaction_id, Completion completion, TaskPool pool,
                   Source source) except -1
    cdef bint full(self)
    cdef int revive(self) except -1
    cdef int cancel(self) except -1
    cdef int cancel_for(self, Completion completion) except -1


cdef int raise_errors(list errors) except -1
