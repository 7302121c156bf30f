# SPDX-License-Identifier: Apache-2.0
"""What is transmitted arrives: whole, in order, decoded or not, at every reactant, as long as it reacts."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from plexo import Cause, Plexus
from tests.conformance.rigs import Rig, encoding, every, raw, receiving, sending
from tests.support import Reading, Tick, reading, run, tick, until


@every()
def test_values_arrive_in_order_at_every_reactant(rig: Rig) -> None:
    async def main() -> None:
        one, other = rig.make()
        async with one, other:
            plain: list[Any] = []
            late: list[Any] = []
            suspended: list[Any] = []
            neurons: list[Any] = []

            async def at_once(data: Tick) -> None:
                late.append(data)

            async def later(data: Tick, neuron: Any) -> None:
                await asyncio.sleep(0)
                suspended.append(data)
                neurons.append(neuron)

            await other.react(tick, [plain.append, at_once, later])
            await one.adapt(tick)
            await rig.connected(one, tick)
            handed = [await one.transmit(Tick(n), tick) for n in range(200)]
            expected = [Tick(n) for n in range(200)]
            await until(lambda: len(suspended) == 200)
            assert plain == late == suspended == expected
            assert set(neurons) == {tick}
            # In process it is reactants that count, elsewhere peers.
            assert all(rig.returned(each, 1 if rig.encodes else 3) for each in handed)
            book = receiving(other, tick)
            assert (book.accepted, book.delivered, book.queued, book.lost) == (600, 600, 0, 0)
            if rig.encodes:
                await until(lambda: sending(one, tick).delivered == 200)
                assert sending(one, tick).accepted == 200
                assert other.stats().received == 200

    run(main())


@every()
def test_several_neurons_and_senders_keep_the_order_of_each(rig: Rig) -> None:
    async def main() -> None:
        one, other = rig.make()
        async with one, other:
            got: list[Any] = []
            await other.react(tick, [got.append])
            await other.react(reading, [got.append])
            await one.adapt(tick)
            await one.adapt(reading)
            await rig.connected(one, tick, reading)

            async def send(values: list[Any], neuron: Any) -> None:
                for value in values:
                    await one.transmit(value, neuron)

            series = [
                [Tick(n) for n in range(100)],
                [Tick(n) for n in range(1000, 1100)],
                [Reading("tank", n) for n in range(100)],
            ]
            await asyncio.gather(*(send(each, tick if type(each[0]) is Tick else reading) for each in series))
            await until(lambda: len(got) == 300)
            for values in series:
                assert [each for each in got if each in values] == values

    run(main())


@every()
def test_many_at_once(rig: Rig) -> None:
    async def main() -> None:
        one, other = rig.make()
        async with one, other:
            got: list[Any] = []
            await other.react(tick, [got.append])
            await one.adapt(tick)
            await rig.connected(one, tick)
            values = [Tick(n) for n in range(3000)]
            assert rig.returned(await one.transmit_many(values, tick), 3000)
            assert rig.returned(await one.transmit_many(iter(values[:10]), tick), 10)
            await one.transmit(Tick(-1), tick)
            await until(lambda: got and got[-1] == Tick(-1))
            assert got == [*values, *values[:10], Tick(-1)]

    run(main())


@every()
def test_payloads_of_every_size(rig: Rig) -> None:
    sizes = [size for size in (0, 1, 255, 256, 4096, 65_535, 65_536, 1 << 20) if size < rig.large]
    sizes += [rig.large - 1, rig.large, 3]

    async def main() -> None:
        one, other = rig.make()
        async with one, other:
            got: list[bytes] = []
            await other.react(raw, [got.append])
            await one.adapt(raw)
            await rig.connected(one, raw)
            sent = [bytes([n]) * size for n, size in enumerate(sizes)]
            for each in sent:
                await one.transmit(each, raw)
            await until(lambda: len(got) == len(sent))
            assert got == sent

    run(main())


@encoding
def test_raw_reactants_get_the_bytes_beside_those_that_get_values(rig: Rig) -> None:
    async def main() -> None:
        one, other = rig.make()
        async with one, other:
            values: list[Any] = []
            undecoded: list[Any] = []
            await other.adapt(tick, [values.append], [undecoded.append])
            await other.react_raw(reading, [undecoded.append])
            await one.adapt(tick)
            await one.adapt(reading)
            await rig.connected(one, tick, reading)
            await one.transmit(Tick(1), tick)
            assert rig.returned(await one.transmit_encoded(tick.encode(Tick(2)), tick), 1)
            await one.transmit_encoded(b"\xc1 nobody decodes this", reading)
            await until(lambda: len(undecoded) == 3)
            assert values == [Tick(1), Tick(2)]
            assert undecoded == [tick.encode(Tick(1)), tick.encode(Tick(2)), b"\xc1 nobody decodes this"]
            assert other.stats().fault_count(Cause.UNDECODABLE) == 0

    run(main())


@encoding
def test_encoded_data_may_be_text_or_anything_with_bytes(rig: Rig) -> None:
    async def main() -> None:
        one, other = rig.make()
        async with one, other:
            got: list[Any] = []
            await other.react_raw(raw, [lambda data: got.append(bytes(data))])
            await one.adapt(raw)
            await rig.connected(one, raw)
            for data in ("salt", bytearray(b"salt"), memoryview(b"salt"), b"salt"):
                await one.transmit_encoded(data, raw)
            with pytest.raises(TypeError):
                await one.transmit_encoded(7, raw)
            await until(lambda: len(got) == 4)
            assert got == [b"salt"] * 4

    run(main())


@every()
def test_reacting_ends_with_unreact_and_begins_again(rig: Rig) -> None:
    async def main() -> None:
        one, other = rig.make()
        async with one, other:
            got: list[Any] = []
            also: list[Any] = []
            await other.react(tick, [got.append, also.append])
            await one.adapt(tick)
            await rig.connected(one, tick)
            await one.transmit(Tick(1), tick)
            await until(lambda: len(also) == len(got) == 1)
            await other.unreact(tick, [also.append])
            await one.transmit(Tick(2), tick)
            await until(lambda: len(got) == 2)
            await other.unreact(tick, [got.append])
            if rig.subscribes:
                await until(lambda: one.subscriber_count(tick) == 0)
            assert rig.returned(await one.transmit(Tick(3), tick), 1 if rig.reaches_all else 0)
            if rig.reaches_all:
                await until(lambda: other.stats().fault_count(Cause.IGNORED) == 1)
            await other.react(tick, [got.append])
            await rig.connected(one, tick)
            await one.transmit(Tick(4), tick)
            await until(lambda: got[-1] == Tick(4))
            assert got == [Tick(1), Tick(2), Tick(4)]
            assert also == [Tick(1)]

    run(main())


@every()
def test_what_nobody_takes_up_is_counted_where_it_comes(rig: Rig) -> None:
    async def main() -> None:
        one, other = rig.make()
        async with one, other:
            got: list[Any] = []
            await other.react(tick, [got.append])
            await one.adapt(reading)
            await one.adapt(tick)
            await rig.connected(one, tick)
            await one.transmit(Reading("tank", 1), reading)
            await one.transmit(Tick(1), tick)
            await until(lambda: got)
            unknown = other.stats().fault_count(Cause.UNKNOWN_TOPIC)
            assert unknown == (1 if rig.reaches_all else 0)

    run(main())


@every()
def test_both_ends_send_and_nobody_hears_himself_but_in_process(rig: Rig) -> None:
    async def main() -> None:
        one, other = rig.make()
        async with one, other:
            here: list[Any] = []
            there: list[Any] = []
            await one.react(tick, [here.append])
            await other.react(tick, [there.append])
            await rig.connected(one, tick)
            await rig.connected(other, tick)
            for n in range(50):
                await one.transmit(Tick(n), tick)
                await other.transmit(Tick(100 + n), tick)
            count = 50 if rig.encodes else 100
            await until(lambda: len(here) == len(there) == count)
            if rig.encodes:
                assert here == [Tick(100 + n) for n in range(50)]
                assert there == [Tick(n) for n in range(50)]
            else:
                assert here == there

    run(main())


@every()
def test_a_plexus_on_each_side(rig: Rig) -> None:
    async def main() -> None:
        one, other = rig.make()
        async with Plexus([one]) as a, Plexus([other]) as b:
            got: list[Any] = []
            b.on(tick)(got.append)
            stream = b.stream(reading)
            await a.adapt(tick)
            await a.adapt(reading)
            await rig.connected(one, tick, reading)
            # Of what is in process, reactants of the bus itself count, not those of plexuses behind it.
            peers = 1 if rig.encodes else 0
            assert rig.returned(await a.transmit(Tick(1)), peers)
            assert rig.returned(a.transmit_nowait(Tick(2)), peers)
            await a.transmit_many([Tick(3), Tick(4)])
            await a.transmit(Reading("tank", 1))
            async for value in stream:
                assert value == Reading("tank", 1)
                break
            await until(lambda: len(got) == 4)
            assert got == [Tick(n) for n in range(1, 5)]

    run(main())
