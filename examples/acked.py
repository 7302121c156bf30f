# SPDX-License-Identifier: Apache-2.0
"""Messages that are acknowledged, and kept in a file until they are.

    python examples/acked.py store
    python examples/acked.py till --journal /tmp/till.journal        (in a second terminal)

Kill the till with -9, or the store, and start it again: every sale arrives, once as long as the store lives.
"""

import argparse
import asyncio
import contextlib

import msgspec

from plexo import GanglionZmqTcpPair, Neuron, NotDelivered, Plexus, RemoteError


class Sale(msgspec.Struct, frozen=True):
    number: int
    bottles: int


sale = Neuron(Sale, "org.brewery.example")


async def store(port: int) -> None:
    ganglion = GanglionZmqTcpPair(bind_interface="127.0.0.1", port=port)
    async with Plexus(ganglia=[ganglion]) as plexus:

        @plexus.on(sale)
        async def book(each: Sale) -> None:
            if each.bottles < 1:
                raise ValueError("a sale has bottles")
            print(f"booked sale {each.number}: {each.bottles} bottles", flush=True)

        print(f"waiting at {ganglion.endpoint}", flush=True)
        await asyncio.Event().wait()


async def till(port: int, journal: str | None, bottles: list[int]) -> None:
    ganglion = GanglionZmqTcpPair(peer=("127.0.0.1", port), journal=journal)
    async with Plexus(ganglia=[ganglion]) as plexus:
        await plexus.adapt(sale)
        for number, each in enumerate(bottles, 1):
            try:
                await plexus.transmit(Sale(number, each), acked=True, timeout_s=20)
            except RemoteError as error:
                print(f"sale {number} failed over there: {error.kind}: {error.text}")
            except NotDelivered as error:
                print(f"sale {number} not delivered: {error}")
            else:
                print(f"sale {number} is booked")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=("store", "till"))
    parser.add_argument("--port", type=int, default=5580)
    parser.add_argument("--journal", help="a file that keeps what is not acknowledged (till)")
    parser.add_argument("--bottles", type=int, nargs="+", default=[6, 0, 12], help="one sale each (till)")
    given = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        if given.role == "store":
            asyncio.run(store(given.port))
        else:
            asyncio.run(till(given.port, given.journal, given.bottles))


if __name__ == "__main__":
    main()
