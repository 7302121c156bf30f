# SPDX-License-Identifier: Apache-2.0
from libc.stdint cimport uint8_t
from plexo._fast.load cimport Load
from plexo._fast.outbox cimport Outbox
from plexo._fast.sending cimport Outlet
from plexo._fast.synapse cimport Synapse
from plexo._fast.turns cimport Turns, Waiters


cdef class WireSynapse(Synapse):
    cdef readonly Turns hub
    # Its senders that wait for room.
    cdef Waiters waiting
    cdef bytes head
    # The same, for where no object is touched.
    cdef const uint8_t *fixed
    cdef size_t fixed_size
    # The whole head of the last batch of records, and how large these were.
    cdef bytes sent_head
    cdef size_t sent_bytes
    cdef bytes make_head(self)
    cdef size_t head_size(self, size_t size) noexcept nogil
    cdef size_t write_head(self, uint8_t *room, size_t size) noexcept nogil
    cdef size_t padding(self, size_t size) noexcept nogil
    cdef bytes whole_head(self, size_t size)
    cdef uint8_t *make_room(self, Outbox outbox, size_t size) except NULL
    cdef Py_ssize_t span(self, Load load, Py_ssize_t start, Py_ssize_t most, size_t most_bytes) noexcept nogil
    cdef int lay_out_many(self, Outlet outlet, Load load, Py_ssize_t start, Py_ssize_t count) except -1


cdef class PairSynapse(WireSynapse):
    pass


cdef class PubSynapse(WireSynapse):
    cdef tuple subscribers
    cdef bint publish(self, bytes payload, object data, bint forwarded) except -1
    cdef bint publish_many(self, Load load) except -1
    cdef bint offer_many(self, Outlet link, Load load, Py_ssize_t end) except -1
    cdef Outlet full_link(self)
