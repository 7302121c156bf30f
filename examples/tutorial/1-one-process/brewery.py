# SPDX-License-Identifier: Apache-2.0
import asyncio
import math

import msgspec

from plexo import Neuron, Plexus


class Reading(msgspec.Struct):
    tank: str
    number: int
    celsius: float


reading = Neuron(Reading, "org.brewery.tutorial")


def measure(tank: str, number: int) -> Reading:
    """As a probe would, which this one is instead of."""
    return Reading(tank, number, round(18 + 2 * math.sin(number / 10), 1))


async def main() -> None:
    async with Plexus() as plexus:

        @plexus.on(reading)
        def log(r: Reading) -> None:
            print(f"{r.tank} #{r.number}: {r.celsius} degrees")

        for number in range(1, 4):
            await plexus.transmit(measure("tank-1", number))
            await asyncio.sleep(0.1)


asyncio.run(main())
