# SPDX-License-Identifier: Apache-2.0
from libc.stdint cimport uint8_t, uint64_t


cdef struct Slice:
    const uint8_t *data
    size_t size


cdef enum:
    ENVELOPE_OK = 0
    # every other value is a reason; envelope_reason() names it
    ENVELOPE_TRUNCATED = 1
    ENVELOPE_SEGMENTS = 2
    ENVELOPE_NO_ROOT = 3
    ENVELOPE_UNKNOWN_SEGMENT = 4
    ENVELOPE_FAR_BOUNDS = 5
    ENVELOPE_FAR_TO_FAR = 6
    ENVELOPE_DOUBLE_FAR = 7
    ENVELOPE_NOT_STRUCT = 8
    ENVELOPE_STRUCT_BOUNDS = 9
    ENVELOPE_NOT_LIST = 10
    ENVELOPE_NOT_BYTES = 11
    ENVELOPE_LIST_BOUNDS = 12
    ENVELOPE_NAME_END = 13
    ENVELOPE_REASONS = 14          # how many codes there are

# Largest payload a Cap'n Proto byte list can hold (29-bit element count).
cdef enum:
    ENVELOPE_MAX_PAYLOAD = 536870911

# More segments than any writer makes; the C++ stream reader stops at 511. It bounds the walk over the segment table.
cdef enum:
    ENVELOPE_MAX_SEGMENTS = 512

# The slices lie within the input; after anything but ENVELOPE_OK both are empty.
cdef int envelope_parse(const uint8_t *data, size_t size, Slice *name, Slice *payload) noexcept nogil
cdef const char *envelope_reason(int code) noexcept nogil
# Whether this is laid out as `envelope_head` does it, and nothing behind it; name and payload are what envelope_parse finds.
# Then the bytes before the payload decide that alone: whatever begins with the same is laid out in the same way.
cdef bint envelope_is_plain(const uint8_t *data, size_t size, Slice *name, Slice *payload) noexcept nogil

# Writing: head (segment table, pointers, name, padding), then the payload, then envelope_padding() zero bytes.
cdef size_t envelope_head_size(size_t name_size) noexcept nogil
cdef size_t envelope_padding(size_t payload_size) noexcept nogil
cdef bytes envelope_head(bytes name)                          # template for payload size 0
# Sets the two fields of a head that depend on the payload's size.
cdef void envelope_patch(uint8_t *head, size_t head_size, size_t payload_size) noexcept nogil
