# SPDX-License-Identifier: Apache-2.0
"""What a source says and when, named after what went wrong with others."""

from __future__ import annotations

from dataclasses import replace

import pytest

from plexo._fast.transmit_window import TransmitWindow
from plexo._proto.pgm.packets import MAX_SQNS, Packet, PacketType, encode_nak, parse
from plexo._proto.pgm.source import MAX_REMEMBERED, Source
from plexo._proto.pgm.timing import Timing
from tests.pgm.sources import GROUP, NLA, PORT, TSI

TIMING = Timing()
NEVER = float("inf")


class Bench:
    """A source with a window of small packets, one message each; `until` collects what it says by its own timers."""

    def __init__(self, *, slots: int = 16, first_sqn: int = 0, timing: Timing = TIMING) -> None:
        self.now = 100.0
        self.window = TransmitWindow(TSI, PORT, max_tpdu=100, most_bytes=100 * slots, first_sqn=first_sqn)
        self.source = Source(self.window, TSI, PORT, NLA, GROUP, timing, self.now)

    def send(self, count: int = 1) -> list[Packet]:
        sent = []
        for number in range(count):
            self.window.now = self.now
            assert self.window.append(b"t", b"%d" % number)
            sent += [parse(each) for each in self.window.send_all(self.now)]
        self.source.data_sent(self.now)
        return sent

    def nak(self, *sqns: int, nla: str = NLA, group: str = GROUP) -> tuple[int, ...]:
        return self.source.nak(parse(encode_nak(TSI, PORT, sqns, nla, group)), self.now)

    def said(self) -> list[Packet]:
        return [parse(each) for each in self.source.take(self.now)]

    def until(self, end: float) -> list[tuple[float, Packet]]:
        """With the seconds from now on."""
        start, heard = self.now, []
        while self.source.due() <= start + end:
            self.now = max(self.now, self.source.due())
            packets = self.said()
            assert packets, "due, and nothing to say"
            heard += [(round(self.now - start, 6), each) for each in packets]
        self.now = start + end
        return heard


def times(heard: list[tuple[float, Packet]]) -> list[float]:
    assert {each.type for _, each in heard} <= {PacketType.SPM}
    return [at for at, _ in heard]


# -- SPMs ---------------------------------------------------------------------------------------------------


def test_spms_come_before_data() -> None:
    bench = Bench(first_sqn=7)
    bench.source.start(bench.now)
    heard = bench.until(0.1)
    assert times(heard) == [0.0, 0.0, 0.0, 0.02, 0.06]
    assert {(each.trail, each.lead, each.nla, each.fin) for _, each in heard} == {(7, 6, NLA, False)}


def test_numbers_of_spms_begin_at_0_whatever_the_data_begins_with() -> None:
    """OpenPGM compares the first one with 0: what is 2**31 ahead is an old one to it."""
    bench = Bench(first_sqn=2**32 - 1)
    bench.source.start(bench.now)
    assert [each.sqn for _, each in bench.until(20)] == list(range(9))


def test_an_idle_source_that_never_sent_says_that_it_is_there() -> None:
    """libzmq's is silent then."""
    bench = Bench()
    bench.source.start(bench.now)
    bench.until(1)
    assert times(bench.until(60)) == pytest.approx([4 + 5 * number for number in range(12)])


def test_the_last_packets_are_followed_by_a_series_of_heartbeats() -> None:
    bench = Bench()
    bench.send(3)
    heard = bench.until(20)
    assert times(heard) == pytest.approx([0.1, 0.3, 0.6, 1.0, 1.5, 2.8, 7.8, 12.8, 17.8])
    assert {(each.trail, each.lead) for _, each in heard} == {(0, 2)}


def test_data_puts_the_heartbeats_off() -> None:
    bench = Bench(slots=64)
    for _ in range(20):
        bench.send()
        assert bench.until(0.09) == []
    assert times(bench.until(0.5)) == pytest.approx([0.01, 0.21])


def test_an_spmr_is_answered_at_once_and_a_storm_of_them_slowly() -> None:
    bench = Bench()
    bench.source.spmr(bench.now)
    assert [each.type for each in bench.said()] == [PacketType.SPM]
    answers = 0
    for _ in range(1000):
        bench.now += 0.0001
        bench.source.spmr(bench.now)
        answers += len(bench.said())
    assert answers == 10


@pytest.mark.parametrize("start", [100.0, 0.1, 12345.678, 1e9 / 3, 2.0**40 + 0.7])
def test_what_is_due_is_said_at_the_very_time(start: float) -> None:
    """Whatever the clock: a sum and a difference of floats need not agree."""
    bench = Bench()
    bench.now = start
    for _ in range(200):
        bench.source.spmr(bench.now)
        bench.now = max(bench.now, bench.source.due())
        assert bench.said()


def test_another_group_is_told_as_at_the_beginning() -> None:
    bench = Bench()
    bench.send(2)
    bench.until(1)
    bench.source.moved("239.255.0.9", bench.now)
    assert times(bench.until(0.1)) == [0.0, 0.0, 0.0, 0.02, 0.06]
    assert bench.source.group == "239.255.0.9"


