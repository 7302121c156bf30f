# SPDX-License-Identifier: Apache-2.0
"""Packets of PGM (RFC 3208) in UDP: read by ``plexo._fast.pgm``, and those without data written here.

``docs/wire-multicast.md`` has the layouts. Encoders take what the source or receiver knows about itself and raise
``ValueError`` for what does not fit a field; every packet they make has a checksum. IPv4 only.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import IntEnum, unique
from typing import NamedTuple

from plexo._fast.pgm import FAULTS, data_packet, parse_packet, seal
from plexo._proto.errors import Reason, WireError

# Of one NAK or NCF: the length of an option is one byte, so OPT_NAK_LIST has room for 62, and one is in the packet.
MAX_SQNS = 63
_HEADER = struct.Struct(">HHBBH6sH")
_SPM = struct.Struct(">IIIHHI")
_NAK = struct.Struct(">IHHIHHI")
_AFI_IPV4 = 1
_OPTIONS_PRESENT = 0x01
_OPTIONS_NETWORK = 0x02
_FIN = bytes((0, 4, 0, 8, 0x8E, 4, 0, 0))


@unique
class PacketType(IntEnum):
    SPM = 0x00
    POLL = 0x01
    POLR = 0x02
    ODATA = 0x04
    RDATA = 0x05
    NAK = 0x08
    NNAK = 0x09
    NCF = 0x0A
    SPMR = 0x0C
    ACK = 0x0D


class Tsi(NamedTuple):
    """A transport session: ``gsi`` (6 bytes) names the program, ``sport`` one source of it.

    Not unique in practice: libzmq never seeds what it draws the gsi from. Receivers add the source's address.
    """

    gsi: bytes
    sport: int

    def __str__(self) -> str:
        return f"{self.gsi.hex()}.{self.sport:04x}"


class PgmError(WireError):
    """A datagram is no packet that we take. ``fault`` is a short token that stays the same between releases."""

    def __init__(self, fault: str, *, expected: str, received: str) -> None:
        super().__init__(Reason.MALFORMED_PACKET, expected=expected, received=received, offset=0)
        self.fault = fault

    def __str__(self) -> str:
        return f"{self.reason.value} ({self.fault}): expected {self.expected}, received {self.received}"

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (self.fault, self.expected, self.received))


def _rebuild(fault: str, expected: str, received: str) -> PgmError:
    return PgmError(fault, expected=expected, received=received)


class Packet(NamedTuple):
    """One packet as it was read; what its type does not have is 0, empty or ``None``.

    ``tsi`` is the source's and ``port`` the data-destination port in packets to the source, too. ``sqn`` is of an
    SPM its own number, else that of the (first) packet it is about. ``sqns`` has all that a NAK or NCF names, the
    first included. ``nla`` and ``group`` are dotted, ``None`` for IPv6. ``tsdu`` begins with its offset. ``options``
    is the header's byte.
    """

    type: PacketType
    tsi: Tsi
    port: int
    sqn: int = 0
    trail: int = 0
    lead: int = 0
    sqns: tuple[int, ...] = ()
    nla: str | None = None
    group: str | None = None
    fin: bool = False
    tsdu: bytes = b""
    options: int = 0


def parse(datagram: bytes | bytearray | memoryview) -> Packet:
    """What one UDP payload says. Raises PgmError."""
    fields = parse_packet(datagram)
    if isinstance(fields, int):
        fault, expected = FAULTS[fields]
        raise PgmError(fault, expected=expected, received=_quoted(datagram))
    return from_fields(fields)


def from_fields(
    fields: tuple[
        int, bytes, int, int, int, int, int, tuple[int, ...], int | None, int | None, bool, bytes, int
    ],
) -> Packet:
    """The packet of what ``pgm_fields`` or ``parse_packet`` of ``plexo._fast.pgm`` gave."""
    kind, gsi, sport, port, sqn, trail, lead, sqns, nla, group, fin, tsdu, options = fields
    return Packet(
        PacketType(kind),
        Tsi(gsi, sport),
        port,
        sqn,
        trail,
        lead,
        sqns,
        None if nla is None else dotted(nla),
        None if group is None else dotted(group),
        fin,
        tsdu,
        options,
    )


def _quoted(datagram: bytes | bytearray | memoryview) -> str:
    data = memoryview(datagram).cast("B")
    return f"{len(data)} bytes beginning with {bytes(data[:24]).hex(' ', 4)}" if len(data) else "0 bytes"


def dotted(address: int) -> str:
    """An IPv4 address in text."""
    return ".".join(str(byte) for byte in address.to_bytes(4, "big"))


def undotted(address: str) -> int:
    """The number of an IPv4 address. Raises ValueError if it is none."""
    parts = address.split(".")
    if len(parts) != 4 or not all(
        part.isascii() and part.isdigit() and len(part) <= 3 and int(part) < 256 for part in parts
    ):
        raise ValueError(
            f"address: expected IPv4, four numbers from 0 to 255 with dots between, got {address!r}"
        )
    return int.from_bytes(bytes(map(int, parts)), "big")


def _checked(name: str, value: int, below: int) -> int:
    if not 0 <= value < below:
        raise ValueError(f"{name}: expected 0 to {below - 1}, got {value}")
    return value


def _sqn(value: int, name: str = "sqn") -> int:
    return _checked(name, value, 1 << 32)


def _tsi(tsi: Tsi) -> Tsi:
    if len(tsi.gsi) != 6:
        raise ValueError(f"tsi: expected a gsi of 6 bytes, got {len(tsi.gsi)}")
    _checked("sport", tsi.sport, 1 << 16)
    return tsi


def _header(kind: PacketType, tsi: Tsi, port: int, options: int) -> bytes:
    gsi, first = _tsi(tsi)
    second = _checked("port", port, 1 << 16)
    if kind in (PacketType.NAK, PacketType.SPMR):
        first, second = second, first
    return _HEADER.pack(first, second, kind, options, 0, gsi, 0)


def _sealed(*parts: bytes) -> bytes:
    packet = bytearray().join(parts)
    seal(packet)
    return bytes(packet)


def encode_spm(
    tsi: Tsi, port: int, spm_sqn: int, trail: int, lead: int, nla: str, fin: bool = False
) -> bytes:
    """Where the source is (``nla``), what it can repair (``trail``) and what it sent last (``lead``).

    Before any data ``lead`` is the number before ``trail``. ``fin``: it closes.
    """
    return _sealed(
        _header(PacketType.SPM, tsi, port, _OPTIONS_PRESENT if fin else 0),
        _SPM.pack(
            _sqn(spm_sqn, "spm_sqn"), _sqn(trail, "trail"), _sqn(lead, "lead"), _AFI_IPV4, 0, undotted(nla)
        ),
        _FIN if fin else b"",
    )


def encode_spmr(tsi: Tsi, port: int) -> bytes:
    """Asks the source for an SPM."""
    return _sealed(_header(PacketType.SPMR, tsi, port, 0))


def encode_nak(tsi: Tsi, port: int, sqns: Sequence[int], nla: str, group: str) -> bytes:
    """Asks the source for 1 to MAX_SQNS packets."""
    return _with_list(PacketType.NAK, tsi, port, sqns, nla, group)


def encode_ncf(tsi: Tsi, port: int, sqns: Sequence[int], nla: str, group: str) -> bytes:
    """Says that the source was asked for 1 to MAX_SQNS packets, and others need not ask."""
    return _with_list(PacketType.NCF, tsi, port, sqns, nla, group)


def _with_list(kind: PacketType, tsi: Tsi, port: int, sqns: Sequence[int], nla: str, group: str) -> bytes:
    if not 1 <= len(sqns) <= MAX_SQNS:
        raise ValueError(f"sqns: expected 1 to {MAX_SQNS}, got {len(sqns)}")
    first, *others = (_sqn(sqn, "sqns") for sqn in sqns)
    listed = b""
    if others:
        size = 4 * len(others)
        listed = struct.pack(f">BBHBBBB{len(others)}I", 0, 4, 8 + size, 0x82, 4 + size, 0, 0, *others)
    return _sealed(
        _header(kind, tsi, port, _OPTIONS_PRESENT | _OPTIONS_NETWORK if others else 0),
        _NAK.pack(first, _AFI_IPV4, 0, undotted(nla), _AFI_IPV4, 0, undotted(group)),
        listed,
    )


def encode_data(kind: PacketType, tsi: Tsi, port: int, sqn: int, trail: int, tsdu: bytes) -> bytes:
    """ODATA or RDATA. ``tsdu`` begins with its offset, so it has at least 2 bytes."""
    if kind not in (PacketType.ODATA, PacketType.RDATA):
        raise ValueError(f"kind: expected ODATA or RDATA, got {kind!r}")
    gsi, sport = _tsi(tsi)
    port = _checked("port", port, 1 << 16)
    return data_packet(kind, gsi, sport, port, _sqn(sqn), _sqn(trail, "trail"), tsdu)
