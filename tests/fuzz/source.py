# SPDX-License-Identifier: Apache-2.0
"""Messages of all sizes into a source's window, and to the source datagrams with anything in them."""

from __future__ import annotations

from collections.abc import Iterable

from plexo._fast.transmit_window import TransmitWindow
from plexo._proto.keyed import MAC_BYTES, Key
from plexo._proto.pgm.packets import Packet, PacketType, PgmError, encode_nak, encode_spmr, parse
from plexo._proto.pgm.source import Source
from tests.pgm.sources import GROUP, NLA, PORT, TIMING, TSI
from tests.reference import pgm as slow_pgm
from tests.reference import transmit_window as slow

KEY = Key(bytes(range(32)))
HEADERS = 26
# From here on the first byte of a step is the size of a datagram behind it.
RAW = 128


class Bench:
    """The window and the slow one, and a source that speaks for the first."""

    def __init__(self, first: int) -> None:
        key = KEY if first & 1 else None
        size = HEADERS + (10, 11, 40, 200)[first >> 1 & 3] + (MAC_BYTES if key else 0)
        slots = 4 + (first >> 3 & 3)
        sqn = (0, 5, 2**31 - 3, 2**32 - 7)[first >> 5 & 3]
        self.now = 1.0
        self.fast = TransmitWindow(TSI, PORT, max_tpdu=size, most_bytes=size * slots, key=key, first_sqn=sqn)
        self.slow = slow.TransmitWindow(TSI, PORT, size, slots, key, sqn)
        self.source = Source(self.fast, TSI, PORT, NLA, GROUP, TIMING, self.now)

    def append(self, topic: int, size: int) -> None:
        self.fast.now = self.slow.now = self.now
        message = b"t" * topic, b"x" * size
        assert self.fast.append(*message) == self.slow.append(*message)

    def send(self) -> None:
        assert self.fast.send_all(self.now) == self.slow.send_all(self.now)
        self.source.data_sent(self.now)

    def hear(self, datagram: bytes) -> None:
        try:
            packet = parse(slow_pgm.sealed(datagram) if len(datagram) >= 16 else datagram)
        except PgmError:
            return
        if packet.type is PacketType.SPMR:
            self.source.spmr(self.now)
        elif packet.type in (PacketType.NAK, PacketType.NNAK):
            self.nak(packet)

    def nak(self, packet: Packet) -> None:
        wanted = self.source.nak(packet, self.now)
        assert len(set(wanted)) == len(wanted) and set(wanted) <= set(packet.sqns)
        for sqn in packet.sqns:
            assert self.fast.has(sqn) == self.slow.has(sqn)
            if packet.nla == NLA and not self.source.finished:
                self.slow.hold(sqn, self.now + TIMING.hold_s, TIMING.hold_limit_s)
        for sqn in wanted:
            assert self.fast.repaired(sqn, self.now) == self.slow.repaired(sqn)
        self.say()

    def say(self) -> None:
        for each in self.source.take(self.now):
            assert parse(each).type in (PacketType.SPM, PacketType.NCF)
        assert self.source.due() > self.now

    def check(self) -> None:
        assert (self.fast.trail, self.fast.lead) == (self.slow.trail, self.slow.lead)
        assert self.fast.queued[0] == self.slow.queued_messages
        assert self.fast.sent_packets == self.slow.unsent


def steps(data: bytes) -> None:
    """What kind of a window in the first byte; then datagrams behind their size, or steps of two bytes."""
    bench = Bench(data[0] if data else 0)
    at = 1
    while at < len(data):
        what = data[at]
        much = data[at + 1] if at + 1 < len(data) else 0
        if what >= RAW:
            bench.hear(data[at + 1 : at + 1 + what - RAW])
            at += 1 + what - RAW
            continue
        at += 2
        match what & 7:
            case 0 | 1 | 2 | 3:
                bench.append((what >> 3) * (17 if what & 1 else 1), much * (2 if what & 2 else 1))
            case 4:
                bench.send()
            case 5:
                first = bench.fast.trail + much - 128
                sqns = [(first + number) % 2**32 for number in range(1 + what // 8)]
                bench.nak(parse(encode_nak(TSI, PORT, sqns, NLA, GROUP)))
            case 6:
                bench.now += much / 1000
                bench.say()
            case _ if much == 255:
                bench.source.finish(bench.now)
            case _:
                bench.source.moved(GROUP, bench.now)
        bench.check()


def seeds() -> Iterable[bytes]:
    for first in range(0, 128, 9):
        for key in (first, first | 1):
            script = (
                bytes([key])
                + b"\x08\x05\x09\x20\x04\0\x1a\xff\x04\0" * 3
                + b"\x15\x80\x06\x06" * 2
                + b"\x7d\x80"
            )
            yield (
                script + b"\x06\xff" * 3 + b"\x1b\x7f\x04\0" * 4 + b"\x15\x83\x07\xff\x06\x0a\x15\x82\x06\xff"
            )
    naks = [encode_nak(TSI, PORT, [0, 1, 2], NLA, GROUP), encode_nak(TSI, PORT, [1], "10.0.0.9", GROUP)]
    for wire in (*naks, encode_spmr(TSI, PORT)):
        yield b"\0\x08\x10\x04\0\x08\x7f\x04\0" + (bytes([RAW + len(wire)]) + wire) * 2 + b"\x06\x20"
