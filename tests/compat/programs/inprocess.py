# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: UP045  (written as for the Pythons of 1.0)
"""Messages inside one process, the way programs for 1.0 do it.

Everything is made before there is an event loop, reactants are added in one asyncio.run and messages sent in
the next.
"""

import asyncio
import functools
from dataclasses import dataclass
from typing import Optional
from uuid import UUID

from plexo.axon import Axon
from plexo.codec.pickle_codec import PickleCodec
from plexo.codec.string_codec import StringCodec
from plexo.exceptions import TransmitterNotFound
from plexo.ganglion.inproc import GanglionInproc
from plexo.namespace.namespace import Namespace
from plexo.neuron.neuron import Neuron
from plexo.plexus import Plexus
from plexo.synapse.inproc import SynapseInproc
from plexo.transmitter import create_transmitter


class Plain:
    message: str


@dataclass
class Counted:
    number: int


class Gauge:
    async def reaction(self, counted: Counted, neuron: Neuron, reaction_id: Optional[UUID] = None):
        print("method", counted.number, neuron.name, reaction_id is None or isinstance(reaction_id, UUID))


async def text_reaction(text: str, _, _2):
    print("text", text)


async def plain_reaction(plain: Plain, _: Neuron, _2: Optional[UUID] = None):
    print("plain", plain.message)


async def bound_reaction(prefix: str, plain: Plain, neuron: Neuron, reaction_id):
    print(prefix, plain.message, neuron.name_without_codec)


async def send_texts(axon: Axon):
    for number in range(3):
        try:
            await axon.transmit(f"hello {number} …")
        except TransmitterNotFound as error:
            print(error)


async def send_plain(carrier, neuron, *texts):
    plain = Plain()
    for text in texts:
        plain.message = text
        await asyncio.create_task(carrier.transmit(plain, neuron))


async def send_unknown(carrier, neuron):
    try:
        await carrier.transmit(Counted(1), neuron)
    except TransmitterNotFound as error:
        print("not found", isinstance(error, KeyError))


async def synapse_alone(neuron):
    synapse = SynapseInproc(neuron, (text_reaction,))
    transmit = create_transmitter(synapse)
    await transmit("over a synapse")
    await synapse.transmit("and again")


def run():
    namespace = Namespace(["dev", "plexo", "test"])
    text_neuron = Neuron(str, namespace, StringCodec())
    plain_neuron = Neuron(Plain, namespace, PickleCodec())
    counted_neuron = Neuron(Counted, namespace, PickleCodec(), "Count")

    plexus = Plexus()
    axon = Axon(text_neuron, plexus)
    asyncio.run(axon.react(reactants=[text_reaction]))
    asyncio.run(send_texts(axon))

    asyncio.run(plexus.adapt(plain_neuron, reactants=[plain_reaction]))
    asyncio.run(plexus.react(plain_neuron, (functools.partial(bound_reaction, "partial"),)))
    loop = asyncio.new_event_loop()
    loop.run_until_complete(send_plain(plexus, plain_neuron, "one"))
    loop.close()

    gauge_axon = Axon(counted_neuron, plexus)
    asyncio.run(gauge_axon.react([Gauge().reaction]))
    asyncio.run(gauge_axon.transmit(Counted(7)))
    plexus.close()

    ganglion = GanglionInproc(relevant_neurons=(plain_neuron,), allowed_codecs=(PickleCodec,))
    asyncio.run(ganglion.adapt(plain_neuron, reactants=[plain_reaction]))
    asyncio.run(send_plain(ganglion, plain_neuron, "two", "three"))
    asyncio.run(ganglion.adapt(counted_neuron))  # not relevant here: a warning, and no more
    asyncio.run(send_unknown(ganglion, counted_neuron))
    print(ganglion.capable(plain_neuron), ganglion.capable(counted_neuron), ganglion.capable(text_neuron))
    ganglion.close()

    inner, outer = Plexus(), Plexus()
    asyncio.run(inner.adapt(text_neuron, reactants=[text_reaction]))
    asyncio.run(outer.infuse_ganglion(inner))
    asyncio.run(outer.adapt(text_neuron))
    asyncio.run(outer.transmit("through two plexuses", text_neuron))
    outer.close()

    asyncio.run(synapse_alone(text_neuron))


if __name__ == "__main__":
    run()
