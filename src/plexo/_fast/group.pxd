# SPDX-License-Identifier: Apache-2.0
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from plexo._fast.completion cimport Source
from plexo._fast.datagrams cimport DatagramReader
from plexo._fast.multicast cimport MulticastHub
from plexo._fast.pgm cimport PgmPacket
from plexo._fast.reception cimport Reception
from plexo._fast.synapse cimport Synapse
from plexo._fast.tasks cimport TaskPool

cdef enum:
    # Times that one group's socket is emptied before others get their turn.
    FILLS_PER_TURN = 8


cdef class Origin(Source):
    cdef GroupReception reception


cdef class GroupReception(Reception):
    cdef object __weakref__
    cdef readonly Groups groups
    cdef readonly Origin origin
    cdef readonly object tsi
    cdef readonly uint32_t address
    # The group that the last packet came on; 0: by unicast only, so far.
    cdef readonly uint32_t group
    cdef readonly uint64_t received_bytes
    cdef public double alarm_at
    cdef uint8_t gsi[6]
    cdef uint16_t sport
    # The last message's neuron: a source mostly has one topic.
    cdef Synapse synapse
    cdef bint closed
    cdef int arm(self) except -1
    cdef int go_on(self, bint gone) except -1
    cdef bint is_from(self, const PgmPacket *packet, uint32_t host) noexcept


cdef class Groups:
    cdef readonly MulticastHub hub
    cdef readonly bytes gsi
    # Of own sources, by sport.
    cdef readonly dict transmissions
    cdef readonly dict receptions
    cdef GroupReception last
    cdef DatagramReader reader
    cdef object key
    cdef size_t mac_size
    cdef int read(self, GroupReader source, bint closing) except -1
    cdef int datagram(self, const uint8_t *data, size_t size, uint32_t host, uint32_t group, bint closing,
                      double now) except -1
    cdef int upstream(self, const PgmPacket *packet, const uint8_t *data, size_t size, uint32_t group,
                      double now) except -1
    cdef GroupReception find(self, const PgmPacket *packet, uint32_t host)
    cdef int refuse(self, object cause, uint32_t host, str why) except -1


cdef class GroupReader:
    cdef readonly Groups groups
    cdef readonly int fd
    cdef readonly uint32_t group
    cdef object loop
