# SPDX-License-Identifier: Apache-2.0
"""One plexus over several external ganglia: messages go on undecoded, never back; answers may stay away from home."""

from __future__ import annotations

import asyncio
from typing import Any

from plexo import Cause, GanglionInproc, GanglionZmqTcpPair, GanglionZmqTcpPubSub, Plexus
from tests.support import Reading, Tick, reading, run, tick, until

HOST = "127.0.0.1"


def to(ganglion: GanglionZmqTcpPair) -> GanglionZmqTcpPair:
    return GanglionZmqTcpPair(peer=ganglion.endpoint, reconnect_min_s=0.005)


def test_a_message_goes_on_to_the_other_ganglia_undecoded_and_not_back() -> None:
    async def main() -> None:
        left, right = GanglionZmqTcpPair(HOST, 0), GanglionZmqTcpPair(HOST, 0)
        async with Plexus([left, right]) as bridge, Plexus([to(left)]) as a, Plexus([to(right)]) as b:
            await bridge.adapt(tick)
            got_a: list[Tick] = []
            got_b: list[Tick] = []
            a.on(tick)(got_a.append)
            b.on(tick)(got_b.append)
            await until(lambda: left.hub.links and right.hub.links)
            for n in range(100):
                await a.transmit(Tick(n))
            await b.transmit(Tick(-1))
            await until(lambda: len(got_b) == 101 and len(got_a) == 101)
            assert got_b == [*[Tick(n) for n in range(100)], Tick(-1)] or sorted(
                got_b, key=lambda data: data.n
            ) == [Tick(n) for n in range(-1, 100)]
            # Undecodable bytes pass, since nobody here looks at them.
            side = a.ganglia[0]
            await side.transmit_encoded(b"\xc1", tick)  # type: ignore[union-attr]
            await until(lambda: b.ganglia[0].stats().fault_count(Cause.UNDECODABLE) == 1)  # type: ignore[union-attr]
            assert left.stats().fault_count(Cause.UNDECODABLE) == 0

    run(main())


def test_pair_to_publish_subscribe_and_local_reactants() -> None:
    async def main() -> None:
        pair = GanglionZmqTcpPair(HOST, 0)
        source = GanglionZmqTcpPubSub(HOST, 0)
        sink = GanglionZmqTcpPubSub(HOST, 0, [source.endpoint], reconnect_min_s=0.005)
        async with Plexus([pair, source]) as bridge, Plexus([to(pair)]) as sensor, Plexus([sink]) as viewer:
            here: list[Tick] = []
            there: list[Tick] = []
            bridge.on(tick)(here.append)
            viewer.on(tick)(there.append)
            await sensor.adapt(tick)
            await until(lambda: source._synapses[tick].subscriber_count == 1)  # type: ignore[attr-defined]
            for n in range(50):
                await sensor.transmit(Tick(n))
            await until(lambda: len(here) == 50 and len(there) == 50)
            assert here == there

    run(main())


def test_forwarding_to_a_pair_without_a_peer_is_bounded_and_holds_nobody_up() -> None:
    async def main() -> None:
        left, right = GanglionZmqTcpPair(HOST, 0), GanglionZmqTcpPair(HOST, 0)
        async with Plexus([left, right]) as bridge, Plexus([to(left)]) as a:
            here: list[Tick] = []
            bridge.on(tick)(here.append)
            await a.adapt(tick)
            for n in range(1500):
                await a.transmit(Tick(n))
            await until(lambda: len(here) == 1500)
            assert right.stats().neurons[tick.name].sending.queued == 1000
            assert right.stats().neurons[tick.name].sending.dropped == {Cause.QUEUE_FULL: 500}
            assert right.stats().fault_count(Cause.QUEUE_FULL) == 500
            got: list[int] = []
            async with Plexus([to(right)]) as b:
                b.on(tick)(lambda data: got.append(data.n))
                await until(lambda: len(got) == 1000)
            assert got == list(range(1000))

    run(main())


def test_reactants_with_three_arguments_get_an_id_and_an_answer_with_it_stays_away_from_where_it_came() -> (
    None
):
    async def main() -> None:
        left, right = GanglionZmqTcpPair(HOST, 0), GanglionZmqTcpPair(HOST, 0)
        async with Plexus([left, right]) as middle, Plexus([to(left)]) as a, Plexus([to(right)]) as b:
            ids: list[Any] = []

            @middle.on(tick)
            async def answer(data: Tick, neuron: Any, reaction_id: Any) -> None:
                ids.append(reaction_id)
                await middle.transmit(Reading("middle", data.n), reading, reaction_id)

            await middle.adapt(reading)
            got_a: list[Reading] = []
            got_b: list[Reading] = []
            a.on(reading)(got_a.append)
            b.on(reading)(got_b.append)
            await a.adapt(tick)
            await until(lambda: left.hub.links and right.hub.links)
            await a.transmit(Tick(1))
            await a.transmit(Tick(2))
            await until(lambda: len(got_b) == 2)
            await asyncio.sleep(0.02)
            assert got_a == []
            assert len(set(ids)) == 2

    run(main())


def test_received_messages_reach_plexuses_behind_an_inproc_ganglion() -> None:
    async def main() -> None:
        bus = GanglionInproc()
        pair = GanglionZmqTcpPair(HOST, 0)
        async with Plexus([pair, bus]) as outer, Plexus([bus]) as inner, Plexus([to(pair)]) as remote:
            await outer.adapt(tick)
            got: list[Tick] = []
            answers: list[Reading] = []
            inner.on(tick)(got.append)
            remote.on(reading)(answers.append)
            await outer.adapt(reading)
            await inner.adapt(reading)
            await remote.adapt(tick)
            await remote.transmit(Tick(1))
            await until(lambda: got)
            await inner.transmit(Reading("inner", 1))
            await until(lambda: answers)
            assert got == [Tick(1)]
            assert answers == [Reading("inner", 1)]

    run(main())


def test_infusing_a_ganglion_while_running() -> None:
    async def main() -> None:
        async with Plexus() as plexus:
            got: list[Tick] = []
            plexus.on(tick)(got.append)
            pair = GanglionZmqTcpPair(HOST, 0)
            await plexus.infuse_ganglion(pair)
            async with Plexus([to(pair)]) as other:
                await other.adapt(tick)
                await other.transmit(Tick(1))
                await until(lambda: got)

    run(main())
