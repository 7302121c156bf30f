# SPDX-License-Identifier: Apache-2.0
from libc.stdint cimport uint8_t, uint64_t

cdef enum:
    FLAG_MORE = 1
    FLAG_LONG = 2
    FLAG_COMMAND = 4
    MAX_HEADER = 9
    # From this size on, a frame that is not here whole gets a buffer of its own.
    BIG_FRAME = 65536

cdef enum:
    FRAME_NEED_MORE = 0
    FRAME_OK = 1
    FRAME_RESERVED_FLAGS = -1      # a reserved bit is set
    FRAME_COMMAND_MORE = -2        # COMMAND together with MORE
    FRAME_SIZE = -3                # 64-bit size with the top bit set (RFC 37: at most 2^63 - 1)

cdef struct FrameHeader:
    uint64_t body_size
    uint8_t header_size
    uint8_t flags              # MORE and COMMAND as received; LONG is taken out, header_size says it

cdef int frame_parse(const uint8_t *data, size_t available, FrameHeader *out) noexcept nogil
cdef size_t frame_header_size(uint64_t body_size) noexcept nogil
# Writes the header (flags without LONG; it is set when the size needs it); returns its length.
cdef size_t frame_write(uint8_t *out, uint8_t flags, uint64_t body_size) noexcept nogil
