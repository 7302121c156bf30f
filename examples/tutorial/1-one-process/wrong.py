# SPDX-License-Identifier: Apache-2.0
import asyncio

import msgspec

from plexo import Neuron, Plexus, WrongType


class Reading(msgspec.Struct):
    tank: str
    number: int
    celsius: float


reading = Neuron(Reading, "org.brewery.tutorial")


async def main() -> None:
    async with Plexus() as plexus:

        @plexus.on(reading)
        def log(r: Reading) -> None:
            print("never called")

        try:
            await plexus.transmit("18.2 degrees", reading)
        except WrongType as error:
            print("refused:", error)

    print(reading.name)
    encoded = reading.encode(Reading("tank-1", 1, 18.2))
    print(len(encoded), "bytes:", reading.decode(encoded))
    try:
        reading.decode(encoded[:-1])
    except msgspec.DecodeError as error:
        print("refused:", error)


asyncio.run(main())
