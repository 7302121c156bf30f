# SPDX-License-Identifier: Apache-2.0
"""The same program on uvloop: only the last line differs.

    pip install uvloop
    python examples/with_uvloop.py --count 10000

Two ends of a pair in one process.
"""

import argparse
import asyncio
import time

import uvloop

from plexo import GanglionZmqTcpPair, Neuron, Plexus

number = Neuron(int, "org.brewery.example")


async def main(count: int) -> None:
    here = GanglionZmqTcpPair(bind_interface="127.0.0.1", port=0)
    there = GanglionZmqTcpPair(peer=here.endpoint)
    async with Plexus(ganglia=[here]) as receiver, Plexus(ganglia=[there]) as sender:
        await sender.adapt(number)
        numbers = receiver.stream(number)

        async def send() -> None:
            for value in range(count):
                await sender.transmit(value)

        start = time.perf_counter()
        sending = asyncio.create_task(send())
        total = 0
        for _ in range(count):
            total += await anext(numbers)
        await sending
        took = time.perf_counter() - start
        loop = type(asyncio.get_running_loop()).__module__
        print(f"{loop}: {count} messages in {took:.3f} s, their sum is {total}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=10_000)
    uvloop.run(main(parser.parse_args().count))
