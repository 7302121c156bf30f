# SPDX-License-Identifier: Apache-2.0
"""What arrives and cannot be used, and reactants that raise: counted, told once, and nobody else notices."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from plexo import Cause, DeadLetter, Failure, Plexus
from tests.conformance.rigs import Rig, encoding, every, receiving
from tests.support import Reading, Tick, reading, run, tick, until

# No MessagePack, MessagePack of another type, nothing, too much.
POISON = [b"\xc1", b"\x01", b"", tick.encode(Tick(1)) + b"\0"]


@encoding
@pytest.mark.parametrize("around", ["ganglion", "plexus"])
def test_what_does_not_decode_is_counted_and_buried(
    rig: Rig, around: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        one, other = rig.make()
        async with one, other:
            got: list[Any] = []
            letters: list[DeadLetter] = []
            outer: Any = other if around == "ganglion" else Plexus([other])
            await outer.react(tick, [got.append])
            await outer.react_dead_letters([letters.append])
            await one.adapt(tick)
            await rig.connected(one, tick)
            await one.transmit(Tick(1), tick)
            for payload in POISON:
                await one.transmit_encoded(payload, tick)
            await one.transmit(Tick(2), tick)
            await until(lambda: len(got) == 2 and len(letters) == len(POISON))
            assert got == [Tick(1), Tick(2)]
            assert [each.payload for each in letters] == POISON
            assert {each.reason for each in letters} == {Cause.UNDECODABLE}
            assert {each.neuron for each in letters} == {tick}
            assert all(isinstance(each.error, Exception) for each in letters)
            book = receiving(other, tick)
            assert (book.accepted, book.delivered, book.dropped) == (6, 2, {Cause.UNDECODABLE: 4})
            assert other.stats().fault_count(Cause.UNDECODABLE) == 4
            assert other.stats().received == 6
            outer.close()

    with caplog.at_level(logging.WARNING, "plexo"):
        run(main())
    assert sum("do not decode" in each.getMessage() for each in caplog.records) == 1


@every()
@pytest.mark.parametrize("around", ["ganglion", "plexus"])
def test_a_reactant_that_raises_harms_nobody(rig: Rig, around: str) -> None:
    async def main() -> None:
        told: list[Failure] = []
        got: list[Any] = []
        later: list[Any] = []
        one, other = rig.make(**({"on_error": told.append} if around == "ganglion" else {}))
        async with one, other:
            outer: Any = other if around == "ganglion" else Plexus([other], on_error=told.append)

            def raising(data: Tick) -> None:
                raise ValueError(f"tank {data.n}")

            async def raising_later(data: Tick) -> None:
                later.append(data)
                raise KeyError(data.n)

            await outer.react(tick, [raising, got.append, raising_later])
            await one.adapt(tick)
            await rig.connected(one, tick)
            for n in range(2):
                if rig.encodes:
                    await one.transmit(Tick(n), tick)
                else:  # the sender gets it
                    with pytest.raises(Exception) as caught:
                        await one.transmit(Tick(n), tick)
                    assert "reactants failed" in str(caught.value) or isinstance(caught.value, ValueError)
            await until(lambda: len(got) == len(later) == 2)
            assert got == later == [Tick(0), Tick(1)]
            if rig.encodes:
                await until(lambda: len(told) == 4)
                assert {type(each.error) for each in told} == {ValueError, KeyError}
                assert {each.data for each in told} == {Tick(0), Tick(1)}
                assert {each.neuron for each in told} == {tick}
            else:
                assert told == []
            book = outer.stats().neurons[tick.name].receiving
            assert book.dropped == {Cause.REACTANT_ERROR: 4}
            assert book.balanced
            outer.close()

    run(main())


@encoding
def test_the_poison_of_a_reactant_is_buried_with_its_bytes(rig: Rig) -> None:
    async def main() -> None:
        one, other = rig.make()
        async with one, other:
            letters: list[DeadLetter] = []

            def raising(data: Tick) -> None:
                raise ValueError("never")

            await other.react(tick, [raising])
            await other.react_dead_letters([letters.append])
            await one.adapt(tick)
            await rig.connected(one, tick)
            await one.transmit(Tick(7), tick)
            await until(lambda: letters)
            (letter,) = letters
            assert (letter.payload, letter.reason) == (tick.encode(Tick(7)), Cause.REACTANT_ERROR)
            assert isinstance(letter.error, ValueError)

    run(main())


@encoding
def test_one_neurons_poison_is_not_anothers(rig: Rig) -> None:
    async def main() -> None:
        one, other = rig.make()
        async with one, other:
            got: list[Any] = []
            await other.react(tick, [got.append])
            await other.react(reading, [got.append])
            await one.adapt(tick)
            await one.adapt(reading)
            await rig.connected(one, tick, reading)
            for n in range(20):
                await one.transmit_encoded(b"\xc1", tick)
                await one.transmit(Reading("tank", n), reading)
            await until(lambda: len(got) == 20)
            assert got == [Reading("tank", n) for n in range(20)]
            assert receiving(other, reading).lost == 0
            assert other.stats().faults.keys() == {(Cause.UNDECODABLE, tick.name, *_hosts(other))}

    run(main())


def _hosts(ganglion: Any) -> tuple[str]:
    (host,) = {peer for _, _, peer in ganglion.stats().faults}
    return (host,)
