# SPDX-License-Identifier: Apache-2.0
from plexo._fast.books cimport Ledger
from plexo._fast.completion cimport Completion, Place, Source, Target
from plexo._fast.queues cimport Queue
from plexo._fast.tasks cimport TaskPool


cdef class Fanout(Place):
    cdef readonly tuple targets
    cdef Py_ssize_t count
    cdef bint wants_reaction
    cdef readonly Queue queue
    # The books of receivers that were removed; those still busy with a message.
    cdef Ledger gone
    cdef list leaving
    cdef object deliver(self, object data, object reaction_id)
    cdef object deliver_all(self, object data, object reaction_id, Completion completion, TaskPool pool)
    cdef int deliver_now(self, object data, object reaction_id) except -1
    cdef int post(self, object data, object reaction_id, Completion completion, TaskPool pool, Source source,
                  object payload) except -1
    cdef bint refuses(self)
    cdef int add_up(self, Ledger total) except -1
    cdef int add_target(self, Target target) except -1
    cdef int remove_target(self, Target target) except -1
