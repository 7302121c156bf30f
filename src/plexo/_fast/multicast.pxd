# SPDX-License-Identifier: Apache-2.0
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from plexo._fast.datagrams cimport DatagramWriter
from plexo._fast.endpoints cimport PubSynapse
from plexo._fast.sending cimport Outlet
from plexo._fast.transmit_window cimport TransmitWindow
from plexo._fast.turns cimport Turns

cdef enum:
    # Of IPv4 and UDP, in a datagram: what a rate counts beside the payload.
    DATAGRAM_OVERHEAD = 28
    # What is handed to the system in one call: it has to fit into one datagram of its own before it is divided.
    MOST_RUN_BYTES = 65000


cdef class MulticastHub(Turns):
    cdef readonly int fd
    cdef readonly uint16_t port
    cdef readonly object key
    cdef readonly object alarms
    cdef DatagramWriter writer
    # The token bucket: `tokens` bytes at `filled_at`, below zero where repairs took more. rate 0: unlimited.
    cdef readonly double rate
    cdef double burst
    cdef double tokens
    cdef double filled_at
    # (address, datagram) that the system did not take; outlets that wait for it, too; whether it is watched.
    cdef object control
    cdef list stuck
    cdef bint watching
    cdef double allowance(self, double now) noexcept
    cdef double allowed_at(self, double now) noexcept
    cdef void spend(self, size_t size, size_t segment) noexcept
    cdef int wait_for_socket(self, Transmission outlet) except -1


cdef class Transmission(Outlet):
    cdef readonly MulticastHub hub
    cdef readonly MulticastSynapse synapse
    cdef readonly TransmitWindow window
    # plexo._proto.pgm.source.Source.
    cdef readonly object policy
    cdef readonly object tsi
    cdef readonly uint32_t group
    cdef readonly str peer
    cdef public double alarm_at
    # Accepted, and larger than the room that the window had; before everything else.
    cdef object pending
    cdef size_t pending_bytes
    # When `policy` was last told of data.
    cdef double told_at
    cdef readonly double sent_at
    cdef bytes topic
    cdef int append(self, const uint8_t *data, size_t size, bytes payload) except -1
    cdef bint fill(self) except -1
    cdef bint send_runs(self, double now) except -1
    cdef int arm(self, double due) except -1


cdef class MulticastSynapse(PubSynapse):
    cdef int begin(self) except -1
