# SPDX-License-Identifier: Apache-2.0
"""libzmq's stream in TSDUs: against the slow deframer, with losses, and what hostile or strange streams do."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from plexo._fast.deframer import FAULTS, MAX_MESSAGE_BYTES, Deframer, Probe
from tests.reference import deframer as slow
from tests.reference.deframer import MORE, NO_MESSAGE, Message, frame, long_frame, message, pack

LIMIT = 5000
NONE = b"\xff\xff"


def tsdu(offset: int, *parts: bytes) -> bytes:
    return offset.to_bytes(2, "big") + b"".join(parts)


def run(tsdus: list[bytes | None], most: int = LIMIT) -> tuple[Probe, slow.Deframer]:
    """Both, over the same TSDUs; None is a gap."""
    fast, reference = Probe(most), slow.Deframer(most)
    for each in tsdus:
        if each is None:
            fast.gap()
            reference.gap()
        else:
            fast.push(each)
            reference.push(each)
    assert fast.found == reference.found
    assert fast.faults == reference.faults
    assert (fast.truncated, fast.skipped) == (reference.truncated, reference.skipped)
    assert fast.messages == len(fast.found) and fast.malformed_count == len(fast.faults)
    return fast, reference


def found(*tsdus: bytes | None, most: int = LIMIT) -> list[Message]:
    """What is found in what has to be without a fault."""
    fast, _ = run(list(tsdus), most)
    assert not fast.faults
    return fast.found


def faults(*tsdus: bytes | None, most: int = LIMIT) -> tuple[list[str], list[bytes]]:
    """What was wrong, and the topics of what was delivered nevertheless."""
    fast, _ = run(list(tsdus), most)
    return fast.faults, [topic for topic, _ in fast.found]


A, B, C = (message(name, b"payload of " + name) for name in (b"a", b"b", b"c"))
LONG = message(b"long", bytes(range(256)) * 8)
LONG_FOUND = (b"long", bytes(range(256)) * 8)

topics = st.sampled_from([b"", b"a", b"org.brewery.sake.Reading.msgpack", b"t" * 253, b"t" * 254, b"t" * 300])
payloads = st.one_of(
    st.binary(max_size=5),
    st.sampled_from([0, 1, 16, 252, 253, 254, 255, 256, 1000, 4000]).map(
        lambda size: bytes([size % 251]) * size
    ),
)
messages = st.tuples(topics, payloads)


# -- against the slow deframer --------------------------------------------------------------------------------


@given(st.lists(messages, max_size=20), st.integers(3, 1500))
@example([(b"", b"")] * 3, 3)
def test_messages_come_out_as_they_went_in(sent: list[Message], size: int) -> None:
    assert found(*pack([message(*each) for each in sent], size)) == sent


@given(st.lists(messages, min_size=1, max_size=20), st.lists(st.integers(3, 1500), min_size=1, max_size=4))
def test_sizes_of_tsdus_may_change(sent: list[Message], sizes: list[int]) -> None:
    """A source that flushes now and then: each flush ends a TSDU at the end of a message."""
    cycle = itertools.cycle(sizes)
    tsdus = [each for one in sent for each in pack([message(*one)], next(cycle))]
    assert found(*tsdus) == sent


odd_parts = st.sampled_from(
    [
        A,
        LONG,
        frame(b"alone"),
        frame(b"topic", MORE) + frame(b"1", MORE) + frame(b"2"),
        frame(b"topic", MORE),
        frame(b"x" * 3000, MORE) + frame(b"y" * 3000),
        long_frame(b"a", MORE) + long_frame(b"b"),
        b"\0\0",
        b"\5\2body",
        b"\xff" + b"\xff" * 8 + b"\1",
        b"\xff\x80" + bytes(7) + b"\1",
        b"\xff" + (2**63 - 1).to_bytes(8, "big") + b"\0",
        b"\xff" + bytes(8) + b"\1",
    ]
)


@st.composite
def odd_streams(draw: st.DrawFn) -> list[bytes | None]:
    """What libzmq could have packed of odd parts; then TSDUs are lost, noticed or not, or spoilt."""
    tsdus: list[bytes | None] = []
    for size in draw(st.lists(st.sampled_from([3, 4, 5, 13, 40, 300, 1448]), max_size=3)):
        tsdus += pack(draw(st.lists(odd_parts, max_size=6)), size)[:60]
    for _ in range(draw(st.integers(0, 4))):
        if not tsdus:
            break
        at = draw(st.integers(0, len(tsdus) - 1))
        old = (tsdus[at] or b"").ljust(2, b"\0")
        tsdus[at : at + 1] = draw(
            st.sampled_from(
                [
                    [None],
                    [],
                    [old, old],
                    [NONE + old[2:]],
                    [b"\0\0" + old[2:]],
                    [tsdu(len(old) - 2, old[2:])],
                    [tsdu(len(old) - 1, old[2:])],
                    [old[: len(old) // 2]],
                    [draw(st.binary(max_size=30))],
                ]
            )
        )
    return tsdus


@given(odd_streams(), st.sampled_from([1, 20, 4000, LIMIT]))
def test_does_as_the_slow_deframer(tsdus: list[bytes | None], most: int) -> None:
    run(tsdus, most)


@given(st.lists(st.one_of(st.none(), st.binary(max_size=40)), max_size=12))
def test_any_bytes_are_read_as_by_the_slow_deframer(tsdus: list[bytes | None]) -> None:
    run(tsdus)


@given(st.lists(messages, max_size=25), st.integers(3, 700), st.integers(0, 2**32))
def test_exactly_the_messages_of_what_arrived_are_delivered(
    sent: list[Message], size: int, seed: int
) -> None:
    """An oracle that knows no deframer: a message arrives if and only if all TSDUs with some of it did."""
    encoded = [message(*each) for each in sent]
    tsdus = pack(encoded, size)
    rng = random.Random(seed)
    arrived = [rng.random() > 0.2 for _ in tsdus]
    expected, at = [], 0
    for each, wire in zip(sent, encoded, strict=True):
        end = at + len(wire)
        if all(arrived[at // (size - 2) : (end - 1) // (size - 2) + 1]):
            expected.append(each)
        at = end
    given_to_it = [each if there else None for each, there in zip(tsdus, arrived, strict=True)]
    assert found(*given_to_it) == expected


@given(odd_streams(), st.integers(0, 2**32))
def test_stopping_anywhere_changes_nothing(tsdus: list[bytes | None], seed: int) -> None:
    plain, _ = run(tsdus)
    rng = random.Random(seed)
    stopping = Probe(LIMIT)
    for each in tsdus:
        stopping.stop_after = stopping.messages + rng.randint(1, 3)
        if each is None:
            stopping.gap()
        else:
            stopping.push(each)
        while stopping.has_rest:
            assert stopping.messages == stopping.stop_after
            stopping.stop_after += rng.randint(1, 3)
            if rng.random() < 0.2:
                with pytest.raises(RuntimeError, match="resume"):
                    stopping.push(A)
            stopping.go_on()
    assert (stopping.found, stopping.faults) == (plain.found, plain.faults)
    assert (stopping.truncated, stopping.skipped) == (plain.truncated, plain.skipped)


# -- offsets --------------------------------------------------------------------------------------------------


def test_several_messages_in_one_tsdu() -> None:
    assert [topic for topic, _ in found(tsdu(0, A, B, C))] == [b"a", b"b", b"c"]


def test_a_message_that_ends_exactly_on_a_full_packet() -> None:
    """The offset is ffff there, and the next packet begins with a message."""
    half = len(LONG) // 2
    assert found(tsdu(0, LONG[:half]), NONE + LONG[half:], tsdu(0, A))[0] == LONG_FOUND


def test_an_offset_that_equals_the_length() -> None:
    """The packet ends at a message's end, while there was room."""
    half = len(LONG) // 2
    rest = LONG[half:]
    assert found(tsdu(0, LONG[:half]), tsdu(len(rest), rest), tsdu(0, A))[0] == LONG_FOUND


