# SPDX-License-Identifier: Apache-2.0
"""The division of a stream that needs no interpreter: against the slow one, and what the ordinary readers find."""

from __future__ import annotations

import contextlib
import random
import struct
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from plexo._fast.envelope import build_envelope
from plexo._fast.scan import Divider
from tests.reference import scan as reference
from tests.reference.envelope import parse_envelope, scatter_envelope
from tests.reference.frames import COMMAND, MORE, build_frame, parse_frame_header

LIMIT = 200_000
BIG = reference.BIG_FRAME

names = st.sampled_from([b"", b"a", b"org.a.B", b"org.brewery.sake.Tick.msgpack", b"x" * 300])
# Few sizes, so that neighbours often look alike.
payloads = st.sampled_from([b"", b"1", b"1234567", b"12345678", b"p" * 64, b"q" * 64, b"r" * 250])


def message(is_pair: bool, name: bytes, payload: bytes) -> bytes:
    if is_pair:
        return build_frame(0, build_envelope(name, payload))
    return build_frame(MORE, name) + build_frame(0, payload)


def long_frame(flags: int, body: bytes) -> bytes:
    """LONG though it would not be needed."""
    return bytes([flags | 2]) + len(body).to_bytes(8, "big") + body


def scattered(name: bytes, payload: bytes, seed: int) -> bytes:
    return build_frame(0, scatter_envelope(name, payload, random.Random(seed), 1 + seed % 3))


def spoilt(name: bytes, at: int, value: int) -> bytes:
    """An envelope of ours with one byte changed."""
    body = bytearray(build_envelope(name, b"payload"))
    body[at % len(body)] = value
    return build_frame(0, bytes(body))


def pieces(is_pair: bool) -> st.SearchStrategy[bytes]:
    run = st.builds(
        lambda name, payload, count: message(is_pair, name, payload) * count,
        names,
        payloads,
        st.integers(1, 5),
    )
    odd = st.one_of(
        st.builds(lambda body: build_frame(COMMAND, body), st.binary(max_size=20)),
        st.builds(lambda body, flags: build_frame(flags, body), st.binary(max_size=20), st.sampled_from([0, MORE])),
        st.builds(lambda body, flags: long_frame(flags, body), st.binary(max_size=9), st.sampled_from([0, 1, 4])),
        st.builds(lambda name: build_frame(MORE, name) * 2 + build_frame(0, b"third"), names),
        st.builds(lambda name: build_frame(MORE, name) + long_frame(0, b"payload"), names),
        st.builds(scattered, names, payloads, st.integers(0, 99)),
        st.builds(spoilt, names, st.integers(0, 63), st.integers(0, 255)),
        st.builds(lambda over, flags: build_frame(flags, bytes(BIG + over)), st.integers(-9, 9), st.integers(0, 1)),
    )  # fmt: skip
    fault = st.sampled_from(
        [b"\x08", b"\x05\x00", b"\x02" + bytes([0x80] * 8), b"\x02" + struct.pack(">Q", LIMIT + 1)]
    )
    return st.lists(st.one_of(run, run, odd) | fault, max_size=8).map(b"".join) | st.lists(
        st.one_of(run, run, odd), max_size=12
    ).map(b"".join)


streams = st.booleans().flatmap(lambda is_pair: st.tuples(st.just(is_pair), pieces(is_pair)))


def cut(stream: bytes, cuts: Iterable[int]) -> list[bytes]:
    edges = [0, *sorted({each % (len(stream) + 1) for each in cuts}), len(stream)]
    return [stream[start:end] for start, end in zip(edges, edges[1:], strict=False)]  # noqa: RUF007


def divide(divider: Any, parts: Iterable[bytes], *room: int) -> list[tuple[bytes, list[reference.Entry]]]:
    """What is handed over, piece by piece; what is not divided goes before the next piece, as the thread does it."""
    carry = b""
    found = []
    for part in parts:
        data = carry + part
        used, entries = divider.divide(data, *room)
        assert used <= len(data)
        found.append((data[:used], entries))
        carry = data[used:]
        assert len(carry) < 2 * (BIG + 9)
    found.append((carry, []))
    return found


def ordinary(is_pair: bool, stream: bytes) -> tuple[dict[int, tuple[bytes, bytes]], set[int], int]:
    """What the ordinary readers find, frame by frame: (name, payload) of every message by its offset, where frames
    begin, and where the last whole one ends, or a fault is."""
    messages: dict[int, tuple[bytes, bytes]] = {}
    starts = set()
    parts: list[bytes] = []
    first = at = 0
    while at < len(stream):
        starts.add(at)
        try:
            header = parse_frame_header(stream[at : at + 9])
        except ValueError:
            break
        if header is None or at + header[2] + header[1] > len(stream) or header[1] > LIMIT:
            break
        flags, size, header_size = header
        body = stream[at + header_size : at + header_size + size]
        if flags & COMMAND:
            if parts:
                break
            at += header_size + size
            continue
        if not parts:
            first = at
        parts.append(body)
        at += header_size + size
        if flags & MORE:
            continue
        if is_pair and len(parts) == 1:
            with contextlib.suppress(ValueError):
                messages[first] = parse_envelope(body)
        elif not is_pair and len(parts) == 2:
            messages[first] = (parts[0], parts[1])
        parts = []
    return messages, starts, at


