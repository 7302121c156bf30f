# SPDX-License-Identifier: Apache-2.0
"""The receiving half of multicast: from the socket of a group to the synapses.

Datagrams come in batches; each is held against the key where there is one, parsed, and given to what is kept of its source
(a reception, by TSI and address, for all groups together), which repairs, puts in order and cuts into messages. What another source
sends, or a stranger forges, concerns its own reception alone.

Asked of the owner, for what is rare:

owner._new_source(groups, gsi, sport, address, host)   a GroupReception for it, or None: there are too many
owner._upstream(reception, datagram, now)       send a NAK or SPMR to the source
owner._relay(datagram, group)                   a NAK or SPMR came by unicast for another program on this host
owner._refused(cause, host, why)                a datagram was dropped; the first of its cause and host
owner._lost(reception, packets, first)          packets that cannot be repaired any more (0: nobody knows how many)
owner._malformed(reception, why)                a message that cannot be read; the first of its host
"""

from cpython.buffer cimport PyBUF_READ
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.memoryview cimport PyMemoryView_FromMemory
from cpython.object cimport PyObject
from libc.math cimport INFINITY
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy

from plexo._fast.books cimport tick
from plexo._fast.completion cimport Source
from plexo._fast.datagrams cimport Datagram, DatagramReader
from plexo._fast.deframer cimport deframe_fault_name
from plexo._fast.multicast cimport MulticastHub, Transmission
from plexo._fast.pgm cimport (PGM_ACK, PGM_NAK, PGM_NNAK, PGM_POLL, PGM_POLR, PGM_SPMR, PgmPacket, pgm_fault_name,
                              pgm_fields, pgm_parse)
from plexo._fast.reception cimport Reception
from plexo._fast.synapse cimport Synapse
from plexo._fast.tasks cimport TaskPool
from plexo._fast.wake cimport call_in, monotonic
from plexo._proto.pgm.packets import dotted, from_fields
from plexo.statistics import EMPTY_BOOK, Cause, LinkStats

cdef object MALFORMED = Cause.MALFORMED
cdef object UNAUTHENTIC = Cause.UNAUTHENTIC
cdef object UNKNOWN_TOPIC = Cause.UNKNOWN_TOPIC
cdef object REJECTED = Cause.REJECTED
cdef object LOST = Cause.LOST


cdef class Origin(Source):
    """A source as reactants' queues see it: who has to wait."""

    cdef int resume(self) except -1:
        cdef GroupReception reception = self.reception
        cdef object loop = reception.groups.hub.loop
        if not reception.closed and loop is not None and not loop.is_closed():
            # A stream's reader may be in another thread.
            call_in(loop, reception.on_resume, ())
        return 0


