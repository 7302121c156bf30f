# SPDX-License-Identifier: Apache-2.0
"""The stream of a multicast source, from TSDUs that come in sequence to messages: the framing of libzmq over PGM.

A TSDU is an offset (2 bytes) and bytes of one stream that goes through all TSDUs of a source. The offset says where in these
bytes the first new message begins, ffff that none does. A frame is its length, which counts the flags, in 1 byte or as ff and
8 bytes, then the flags (1: MORE), then the body. A message here is two frames: the topic with MORE, the payload.

Who comes late or behind a gap waits for an offset, and begins there. In sequence the offset must be where the last message
ends, so that a stream that was spliced somewhere on the way is not taken for one. After a fault the stream is taken up at the
next offset, which is exactly behind the message at fault, wherever that ends in another TSDU. One of the wrong number of parts,
or too large, which ends in the TSDU that it begins in costs itself alone; with a frame that cannot be read goes what is behind.

A message that lies whole in a TSDU is delivered from there. What spans several is collected in a buffer that grows with what
has arrived, never with what a length announces.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy

from plexo._fast.pgm cimport get16

cdef enum:
    OFFSET_SIZE = 2
    NO_MESSAGE = 0xFFFF        # the offset where none begins
    SHORT_HEAD = 2
    LONG_HEAD = 10
    LONG_MARK = 0xFF
    FLAG_MORE = 1
    # A buffer above this is given back when its message is done: a source of which one large message came is no
    # reason to hold its size for ever.
    MAX_KEPT_BUFFER = 65536
    FIRST_BUFFER = 4096

# So that sizes fit into Python's, with room for the frames' headers.
MAX_MESSAGE_BYTES = (1 << 48) if sizeof(size_t) > 4 else (1 << 30)

# In the order of DeframeFault.
FAULTS = ("ok", "short-tsdu", "offset-beyond-end", "misplaced-message", "length-zero", "reserved-flags", "too-large",
          "one-part", "too-many-parts")
assert len(FAULTS) == DEFRAME_FAULTS

# What `parse` says beside a fault.
cdef enum:
    NEED_MORE = -1


cdef str deframe_fault_name(int fault):
    return <str>FAULTS[fault] if 0 <= fault < DEFRAME_FAULTS else "unknown"


# A message that was found, or how much of it has to be there to tell more.
cdef struct Found:
    const uint8_t *topic
    size_t topic_size
    const uint8_t *payload
    size_t payload_size
    size_t size
    uint64_t needed


cdef inline int parse_head(const uint8_t *data, size_t size, size_t *head, uint64_t *body, bint *more) noexcept nogil:
    """The head of a frame: DEFRAME_OK, a fault, or NEED_MORE with `head` bytes needed."""
    cdef uint64_t length
    cdef uint8_t flags
    cdef size_t i
    head[0] = SHORT_HEAD
    if size < SHORT_HEAD:
        return NEED_MORE
    length = data[0]
    flags = data[1]
    if length == LONG_MARK:
        head[0] = LONG_HEAD
        if size < LONG_HEAD:
            return NEED_MORE
        length = 0
        for i in range(8):
            length = (length << 8) | data[1 + i]
        flags = data[9]
    if length == 0:
        return DEFRAME_LENGTH
    if flags & ~<uint8_t>FLAG_MORE:
        return DEFRAME_FLAGS
    body[0] = length - 1
    more[0] = flags & FLAG_MORE
    return DEFRAME_OK


cdef inline int parse(const uint8_t *data, size_t size, size_t most, Found *found) noexcept nogil:
    """The message that begins with `data`: DEFRAME_OK, a fault, or NEED_MORE.

    Sums do not overflow: bodies are at most `most`, which is at most MAX_MESSAGE_BYTES, before they are added.
    """
    cdef size_t head, second
    cdef uint64_t body
    cdef bint more = False
    cdef int outcome = parse_head(data, size, &head, &body, &more)
    if outcome != DEFRAME_OK:
        found.needed = head
        return outcome
    if not more:
        return DEFRAME_ONE_PART
    if body > most:
        return DEFRAME_TOO_LARGE
    found.topic = data + head
    found.topic_size = <size_t>body
    head += <size_t>body
    if size < head:
        found.needed = head + SHORT_HEAD
        return NEED_MORE
    outcome = parse_head(data + head, size - head, &second, &body, &more)
    if outcome != DEFRAME_OK:
        found.needed = head + second
        return outcome
    if more:
        return DEFRAME_MANY_PARTS
    if body > most - found.topic_size:
        return DEFRAME_TOO_LARGE
    head += second
    found.size = head + <size_t>body
    if size < found.size:
        found.needed = found.size
        return NEED_MORE
    found.payload = data + head
    found.payload_size = <size_t>body
    return DEFRAME_OK


cdef size_t pass_over(const uint8_t *data, size_t size) noexcept nogil:
    """How long the message is that begins with `data`, of whatever parts; 0 where it does not end there."""
    cdef size_t at = 0
    cdef size_t head
    cdef uint64_t body
    cdef bint more = True
    while more:
        if parse_head(data + at, size - at, &head, &body, &more) != DEFRAME_OK or body > size - at - head:
            return 0
        at += head + <size_t>body
    return at


cdef class Deframer:
    """The stream of one source. `max_message_bytes` bounds topic and payload together.

    Compiled code overrides `message`, `malformed` and `stopped`; by itself it only counts. Raises ValueError.
    """

    def __init__(self, max_message_bytes):
        if not 0 < max_message_bytes <= MAX_MESSAGE_BYTES:
            raise ValueError(f"max_message_bytes: expected 1 to {MAX_MESSAGE_BYTES}, got {max_message_bytes}")
        self.max_message_bytes = max_message_bytes

    def __dealloc__(self):
        free(self.part)
        free(self.rest)

    @property
    def has_part(self):
        """Whether the beginning of a message is here whose rest is to come."""
        return self.part_size > 0

    # -- overridden --------------------------------------------------------------------------------------------------

    cdef int message(self, const uint8_t *topic, size_t topic_size, const uint8_t *payload, size_t size) except -1:
        return 0

    cdef bint stopped(self) noexcept:
        return False

    cdef int malformed(self, int reason) except -1:
        return 0

    # -- called ------------------------------------------------------------------------------------------------------

    cdef int feed(self, const uint8_t *tsdu, size_t size) except -1:
        cdef size_t at = OFFSET_SIZE
        if self.busy:
            raise RuntimeError("deframer: a TSDU is being read")
        if self.has_rest:
            raise RuntimeError("deframer: the rest of the last TSDU comes first: resume()")
        if size < OFFSET_SIZE:
            self.drop_part()
            self.synced = False
            return self.fault(DEFRAME_SHORT_TSDU)
        self.busy = True
        try:
            self.enter(tsdu, size, &at)
        finally:
            self.busy = False
            if at < size:
                self.keep_rest(tsdu + at, size - at)
            self.leave()
        return 0

    cdef int resume(self) except -1:
        if self.busy or not self.has_rest:
            return 0
        self.busy = True
        try:
            self.walk(self.rest, self.rest_size, &self.rest_at)
        finally:
            self.busy = False
            self.has_rest = self.rest_at < self.rest_size
            self.leave()
        return 0

    cdef int skip(self) except -1:
        self.gap = True
        if not self.busy:
            self.leave()
        return 0

    # -- within ------------------------------------------------------------------------------------------------------

    cdef void leave(self) noexcept:
        """Where a TSDU is done: a gap behind it takes effect."""
        if self.gap and not self.has_rest:
            self.gap = False
            self.truncated += self.part_size > 0
            self.drop_part()
            self.synced = False

    cdef int fault(self, int reason) except -1:
        self.malformed_count += 1
        return self.malformed(reason)

    cdef int enter(self, const uint8_t *tsdu, size_t size, size_t *at) except -1:
        """Up to the offset what was begun before, then what begins in this TSDU. `at` counts from the TSDU's start."""
        cdef size_t offset = get16(tsdu)
        cdef bint announced = offset != NO_MESSAGE
        # Where the first new message begins; where none does, nothing may.
        cdef size_t start = OFFSET_SIZE + offset if announced else size
        if start > size:
            at[0] = size
            self.drop_part()
            self.synced = False
            return self.fault(DEFRAME_OFFSET)
        if self.part_size:
            # Whatever becomes of it, what follows begins there.
            at[0] = start
            if self.finish_part(tsdu + OFFSET_SIZE, start - OFFSET_SIZE, announced) or at[0] == size:
                return 0
        elif self.synced:
            if start != OFFSET_SIZE and size != OFFSET_SIZE:
                at[0] = start
                self.synced = announced
                self.fault(DEFRAME_MISPLACED)
        elif announced:
            self.synced = True
        else:
            self.skipped += 1
        at[0] = start
        return self.walk(tsdu, size, at)

    cdef bint finish_part(self, const uint8_t *data, size_t size, bint announced) except -1:
        """`data` is the rest of the message that was begun, all of it if a message is `announced` behind. Whether to stop."""
        cdef Found found
        cdef size_t taken = 0
        cdef size_t count
        cdef int outcome = NEED_MORE
        # Until it is whole and ends where it has to, what was begun is good for nothing but an end of the stream here.
        while taken < size and outcome == NEED_MORE:
            count = size - taken
            if self.part_needed - self.part_size < count:
                count = <size_t>(self.part_needed - self.part_size)
            if not self.add(data + taken, count):
                self.drop_part()
                self.synced = announced
                raise MemoryError(f"no memory for {self.part_size + count} bytes of a message")
            taken += count
            if self.part_size == self.part_needed:
                outcome = parse(self.part, self.part_size, self.max_message_bytes, &found)
                if outcome == NEED_MORE:
                    self.part_needed = found.needed
        if outcome == NEED_MORE and not announced:
            return False
        if outcome == DEFRAME_OK and taken == size:
            # The bytes stay where they are until the next TSDU.
            self.part_size = 0
            self.messages += 1
            try:
                self.message(found.topic, found.topic_size, found.payload, found.payload_size)
            finally:
                self.drop_part()
            return self.stopped()
        self.drop_part()
        self.synced = announced
        self.fault(outcome if outcome > DEFRAME_OK else DEFRAME_MISPLACED)
        return False

    cdef int walk(self, const uint8_t *data, size_t size, size_t *at) except -1:
        """Messages that begin at `at` and behind; it moves before each is handed over."""
        cdef Found found
        cdef size_t position = at[0]
        cdef size_t taken
        cdef int outcome
        while position < size:
            outcome = parse(data + position, size - position, self.max_message_bytes, &found)
            if outcome == DEFRAME_OK:
                position += found.size
                at[0] = position
                self.messages += 1
                self.message(found.topic, found.topic_size, found.payload, found.payload_size)
                if self.stopped():
                    return 0
            elif outcome == NEED_MORE:
                at[0] = size
                self.part_needed = found.needed
                if not self.add(data + position, size - position):
                    self.synced = False
                    raise MemoryError(f"no memory for {size - position} bytes of a message")
                return 0
            else:
                taken = 0
                if outcome == DEFRAME_ONE_PART or outcome == DEFRAME_MANY_PARTS or outcome == DEFRAME_TOO_LARGE:
                    taken = pass_over(data + position, size - position)
                if taken == 0:
                    self.synced = False
                    taken = size - position
                position += taken
                at[0] = position
                self.fault(outcome)
        return 0

    cdef bint add(self, const uint8_t *data, size_t size) noexcept:
        """More of the message that is begun; False if there is no memory for it."""
        cdef size_t wanted = self.part_size + size
        cdef size_t capacity
        cdef void *grown
        if wanted > self.part_capacity:
            capacity = self.part_capacity * 2
            if capacity < FIRST_BUFFER:
                capacity = FIRST_BUFFER
            if capacity < wanted:
                capacity = wanted
            grown = realloc(self.part, capacity)
            if grown == NULL:
                return False
            self.part = <uint8_t *>grown
            self.part_capacity = capacity
        memcpy(self.part + self.part_size, data, size)
        self.part_size = wanted
        return True

    cdef void drop_part(self) noexcept:
        self.part_size = 0
        if self.part_capacity > MAX_KEPT_BUFFER:
            free(self.part)
            self.part = NULL
            self.part_capacity = 0

    cdef void keep_rest(self, const uint8_t *data, size_t size) noexcept:
        """Copy it, at most a datagram; without memory it is a loss like any other: the next beginning is waited for."""
        cdef void *fresh = realloc(self.rest, size)
        if fresh == NULL:
            self.gap = True
            return
        self.rest = <uint8_t *>fresh
        memcpy(self.rest, data, size)
        self.rest_at = 0
        self.rest_size = size
        self.has_rest = True


