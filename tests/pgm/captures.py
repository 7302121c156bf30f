# SPDX-License-Identifier: Apache-2.0
"""What libzmq and OpenPGM said, as it was captured: UDP payloads out of pcap files, in tests/vectors/epgm."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

CAPTURES = Path(__file__).resolve().parent.parent / "vectors" / "epgm"
NAMES = sorted(path.name.removesuffix(".pcap") for path in CAPTURES.glob("*.pcap"))
IPV4, UDP = 0x0800, 17


class Datagram(NamedTuple):
    time_s: float
    source: str
    source_port: int
    destination: str
    port: int
    payload: bytes


def datagrams(name: str) -> Iterator[Datagram]:
    """Of a capture of whole Ethernet frames, in microseconds and little-endian, as all of ours are."""
    data = (CAPTURES / f"{name}.pcap").read_bytes()
    magic, link = struct.unpack_from("<I16xI", data)
    assert (magic, link) == (0xA1B2C3D4, 1), "expected a pcap file of Ethernet frames"
    at = 24
    while at < len(data):
        seconds, microseconds, kept, size = struct.unpack_from("<IIII", data, at)
        frame = data[at + 16 : at + 16 + kept]
        at += 16 + kept
        assert kept == size, "expected whole frames"
        (kind,) = struct.unpack_from(">H", frame, 12)
        packet = frame[14:]
        if kind != IPV4 or packet[9] != UDP:
            continue
        segment = packet[4 * (packet[0] & 15) :]
        source_port, port, length = struct.unpack_from(">HHH", segment)
        yield Datagram(
            seconds + microseconds / 1e6,
            ".".join(map(str, packet[12:16])),
            source_port,
            ".".join(map(str, packet[16:20])),
            port,
            segment[8:length],
        )
