# SPDX-License-Identifier: Apache-2.0
"""Packets of PGM (RFC 3208) in UDP, as ZeroMQ speaks it: one datagram is one packet, all numbers are big-endian.

Read here is what sources and receivers need: SPM, ODATA, RDATA, NAK, NNAK, NCF and SPMR. POLL, POLR and ACK are known, and only
their header is read. Of options OPT_NAK_LIST counts, and OPT_FIN; others are skipped by their length. Not skipped is what
changes what a packet means: fragments of larger units, and parity, which ZeroMQ never sends. The F and OPX bits of options
are not looked at: OpenPGM leaves there what was in memory.

Bytes behind a control packet's end are tolerated, the checksum covers them; data has to fill its packet to the byte.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint64_t
from libc.string cimport memcpy

cdef extern from *:
    """
    /* The sum of RFC 1071 in the order of the machine, in which it is as good as in any. Words of 64 bits, of which the
       upper halves are summed apart: both sums are exact below 2^32 words, the lower one modulo 2^64 until it is alone.
       Two additions and a shift for each: a loop that compilers turn into vectors. */
    static inline unsigned long long plexo_ones_sum(const unsigned char *data, size_t size) {
        unsigned long long both = 0, high = 0, word;
        size_t i, words = size / 8;
        for (i = 0; i < words; i++) {
            memcpy(&word, data + 8 * i, 8);
            both += word;
            high += word >> 32;
        }
        if (size % 8) {
            word = 0;
            memcpy(&word, data + 8 * words, size % 8);
            both += word;
            high += word >> 32;
        }
        return both - (high << 32) + high;
    }

    /* The bytes of a number of the machine as a number of the network. */
    static inline unsigned short plexo_from_machine(unsigned short value) {
        unsigned char bytes[2];
        memcpy(bytes, &value, 2);
        return (unsigned short)(bytes[0] << 8 | bytes[1]);
    }
    """
    uint64_t plexo_ones_sum(const uint8_t *data, size_t size) noexcept nogil
    uint16_t plexo_from_machine(uint16_t value) noexcept nogil

cdef enum:
    OPTIONS_PRESENT = 0x01
    OPTIONS_PARITY = 0x80
    VERSION_MASK = 0xC0        # of the type; version 0 is the only one there is

    CHECKSUM_AT = 6
    GSI_AT = 8
    TSDU_LENGTH_AT = 14
    BODY_AT = 16

    SPM_NLA_AT = 28
    NAK_NLA_AT = 20

    AFI_SIZE = 4               # the address family, and two reserved bytes
    AFI_IPV4 = 1
    AFI_IPV6 = 2
    IPV4_SIZE = 4
    IPV6_SIZE = 16

    OPT_HEADER = 4             # type, length, F and OPX, specific
    OPT_LENGTH = 0x00
    OPT_FRAGMENT = 0x01
    OPT_NAK_LIST = 0x02
    OPT_FIN = 0x0E
    OPT_LAST = 0x80            # bit of the type

    # What OpenPGM takes of data: anything else would be older than the trail.
    MAX_WINDOW = 0x7FFFFFFE

# Name, and what was expected. In the order of PgmFault.
cdef tuple _FAULTS = (
    ("ok", "nothing else"),
    ("short-packet", "all fields of its type"),
    ("long-packet", f"at most {PGM_MAX_PACKET} bytes"),
    ("unknown-version", "version 0"),
    ("unknown-type", "one of the types of RFC 3208"),
    ("no-checksum", "a checksum, which data must have"),
    ("bad-checksum", "a checksum that fits the bytes"),
    ("unknown-address-family", "address family 1 (IPv4) or 2 (IPv6)"),
    ("malformed-options", "OPT_LENGTH, and options that fill it up to the one that is marked as the last"),
    ("too-many-options", f"at most {PGM_MAX_OPTIONS} options"),
    ("malformed-nak-list", f"one OPT_NAK_LIST with at most {PGM_MAX_SQNS - 1} whole sequence numbers"),
    ("fragment", "no OPT_FRAGMENT: a message spans TSDUs in its stream instead"),
    ("parity", "no parity: it was not agreed upon"),
    ("short-tsdu", f"a TSDU of at least {PGM_OFFSET} bytes"),
    ("tsdu-length", "a TSDU that ends with the packet"),
    ("impossible-window", "a trail less than 2**31 behind the packet"),
)
assert len(_FAULTS) == PGM_FAULTS
FAULTS = _FAULTS


cdef str pgm_fault_name(int fault):
    return <str>_FAULTS[fault][0] if 0 <= fault < PGM_FAULTS else "unknown"


# -- checksum --------------------------------------------------------------------------------------------------------

cdef uint16_t pgm_checksum(const uint8_t *data, size_t size) noexcept nogil:
    cdef uint64_t total = plexo_ones_sum(data, size)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return <uint16_t>~plexo_from_machine(<uint16_t>total)


cdef void pgm_seal(uint8_t *packet, size_t size) noexcept nogil:
    cdef uint16_t found
    put16(packet + CHECKSUM_AT, 0)
    found = pgm_checksum(packet, size)
    # 0 on the wire means that there is none; ffff is the other zero of this arithmetic.
    put16(packet + CHECKSUM_AT, found if found else 0xFFFF)


# -- reading ---------------------------------------------------------------------------------------------------------

cdef inline int read_nla(const uint8_t *data, size_t size, size_t *at, uint32_t *nla) noexcept nogil:
    """The address at `at`, which moves behind it: 0 for IPv4, -1 for IPv6, which is skipped; or a fault."""
    cdef uint16_t family
    cdef size_t address
    if size - at[0] < AFI_SIZE:
        return PGM_SHORT
    family = get16(data + at[0])
    if family != AFI_IPV4 and family != AFI_IPV6:
        return PGM_ADDRESS_FAMILY
    address = IPV4_SIZE if family == AFI_IPV4 else IPV6_SIZE
    if size - at[0] - AFI_SIZE < address:
        return PGM_SHORT
    if family == AFI_IPV4:
        nla[0] = get32(data + at[0] + AFI_SIZE)
    at[0] += AFI_SIZE + address
    return 0 if family == AFI_IPV4 else -1


cdef int read_options(const uint8_t *data, size_t size, size_t *at, PgmPacket *out) noexcept nogil:
    """The options at `at`, which moves behind them."""
    cdef const uint8_t *option = data + at[0]
    cdef size_t left, length
    cdef uint32_t count = 0
    cdef uint32_t i
    cdef uint8_t kind
    cdef bint listed = False
    if size - at[0] < OPT_HEADER or option[0] != OPT_LENGTH or option[1] != OPT_HEADER:
        return PGM_BAD_OPTIONS
    left = get16(option + 2)
    if left < OPT_HEADER or left > size - at[0]:
        return PGM_BAD_OPTIONS
    at[0] += left
    left -= OPT_HEADER
    option += OPT_HEADER
    while True:
        if left < OPT_HEADER or option[1] < OPT_HEADER or option[1] > left:
            return PGM_BAD_OPTIONS
        count += 1
        if count > PGM_MAX_OPTIONS:
            return PGM_TOO_MANY_OPTIONS
        kind = option[0] & ~<uint8_t>OPT_LAST
        length = option[1]
        if kind == OPT_FRAGMENT and out.tsdu_size:
            return PGM_FRAGMENT
        if kind == OPT_NAK_LIST and out.sqn_count:
            # At most (255 - 4) / 4 = 62 numbers, by the size of `length`.
            if listed or length % 4:
                return PGM_BAD_NAK_LIST
            listed = True
            for i in range(<uint32_t>((length - OPT_HEADER) // 4)):
                out.sqns[1 + i] = get32(option + OPT_HEADER + 4 * i)
            out.sqn_count += <uint32_t>((length - OPT_HEADER) // 4)
        if kind == OPT_FIN and out.type == PGM_SPM:
            out.fin = True
        if option[0] & OPT_LAST:
            return PGM_OK
        option += length
        left -= length


cdef int pgm_parse(const uint8_t *data, size_t size, PgmPacket *out) noexcept nogil:
    cdef size_t at = BODY_AT
    cdef size_t tsdu_size
    cdef int family = 0
    cdef int fault
    if size < PGM_HEADER:
        return PGM_SHORT
    if size > PGM_MAX_PACKET:
        return PGM_LONG
    if data[4] & VERSION_MASK:
        return PGM_VERSION
    out.type = data[4]
    out.options = data[5]
    memcpy(out.gsi, data + GSI_AT, 6)
    out.sqn = out.trail = out.lead = out.sqn_count = out.nla = out.group = 0
    out.has_nla = out.fin = False
    out.tsdu = NULL
    # What the header says; of data only, until `at` is known.
    out.tsdu_size = 0
    if out.type == PGM_SPM or out.type == PGM_ODATA or out.type == PGM_RDATA or out.type == PGM_NCF \
            or out.type == PGM_POLL:
        out.sport = get16(data)
        out.port = get16(data + 2)
    elif out.type == PGM_NAK or out.type == PGM_NNAK or out.type == PGM_SPMR or out.type == PGM_POLR \
            or out.type == PGM_ACK:
        # To the source: the ports are exchanged.
        out.port = get16(data)
        out.sport = get16(data + 2)
    else:
        return PGM_TYPE
    if get16(data + CHECKSUM_AT):
        if pgm_checksum(data, size):
            return PGM_BAD_CHECKSUM
    elif out.type == PGM_ODATA or out.type == PGM_RDATA:
        return PGM_NO_CHECKSUM
    if out.options & OPTIONS_PARITY:
        return PGM_PARITY

    if out.type == PGM_ODATA or out.type == PGM_RDATA:
        if size < PGM_DATA_HEADER:
            return PGM_SHORT
        out.sqn = get32(data + BODY_AT)
        out.trail = get32(data + BODY_AT + 4)
        if out.sqn - out.trail >= <uint32_t>MAX_WINDOW:
            return PGM_WINDOW
        tsdu_size = get16(data + TSDU_LENGTH_AT)
        if tsdu_size < PGM_OFFSET:
            return PGM_SHORT_TSDU
        out.tsdu_size = tsdu_size
        at = PGM_DATA_HEADER
        if out.options & OPTIONS_PRESENT:
            fault = read_options(data, size, &at, out)
            if fault:
                return fault
        if size - at != tsdu_size:
            return PGM_TSDU_LENGTH
        out.tsdu = data + at
        return PGM_OK

    if out.type == PGM_SPM:
        if size < SPM_NLA_AT:
            return PGM_SHORT
        out.sqn = get32(data + BODY_AT)
        out.trail = get32(data + BODY_AT + 4)
        out.lead = get32(data + BODY_AT + 8)
        # Before any data the lead is the one before the trail.
        if sqn_before(out.lead + 1, out.trail):
            return PGM_WINDOW
        at = SPM_NLA_AT
        family = read_nla(data, size, &at, &out.nla)
    elif out.type == PGM_NAK or out.type == PGM_NNAK or out.type == PGM_NCF:
        if size < NAK_NLA_AT:
            return PGM_SHORT
        out.sqn = out.sqns[0] = get32(data + BODY_AT)
        out.sqn_count = 1
        at = NAK_NLA_AT
        family = read_nla(data, size, &at, &out.nla)
        if family <= 0:
            fault = read_nla(data, size, &at, &out.group)
            # Both or none.
            family = fault if fault else family
    elif out.type != PGM_SPMR:
        return PGM_OK
    if family > 0:
        return family
    out.has_nla = family == 0 and out.type != PGM_SPMR
    if not out.has_nla:
        out.nla = out.group = 0
    if out.options & OPTIONS_PRESENT:
        return read_options(data, size, &at, out)
    return PGM_OK


# -- writing ---------------------------------------------------------------------------------------------------------

cdef void pgm_write_data_header(uint8_t *to, uint8_t type, const uint8_t *gsi, uint16_t sport, uint16_t port,
                                uint32_t sqn, uint32_t trail, uint16_t tsdu_size) noexcept nogil:
    put16(to, sport)
    put16(to + 2, port)
    to[4] = type
    to[5] = 0
    put16(to + CHECKSUM_AT, 0)
    memcpy(to + GSI_AT, gsi, 6)
    put16(to + TSDU_LENGTH_AT, tsdu_size)
    put32(to + BODY_AT, sqn)
    put32(to + BODY_AT + 4, trail)


# -- for Python ------------------------------------------------------------------------------------------------------

cdef tuple pgm_fields(const PgmPacket *packet):
    cdef uint32_t i
    tsdu = b"" if packet.tsdu == NULL else PyBytes_FromStringAndSize(<const char *>packet.tsdu,
                                                                    <Py_ssize_t>packet.tsdu_size)
    return (packet.type, PyBytes_FromStringAndSize(<const char *>packet.gsi, 6), packet.sport, packet.port,
            packet.sqn, packet.trail, packet.lead, tuple([packet.sqns[i] for i in range(packet.sqn_count)]),
            packet.nla if packet.has_nla else None,
            packet.group if packet.has_nla and packet.sqn_count else None,
            bool(packet.fin), tsdu, packet.options)


def parse_packet(data):
    """The fields of a packet as a tuple, or the number of what is wrong with it, an index of FAULTS.

    (type, gsi, sport, port, sqn, trail, lead, sqns, nla or None, group or None, fin, tsdu, options); addresses are numbers.
    """
    cdef Py_buffer view
    cdef PgmPacket packet
    cdef int fault
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        fault = pgm_parse(<const uint8_t *>view.buf, <size_t>view.len, &packet)
        return fault if fault else pgm_fields(&packet)
    finally:
        PyBuffer_Release(&view)


def checksum(data):
    """The Internet checksum (RFC 1071) of bytes: 0 for a packet that has the right one in it."""
    cdef Py_buffer view
    cdef uint16_t found
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    found = pgm_checksum(<const uint8_t *>view.buf, <size_t>view.len)
    PyBuffer_Release(&view)
    return found


def seal(packet not None):
    """Write the checksum into a writable packet.

    Raises ValueError if it is shorter than a header.
    """
    cdef Py_buffer view
    PyObject_GetBuffer(packet, &view, PyBUF_WRITABLE)
    try:
        if view.len < PGM_HEADER:
            raise ValueError(f"packet: expected at least {PGM_HEADER} bytes, got {view.len}")
        pgm_seal(<uint8_t *>view.buf, <size_t>view.len)
    finally:
        PyBuffer_Release(&view)


def data_packet(uint8_t type, bytes gsi not None, uint16_t sport, uint16_t port, uint32_t sqn, uint32_t trail,
                bytes tsdu not None):
    """A whole ODATA or RDATA. `gsi` has 6 bytes, `tsdu` at least 2.

    Raises ValueError if they have not, or if it would not fit into a datagram; OverflowError for too large numbers.
    """
    cdef Py_ssize_t size = PGM_DATA_HEADER + len(tsdu)
    cdef uint8_t *packet
    if len(gsi) != 6:
        raise ValueError(f"gsi: expected 6 bytes, got {len(gsi)}")
    if not PGM_OFFSET <= len(tsdu) <= PGM_MAX_PACKET - PGM_DATA_HEADER:
        raise ValueError(f"tsdu: expected {PGM_OFFSET} to {PGM_MAX_PACKET - PGM_DATA_HEADER} bytes, got {len(tsdu)}")
    made = PyBytes_FromStringAndSize(NULL, size)
    packet = <uint8_t *>PyBytes_AS_STRING(made)
    pgm_write_data_header(packet, type, <const uint8_t *>PyBytes_AS_STRING(gsi), sport, port, sqn, trail,
                          <uint16_t>len(tsdu))
    memcpy(packet + PGM_DATA_HEADER, PyBytes_AS_STRING(tsdu), <size_t>len(tsdu))
    pgm_seal(packet, <size_t>size)
    return made
