# SPDX-License-Identifier: Apache-2.0
"""The ring of packets out of sequence, against a dict."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from plexo._fast.receive_window import MAX_PACKETS, WindowProbe

EMPTY, STORED, LOST = range(3)
moves = st.lists(
    st.tuples(
        st.sampled_from(["put", "mark", "unmark", "take", "go on", "clear"]),
        st.integers(0, 140),
        st.integers(0, 9),
    ),
    max_size=60,
)


@given(moves, st.integers(1, 130), st.integers(0, 60), st.sampled_from([0, 7, 2**32 - 20]))
@example(
    [("put", 0, 9), ("mark", 63, 0), ("mark", 64, 0), ("put", 63, 1), ("put", 128, 1)], 130, 5, 2**32 - 1
)
def test_does_as_a_dict(steps: list[tuple[str, int, int]], most: int, most_bytes: int, expected: int) -> None:
    window = WindowProbe(most, most_bytes)
    plain: dict[int, bytes | None] = {}
    for step, ahead, size in steps:
        sqn = (expected + ahead) % 2**32
        stored = sum(len(each) for each in plain.values() if each is not None)
        if step == "put":
            content = bytes([ahead]) * size
            fits = ahead < most and plain.get(sqn) is None and (not ahead or stored + size <= most_bytes)
            assert window.put(expected, sqn, content) == fits
            if fits:
                plain[sqn] = content
        elif step == "mark":
            fits = ahead < most and sqn not in plain
            assert window.mark(expected, sqn) == fits
            if fits:
                plain[sqn] = None
        elif step == "unmark":
            assert window.unmark(sqn) == (sqn in plain and plain[sqn] is None)
            if window.place_of(sqn) == EMPTY:
                plain.pop(sqn, None)
        elif step == "take":
            content_there = plain.get(sqn)
            assert window.take(sqn) == content_there
            if content_there is not None:
                del plain[sqn]
        elif step == "go on":
            # Whoever moves on has taken all that is before.
            while expected != sqn and expected not in plain:
                expected = (expected + 1) % 2**32
        else:
            window.empty()
            plain.clear()
        for each in range(expected - 5, expected + 145):
            there = plain.get(each % 2**32, b"") if each % 2**32 in plain else EMPTY
            place = EMPTY if there == EMPTY else LOST if there is None else STORED
            assert window.place_of(each % 2**32) == place
        found = [each for each in plain.values() if each is not None]
        assert (window.stored, window.stored_bytes) == (len(found), sum(map(len, found)))
        assert window.marks == len(plain) - len(found)


def test_the_ring_grows_with_what_is_far_and_is_given_back() -> None:
    window = WindowProbe(65536, 1 << 20)
    assert window.ring_slots == 0
    assert window.put(0, 10, b"near") and window.ring_slots == 64
    assert window.put(0, 65535, b"far") and window.ring_slots == 65536
    assert not window.put(0, 65536, b"too far") and window.ring_slots == 65536
    assert window.take(10) == b"near" and window.take(65535) == b"far"
    assert window.ring_slots == 0


def test_what_is_next_is_taken_whatever_is_stored() -> None:
    """It is what the others wait for."""
    window = WindowProbe(10, 3)
    assert window.put(0, 1, b"abc") and not window.put(0, 2, b"d")
    assert window.put(0, 0, b"efg") and window.stored_bytes == 6
    assert not window.put(0, 0, b"again")


def test_a_packet_is_taken_once() -> None:
    window = WindowProbe(10, 100)
    assert window.put(0, 3, b"abc") and window.take(3) == b"abc"
    assert window.take(3) is None and window.stored == 0
    assert window.put(0, 3, b"x") and window.take(3) == b"x"


@pytest.mark.parametrize("most", [0, -1, MAX_PACKETS + 1])
def test_limits_that_are_none(most: int) -> None:
    with pytest.raises(ValueError, match="most_packets"):
        WindowProbe(most, 1)
