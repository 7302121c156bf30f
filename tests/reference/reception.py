# SPDX-License-Identifier: Apache-2.0
"""What a receiver does with the packets of a source, slowly: numbers that do not go round, one dict, no timers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.reference.deframer import Deframer, Message

Event = Message | int | str
MAX_LATE = 65536


class Reception:
    """`position` is next to be delivered, trail, lead. `asked` has what the policy is told.

    `budget` messages may be delivered until it is stopped; None: all.
    """

    def __init__(self, most_packets: int, most_bytes: int) -> None:
        self.most_packets, self.most_bytes = most_packets, most_bytes
        self.events: list[Event] = []
        self.asked: list[tuple[Any, ...]] = []
        self.budget: int | None = None
        self.expected = self.trail = self.lead = -1
        self.stored: dict[int, bytes] = {}
        self.given_up: set[int] = set()
        self.lost_packets = self.received = self.repeated = 0
        self._started = False
        self._restarted: int | None = None
        self._deframer = Deframer(1 << 20)
        self._rest: list[Event] = []

    @property
    def position(self) -> tuple[int, int, int]:
        return self.expected, self.trail, self.lead

    def data(self, sqn: int, trail: int, tsdu: bytes, repair: bool) -> None:
        if not self._started:
            if repair:
                return
            self._begin(sqn)
        self.deliver()
        if not repair and sqn < self.expected - MAX_LATE:
            self._restarted = (self._restarted or 0) + self.lead + 1 - self.expected
            self.stored.clear()
            self.given_up.clear()
            self._begin(sqn)
        self._follow(trail)
        if sqn - self.lead > self.most_packets:
            self._follow(sqn)
        self.deliver()
        if sqn < self.expected or sqn in self.stored:
            self.repeated += 1
            return
        fresh = sqn > self.lead
        self._reveal(sqn - 1)
        room = sum(map(len, self.stored.values())) + len(tsdu) <= self.most_bytes
        if sqn == self.expected or (room and sqn < self.expected + self.most_packets):
            self.stored[sqn] = tsdu
            self.given_up.discard(sqn)
            self.received += 1
            if fresh:
                self.lead = sqn
            else:
                self.asked.append(("arrived", sqn))
        else:
            self._reveal(sqn)
        self.deliver()

    def spm(self, trail: int, lead: int) -> None:
        if not self._started:
            self._begin(lead + 1)
        self.deliver()
        self._follow(trail)
        if lead - self.lead > self.most_packets:
            self._follow(lead + 1)
        self._reveal(lead)
        self.deliver()

    def ncf(self, sqns: list[int]) -> None:
        if self._started:
            for sqn in sqns:
                if sqn - self.lead <= self.most_packets:
                    self._reveal(sqn)

    def give_up(self, sqns: list[int]) -> None:
        if self._started:
            near = range(self.expected, self.expected + self.most_packets)
            self.given_up |= {sqn for sqn in sqns if sqn in near and sqn not in self.stored}
            self.deliver()

    def deliver(self) -> None:
        while self.budget != 0 and self._started:
            if self._rest:
                event = self._rest.pop(0)
                self.events.append(event)
                if self.budget is not None:
                    self.budget -= isinstance(event, tuple)
            elif self._restarted is not None:
                packets, self._restarted = self._restarted, None
                self._lose(packets)
            elif self.expected in self.stored:
                tsdu = self.stored.pop(self.expected)
                self._pass()
                self._decode(lambda tsdu=tsdu: self._deframer.push(tsdu))
            else:
                packets = 0
                while self.expected not in self.stored and (
                    self.expected < self.trail or self.expected in self.given_up
                ):
                    self._pass()
                    packets += 1
                if not packets:
                    return
                self._lose(packets)

    def _decode(self, feed: Callable[[], None]) -> None:
        found = len(self._deframer.found)
        feed()
        self._rest += self._deframer.found[found:]

    def _lose(self, packets: int) -> None:
        self._deframer.gap()
        self.events.append(packets)
        self.lost_packets += packets

    def _pass(self) -> None:
        self.given_up.discard(self.expected)
        self.expected += 1
        self.trail = max(self.trail, self.expected)

    def _begin(self, sqn: int) -> None:
        self._started = True
        self.expected = self.trail = sqn
        self.lead = sqn - 1
        self.asked.append(("begin", sqn))

    def _follow(self, trail: int) -> None:
        if trail > self.trail:
            self.trail = trail
            self.lead = max(self.lead, trail - 1)
            self.asked.append(("passed", trail))

    def _reveal(self, sqn: int) -> None:
        if sqn > self.lead:
            self.asked.append(("gap", self.lead + 1, sqn))
            self.lead = sqn
