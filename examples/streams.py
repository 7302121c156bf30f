# SPDX-License-Identifier: Apache-2.0
"""Receiving by `async for` instead of by callback.

    python examples/streams.py

A stream is bounded: when its queue is full, whoever transmits waits too. Leaving the loop ends it.
"""

import asyncio

from plexo import Neuron, Plexus, Queue

count = Neuron(int, "org.brewery.example", type_name_alias="Count")
stop = Neuron(str, "org.brewery.example", type_name_alias="Stop")


async def produce(plexus: Plexus) -> None:
    for number in range(1, 6):
        await plexus.transmit(number)
        print(f"transmitted {number}")
    await plexus.transmit("enough")


async def main() -> None:
    async with Plexus() as plexus:
        # From here on messages are kept for us. A stream kept in a variable needs `async with`, or close().
        async with plexus.stream(count, Queue(messages=2)) as numbers, plexus.stream(stop) as stops:
            producing = asyncio.create_task(produce(plexus))
            async for number in numbers:
                print(f"received {number}")
                if number == 5:
                    break
            print("stopped by:", await anext(stops))
            await producing

        # Without a variable, leaving the loop ends the subscription.
        ticking = asyncio.create_task(produce(plexus))
        async for number in plexus.stream(count):
            print(f"one more: {number}")
            break
        await ticking


if __name__ == "__main__":
    asyncio.run(main())
