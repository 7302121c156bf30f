# SPDX-License-Identifier: Apache-2.0
"""From packets in any order to messages in sequence: repairs, losses, traps, limits, and who stops or raises."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plexo._fast.pgm import seal
from plexo._fast.reception import CountingReception, ListReception
from plexo._proto.pgm.packets import PacketType, parse
from tests.pgm.sources import (
    GROUP,
    NLA,
    TIMING,
    Source,
    Way,
    data,
    nak,
    ncf,
    numbers,
    odata,
    rdata,
    receiver,
    reception,
    spm,
    spmr,
)
from tests.reference.deframer import Message, message, pack


def stream(count: int) -> list[Message]:
    return [(b"t", b"%d " % number * (number % 40)) for number in range(count)]


def fed(*datagrams: bytes, target: ListReception | None = None, now: float = 1.0) -> ListReception:
    target = reception() if target is None else target
    for each in datagrams:
        assert target.push(each, now)
    return target


def asks(target: ListReception, until: float) -> list[int]:
    """What is asked for until then, with nobody who answers."""
    asked: list[int] = []
    while target.next_due <= until:
        for each in target.turn(target.next_due):
            packet = parse(each)
            if packet.type is PacketType.NAK:
                asked += packet.sqns
    return asked


# -- streams over a bad way -----------------------------------------------------------------------------------

losses = st.sampled_from([0.0, 0.05, 0.3])
firsts = st.sampled_from([0, 2**32 - 30, 2**31 - 30])


def play(
    count: int, loss: float, target: ListReception, source: Source, rng: random.Random, size: int = 60
) -> Way:
    """The whole stream, then SPMs with FIN until nothing is missing."""
    way = Way(target, source, rng, loss)
    # What comes before the source is known is not missed.
    assert target.push(source.spm(), 0.0)
    for number in range(len(source.tsdus)):
        way.send(source.next())
        way.run((number + 1) * 0.001)
    while not target.finished:
        way.send(source.spm(fin=True))
        way.run(way.now + 0.1)
        assert way.now < 60
    assert target.stored_packets == target.stored_bytes == target.ring_marks == 0
    return way


@settings(deadline=None)
@given(st.integers(0, 120), losses, firsts, st.integers(0, 2**32))
def test_what_is_lost_on_the_way_is_repaired(count: int, loss: float, first: int, seed: int) -> None:
    """All messages, once, in order, whatever the way does: both ways lose, double and delay."""
    sent = stream(count)
    source, target = Source(sent, 60, first), reception()
    way = play(count, loss, target, source, random.Random(seed))
    assert target.events == sent
    assert target.lost_packets == 0 and target.received == len(source.tsdus)
    if not loss:
        assert not way.asked and target.repaired == target.repeated == 0


@settings(deadline=None)
@given(st.integers(1, 120), st.sampled_from([0.1, 0.4]), firsts, st.integers(1, 30), st.integers(0, 2**32))
def test_what_the_source_cannot_repair_is_told_at_its_place(
    count: int, loss: float, first: int, window: int, seed: int
) -> None:
    """One message in each packet: numbers and losses count on without a seam."""
    source = Source([], 60, first, window)
    source.tsdus = [b"\0\0" + message(b"t", b"%d" % number) for number in range(count)]
    target = reception(nak_tries=3)
    play(count, loss, target, source, random.Random(seed))
    at = 0
    for event in target.events:
        if isinstance(event, int):
            assert event > 0
            at += event
        else:
            assert event == (b"t", b"%d" % at)
            at += 1
    assert at == count
    assert target.lost_packets + target.received == count
    assert target.lost_packets == sum(event for event in target.events if isinstance(event, int))


@settings(deadline=None)
@given(
    st.integers(1, 100),
    losses,
    st.integers(1, 30),
    st.sampled_from([100, 400, 10**6]),
    st.integers(0, 2**32),
)
def test_stops_and_limits_change_nothing_of_what_is_right(
    count: int, loss: float, most_packets: int, most_bytes: int, seed: int
) -> None:
    """Whoever takes messages stops now and then; what finds no room is asked for again."""
    rng = random.Random(seed)
    sent = stream(count)
    source, target = Source(sent, 60), reception(most_packets, most_bytes, fin_expiry_s=1000, nak_tries=10**6)
    way = Way(target, source, rng, loss)
    assert target.push(source.spm(), 0.0)
    now = 0.0
    while not target.finished:
        if source.sent < len(source.tsdus):
            # No more ahead than there is room for, or it is a jump; what is stopped has little time.
            if source.first + source.sent - target.position[0] < most_packets:
                way.send(source.next())
            else:
                way.send(source.spm())
        else:
            way.send(source.spm(fin=True))
        now += 0.001 if rng.random() < 0.9 else 0.2
        way.run(now)
        assert target.stored_packets <= most_packets and target.stored_bytes <= most_bytes + 60
        target.stop_after = -1 if rng.random() < 0.7 else target.messages + rng.randint(0, 2)
        target.go_on(now)
        assert now < 300
    assert target.events == sent and target.lost_packets == 0


# -- where it begins ------------------------------------------------------------------------------------------


def test_a_late_joiner_begins_with_the_first_data() -> None:
    target = fed(odata(7), odata(8))
    assert numbers(target.events) == [7, 8] and asks(target, 2.0) == []


def test_a_late_joiner_begins_behind_the_lead_of_an_spm() -> None:
    target = fed(spm(1, 0, 9), odata(10))
    assert numbers(target.events) == [10] and asks(target, 2.0) == []


def test_before_any_data_it_begins_at_the_trail() -> None:
    target = fed(spm(1, 0, -1), odata(1))
    assert numbers(target.events) == [] and asks(target, 1.1)[:1] == [0]
    assert numbers(fed(rdata(0), target=target).events) == [0, 1]


def test_repairs_and_confirmations_do_not_say_where_it_begins() -> None:
    target = fed(rdata(3), ncf(90), nak(4), spmr(), odata(7))
    assert numbers(target.events) == [7] and target.received == 1


def test_a_late_joiner_begins_with_a_whole_message() -> None:
    tsdus = pack([message(b"t", b"x" * 200), message(b"t", b"1")], 60)
    target = fed(*(data(number, tsdus[number]) for number in range(1, len(tsdus))))
    assert target.events == [(b"t", b"1")]


# -- gaps -----------------------------------------------------------------------------------------------------


def test_a_packet_out_of_sequence_waits() -> None:
    target = fed(odata(0), odata(2), odata(3))
    assert numbers(target.events) == [0] and target.stored_packets == 2
    assert numbers(fed(odata(1), target=target).events) == [0, 1, 2, 3]
    assert (target.received, target.repaired, target.repeated) == (4, 0, 0)
    assert target.stored_packets == target.stored_bytes == 0 and asks(target, 2.0) == []


def test_repairs_fill_gaps_and_are_counted() -> None:
    target = fed(odata(0), odata(4), rdata(2), rdata(2), rdata(1), rdata(3), rdata(3), odata(4))
    assert numbers(target.events) == [0, 1, 2, 3, 4]
    assert (target.received, target.repaired, target.repeated) == (5, 3, 3)


def test_an_spm_tells_of_what_is_missing_at_the_end() -> None:
    target = fed(odata(0), spm(1, 0, 2))
    assert asks(target, 1.01) == [1, 2]
    assert numbers(fed(rdata(2), rdata(1), target=target).events) == [0, 1, 2]


def test_an_ncf_tells_of_what_is_missing_at_the_end_and_keeps_one_from_asking() -> None:
    target = fed(odata(0), ncf(1, 2))
    assert asks(target, 1.0 + TIMING.nak_wait_most_s - 0.01) == []
    assert asks(target, 2.0)[:2] == [1, 2]


def test_the_nak_of_another_keeps_one_from_asking() -> None:
    target = fed(odata(0), odata(3), nak(1, 9))
    assert asks(target, 1.1) == [2]


def test_a_trail_that_passes_a_gap_is_a_loss() -> None:
    """Of any packet that has one, and at once."""
    for packet in (odata(5, trail=3), rdata(4, trail=3), spm(1, 3, 4)):
        target = fed(odata(0), odata(4), packet)
        assert numbers(target.events)[:2] == [0, ("lost", 2)]
        assert target.position[0] in (3, 5)
        assert set(asks(target, 1.2)) <= {3}


def test_what_came_before_the_trail_is_delivered() -> None:
    target = fed(odata(0), odata(2), odata(4), odata(6, trail=6))
    assert numbers(target.events) == [0, ("lost", 1), 2, ("lost", 1), 4, ("lost", 1), 6]
    assert target.lost_packets == 3


def test_what_nobody_repairs_is_lost_in_the_end_and_what_is_behind_goes_on() -> None:
    target = fed(odata(0), odata(2), odata(4))
    asked = asks(target, 60.0)
    assert asked.count(1) == asked.count(3) == TIMING.nak_tries
    assert numbers(target.events) == [0, ("lost", 1), 2, ("lost", 1), 4]


def test_what_comes_after_it_was_given_up_but_before_it_was_told_is_delivered() -> None:
    target = reception(nak_tries=1)
    fed(odata(0), odata(2), target=target, now=1.0)
    assert asks(target, 1.05) == [1]
    fed(odata(4), target=target, now=1.15)
    # 3 is given up later than 1: it is marked while 1 waits.
    fed(ncf(1), target=target, now=1.16)
    asks(target, 2.0)
    assert numbers(target.events) == [0, ("lost", 1), 2, ("lost", 1), 4]
    target = reception(nak_tries=1)
    fed(odata(0), odata(2), odata(5), nak(4), target=target, now=1.0)
    fed(nak(1), target=target, now=1.0)
    target.stop_after = target.messages
    asks(target, 3.0)
    assert target.ring_marks == 3
    fed(rdata(4), rdata(1), target=target, now=3.0)
    target.stop_after = -1
    target.go_on()
    assert numbers(target.events) == [0, 1, 2, ("lost", 1), 4, 5] and target.ring_marks == 0


def test_trap_4_a_message_around_a_gap_is_not_spliced() -> None:
    tsdus = pack([message(b"t", b"1" * 100), message(b"t", b"2" * 100), message(b"t", b"3")], 60)
    packets = [data(number, each) for number, each in enumerate(tsdus)]
    target = fed(packets[0], *packets[2:], spm(1, len(tsdus), len(tsdus) - 1))
    assert target.events[0] == 1 and (b"t", b"3") in target.events
    assert target.truncated == 1 and target.malformed_count == 0


def test_trap_5_what_makes_others_abort_costs_a_count() -> None:
    """A TSDU of a byte is no packet; an offset beyond the end, also while joining, is a fault of the stream."""
    target = reception()
    short = bytearray(odata(0)[:25])
    short[14:16] = b"\0\1"
    seal(short)
    assert not target.push(short, 1.0) and target.heard_at == 0.0
    beyond = b"\0\xf0" + b"x" * 20
    fed(data(0, beyond), odata(1), data(2, beyond), odata(3), target=target)
    assert target.events == ["offset-beyond-end", (b"t", b"1"), "offset-beyond-end", (b"t", b"3")]
    assert target.lost_packets == 0


# -- the source -----------------------------------------------------------------------------------------------


def test_trap_1_naks_say_who_is_asked_and_in_which_group() -> None:
    target = fed(spm(1, 0, -1), odata(1))
    (datagram,) = target.turn(target.next_due)
    assert (parse(datagram).nla, parse(datagram).group) == (NLA, GROUP)
    assert target.nla == 0x0A4D0001 and target.naks == 1


def test_trap_3_a_loss_before_the_first_spm() -> None:
    target = fed(odata(0), odata(2))
    assert target.nla == 0
    sent = [parse(each) for each in target.turn(1.1)]
    assert [each.type for each in sent] == [PacketType.SPMR, PacketType.NAK]
    assert sent[1].nla == NLA and sent[1].sqns == (1,)
    assert numbers(fed(rdata(1), target=target).events) == [0, 1, 2]


def test_trap_2_and_8_an_outage_longer_than_the_window_loses_that_and_no_more() -> None:
    target = reception(most_packets=80)
    fed(*map(odata, range(10)), target=target)
    fed(*(odata(sqn, trail=sqn - 79) for sqn in range(210, 300)), target=target)
    fed(*(rdata(sqn, trail=220) for sqn in range(220, 300)), target=target)
    assert asks(target, 5.0) == []
    found = numbers(target.events)
    assert found[:10] == list(range(10)) and found[-1] == 299
    assert sum(each[1] for each in found if isinstance(each, tuple)) == 300 - target.received
    assert target.position == (300, 300, 299)


def test_trap_9_after_a_fin_what_is_missing_is_given_up_sooner() -> None:
    target = fed(odata(0), odata(2), spm(1, 0, 2, fin=True))
    assert target.fin and not target.finished
    asks(target, 1.0 + TIMING.fin_expiry_s)
    assert numbers(target.events) == [0, ("lost", 1), 2] and target.finished


def test_a_source_that_closed_and_said_all_is_finished() -> None:
    target = fed(odata(0), odata(1), spm(1, 0, 1, fin=True))
    assert target.finished
    target = fed(odata(0), spm(1, 0, 1, fin=True))
    assert not target.finished
    assert fed(rdata(1), target=target).finished
    assert not reception().finished


def test_trap_10_older_and_strange_numbers_of_spms() -> None:
    target = fed(spm(2**31 + 5, 0, -1), odata(0), spm(2**31 + 4, 0, 3))
    assert target.position == (1, 1, 0)
    assert fed(spm(2**31 + 6, 0, 3), target=target).position == (1, 1, 3)


def test_heard_of_is_the_source_not_who_asks_it() -> None:
    """NAK, POLR and ACK come from other receivers, which may outlive it."""
    target = fed(odata(0), now=1.0)
    header = bytearray(spmr())
    for other in (nak(0), spmr(), *(bytes([*header[:4], kind, 0, 0, 0, *header[8:]]) for kind in (1, 2, 13))):
        assert target.push(other, 2.0)
        assert target.heard_at == 1.0
    for number, source in enumerate((odata(1), rdata(1), spm(1, 0, 1), ncf(1), spm(0, 0, 1))):
        assert target.push(source, 3.0 + number)
        assert target.heard_at == 3.0 + number


def test_when_the_source_is_gone_what_is_stored_is_delivered() -> None:
    target = fed(odata(0), odata(2), spm(1, 0, 4))
    target.give_up(2.0)
    assert numbers(target.events) == [0, ("lost", 1), 2, ("lost", 2)]
    assert asks(target, 9.0) == []
    reception().give_up(1.0)


# -- jumps and limits -----------------------------------------------------------------------------------------


def test_a_jump_ahead_goes_on_there() -> None:
    target = reception(most_packets=10)
    fed(odata(0), odata(2), odata(13, trail=0), odata(14, trail=0), target=target)
    assert numbers(target.events) == [0, ("lost", 1), 2, ("lost", 10), 13, 14]
    assert target.lost_packets == 11 and asks(target, 9.0) == []


def test_a_jump_within_the_window_is_a_gap() -> None:
    target = reception(most_packets=10)
    fed(odata(0), odata(10), target=target)
    assert numbers(target.events) == [0] and asks(target, 1.01) == list(range(1, 10))


def test_behind_a_jump_what_can_be_had_is_had() -> None:
    target = reception(most_packets=10)
    fed(odata(0), odata(1000, trail=997), target=target)
    assert numbers(target.events) == [0, ("lost", 996)] and asks(target, 1.01) == [997, 998, 999]


def test_a_source_that_counts_anew() -> None:
    target = reception(most_packets=10)
    fed(odata(99_000), odata(99_002), odata(5, trail=0), odata(6, trail=0), target=target)
    assert numbers(target.events) == [99_000, ("lost", 2), 5, 6]
    assert asks(target, 9.0) == []


def test_an_old_repair_is_no_jump() -> None:
    """Another receiver may ask for what is far behind."""
    target = reception(most_packets=10)
    fed(odata(99_000), rdata(5, trail=0), odata(99_001), target=target)
    assert numbers(target.events) == [99_000, 99_001] and target.repeated == 1


def test_what_is_late_is_no_jump() -> None:
    target = fed(odata(65535), odata(0), odata(65536), odata(1, trail=0), odata(65537))
    assert numbers(target.events) == [65535, 65536, 65537] and target.repeated == 2


@pytest.mark.parametrize(
    "forged", [odata(2**29), spm(9, 5, 2**29), odata(2**31 - 1), odata(2**31), odata(-(2**30))]
)
def test_the_stream_goes_on_after_a_forged_jump(forged: bytes) -> None:
    target = fed(spm(1, 0, -1), odata(0), forged, *(odata(sqn) for sqn in range(1, 5)), spm(2, 0, 4))
    assert numbers(target.events)[-4:] == [1, 2, 3, 4]
    assert target.position == (5, 5, 4)


def test_a_trail_that_is_more_than_half_behind_moves_nothing() -> None:
    target = fed(odata(100), odata(102), rdata(99, trail=99 - (2**31 - 10)))
    assert target.position == (101, 101, 102)


@pytest.mark.parametrize("stopped", [False, True])
def test_a_flood_of_forged_packets_leaves_the_state_bounded(stopped: bool) -> None:
    """Leads, trails, confirmations and data at random: bytes, packets, spans and datagrams have their limits."""
    rng = random.Random(5)
    target = reception(most_packets=64, most_bytes=2000)
    policy = target.policy
    now = 0.0
    for step in range(5000):
        around = target.position[rng.randrange(3)] if rng.random() < 0.8 else rng.getrandbits(32)
        sqn = around + rng.choice([0, 1, 2, 5, 63, 64, 65, 1000, 2**30, 2**31, -1, -70, -(2**31)])
        forged = rng.choice(
            [
                odata(sqn, sqn - rng.choice([0, 5, 2**31 - 3])),
                rdata(sqn, sqn - rng.choice([0, 5, 2**31 - 3])),
                spm(step, sqn - rng.choice([0, 5, 2**31 - 3]), sqn),
                spm(rng.getrandbits(32), sqn + 1, sqn, fin=True),
                ncf(*(sqn + rng.randrange(100) for _ in range(20))),
                nak(*(sqn + rng.randrange(100) for _ in range(20))),
            ]
        )
        if step == 100 and stopped:
            target.stop_after = target.messages
        assert target.push(forged, now)
        now += rng.random() * 0.01
        if target.next_due <= now:
            assert len(target.turn(now)) <= TIMING.naks_per_turn + 1
        expected, trail, lead = target.position
        assert 0 <= (trail - expected) % 2**32 < 2**31 and 0 <= (lead + 1 - trail) % 2**32 < 2**31
        assert target.stored_packets <= 64 and target.stored_bytes <= 2100 and target.ring_marks <= 64
        assert len(policy.spans) <= 130  # type: ignore[attr-defined]
        if step % 500 == 0:
            target.events.clear()
    if stopped:
        assert target.events == []
        target.stop_after = -1
        target.go_on()
    at = target.position[0]
    here = len(target.events)
    fed(*(odata(sqn) for sqn in range(at + 10**6, at + 10**6 + 5)), target=target)
    assert numbers(target.events[here:])[-5:] == [(at + 10**6 + each) % 2**32 for each in range(5)]


def test_without_room_the_next_ones_are_kept_at_the_source() -> None:
    """The first list is asked for all the same: the source keeps it, and waits."""
    target = reception(most_bytes=400)
    target.stop_after = 0
    fed(*map(odata, range(300)), target=target)
    assert target.stored_bytes <= 400
    first = target.stored_packets
    asked = asks(target, 1.5)
    assert set(asked) == set(range(first, first + 63))


def test_the_packet_that_all_wait_for_finds_room() -> None:
    target = reception(most_bytes=50)
    fed(odata(0), *map(odata, range(2, 30)), target=target)
    stored = target.stored_packets
    assert 0 < stored < 28
    fed(rdata(1), target=target)
    assert numbers(target.events) == list(range(2 + stored)) and target.stored_packets == 0


def test_limits_that_are_none() -> None:
    with pytest.raises(ValueError, match="most_packets"):
        ListReception(receiver(), 100, 0)
    with pytest.raises(ValueError, match="max_message_bytes"):
        ListReception(receiver(), 0)
    assert CountingReception(receiver(), 100).next_due == float("inf")


# -- who stops ------------------------------------------------------------------------------------------------


def two(number: int) -> bytes:
    """A packet with two messages."""
    first, second = (message(b"t", b"%d" % (2 * number + each)) for each in range(2))
    return data(number, b"\0\0" + first + second)


def resumed(target: ListReception) -> list[object]:
    """What is told when it goes on for good."""
    told = len(target.events)
    target.stop_after = -1
    target.go_on()
    assert not target.has_rest
    return numbers(target.events[told:])


def test_stopped_in_sequence() -> None:
    target = reception()
    target.stop_after = 1
    fed(two(0), two(1), two(2), target=target)
    assert numbers(target.events) == [0] and target.stored_packets == 2
    assert resumed(target) == [1, 2, 3, 4, 5]
    assert numbers(fed(two(3), target=target).events)[-2:] == [6, 7] and target.received == 4


def test_stopped_with_a_gap_behind_and_its_repair() -> None:
    target = reception()
    target.stop_after = 1
    fed(two(0), two(2), target=target)
    assert asks(target, 1.01) == [1]
    fed(rdata(1), two(3), target=target)
    assert numbers(target.events) == [0]
    assert resumed(target)[:1] == [1]
    assert target.position == (4, 4, 3)


def test_stopped_while_what_is_stored_is_delivered() -> None:
    target = fed(two(0), two(2), two(3))
    target.stop_after = 4
    fed(two(1), target=target)
    assert numbers(target.events) == [0, 1, 2, 3]
    target.stop_after = 5
    target.go_on()
    assert numbers(target.events) == [0, 1, 2, 3, 4]
    assert resumed(target) == [5, 6, 7]


def test_a_loss_is_told_behind_the_rest_of_what_is_before() -> None:
    target = reception()
    target.stop_after = 1
    fed(two(0), two(2), spm(1, 2, 2), target=target)
    assert numbers(target.events) == [0]
    assert resumed(target) == [1, ("lost", 1), 4, 5]


def test_a_jump_is_told_behind_the_rest_of_what_is_before() -> None:
    target = reception(most_packets=10)
    target.stop_after = 1
    # There is no room for what is behind a jump while nothing goes on: it is asked for later.
    fed(two(0), two(1), odata(100), odata(101), target=target)
    assert numbers(target.events) == [0]
    assert resumed(target) == [1, 2, 3, ("lost", 98)]
    assert asks(target, 1.1) == [100, 101]
    assert numbers(fed(rdata(100), rdata(101), target=target).events)[-2:] == [100, 101]


def test_a_source_that_counts_anew_is_told_behind_the_rest_of_what_is_before() -> None:
    target = reception(most_packets=10)
    fed(odata(98_999), target=target)
    target.stop_after = 2
    fed(two(99_000), two(99_001), odata(5, trail=0), odata(6, trail=0), target=target)
    assert numbers(target.events) == [98_999, 198_000]
    assert target.lost_packets == 0
    assert resumed(target) == [198_001, ("lost", 1), 5, 6]


def test_stopped_before_anything_came() -> None:
    target = reception()
    target.stop_after = 0
    fed(odata(0), odata(1), odata(3), rdata(2), target=target)
    assert target.events == [] and target.stored_packets == 4
    assert resumed(target) == [0, 1, 2, 3]


def test_stopped_it_takes_what_there_is_room_for_and_the_rest_is_repaired() -> None:
    target = reception(most_packets=4)
    target.stop_after = 0
    fed(*map(odata, range(8)), target=target)
    assert target.stored_packets == 4
    assert asks(target, 1.1) == []
    assert resumed(target) == [0, 1, 2, 3]
    assert asks(target, 1.2) == [4, 5, 6, 7]
    assert numbers(fed(*map(rdata, range(4, 8)), target=target).events) == list(range(8))


def test_stopped_when_the_source_closes() -> None:
    target = reception()
    target.stop_after = 1
    fed(two(0), two(2), spm(1, 0, 2, fin=True), target=target)
    asks(target, 9.0)
    assert numbers(target.events) == [0] and not target.finished
    assert resumed(target) == [1, ("lost", 1), 4, 5] and target.finished


# -- who raises, and who calls from within --------------------------------------------------------------------


def raising(target: ListReception, call: Callable[[], object]) -> None:
    with pytest.raises(ArithmeticError):
        call()
    target.raise_at = -1


def test_a_message_that_raises_costs_itself() -> None:
    target = fed(two(0))
    target.raise_at = 2
    raising(target, lambda: target.push(two(1), 1.0))
    assert target.has_rest and target.received == 2
    fed(two(2), target=target)
    assert numbers(target.events) == [0, 1, 3, 4, 5]


def test_a_message_from_what_is_stored_that_raises_costs_itself() -> None:
    target = fed(two(0), two(2), two(3))
    target.raise_at = 4
    raising(target, lambda: target.push(rdata_two(1), 1.0))
    assert target.stored_packets == 1
    target.go_on()
    assert numbers(target.events) == [0, 1, 2, 3, 5, 6, 7]
    assert target.stored_packets == target.stored_bytes == 0


def rdata_two(number: int) -> bytes:
    return data(number, parse(two(number)).tsdu, kind=PacketType.RDATA)


def test_a_loss_that_raises_is_told_once() -> None:
    def once(target: ListReception) -> None:
        if isinstance(target.events[-1], int):
            raise ArithmeticError

    target = fed(odata(0), odata(2))
    target.on_event = once
    raising(target, lambda: target.push(odata(3, trail=2), 1.0))
    target.on_event = None
    target.go_on()
    # What raised it was dropped, as a way could have done.
    assert numbers(target.events) == [0, ("lost", 1), 2]
    assert numbers(fed(odata(4), rdata(3), target=target).events) == [0, ("lost", 1), 2, 3, 4]


def test_naks_are_not_lost_where_a_message_raises() -> None:
    target = reception()
    target.stop_after = 1
    fed(two(0), two(2), target=target)
    target.stop_after, target.raise_at = -1, 1
    raising(target, lambda: target.turn(1.1))
    assert target.next_due == 0.0
    assert [parse(each).sqns for each in target.turn(1.1)][-1:] == [(1,)]
    assert target.next_due > 1.0


def test_resumed_from_within_a_message() -> None:
    target = reception()
    depth: list[int] = []

    def resume(target: ListReception) -> None:
        assert not depth
        depth.append(1)
        target.stop_after = -1
        target.go_on()
        depth.pop()

    target.on_event = resume
    target.stop_after = 0
    fed(two(0), two(1), two(3), spm(1, 3, 3), target=target)
    target.stop_after = 1
    target.go_on()
    assert numbers(target.events) == [0, 1, 2, 3, ("lost", 1), 6, 7]


def test_a_packet_from_within_a_message_waits_for_its_end() -> None:
    target = reception()

    def more(target: ListReception) -> None:
        target.on_event = None
        assert target.push(two(1), 1.0) and target.push(two(2), 1.0)

    target.on_event = more
    assert numbers(fed(two(0), target=target).events) == [0, 1, 2, 3, 4, 5]
    assert target.received == 3 and target.stored_packets == 0


def test_a_source_that_counts_anew_from_within_a_message() -> None:
    target = reception(most_packets=10)
    fed(odata(99_000), odata(99_002), odata(99_003), target=target)

    def anew(target: ListReception) -> None:
        target.on_event = None
        assert target.push(odata(5, trail=0), 1.0)

    target.on_event = anew
    fed(rdata(99_001), target=target)
    assert numbers(target.events) == [99_000, 99_001, ("lost", 2), 5]


def test_what_is_stored_goes_with_the_reception() -> None:
    for _ in range(50):
        fed(odata(0), *(data(sqn, bytes(1400)) for sqn in range(2, 200)))


# -- several receivers ----------------------------------------------------------------------------------------


def test_of_many_that_miss_a_packet_few_ask_for_it() -> None:
    """They draw when to ask, and hear the first, and the source that confirms it."""
    targets = [ListReception(receiver(seed=seed), 1 << 20, 1000) for seed in range(40)]
    for target in targets:
        fed(odata(0), odata(2), target=target)
    naks, now = 0, 1.0
    heard: list[tuple[float, bytes]] = []
    while now < 1.02:
        now = min(min(target.next_due for target in targets), heard[0][0] if heard else 2.0)
        if heard and heard[0][0] <= now:
            datagram = heard.pop(0)[1]
            for target in targets:
                target.push(datagram, now)
            continue
        for target in targets:
            if target.next_due <= now:
                for datagram in target.turn(now):
                    if parse(datagram).type is PacketType.NAK:
                        naks += 1
                        heard += [(now + 0.0001, datagram), (now + 0.0002, ncf(1))]
    assert 1 <= naks <= 10
    for target in targets:
        assert numbers(fed(rdata(1), target=target, now=1.02).events) == [0, 1, 2]
        assert asks(target, 9.0) == []
