# SPDX-License-Identifier: Apache-2.0
"""A source without a window's end, a clock and a lossy way: what a receiver under test hears, and who answers it."""

from __future__ import annotations

import heapq
import random
from collections.abc import Sequence
from dataclasses import replace

from plexo._fast.reception import ListReception
from plexo._proto.pgm.packets import (
    Packet,
    PacketType,
    Tsi,
    encode_data,
    encode_nak,
    encode_ncf,
    encode_spm,
    encode_spmr,
    parse,
)
from plexo._proto.pgm.receiver import Receiver
from plexo._proto.pgm.timing import Timing
from tests.reference.deframer import Message, message, pack

TSI = Tsi(bytes.fromhex("b7c6d1bc038a"), 0x4D2A)
PORT = 5561
NLA, ADDRESS = "10.77.0.1", 0x0A4D0001
GROUP = "239.255.0.1"
TIMING = Timing()
# What a source can repair, where nothing else is said.
WINDOW = 1000


def data(sqn: int, tsdu: bytes, trail: int | None = None, kind: PacketType = PacketType.ODATA) -> bytes:
    return encode_data(kind, TSI, PORT, sqn % 2**32, (sqn - WINDOW if trail is None else trail) % 2**32, tsdu)


def one(number: int) -> bytes:
    """A TSDU with one message, which says its number."""
    return b"\0\0" + message(b"t", b"%d" % number)


def odata(sqn: int, trail: int | None = None) -> bytes:
    return data(sqn, one(sqn % 2**32), trail)


def rdata(sqn: int, trail: int | None = None) -> bytes:
    return data(sqn, one(sqn % 2**32), trail, PacketType.RDATA)


def spm(number: int, trail: int, lead: int, *, fin: bool = False, nla: str = NLA) -> bytes:
    return encode_spm(TSI, PORT, number % 2**32, trail % 2**32, lead % 2**32, nla, fin)


def ncf(*sqns: int) -> bytes:
    return encode_ncf(TSI, PORT, [sqn % 2**32 for sqn in sqns], NLA, GROUP)


def nak(*sqns: int) -> bytes:
    return encode_nak(TSI, PORT, [sqn % 2**32 for sqn in sqns], NLA, GROUP)


def spmr() -> bytes:
    return encode_spmr(TSI, PORT)


def receiver(timing: Timing = TIMING, seed: int = 1, **changed: float) -> Receiver:
    made = Receiver(TSI, PORT, ADDRESS, random.Random(seed), replace(timing, **changed))  # type: ignore[arg-type]
    made.group = GROUP
    return made


def reception(most_packets: int = 1000, most_bytes: int = 1 << 20, **changed: float) -> ListReception:
    return ListReception(receiver(**changed), 1 << 20, most_packets, most_bytes)


def numbers(events: Sequence[object]) -> list[object]:
    """Events of messages of `one` as their numbers, losses as ("lost", packets)."""
    return [int(each[1]) if isinstance(each, tuple) else ("lost", each) for each in events]


class Source:
    """Has all it ever sent. Answers NAKs with an NCF and repairs, SPMRs with an SPM."""

    def __init__(
        self, messages: Sequence[Message], size: int = 60, first_sqn: int = 0, window: int | None = None
    ) -> None:
        self.tsdus = pack([message(*each) for each in messages], size)
        self.first = first_sqn
        self.window = window or len(self.tsdus) + 1
        self.sent = 0
        self.spms = 0

    @property
    def trail(self) -> int:
        return self.first + max(0, self.sent - self.window)

    def next(self) -> bytes:
        self.sent += 1
        return self.packet(self.sent - 1, PacketType.ODATA)

    def packet(self, at: int, kind: PacketType) -> bytes:
        return data(self.first + at, self.tsdus[at], self.trail, kind)

    def spm(self, *, fin: bool = False) -> bytes:
        self.spms += 1
        return spm(self.spms, self.trail, self.first + self.sent - 1, fin=fin)

    def answer(self, datagram: bytes) -> list[bytes]:
        packet = parse(datagram)
        assert (packet.tsi, packet.port) == (TSI, PORT)
        if packet.type is PacketType.SPMR:
            return [self.spm()]
        assert packet.type is PacketType.NAK and (packet.nla, packet.group) == (NLA, GROUP)
        asked = [(sqn - self.first) % 2**32 for sqn in packet.sqns]
        assert asked == sorted(set(asked)) and asked[-1] < self.sent
        there = [at for at in asked if at >= self.trail - self.first]
        return [ncf(*packet.sqns), *(self.packet(at, PacketType.RDATA) for at in there)]


class Way:
    """Delivers datagrams later: lost, doubled, delayed by `rng`. Time moves with `run`."""

    def __init__(self, target: ListReception, source: Source, rng: random.Random, loss: float) -> None:
        self.target, self.source, self.rng, self.loss = target, source, rng, loss
        self.now = 0.0
        self.heap: list[tuple[float, int, bool, bytes]] = []
        self.count = 0
        self.asked: list[Packet] = []

    def send(self, datagram: bytes, *, up: bool = False) -> None:
        for _ in range(1 + (self.rng.random() < self.loss / 4)):
            if self.rng.random() >= self.loss:
                self.count += 1
                late = self.rng.random() < self.loss
                at = self.now + 0.0001 + self.rng.random() * (0.03 if late else 0.0005)
                heapq.heappush(self.heap, (at, self.count, up, datagram))

    def run(self, until: float) -> None:
        while True:
            at = min(self.heap[0][0] if self.heap else until, max(self.target.next_due, self.now))
            if at >= until:
                self.now = until
                return
            self.now = at
            if self.heap and self.heap[0][0] <= at:
                _, _, up, datagram = heapq.heappop(self.heap)
                if up:
                    for answer in self.source.answer(datagram):
                        self.send(answer)
                else:
                    assert self.target.push(datagram, self.now)
            else:
                for datagram in self.target.turn(self.now):
                    self.asked.append(parse(datagram))
                    self.send(datagram, up=True)
