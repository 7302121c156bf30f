# SPDX-License-Identifier: Apache-2.0
"""The compiled frame header against the slow one."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from plexo._fast.frames import build_frame, parse_frame_header
from tests.reference import frames as reference

# Uniform bytes would almost all have a reserved flag; half of these start with a flags byte that may be right.
header_like = st.binary(max_size=20) | st.builds(
    lambda flags, rest: bytes([flags]) + rest, st.integers(0, 15), st.binary(max_size=12)
)


def outcome(parse, data):
    try:
        return parse(data)
    except ValueError:
        return ValueError


@given(header_like)
@settings(max_examples=500, deadline=None)
@example(b"\x02" + b"\x7f" + b"\xff" * 7)
@example(b"\x02" + b"\x80" + b"\x00" * 7)
def test_like_the_reference(data):
    assert outcome(parse_frame_header, data) == outcome(reference.parse_frame_header, data)


@given(st.sampled_from([0, reference.MORE, reference.COMMAND]), st.integers(0, 600), st.binary(max_size=3))
@settings(deadline=None)
@example(0, 255, b"")
@example(0, 256, b"")
@example(0, 70_000, b"")
def test_built_frames_come_back(flags, size, behind):
    body = bytes(size)
    frame = build_frame(flags, body)
    assert frame == reference.build_frame(flags, body)
    header_size = 2 if size <= 255 else 9
    assert parse_frame_header(frame + behind) == (flags, size, header_size)
    for cut in range(header_size):
        assert parse_frame_header(frame[:cut]) is None


def test_long_form_of_a_small_size_is_legal():
    assert parse_frame_header(b"\x03" + bytes(7) + b"\x05") == (reference.MORE, 5, 9)


def test_largest_size():
    assert parse_frame_header(b"\x02\x7f" + b"\xff" * 7) == (0, 2**63 - 1, 9)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x08", "reserved"),
        (b"\x80\x00", "reserved"),
        (b"\x05", "COMMAND and MORE"),
        (b"\x07" + bytes(8), "COMMAND and MORE"),
        (b"\x02\x80" + bytes(7), "size"),
    ],
)
def test_reasons(data, reason):
    with pytest.raises(ValueError, match=reason):
        parse_frame_header(data)


@pytest.mark.parametrize("flags", [2, 3, 5, 8, 255, -1, 256])
def test_flags_that_cannot_be_sent(flags):
    with pytest.raises(ValueError, match="flags must be"):
        build_frame(flags, b"")


@pytest.mark.parametrize("convert", [bytes, bytearray, memoryview])
def test_any_buffer(convert):
    assert parse_frame_header(convert(b"\x01\x03abc")) == (1, 3, 2)


def test_not_a_buffer():
    with pytest.raises(TypeError):
        parse_frame_header("\x01\x03abc")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        build_frame(0, None)  # type: ignore[arg-type]
