# SPDX-License-Identifier: Apache-2.0
"""A Reception against the slow one: any packets, stops anywhere, sequence numbers that go round."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from plexo._fast.reception import ListReception
from plexo._proto.pgm.packets import PacketType
from tests.pgm.sources import data, nak, ncf, one, spm
from tests.reference import reception as slow
from tests.reference.deframer import message, pack

# Messages that share packets, fill and span them: number 0 of what follows is the first packet.
TSDUS = pack([message(b"t", b"%d" % number * (number * 7 % 31)) for number in range(80)], 50)
MIDDLE = len(TSDUS) // 2


class Told:
    """A policy that asks for nothing, and remembers what it was told."""

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

    def due(self) -> float:
        return float("inf")

    def closed(self, now: float) -> bool:
        return False

    def advance(self, limit: int, now: float, full: bool) -> list[bytes]:
        return []

    def take_lost(self) -> list[tuple[int, int]]:
        lost, self.lost = self.lost, []
        return lost


def tsdu(number: int) -> bytes:
    return TSDUS[number] if 0 <= number < len(TSDUS) else one(number)


near = st.one_of(st.integers(MIDDLE, MIDDLE + 12), st.integers(-30, len(TSDUS) + 30))
# Rarely, and then several near each other, numbers that are late no more.
places = st.one_of(near, near, near, near.map(lambda place: place - slow.MAX_LATE - 40))
back = st.one_of(st.just(1000), st.integers(0, 6))
steps = st.one_of(
    st.tuples(st.sampled_from(["odata", "rdata", "spm"]), places, back),
    st.tuples(st.just("next"), st.integers(1, 3), back),
    st.tuples(st.sampled_from(["ncf", "nak", "give up"]), places, st.integers(0, 4)),
    st.tuples(st.sampled_from(["stop", "resume"]), st.integers(0, 4), st.just(0)),
)


@given(
    st.lists(steps, max_size=40),
    st.integers(1, 12),
    st.sampled_from([60, 200, 10_000]),
    st.sampled_from([0, 2**32 - MIDDLE - 5, 2**31 - MIDDLE - 3]),
)
def test_does_as_the_slow_reception(
    moves: list[tuple[str, int, int]], most: int, most_bytes: int, base: int
) -> None:
    policy = Told()
    fast, reference = ListReception(policy, 1 << 20, most, most_bytes), slow.Reception(most, most_bytes)
    spms = 0
    for kind, place, other in moves:
        if kind == "next":
            # As a stream does that hardly loses anything.
            kind, place = "odata", reference.lead + place
        sqn, trail = base + place, base + place - other
        if kind in ("odata", "rdata"):
            repair = kind == "rdata"
            packet = data(sqn, tsdu(place), trail, PacketType.RDATA if repair else PacketType.ODATA)
            fast.push(packet, 0.0)
            reference.data(place, place - other, tsdu(place), repair)
        elif kind == "spm":
            spms += 1
            fast.push(spm(spms, trail + 1, sqn), 0.0)
            reference.spm(place - other + 1, place)
        elif kind == "ncf":
            fast.push(ncf(*range(sqn, sqn + other + 1)), 0.0)
            reference.ncf(list(range(place, place + other + 1)))
        elif kind == "nak":
            fast.push(nak(*range(sqn, sqn + other + 1)), 0.0)
        elif kind == "give up":
            # Of what is known to be missing.
            last = min(place + other, reference.lead)
            if place <= last:
                policy.lost.append((sqn % 2**32, (base + last) % 2**32))
                fast.turn(0.0)
                reference.give_up(list(range(place, last + 1)))
                policy.lost.clear()
        elif kind == "stop":
            fast.stop_after = fast.messages + place
            reference.budget = place
        else:
            fast.stop_after = -1
            reference.budget = None
            fast.go_on()
            reference.deliver()
        assert fast.events == reference.events
        if reference.asked:
            expected = tuple((base + each) % 2**32 for each in reference.position)
            assert fast.position == expected
        told = [(each[0], *((base + number) % 2**32 for number in each[1:])) for each in reference.asked]  # type: ignore[operator]
        assert policy.asked == told
        assert fast.stored_packets == len(reference.stored)
        assert fast.stored_bytes == sum(map(len, reference.stored.values()))
        assert fast.ring_marks == len(reference.given_up)
        assert (fast.received, fast.repeated) == (reference.received, reference.repeated)
        assert fast.lost_packets == reference.lost_packets
