# SPDX-License-Identifier: Apache-2.0
from libc.stdint cimport uint8_t, uint64_t
from plexo._fast.books cimport Ledger, Tally
from plexo._fast.tasks cimport TaskPool, Work


cdef class Place:
    cdef readonly object neuron
    cdef object name
    cdef readonly object owner
    cdef Tally tally
    # Whether payloads are kept beside what they decoded to, for the dead letters.
    cdef public bint keeps_payload
    cdef int settle_in(self, object neuron, object owner) except -1
    cdef int count(self, object cause, Source source, uint64_t count) except -1
    cdef int failed(self, object error, object reactant, Source source, object data, object payload) except -1
    cdef int tell_failed(self, object error, object reactant, Source source, object data, object payload) except -1


cdef class Source:
    # Number of reactants whose full queue this source waits for; it reads nothing while that is above zero.
    cdef Py_ssize_t blocked
    # The peer's host, and what came from it.
    cdef readonly object host
    cdef readonly Ledger receiving
    cdef int resume(self) except -1


cdef class Feed(Source):
    cdef object resumed


cdef class Completion:
    cdef Py_ssize_t waiting
    cdef list errors
    cdef object future
    # Where its future was made.
    cdef unsigned long thread
    # The sender is gone (cancelled): entries still queued are skipped.
    cdef bint abandoned
    # Nobody will look at the errors: `place` reports them.
    cdef bint detached
    cdef Place place
    cdef tuple targets
    # For a peer that asked: called once with (cause, errors).
    cdef object settled
    cdef object cause
    cdef int one_done(self, object error) except -1
    cdef int one_lost(self, object cause) except -1


cdef class Target(Work):
    cdef readonly object reactant
    cdef bint wants_reaction
    cdef readonly Ledger ledger
    # Where it takes messages of this size undecoded, see `take_records`; else 0.
    cdef readonly size_t record_bytes
    cdef Py_ssize_t queued(self) noexcept
    cdef Py_ssize_t room(self) noexcept
    cdef int take_records(self, const uint8_t *data, size_t stride, Py_ssize_t count, TaskPool pool,
                          Source source) except -1
    cdef int offer(self, object data, object reaction_id, Completion completion, TaskPool pool,
                   Source source, object payload) except -1
    cdef bint refuses(self)
    cdef int revive(self) except -1
    cdef int cancel(self) except -1
    cdef int cancel_for(self, Completion completion) except -1
    cdef int suspended(self, list found) except -1
    cdef Target forsake(self)


cdef int raise_errors(list errors) except -1
