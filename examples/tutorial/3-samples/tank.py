# SPDX-License-Identifier: Apache-2.0
import asyncio
import contextlib
import itertools
import math

import numpy as np
from messages import SAMPLE, Reading, reading, vibration

from plexo import GanglionZmqTcpPubSub, Plexus

PER_BLOCK = 1000


def measure(tank: str, number: int) -> Reading:
    """As a probe would, which this one is instead of."""
    return Reading(tank, number, round(18 + 2 * math.sin(number / 10), 1))


def shake(number: int) -> np.ndarray:
    """What a vibration sensor gives every 0.1 s: a block of 1000 samples."""
    index = np.arange(PER_BLOCK)
    samples = np.zeros(PER_BLOCK, SAMPLE)
    samples["time_ns"] = 100_000 * ((number - 1) * PER_BLOCK + index)
    samples["acceleration"][:, 2] = np.sin(2 * np.pi * index / 100)
    return samples


async def main() -> None:
    ganglion = GanglionZmqTcpPubSub("127.0.0.1", 5570)
    async with Plexus([ganglion]) as plexus:
        await plexus.adapt(reading)
        await plexus.adapt(vibration)
        print("waiting for somebody at", ganglion.endpoint, flush=True)
        await plexus.ready(neuron=vibration)
        for number in itertools.count(1):
            await plexus.transmit(measure("tank-1", number))
            await plexus.transmit_many(shake(number), vibration)
            await asyncio.sleep(0.1)


with contextlib.suppress(KeyboardInterrupt):
    asyncio.run(main())
