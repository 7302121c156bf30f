# SPDX-License-Identifier: Apache-2.0
"""The write buffer of one link: small messages packed into runs, large payloads sent from where they lie.

A run holds whole messages only and is sent with one ``send``. A payload of 32 KiB or more is never copied: its chunk
refers to the ``bytes`` object, or to memory that the sender lends (`Loan`), and goes out with a gathering ``sendmsg``. What is unsent when a link is lost can be taken
back message by message (`take_unsent`), a half-sent one from its beginning. Whose messages they are is read from the frames
when somebody asks (`census`): nothing is noted for each message on its way.
"""

from asyncio import get_running_loop
from collections import deque

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy
from cpython.exc cimport PyErr_SetFromErrno
from plexo._fast.envelope cimport ENVELOPE_OK, Slice, envelope_parse
from plexo._fast.frames cimport FLAG_COMMAND, FLAG_MORE, FRAME_OK, FrameHeader, frame_parse
from plexo._fast.wake cimport wake
from plexo._fast.wake import finish

cdef extern from "system.h" nogil:
    ctypedef struct plexo_piece:
        void *data
        size_t size
    Py_ssize_t plexo_send(int fd, const void *data, size_t size)
    Py_ssize_t plexo_send_pieces(int fd, const plexo_piece *pieces, size_t count)

cdef enum:
    FIRST_RUN_BYTES = 2048
    # A link that takes less of a lent payload between two looks is slower than a copy.
    LOAN_WORTH_BYTES = 8388608

cdef double LOAN_LOOK_S = 0.05


cdef Py_ssize_t sent_or_error(Py_ssize_t sent) except? -2:
    """Bytes taken by the kernel, -1 where it takes none now; raises OSError."""
    if sent >= 0:
        return sent
    if errno == EAGAIN or errno == EINTR:
        return -1
    PyErr_SetFromErrno(OSError)
    return -2


cdef int count_topics(const uint8_t *data, size_t size, bint is_pair, dict counts) except -1:
    """Add to `counts` the messages in whole frames of our own, by topic."""
    cdef FrameHeader header
    cdef Slice name
    cdef Slice payload
    cdef size_t position = 0
    cdef const uint8_t *body
    cdef bint inside = False
    while frame_parse(data + position, size - position, &header) == FRAME_OK:
        body = data + position + header.header_size
        position += header.header_size + <size_t>header.body_size
        if header.flags & FLAG_COMMAND:
            continue
        if is_pair and envelope_parse(body, <size_t>header.body_size, &name, &payload) != ENVELOPE_OK:
            continue  # not reached: we laid them out
        if not inside:
            topic = name.data[:name.size] if is_pair else body[:<size_t>header.body_size]
            counts[topic] = counts.get(topic, 0) + 1
        inside = header.flags & FLAG_MORE
    return 0


cdef class Chunk:
    cdef Py_ssize_t push_out(self, int fd) except? -2:
        return 0

    cdef Py_ssize_t finished(self) noexcept:
        """Messages of this chunk that are wholly sent."""
        return 0

    cdef int census(self, bint is_pair, dict counts) except -1:
        """Add to `counts` its messages that are not wholly sent, by topic."""
        return 0

    cdef int over(self) except -1:
        """It has left the outbox."""
        return 0

    cdef tuple unsent(self):
        """Wire form of the messages not wholly sent (bytes, or the arguments of push_big), and their number."""
        return b"", 0


cdef class Run(Chunk):
    def __dealloc__(self):
        free(self.data)

    cdef uint8_t *reserve(self, size_t size) except NULL:
        cdef size_t capacity = self.capacity
        cdef void *grown
        if size > capacity - self.size:
            capacity = capacity if capacity else FIRST_RUN_BYTES
            while capacity - self.size < size:
                capacity *= 2
            grown = realloc(self.data, capacity)
            if grown == NULL:
                raise MemoryError(f"no memory for {capacity} bytes of send buffer")
            self.data = <uint8_t *>grown
            self.capacity = capacity
        self.size += size
        return self.data + self.size - size

    cdef Py_ssize_t push_out(self, int fd) except? -2:
        cdef Py_ssize_t sent
        with nogil:
            sent = plexo_send(fd, self.data + self.sent, self.size - self.sent)
        return sent_or_error(sent)

    cdef Py_ssize_t finished(self) noexcept:
        cdef size_t position = self.start
        cdef FrameHeader header
        # Our own frames: complete and well formed, so the walk ends at `size`. It goes on where it last ended.
        while position < self.sent and frame_parse(self.data + position, self.size - position, &header) == FRAME_OK:
            position += header.header_size + <size_t>header.body_size
            if position > self.sent:
                break
            if not header.flags & FLAG_MORE:
                self.start = position
                if not header.flags & FLAG_COMMAND:
                    self.ended += 1
        return self.ended

    cdef int census(self, bint is_pair, dict counts) except -1:
        self.finished()
        return count_topics(self.data + self.start, self.size - self.start, is_pair, counts)

    cdef tuple unsent(self):
        cdef Py_ssize_t finished = self.finished()
        return (self.data + self.start)[:self.size - self.start], self.messages - finished


