# SPDX-License-Identifier: Apache-2.0
"""Three processes: two sensors publish, one log subscribes to both.

    python examples/pubsub.py sensor tank-1 --port 5570
    python examples/pubsub.py sensor tank-2 --port 5571
    python examples/pubsub.py log --peers 5570 5571

Start them in any order. A sensor that nobody listens to encodes and sends nothing.
"""

import argparse
import asyncio
import contextlib
import itertools
import random

import msgspec

from plexo import GanglionZmqTcpPubSub, Neuron, Plexus


class Reading(msgspec.Struct, frozen=True):
    sensor: str
    number: int
    celsius: float


reading = Neuron(Reading, "org.brewery.sake")


async def sense(name: str, port: int, interval: float, count: int) -> None:
    ganglion = GanglionZmqTcpPubSub(bind_interface="127.0.0.1", port_pub=port)
    async with Plexus(ganglia=[ganglion]) as plexus:
        await plexus.adapt(reading)
        print(f"{name} publishes at {ganglion.endpoint}", flush=True)
        for number in range(1, count + 1) if count else itertools.count(1):
            await plexus.transmit(Reading(name, number, round(random.gauss(20, 2), 1)))
            await asyncio.sleep(interval)


async def log(ports: list[int], count: int) -> None:
    # It publishes nothing itself, so it binds no port.
    ganglion = GanglionZmqTcpPubSub(port_pub=None, peers=[("127.0.0.1", port) for port in ports])
    async with Plexus(ganglia=[ganglion]) as plexus:
        received = 0
        async for r in plexus.stream(reading):
            print(f"{r.sensor} #{r.number}: {r.celsius} degrees", flush=True)
            received += 1
            if received == count:
                break


def main() -> None:
    parser = argparse.ArgumentParser()
    roles = parser.add_subparsers(dest="role", required=True)
    sensor = roles.add_parser("sensor")
    sensor.add_argument("name")
    sensor.add_argument("--port", type=int, default=5570)
    sensor.add_argument("--interval", type=float, default=0.5, help="seconds between two readings")
    sensor.add_argument("--count", type=int, default=0, help="readings to make; 0: until interrupted")
    logger = roles.add_parser("log")
    logger.add_argument("--peers", type=int, nargs="+", default=[5570], metavar="PORT")
    logger.add_argument("--count", type=int, default=0, help="readings to log; 0: until interrupted")
    given = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        if given.role == "sensor":
            asyncio.run(sense(given.name, given.port, given.interval, given.count))
        else:
            asyncio.run(log(given.peers, given.count))


if __name__ == "__main__":
    main()
