# SPDX-License-Identifier: Apache-2.0
import asyncio
import contextlib
import itertools
import math
import sys

import numpy as np
from messages import SAMPLE, Reading, reading, vibration

from plexo import GanglionPlexoMulticast, Plexus

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


async def main(name: str, interface: str | None = None) -> None:
    async with Plexus([GanglionPlexoMulticast(interface)]) as plexus:
        await plexus.adapt(reading)
        await plexus.adapt(vibration)
        print(f"{name} is measuring", flush=True)
        for number in itertools.count(1):
            await plexus.transmit(measure(name, number))
            await plexus.transmit_many(shake(number), vibration)
            await asyncio.sleep(0.1)


with contextlib.suppress(KeyboardInterrupt):
    asyncio.run(main(*sys.argv[1:]))
