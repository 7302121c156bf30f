# SPDX-License-Identifier: Apache-2.0
import asyncio
import contextlib

import numpy as np
from messages import Reading, reading, vibration

from plexo import GanglionZmqTcpPubSub, Plexus


async def main() -> None:
    ganglion = GanglionZmqTcpPubSub(port_pub=None, peers=[("127.0.0.1", 5570)])
    async with Plexus([ganglion]) as plexus:

        @plexus.on(reading)
        def log(r: Reading) -> None:
            print(f"{r.tank} #{r.number}: {r.celsius} degrees", flush=True)

        @plexus.on(vibration, batch=True, max_batch=5000, max_wait_s=5)
        def judge(samples: np.ndarray) -> None:
            strength = np.sqrt((samples["acceleration"] ** 2).sum(axis=1).mean())
            print(f"{len(samples)} samples, {strength:.3f} g", flush=True)

        await asyncio.Event().wait()


with contextlib.suppress(KeyboardInterrupt):
    asyncio.run(main())
