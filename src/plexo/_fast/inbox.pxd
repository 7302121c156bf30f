# SPDX-License-Identifier: Apache-2.0
from libc.stdint cimport uint64_t
from plexo._fast.completion cimport Completion, Place, Source, Target
from plexo._fast.queues cimport Queue, Waiting


cdef class Inbox(Target):
    cdef Place place
    cdef readonly Queue queue
    cdef Waiting pending
    # A message that has left the queue and is not delivered yet, with what may have to be said about it.
    cdef bint in_hand
    cdef Source source
    cdef object data
    cdef object payload
    # Sources that read nothing because of this queue.
    cdef list paused
    # Messages dropped since this queue began to drop; 0 while it does not.
    cdef uint64_t dropping
    cdef bint any_pending(self) noexcept
    cdef int enqueue(self, object data, object reaction_id, Completion completion, Source source,
                     object payload) except -1
    cdef int pause(self, Source source) except -1
    cdef int relieve(self) except -1
    cdef int drop(self, object cause, Completion completion, Source source) except -1
    cdef int evict(self, tuple entry, object cause) except -1
    cdef int let_go(self) except -1
    cdef int not_delivered(self, object cause) except -1
    cdef int drop_all(self, object cause) except -1
    cdef object queue_full(self)