cdef class GroupReception(Reception):
    """All that is kept of one source. `policy` is a plexo._proto.pgm.receiver.Receiver."""

    def __init__(self, Groups groups, policy, tsi, uint32_t address, str host, size_t max_message_bytes,
                 **limits):
        Reception.__init__(self, policy, max_message_bytes, **limits)
        self.groups = groups
        self.tsi = tsi
        memcpy(self.gsi, PyBytes_AS_STRING(<bytes>tsi.gsi), 6)
        self.sport = tsi.sport
        self.address = address
        self.origin = Origin.__new__(Origin)
        self.origin.reception = self
        self.origin.host = host
        self.alarm_at = INFINITY

    cdef bint is_from(self, const PgmPacket *packet, uint32_t host) noexcept:
        return packet.sport == self.sport and host == self.address and memcmp(packet.gsi, self.gsi, 6) == 0

    # -- what the stream brings ----------------------------------------------------------------------------------

    cdef int message(self, const uint8_t *topic, size_t topic_size, const uint8_t *payload, size_t size) except -1:
        cdef MulticastHub hub = self.groups.hub
        cdef Synapse synapse = self.synapse
        cdef PyObject *found
        tick(self.origin.receiving.accepted)
        if (synapse is None or topic_size != <size_t>len(synapse.topic)
                or memcmp(topic, PyBytes_AS_STRING(synapse.topic), topic_size) != 0):
            found = hub.topics.find(topic, topic_size)
            if found == NULL:
                # Two topics may share a group, until it is decided whose it is.
                self.origin.receiving.drop(UNKNOWN_TOPIC, 1)
                hub.tally.add(UNKNOWN_TOPIC, "", self.origin.host, 1)
                return 0
            synapse = self.synapse = <Synapse>found
        return synapse.receive(payload, size, hub.pool, self.origin)

    cdef bint stopped(self) noexcept:
        return self.origin.blocked > 0 or self.closed or self.groups.hub.loop is None

    cdef int malformed(self, int reason) except -1:
        tick(self.origin.receiving.accepted)
        self.origin.receiving.drop(MALFORMED, 1)
        if self.groups.hub.tally.add(MALFORMED, "", self.origin.host, 1):
            self.groups.hub.owner._malformed(self, deframe_fault_name(reason))
        return 0

    cdef int lost(self, uint64_t packets) except -1:
        # Of how many it is not known, it is at least one.
        first = self.groups.hub.tally.add(LOST, "", self.origin.host, packets if packets else 1)
        self.groups.hub.owner._lost(self, packets, first)
        return 0

    # -- time ----------------------------------------------------------------------------------------------------

    cdef int arm(self) except -1:
        cdef double due = self.due_at()
        if due < self.alarm_at:
            self.groups.hub.alarms.set(self, due)
        return 0

    def on_alarm(self, double now):
        """Ask for what is missing; returns when it is to be called again."""
        if self.closed:
            return INFINITY
        for datagram in self.advance(now):
            self.groups.hub.owner._upstream(self, datagram, now)
        return self.due_at()

    def on_resume(self):
        """The reactants have room again."""
        self.go_on(False)

    def give_up(self):
        """Nothing more comes of it: what is missing is lost, and what is here is delivered, at once or when it is taken."""
        self.go_on(True)

    cdef int go_on(self, bint gone) except -1:
        """In a turn of its own, deliver what can be delivered now."""
        cdef MulticastHub hub = self.groups.hub
        cdef TaskPool pool = hub.pool
        if self.closed or hub.loop is None:
            return 0
        if hub.in_turn:
            hub.loop.call_soon(self.give_up if gone else self.on_resume)
            return 0
        hub.begin_turn()
        try:
            if gone:
                self.abandon(monotonic())
            elif self.origin.blocked == 0:
                self.resume_stored(monotonic())
            self.arm()
        finally:
            hub.end_turn(pool)
        return 0

    # -- books ---------------------------------------------------------------------------------------------------

    @property
    def host(self):
        """The source's address."""
        return self.origin.host

    def stats(self):
        """LinkStats of messages from it."""
        return LinkStats(self.origin.host, self.origin.receiving.book(0), EMPTY_BOOK, self.received_bytes, 0, 0)

    def end(self):
        """Nothing more of it is wanted."""
        self.closed = True
        self.synapse = None
        self.groups.forget(self)


