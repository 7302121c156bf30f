# SPDX-License-Identifier: Apache-2.0
"""Messages inside one process, with several codecs.

    python examples/inproc.py

Every neuron has a type and a codec; the codec is chosen from the type unless you name one. Inside a process
nothing is encoded: reactants get the very object that was transmitted. The codec matters when a network
ganglion is added.
"""

import asyncio
from dataclasses import dataclass
from typing import Any

import msgspec

from plexo import JsonCodec, Namespace, Neuron, PickleCodec, Plexus


class Reading(msgspec.Struct, frozen=True):
    sensor: str
    celsius: float


@dataclass
class Order:
    bottles: int
    label: str


class Recipe:
    """A class that only pickle can carry."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"Recipe({self.name!r})"


brewery = Namespace("org.brewery.sake")
reading = Neuron(Reading, brewery)  # MessagePack, chosen from the type
order = Neuron(Order, brewery, JsonCodec())
recipe = Neuron(Recipe, brewery, PickleCodec())
note = Neuron(str, brewery)  # UTF-8


async def main() -> None:
    async with Plexus() as plexus:

        @plexus.on(reading)
        async def warn(r: Reading) -> None:
            print(f"{reading.name}: {r.sensor} is at {r.celsius} degrees")

        def show(value: object, neuron: Neuron[Any]) -> None:  # plain, and with one to three arguments
            print(f"{neuron.name}: {value!r}")

        await plexus.react(order, [show])
        await plexus.react(recipe, [show])
        await plexus.react(note, [show])

        sent = Reading("tank-1", 21.5)

        @plexus.on(reading)
        def compare(r: Reading) -> None:
            print("the same object:", r is sent)

        for value in (sent, Order(12, "Junmai"), Recipe("yeast starter"), "lights out"):
            await plexus.transmit(value)  # the neuron follows from the type

        print("on the network:", reading.encode(sent), order.encode(Order(12, "Junmai")))


if __name__ == "__main__":
    asyncio.run(main())
