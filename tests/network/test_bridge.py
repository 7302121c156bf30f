# SPDX-License-Identifier: Apache-2.0
"""One plexus over ganglia of several kinds, and over one without a peer. What every kind promises is asked in
tests/conformance/test_bridge.py.
"""

from __future__ import annotations

from plexo import Cause, GanglionZmqTcpPair, GanglionZmqTcpPubSub, Plexus
from tests.support import Tick, run, tick, until

HOST = "127.0.0.1"


def to(ganglion: GanglionZmqTcpPair) -> GanglionZmqTcpPair:
    return GanglionZmqTcpPair(peer=ganglion.endpoint, reconnect_min_s=0.005)


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
