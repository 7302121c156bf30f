# SPDX-License-Identifier: Apache-2.0
"""Begin when everybody is there, so that nobody misses the first message; and see who comes and goes.

    python examples/ready.py brew --cellars 2
    python examples/ready.py cellar red
    python examples/ready.py cellar white

Each in a terminal of its own, in any order.
"""

import argparse
import asyncio
import contextlib

import msgspec

from plexo import GanglionZmqTcpPubSub, LinkEvent, Neuron, Plexus


class Batch(msgspec.Struct, frozen=True):
    number: int
    of: int


batch = Neuron(Batch, "org.brewery.sake")


def report(event: LinkEvent) -> None:
    print(f"{event.kind.value} {event.peer} {event.reason}".rstrip(), flush=True)


async def brew(port: int, cellars: int, count: int, timeout_s: float) -> None:
    ganglion = GanglionZmqTcpPubSub(bind_interface="127.0.0.1", port_pub=port)
    async with Plexus(ganglia=[ganglion]) as plexus:
        await plexus.adapt(batch)
        plexus.on_link_event(report)
        print(f"waiting for {cellars} at {ganglion.endpoint}", flush=True)
        try:
            await plexus.ready(cellars, batch, timeout_s)
        except TimeoutError as missing:
            raise SystemExit(f"not everybody came: {missing}") from None
        for number in range(1, count + 1):
            await plexus.transmit(Batch(number, count))
        print(f"sent {count}", flush=True)


async def cellar(name: str, port: int) -> None:
    ganglion = GanglionZmqTcpPubSub(port_pub=None, peers=[("127.0.0.1", port)])
    async with Plexus(ganglia=[ganglion]) as plexus:
        async for b in plexus.stream(batch):
            print(f"{name}: {b.number} of {b.of}", flush=True)
            if b.number == b.of:
                break


def main() -> None:
    parser = argparse.ArgumentParser()
    roles = parser.add_subparsers(dest="role", required=True)
    brewer = roles.add_parser("brew")
    brewer.add_argument("--port", type=int, default=5570)
    brewer.add_argument("--cellars", type=int, default=2, help="how many to wait for")
    brewer.add_argument("--count", type=int, default=3, help="batches to send")
    brewer.add_argument("--timeout", type=float, default=60, help="seconds to wait for them")
    store = roles.add_parser("cellar")
    store.add_argument("name")
    store.add_argument("--port", type=int, default=5570)
    given = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        if given.role == "brew":
            asyncio.run(brew(given.port, given.cellars, given.count, given.timeout))
        else:
            asyncio.run(cellar(given.name, given.port))


if __name__ == "__main__":
    main()
