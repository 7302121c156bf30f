# SPDX-License-Identifier: Apache-2.0
from libc.stdint cimport uint8_t, uint32_t, uint64_t


# A run: `count` messages from `start` on, `stride` bytes each. All begin with the same `prefix` bytes, in which the topic is
# `name` bytes at `name_at`; then comes the payload. A slow region has count 0, and `stride` bytes.
cdef struct Entry:
    uint32_t start
    uint32_t count
    uint32_t stride
    uint32_t prefix
    uint32_t payload
    uint32_t name_at
    uint32_t name


# Where a stream is, between two pieces of it.
cdef struct Walk:
    uint64_t max_frame_bytes
    # Bytes of a large frame that are still to come.
    uint64_t opaque
    bint is_pair
    # In a message of several frames, of which the first are gone.
    bint inside
    # There was a fault: the ordinary parser has to say which.
    bint raw


# Divides the beginning of `data` into entries, at most `room` (2 or more), without gaps; how many bytes that were. The rest,
# less than two frames of BIG_FRAME, is an unfinished message: to be given again, with more behind it.
cdef size_t walk(Walk *state, const uint8_t *data, size_t size, Entry *entries, size_t room, size_t *count) noexcept nogil
