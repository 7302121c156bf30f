# SPDX-License-Identifier: Apache-2.0
"""Messages into packets: against the slow window, through the deframer, at every edge of packets and numbers."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from plexo._fast.deframer import Probe
from plexo._fast.transmit_window import MIN_PACKETS, TransmitWindow
from plexo._proto.keyed import Key
from plexo._proto.pgm.packets import PacketType, Tsi, parse
from tests.pgm.sources import PORT, TSI
from tests.reference import transmit_window as slow
from tests.reference.deframer import Message, message

KEY = Key(bytes(range(32)))
HEADERS = 26


def window(max_tpdu: int = 100, slots: int = 8, key: Key | None = None, first_sqn: int = 0) -> TransmitWindow:
    return TransmitWindow(
        TSI, PORT, max_tpdu=max_tpdu, most_bytes=slots * max_tpdu, key=key, first_sqn=first_sqn
    )


def sized(size: int) -> Message:
    """A message that takes so many bytes of the stream, up to 200."""
    made = (b"t", b"x" * (size - 5))
    assert len(message(*made)) == size
    return made


def found(packets: list[bytes]) -> list[Message]:
    """What a receiver gets of packets in sequence, without a fault."""
    probe = Probe(1 << 24)
    for each in packets:
        probe.push(parse(each).tsdu)
    assert not probe.faults and not probe.has_part and not probe.skipped
    return probe.found


# -- against the slow window --------------------------------------------------------------------------------

topics = st.sampled_from([b"", b"t", b"org.brewery.sake", b"t" * 253, b"t" * 254])
payloads = st.sampled_from([0, 1, 5, 30, 63, 64, 65, 69, 70, 74, 148, 252, 253, 254, 255, 400]).map(
    lambda size: bytes([size % 251]) * size
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("append"), topics, payloads),
        st.tuples(st.just("append"), st.just(b"t"), payloads),
        st.tuples(st.just("send"), st.floats(0, 1)),
        st.tuples(st.just("hold"), st.integers(-3, 12), st.floats(0, 2), st.floats(0, 2)),
        st.tuples(st.just("repair"), st.integers(-3, 12)),
    ),
    max_size=60,
)
firsts = st.sampled_from([0, 1, 2**31 - 4, 2**31, 2**32 - 9, 2**32 - 1])


@given(steps, st.sampled_from([52, 60, 100, 101, 300]), st.integers(MIN_PACKETS, 12), st.booleans(), firsts)
def test_does_as_the_slow_window(steps: list[tuple], size: int, slots: int, keyed: bool, first: int) -> None:  # type: ignore[type-arg]
    key = KEY if keyed else None
    fast = window(size, slots, key, first)
    reference = slow.TransmitWindow(TSI, PORT, size, slots, key, first)
    now = 0.0
    for kind, *arguments in steps:
        fast.now = reference.now = now
        if kind == "append":
            topic, payload = arguments
            assert fast.append(topic, payload) == reference.append(topic, payload)
        elif kind == "send":
            now += arguments[0]
            assert fast.send_all(now) == reference.send_all(now)
        else:
            # Around the window, before and behind it.
            sqn = (reference.trail + arguments[0]) % 2**32
            assert fast.has(sqn) == reference.has(sqn)
            if kind == "hold":
                fast.hold(sqn, now + arguments[1], arguments[2])
                reference.hold(sqn, now + arguments[1], arguments[2])
            else:
                assert fast.repaired(sqn, now) == reference.repaired(sqn)
        assert (fast.trail, fast.lead) == (reference.trail, reference.lead)
        assert fast.queued[0] == reference.queued_messages
        assert fast.accepted_messages == len(reference.ends)
        assert fast.sent_packets == reference.unsent


@given(
    st.lists(st.tuples(topics, payloads), max_size=30),
    st.integers(37, 1500),
    firsts,
    st.sets(st.integers(0, 29)),
)
@example([(b"", b"")] * 3, 37, 0, {0, 1})
def test_messages_come_out_as_they_went_in(
    messages: list[Message], size: int, first: int, flushes: set[int]
) -> None:
    fast = window(size, 4096, None, first)
    packets = []
    for number, each in enumerate(messages):
        assert fast.append(*each)
        if number in flushes:
            packets += fast.send_all(0.0)
    packets += fast.send_all(0.0)
    assert found(packets) == messages
    assert [parse(each).sqn for each in packets] == [
        (first + number) % 2**32 for number in range(len(packets))
    ]
    assert all(len(each) <= size for each in packets)
    assert fast.sent_bytes == sum(map(len, packets))
    assert fast.sent_messages == len(messages)
    assert fast.queued == (0, 0)


# -- edges --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("left", range(13))
def test_a_message_that_ends_so_many_bytes_before_the_end_of_its_packet(left: int) -> None:
    fast = window(100)
    first, second = sized(100 - HEADERS - left), sized(30)
    assert fast.append(*first) and fast.append(*second)
    packets = fast.send_all(0.0)
    assert found(packets) == [first, second]
    assert [parse(each).tsdu[:2] for each in packets] == [b"\0\0", b"\0\0" if left == 0 else b"\xff\xff"]
    assert fast.queued == (0, 0)


def test_what_is_full_is_sealed_without_a_flush_and_counts_its_message() -> None:
    fast = window(100)
    fast.append(*sized(100 - HEADERS))
    assert fast.queued == (1, 100)
    assert len(fast.send_all(0.0)) == 1
    assert fast.sent_messages == 1


def test_the_largest_message_is_taken_by_a_window_with_nothing_to_send() -> None:
    fast = window(100, 8)
    big = b"x" * fast.largest
    for _ in range(5):
        assert fast.append(b"", big)
        assert found(fast.send_all(0.0)) == [(b"", big)]
    assert fast.append(b"", b"") and fast.append(b"", big)


def test_a_full_window_takes_nothing_and_changes_nothing() -> None:
    fast = window(100, 4)
    taken = 0
    while fast.append(b"t", b"x" * 60):
        taken += 1
    before = fast.queued, fast.trail, fast.lead
    assert not fast.append(b"t", b"x" * 60)
    assert (fast.queued, fast.trail, fast.lead) == before
    assert len(found(fast.send_all(0.0))) == taken
    assert fast.append(b"t", b"x" * 60)


def test_what_is_held_keeps_its_place_until_its_time() -> None:
    fast = window(100, 4)
    for _ in range(4):
        fast.append(*sized(74))
    fast.send_all(1.0)
    fast.hold(0, 1.5, 10.0)
    assert not fast.append(*sized(74))
    assert fast.free_at == 1.5
    fast.now = 1.6
    assert fast.free_at == float("inf")
    assert fast.append(*sized(74))
    assert fast.trail == 1


def test_nobody_holds_a_packet_for_longer_than_the_limit() -> None:
    fast = window(100, 4)
    for _ in range(4):
        fast.append(*sized(74))
    fast.send_all(1.0)
    for step in range(40):
        fast.hold(0, 1.0 + step / 10 + 0.25, 2.0)
    assert fast.free_at == 3.0


def test_held_behind_the_trail_does_not_keep_what_is_before() -> None:
    fast = window(100, 4)
    for _ in range(4):
        fast.append(*sized(74))
    fast.send_all(1.0)
    fast.hold(1, 5.0, 10.0)
    assert fast.append(*sized(74))
    assert not fast.append(*sized(74))
    assert (fast.trail, fast.has(0), fast.has(1)) == (1, False, True)


def test_before_any_data_the_lead_is_the_one_before_the_trail() -> None:
    for first in (0, 5, 2**31):
        fast = window(first_sqn=first)
        assert (fast.trail, fast.lead) == (first, (first - 1) % 2**32)
        fast.append(b"t", b"not sent yet")
        assert fast.lead == (first - 1) % 2**32


def test_what_was_not_sent_is_not_repaired() -> None:
    fast = window()
    fast.append(*sized(74))
    assert fast.repaired(0, 0.0) is None and not fast.has(0)
    fast.send_all(0.0)
    assert fast.repaired(0, 0.0) is not None and fast.has(0)


@pytest.mark.parametrize("key", [None, KEY])
def test_a_repair_is_the_packet_with_the_trail_of_now(key: Key | None) -> None:
    fast = window(100, 4, key)
    while fast.append(b"t", b"payload" * 5):
        pass
    sent = fast.send_all(0.0)
    assert fast.append(b"t", b"payload" * 5)
    for sqn in (1, 3, 1):
        repaired, old = fast.repaired(sqn, 0.0), sent[sqn]
        assert repaired is not None
        if key is not None:
            bare = key.verified(repaired)
            assert bare is not None and key.verified(old) is not None
            repaired, old = bytes(bare), old[:-16]
        packet, before = parse(repaired), parse(old)
        assert packet == before._replace(type=PacketType.RDATA, trail=1)
    assert fast.repaired_packets == 3


def test_with_a_key_datagrams_keep_their_size() -> None:
    fast = window(100, 64, KEY)
    for number in range(20):
        fast.append(b"t", b"%d" % number * 20)
    packets = fast.send_all(0.0)
    assert {len(each) for each in packets[:-1]} == {100}
    bare = [KEY.verified(each) for each in packets]
    assert [payload for _, payload in found([bytes(each or b"") for each in bare])] == [
        b"%d" % number * 20 for number in range(20)
    ]


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"max_tpdu": 35}, "max_tpdu"),
        ({"max_tpdu": 65508, "most_bytes": 1 << 20}, "max_tpdu"),
        ({"max_tpdu": 51, "key": KEY}, "max_tpdu"),
        ({"max_tpdu": 1000, "most_bytes": 3999}, "most_bytes"),
        ({"tsi": Tsi(b"short", 1)}, "gsi"),
    ],
)
def test_what_makes_no_window(changed: dict, match: str) -> None:  # type: ignore[type-arg]
    arguments = {"tsi": TSI, **changed}
    with pytest.raises(ValueError, match=match):
        TransmitWindow(arguments.pop("tsi"), PORT, **arguments)
