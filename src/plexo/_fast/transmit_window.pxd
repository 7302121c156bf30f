# SPDX-License-Identifier: Apache-2.0
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef struct Sent:
    double sent_at
    double held_until
    uint32_t ends              # messages whose last byte is in it
    uint16_t size


cdef class TransmitWindow:
    cdef readonly object tsi
    cdef readonly uint16_t port
    cdef readonly size_t max_tpdu
    cdef readonly uint64_t accepted_messages
    cdef readonly uint64_t sent_messages
    cdef readonly uint64_t sent_packets
    cdef readonly uint64_t sent_bytes
    cdef readonly uint64_t repaired_packets
    # The time; whoever appends sets it first, since what is held is held until some time.
    cdef public double now

    cdef object key
    cdef size_t mac_size
    cdef uint8_t gsi[6]
    # Packets by position, which counts from 0 and never wraps: the oldest, the first unsent, the open one.
    cdef uint32_t first_sqn
    cdef uint64_t oldest
    cdef uint64_t unsent
    cdef uint64_t opened
    cdef uint64_t slots
    cdef uint8_t *packets
    cdef Sent *records
    # Bytes of stream that a packet takes, and that the open one has; where the first message in it begins.
    cdef size_t most
    cdef size_t filled
    cdef uint16_t offset
    cdef uint32_t ends
    cdef size_t sealed_bytes

    cdef size_t largest_message(self, size_t topic_size) noexcept
    cdef bint has_room(self, size_t size) noexcept
    cdef int append_message(self, const uint8_t *topic, size_t topic_size, const uint8_t *payload, size_t size) except -1
    cdef int seal_open(self) except -1
    cdef size_t next_run(self, const uint8_t **data, size_t *segment, size_t most) noexcept
    cdef int sent_run(self, size_t size, double now) except -1
    cdef size_t queued_bytes(self) noexcept
    cdef Py_ssize_t queued_messages(self) noexcept
    cdef const uint8_t *repair(self, uint32_t sqn, size_t *size, double now) except? NULL
    cdef double room_at(self) noexcept

    cdef bint take_slots(self, uint64_t count) noexcept
    cdef int write(self, const uint8_t *data, size_t size) except -1
    cdef int sign(self, uint8_t *packet, size_t size) except -1
    cdef uint32_t trail_sqn(self) noexcept
    cdef bint find(self, uint32_t sqn, uint64_t *position) noexcept