# -- NAKs ---------------------------------------------------------------------------------------------------


def test_a_nak_is_confirmed_and_answered() -> None:
    bench = Bench()
    bench.send(5)
    assert bench.nak(1, 3) == (1, 3)
    (ncf,) = bench.said()
    assert (ncf.type, ncf.sqns, ncf.nla, ncf.group) == (PacketType.NCF, (1, 3), NLA, GROUP)


def test_a_nak_for_another_address_is_not_ours() -> None:
    """Two sources may have one TSI: libzmq never seeds what it draws them from."""
    bench = Bench()
    bench.send(5)
    bench.until(0.05)
    assert bench.nak(1, nla="10.77.0.9") == ()
    assert bench.said() == []


def test_a_nak_that_comes_by_the_group_and_to_the_address_is_repaired_once() -> None:
    bench = Bench()
    bench.send(5)
    assert bench.nak(1, 2) == (1, 2)
    assert bench.nak(1, 2) == ()
    # Both are confirmed: whoever sent the second one may not have heard the first answer.
    assert [each.sqns for each in bench.said()] == [(1, 2), (1, 2)]
    bench.now += TIMING.repair_interval_s * 1.001
    assert bench.nak(1, 2) == (1, 2)


def test_the_same_number_many_times_in_a_list_is_one_repair() -> None:
    bench = Bench()
    bench.send(5)
    assert bench.nak(*[2] * MAX_SQNS) == (2,)


def test_what_left_the_window_is_not_confirmed_and_an_spm_says_so() -> None:
    """Whoever waits for it learns from the trail that it never comes."""
    bench = Bench(slots=4)
    bench.send(10)
    assert bench.nak(2, 7) == (7,)
    ncf, spm = bench.said()
    assert ncf.sqns == (7,)
    assert (spm.type, spm.trail, spm.lead) == (PacketType.SPM, 6, 9)
    assert bench.nak(2) == ()
    assert bench.said() == []
    bench.now += TIMING.spm_interval_s
    assert [each.type for each in bench.said()] == [PacketType.SPM]


@pytest.mark.parametrize("sqn", [5, 6, 2**31, 2**32 - 1])
def test_what_was_never_sent_is_not_confirmed(sqn: int) -> None:
    bench = Bench()
    bench.send(5)
    assert bench.nak(sqn) == ()
    assert [each.type for each in bench.said()] == [PacketType.SPM]


def test_naks_find_packets_on_both_sides_of_the_wrap() -> None:
    bench = Bench(first_sqn=2**32 - 2)
    bench.send(5)
    assert bench.nak(2**32 - 1, 0, 2) == (2**32 - 1, 0, 2)


def test_what_is_asked_for_is_kept_while_the_receiver_may_ask_again() -> None:
    bench = Bench(slots=4)
    bench.send(4)
    bench.nak(0)
    assert not bench.window.append(b"t", b"x" * 60)
    bench.now += TIMING.hold_s
    bench.window.now = bench.now
    assert bench.window.append(b"t", b"x" * 60)


def test_one_who_asks_for_ever_does_not_stop_the_source_for_ever() -> None:
    bench = Bench(slots=4)
    bench.send(4)
    start = bench.now
    while not bench.window.append(b"t", b"x" * 60) or bench.now == start:
        bench.nak(0)
        bench.now += 0.1
        bench.window.now = bench.now
        assert bench.now - start < TIMING.hold_limit_s + 1


def test_no_more_is_remembered_of_repairs_than_its_limit() -> None:
    bench = Bench(slots=2 * MAX_REMEMBERED)
    bench.send(2 * MAX_REMEMBERED - 10)
    for first in range(0, 2 * MAX_REMEMBERED - 100, MAX_SQNS):
        bench.nak(*range(first, first + MAX_SQNS))
        bench.now += TIMING.repair_interval_s
        assert len(bench.source._repaired_at) <= MAX_REMEMBERED + MAX_SQNS


# -- the end ------------------------------------------------------------------------------------------------


def test_three_fins_and_then_nothing() -> None:
    bench = Bench()
    bench.send(3)
    bench.source.finish(bench.now)
    bench.source.finish(bench.now)
    heard = bench.until(100)
    assert times(heard) == pytest.approx([0, 0.01, 0.03])
    assert all(each.fin and (each.trail, each.lead) == (0, 2) for _, each in heard)
    assert bench.source.finished and bench.source.due() == NEVER


def test_who_hears_of_the_last_packet_by_a_fin_still_gets_it() -> None:
    bench = Bench()
    bench.send(3)
    bench.source.finish(bench.now)
    assert [each.fin for each in bench.said()] == [True]
    assert bench.nak(2) == (2,)
    assert [each.type for each in bench.said()] == [PacketType.NCF]
    bench.until(1)
    assert bench.source.finished
    assert bench.nak(2) == ()
    assert bench.said() == [] and bench.source.due() == NEVER


def test_an_spmr_after_the_end_is_not_answered() -> None:
    bench = Bench(timing=replace(TIMING, last_spms_s=(0.0,)))
    bench.source.finish(bench.now)
    bench.said()
    bench.source.spmr(bench.now)
    assert bench.said() == [] and bench.source.due() == NEVER
