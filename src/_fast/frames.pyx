# SPDX-License-Identifier: Apache-2.0
"""Frame headers of ZMTP 3.x (RFC 37): a byte of flags, then the size of the body in 1 byte or, with LONG, in 8.

LONG only says how the size is written, so it ends here: readers get the flags without it, and writers get the form
that the size needs. A long header on a body that would fit a short one is legal to receive, and never sent.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize

cdef enum:
    KNOWN_FLAGS = FLAG_MORE | FLAG_LONG | FLAG_COMMAND     # the other five bits must be zero
    SHORT_HEADER = 2
    MAX_SHORT_BODY = 255


cdef int frame_parse(const uint8_t *data, size_t available, FrameHeader *out) noexcept nogil:
    cdef uint8_t flags
    cdef uint64_t body_size = 0
    cdef size_t i
    if available == 0:
        return FRAME_NEED_MORE
    flags = data[0]
    if flags & ~<uint8_t>KNOWN_FLAGS:
        return FRAME_RESERVED_FLAGS
    if flags & FLAG_COMMAND and flags & FLAG_MORE:
        return FRAME_COMMAND_MORE
    out.flags = flags & ~<uint8_t>FLAG_LONG
    if not flags & FLAG_LONG:
        if available < SHORT_HEADER:
            return FRAME_NEED_MORE
        out.body_size = data[1]
        out.header_size = SHORT_HEADER
        return FRAME_OK
    if available < MAX_HEADER:
        return FRAME_NEED_MORE
    for i in range(8):
        body_size = (body_size << 8) | data[1 + i]
    if body_size >> 63:
        return FRAME_SIZE
    out.body_size = body_size
    out.header_size = MAX_HEADER
    return FRAME_OK


cdef size_t frame_header_size(uint64_t body_size) noexcept nogil:
    return SHORT_HEADER if body_size <= MAX_SHORT_BODY else MAX_HEADER


cdef size_t frame_write(uint8_t *out, uint8_t flags, uint64_t body_size) noexcept nogil:
    cdef size_t i
    flags &= ~<uint8_t>FLAG_LONG
    if body_size <= MAX_SHORT_BODY:
        out[0] = flags
        out[1] = <uint8_t>body_size
        return SHORT_HEADER
    out[0] = flags | <uint8_t>FLAG_LONG
    for i in range(8):
        out[8 - i] = <uint8_t>(body_size >> (8 * i))
    return MAX_HEADER


def parse_frame_header(data):
    """The header at the start of a bytes-like object: (flags without LONG, body size, header size).

    None if more bytes are needed. Raises ValueError if the bytes cannot be a ZMTP frame.
    """
    cdef Py_buffer view
    cdef FrameHeader header
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    cdef int outcome = frame_parse(<const uint8_t *>view.buf, <size_t>view.len, &header)
    PyBuffer_Release(&view)
    if outcome == FRAME_OK:
        return header.flags, header.body_size, header.header_size
    if outcome == FRAME_NEED_MORE:
        return None
    if outcome == FRAME_RESERVED_FLAGS:
        raise ValueError("ZMTP frame: a reserved flag is set")
    if outcome == FRAME_COMMAND_MORE:
        raise ValueError("ZMTP frame: COMMAND and MORE are both set")
    raise ValueError("ZMTP frame: the size is above 2**63 - 1")


def build_frame(int flags, bytes body not None):
    """One whole frame; LONG is set when the size needs it.

    Raises ValueError if the flags are not 0, 1 (MORE) or 4 (COMMAND).
    """
    cdef uint8_t header[MAX_HEADER]
    cdef size_t size
    if flags not in (0, FLAG_MORE, FLAG_COMMAND):
        raise ValueError(f"flags must be 0, {FLAG_MORE} (MORE) or {FLAG_COMMAND} (COMMAND), not {flags}")
    size = frame_write(header, <uint8_t>flags, <uint64_t>len(body))
    return PyBytes_FromStringAndSize(<char *>header, <Py_ssize_t>size) + body
