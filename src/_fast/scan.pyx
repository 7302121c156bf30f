# SPDX-License-Identifier: Apache-2.0
"""The walk over received bytes that needs no interpreter: where messages begin, and which of them look alike.

Messages in a row whose bytes before the payload are the same, and whose payloads are equally long, are one *run*: what the
ordinary parser finds in the first of them, it finds in all. Everything else is a *slow region*, for that parser: commands,
envelopes that are not laid out as we do it, messages of more frames than they should have, and large frames, which are handed
on as they come. A fault ends the division: from there on everything is one slow region, in which the parser finds the fault.

Whatever the division, runs and slow regions put together are the stream, and every run begins where a message does.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport UINT32_MAX
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp

from plexo._fast.envelope cimport Slice, envelope_is_plain
from plexo._fast.frames cimport (BIG_FRAME, FLAG_COMMAND, FLAG_MORE, FRAME_NEED_MORE, FRAME_OK, FrameHeader,
                                 frame_parse)


cdef struct Entries:
    Entry *at
    size_t room
    size_t count


cdef inline void add_slow(Entries *entries, size_t start, size_t size) noexcept nogil:
    cdef Entry *last = entries.at + entries.count - 1
    if size == 0:
        return
    if entries.count and last.count == 0:
        last.stride += <uint32_t>size
        return
    # There is room: `add_run` leaves the last entry to this.
    entries.at[entries.count] = Entry(start=<uint32_t>start, count=0, stride=<uint32_t>size, prefix=0, payload=0,
                                      name_at=0, name=0)
    entries.count += 1


cdef inline size_t add_run(Entries *entries, const uint8_t *data, size_t size, size_t start, size_t prefix,
                           size_t payload, size_t stride, size_t name_at, size_t name) noexcept nogil:
    """The message at `start` and those like it behind it; where the next one begins."""
    cdef const uint8_t *first = data + start
    cdef size_t position = start + stride
    while size - position >= stride and memcmp(data + position, first, prefix) == 0:
        position += stride
    if entries.count + 1 >= entries.room:
        add_slow(entries, start, position - start)
    else:
        entries.at[entries.count] = Entry(
            start=<uint32_t>start, count=<uint32_t>((position - start) // stride), stride=<uint32_t>stride,
            prefix=<uint32_t>prefix, payload=<uint32_t>payload, name_at=<uint32_t>name_at, name=<uint32_t>name)
        entries.count += 1
    return position


cdef size_t walk(Walk *state, const uint8_t *data, size_t size, Entry *entries, size_t room, size_t *count) noexcept nogil:
    cdef Entries found = Entries(at=entries, room=room, count=0)
    cdef FrameHeader head, second
    cdef Slice name, payload
    cdef const uint8_t *body
    cdef size_t position = 0
    cdef size_t left, end
    cdef int outcome
    if state.opaque:
        position = size if size < state.opaque else <size_t>state.opaque
        state.opaque -= position
        add_slow(&found, 0, position)
    while position < size and not state.raw:
        outcome = frame_parse(data + position, size - position, &head)
        if outcome == FRAME_NEED_MORE:
            break
        if outcome != FRAME_OK or head.body_size > state.max_frame_bytes \
                or (head.flags & FLAG_COMMAND and state.inside):
            state.raw = True
            break
        left = size - position - head.header_size
        if head.body_size >= BIG_FRAME:
            if not head.flags & FLAG_COMMAND:
                state.inside = head.flags & FLAG_MORE
            end = size if head.body_size > left else position + head.header_size + <size_t>head.body_size
            state.opaque = head.body_size - left if head.body_size > left else 0
            add_slow(&found, position, end - position)
            position = end
            continue
        if head.body_size > left:
            break
        body = data + position + head.header_size
        end = position + head.header_size + <size_t>head.body_size
        if head.flags & FLAG_COMMAND:
            add_slow(&found, position, end - position)
        elif state.inside or (head.flags & FLAG_MORE) == state.is_pair:
            # A pair's message is one frame, the others' are two.
            state.inside = head.flags & FLAG_MORE
            add_slow(&found, position, end - position)
        elif state.is_pair:
            if envelope_is_plain(body, <size_t>head.body_size, &name, &payload):
                end = add_run(&found, data, size, position, <size_t>(payload.data - data) - position, payload.size,
                              end - position, <size_t>(name.data - data) - position, name.size)
            else:
                add_slow(&found, position, end - position)
        else:
            outcome = frame_parse(data + end, size - end, &second)
            if outcome == FRAME_NEED_MORE:
                break
            if outcome != FRAME_OK or second.flags & FLAG_COMMAND or second.body_size > state.max_frame_bytes:
                state.raw = True
                break
            left = size - end - second.header_size
            if second.flags & FLAG_MORE or second.body_size >= BIG_FRAME:
                # The topic alone; the next round finds the rest of it inside of a message.
                state.inside = True
                add_slow(&found, position, end - position)
            elif second.body_size > left:
                break
            else:
                end = add_run(&found, data, size, position, end + second.header_size - position,
                              <size_t>second.body_size, end + second.header_size + <size_t>second.body_size - position,
                              head.header_size, <size_t>head.body_size)
        position = end
    if state.raw:
        add_slow(&found, position, size - position)
        position = size
    count[0] = found.count
    return position


# -- for tests -------------------------------------------------------------------------------------------------------

cdef class Divider:
    """`walk` over one stream. `opaque` bytes of a large frame come first; `inside`: then the rest of a message."""

    cdef Walk state

    def __cinit__(self, bint is_pair, uint64_t max_frame_bytes, uint64_t opaque=0, bint inside=False):
        self.state = Walk(max_frame_bytes=max_frame_bytes, opaque=opaque, is_pair=is_pair, inside=inside, raw=False)

    @property
    def raw(self):
        """Whether there was a fault."""
        return self.state.raw

    def divide(self, data, size_t room=1024):
        """How many bytes of `data` were divided, and into what: (start, count, stride, prefix, payload, name_at, name)."""
        cdef Py_buffer view
        cdef Entry *entries
        cdef size_t used, count, i
        if room < 2:
            raise ValueError(f"room: expected at least 2 entries, got {room}")
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        entries = <Entry *>malloc(room * sizeof(Entry))
        try:
            if entries == NULL:
                raise MemoryError(f"no memory for {room} entries")
            if <size_t>view.len > UINT32_MAX:
                raise ValueError(f"data: expected less than 2**32 bytes, got {view.len}")
            used = walk(&self.state, <const uint8_t *>view.buf, <size_t>view.len, entries, room, &count)
            return used, [(entries[i].start, entries[i].count, entries[i].stride, entries[i].prefix, entries[i].payload,
                           entries[i].name_at, entries[i].name) for i in range(count)]
        finally:
            free(entries)
            PyBuffer_Release(&view)
