# SPDX-License-Identifier: Apache-2.0
import asyncio
import contextlib
import sys

import numpy as np
from messages import Reading, reading, vibration

from plexo import GanglionPlexoMulticast, Plexus


async def main(interface: str | None = None) -> None:
    async with Plexus([GanglionPlexoMulticast(interface)]) as plexus:

        @plexus.on(reading)
        def log(r: Reading) -> None:
            print(f"{r.tank} #{r.number}: {r.celsius} degrees", flush=True)

        @plexus.on(vibration, batch=True, max_batch=5000, max_wait_s=5)
        def judge(samples: np.ndarray) -> None:
            strength = np.sqrt((samples["acceleration"] ** 2).sum(axis=1).mean())
            print(f"{len(samples)} samples, {strength:.3f} g", flush=True)

        await asyncio.Event().wait()


with contextlib.suppress(KeyboardInterrupt):
    asyncio.run(main(*sys.argv[1:]))
