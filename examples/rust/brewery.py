# SPDX-License-Identifier: Apache-2.0
import asyncio
import contextlib
import itertools

import msgspec

from plexo import GanglionZmqTcpPubSub, JsonCodec, Neuron, Plexus


class Reading(msgspec.Struct):
    tank: str
    number: int
    celsius: float


reading = Neuron(Reading, "org.brewery.sake", JsonCodec())


async def main() -> None:
    # Publishes at 5570, and hears what Rust publishes at 5571.
    ganglion = GanglionZmqTcpPubSub("127.0.0.1", 5570, peers=[("127.0.0.1", 5571)])
    async with Plexus([ganglion]) as plexus:

        @plexus.on(reading)
        def log(r: Reading) -> None:
            if r.tank != "python-1":  # local reactants get what is sent here, too
                print(f"{r.tank} #{r.number}: {r.celsius} degrees", flush=True)

        await plexus.ready(neuron=reading)
        for number in itertools.count(1):
            await plexus.transmit(Reading("python-1", number, 21.5))
            await asyncio.sleep(0.1)


with contextlib.suppress(KeyboardInterrupt):
    asyncio.run(main())
