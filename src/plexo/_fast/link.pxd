# SPDX-License-Identifier: Apache-2.0
from libc.stdint cimport uint8_t, uint64_t
from plexo._fast.hub cimport Line
from plexo._fast.slabs cimport Slab
from plexo._fast.synapse cimport Synapse

cdef enum:
    # Reads per wake-up, so that one busy link cannot keep the others waiting.
    READS_PER_TURN = 8
    # So much of an unknown topic is named in the log.
    NAMED_TOPIC_BYTES = 256


cdef class Link(Line):
    cdef bint takes_messages
    cdef uint8_t *partial
    cdef size_t partial_size
    cdef size_t partial_capacity
    cdef size_t parsed
    cdef Slab big
    cdef size_t big_have
    cdef uint64_t big_size
    cdef uint8_t big_flags
    cdef Synapse target
    # Whose messages came last, where they are taken undecoded: more of the same are likely to follow.
    cdef Synapse running
    cdef int part
    cdef bint bad
    # The beginning of a topic that no neuron here has, until its message has ended.
    cdef bytes unknown
    cdef int save(self, const uint8_t *data, size_t size) except -1
    cdef int parse(self, const uint8_t *data, size_t size) except -1
    cdef size_t take_run(self, const uint8_t *data, size_t size, size_t position) except? 0
    cdef int begin_big(self, const uint8_t *data, size_t have, uint64_t size, uint8_t flags) except -1
    cdef int read_big(self) except -1
    cdef char *big_room(self, size_t *room) except NULL
    cdef int end_big(self) except -1
    cdef bint holds_frame(self) noexcept
    cdef int frame(self, uint8_t flags, const uint8_t *body, size_t size, Slab whole) except -1
    cdef int envelope(self, const uint8_t *body, size_t size, Slab whole) except -1
    cdef int fail(self, str expected, str received) except -1
    cdef int drop_malformed(self, str reason) except -1
    cdef int drop_unknown(self) except -1
    cdef int read_all(self) except -1
