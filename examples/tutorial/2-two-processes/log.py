# SPDX-License-Identifier: Apache-2.0
import asyncio
import contextlib

from messages import Reading, reading

from plexo import GanglionZmqTcpPubSub, Plexus


async def main() -> None:
    # It publishes nothing, so it binds no port.
    ganglion = GanglionZmqTcpPubSub(port_pub=None, peers=[("127.0.0.1", 5570)])
    async with Plexus([ganglion]) as plexus:

        @plexus.on(reading)
        def log(r: Reading) -> None:
            print(f"{r.tank} #{r.number}: {r.celsius} degrees", flush=True)

        await asyncio.Event().wait()


with contextlib.suppress(KeyboardInterrupt):
    asyncio.run(main())
