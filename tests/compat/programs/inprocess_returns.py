# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: I001  (written as for the Pythons of 1.0)
"""Reactants made by returns.curry.partial, which came with 1.0, and messages of python-jsonschema-objects."""

import asyncio

import python_jsonschema_objects as pjs
from plexo.axon import Axon
from plexo.codec.json_codec import JsonCodec
from plexo.namespace.namespace import Namespace
from plexo.neuron.neuron import Neuron
from plexo.plexus import Plexus
from returns.curry import partial

SCHEMA = {
    "title": "Beer",
    "type": "object",
    "properties": {"name": {"type": "string"}, "strength": {"type": "number"}},
    "required": ["name"],
}

Beer = pjs.ObjectBuilder(SCHEMA).build_classes()[SCHEMA["title"]]


async def reaction(plexus: Plexus, word: str, beer: Beer, neuron: Neuron, _):
    print(word, beer.name, beer.serialize(), neuron.name, len(word) < 4 or plexus is not None)


async def send(axon: Axon):
    beer = Beer()
    beer.name = "Kölsch"
    beer.strength = 4.8
    await axon.transmit(beer)


def run():
    codec = JsonCodec(Beer)
    neuron = Neuron(codec.schema_class, Namespace(["dev", "plexo", "test"]), codec)
    loaded = JsonCodec.load_from_schema(SCHEMA, "Beer", serialize_args={"separators": (", ", ": ")})
    beer = loaded.decode(neuron.encode(Beer(name="Alt")))
    print(codec.name, loaded.encode(beer), neuron.encode(beer))
    plexus = Plexus()
    axon = Axon(neuron, plexus)
    asyncio.run(axon.react(reactants=[partial(reaction, plexus, "prost")]))
    asyncio.run(send(axon))
    plexus.close()


if __name__ == "__main__":
    run()
