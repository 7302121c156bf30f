# SPDX-License-Identifier: Apache-2.0
"""What tshark says is believed by the other tests: it finds what is wrong, and nothing wrong in what libzmq sends."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from plexo._proto.pgm.packets import PacketType, Tsi, encode_data, encode_nak, encode_spm, encode_spmr
from tests.multicast.capture import dissect, trouble
from tests.pgm.captures import CAPTURES

pytestmark = pytest.mark.skipif(bool(trouble()), reason=trouble())
PORT = 5561


def pcap(path: Path, payloads: list[bytes]) -> Path:
    """A capture of such UDP payloads."""
    records = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 101)]  # 101: IP without a link layer
    for n, payload in enumerate(payloads):
        udp = struct.pack(">HHHH", 40000, PORT, 8 + len(payload), 0) + payload
        ip = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(udp), n, 0, 1, 17, 0)
        ip += socket.inet_aton("10.77.0.1") + socket.inet_aton("239.255.7.1")
        packet = ip + udp
        records.append(struct.pack("<IIII", 0, n, len(packet), len(packet)) + packet)
    path.write_bytes(b"".join(records))
    return path


TSI = Tsi(bytes(range(1, 7)), 0x4D2A)


def test_nothing_is_wrong_with_what_libzmq_sent() -> None:
    packets, faults = dissect(CAPTURES / "loss35pct.ns1.pcap", PORT)
    assert faults == []
    assert packets == {"SPM": 11, "ODATA": 60, "NAK": 25, "NCF": 25, "RDATA": 31}


def test_nothing_is_wrong_with_ours(tmp_path: Path) -> None:
    ours = [
        encode_spm(TSI, PORT, 0, 0, 5, "10.77.0.1"),
        encode_data(PacketType.ODATA, TSI, PORT, 5, 0, b"\0\0\x05\0abcd"),
        encode_nak(TSI, PORT, [1, 2, 3], "10.77.0.1", "239.255.7.1"),
        encode_spmr(TSI, PORT),
    ]
    packets, faults = dissect(pcap(tmp_path / "ours.pcap", ours), PORT)
    assert faults == []
    assert packets == {"SPM": 1, "ODATA": 1, "NAK": 1, "SPMR": 1}


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (lambda packet: packet[:-1] + b"!", "checksum"),
        (lambda packet: packet[:6] + b"\0\0" + packet[8:], "checksum"),
        (lambda packet: packet[:12], "not taken for PGM"),
        (lambda packet: packet[:30], "malformed"),
        (lambda _: encode_spmr(TSI, PORT)[:-1] + b"!", "not taken for PGM"),
    ],
)
def test_a_bad_packet_is_found(tmp_path: Path, spoil: Callable[[bytes], bytes], found: str) -> None:
    good = encode_spm(TSI, PORT, 0, 0, 5, "10.77.0.1")
    _, faults = dissect(pcap(tmp_path / "bad.pcap", [good, spoil(good), good]), PORT)
    assert len(faults) == 1
    assert faults[0].startswith("packet 2") and found in faults[0]