def check_against_ordinary(
    is_pair: bool, stream: bytes, found: list[tuple[bytes, list[reference.Entry]]]
) -> None:
    messages, starts, sound = ordinary(is_pair, stream)
    assert b"".join(data for data, _ in found) == stream
    base = 0
    for data, entries in found:
        end = 0
        for start, count, stride, prefix, payload, name_at, name in entries:
            assert start == end
            if count == 0:
                end += stride
                continue
            for number in range(count):
                at = start + number * stride
                name_of, payload_of = data[at + name_at :][:name], data[at + prefix :][:payload]
                assert messages[base + at] == (name_of, payload_of)
            end += count * stride
            # The parser is between two messages before and behind a run.
            assert base + start in starts and (base + end in starts or base + end == len(stream))
        if entries:
            assert end == len(data)
        base += len(data)
    # Nothing is withheld but the beginning of a frame, and the topic before it.
    unfinished = found[-1][0]
    if unfinished:
        rest = len(stream) - len(unfinished)
        whole = [start for start in starts if rest <= start < sound]
        assert len(whole) <= (0 if is_pair else 1)


@given(streams, st.lists(st.integers(0, 10**6), max_size=6), st.integers(2, 40))
@settings(max_examples=400, deadline=None)
def test_any_stream_in_any_pieces(which: tuple[bool, bytes], cuts: list[int], room: int) -> None:
    is_pair, stream = which
    for parts in ([stream], cut(stream, cuts)):
        found = divide(Divider(is_pair, LIMIT), parts)
        assert found == divide(reference.Divider(is_pair, LIMIT), parts)
        check_against_ordinary(is_pair, stream, found)
        # With little room for entries the last one takes what is left.
        tight = divide(Divider(is_pair, LIMIT), parts, room)
        assert all(len(entries) <= room for _, entries in tight)
        assert [data for data, _ in tight] == [data for data, _ in found]
        check_against_ordinary(is_pair, stream, tight)


@given(streams.filter(lambda which: len(which[1]) < 2000))
@settings(max_examples=100, deadline=None)
@example((True, message(True, b"a", b"b") * 3))
@example((False, message(False, b"a", b"b") * 3 + b"\x08"))
def test_one_byte_at_a_time(which: tuple[bool, bytes]) -> None:
    is_pair, stream = which
    parts = [bytes([byte]) for byte in stream]
    found = divide(Divider(is_pair, LIMIT), parts)
    assert found == divide(reference.Divider(is_pair, LIMIT), parts)
    check_against_ordinary(is_pair, stream, found)


@given(st.booleans(), st.binary(max_size=200), st.integers(0, 100), st.booleans())
@settings(max_examples=300, deadline=None)
def test_bytes_of_a_stranger_from_anywhere_in_a_stream(
    is_pair: bool, stream: bytes, opaque: int, inside: bool
) -> None:
    fast, slow = Divider(is_pair, LIMIT, opaque, inside), reference.Divider(is_pair, LIMIT, opaque, inside)
    assert divide(fast, [stream[:50], stream[50:]]) == divide(slow, [stream[:50], stream[50:]])
    assert fast.raw == slow.raw


@pytest.mark.parametrize("is_pair", [True, False])
def test_messages_that_look_alike_are_one_run(is_pair: bool) -> None:
    one, two = message(is_pair, b"org.a.B", b"12345678"), message(is_pair, b"org.a.C", b"12345678")
    used, entries = Divider(is_pair, LIMIT).divide(one * 100 + two * 3 + one + one[:-1])
    assert used == len(one) * 104
    assert [entry[:3] for entry in entries] == [
        (0, 100, len(one)), (100 * len(one), 3, len(two)), (103 * len(one), 1, len(one))
    ]  # fmt: skip
    assert {entry[4:] for entry in entries} == {(8, entries[0][5], 7)}


def test_every_fixed_byte_of_an_envelope_decides() -> None:
    """Each change to what stands before the name makes another message of it, or none: never one of the same run."""
    body = build_envelope(b"org.a.B", b"12345678")
    # And the NUL behind the name.
    for at in (*range(32), 32 + len(b"org.a.B")):
        for bit in range(8):
            changed = bytearray(body)
            changed[at] ^= 1 << bit
            stream = build_frame(0, body) + build_frame(0, bytes(changed)) + build_frame(0, body)
            found = divide(Divider(True, LIMIT), [stream])
            check_against_ordinary(True, stream, found)
            assert [entry[1] for entry in found[0][1]] == [1, 0, 1]


def test_large_frames_go_on_as_they_come() -> None:
    small = message(True, b"a", b"b")
    large = build_frame(0, bytes(3 * BIG))
    divider = Divider(True, 1 << 30)
    assert divider.divide(small + large[:100]) == (len(small) + 100, [
        (0, 1, len(small), len(small) - 8, 1, 34, 1), (len(small), 0, 100, 0, 0, 0, 0)
    ])  # fmt: skip
    used, entries = divider.divide(large[100:] + small * 2)
    assert used == len(large) - 100 + 2 * len(small)
    assert [entry[1] for entry in entries] == [0, 2]


def test_after_a_fault_nothing_is_divided() -> None:
    divider = Divider(True, LIMIT)
    small = message(True, b"a", b"b")
    assert not divider.raw
    assert [entry[1] for entry in divider.divide(small + b"\x80" + small)[1]] == [1, 0]
    assert divider.raw
    assert divider.divide(small * 2) == (2 * len(small), [(0, 0, 2 * len(small), 0, 0, 0, 0)])


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="room: expected at least 2 entries, got 1"):
        Divider(True, LIMIT).divide(b"", 1)
