# SPDX-License-Identifier: Apache-2.0
"""The packets of one multicast source: being filled, waiting to be sent, and kept for repairs.

Messages are written straight into a ring of packets, whose slots are one packet apart, so that full ones lie one behind another and
go out with one system call. A packet is sealed (header, checksum, MAC) when it is full or when it is to be sent. It stays until its
slot is needed; then the window's trail moves past it. Not while it is *held*: it was asked for a moment ago, and a source that sent
on would take from its receivers what they are about to ask for again. The framing is that of deframer.pyx.

No policy, no clock, no socket. Memory is the ring's, as far as it was ever used.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.memoryview cimport PyMemoryView_FromMemory
from cpython.buffer cimport PyBUF_READ
from libc.math cimport INFINITY
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from plexo._fast.pgm cimport (PGM_DATA_HEADER, PGM_MAX_PACKET, PGM_ODATA, PGM_OFFSET, PGM_RDATA, pgm_seal,
                              pgm_write_data_header, put16, put32)

cdef enum:
    NO_MESSAGE = 0xFFFF
    FLAG_MORE = 1
    SHORT_HEAD = 2
    LONG_HEAD = 10
    # Bodies below this have their length in one byte, which counts the flags.
    LONG_BODY = 254
    TYPE_AT = 4
    TRAIL_AT = 20
    # Fewer would leave none to repair from while others are filled.
    MIN_SLOTS = 4

MIN_PACKETS = MIN_SLOTS


cdef inline size_t write_head(uint8_t *to, size_t body, uint8_t flags) noexcept nogil:
    """The head of a frame; its size."""
    cdef uint64_t length = <uint64_t>body + 1
    cdef int i
    if body < LONG_BODY:
        to[0] = <uint8_t>length
        to[1] = flags
        return SHORT_HEAD
    to[0] = 0xFF
    for i in range(8):
        to[1 + i] = <uint8_t>(length >> (56 - 8 * i))
    to[9] = flags
    return LONG_HEAD


cdef class TransmitWindow:
    """Packets of at most `max_tpdu` bytes (the UDP payload, MAC included), as many as fit into `most_bytes`.

    tsi is a plexo._proto.pgm.packets.Tsi, key a plexo._proto.keyed.Key or None. Raises ValueError where packets or window
    are too small, MemoryError.
    """

    def __init__(self, tsi, uint16_t port, *, size_t max_tpdu=1472, size_t most_bytes=32 << 20, key=None,
                 uint32_t first_sqn=0):
        self.tsi = tsi
        if len(<bytes>tsi.gsi) != 6:
            raise ValueError(f"tsi: expected a gsi of 6 bytes, got {len(tsi.gsi)}")
        memcpy(self.gsi, PyBytes_AS_STRING(<bytes>tsi.gsi), 6)
        self.port = port
        self.key = key
        self.mac_size = 0 if key is None else key.mac_size
        if not PGM_DATA_HEADER + PGM_OFFSET + LONG_HEAD + self.mac_size <= max_tpdu <= PGM_MAX_PACKET:
            raise ValueError(f"max_tpdu: expected {PGM_DATA_HEADER + PGM_OFFSET + LONG_HEAD + self.mac_size} to "
                             f"{PGM_MAX_PACKET} bytes, got {max_tpdu}")
        self.max_tpdu = max_tpdu
        self.most = max_tpdu - PGM_DATA_HEADER - PGM_OFFSET - self.mac_size
        self.slots = most_bytes // max_tpdu
        if self.slots < MIN_SLOTS:
            raise ValueError(f"most_bytes: expected at least {MIN_SLOTS} packets of {max_tpdu} bytes, got {most_bytes}")
        self.first_sqn = first_sqn
        self.offset = NO_MESSAGE
        # Both are pages that nobody has touched yet.
        self.packets = <uint8_t *>calloc(<size_t>self.slots, max_tpdu)
        self.records = <Sent *>calloc(<size_t>self.slots, sizeof(Sent))
        if self.packets == NULL or self.records == NULL:
            raise MemoryError(f"no memory for a window of {most_bytes} bytes")

    def __dealloc__(self):
        free(self.packets)
        free(self.records)

    @property
    def trail(self):
        """The first packet that can be repaired, as its sequence number."""
        return self.trail_sqn()

    @property
    def lead(self):
        """The last packet that was sent; before any, the one before the trail."""
        return (self.first_sqn + self.unsent - 1) & 0xFFFFFFFF

    cdef uint32_t trail_sqn(self) noexcept:
        return self.first_sqn + <uint32_t>self.oldest

    # -- filling -------------------------------------------------------------------------------------------------

    cdef size_t largest_message(self, size_t topic_size) noexcept:
        """The largest payload that fits, whatever else is there: half of the window with its frames."""
        cdef size_t most = <size_t>(self.slots // 2) * self.most
        return most - 2 * LONG_HEAD - topic_size if most > 2 * LONG_HEAD + topic_size else 0

    cdef bint take_slots(self, uint64_t count) noexcept:
        """Whether so many packets from the open one on have slots; those that are in their place go."""
        cdef uint64_t oldest = self.oldest
        cdef Sent *record
        while self.opened + count - oldest > self.slots:
            record = self.records + oldest % self.slots
            if oldest >= self.unsent or record.held_until > self.now:
                return False
            oldest += 1
        self.oldest = oldest
        return True

    cdef bint has_room(self, size_t size) noexcept:
        """Whether a message of so many bytes, frames included, would be taken; 0: any at all."""
        cdef size_t left = self.most - self.filled if self.filled else 0
        if size <= left and left:
            return True
        return self.take_slots((1 if self.filled else 0) + (max(<size_t>1, size - left) + self.most - 1) // self.most)

    cdef int append_message(self, const uint8_t *topic, size_t topic_size, const uint8_t *payload, size_t size) except -1:
        """1: it is in, whole. 0: there is no room for it now, and nothing has changed."""
        cdef uint8_t head[LONG_HEAD]
        cdef size_t first = SHORT_HEAD if topic_size < LONG_BODY else LONG_HEAD
        cdef size_t second = SHORT_HEAD if size < LONG_BODY else LONG_HEAD
        cdef size_t total = first + topic_size + second + size
        cdef uint8_t *to
        if not self.has_room(total):
            return 0
        if self.offset == NO_MESSAGE:
            self.offset = <uint16_t>self.filled
        self.accepted_messages += 1
        if total < self.most - self.filled:
            # In one piece, and the packet stays open: most messages.
            to = self.packets + <size_t>(self.opened % self.slots) * self.max_tpdu + PGM_DATA_HEADER + PGM_OFFSET + self.filled
            to += write_head(to, topic_size, FLAG_MORE)
            memcpy(to, topic, topic_size)
            to += topic_size
            to += write_head(to, size, 0)
            memcpy(to, payload, size)
            self.filled += total
            self.ends += 1
            return 1
        self.write(head, write_head(head, topic_size, FLAG_MORE))
        self.write(topic, topic_size)
        self.write(head, write_head(head, size, 0))
        self.write(payload, size)
        # Where it fills its packet to the end, that was sealed already, without it.
        if self.filled:
            self.ends += 1
        else:
            self.records[(self.opened - 1) % self.slots].ends += 1
        return 1

    cdef int write(self, const uint8_t *data, size_t size) except -1:
        """Bytes of the stream, for which there are slots."""
        cdef size_t piece
        while size:
            piece = min(size, self.most - self.filled)
            memcpy(self.packets + <size_t>(self.opened % self.slots) * self.max_tpdu + PGM_DATA_HEADER + PGM_OFFSET + self.filled,
                   data, piece)
            self.filled += piece
            data += piece
            size -= piece
            if self.filled == self.most:
                self.seal_open()
        return 0

    cdef int seal_open(self) except -1:
        """What the open packet has becomes a packet to send; nothing where it has nothing."""
        cdef uint8_t *packet
        cdef Sent *record
        cdef size_t tsdu
        if self.filled == 0:
            return 0
        packet = self.packets + <size_t>(self.opened % self.slots) * self.max_tpdu
        record = self.records + self.opened % self.slots
        tsdu = PGM_OFFSET + self.filled
        pgm_write_data_header(packet, PGM_ODATA, self.gsi, <uint16_t>self.tsi.sport, self.port,
                              self.first_sqn + <uint32_t>self.opened, self.trail_sqn(), <uint16_t>tsdu)
        put16(packet + PGM_DATA_HEADER, self.offset)
        pgm_seal(packet, PGM_DATA_HEADER + tsdu)
        if self.key is not None:
            self.sign(packet, PGM_DATA_HEADER + tsdu)
        record.size = <uint16_t>(PGM_DATA_HEADER + tsdu + self.mac_size)
        record.ends = self.ends
        record.sent_at = record.held_until = 0
        self.sealed_bytes += record.size
        self.opened += 1
        self.filled = 0
        self.ends = 0
        self.offset = NO_MESSAGE
        return 0

    cdef int sign(self, uint8_t *packet, size_t size) except -1:
        cdef bytes mac = self.key.mac(PyMemoryView_FromMemory(<char *>packet, <Py_ssize_t>size, PyBUF_READ))
        memcpy(packet + size, PyBytes_AS_STRING(mac), self.mac_size)
        return 0

    # -- sending -------------------------------------------------------------------------------------------------

    cdef size_t queued_bytes(self) noexcept:
        """Not sent yet, the open packet included."""
        return self.sealed_bytes + (self.filled + PGM_DATA_HEADER + PGM_OFFSET if self.filled else 0)

    cdef Py_ssize_t queued_messages(self) noexcept:
        """Whose last byte was not sent yet."""
        return <Py_ssize_t>(self.accepted_messages - self.sent_messages)

    cdef size_t next_run(self, const uint8_t **data, size_t *segment, size_t most) noexcept:
        """The next sealed packets, as far as they lie one behind another: all of `segment` bytes but the last.

        How many bytes that are: at most `most`, but at least one packet; 0: there is none.
        """
        cdef uint64_t position = self.unsent
        cdef uint64_t slot = position % self.slots
        cdef size_t size
        if position == self.opened:
            return 0
        data[0] = self.packets + <size_t>slot * self.max_tpdu
        size = segment[0] = self.records[slot].size
        while (self.records[slot].size == self.max_tpdu and position + 1 < self.opened and slot + 1 < self.slots
               and size + self.records[slot + 1].size <= most):
            position += 1
            slot += 1
            size += self.records[slot].size
        return size

    cdef int sent_run(self, size_t size, double now) except -1:
        """So many bytes of the run, whole packets, are sent."""
        cdef Sent *record
        while size:
            record = self.records + self.unsent % self.slots
            record.sent_at = now
            size -= record.size
            self.sealed_bytes -= record.size
            self.sent_bytes += record.size
            self.sent_messages += record.ends
            self.sent_packets += 1
            self.unsent += 1
        self.now = now
        return 0

    # -- repairing -----------------------------------------------------------------------------------------------

    cdef bint find(self, uint32_t sqn, uint64_t *position) noexcept:
        """Whether it was sent and is here still."""
        position[0] = self.oldest + <uint32_t>(sqn - self.trail_sqn())
        return position[0] < self.unsent

    def has(self, uint32_t sqn):
        """Whether a packet can be repaired."""
        cdef uint64_t position
        return self.find(sqn, &position)

    def hold(self, uint32_t sqn, double until, double limit):
        """Keep a packet until some time, but not for longer than `limit` seconds after it was sent."""
        cdef uint64_t position
        cdef Sent *record
        if self.find(sqn, &position):
            record = self.records + position % self.slots
            record.held_until = min(until, record.sent_at + limit)

    cdef const uint8_t *repair(self, uint32_t sqn, size_t *size, double now) except? NULL:
        """The packet as RDATA; NULL where it is not here."""
        cdef uint64_t position
        cdef uint8_t *packet
        if not self.find(sqn, &position):
            return NULL
        packet = self.packets + <size_t>(position % self.slots) * self.max_tpdu
        size[0] = self.records[position % self.slots].size
        packet[TYPE_AT] = PGM_RDATA
        put32(packet + TRAIL_AT, self.trail_sqn())
        pgm_seal(packet, size[0] - self.mac_size)
        if self.key is not None:
            self.sign(packet, size[0] - self.mac_size)
        self.repaired_packets += 1
        self.now = now
        return packet

    cdef double room_at(self) noexcept:
        """Until when the oldest packet is held; inf: time is not what it waits for."""
        cdef Sent *record = self.records + self.oldest % self.slots
        return record.held_until if self.oldest < self.unsent and record.held_until > self.now else INFINITY

    # -- for Python: tests and simulations -----------------------------------------------------------------------

    def append(self, bytes topic not None, bytes payload not None):
        """`append_message`: whether it is in."""
        return bool(self.append_message(
            <const uint8_t *>PyBytes_AS_STRING(topic), <size_t>len(topic),
            <const uint8_t *>PyBytes_AS_STRING(payload), <size_t>len(payload)))

    def send_all(self, double now):
        """Seal what is open, and take everything that is to be sent, as a list of packets."""
        cdef const uint8_t *data
        cdef size_t segment = 0
        cdef size_t size, at
        packets = []
        self.seal_open()
        while True:
            size = self.next_run(&data, &segment, 1 << 20)
            if size == 0:
                return packets
            at = 0
            while at < size:
                packets.append(PyBytes_FromStringAndSize(<const char *>data + at, <Py_ssize_t>min(segment, size - at)))
                at += segment
            self.sent_run(size, now)

    def repaired(self, uint32_t sqn, double now):
        """`repair`: the packet, or None."""
        cdef size_t size = 0
        cdef const uint8_t *packet = self.repair(sqn, &size, now)
        return None if packet == NULL else PyBytes_FromStringAndSize(<const char *>packet, <Py_ssize_t>size)

    @property
    def largest(self):
        """`largest_message` for an empty topic."""
        return self.largest_message(0)

    @property
    def queued(self):
        """(messages, bytes) that are not sent."""
        return self.queued_messages(), self.queued_bytes()

    @property
    def free_at(self):
        """`room_at`."""
        return self.room_at()
