# SPDX-License-Identifier: Apache-2.0
"""A source and its receivers, the real ones, over a network of dice: one seed is one run, time is a number.

What is lost is known here from what was sent, so it is not only held that the books balance, but that exactly the
messages are missing of which a packet is.
"""

from __future__ import annotations

import heapq
import itertools
import random
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass

from plexo._fast.reception import ListReception
from plexo._fast.transmit_window import TransmitWindow
from plexo._proto.pgm.packets import PacketType, parse
from plexo._proto.pgm.receiver import Receiver
from plexo._proto.pgm.serial import distance
from plexo._proto.pgm.source import Source
from plexo._proto.pgm.timing import Timing
from tests.pgm.sources import ADDRESS, GROUP, NLA, PORT, TSI
from tests.reference.deframer import message

NEVER = float("inf")
TOPIC = b"t"
# With what `message` and the reception call each other.
RETRY_S = 0.001
STEPS = 400_000


@dataclass
class Weather:
    """Chances of a datagram, each way, and how long it takes (seconds)."""

    down: float = 0.0
    up: float = 0.0
    double: float = 0.0
    late: float = 0.0
    delay_s: float = 0.0005
    late_s: float = 0.03


class Network:
    """Events in the order of time; those of one moment in the order they were made."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count()

    def at(self, when: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._events, (max(when, self.now), next(self._count), what))

    def carry(self, weather: Weather, loss: float, what: Callable[[], None]) -> None:
        for _ in range(1 + (self.rng.random() < weather.double)):
            if self.rng.random() >= loss:
                late = weather.late_s if self.rng.random() < weather.late else weather.delay_s
                self.at(self.now + 0.0001 + self.rng.random() * late, what)

    def run(self, until: float) -> None:
        for _ in range(STEPS):
            if not self._events or self._events[0][0] > until:
                self.now = until
                return
            self.now, _, what = heapq.heappop(self._events)
            what()
        raise AssertionError(f"still busy at {self.now} s")


class Sender:
    """A source with its window, as a ganglion drives them. It remembers which packets each message is in."""

    def __init__(
        self, network: Network, *, slots: int, max_tpdu: int, first_sqn: int, timing: Timing, rate: int
    ) -> None:
        self.network = network
        self.window = TransmitWindow(
            TSI, PORT, max_tpdu=max_tpdu, most_bytes=slots * max_tpdu, first_sqn=first_sqn
        )
        self.source = Source(self.window, TSI, PORT, NLA, GROUP, timing, network.now)
        self.first_sqn = first_sqn
        self.most = max_tpdu - 26
        self.gap_s = max_tpdu / rate
        self.receivers: list[Listener] = []
        self.messages: list[bytes] = []
        self.waiting: list[bytes] = []
        # Where in the stream each packet begins, and each message ends.
        self.begins: list[int] = []
        self.ends: list[int] = []
        self.size = 0
        self.closing = False
        self.naks = 0
        self.kinds: dict[PacketType, int] = {}
        self._alarm = NEVER
        self._flushing = False

    def start(self) -> None:
        self.source.start(self.network.now)
        self.say()

    def publish(self, payload: bytes) -> None:
        if self.closing:
            return
        self.waiting.append(payload)
        if not self._flushing:
            self.flush()

    def flush(self) -> None:
        """A run of packets now, what is behind it at the pace of the rate."""
        now = self.window.now = self.network.now
        while self.waiting and self.window.append(TOPIC, self.waiting[0]):
            payload = self.waiting.pop(0)
            self.messages.append(payload)
            end = (self.ends[-1] if self.ends else 0) + len(message(TOPIC, payload))
            self.ends.append(end)
        packets = self.window.send_all(now)
        for datagram in packets:
            packet = parse(datagram)
            assert packet.type is PacketType.ODATA
            assert distance(self.first_sqn, packet.sqn) % 2**32 == len(self.begins)
            self.begins.append(self.size)
            self.size += len(packet.tsdu) - 2
            self.multicast(datagram)
        if packets:
            self.source.data_sent(now)
        self._flushing = bool(self.waiting)
        if self._flushing or packets:
            self._flushing = True
            self.network.at(now + max(RETRY_S, self.gap_s * len(packets)), self._again)
        self.arm()

    def _again(self) -> None:
        self._flushing = False
        if self.waiting:
            self.flush()

    def multicast(self, datagram: bytes) -> None:
        kind = parse(datagram).type
        self.kinds[kind] = self.kinds.get(kind, 0) + 1
        for each in self.receivers:
            if each.heard_from <= self.network.now:
                weather = each.weather
                self.network.carry(weather, weather.down, lambda each=each: each.hear(datagram))

    def hear(self, datagram: bytes) -> None:
        packet, now = parse(datagram), self.network.now
        if self.source.finished:
            return
        if packet.type is PacketType.SPMR:
            self.source.spmr(now)
            self.say()
            return
        self.naks += 1
        wanted = self.source.nak(packet, now)
        self.say()
        assert len(set(wanted)) == len(wanted)
        for sqn in wanted:
            repaired = self.window.repaired(sqn, now)
            assert repaired is not None
            self.multicast(repaired)

    def say(self) -> None:
        for datagram in self.source.take(self.network.now):
            self.multicast(datagram)
        self.arm()

    def arm(self) -> None:
        due = self.source.due()
        if due < self._alarm:
            self._alarm = max(due, self.network.now)
            self.network.at(due, self._ring)

    def _ring(self) -> None:
        if self._alarm <= self.network.now:
            self._alarm = NEVER
            self.say()

    def finish(self) -> None:
        self.closing = True
        self.waiting.clear()
        self.source.finish(self.network.now)
        self.say()

    def span(self, number: int) -> tuple[int, int]:
        """The first and the last packet of a message, counted from 0."""
        begin = self.ends[number - 1] if number else 0
        return bisect_right(self.begins, begin) - 1, bisect_right(self.begins, self.ends[number] - 1) - 1

    @property
    def trail(self) -> int:
        return (self.window.trail - self.first_sqn) % 2**32


class Listener:
    """A receiver. `joined` is the first packet that it counts, `lost` are those it was told to be without."""

    def __init__(
        self,
        sender: Sender,
        weather: Weather,
        *,
        heard_from: float,
        timing: Timing,
        most_packets: int,
        most_bytes: int,
    ) -> None:
        self.sender, self.network, self.weather = sender, sender.network, weather
        self.heard_from = heard_from
        policy = Receiver(TSI, PORT, ADDRESS, random.Random(self.network.rng.random()), timing)
        policy.group = GROUP
        self.reception = ListReception(policy, 1 << 24, most_packets, most_bytes)
        self.reception.on_event = self.told
        self.joined: int | None = None
        # (first, last + 1) of packets in a row, with how many messages came before.
        self.losses: list[tuple[int, int, int]] = []
        self.naks = 0
        self._events = 0
        self._messages = 0
        self._alarm = NEVER
        sender.receivers.append(self)

    def hear(self, datagram: bytes) -> None:
        begun = self.joined is not None
        packet = parse(datagram)
        self.reception.push(datagram, self.network.now)
        if not begun and packet.type in (PacketType.ODATA, PacketType.SPM):
            start = packet.sqn if packet.type is PacketType.ODATA else packet.lead + 1
            self.joined = (start - self.sender.first_sqn) % 2**32
        self.arm()

    def overhear(self, datagram: bytes) -> None:
        self.reception.push(datagram, self.network.now)
        self.arm()

    def told(self, reception: ListReception) -> None:
        for event in reception.events[self._events :]:
            if isinstance(event, tuple):
                self._messages += 1
            elif isinstance(event, int):
                end = (reception.position[0] - self.sender.first_sqn) % 2**32
                self.losses.append((end - event, end, self._messages))
        self._events = len(reception.events)

    def arm(self) -> None:
        due = self.reception.next_due
        if due < self._alarm:
            self._alarm = max(due, self.network.now)
            self.network.at(due, self._ring)

    def _ring(self) -> None:
        if self._alarm > self.network.now:
            return
        self._alarm = NEVER
        for datagram in self.reception.turn(self.network.now):
            self.naks += parse(datagram).type is PacketType.NAK
            # To the source itself, and to the group.
            for _ in range(2):
                self.network.carry(
                    self.weather,
                    self.weather.up,
                    lambda datagram=datagram: self.sender.hear(datagram),
                )
            for each in self.sender.receivers:
                if each is not self:
                    self.network.carry(
                        each.weather, each.weather.down,
                        lambda each=each, datagram=datagram: each.overhear(datagram),
                    )  # fmt: skip
        self.arm()

    def pause(self, seconds: float) -> None:
        """Nobody takes messages for a while."""
        self.reception.stop_after = max(1, self.reception.messages)
        self.network.at(self.network.now + seconds, self.go_on)

    def go_on(self) -> None:
        self.reception.stop_after = -1
        self.reception.go_on(self.network.now)
        self.arm()

    # -- what has to be true -------------------------------------------------------------------------------------

    def check(self) -> None:
        """Exactly the messages whose packets all came since it joined, in order, with losses between the right ones."""
        sender, reception = self.sender, self.reception
        found = [event for event in reception.events if isinstance(event, tuple)]
        assert not [event for event in reception.events if isinstance(event, str)]
        if self.joined is None:
            assert not reception.events
            return
        expected = (reception.position[0] - sender.first_sqn) % 2**32
        gone = sum(end - first for first, end, _ in self.losses)
        assert gone == reception.lost_packets
        assert all(first >= self.joined for first, _, _ in self.losses)
        assert reception.received - reception.stored_packets + gone == expected - self.joined
        assert not reception.has_rest
        due: list[tuple[bytes, bytes]] = []
        starts: list[int] = []
        for number, payload in enumerate(sender.messages):
            first, last = sender.span(number)
            if first < self.joined or last >= expected:
                continue
            if not any(a <= last and first < b for a, b, _ in self.losses):
                due.append((TOPIC, payload))
                starts.append(first)
        assert found == due
        for first, end, before in self.losses:
            assert all(start < first for start in starts[:before])
            assert all(start >= end for start in starts[before:])

    @property
    def complete(self) -> bool:
        """It has all that was sent, or knows that it has not."""
        expected = (self.reception.position[0] - self.sender.first_sqn) % 2**32
        return self.joined is not None and expected == len(self.sender.begins)
