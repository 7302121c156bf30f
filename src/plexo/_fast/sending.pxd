# SPDX-License-Identifier: Apache-2.0
from libc.stdint cimport uint64_t
from plexo._fast.books cimport Ledger, Tally
from plexo._fast.completion cimport Source
from plexo._fast.outbox cimport Outbox
from plexo._fast.queues cimport Queue, Waiting
from plexo._fast.synapse cimport Synapse
from plexo._fast.topics cimport TopicTable


cdef class Outlet(Source):
    cdef readonly object connection
    cdef readonly Outbox outbox
    cdef Ledger sending
    # That of all links where it is a pair.
    cdef Waiting backlog


cdef class Sending:
    cdef readonly object owner
    cdef readonly TopicTable topics
    cdef readonly list links
    cdef readonly bint is_pair
    cdef readonly Queue send_queue
    cdef Tally tally
    # A pair's messages that no link has taken yet and no sender waits with.
    cdef Waiting backlog
    cdef object key_of(self, Synapse synapse, bytes payload, object data)
    cdef bint spill(self, Waiting backlog, Outlet link, Synapse synapse, bytes payload, object key) except -1
    cdef int drop(self, Synapse synapse, Outlet link, object cause) except -1
    cdef int drop_for_room(self, Waiting backlog, Synapse synapse, Outlet link) except -1
    cdef int tell_full(self, Waiting backlog, Synapse synapse, Outlet link) except -1
    cdef object queue_full(self, Outlet link, Synapse synapse)
