# SPDX-License-Identifier: Apache-2.0
"""What a receiver asks for, and when: the table of transitions, the timers, and all of it against a slow one."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plexo._proto.pgm.packets import MAX_SQNS, Packet, PacketType, Tsi, parse
from plexo._proto.pgm.receiver import NEVER, REORDERED_SPMS, TRANSITIONS, Event, Receiver, State
from plexo._proto.pgm.timing import Timing
from tests.pgm.sources import ADDRESS, GROUP, NLA, PORT, TSI
from tests.reference import receiver as slow

TIMING = Timing()
FAR = 1 << 20


class Constant:
    """Draws the same always."""

    def __init__(self, drawn: float) -> None:
        self.drawn = drawn

    def random(self) -> float:
        return self.drawn


def made(first: int = 0, drawn: float = 0.5, timing: Timing = TIMING, *, spm: bool = True) -> Receiver:
    """That began there, and has heard an SPM."""
    receiver = Receiver(TSI, PORT, ADDRESS + 7, Constant(drawn), timing)
    receiver.group = GROUP
    if spm:
        assert receiver.spm(1, ADDRESS, False, 0.0)
    receiver.begin(first, 0.0)
    return receiver


def asked(datagrams: list[bytes]) -> list[list[int]]:
    packets = [parse(each) for each in datagrams]
    assert all(each.type is PacketType.NAK for each in packets)
    return [list(each.sqns) for each in packets]


def states(receiver: Receiver) -> list[tuple[int, int, State]]:
    return [(span.first % 2**32, span.last % 2**32, span.state) for span in receiver.spans]


def in_state(state: State, first: int = 10, last: int = 12) -> Receiver:
    """With one span in that state, at time 1.0; its timer has not ended."""
    receiver = made(5)
    receiver.gap(first, last, 1.0)
    if state is not State.BACK_OFF:
        assert asked(receiver.advance(FAR, 1.0 + TIMING.nak_first_back_off_s)) == [[*range(first, last + 1)]]
    if state is State.WAIT_DATA:
        receiver.confirmed(range(first, last + 1), 1.01)
    assert states(receiver) == [(first, last, state)]
    return receiver


# -- the table ------------------------------------------------------------------------------------------------

EVERY = [(state, event) for state in State for event in Event]


@pytest.mark.parametrize(("state", "event"), EVERY, ids=lambda each: each.name)
def test_each_state_and_event(state: State, event: Event) -> None:
    """In the table: the next state, a timer that begins anew, and from BACK_OFF one try more. Else nothing."""
    receiver = in_state(state)
    span = receiver.spans[0]
    due, tries = span.due, span.tries
    now = due if event is Event.EXPIRED else 1.0005
    if event is Event.EXPIRED:
        naks = asked(receiver.advance(FAR, now))
        assert naks == ([[10, 11, 12]] if state is State.BACK_OFF else [])
    elif event is Event.CONFIRMED:
        receiver.confirmed([10, 11, 12], now)
    else:
        receiver.nak_heard([10, 11, 12], now)
    after = TRANSITIONS.get((state, event))
    span = receiver.spans[0]
    assert states(receiver) == [(10, 12, after or state)]
    assert span.tries == tries + (state is State.BACK_OFF and after is not None)
    if after is None:
        assert span.due == due
    elif after is State.BACK_OFF:
        assert span.due == now + TIMING.nak_back_off_s / 2
    else:
        assert span.due == now + TIMING.nak_wait_most_s
    assert receiver.due() <= span.due


@pytest.mark.parametrize("state", State)
def test_data_ends_it_in_any_state(state: State) -> None:
    receiver = in_state(state)
    receiver.arrived(11, 1.02)
    assert states(receiver) == [(10, 10, state), (12, 12, state)]
    receiver.arrived(10, 1.02)
    receiver.arrived(12, 1.02)
    assert states(receiver) == [] and receiver.due() == NEVER


@pytest.mark.parametrize("state", State)
def test_a_trail_that_passes_it_ends_it_in_any_state(state: State) -> None:
    receiver = in_state(state)
    receiver.passed(12)
    assert states(receiver) == [(12, 12, state)]
    receiver.passed(13)
    assert states(receiver) == [] and receiver.due() == NEVER
    assert receiver.take_lost() == []


@pytest.mark.parametrize("state", State)
def test_events_concern_the_packets_they_name(state: State) -> None:
    receiver = in_state(state)
    receiver.confirmed([3, 11, 400, 2**31], 1.0)
    after = TRANSITIONS.get((state, Event.CONFIRMED), state)
    one, other = ((10, 10, state), (12, 12, state))
    assert states(receiver) == ([one, (11, 11, after), other] if after is not state else [(10, 12, state)])


@pytest.mark.parametrize("state", [State.WAIT_NCF, State.WAIT_DATA])
def test_after_so_many_tries_it_is_lost(state: State) -> None:
    receiver = made(timing=replace(TIMING, nak_tries=3))
    receiver.gap(7, 9, 0.0)
    naks = 0
    while receiver.spans:
        now = receiver.due()
        sent = receiver.advance(FAR, now)
        naks += len(sent)
        if sent and state is State.WAIT_DATA:
            receiver.confirmed([7, 8, 9], now)
    assert naks == 3
    assert receiver.take_lost() == [(7, 9)]
    assert receiver.take_lost() == []


def test_others_that_ask_make_it_lost_in_the_end() -> None:
    """Else NAKs that somebody forges would hold up the stream for ever."""
    receiver = made(timing=replace(TIMING, nak_tries=3))
    receiver.gap(7, 7, 0.0)
    now = 0.0
    while receiver.spans:
        receiver.nak_heard([7], now)
        receiver.confirmed([7], now)
        now = receiver.due()
        assert now < 10
        receiver.advance(FAR, now)
    assert receiver.take_lost() == [(7, 7)]


# -- NAKs -----------------------------------------------------------------------------------------------------


def test_a_nak_names_the_source_and_the_group() -> None:
    receiver = made()
    receiver.gap(3, 3, 1.0)
    receiver.gap(5, 6, 1.0)
    (datagram,) = receiver.advance(FAR, 1.1)
    expected = Packet(PacketType.NAK, TSI, PORT, 3, sqns=(3, 5, 6), nla=NLA, group=GROUP, options=3)
    assert parse(datagram) == expected and receiver.naks == 1


def test_trap_3_without_an_nla_the_nak_goes_to_where_the_data_came_from() -> None:
    receiver = made(spm=False)
    receiver.gap(3, 3, 0.0)
    (datagram,) = receiver.advance(FAR, 0.01)
    assert parse(datagram).nla == "10.77.0.8"


def test_the_nla_of_the_latest_spm_counts() -> None:
    receiver = made()
    assert receiver.spm(2, ADDRESS + 1, False, 1.0) and receiver.nla == "10.77.0.2"
    assert receiver.spm(3, None, False, 1.0) and receiver.nla == "10.77.0.2"


def test_a_burst_is_one_span_and_its_lists_are_shared_out_over_turns() -> None:
    receiver = made()
    receiver.gap(100, 5099, 1.0)
    assert len(receiver.spans) == 1
    now, found = 1.0, []
    while receiver.spans[-1].state is State.BACK_OFF:
        assert receiver.due() > now
        now = receiver.due()
        lists = asked(receiver.advance(FAR, now))
        assert 1 <= len(lists) <= TIMING.naks_per_turn and max(map(len, lists)) == MAX_SQNS
        assert receiver.advance(FAR, now) == []
        found += [sqn for each in lists for sqn in each]
        assert len(receiver.spans) <= 12
    assert found == list(range(100, 5100))
    assert now <= 1.0 + TIMING.nak_first_back_off_s + 12 * TIMING.nak_turn_s


def test_what_is_lost_a_little_later_waits_with_what_is_before() -> None:
    receiver = made()
    for number in range(50):
        receiver.gap(100 + number, 100 + number, 1.0 + number / 1e5)
    assert len(receiver.spans) == 1


def test_what_there_is_no_room_for_is_not_asked_for() -> None:
    receiver = made()
    receiver.gap(10, 200, 1.0)
    assert asked(receiver.advance(20, 1.1)) == [list(range(10, 20))]
    assert receiver.due() == 1.1 + TIMING.nak_back_off_s
    assert asked(receiver.advance(40, 1.2)) == [list(range(20, 40))]


def test_with_room_for_the_next_only_the_first_list_is_asked_for() -> None:
    receiver = made()
    receiver.gap(10, 200, 1.0)
    assert asked(receiver.advance(FAR, 1.1, True)) == [list(range(10, 10 + MAX_SQNS))]
    assert asked(receiver.advance(FAR, 1.2, True)) == []


def test_what_is_beyond_the_room_is_not_given_up() -> None:
    """An NCF moves it nevertheless: a mark would be out of reach."""
    receiver = made(timing=replace(TIMING, nak_tries=2))
    receiver.gap(10, 200, 1.0)
    now = 1.0
    for _ in range(20):
        receiver.confirmed([100], now)
        now = max(now, receiver.due())
        receiver.advance(20, now)
        now += TIMING.nak_wait_most_s
    lost = [sqn for first, last in receiver.take_lost() for sqn in range(first, last + 1)]
    assert lost == list(range(10, 20))


# -- how long to wait -----------------------------------------------------------------------------------------


def repaired_in(receiver: Receiver, sqn: int, took: float, now: float) -> None:
    receiver.gap(sqn, sqn, now)
    now = receiver.due()
    assert len(receiver.advance(FAR, now)) == 1
    receiver.arrived(sqn, now + took)


def test_the_wait_is_learnt_from_repairs() -> None:
    receiver = made()
    assert receiver.wait_s == TIMING.nak_wait_most_s
    for number in range(40):
        repaired_in(receiver, number, 0.001, float(number))
    assert receiver.wait_s == TIMING.nak_wait_least_s
    for number in range(40, 80):
        repaired_in(receiver, number, 0.04, float(number))
    assert 0.04 <= receiver.wait_s <= 0.1
    for number in range(80, 120):
        repaired_in(receiver, number, 0.19, float(number))
    assert 0.19 <= receiver.wait_s <= TIMING.nak_wait_most_s


def test_nothing_is_learnt_from_what_was_asked_for_twice() -> None:
    """Nobody knows which of the NAKs was answered (Karn)."""
    receiver = made()
    receiver.gap(3, 3, 1.0)
    for _ in range(3):
        receiver.advance(FAR, receiver.due())
    assert receiver.naks == 2
    receiver.arrived(3, receiver.due())
    assert receiver.wait_s == TIMING.nak_wait_most_s


def test_nothing_is_learnt_from_what_others_asked_for() -> None:
    receiver = made()
    receiver.gap(3, 3, 1.0)
    receiver.nak_heard([3], 1.0)
    receiver.arrived(3, 1.0001)
    assert receiver.wait_s == TIMING.nak_wait_most_s


def test_in_vain_it_waits_twice_as_long_the_next_time() -> None:
    receiver = made(drawn=0.0)
    for number in range(40):
        repaired_in(receiver, number, 0.001, float(number))
    receiver.gap(100, 100, 100.0)
    now, waits = 100.0, []
    for _ in range(6):
        receiver.advance(FAR, now)
        waits.append(round(receiver.spans[0].due - now, 6))
        now = receiver.spans[0].due
        receiver.advance(FAR, now)
        now = receiver.due()
    assert waits == [0.02, 0.04, 0.08, 0.16, 0.2, 0.2]


# -- SPMs -----------------------------------------------------------------------------------------------------


def test_an_older_spm_does_not_count() -> None:
    receiver = made()
    assert receiver.spm(5, ADDRESS, False, 1.0)
    assert not receiver.spm(4, ADDRESS + 1, True, 1.0) and receiver.nla == NLA
    assert receiver.spm(5, ADDRESS, False, 1.0)
    assert not receiver.spm((5 - REORDERED_SPMS) % 2**32, ADDRESS + 1, False, 1.0)


def test_trap_10_the_first_spm_may_have_any_number() -> None:
    for number in (0, 1, 2**31 - 1, 2**31, 2**32 - 1):
        receiver = made(spm=False)
        assert receiver.spm(number, ADDRESS, False, 0.0)
        assert receiver.spm((number + 1) % 2**32, ADDRESS, False, 0.0)


def test_a_forged_spm_does_not_shut_out_the_right_ones() -> None:
    receiver = made()
    assert receiver.spm(2**30, ADDRESS + 9, False, 1.0)
    assert receiver.spm(2, ADDRESS, False, 1.1) and receiver.nla == NLA
    assert receiver.spm(3, ADDRESS, False, 1.2)


def test_without_an_spm_one_is_asked_for() -> None:
    receiver = made(spm=False)
    assert receiver.due() == TIMING.spmr_after_s
    times = []
    while receiver.due() != NEVER:
        now = receiver.due()
        (datagram,) = receiver.advance(FAR, now)
        assert parse(datagram) == Packet(PacketType.SPMR, TSI, PORT)
        times.append(now)
    assert len(times) == TIMING.spmr_tries and times == sorted(set(times))


def test_an_spm_comes_in_time() -> None:
    receiver = made(spm=False)
    assert receiver.spm(1, ADDRESS, False, 0.01)
    assert receiver.due() == NEVER and receiver.advance(FAR, 1.0) == []


def test_another_asks_for_the_spm() -> None:
    receiver = made(spm=False)
    receiver.spmr_heard(0.02)
    assert receiver.due() == 0.02 + TIMING.spmr_after_s
    receiver = made()
    receiver.spmr_heard(0.02)
    assert receiver.due() == NEVER


def test_some_time_after_a_fin_it_is_closed() -> None:
    receiver = made()
    receiver.gap(3, 3, 1.0)
    assert receiver.spm(2, ADDRESS, True, 1.0) and receiver.spm(3, ADDRESS, True, 2.0)
    end = 1.0 + TIMING.fin_expiry_s
    assert not receiver.closed(end - 0.001) and receiver.closed(end)
    now = 1.0
    while now < end:
        receiver.advance(FAR, now)
        now = receiver.due()
    assert now == end
    assert receiver.spm(4, ADDRESS, False, 3.0) and not receiver.closed(end)


# -- against the slow one -------------------------------------------------------------------------------------

numbers = st.lists(st.integers(0, 60), min_size=1, max_size=20)
steps = st.one_of(
    st.tuples(st.just("gap"), st.tuples(st.integers(1, 4), st.integers(0, 70))),
    st.tuples(st.just("advance"), st.tuples(st.integers(1, 300), st.booleans())),
    st.tuples(st.just("due"), st.just(0)),
    st.tuples(st.just("wait"), st.sampled_from([0.0001, 0.001, 0.02, 0.3])),
    st.tuples(st.sampled_from(["arrived", "passed"]), st.integers(0, 60)),
    st.tuples(st.sampled_from(["confirmed", "nak_heard"]), numbers),
)


@settings(deadline=None)
@given(
    st.lists(steps, max_size=40),
    st.sampled_from([5, 2**32 - 20, 2**31 - 20]),
    st.sampled_from([0.0, 0.5, 0.999]),
    st.integers(1, 3),
)
def test_does_as_the_slow_receiver(
    moves: list[tuple[str, object]], first: int, drawn: float, tries: int
) -> None:
    timing = replace(TIMING, nak_tries=tries, naks_per_turn=1, nak_turn_s=0.0)
    fast, reference = made(first, drawn, timing), slow.Receiver(timing, drawn)
    now, lead = 1.0, first

    def near(ahead: int) -> int:
        """Counted from what is missing, for most of it is there."""
        return min(reference.missing, default=lead) + ahead - 3

    for kind, argument in moves:
        match kind, argument:
            case "gap", (int(apart), int(count)):
                start, lead = lead + apart, lead + apart + count
                fast.gap(start % 2**32, lead % 2**32, now)
                reference.gap(start, lead, now)
            case ("due", _) | ("advance", _):
                limit, full = argument if isinstance(argument, tuple) else (300, False)
                if kind == "due":
                    now = max(now, min(fast.due(), now + 1))
                end = near(limit)
                lists = asked(fast.advance(end % 2**32, now, full))
                expected = [number % 2**32 for number in reference.advance(end, full, now)]
                assert [sqn for each in lists for sqn in each] == expected
            case "wait", float(delay):
                now += delay
            case "arrived", int(ahead):
                fast.arrived(near(ahead) % 2**32, now)
                reference.arrived(near(ahead), now)
            case "passed", int(ahead):
                fast.passed(near(ahead) % 2**32)
                reference.passed(near(ahead))
            case _, list(several):
                wanted = [near(each) for each in several]
                getattr(fast, kind)([each % 2**32 for each in wanted], now)
                getattr(reference, kind)(wanted, now)
        found = {
            number % 2**32: (span.state.name, pytest.approx(span.due), span.tries, span.asked_at)
            for span in fast.spans
            for number in range(span.first, span.last + 1)
        }
        assert found == {
            number % 2**32: (each.state, each.due, each.tries, each.asked_at)
            for number, each in reference.missing.items()
        }
        lost = [
            (one + number) % 2**32
            for one, other in fast.take_lost()
            for number in range((other - one) % 2**32 + 1)
        ]
        assert lost == [number % 2**32 for number in reference.lost]
        reference.lost.clear()
        assert fast.due() <= max(now, min((each.due for each in reference.missing.values()), default=NEVER))
        assert [span.first for span in fast.spans] == sorted({span.first for span in fast.spans})


def test_the_tsi_is_that_of_the_source() -> None:
    receiver = Receiver(Tsi(bytes(6), 3), 7, ADDRESS, Constant(0.0), TIMING)
    receiver.begin(0, 0.0)
    receiver.gap(0, 0, 0.0)
    packet = parse(receiver.advance(FAR, 0.0)[0])
    assert (packet.tsi, packet.port, packet.group) == (Tsi(bytes(6), 3), 7, "0.0.0.0")
