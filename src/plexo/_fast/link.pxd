# SPDX-License-Identifier: Apache-2.0
from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint64_t
from plexo._fast.dispatch cimport Source
from plexo._fast.outbox cimport Outbox
from plexo._fast.synapse cimport Synapse
from plexo._fast.tasks cimport TaskPool
from plexo._fast.topics cimport TopicTable


cdef class Hub:
    cdef readonly object owner
    cdef readonly TopicTable topics
    cdef readonly object loop
    cdef TaskPool pool
    cdef readonly list links
    cdef Link pair_link
    cdef readonly bint is_pair
    cdef readonly uint64_t max_frame_bytes
    cdef readonly size_t send_queue_bytes
    cdef list dirty
    cdef object flush_handle
    cdef double dirty_since
    # The last clock reading, and when and on which thread the event loop was last seen to be ours.
    cdef double now
    cdef double seen_at
    cdef unsigned long seen_thread
    cdef object waiting
    cdef Py_ssize_t cancelled
    cdef bint closed
    cdef bint admitting
    cdef uint8_t *scratch
    cdef bint scratch_in_use
    cdef readonly uint64_t received
    cdef readonly uint64_t unknown_topics
    cdef readonly uint64_t malformed
    cdef bint touch(self, Link link) except -1
    cdef int here(self) except -1
    cdef object wait_for_room(self, Synapse synapse, bytes payload)
    cdef int admit(self) except -1
    cdef bint has_room(self) except -1
    cpdef flush_all(self)


cdef class Link(Source):
    cdef object __weakref__
    cdef readonly Hub hub
    cdef readonly int fd
    cdef readonly object connection
    cdef readonly Outbox outbox
    cdef readonly bint open
    cdef bint reading
    cdef bint writing
    cdef bint is_dirty
    cdef double last_touch
    cdef bint takes_messages
    cdef readonly uint64_t received
    cdef readonly uint64_t received_bytes
    cdef uint8_t *partial
    cdef size_t partial_size
    cdef size_t partial_capacity
    cdef size_t parsed
    cdef PyObject *big
    cdef size_t big_have
    cdef uint64_t big_size
    cdef uint8_t big_flags
    cdef Synapse target
    cdef int part
    cdef bint bad
    cdef int save(self, const uint8_t *data, size_t size) except -1
    cdef int parse(self, const uint8_t *data, size_t size) except -1
    cdef int begin_big(self, const uint8_t *data, size_t have, uint64_t size, uint8_t flags) except -1
    cdef int read_big(self) except -1
    cdef bint holds_frame(self) noexcept
    cdef int frame(self, uint8_t flags, const uint8_t *body, size_t size, object whole) except -1
    cdef int envelope(self, const uint8_t *body, size_t size) except -1
    cdef int fail(self, str expected, str received) except -1
    cdef int drop_malformed(self, str reason) except -1
    cdef int lost(self, object error) except -1
    cdef int read_all(self) except -1
    cdef int flush(self) except -1