def test_a_late_joiner_waits_for_an_offset() -> None:
    fast, _ = run(
        [NONE + LONG[100:200], NONE + LONG[200:300], tsdu(len(LONG) - 300, LONG[300:], A), tsdu(0, B)]
    )
    assert [topic for topic, _ in fast.found] == [b"a", b"b"]
    assert fast.skipped == 2 and not fast.faults


def test_a_late_joiner_at_an_offset_that_equals_the_length() -> None:
    assert found(tsdu(100, LONG[-100:]), tsdu(0, A)) == [(b"a", b"payload of a")]


def test_trap_4_after_a_gap_nothing_is_spliced() -> None:
    """libzmq feeds what comes behind a gap to the decoder of what came before. Equal sizes: only the gap tells."""
    first, second = message(b"t", b"1" * 1000), message(b"t", b"2" * 1000)
    one, two = [each for wire in (first, second) for each in pack([wire], 700)[:1]], pack([second], 700)[1]
    fast, _ = run([one[0], None, two, tsdu(0, A)])
    assert fast.found == [(b"a", b"payload of a")]
    assert fast.truncated == 1 and not fast.faults


def test_trap_4_resynchronisation_is_exactly_at_the_gap() -> None:
    """What came before was delivered before, what is whole behind is delivered from its beginning."""
    tsdus = pack([A, LONG, B, LONG, C], 500)
    for lost in range(len(tsdus)):
        fast, _ = run([*tsdus[:lost], None, *tsdus[lost + 1 :]])
        before = run(list(tsdus[:lost]))[0].found
        assert fast.found[: len(before)] == before
        assert not fast.faults
        assert (b"c", b"payload of c") in fast.found or lost == len(tsdus) - 1


