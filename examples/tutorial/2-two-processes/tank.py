# SPDX-License-Identifier: Apache-2.0
import asyncio
import contextlib
import itertools
import math

from messages import Reading, reading

from plexo import GanglionZmqTcpPubSub, Plexus


def measure(tank: str, number: int) -> Reading:
    """As a probe would, which this one is instead of."""
    return Reading(tank, number, round(18 + 2 * math.sin(number / 10), 1))


async def main() -> None:
    ganglion = GanglionZmqTcpPubSub("127.0.0.1", 5570)
    async with Plexus([ganglion]) as plexus:
        await plexus.adapt(reading)
        print("waiting for somebody at", ganglion.endpoint, flush=True)
        await plexus.ready(neuron=reading)
        for number in itertools.count(1):
            await plexus.transmit(measure("tank-1", number))
            await asyncio.sleep(0.1)


with contextlib.suppress(KeyboardInterrupt):
    asyncio.run(main())
