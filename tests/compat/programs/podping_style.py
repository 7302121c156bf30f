# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: UP006, UP035  (written as for the Pythons of 1.0)
"""A service and its client, which use plexo as podping-hivewriter used 1.0.0a8.

Transmit without a neuron, a plexus made before the loop, a ganglion infused when reactants are there already,
and a reactant that reports errors through the same plexus.

podping_style.py service|client PORT
"""

import asyncio
import sys
from dataclasses import dataclass
from enum import Enum
from functools import partial
from ipaddress import IPv4Address
from typing import List

from plexo.codec.pickle_codec import PickleCodec
from plexo.ganglion.tcp_pair import GanglionZmqTcpPair
from plexo.namespace import Namespace
from plexo.neuron.neuron import Neuron
from plexo.plexus import Plexus

HOST = "127.0.0.1"
IRIS = 200

role, port = sys.argv[1], int(sys.argv[2])


class Reason(Enum):
    update = 0
    live = 1


@dataclass(frozen=True)
class Write:
    iri: str
    reason: Reason


@dataclass
class WriteError:
    write: Write
    error: str


@dataclass
class Transaction:
    writes: List[Write]
    block: int


namespace = Namespace(["org", "example", "hivewriter"])
write_neuron = Neuron(Write, namespace, PickleCodec())
error_neuron = Neuron(WriteError, namespace, PickleCodec())
transaction_neuron = Neuron(Transaction, namespace, PickleCodec())
neurons = (transaction_neuron, write_neuron, error_neuron)


class Service:
    def __init__(self, plexus: Plexus = None):
        self.plexus = plexus if plexus else Plexus()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.plexus.close()

    @staticmethod
    async def _write_reactant(plexus: Plexus, queue: "asyncio.Queue[Write]", write: Write, _, _2):
        if write.iri.startswith("https:"):
            await queue.put(write)
        else:
            await plexus.transmit(WriteError(write, "no IRI"))

    async def serve(self):
        queue = asyncio.Queue()
        await self.plexus.adapt(transaction_neuron)
        await self.plexus.adapt(write_neuron, reactants=(partial(self._write_reactant, self.plexus, queue),))
        await self.plexus.adapt(error_neuron)
        ganglion = GanglionZmqTcpPair(bind_interface=HOST, port=port, relevant_neurons=neurons)
        await self.plexus.infuse_ganglion(ganglion)
        print("reacting", flush=True)
        block = 0
        while True:
            writes = [await queue.get()]
            while not queue.empty() and len(writes) < 50:
                writes.append(queue.get_nowait())
            block += 1
            await self.plexus.transmit(Transaction(writes, block))


async def client():
    transactions, errors = asyncio.Queue(), asyncio.Queue()

    async def transaction_reaction(transaction: Transaction, _, _2):
        await transactions.put(transaction)

    async def error_reaction(error: WriteError, _, _2):
        await errors.put(error)

    ganglion = GanglionZmqTcpPair(peer=(IPv4Address(HOST), port), relevant_neurons=neurons)
    plexus = Plexus(ganglia=(ganglion,))
    await plexus.adapt(transaction_neuron, reactants=(transaction_reaction,))
    await plexus.adapt(error_neuron, reactants=(error_reaction,))
    await plexus.adapt(write_neuron)
    sent = [Write(f"https://example.com/{number}", Reason.live) for number in range(IRIS)]
    for write in sent:
        await plexus.transmit(write)
    await plexus.transmit(Write("nonsense", Reason.update))
    received = []
    while len(received) < IRIS:
        received += (await transactions.get()).writes
    assert received == sent
    error = await errors.get()
    assert error == WriteError(Write("nonsense", Reason.update), "no IRI")
    plexus.close()
    print("answered", flush=True)


if __name__ == "__main__":
    if role == "service":
        with Service() as service:
            asyncio.run(service.serve())
    else:
        asyncio.run(client())
