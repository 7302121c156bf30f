# SPDX-License-Identifier: Apache-2.0
"""Two processes, one link, with a reply to every question.

    python examples/pair.py bind
    python examples/pair.py connect --count 3        (in a second terminal; either may start first)

Stop and restart either side: the other waits for it and goes on.
"""

import argparse
import asyncio
import contextlib

import msgspec

from plexo import GanglionZmqTcpPair, Neuron, Plexus


class Question(msgspec.Struct, frozen=True):
    number: int


class Answer(msgspec.Struct, frozen=True):
    number: int
    square: int


question = Neuron(Question, "org.brewery.example")
answer = Neuron(Answer, "org.brewery.example")


async def serve(port: int, seconds: float) -> None:
    ganglion = GanglionZmqTcpPair(bind_interface="127.0.0.1", port=port)
    async with Plexus(ganglia=[ganglion]) as plexus:
        await plexus.adapt(answer)  # sent here, not received

        @plexus.on(question)
        async def reply(q: Question) -> None:
            await plexus.transmit(Answer(q.number, q.number**2))

        print(f"waiting at {ganglion.endpoint}", flush=True)
        await asyncio.sleep(seconds)


async def ask(port: int, count: int) -> None:
    async with Plexus(ganglia=[GanglionZmqTcpPair(peer=("127.0.0.1", port))]) as plexus:
        await plexus.adapt(question)
        async with plexus.stream(answer) as answers:
            for number in range(1, count + 1):
                await plexus.transmit(Question(number))  # waits for the peer
                reply = await anext(answers)
                print(f"{reply.number} squared is {reply.square}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=("bind", "connect"))
    parser.add_argument("--port", type=int, default=5580)
    parser.add_argument("--count", type=int, default=3, help="questions to ask (connect)")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="how long to answer (bind)")
    given = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        if given.role == "bind":
            asyncio.run(serve(given.port, given.seconds))
        else:
            asyncio.run(ask(given.port, given.count))


if __name__ == "__main__":
    main()
