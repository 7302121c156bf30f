# SPDX-License-Identifier: Apache-2.0
"""A bridge: what a sensor sends over a pair goes to every subscriber, without being decoded on the way.

    python examples/forward.py bridge
    python examples/forward.py display --count 5
    python examples/forward.py sensor

The bridge has no reactant, only a plexus with two ganglia: messages are forwarded as the bytes they came in.
Its codec may even be unable to decode them, as here. `--watch` adds a raw reactant, which gets those bytes.
"""

import argparse
import asyncio
import contextlib

from plexo import GanglionZmqTcpPair, GanglionZmqTcpPubSub, MsgpackCodec, Neuron, Plexus

HOST = "127.0.0.1"
SAMPLE = Neuron(dict[str, float], "org.brewery.sake", type_name_alias="Sample")


class Opaque:
    """Has the name that makes the topic, and never decodes."""

    name = MsgpackCodec().name

    def encode(self, data: object) -> bytes:
        raise NotImplementedError("the bridge makes no messages")

    decode = encode


async def bridge(pair_port: int, pub_port: int, watch: bool, seconds: float) -> None:
    opaque = Neuron(object, "org.brewery.sake", Opaque(), type_name_alias="Sample")
    pair = GanglionZmqTcpPair(bind_interface=HOST, port=pair_port)
    pubsub = GanglionZmqTcpPubSub(bind_interface=HOST, port_pub=pub_port)
    async with Plexus(ganglia=[pair, pubsub]) as plexus:
        await plexus.adapt(opaque)
        if watch:
            await pair.react_raw(opaque, [lambda raw: print(f"{len(raw)} bytes: {raw.hex()}", flush=True)])
        print(f"{pair.endpoint} -> {pubsub.endpoint}", flush=True)
        await asyncio.sleep(seconds)


async def sensor(pair_port: int, count: int) -> None:
    async with Plexus(ganglia=[GanglionZmqTcpPair(peer=(HOST, pair_port))]) as plexus:
        await plexus.adapt(SAMPLE)
        for number in range(count):
            await plexus.transmit({"number": number, "celsius": 20.5}, SAMPLE)
            await asyncio.sleep(0.1)


async def display(pub_port: int, count: int) -> None:
    async with Plexus(ganglia=[GanglionZmqTcpPubSub(HOST, 0, peers=[(HOST, pub_port)])]) as plexus:
        samples = plexus.stream(SAMPLE)
        for _ in range(count):
            print(await anext(samples), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=("bridge", "sensor", "display"))
    parser.add_argument("--pair-port", type=int, default=5580)
    parser.add_argument("--pub-port", type=int, default=5570)
    parser.add_argument("--count", type=int, default=100, help="samples to send or to display")
    parser.add_argument("--watch", action="store_true", help="print the bytes on the bridge")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="how long to bridge")
    given = parser.parse_args()
    coroutine = {
        "bridge": lambda: bridge(given.pair_port, given.pub_port, given.watch, given.seconds),
        "sensor": lambda: sensor(given.pair_port, given.count),
        "display": lambda: display(given.pub_port, given.count),
    }[given.role]()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(coroutine)
