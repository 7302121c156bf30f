# SPDX-License-Identifier: Apache-2.0
import asyncio
import contextlib
import sys

from messages import Reading, reading

from plexo import GanglionPlexoMulticast, Plexus, Queue


async def main(interface: str | None = None) -> None:
    async with Plexus([GanglionPlexoMulticast(interface)]) as plexus:
        # Only the newest reading of each tank is worth a call.
        @plexus.on(reading, queue=Queue("latest", key=lambda r: r.tank))
        async def look(r: Reading) -> None:
            if r.celsius > 19:
                print(f"{r.tank} is too warm: {r.celsius} degrees", flush=True)
                await asyncio.sleep(1)  # as long as it takes to call somebody

        await asyncio.Event().wait()


with contextlib.suppress(KeyboardInterrupt):
    asyncio.run(main(*sys.argv[1:]))