def test_a_gap_between_messages_truncates_nothing() -> None:
    fast, _ = run([tsdu(0, A), None, tsdu(0, B)])
    assert len(fast.found) == 2 and fast.truncated == 0


def test_a_gap_twice_is_a_gap() -> None:
    fast, _ = run([tsdu(0, LONG[:100]), None, None, NONE + LONG[100:], tsdu(0, A)])
    assert [topic for topic, _ in fast.found] == [b"a"] and fast.truncated == 1


def test_empty_tsdus_mean_nothing() -> None:
    assert [topic for topic, _ in found(tsdu(0), tsdu(0, A), NONE, tsdu(0), tsdu(0, B))] == [b"a", b"b"]
    assert found(tsdu(0, LONG[:900]), NONE, NONE + LONG[900:]) == [LONG_FOUND]


@pytest.mark.parametrize("size", [0, 1])
def test_trap_5_a_tsdu_of_one_byte(size: int) -> None:
    """The parser lets none pass; here it is a fault, and what was begun is gone."""
    assert faults(tsdu(0, LONG[:100]), b"\0" * size, NONE + LONG[100:], tsdu(0, A)) == (
        ["short-tsdu"],
        [b"a"],
    )


def test_trap_5_an_offset_beyond_the_length() -> None:
    """libzmq aborts on one while it joins."""
    assert faults(tsdu(len(A) + 1, A)) == (["offset-beyond-end"], [])
    assert faults(tsdu(0xFFFE, A), tsdu(0, B)) == (["offset-beyond-end"], [b"b"])
    in_sequence = (tsdu(0, A, LONG[:100]), tsdu(len(LONG), LONG[100:]), tsdu(0, B))
    assert faults(*in_sequence) == (["offset-beyond-end"], [b"a", b"b"])


def test_an_offset_within_a_message_in_sequence() -> None:
    """What was begun before does not end where the next begins: two streams, or a loss nobody noticed."""
    assert faults(tsdu(0, LONG[:100]), tsdu(0, A)) == (["misplaced-message"], [b"a"])
    assert faults(tsdu(0, LONG[:-20]), tsdu(10, LONG[-20:-10], A)) == (["misplaced-message"], [b"a"])
    assert faults(tsdu(0, LONG[:-20]), tsdu(25, LONG[-20:], b"12345", A)) == (["misplaced-message"], [b"a"])
    assert faults(tsdu(0, LONG[:-20]), NONE + LONG[-20:] + A, tsdu(0, B)) == (["misplaced-message"], [b"b"])


def test_an_offset_that_leaves_out_bytes_between_messages() -> None:
    assert faults(tsdu(0, A), tsdu(3, b"???", B)) == (["misplaced-message"], [b"a", b"b"])
    assert faults(tsdu(0, A), NONE + B, tsdu(0, C)) == (["misplaced-message"], [b"a", b"c"])


# -- frames ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 252, 253, 254, 255, 256, 4000])
@pytest.mark.parametrize("build", [frame, long_frame])
def test_lengths_in_one_byte_and_in_eight(size: int, build: object) -> None:
    made = frame if build is frame else long_frame
    sent = made(b"t" * min(size, 300), MORE) + made(b"p" * size)
    expected = [(b"t" * min(size, 300), b"p" * size)]
    assert found(tsdu(0, sent)) == expected
    for cut in {*range(1, min(len(sent), 30)), *range(max(1, len(sent) - 3), len(sent))}:
        assert found(tsdu(0, sent[:cut]), tsdu(len(sent) - cut, sent[cut:])) == expected
    for step in (1, 2, 9):
        assert found(*pack([sent, A], 2 + step)) == [*expected, (b"a", b"payload of a")]


def test_a_frame_of_length_zero() -> None:
    """It would be shorter than its flags."""
    assert faults(tsdu(0, A, b"\0\0", B), tsdu(0, C)) == (["length-zero"], [b"a", b"c"])
    assert faults(tsdu(0, b"\xff", bytes(8), b"\0"), tsdu(0, C)) == (["length-zero"], [b"c"])
    assert faults(tsdu(0, frame(b"t", MORE), b"\0\0"), tsdu(0, C)) == (["length-zero"], [b"c"])


