# SPDX-License-Identifier: Apache-2.0
"""A Reception against the slow one: any packets, stops anywhere, sequence numbers that go round."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.pgm.twins import MIDDLE, TSDUS, Twins
from tests.reference.reception import MAX_LATE

near = st.one_of(st.integers(MIDDLE, MIDDLE + 12), st.integers(-30, len(TSDUS) + 30))
# Rarely, and then several near each other, numbers that are late no more.
places = st.one_of(near, near, near, near.map(lambda place: place - MAX_LATE - 40))
back = st.one_of(st.just(1000), st.integers(0, 6))
steps = st.one_of(
    st.tuples(st.sampled_from(["odata", "rdata", "spm"]), places, back),
    # As a stream goes on that hardly loses anything.
    st.tuples(st.just("next"), st.integers(1, 3), back),
    st.tuples(st.sampled_from(["ncf", "nak", "give up"]), places, st.integers(1, 5)),
    st.tuples(st.sampled_from(["stop", "resume"]), st.integers(0, 4), st.just(0)),
)


@settings(deadline=None)
@given(
    st.lists(steps, max_size=40),
    st.integers(1, 12),
    st.sampled_from([60, 200, 10_000]),
    st.sampled_from([0, 2**32 - MIDDLE - 5, 2**31 - MIDDLE - 3]),
)
def test_does_as_the_slow_reception(
    moves: list[tuple[str, int, int]], most: int, most_bytes: int, base: int
) -> None:
    twins = Twins(most, most_bytes, base)
    for kind, place, other in moves:
        match kind:
            case "odata" | "rdata":
                twins.data(place, other, repair=kind == "rdata")
            case "next":
                twins.data(twins.slow.lead + place, other, repair=False)
            case "spm":
                twins.spm(place, other)
            case "ncf":
                twins.ncf(place, other)
            case "nak":
                twins.nak(place, other)
            case "give up":
                twins.give_up(place, other)
            case "stop":
                twins.stop(place)
            case _:
                twins.resume()
