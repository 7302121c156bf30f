# SPDX-License-Identifier: Apache-2.0
"""No address anywhere: whoever is plugged into the network sends and hears, each type in a multicast group of its own.

    python examples/multicast.py sensor tank-1
    python examples/multicast.py log
    python examples/multicast.py bridge

Any number, in any order. The bridge publishes over TCP what it hears, for `python examples/pubsub.py log`.
`--interface 127.0.0.1` keeps everything on this machine.
"""

import argparse
import asyncio
import contextlib
import itertools
import random

import msgspec

from plexo import GanglionPlexoMulticast, GanglionZmqTcpPubSub, Neuron, Plexus


class Reading(msgspec.Struct, frozen=True):
    sensor: str
    number: int
    celsius: float


reading = Neuron(Reading, "org.brewery.sake")


async def sense(multicast: GanglionPlexoMulticast, name: str, interval: float, count: int) -> None:
    async with Plexus(ganglia=[multicast]) as plexus:
        await plexus.adapt(reading)
        for number in range(1, count + 1) if count else itertools.count(1):
            await plexus.transmit(Reading(name, number, round(random.gauss(20, 2), 1)))
            await asyncio.sleep(interval)


async def log(multicast: GanglionPlexoMulticast, count: int) -> None:
    async with Plexus(ganglia=[multicast]) as plexus:
        readings = plexus.stream(reading)
        await multicast.adapt(reading)
        print(f"listening; {await multicast.agreed(reading)} is the group of {reading.name}", flush=True)
        for _ in range(count) if count else itertools.count():
            r = await anext(readings)
            print(f"{r.sensor} #{r.number}: {r.celsius} degrees", flush=True)


async def bridge(multicast: GanglionPlexoMulticast, port: int) -> None:
    pubsub = GanglionZmqTcpPubSub(bind_interface="127.0.0.1", port_pub=port)
    async with Plexus(ganglia=[multicast, pubsub]) as plexus:
        await plexus.adapt(reading)
        print(f"multicast -> {pubsub.endpoint}", flush=True)
        await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=("sensor", "log", "bridge"))
    parser.add_argument("name", nargs="?", default="tank-1", help="of the sensor")
    parser.add_argument("--interface", help="an address or an interface's name; default: the primary one")
    parser.add_argument("--multicast-port", type=int, default=5560, help="the same for all")
    parser.add_argument("--port", type=int, default=5570, help="TCP, of the bridge")
    parser.add_argument("--interval", type=float, default=0.5, help="seconds between two readings")
    parser.add_argument("--count", type=int, default=0, help="readings; 0: until interrupted")
    given = parser.parse_args()
    multicast = GanglionPlexoMulticast(given.interface, port=given.multicast_port)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(
            {
                "sensor": lambda: sense(multicast, given.name, given.interval, given.count),
                "log": lambda: log(multicast, given.count),
                "bridge": lambda: bridge(multicast, given.port),
            }[given.role]()
        )


if __name__ == "__main__":
    main()
