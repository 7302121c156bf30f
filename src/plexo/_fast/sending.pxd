# SPDX-License-Identifier: Apache-2.0
from libc.stdint cimport uint64_t
from plexo._fast.books cimport Ledger, Tally
from plexo._fast.completion cimport Source
from plexo._fast.outbox cimport Outbox
from plexo._fast.queues cimport Queue, Waiting
from plexo._fast.synapse cimport Synapse
from plexo._fast.topics cimport TopicTable


cdef enum:
    FLUSH_BYTES = 65536
    # What a batch lays out before it is sent, at most: larger ones save no more on system calls, and with a message more
    # it stays in 256 KiB of memory, which the processor's second cache holds.
    BURST_BYTES = 245760


cdef class Outlet(Source):
    cdef Sending queues
    # Has `peer`, a name for the log.
    cdef readonly object connection
    cdef readonly Outbox outbox
    cdef readonly bint open
    # Whether it is full as far as the system goes: the next flush is the event loop's, or a timer's.
    cdef bint writing
    cdef bint is_dirty
    cdef bint refilling
    cdef Ledger sending
    # That of all links where it is a pair.
    cdef Waiting backlog
    cdef int flush(self) except -1
    cdef size_t queued_bytes(self) noexcept
    cdef Py_ssize_t queued_messages(self) noexcept
    cdef Py_ssize_t held_messages(self) noexcept
    cdef int census(self, dict counts) except -1
    cdef bint has_room(self) except -1
    cdef size_t room_bytes(self) noexcept
    cdef Py_ssize_t room_messages(self) noexcept
    cdef int refill(self) except -1
    cdef int tell_freed(self, bint ended) except -1


cdef class Sending:
    cdef readonly object owner
    cdef readonly TopicTable topics
    cdef readonly list links
    cdef readonly bint is_pair
    cdef readonly Queue send_queue
    cdef Tally tally
    # The last clock reading.
    cdef double now
    # A pair's messages that no link has taken yet and no sender waits with.
    cdef Waiting backlog
    cdef object key_of(self, Synapse synapse, bytes payload, object data)
    cdef bint spill(self, Waiting backlog, Outlet link, Synapse synapse, bytes payload, object key) except -1
    cdef int drop(self, Synapse synapse, Outlet link, object cause) except -1
    cdef int drop_for_room(self, Waiting backlog, Synapse synapse, Outlet link) except -1
    cdef int tell_full(self, Waiting backlog, Synapse synapse, Outlet link) except -1
    cdef object queue_full(self, Outlet link, Synapse synapse)
    cdef bint touch(self, Outlet outlet) except -1