cdef class Big(Chunk):
    """One message with a large payload: bytes, or memory that its sender has lent (see Loan)."""

    def __cinit__(self, bytes head, payload, size_t padding, bytes topic):
        PyObject_GetBuffer(payload, &self.view, PyBUF_SIMPLE)
        self.payload = payload
        self.lent = type(payload) is not bytes
        self.topic = topic
        self.head = head
        self.padding = padding
        self.size = <size_t>len(head) + <size_t>self.view.len + padding
        self.messages = 1

    def __dealloc__(self):
        PyBuffer_Release(&self.view)

    cdef int own(self) except -1:
        """The lender wants its memory back: copy what is not sent. All of it, for a lost link begins anew."""
        cdef bytes copy
        if self.lent:
            self.lent = False
            copy = b"" if self.sent == self.size else PyBytes_FromStringAndSize(<const char *>self.view.buf, self.view.len)
            PyBuffer_Release(&self.view)
            self.payload = copy
            PyObject_GetBuffer(copy, &self.view, PyBUF_SIMPLE)
        return 0

    cdef int over(self) except -1:
        if self.waiter is not None:
            wake(self.waiter)
        return 0

    cdef Py_ssize_t push_out(self, int fd) except? -2:
        cdef plexo_piece parts[3]
        cdef const char *zeros = b"\0\0\0\0\0\0\0\0"
        cdef size_t head_size = <size_t>len(self.head)
        cdef size_t body_end = head_size + <size_t>self.view.len
        cdef size_t count = 0
        cdef Py_ssize_t sent
        if self.sent < head_size:
            parts[count].data = <void *>(<const char *>self.head + self.sent)
            parts[count].size = head_size - self.sent
            count += 1
        if self.sent < body_end:
            sent = <Py_ssize_t>(self.sent - head_size if self.sent > head_size else 0)
            parts[count].data = <void *>(<const char *>self.view.buf + sent)
            parts[count].size = body_end - head_size - <size_t>sent
            count += 1
        if self.padding:
            parts[count].data = <void *>zeros
            parts[count].size = self.size - (self.sent if self.sent > body_end else body_end)
            count += 1
        with nogil:
            sent = plexo_send_pieces(fd, parts, count)
        return sent_or_error(sent)

    cdef int census(self, bint is_pair, dict counts) except -1:
        counts[self.topic] = counts.get(self.topic, 0) + 1
        return 0

    cdef tuple unsent(self):
        self.own()
        self.over()
        return (self.head, self.payload, self.padding, self.topic), 1


cdef class Loan:
    """Awaited by a sender whose memory is not copied: ends when all of it is with the system, or a copy is made after all.

    Copying a large payload costs more than sending it. It is copied where the system is slower than that, where the link is
    lost, and where the sender does not wait: it is cancelled, or drops this.
    """

    def __cinit__(self, Big big):
        self.big = big

    def __del__(self):
        self.big.own()

    def cancel(self):
        """The message stays accepted."""
        self.big.own()

    def __await__(self):
        return self.wait().__await__()

    async def wait(self):
        cdef Big big = self.big
        cdef size_t before
        loop = get_running_loop()
        try:
            while big.lent and big.sent < big.size:
                before = big.sent
                big.waiter = loop.create_future()
                look = loop.call_later(LOAN_LOOK_S, finish, big.waiter)
                try:
                    await big.waiter
                finally:
                    big.waiter = None
                    look.cancel()
                if big.sent - before < LOAN_WORTH_BYTES:
                    break
        finally:
            big.own()


