# SPDX-License-Identifier: Apache-2.0

"""The multicast program of 1.0's examples, which could never get past `startup` there, and a synapse used alone.

multicast.py ganglion|synapse NAME PEER PORT: answers what PEER says, until that has answered too.
"""

import asyncio
import sys
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_network
from uuid import UUID

from plexo.axon import Axon
from plexo.codec.pickle_codec import PickleCodec
from plexo.ganglion.plexo_multicast import GanglionPlexoMulticast
from plexo.namespace.namespace import Namespace
from plexo.neuron.neuron import Neuron
from plexo.synapse.zeromq_plexopubsub_epgm import SynapseZmqPlexoPubSubEPGM

kind, name, peer, port = sys.argv[1:]


@dataclass
class Foo:
    sender: str
    answer: bool


heard: "asyncio.Queue[Foo]" = asyncio.Queue()


async def _foo_reaction(foo: Foo, _: Neuron[Foo], _2: UUID):
    if foo.sender == peer:
        await heard.put(foo)


async def talk(say):
    """Until both have answered."""
    answered = seen = False
    while not (answered and seen):
        await say(Foo(name, answered))
        try:
            foo = await asyncio.wait_for(heard.get(), 0.05)
        except asyncio.TimeoutError:
            continue
        answered = True
        seen = seen or foo.answer
    for _ in range(3):
        await say(Foo(name, True))
    print("answered", flush=True)


async def run():
    namespace = Namespace(["dev", "plexo", "test"])
    foo_neuron = Neuron(Foo, namespace, PickleCodec())
    if kind == "ganglion":
        ganglion = GanglionPlexoMulticast(
            bind_interface="127.0.0.1",
            multicast_cidr=ip_network("239.255.0.0/16"),
            port=int(port),
            heartbeat_interval_seconds=10,
            proposal_timeout_seconds=10,
        )
        await ganglion.startup()
        await ganglion.react(foo_neuron, [_foo_reaction])
        foo_axon = Axon(foo_neuron, ganglion)
        await talk(foo_axon.transmit)
        ganglion.close()
    else:
        synapse = SynapseZmqPlexoPubSubEPGM(
            foo_neuron, IPv4Address("239.255.0.1"), "127.0.0.1", int(port), (_foo_reaction,)
        )
        await talk(lambda foo: synapse.transmit(foo_neuron.codec.encode(foo)))
        synapse.close()
    print("closed", flush=True)


if __name__ == "__main__":
    asyncio.run(run())
