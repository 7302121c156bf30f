# SPDX-License-Identifier: Apache-2.0
"""All that is kept of one multicast source: from its packets, in whatever order they come, to its messages in sequence.

What comes in sequence goes to the deframer from the datagram, without a copy and without Python. Out of sequence, or while
the one who takes messages is stopped, it is stored, see receive_window; who asks for what is missing, and when, is the policy's
matter (plexo._proto.pgm.receiver), which is told of gaps and of what came of them.

What is empty before the *trail* is lost. The trail is the source's, or a jump's: a stream that goes on farther ahead than there
is room for goes on there, after what can be had was had. Nothing but that comparison says that a packet before the trail is
lost, so a trail that is far ahead costs nothing, and is not told before what is stored was delivered. What the policy gives up
is marked.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.math cimport INFINITY
from libc.stdint cimport int64_t
from libc.stdlib cimport free

from plexo._fast.deframer cimport deframe_fault_name
from plexo._fast.pgm cimport (
    PGM_NAK,
    PGM_NCF,
    PGM_ODATA,
    PGM_OK,
    PGM_RDATA,
    PGM_SPM,
    PGM_SPMR,
    pgm_parse,
    sqn_distance,
)
from plexo._fast.receive_window cimport PLACE_EMPTY, PLACE_LOST, PLACE_STORED, Place

cdef enum:
    # So far ahead of what is delivered the source may be known to be, while nobody takes messages. Numbers go round at four
    # times this.
    MAX_AHEAD = 1 << 30
    # What is not farther behind is late, or came twice. Else the source counts anew, or a number far ahead was forged.
    MAX_LATE = 65536

MOST_PACKETS = 65536
MOST_BYTES = 64 << 20


cdef class Reception(Deframer):
    """One source. `policy` is a plexo._proto.pgm.receiver.Receiver, or what has its methods.

    Compiled code overrides `message`, `malformed`, `stopped` and `lost`. `most_packets` (ahead of the next in sequence) and
    `most_bytes` bound what is stored. Raises ValueError.
    """

    def __init__(self, policy, max_message_bytes, Py_ssize_t most_packets=MOST_PACKETS, size_t most_bytes=MOST_BYTES):
        super().__init__(max_message_bytes)
        self.policy = policy
        self.window = ReceiveWindow(most_packets, most_bytes)
        self.due = INFINITY
        self.ready = []

    @property
    def stored_packets(self):
        """What waits for a packet before it, or for whoever is stopped."""
        return self.window.stored

    @property
    def stored_bytes(self):
        return self.window.stored_bytes

    @property
    def naks(self):
        """NAK lists that were sent."""
        return self.policy.naks

    @property
    def finished(self):
        """The source closed, and all of it was delivered or told to be lost."""
        return bool(self.fin and self.is_level())

    # -- overridden --------------------------------------------------------------------------------------------------

    cdef int lost(self, uint64_t packets) except -1:
        return 0

    # -- called ------------------------------------------------------------------------------------------------------

    cdef int take(self, const PgmPacket *packet, double now) except -1:
        if packet.type == PGM_ODATA or packet.type == PGM_RDATA:
            self.heard_at = now
            # Level is nobody who has not begun: the lead is 0 then, as is what is expected.
            if packet.sqn == self.expected and self.is_level() and not self.is_blocked():
                self.lead = packet.sqn
                self.expected = self.trail = packet.sqn + 1
                self.received += 1
                self.feed(packet.tsdu, packet.tsdu_size)
                # What was taken from within a callback.
                return self.deliver() if self.lead != packet.sqn else 0
            return self.take_data(packet, now)
        if packet.type == PGM_SPM:
            self.heard_at = now
            return self.take_spm(packet, now)
        if packet.type == PGM_NCF:
            self.heard_at = now
            return self.take_ncf(packet, now)
        if packet.type == PGM_NAK and self.started and not self.is_level():
            self.policy.nak_heard([packet.sqns[i] for i in range(packet.sqn_count)], now)
        elif packet.type == PGM_SPMR:
            self.policy.spmr_heard(now)
        else:
            return 0
        return self.refresh()

    cdef list advance(self, double now):
        cdef uint32_t sqn
        cdef list ready
        if self.started:
            self.ready += self.policy.advance(<uint32_t>(self.expected + self.window.most_packets), now, self.full)
            for first, last in self.policy.take_lost():
                sqn = first
                while True:
                    self.window.mark_lost(self.expected, sqn)
                    if sqn == <uint32_t>last:
                        break
                    sqn += 1
            if self.policy.closed(now):
                self.follow(self.lead + 1)
            self.refresh()
            # Where it raises, what is ready waits for the next call, which is due at once.
            self.deliver()
        ready = self.ready
        self.ready = []
        return ready

    cdef double due_at(self) noexcept:
        return self.due if len(self.ready) == 0 else 0.0

    cdef int resume_stored(self, double now) except -1:
        self.deliver()
        return self.hasten(now)

    cdef int abandon(self, double now) except -1:
        if self.started:
            self.follow(self.lead + 1)
            self.refresh()
            self.deliver()
        return 0

    # -- packets -----------------------------------------------------------------------------------------------------

    cdef int take_data(self, const PgmPacket *packet, double now) except -1:
        cdef uint32_t sqn = packet.sqn
        cdef int64_t ahead, trail_ahead
        cdef bint fresh
        if not self.started:
            # Where a repair is among others' gaps does not say where the stream is.
            if packet.type == PGM_RDATA:
                return 0
            self.begin(sqn, now)
        # What is pending comes first: then it is known where this one belongs.
        self.deliver()
        ahead = sqn_distance(self.expected, sqn)
        if packet.type == PGM_ODATA and ahead < -MAX_LATE:
            self.restart(sqn, now)
            ahead = 0
        if ahead >= MAX_AHEAD and self.is_blocked():
            return 0
        # Not by comparing numbers: the trail is before the packet, and may be more than half of all behind.
        trail_ahead = ahead - <int64_t><uint32_t>(sqn - packet.trail)
        if trail_ahead > <int64_t><uint32_t>(self.trail - self.expected):
            self.follow(packet.trail)
        if ahead >= MAX_AHEAD or ahead - self.lead_ahead() > <int64_t>self.window.most_packets:
            self.follow(sqn)
        # A trail may have made way.
        self.deliver()
        ahead = sqn_distance(self.expected, sqn)
        if ahead < 0 or self.window.place(sqn) == PLACE_STORED:
            self.repeated += 1
            return self.refresh()
        if ahead >= MAX_AHEAD:
            return self.refresh()
        fresh = ahead > self.lead_ahead()
        if fresh and sqn - 1 != self.lead:
            self.reveal(sqn - 1, now)
        if self.window.store(self.expected, sqn, packet.tsdu, packet.tsdu_size):
            self.received += 1
            if fresh:
                self.lead = sqn
            else:
                self.repaired += packet.type == PGM_RDATA
                self.policy.arrived(sqn, now)
        else:
            if ahead < <int64_t>self.window.most_packets:
                self.full = self.crowded = True
            if fresh:
                self.reveal(sqn, now)
        self.refresh()
        self.deliver()
        return self.hasten(now)

    cdef int take_spm(self, const PgmPacket *packet, double now) except -1:
        cdef int64_t ahead, trail_ahead
        if not self.policy.spm(packet.sqn, packet.nla if packet.has_nla else None, bool(packet.fin), now):
            return 0
        if packet.has_nla:
            self.nla = packet.nla
        if not self.started:
            self.begin(packet.lead + 1, now)
        self.deliver()
        # So that what is behind the lead is less than half of all numbers ahead, too.
        ahead = <int64_t>sqn_distance(self.expected, packet.lead + 1) - 1
        if ahead >= MAX_AHEAD and self.is_blocked():
            return self.refresh()
        trail_ahead = ahead + 1 - <int64_t><uint32_t>(packet.lead + 1 - packet.trail)
        if trail_ahead > <int64_t><uint32_t>(self.trail - self.expected):
            self.follow(packet.trail)
        if ahead >= MAX_AHEAD or ahead - self.lead_ahead() > <int64_t>self.window.most_packets:
            self.follow(packet.lead + 1)
        if ahead > self.lead_ahead():
            self.reveal(packet.lead, now)
        self.fin = packet.fin
        self.refresh()
        return self.deliver()

    cdef int take_ncf(self, const PgmPacket *packet, double now) except -1:
        cdef uint32_t i
        cdef int64_t ahead
        if not self.started:
            return 0
        for i in range(packet.sqn_count):
            # The source has it. Much farther ahead it says nothing: the source's next packet tells more.
            ahead = sqn_distance(self.expected, packet.sqns[i])
            if ahead < MAX_AHEAD and 0 < ahead - self.lead_ahead() <= <int64_t>self.window.most_packets:
                self.reveal(packet.sqns[i], now)
        if not self.is_level():
            self.policy.confirmed([packet.sqns[i] for i in range(packet.sqn_count)], now)
        return self.refresh()

    # -- where the stream is -----------------------------------------------------------------------------------------

    cdef int begin(self, uint32_t sqn, double now) except -1:
        self.policy.begin(sqn, now)
        self.started = True
        self.expected = self.trail = sqn
        self.lead = sqn - 1
        return self.refresh()

    cdef int restart(self, uint32_t sqn, double now) except -1:
        """From far behind on. What was not delivered is lost."""
        self.restart_lost += self.lead + 1 - self.expected
        self.restarted = True
        self.window.clear()
        self.full = False
        self.fin = False
        return self.begin(sqn, now)

    cdef int follow(self, uint32_t trail) except -1:
        """The trail moves ahead to there, and the lead with it."""
        self.trail = trail
        self.policy.passed(trail)
        if <uint32_t>(trail - self.expected) > <uint32_t>(self.lead + 1 - self.expected):
            self.lead = trail - 1
        return 0

    cdef int reveal(self, uint32_t sqn, double now) except -1:
        """There are packets up to this one, which is behind the lead, and none of them is here."""
        self.policy.gap(<uint32_t>(self.lead + 1), sqn, now)
        self.lead = sqn
        return 0

    cdef inline int64_t lead_ahead(self) noexcept:
        """How far the lead is ahead of what is expected; -1 where all was delivered.

        Two numbers that are both far from what is expected have no order of their own: others are compared this way, too.
        """
        return <int64_t><uint32_t>(self.lead + 1 - self.expected) - 1

    cdef int hasten(self, double now) except -1:
        """What was refused for want of room is asked for anew as soon as it is next."""
        if not self.crowded or self.is_blocked():
            return 0
        if self.is_level():
            self.crowded = False
            return 0
        self.policy.hasten(now)
        return self.refresh()

    cdef int refresh(self) except -1:
        self.due = self.policy.due()
        return 0

    # -- to the deframer ---------------------------------------------------------------------------------------------

    cdef inline bint is_level(self) noexcept:
        """All that is known of was delivered."""
        return <uint32_t>(self.lead + 1) == self.expected and not self.has_rest and not self.restarted

    cdef inline bint is_blocked(self) noexcept:
        return self.delivering or self.busy or self.stopped()

    cdef int deliver(self) except -1:
        """All that is known to be next: the rest of a TSDU, losses, what is stored. It leaves here before it is handed over."""
        cdef uint8_t *data
        cdef size_t size = 0
        cdef uint64_t packets
        if self.is_level() or self.is_blocked():
            return 0
        self.delivering = True
        try:
            while not self.stopped():
                if self.has_rest:
                    self.resume()
                elif self.restarted:
                    packets = self.restart_lost
                    self.restarted = False
                    self.restart_lost = 0
                    self.lost_packets += packets
                    self.skip()
                    self.lost(packets)
                elif self.window.place(self.expected) == PLACE_STORED:
                    data = self.window.pull(self.expected, &size)
                    self.full = False
                    if self.trail == self.expected:
                        self.trail += 1
                    self.expected += 1
                    try:
                        self.feed(data, size)
                    finally:
                        free(data)
                else:
                    packets = self.pass_lost()
                    if packets == 0:
                        break
                    self.lost_packets += packets
                    self.skip()
                    self.lost(packets)
        finally:
            self.delivering = False
        return 0

    cdef uint64_t pass_lost(self) noexcept:
        """How many are lost from the next one on; behind them is what is next."""
        cdef uint64_t packets = 0
        cdef Place place
        while True:
            if self.window.stored == 0 and self.window.marks == 0:
                packets += self.trail - self.expected
                self.expected = self.trail
                self.window.forget()
                return packets
            place = self.window.place(self.expected)
            if place == PLACE_STORED or (place == PLACE_EMPTY and self.expected == self.trail):
                return packets
            if place == PLACE_LOST:
                self.window.pull_mark(self.expected)
            if self.trail == self.expected:
                self.trail += 1
            self.expected += 1
            packets += 1


# -- for tests and measurements ----------------------------------------------------------------------------------------

cdef class CountingReception(Reception):
    """Counts messages and their bytes."""

    cdef readonly uint64_t payload_bytes

    cdef int message(self, const uint8_t *topic, size_t topic_size, const uint8_t *payload, size_t size) except -1:
        self.payload_bytes += size
        return 0

    def push(self, datagram, double now):
        """`take` what a datagram says; False: it is no packet."""
        cdef Py_buffer view
        cdef PgmPacket packet
        PyObject_GetBuffer(datagram, &view, PyBUF_SIMPLE)
        try:
            if pgm_parse(<const uint8_t *>view.buf, <size_t>view.len, &packet) != PGM_OK:
                return False
            self.take(&packet, now)
            return True
        finally:
            PyBuffer_Release(&view)

    def push_many(self, datagrams not None, double now):
        """`push` each of them: for measuring, as C code would."""
        cdef Py_buffer view
        cdef PgmPacket packet
        for datagram in datagrams:
            PyObject_GetBuffer(datagram, &view, PyBUF_SIMPLE)
            try:
                if pgm_parse(<const uint8_t *>view.buf, <size_t>view.len, &packet) == PGM_OK:
                    self.take(&packet, now)
            finally:
                PyBuffer_Release(&view)

    def turn(self, double now):
        """`advance`."""
        return self.advance(now)

    def go_on(self, double now=0.0):
        """`resume_stored`."""
        self.resume_stored(now)

    def give_up(self, double now):
        """`abandon`."""
        self.abandon(now)

    @property
    def next_due(self):
        """`due_at`."""
        return self.due_at()

    @property
    def position(self):
        """Next to be delivered, trail, lead."""
        return self.expected, self.trail, self.lead

    @property
    def ring_marks(self):
        """Packets that were given up and are not told yet."""
        return self.window.marks


cdef class ListReception(CountingReception):
    """Collects what is told, in order.

    events       (topic, payload) of a message, the number of packets of a loss, the name of a fault
    stop_after   stop when this many messages were found in all; -1: never
    raise_at     raise ArithmeticError from the message of this number, from 0; -1: never
    on_event     called with this after each message or loss, if it is not None
    """

    cdef readonly list events
    cdef public long long stop_after
    cdef public long long raise_at
    cdef public object on_event

    def __init__(self, policy, max_message_bytes=1 << 20, Py_ssize_t most_packets=MOST_PACKETS,
                 size_t most_bytes=MOST_BYTES):
        super().__init__(policy, max_message_bytes, most_packets, most_bytes)
        self.events = []
        self.stop_after = self.raise_at = -1

    cdef int message(self, const uint8_t *topic, size_t topic_size, const uint8_t *payload, size_t size) except -1:
        if <long long>self.messages - 1 == self.raise_at:
            raise ArithmeticError("as asked for")
        self.events.append((PyBytes_FromStringAndSize(<const char *>topic, <Py_ssize_t>topic_size),
                            PyBytes_FromStringAndSize(<const char *>payload, <Py_ssize_t>size)))
        if self.on_event is not None:
            self.on_event(self)
        return 0

    cdef int lost(self, uint64_t packets) except -1:
        self.events.append(packets)
        if self.on_event is not None:
            self.on_event(self)
        return 0

    cdef int malformed(self, int reason) except -1:
        self.events.append(deframe_fault_name(reason))
        return 0

    cdef bint stopped(self) noexcept:
        return <long long>self.messages == self.stop_after