cdef class Outbox:
    def __cinit__(self, int fd):
        self.fd = fd
        self.ahead = deque()
        self.tail = Run.__new__(Run)

    cdef uint8_t *reserve(self, size_t size, Py_ssize_t messages) except NULL:
        """Room for `size` bytes (whole frames, holding the end of so many messages) that the caller fills at once."""
        cdef uint8_t *room
        if self.tail.size and size > RUN_BYTES - self.tail.size:
            self.ahead.append(self.tail)
            self.tail = Run.__new__(Run)
        room = self.tail.reserve(size)
        self.tail.messages += messages
        self.held += messages
        self.queued_bytes += size
        return room

    cdef Big push_big(self, bytes head, object payload, size_t padding, bytes topic):
        """A message whose payload, bytes or what is lent, is sent from where it lies."""
        cdef Big big = Big.__new__(Big, head, payload, padding, topic)
        if self.tail.size:
            self.ahead.append(self.tail)
            self.tail = Run.__new__(Run)
        self.ahead.append(big)
        self.held += 1
        self.queued_bytes += big.size
        return big

    cdef int flush(self) except -1:
        """Send what the kernel takes: 1 all is sent, 0 something waits for the socket. Raises OSError."""
        cdef Chunk chunk
        cdef Py_ssize_t sent
        while True:
            chunk = self.ahead[0] if self.ahead else self.tail
            if chunk.sent == chunk.size:
                self.delivered += <uint64_t>chunk.messages
                self.held -= chunk.messages
                if chunk is not self.tail:
                    self.ahead.popleft()
                    chunk.over()
                    continue
                # Reuse the run's memory, and where a burst has made it large and is over, let it go.
                if self.tail.capacity > 16384 and self.tail.size < self.tail.capacity // 8:
                    self.tail = Run.__new__(Run)
                self.tail.sent = self.tail.size = self.tail.start = 0
                self.tail.messages = self.tail.ended = 0
                return 1
            sent = chunk.push_out(self.fd)
            if sent < 0:
                return 0
            chunk.sent += <size_t>sent
            self.sent_bytes += <uint64_t>sent
            self.queued_bytes -= <size_t>sent

    cdef Chunk front(self):
        """The only chunk that may be half sent."""
        return self.ahead[0] if self.ahead else self.tail

    cdef Py_ssize_t waiting(self) noexcept:
        """Messages not wholly handed to the kernel."""
        return self.held - self.front().finished()

    cdef uint64_t taken(self) noexcept:
        """Messages wholly handed to the kernel."""
        return self.delivered + <uint64_t>self.front().finished()

    cdef int census(self, bint is_pair, dict counts) except -1:
        """Add to `counts` the messages not wholly handed to the kernel, by topic."""
        cdef Chunk chunk
        for chunk in (*self.ahead, self.tail):
            if chunk.sent < chunk.size:
                chunk.census(is_pair, counts)
        return 0

    cdef list take_unsent(self):
        """The wire form of every message not wholly sent, in order; the outbox is empty afterwards."""
        cdef Chunk chunk
        unsent = []
        self.delivered = self.taken()
        for chunk in (*self.ahead, self.tail):
            if chunk.sent < chunk.size:
                unsent.append(chunk.unsent())
        self.ahead.clear()
        self.tail = Run.__new__(Run)
        self.queued_bytes = 0
        self.held = 0
        return unsent

    cdef int put_back(self, list wires) except -1:
        """What `take_unsent` of a lost link gave, first in line on its successor (which must be empty)."""
        for wire, messages in wires:
            if isinstance(wire, tuple):
                head, payload, padding, topic = wire
                self.push_big(head, payload, padding, topic)
            elif wire:
                memcpy(self.reserve(<size_t>len(wire), messages), <const char *>wire, <size_t>len(wire))
        return 0


def census_of(list unsent, bint is_pair):
    """The messages in what `take_unsent` gave, by topic."""
    counts = {}
    for wire, messages in unsent:
        if isinstance(wire, tuple):
            counts[wire[3]] = counts.get(wire[3], 0) + 1
        else:
            count_topics(<const uint8_t *><const char *>wire, <size_t>len(wire), is_pair, counts)
    return counts
