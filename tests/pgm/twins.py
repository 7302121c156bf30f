# SPDX-License-Identifier: Apache-2.0
"""A Reception and the slow one side by side: what is done to both, they must agree upon."""

from __future__ import annotations

from collections.abc import Iterable

from plexo._fast.reception import ListReception
from plexo._proto.pgm.packets import PacketType
from tests.pgm.sources import data, nak, ncf, one, spm
from tests.reference import reception as slow
from tests.reference.deframer import message, pack

# Messages that share packets, fill and span them: number 0 of what follows is the first packet.
TSDUS = pack([message(b"t", b"%d" % number * (number * 7 % 31)) for number in range(80)], 50)
MIDDLE = len(TSDUS) // 2


class Told:
    """A policy that asks for nothing, and remembers what it was told. `lost` is given up with the next turn."""

    naks = 0

    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []
        self.lost: list[tuple[int, int]] = []

    def begin(self, sqn: int, now: float) -> None:
        self.asked.append(("begin", sqn))

    def spm(self, spm_sqn: int, nla: int | None, fin: bool, now: float) -> bool:
        return True

    def gap(self, first: int, last: int, now: float) -> None:
        self.asked.append(("gap", first, last))

    def arrived(self, sqn: int, now: float) -> None:
        self.asked.append(("arrived", sqn))

    def passed(self, trail: int) -> None:
        self.asked.append(("passed", trail))

    def confirmed(self, sqns: Iterable[int], now: float) -> None:
        pass

    def nak_heard(self, sqns: Iterable[int], now: float) -> None:
        pass

    def spmr_heard(self, now: float) -> None:
        pass

    def hasten(self, now: float) -> None:
        pass

    def due(self) -> float:
        return float("inf")

    def closed(self, now: float) -> bool:
        return False

    def advance(self, limit: int, now: float, full: bool) -> list[bytes]:
        return []

    def take_lost(self) -> list[tuple[int, int]]:
        lost, self.lost = self.lost, []
        return lost


class Twins:
    """Places are numbers from 0; the sqn of place 0 is `base`."""

    def __init__(self, most_packets: int, most_bytes: int, base: int) -> None:
        self.base = base
        self.policy = Told()
        self.fast = ListReception(self.policy, 1 << 20, most_packets, most_bytes)
        self.slow = slow.Reception(most_packets, most_bytes)

    def _sqn(self, place: int) -> int:
        return (self.base + place) % 2**32

    def data(self, place: int, back: int, *, repair: bool) -> None:
        """With a trail that is so far back."""
        tsdu = TSDUS[place] if 0 <= place < len(TSDUS) else one(place)
        kind = PacketType.RDATA if repair else PacketType.ODATA
        self.fast.push(data(self._sqn(place), tsdu, self._sqn(place - back), kind), 0.0)
        self.slow.data(place, place - back, tsdu, repair)
        self.check()

    def spm(self, lead: int, back: int) -> None:
        self.fast.push(spm(0, self._sqn(lead - back + 1), self._sqn(lead)), 0.0)
        self.slow.spm(lead - back + 1, lead)
        self.check()

    def ncf(self, first: int, count: int) -> None:
        places = range(first, first + count)
        self.fast.push(ncf(*map(self._sqn, places)), 0.0)
        self.slow.ncf(list(places))
        self.check()

    def nak(self, first: int, count: int) -> None:
        self.fast.push(nak(*map(self._sqn, range(first, first + count))), 0.0)
        self.check()

    def give_up(self, first: int, count: int) -> None:
        """Of these what may be missing: up to the lead."""
        last = min(first + count - 1, self.slow.lead)
        if first <= last:
            self.policy.lost = [(self._sqn(first), self._sqn(last))]
            self.fast.turn(0.0)
            self.slow.give_up(list(range(first, last + 1)))
            self.policy.lost = []
        self.check()

    def stop(self, messages: int) -> None:
        """After so many."""
        self.fast.stop_after = self.fast.messages + messages
        self.slow.budget = messages

    def resume(self) -> None:
        self.fast.stop_after = -1
        self.slow.budget = None
        self.fast.go_on()
        self.slow.deliver()
        self.check()

    def check(self) -> None:
        fast, reference = self.fast, self.slow
        assert fast.events == reference.events
        if reference.asked:
            assert fast.position == tuple(map(self._sqn, reference.position))
        assert self.policy.asked == [(kind, *map(self._sqn, places)) for kind, *places in reference.asked]
        assert fast.stored_packets == len(reference.stored)
        assert fast.stored_bytes == sum(map(len, reference.stored.values()))
        assert fast.ring_marks == len(reference.given_up)
        assert (fast.received, fast.repeated) == (reference.received, reference.repeated)
        assert fast.lost_packets == reference.lost_packets
