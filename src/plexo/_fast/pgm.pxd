# SPDX-License-Identifier: Apache-2.0
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t

cdef enum:
    PGM_SPM = 0x00
    PGM_POLL = 0x01
    PGM_POLR = 0x02
    PGM_ODATA = 0x04
    PGM_RDATA = 0x05
    PGM_NAK = 0x08
    PGM_NNAK = 0x09
    PGM_NCF = 0x0A
    PGM_SPMR = 0x0C
    PGM_ACK = 0x0D

cdef enum:
    PGM_HEADER = 16            # of every packet
    PGM_DATA_HEADER = 24       # of ODATA and RDATA without options
    PGM_OFFSET = 2             # what a TSDU begins with, see deframer.pyx
    PGM_MAX_SQNS = 63          # of one NAK or NCF: the one in the packet and 62 in OPT_NAK_LIST, whose length is one byte
    PGM_MAX_OPTIONS = 16       # RFC 3208, section 8
    PGM_MAX_PACKET = 65507     # what fits into a UDP datagram over IPv4

# What is wrong with a packet, see FAULTS in pgm.pyx; 0 is nothing.
cdef enum PgmFault:
    PGM_OK = 0
    PGM_SHORT
    PGM_LONG
    PGM_VERSION
    PGM_TYPE
    PGM_NO_CHECKSUM
    PGM_BAD_CHECKSUM
    PGM_ADDRESS_FAMILY
    PGM_BAD_OPTIONS
    PGM_TOO_MANY_OPTIONS
    PGM_BAD_NAK_LIST
    PGM_FRAGMENT
    PGM_PARITY
    PGM_SHORT_TSDU
    PGM_TSDU_LENGTH
    PGM_WINDOW
    PGM_FAULTS                 # how many there are

# A packet as it was read. What its type does not have is 0; what lies in `sqns` from `sqn_count` on is undefined.
cdef struct PgmPacket:
    uint8_t type
    uint8_t options            # the byte of the header
    uint8_t gsi[6]
    uint16_t sport             # of the source, also in packets to it: with `gsi` this is the TSI
    uint16_t port              # the data-destination port, also in packets to the source
    uint32_t sqn               # of SPM: its own number; of data, NAK, NCF: the (first) packet's
    uint32_t trail             # of SPM and data
    uint32_t lead              # of SPM
    uint32_t sqn_count         # of NAK, NNAK, NCF: 1 to PGM_MAX_SQNS
    uint32_t sqns[PGM_MAX_SQNS]
    bint has_nla               # IPv4 addresses, below, in the host's byte order; IPv6 ones are skipped
    uint32_t nla
    uint32_t group             # of NAK, NNAK, NCF
    bint fin                   # of SPM: the source closes
    const uint8_t *tsdu        # of data: within what was parsed, with its offset; at least PGM_OFFSET bytes
    size_t tsdu_size

# One UDP payload. 0, or a PgmFault: then `out` is undefined. Nothing is kept, nothing is allocated.
cdef int pgm_parse(const uint8_t *data, size_t size, PgmPacket *out) noexcept nogil

# A short token for programs and statistics; of something else than a PgmFault "unknown".
cdef str pgm_fault_name(int fault)

# The packet for Python: the fields of plexo._proto.pgm.packets.Packet without its named types.
cdef tuple pgm_fields(const PgmPacket *packet)

# The Internet checksum (RFC 1071): the complement of the sum, as a number; over a packet whose checksum is right: 0.
cdef uint16_t pgm_checksum(const uint8_t *data, size_t size) noexcept nogil

# The 24 bytes of an ODATA or RDATA without options; its checksum is 0 until pgm_seal has seen the whole packet.
cdef void pgm_write_data_header(uint8_t *to, uint8_t type, const uint8_t *gsi, uint16_t sport, uint16_t port,
                                uint32_t sqn, uint32_t trail, uint16_t tsdu_size) noexcept nogil

# Writes the checksum of a packet, whatever is in its place now; `size` is at least PGM_HEADER.
cdef void pgm_seal(uint8_t *packet, size_t size) noexcept nogil


cdef inline uint16_t get16(const uint8_t *at) noexcept nogil:
    return <uint16_t>((<uint16_t>at[0] << 8) | at[1])


cdef inline uint32_t get32(const uint8_t *at) noexcept nogil:
    return (<uint32_t>at[0] << 24) | (<uint32_t>at[1] << 16) | (<uint32_t>at[2] << 8) | at[3]


cdef inline void put16(uint8_t *at, uint16_t value) noexcept nogil:
    at[0] = <uint8_t>(value >> 8)
    at[1] = <uint8_t>value


cdef inline void put32(uint8_t *at, uint32_t value) noexcept nogil:
    at[0] = <uint8_t>(value >> 24)
    at[1] = <uint8_t>(value >> 16)
    at[2] = <uint8_t>(value >> 8)
    at[3] = <uint8_t>value


# Serial arithmetic over 32 bits (RFC 1982), as in plexo._proto.pgm.serial.
cdef inline bint sqn_before(uint32_t a, uint32_t b) noexcept nogil:
    return (a - b) >> 31


cdef inline int32_t sqn_distance(uint32_t a, uint32_t b) noexcept nogil:
    # From `a` forward to `b`; negative where `b` comes before.
    return <int32_t>(b - a)
