# SPDX-License-Identifier: Apache-2.0
"""The envelope of the TCP pair: a Cap'n Proto message (stream framing) whose root is

    struct PlexoMessage @0xeed5242d4faed181 { typeName @0 :Text; payload @1 :Data; }

The reader is for this one struct and copies nothing, but it takes whatever a correct writer may produce: several
segments, far and double-far pointers, any order of objects, sections larger or smaller than ours (newer or older
schemas), null pointers. What is right or wrong follows the reader of the C++ implementation (capnp/layout.c++), also
where the specification is silent: an object of size zero may point anywhere, a segment of size zero does not exist,
the offset in a double-far's tag is ignored. Bytes after the last segment are ignored, as a stream may hold more.

Bounds: input sizes are divided into words, never multiplied; a segment is opened only after the whole table has been
held against the input; positions are 64-bit words in a segment of at most 2**32 words, plus an offset of 30 bits.
Indexing is on C pointers only, which no directive would check: every check is written out beside its use.
At most three objects are visited, whatever the input says, so no limit on depth or traversal is needed.
Integers are put together byte by byte: right on any host and at any alignment, and one load where that is possible.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int32_t, int64_t, uint32_t
from libc.string cimport memcpy, memset

cdef enum:
    WORD = 8
    # Kinds of pointers, the lowest two bits; the fourth (3) is a capability, and nothing here may be one.
    STRUCT = 0
    LIST = 1
    FAR = 2
    # Element size of a list of bytes, the lowest three bits of the upper half of a list pointer.
    BYTES = 2
    # Where a head of ours has the fields that depend on the payload.
    AT_SEGMENT_SIZE = 4
    AT_PAYLOAD_LIST = 28
    # Segment table, root pointer, pointers to name and payload.
    FIXED_HEAD = 32
    # A Text counts its NUL.
    MAX_NAME = ENVELOPE_MAX_PAYLOAD - 1

MAX_SEGMENTS = ENVELOPE_MAX_SEGMENTS
MAX_PAYLOAD = ENVELOPE_MAX_PAYLOAD

cdef const char *REASONS[ENVELOPE_REASONS]
REASONS[:] = [
    b"no error",
    b"the input ends before the segments that its table announces",
    b"too many segments",
    b"no room for a root pointer",
    b"a far pointer names a segment that is missing or empty",
    b"a far pointer's landing pad is outside its segment",
    b"a far pointer's landing pad is another far pointer",
    b"a double-far pointer's landing pad does not begin with a far pointer",
    b"the root is not a struct",
    b"the root struct is outside its segment",
    b"name or payload is not a list",
    b"name or payload is not a list of bytes",
    b"name or payload is outside its segment",
    b"the name does not end in NUL",
]


class EnvelopeError(ValueError):
    """Bytes that are no valid envelope; the text says why."""


cdef struct Message:
    const uint8_t *table        # sizes of the segments in words, 32 bits each
    uint32_t segments
    const uint8_t *body         # the first segment; the others follow without gaps

cdef struct Segment:
    const uint8_t *start
    uint64_t words

cdef struct Target:
    Segment segment
    int64_t at                  # word in the segment; not yet checked
    uint64_t pointer            # kind and size of the object; its offset has been used


cdef inline uint32_t load_u32(const uint8_t *at) noexcept nogil:
    return <uint32_t>at[0] | <uint32_t>at[1] << 8 | <uint32_t>at[2] << 16 | <uint32_t>at[3] << 24


cdef inline uint64_t load_u64(const uint8_t *at) noexcept nogil:
    return <uint64_t>load_u32(at) | <uint64_t>load_u32(at + 4) << 32


cdef inline void store_u32(uint8_t *at, uint32_t value) noexcept nogil:
    at[0] = <uint8_t>value
    at[1] = <uint8_t>(value >> 8)
    at[2] = <uint8_t>(value >> 16)
    at[3] = <uint8_t>(value >> 24)


# -- reading ---------------------------------------------------------------------------------------------------------

cdef inline int open_message(const uint8_t *data, size_t size, Message *message) noexcept nogil:
    """Holds the whole segment table against the input; open_segment relies on it."""
    cdef size_t words = size >> 3
    cdef size_t table_words
    cdef uint32_t last, segment_words, i
    if words == 0:
        return ENVELOPE_TRUNCATED
    last = load_u32(data)                       # the number of segments, less one
    if last >= ENVELOPE_MAX_SEGMENTS:
        return ENVELOPE_SEGMENTS
    table_words = ((last + 1) >> 1) + 1
    if words < table_words:
        return ENVELOPE_TRUNCATED
    words -= table_words
    message.table = data + 4
    message.segments = last + 1
    message.body = data + WORD * table_words
    for i in range(message.segments):
        segment_words = load_u32(message.table + 4 * i)
        if segment_words > words:
            return ENVELOPE_TRUNCATED
        words -= segment_words
    return ENVELOPE_OK


cdef inline bint open_segment(const Message *message, uint32_t number, Segment *segment) noexcept nogil:
    """False if there is no such segment, or nothing in it."""
    cdef uint32_t i
    if number >= message.segments:
        return False
    segment.start = message.body
    for i in range(number):
        segment.start += WORD * <size_t>load_u32(message.table + 4 * i)
    segment.words = load_u32(message.table + 4 * number)
    return segment.words != 0


cdef inline bint inside(const Target *target, uint64_t words) noexcept nogil:
    if words == 0:
        return True
    if target.at < 0 or <uint64_t>target.at > target.segment.words:
        return False
    return words <= target.segment.words - <uint64_t>target.at


cdef inline int follow(
    const Message *message, const Segment *segment, uint64_t at, Target *target
) noexcept nogil:
    """Where the pointer in word `at`, which is inside the segment, leads; the caller checks kind and bounds."""
    cdef uint64_t pointer = load_u64(segment.start + WORD * at)
    cdef uint64_t pad
    cdef bint is_double
    target.segment = segment[0]
    if pointer & 3 == FAR:
        if not open_segment(message, <uint32_t>(pointer >> 32), &target.segment):
            return ENVELOPE_UNKNOWN_SEGMENT
        is_double = pointer >> 2 & 1
        at = <uint32_t>pointer >> 3
        target.at = <int64_t>at
        if not inside(target, 2 if is_double else 1):
            return ENVELOPE_FAR_BOUNDS
        pad = load_u64(target.segment.start + WORD * at)
        if is_double:
            # A far pointer to the object, then a tag that says what it is.
            if pad & 3 != FAR:
                return ENVELOPE_DOUBLE_FAR
            target.pointer = load_u64(target.segment.start + WORD * (at + 1))
            target.at = <int64_t>(<uint32_t>pad >> 3)
            if not open_segment(message, <uint32_t>(pad >> 32), &target.segment):
                return ENVELOPE_UNKNOWN_SEGMENT
            return ENVELOPE_OK
        if pad & 3 == FAR:
            return ENVELOPE_FAR_TO_FAR
        pointer = pad
    # Both casts before the shift: the offset is the upper 30 bits of the lower half, and it has a sign.
    target.at = <int64_t>at + 1 + (<int32_t><uint32_t>pointer >> 2)
    target.pointer = pointer
    return ENVELOPE_OK


cdef inline int read_bytes(
    const Message *message, const Segment *segment, uint64_t at, Slice *out
) noexcept nogil:
    """The list of bytes that the pointer in word `at`, which is inside the segment, leads to; `out` stays if null."""
    cdef Target target
    cdef uint64_t size
    cdef int code
    if load_u64(segment.start + WORD * at) == 0:
        return ENVELOPE_OK
    code = follow(message, segment, at, &target)
    if code != ENVELOPE_OK:
        return code
    if target.pointer & 3 != LIST:
        return ENVELOPE_NOT_LIST
    if target.pointer >> 32 & 7 != BYTES:
        return ENVELOPE_NOT_BYTES
    size = target.pointer >> 35
    if not inside(&target, (size + WORD - 1) >> 3):
        return ENVELOPE_LIST_BOUNDS
    if size != 0:
        out.data = target.segment.start + WORD * <uint64_t>target.at
    out.size = <size_t>size
    return ENVELOPE_OK


cdef inline int read_name(
    const Message *message, const Segment *segment, uint64_t at, Slice *out
) noexcept nogil:
    cdef int code = read_bytes(message, segment, at, out)
    if code != ENVELOPE_OK or load_u64(segment.start + WORD * at) == 0:
        return code
    if out.size == 0 or out.data[out.size - 1] != 0:
        return ENVELOPE_NAME_END
    out.size -= 1
    return ENVELOPE_OK


cdef inline int parse_into(const uint8_t *data, size_t size, Slice *name, Slice *payload) noexcept nogil:
    cdef Message message
    cdef Segment first
    cdef Target root
    cdef uint64_t data_words, pointers, at
    cdef int code = open_message(data, size, &message)
    if code != ENVELOPE_OK:
        return code
    if not open_segment(&message, 0, &first):
        return ENVELOPE_NO_ROOT
    if load_u64(first.start) == 0:
        return ENVELOPE_OK                      # null: all fields have their defaults
    code = follow(&message, &first, 0, &root)
    if code != ENVELOPE_OK:
        return code
    if root.pointer & 3 != STRUCT:
        return ENVELOPE_NOT_STRUCT
    data_words = root.pointer >> 32 & 0xffff
    pointers = root.pointer >> 48
    if not inside(&root, data_words + pointers):
        return ENVELOPE_STRUCT_BOUNDS
    if pointers == 0:
        return ENVELOPE_OK
    at = <uint64_t>root.at + data_words         # inside: there is at least one pointer, so root.at was checked
    code = read_name(&message, &root.segment, at, name)
    if code != ENVELOPE_OK or pointers == 1:
        return code
    return read_bytes(&message, &root.segment, at + 1, payload)


cdef int envelope_parse(const uint8_t *data, size_t size, Slice *name, Slice *payload) noexcept nogil:
    cdef Slice found_name = Slice(data=data, size=0)
    cdef Slice found_payload = Slice(data=data, size=0)
    cdef int code = parse_into(data, size, &found_name, &found_payload)
    if code != ENVELOPE_OK:
        found_name = Slice(data=data, size=0)
        found_payload = Slice(data=data, size=0)
    name[0] = found_name
    payload[0] = found_payload
    return code


cdef const char *envelope_reason(int code) noexcept nogil:
    if 0 <= code < ENVELOPE_REASONS:
        return REASONS[code]
    return b"unknown reason"


# -- writing ---------------------------------------------------------------------------------------------------------

cdef size_t envelope_head_size(size_t name_size) noexcept nogil:
    # The name and its NUL, in whole words. A bytes object is too small to overflow this.
    return FIXED_HEAD + ((name_size >> 3) + 1) * WORD


cdef size_t envelope_padding(size_t payload_size) noexcept nogil:
    return (WORD - (payload_size & 7)) & 7


cdef bint envelope_is_plain(const uint8_t *data, size_t size, Slice *name, Slice *payload) noexcept nogil:
    cdef uint32_t name_bytes, payload_bytes
    cdef uint64_t name_words, words
    if size < FIXED_HEAD or load_u64(data + 8) != <uint64_t>2 << 48:     # root: struct right behind, two pointers
        return False
    if load_u32(data) != 0 or load_u32(data + 16) != (1 << 2 | LIST):    # one segment; name: behind the payload's pointer
        return False
    name_bytes = load_u32(data + 20)
    payload_bytes = load_u32(data + AT_PAYLOAD_LIST)
    if name_bytes & 7 != BYTES or name_bytes >> 3 == 0 or payload_bytes & 7 != BYTES:
        return False
    name_bytes >>= 3
    payload_bytes >>= 3
    name_words = (<uint64_t>name_bytes + WORD - 1) >> 3
    words = ((FIXED_HEAD - WORD) >> 3) + name_words + ((<uint64_t>payload_bytes + WORD - 1) >> 3)
    if load_u32(data + 24) != (<uint32_t>name_words << 2 | LIST) or load_u32(data + AT_SEGMENT_SIZE) != words:
        return False
    # Of at most 2**27 words each; with this, name and payload are inside.
    if size != WORD * (1 + words) or data[FIXED_HEAD + name_bytes - 1] != 0:
        return False
    name[0] = Slice(data=data + FIXED_HEAD, size=name_bytes - 1)
    payload[0] = Slice(data=data + FIXED_HEAD + WORD * name_words, size=payload_bytes)
    return True


cdef bytes envelope_head(bytes name):
    """The head of an empty message to this topic: one segment of root pointer, two pointers, name, payload."""
    cdef size_t name_size = <size_t>len(name)
    cdef size_t head_size = envelope_head_size(name_size)
    cdef size_t name_words = (name_size >> 3) + 1
    cdef bytes head
    cdef uint8_t *out
    if name_size > MAX_NAME:
        raise ValueError(f"name must be at most {MAX_NAME} bytes, not {name_size}")
    head = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>head_size)
    out = <uint8_t *>PyBytes_AS_STRING(head)
    memset(out, 0, head_size)
    store_u32(out + 12, 2 << 16)                                    # root: struct right behind, two pointers
    store_u32(out + 16, 1 << 2 | LIST)                              # name: a list behind the payload's pointer
    store_u32(out + 20, <uint32_t>(name_size + 1) << 3 | BYTES)
    store_u32(out + 24, <uint32_t>name_words << 2 | LIST)           # payload: a list behind the name
    memcpy(out + FIXED_HEAD, PyBytes_AS_STRING(name), name_size)
    envelope_patch(out, head_size, 0)
    return head


cdef void envelope_patch(uint8_t *head, size_t head_size, size_t payload_size) noexcept nogil:
    # At most 2**29 bytes each for name and payload: every value here fits its field.
    cdef size_t words = ((head_size - WORD) >> 3) + ((payload_size + WORD - 1) >> 3)
    store_u32(head + AT_SEGMENT_SIZE, <uint32_t>words)
    store_u32(head + AT_PAYLOAD_LIST, <uint32_t>payload_size << 3 | BYTES)


# -- for tests and slow paths ----------------------------------------------------------------------------------------

def parse_envelope(data):
    """Name (without NUL) and payload of the envelope in a bytes-like object; EnvelopeError if it is not one."""
    cdef Py_buffer view
    cdef Slice name, payload
    cdef int code
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        code = envelope_parse(<const uint8_t *>view.buf, <size_t>view.len, &name, &payload)
        if code != ENVELOPE_OK:
            raise EnvelopeError(envelope_reason(code).decode("ascii"))
        return (
            PyBytes_FromStringAndSize(<const char *>name.data, <Py_ssize_t>name.size),
            PyBytes_FromStringAndSize(<const char *>payload.data, <Py_ssize_t>payload.size),
        )
    finally:
        PyBuffer_Release(&view)


def build_envelope(bytes name not None, bytes payload not None):
    """The envelope of one message; ValueError if name or payload is longer than Cap'n Proto can say."""
    cdef size_t payload_size = <size_t>len(payload)
    cdef bytes head
    if payload_size > ENVELOPE_MAX_PAYLOAD:
        raise ValueError(f"payload must be at most {MAX_PAYLOAD} bytes, not {payload_size}")
    head = envelope_head(name)
    # Nobody else has seen this object yet.
    envelope_patch(<uint8_t *>PyBytes_AS_STRING(head), <size_t>len(head), payload_size)
    return head + payload + bytes(envelope_padding(payload_size))
