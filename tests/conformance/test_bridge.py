# SPDX-License-Identifier: Apache-2.0
"""A ganglion beside others in a plexus: what arrives goes on undecoded, never back to where it came from."""

from __future__ import annotations

from typing import Any

from plexo import Cause, GanglionInproc, Plexus, Queue
from tests.conformance.rigs import Gate, Rig, bulk, encoding, every, numbers, raw, sending
from tests.support import Reading, Tick, reading, run, tick, until


@every()
def test_two_of_a_kind_are_a_bridge(rig: Rig) -> None:
    async def main() -> None:
        (far_left, left), (right, far_right) = rig.make(), rig.make()
        async with Plexus([left, right]) as bridge, far_left, far_right:
            here: list[Any] = []
            back: list[Any] = []
            there: list[Any] = []
            await far_left.react(tick, [back.append])
            await far_right.react(tick, [there.append])
            bridge.on(tick)(here.append)
            await rig.connected(far_left, tick)
            await rig.connected(left, tick)
            await rig.connected(right, tick)
            for n in range(100):
                await far_left.transmit(Tick(n), tick)
            await until(lambda: len(here) == len(there) == 100)
            assert here == there == [Tick(n) for n in range(100)]
            # A bus tells its own reactants, too; a link never tells who spoke.
            assert back == ([] if rig.encodes else here)
            await bridge.transmit(Tick(-1))
            await until(lambda: here[-1:] == there[-1:] == back[-1:] == [Tick(-1)])
            assert len(there) == 101
            assert len(back) == (1 if rig.encodes else 101)

    run(main())


@encoding
def test_what_a_bridge_cannot_decode_passes_it(rig: Rig) -> None:
    async def main() -> None:
        (far_left, left), (right, far_right) = rig.make(), rig.make()
        async with Plexus([left, right]) as bridge, far_left, far_right:
            raw: list[Any] = []
            await far_right.react_raw(tick, [raw.append])
            await bridge.adapt(tick)
            await far_left.adapt(tick)
            await rig.connected(far_left, tick)
            await rig.connected(right, tick)
            await far_left.transmit_encoded(b"\xc1", tick)
            await far_left.transmit(Tick(1), tick)
            await until(lambda: len(raw) == 2)
            assert raw == [b"\xc1", tick.encode(Tick(1))]
            assert left.stats().fault_count(Cause.UNDECODABLE) == 0
            assert sending(right, tick).accepted == 2

    run(main())


@encoding
def test_beside_a_bus_and_a_plexus(rig: Rig) -> None:
    async def main() -> None:
        far, near = rig.make()
        bus = GanglionInproc()
        async with Plexus([near, bus]) as outer, Plexus([bus]) as inner, far:
            got: list[Any] = []
            answers: list[Any] = []
            ids: list[Any] = []

            @inner.on(tick)
            async def answer(data: Tick, neuron: Any, reaction_id: Any) -> None:
                got.append(data)
                ids.append(reaction_id)
                await inner.transmit(Reading("inner", data.n), reading)

            await inner.adapt(reading)
            await outer.adapt(tick)
            await outer.adapt(reading)
            await far.react(reading, [answers.append])
            await far.adapt(tick)
            await rig.connected(far, tick)
            await rig.connected(near, reading)
            for n in range(10):
                await far.transmit(Tick(n), tick)
            await until(lambda: len(answers) == 10)
            assert got == [Tick(n) for n in range(10)]
            assert answers == [Reading("inner", n) for n in range(10)]
            assert len(set(ids)) == 10

    run(main())


@encoding
def test_an_answer_with_the_reaction_id_stays_away_from_where_the_question_came(rig: Rig) -> None:
    async def main() -> None:
        (far_left, left), (right, far_right) = rig.make(), rig.make()
        async with Plexus([left, right]) as middle, far_left, far_right:
            back: list[Any] = []
            there: list[Any] = []

            @middle.on(tick)
            async def answer(data: Tick, neuron: Any, reaction_id: Any) -> None:
                await middle.transmit(Reading("middle", data.n), reading, reaction_id)

            await middle.adapt(reading)
            await far_left.react(reading, [back.append])
            await far_right.react(reading, [there.append])
            await far_left.adapt(tick)
            await rig.connected(far_left, tick)
            await rig.connected(left, reading)
            await rig.connected(right, reading)
            await far_left.transmit(Tick(1), tick)
            await until(lambda: there)
            # On the same way comes what proves that nothing was on its way before it.
            await middle.transmit(Reading("middle", 99))
            await until(lambda: back)
            assert back == [Reading("middle", 99)]

    run(main())


@every(lambda rig: "block" in rig.send_policies)
def test_forwarding_to_one_that_does_not_read_holds_nobody_up(rig: Rig) -> None:
    async def main() -> None:
        far_left, left = rig.make(send_queue=Queue("block"))
        right, far_right = rig.make(send_queue=Queue("block", messages=1))
        async with Plexus([left, right]) as bridge, far_left, far_right:
            gate = Gate()
            here: list[int] = []
            bridge.on(raw)(lambda data: here.append(len(data)))
            await far_right.react(raw, [gate], queue=Queue("block", messages=1))
            await far_left.adapt(raw)
            await rig.connected(far_left, raw)
            await rig.connected(right, raw)
            for n in range(100):
                await far_left.transmit(bulk(rig, n), raw)
            await until(lambda: len(here) == 100)
            book = sending(right, raw)
            assert book.accepted == 100
            assert book.lost == 0
            gate.open()
            await until(lambda: len(gate.got) == 100)
            assert numbers(gate) == list(range(100))

    run(main())


@every()
def test_infused_while_it_runs(rig: Rig) -> None:
    async def main() -> None:
        far, near = rig.make()
        async with Plexus() as plexus, far:
            got: list[Any] = []
            plexus.on(tick)(got.append)
            await plexus.infuse_ganglion(near)
            await far.adapt(tick)
            await rig.connected(far, tick)
            await far.transmit(Tick(1), tick)
            await until(lambda: got == [Tick(1)])

    run(main())
