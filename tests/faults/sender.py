# SPDX-License-Identifier: Apache-2.0
"""A program that is to be killed: sends numbers with a journal, and prints each that it is told is delivered.

python sender.py ENDPOINT JOURNAL FIRST AT_A_TIME
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys

from plexo import GanglionZmqTcpPair, Neuron

number = Neuron(int, "org.brewery.faults")


async def main(endpoint: str, journal: str, first: int, at_a_time: int) -> None:
    numbers = itertools.count(first)
    async with GanglionZmqTcpPair(peer=endpoint, reconnect_min_s=0.005, journal=journal) as pair:
        await pair.adapt(number)

        async def send() -> None:
            for each in numbers:
                await pair.transmit(each, number, acked=True)
                # One call of the system: what was written is there after a kill, and whole.
                os.write(1, b"%d\n" % each)

        os.write(1, b"up\n")
        await asyncio.gather(*(send() for _ in range(at_a_time)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
