# SPDX-License-Identifier: Apache-2.0
"""Questions and answers over a link, and within one process.

    python examples/request.py serve
    python examples/request.py ask 7 -1        (in a second terminal)

What the responder raises, the asker gets by name and text.
"""

import argparse
import asyncio
import contextlib
import math

import msgspec

from plexo import GanglionZmqTcpPair, Neuron, NoResponder, Plexus, RemoteError, RequestTimeout


class Number(msgspec.Struct, frozen=True):
    value: int


class Root(msgspec.Struct, frozen=True):
    value: float


number = Neuron(Number, "org.brewery.example")
root = Neuron(Root, "org.brewery.example")


async def serve(port: int) -> None:
    ganglion = GanglionZmqTcpPair(bind_interface="127.0.0.1", port=port)
    async with Plexus(ganglia=[ganglion]) as plexus:

        @plexus.respond(number, root)
        async def answer(question: Number) -> Root:
            return Root(math.sqrt(question.value))

        # Whoever is in this process asks the same way.
        print(f"waiting at {ganglion.endpoint}; {await plexus.request(Number(4), Root)}", flush=True)
        await asyncio.Event().wait()


async def ask(port: int, values: list[int]) -> None:
    async with Plexus(ganglia=[GanglionZmqTcpPair(peer=("127.0.0.1", port))]) as plexus:
        await plexus.adapt(number)
        for value in values:
            try:
                found = await plexus.request(Number(value), Root, timeout_s=20)
            except RemoteError as error:
                print(f"{value}: {error.kind}: {error.text}")
            except (NoResponder, RequestTimeout) as error:
                print(f"{value}: no answer: {error}")
            else:
                print(f"{value}: {found.value:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=("serve", "ask"))
    parser.add_argument("values", type=int, nargs="*")
    parser.add_argument("--port", type=int, default=5580)
    given = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(given.port) if given.role == "serve" else ask(given.port, given.values))


if __name__ == "__main__":
    main()
