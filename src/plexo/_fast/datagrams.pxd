# SPDX-License-Identifier: Apache-2.0
from libc.stdint cimport uint8_t, uint16_t, uint32_t

cdef enum:
    # Datagrams that one `fill` brings, at most, and the room for each: where the system puts several of one sender
    # together (UDP_GRO), as many as one datagram could have. No datagram of IPv4 is larger.
    BATCH = 32
    ROOM_BYTES = 65536
    # Datagrams that the system is given with one call, at most: older kernels take no more.
    SEND_BATCH = 64
    # Bytes of the largest datagram of IPv4, and so of what the system is given to divide.
    LARGEST_BYTES = 65507


# Addresses and ports in the machine's byte order. segment: where it is less than size, several datagrams lie one behind
# another, all of `segment` bytes but the last. truncated: it was larger than its room.
cdef struct Datagram:
    const uint8_t *data
    size_t size
    size_t segment
    uint32_t host
    uint16_t port
    bint truncated


cdef class DatagramReader:
    # What the last `fill` found; good until the next.
    cdef Datagram *datagrams
    cdef void *state
    # How many; 0: the socket is empty. Raises OSError.
    cdef int fill(self, int fd) except -1


cdef class DatagramWriter:
    # Whether the system divides what it is given into datagrams (UDP_SEGMENT), as far as is known.
    cdef readonly bint divides
    # Datagrams of `segment` bytes, of which the last may be shorter; how many bytes, whole datagrams, went. 0: the system
    # takes none now. Raises OSError.
    cdef Py_ssize_t send_run(self, int fd, uint32_t host, uint16_t port, const uint8_t *data, size_t size,
                             size_t segment) except -1