# -- for tests and measurements ----------------------------------------------------------------------------------------

cdef class Probe(Deframer):
    """Collects what a Deframer finds.

    found          (topic, payload) of each message, if `collects`; else only their bytes are counted, in `payload_bytes`
    faults         names of what was malformed
    stop_after     stop when this many messages were found in all; -1: never
    raise_at       raise ArithmeticError from the message of this number, from 0
    on_message     called with this Probe after each message, if it is not None
    """

    cdef readonly list found
    cdef readonly list faults
    cdef readonly uint64_t payload_bytes
    cdef public long long stop_after
    cdef public long long raise_at
    cdef public object on_message
    cdef bint collects

    def __init__(self, max_message_bytes=1 << 20, bint collects=True):
        super().__init__(max_message_bytes)
        self.found = []
        self.faults = []
        self.collects = collects
        self.stop_after = self.raise_at = -1

    cdef int message(self, const uint8_t *topic, size_t topic_size, const uint8_t *payload, size_t size) except -1:
        self.payload_bytes += size
        if not self.collects:
            return 0
        if <long long>self.messages - 1 == self.raise_at:
            raise ArithmeticError("as asked for")
        self.found.append((PyBytes_FromStringAndSize(<const char *>topic, <Py_ssize_t>topic_size),
                           PyBytes_FromStringAndSize(<const char *>payload, <Py_ssize_t>size)))
        if self.on_message is not None:
            self.on_message(self)
        return 0

    cdef bint stopped(self) noexcept:
        return <long long>self.messages == self.stop_after

    cdef int malformed(self, int reason) except -1:
        self.faults.append(deframe_fault_name(reason))
        return 0

    @property
    def buffer_bytes(self):
        """What is held for a message that spans TSDUs."""
        return self.part_capacity

    def push(self, tsdu):
        """`feed`."""
        cdef Py_buffer view
        PyObject_GetBuffer(tsdu, &view, PyBUF_SIMPLE)
        try:
            self.feed(<const uint8_t *>view.buf, <size_t>view.len)
        finally:
            PyBuffer_Release(&view)

    def push_many(self, tsdus not None, Py_ssize_t times):
        """`feed` each of them, all so many times: for measuring, as C code would."""
        cdef Py_buffer view
        cdef Py_ssize_t i
        for i in range(times):
            for tsdu in tsdus:
                PyObject_GetBuffer(tsdu, &view, PyBUF_SIMPLE)
                try:
                    self.feed(<const uint8_t *>view.buf, <size_t>view.len)
                finally:
                    PyBuffer_Release(&view)

    def gap(self):
        """`skip`."""
        self.skip()

    def go_on(self):
        """`resume`."""
        self.resume()
