# SPDX-License-Identifier: Apache-2.0
from plexo._fast.tasks cimport TaskPool, Work


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
    # Nobody will look at the errors: `fanout` reports them.
    cdef bint detached
    cdef Fanout fanout
    cdef list lanes
    cdef int one_done(self, object error) except -1


cdef class Target(Work):
    cdef readonly object reactant
    cdef bint wants_reaction
    cdef int offer(self, object data, object reaction_id, Completion completion, TaskPool pool,
                   Source source) except -1
    cdef bint full(self)
    cdef int revive(self) except -1
    cdef int cancel(self) except -1


cdef class Lane(Target):
    cdef Fanout fanout
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
    cdef int queue(self, object data, object reaction_id, Completion completion, Source source) except -1
    cdef int relieve(self) except -1
    cdef int give_up(self) except -1
    cdef object deliver(self, object data, object reaction_id)
    cdef int deliver_now(self, object data, object reaction_id) except -1


cdef class Fanout:
    cdef readonly object neuron
    cdef readonly tuple targets
    cdef Py_ssize_t count
    cdef bint wants_reaction
    cdef readonly Py_ssize_t limit
    cdef object report
    cdef readonly unsigned long long errors
    cdef object deliver(self, object data, object reaction_id)
    cdef object deliver_all(self, object data, object reaction_id, Completion completion, TaskPool pool)
    cdef int deliver_now(self, object data, object reaction_id) except -1
    cdef int post(self, object data, object reaction_id, TaskPool pool, Source source) except -1
    cdef int failed(self, object error, object reactant) except -1
    cdef bint would_wait(self)
    cdef int add_target(self, Target target) except -1
    cdef int remove_target(self, Target target) except -1