@pytest.mark.parametrize("flags", [2, 3, 4, 128, 255])
def test_reserved_flags(flags: int) -> None:
    assert faults(tsdu(0, frame(b"t", flags), A), tsdu(0, B)) == (["reserved-flags"], [b"b"])
    spoilt = frame(b"t", MORE) + frame(b"p", flags)
    assert faults(tsdu(0, spoilt[:4]), tsdu(len(spoilt) - 4, spoilt[4:], A)) == (["reserved-flags"], [b"a"])


@pytest.mark.parametrize("length", [LIMIT + 2, 2**31, 2**32, 2**63 - 1, 2**63, 2**64 - 1])
def test_lengths_that_announce_up_to_2_63(length: int) -> None:
    """One fault, no memory, and the next offset is the next beginning."""
    head = b"\xff" + length.to_bytes(8, "big")
    for wire in (head + b"\1topic", frame(b"topic", MORE) + head + b"\0payload"):
        fast, _ = run([tsdu(0, A, wire), NONE + bytes(1000), NONE + bytes(1000), tsdu(0, B)])
        assert fast.faults == ["too-large"] and [topic for topic, _ in fast.found] == [b"a", b"b"]
        assert fast.buffer_bytes == 0 and fast.skipped == 2


def test_topic_and_payload_are_bounded_together() -> None:
    assert len(found(tsdu(0, message(b"t" * 10, b"p" * 90)), most=100)) == 1
    wire = message(b"t" * 10, b"p" * 91)
    assert faults(tsdu(0, A, wire, B), most=100) == (["too-large"], [b"a", b"b"])
    assert faults(tsdu(0, A, wire[:50]), tsdu(len(wire) - 50, wire[50:], B), most=100) == (
        ["too-large"],
        [b"a", b"b"],
    )
    assert faults(tsdu(0, message(b"t" * 101, b"")), tsdu(0, A), most=100) == (["too-large"], [b"a"])


def test_the_buffer_grows_with_what_arrives_and_is_given_back() -> None:
    size = 1 << 20
    wire = message(b"t", bytes(size))
    tsdus = pack([wire, A], 1448)
    probe = Probe(size + 1)
    for count, each in enumerate(tsdus, 1):
        probe.push(each)
        assert probe.buffer_bytes <= max(4096, 2 * 1448 * count)
    assert len(probe.found) == 2 and probe.buffer_bytes == 0


def test_more_without_end() -> None:
    """Nothing of it is kept, and it is one fault."""
    part = frame(b"x" * 100, MORE)
    fast, _ = run([tsdu(0, part * 14), *[NONE + part * 14] * 50, tsdu(0, A)])
    assert fast.faults == ["too-many-parts"] and len(fast.found) == 1
    assert fast.buffer_bytes == 0 and fast.skipped == 50


def test_messages_of_one_and_of_three_parts_cost_only_themselves() -> None:
    alone, three = frame(b"alone"), frame(b"t", MORE) + frame(b"1", MORE) + frame(b"2")
    assert faults(tsdu(0, A, alone, B, three, C)) == (["one-part", "too-many-parts"], [b"a", b"b", b"c"])
    for odd in (frame(b"x" * 400), frame(b"t", MORE) + frame(b"1" * 200, MORE) + frame(b"2" * 200)):
        for size in (20, 100, 300, 390):
            reasons, delivered = faults(*pack([A, odd, B, C], size))
            assert len(reasons) == 1 and delivered == [b"a", b"b", b"c"]


def test_empty_topics_and_payloads() -> None:
    assert found(tsdu(0, message(b"", b""), message(b"", b"p"), message(b"t", b""))) == [
        (b"", b""),
        (b"", b"p"),
        (b"t", b""),
    ]


# -- stopping, errors, reentrance -----------------------------------------------------------------------------


def test_stopping_keeps_the_rest_and_an_unfinished_message() -> None:
    probe = Probe(LIMIT)
    probe.stop_after = 1
    probe.push(tsdu(0, A, B, LONG[:100]))
    assert probe.has_rest and not probe.has_part and probe.messages == 1
    probe.go_on()
    assert not probe.has_rest and probe.has_part and probe.messages == 2
    probe.push(NONE + LONG[100:])
    assert [topic for topic, _ in probe.found] == [b"a", b"b", b"long"]


