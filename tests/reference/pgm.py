# SPDX-License-Identifier: Apache-2.0
"""PGM packets (RFC 3208) as ZeroMQ sends them, slowly: ValueError names what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

SPM, POLL, POLR, ODATA, RDATA, NAK, NNAK, NCF, SPMR, ACK = 0, 1, 2, 4, 5, 8, 9, 10, 12, 13
DOWN, UP = (SPM, POLL, ODATA, RDATA, NCF), (POLR, NAK, NNAK, SPMR, ACK)
FRAGMENT, NAK_LIST, FIN = 1, 2, 14
LARGEST = 65507


def checksum(data: bytes) -> int:
    """RFC 1071, word by word."""
    total = 0
    for at in range(0, len(data), 2):
        total += int.from_bytes(data[at : at + 2].ljust(2, b"\0"), "big")
        total = total % 65536 + total // 65536
    return 65535 - total


def sealed(packet: bytes) -> bytes:
    bare = packet[:6] + b"\0\0" + packet[8:]
    return packet[:6] + (checksum(bare) or 65535).to_bytes(2, "big") + packet[8:]


class Reader:
    def __init__(self, data: bytes, fault: str) -> None:
        self.data, self.fault = data, fault

    def take(self, size: int) -> bytes:
        if size > len(self.data):
            raise ValueError(self.fault)
        taken, self.data = self.data[:size], self.data[size:]
        return taken

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def address(self) -> str | None:
        """None for IPv6."""
        family = self.number(2)
        self.take(2)
        if family not in (1, 2):
            raise ValueError("unknown-address-family")
        address = self.take(4 if family == 1 else 16)
        return ".".join(map(str, address)) if family == 1 else None


def options(reader: Reader) -> Iterator[tuple[int, bytes]]:
    """(type, body) of each, up to the last; the reader then stands behind all of them."""
    reader.fault = fault = "malformed-options"
    kind, length, total = reader.number(1), reader.number(1), reader.number(2)
    if kind != 0 or length != 4 or total < 4:
        raise ValueError(fault)
    within = Reader(reader.take(total - 4), fault)
    count = 0
    last = False
    while not last:
        kind, length, _, _ = within.take(4)
        if length < 4:
            raise ValueError(fault)
        body = within.take(length - 4)
        count += 1
        if count > 16:
            raise ValueError("too-many-options")
        yield kind & 127, body
        last = kind >= 128


def parse(data: bytes) -> dict[str, Any]:
    """The fields of plexo._proto.pgm.packets.Packet that are not empty."""
    if len(data) < 16:
        raise ValueError("short-packet")
    if len(data) > LARGEST:
        raise ValueError("long-packet")
    reader = Reader(data, "short-packet")
    first, second, kind, flags = reader.number(2), reader.number(2), reader.number(1), reader.number(1)
    given, gsi, tsdu_length = reader.number(2), reader.take(6), reader.number(2)
    if kind >= 64:
        raise ValueError("unknown-version")
    if kind not in DOWN + UP:
        raise ValueError("unknown-type")
    sport, port = (first, second) if kind in DOWN else (second, first)
    if given == 0 and kind in (ODATA, RDATA):
        raise ValueError("no-checksum")
    if given != 0 and sealed(data) != data:
        raise ValueError("bad-checksum")
    if flags & 128:
        raise ValueError("parity")
    found: dict[str, Any] = {"type": kind, "tsi": (gsi, sport), "port": port, "options": flags}
    if kind in (ODATA, RDATA):
        found["sqn"], found["trail"] = reader.number(4), reader.number(4)
        if (found["sqn"] - found["trail"]) % 2**32 >= 2**31 - 2:
            raise ValueError("impossible-window")
        if tsdu_length < 2:
            raise ValueError("short-tsdu")
    elif kind == SPM:
        found["sqn"], found["trail"], found["lead"] = reader.number(4), reader.number(4), reader.number(4)
        if (found["lead"] + 1 - found["trail"]) % 2**32 >= 2**31:
            raise ValueError("impossible-window")
        found["nla"] = reader.address()
    elif kind in (NAK, NNAK, NCF):
        found["sqn"] = reader.number(4)
        found["nla"], found["group"] = reader.address(), reader.address()
        if None in (found["nla"], found["group"]):
            found["nla"] = found["group"] = None
        found["sqns"] = (found["sqn"],)
    if flags & 1 and kind not in (POLL, POLR, ACK):
        listed = False
        for option, body in options(reader):
            if option == FRAGMENT and kind in (ODATA, RDATA):
                raise ValueError("fragment")
            if option == FIN and kind == SPM:
                found["fin"] = True
            if option == NAK_LIST and kind in (NAK, NNAK, NCF):
                if listed or len(body) % 4:
                    raise ValueError("malformed-nak-list")
                listed = True
                found["sqns"] += tuple(
                    int.from_bytes(body[at : at + 4], "big") for at in range(0, len(body), 4)
                )
    if kind in (ODATA, RDATA):
        if len(reader.data) != tsdu_length:
            raise ValueError("tsdu-length")
        found["tsdu"] = reader.data
    return {name: value for name, value in found.items() if value is not None}