cdef class Groups:
    """What the sockets of one ganglion's groups share. `gsi` is that of its own sources, which it does not hear."""

    def __init__(self, MulticastHub hub, bytes gsi not None, key=None):
        self.hub = hub
        self.gsi = gsi
        self.key = key
        self.mac_size = 0 if key is None else key.mac_size
        self.transmissions = {}
        self.receptions = {}
        self.reader = DatagramReader()

    cdef int read(self, GroupReader source, bint closing) except -1:
        """Everything that waits in a socket, as far as a turn goes; no more when a reactant has left the group, or closed
        the ganglion. When that is closing, only what is said to own sources counts."""
        cdef Datagram *each
        cdef size_t at, size
        cdef double now
        cdef int count, i, turn
        for turn in range(FILLS_PER_TURN):
            count = self.reader.fill(source.fd)
            if count == 0:
                return 0
            now = monotonic()
            for i in range(count):
                each = &self.reader.datagrams[i]
                at = 0
                while True:
                    size = each.size - at
                    if each.segment and each.segment < size:
                        size = each.segment
                    if each.truncated and at + size == each.size:
                        self.refuse(MALFORMED, each.host, "long-packet")
                    else:
                        self.datagram(each.data + at, size, each.host, source.group, closing, now)
                    if source.loop is None and not closing:
                        return 0
                    at += size
                    if at >= each.size:
                        break
        return 0

    cdef int datagram(self, const uint8_t *data, size_t size, uint32_t host, uint32_t group, bint closing,
                      double now) except -1:
        cdef PgmPacket packet
        cdef GroupReception reception
        cdef int fault
        if self.key is not None:
            # A view of memory that is good for this call.
            if self.key.verified(PyMemoryView_FromMemory(<char *>data, <Py_ssize_t>size, PyBUF_READ)) is None:
                return self.refuse(UNAUTHENTIC, host, "no-mac")
            size -= self.mac_size
        fault = pgm_parse(data, size, &packet)
        if fault:
            return self.refuse(MALFORMED, host, pgm_fault_name(fault))
        if packet.port != self.hub.port:
            return self.refuse(MALFORMED, host, "foreign-port")
        if (packet.type == PGM_NAK or packet.type == PGM_SPMR or packet.type == PGM_NNAK or packet.type == PGM_POLR
                or packet.type == PGM_ACK):
            return self.upstream(&packet, data, size, group, now)
        if closing or packet.type == PGM_POLL or memcmp(packet.gsi, PyBytes_AS_STRING(self.gsi), 6) == 0:
            return 0
        reception = self.last
        if reception is None or not reception.is_from(&packet, host):
            reception = self.find(&packet, host)
            if reception is None:
                return 0
            self.last = reception
        if group != reception.group and group:
            reception.group = group
            reception.policy.group = dotted(group)
        reception.received_bytes += size
        reception.take(&packet, now)
        return reception.arm()

    cdef int upstream(self, const PgmPacket *packet, const uint8_t *data, size_t size, uint32_t group,
                      double now) except -1:
        """A packet to a source: to one of ours, or to one that others here hear too."""
        cdef Transmission transmission
        cdef GroupReception reception
        if memcmp(packet.gsi, PyBytes_AS_STRING(self.gsi), 6) == 0:
            transmission = self.transmissions.get(packet.sport)
            if transmission is not None:
                if packet.type == PGM_NAK:
                    transmission.nak(from_fields(pgm_fields(packet)), now)
                elif packet.type == PGM_SPMR:
                    transmission.spmr(now)
            return 0
        if group == 0:
            # The system gives what comes for this port to one of the programs that share it.
            if packet.type == PGM_NAK or packet.type == PGM_SPMR:
                self.hub.owner._relay(PyBytes_FromStringAndSize(<const char *>data, <Py_ssize_t>(size + self.mac_size)),
                                      packet.group)
            return 0
        for reception in list(self.receptions.values()):
            if packet.sport == reception.sport and memcmp(packet.gsi, reception.gsi, 6) == 0:
                reception.take(packet, now)
                reception.arm()
        return 0

    cdef GroupReception find(self, const PgmPacket *packet, uint32_t host):
        """What is kept of the source of a packet, from now on where there was nothing; None: there are too many."""
        cdef bytes gsi = PyBytes_FromStringAndSize(<const char *>packet.gsi, 6)
        cdef tuple key = (gsi, packet.sport, host)
        cdef GroupReception reception = self.receptions.get(key)
        if reception is None:
            reception = self.hub.owner._new_source(self, gsi, packet.sport, host, dotted(host))
            if reception is None:
                self.refuse(REJECTED, host, "too many sources")
            else:
                self.receptions[key] = reception
        return reception

    cdef int refuse(self, object cause, uint32_t host, str why) except -1:
        """One count, whatever was in it."""
        cdef str name = dotted(host)
        if self.hub.tally.add(cause, "", name, 1):
            self.hub.owner._refused(cause, name, why)
        return 0

    def forget(self, GroupReception reception not None):
        """It is over; what comes of this source from now on begins anew."""
        if self.last is reception:
            self.last = None
        self.receptions.pop((reception.tsi.gsi, reception.tsi.sport, reception.address), None)

    def drain(self, GroupReader source not None):
        """Off the event loop, for the ganglion's end: what receivers still ask of own sources."""
        self.read(source, True)


cdef class GroupReader:
    """The socket of one group on the event loop; of group 0 it is the one that unicast comes to."""

    def __init__(self, Groups groups, int fd, uint32_t group):
        self.groups = groups
        self.fd = fd
        self.group = group

    def start(self, loop):
        self.stop()
        self.loop = loop
        loop.add_reader(self.fd, self.on_readable)

    def stop(self):
        loop, self.loop = self.loop, None
        if loop is not None and not loop.is_closed():
            loop.remove_reader(self.fd)

    def forsake(self):
        self.loop = None

    def on_readable(self):
        """Nothing of what a datagram does reaches the event loop but errors of this library's own."""
        cdef MulticastHub hub = self.groups.hub
        # A reactant may close the ganglion, which takes the hub off its loop and pool.
        cdef TaskPool pool = hub.pool
        if hub.loop is None or hub.in_turn:
            return
        hub.begin_turn()
        try:
            self.groups.read(self, False)
        except OSError as error:
            hub.owner._cannot_receive(error)
        finally:
            hub.end_turn(pool)