def test_stopping_behind_a_message_that_spans_tsdus() -> None:
    probe = Probe(LIMIT)
    probe.stop_after = 1
    probe.push(tsdu(0, LONG[:100]))
    probe.push(tsdu(len(LONG) - 100, LONG[100:], A))
    assert probe.found == [LONG_FOUND] and probe.has_rest
    probe.go_on()
    assert len(probe.found) == 2 and not probe.has_rest


def test_stopping_at_the_end_leaves_no_rest() -> None:
    probe = Probe(LIMIT)
    probe.stop_after = 1
    probe.push(tsdu(0, A))
    assert not probe.has_rest
    probe.go_on()
    probe.push(tsdu(0, B))
    assert probe.messages == 2


def test_a_gap_behind_a_rest_waits_for_it() -> None:
    probe = Probe(LIMIT)
    probe.stop_after = 1
    probe.push(tsdu(0, A, B, LONG[:100]))
    probe.gap()
    probe.go_on()
    assert probe.messages == 2 and probe.truncated == 1
    probe.push(NONE + LONG[100:])
    probe.push(tsdu(0, C))
    assert [topic for topic, _ in probe.found] == [b"a", b"b", b"c"] and not probe.faults


@pytest.mark.parametrize("failing", range(4))
def test_an_error_costs_one_message(failing: int) -> None:
    """Of the four, one spans TSDUs; the others are in them."""
    probe = Probe(LIMIT)
    probe.raise_at = failing
    tsdus = [tsdu(0, A, LONG[:100]), tsdu(len(LONG) - 100, LONG[100:], B), tsdu(0, C)]
    raised = 0
    for each in tsdus:
        try:
            probe.push(each)
        except ArithmeticError:
            raised += 1
        while probe.has_rest:
            probe.go_on()
    topics_found = [b"a", b"long", b"b", b"c"]
    del topics_found[failing]
    assert [topic for topic, _ in probe.found] == topics_found
    assert raised == 1 and probe.messages == 4 and not probe.faults


def test_an_error_in_a_rest_costs_one_message() -> None:
    probe = Probe(LIMIT)
    probe.stop_after = 1
    probe.raise_at = 1
    probe.push(tsdu(0, A, B, C))
    with pytest.raises(ArithmeticError):
        probe.go_on()
    assert probe.has_rest
    probe.go_on()
    assert [topic for topic, _ in probe.found] == [b"a", b"c"]


def test_what_is_called_from_within_a_message() -> None:
    """A reactant may end up anywhere: going on is the caller's business, feeding is an error, a gap waits."""
    seen: list[str] = []

    def meddle(probe: Probe) -> None:
        probe.go_on()
        with pytest.raises(RuntimeError, match="being read"):
            probe.push(tsdu(0, C))
        if probe.messages == 1:
            probe.gap()
        seen.append(probe.found[-1][0].decode())

    probe = Probe(LIMIT)
    probe.on_message = meddle
    probe.push(tsdu(0, A, B, LONG[:50]))
    assert seen == ["a", "b"] and not probe.has_part and probe.truncated == 1
    probe.push(NONE + LONG[50:])
    assert probe.skipped == 1


def test_a_rest_does_not_point_into_what_was_lent() -> None:
    probe = Probe(LIMIT)
    probe.stop_after = 1
    lent = bytearray(tsdu(0, A, B))
    probe.push(lent)
    lent[:] = bytes(len(lent))
    probe.go_on()
    assert [topic for topic, _ in probe.found] == [b"a", b"b"]


# -- construction ---------------------------------------------------------------------------------------------


def test_max_message_bytes() -> None:
    for wrong in (0, -1, MAX_MESSAGE_BYTES + 1, 2**64):
        with pytest.raises(ValueError, match="max_message_bytes: expected 1 to"):
            Deframer(wrong)
    assert Deframer(MAX_MESSAGE_BYTES).max_message_bytes == MAX_MESSAGE_BYTES


def test_a_deframer_that_was_never_made_takes_no_message() -> None:
    """Python lets one do that: an error, not a crash."""
    probe = Probe.__new__(Probe)
    with pytest.raises(AttributeError):
        probe.push(tsdu(0, A))


def test_names_of_faults_differ() -> None:
    assert len(set(FAULTS)) == len(FAULTS)


def test_the_slow_packer_packs_as_libzmq_says() -> None:
    assert NO_MESSAGE == 0xFFFF
    packed = pack([A, LONG], 100)
    assert packed[0][:2] == b"\0\0" and packed[1][:2] == NONE
    tail = (len(A) + len(LONG)) % 98
    assert packed[-1] == tail.to_bytes(2, "big") + LONG[-tail:]
