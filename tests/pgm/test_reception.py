# SPDX-License-Identifier: Apache-2.0
"""From packets in any order to messages in sequence."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from tests.pgm.sources import Source, Way, reception
from tests.reference.deframer import Message


def stream(count: int) -> list[Message]:
    return [(b"t", b"%d " % number * (number % 40)) for number in range(count)]


@given(
    st.integers(0, 120),
    st.sampled_from([0.0, 0.05, 0.3]),
    st.sampled_from([0, 2**32 - 30]),
    st.integers(0, 2**32),
)
def test_what_is_lost_on_the_way_is_repaired(count: int, loss: float, first: int, seed: int) -> None:
    """All messages, once, in order, whatever the way does: both ways lose, double and delay."""
    rng = random.Random(seed)
    sent = stream(count)
    source = Source(sent, 60, first)
    target = reception()
    way = Way(target, source, rng, loss)
    # What comes before it is known is not missed.
    assert target.push(source.spm(), 0.0)
    for number in range(len(source.tsdus)):
        way.send(source.next())
        way.run((number + 1) * 0.001)
    while not target.finished:
        way.send(source.spm(fin=True))
        way.run(way.now + 0.1)
        assert way.now < 60
    assert target.events == sent
    assert target.lost_packets == target.stored_packets == 0
    assert target.received == len(source.tsdus)
    if not loss:
        assert not way.asked and target.repaired == target.repeated == 0
