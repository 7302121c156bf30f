# SPDX-License-Identifier: Apache-2.0
from libc.stdint cimport uint8_t, uint64_t


cdef struct Slice:
    const uint8_t *data
    size_t size


cdef enum:
    ENVELOPE_OK = 0
    # every other value is a reason; envelope_reason() names it

# Largest payload a Cap'n Proto byte list can hold (29-bit element count).
cdef enum:
    ENVELOPE_MAX_PAYLOAD = 536870911

cdef int envelope_parse(const uint8_t *data, size_t size, Slice *name, Slice *payload) noexcept nogil
cdef const char *envelope_reason(int code) noexcept nogil

# Writing: head (segment table, pointers, name, padding), then the payload, then envelope_padding() zero bytes.
cdef size_t envelope_head_size(size_t name_size) noexcept nogil
cdef size_t envelope_padding(size_t payload_size) noexcept nogil
cdef bytes envelope_head(bytes name)                          # template for payload size 0
# Sets the two fields of a head that depend on the payload's size.
cdef void envelope_patch(uint8_t *head, size_t head_size, size_t payload_size) noexcept nogil
