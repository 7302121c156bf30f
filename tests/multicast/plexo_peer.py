# SPDX-License-Identifier: Apache-2.0
"""A program with this library on a host: `synapse GROUP`, one neuron alone, or `ganglion`, which agrees on groups.

{"do": "adapt", "name", "listen"}       take part in a neuron of that name (a synapse has TYPE from the beginning)
{"do": "send", "name", "sender", "first", "count", "size", "pause_s"}    answered when all was accepted
{"do": "until", "sender", "last", "within_s", "name"}    answered with the log: that has come, or not in time
{"do": "agreed", "name", "within_s"}    the group, or why there is none
{"do": "groups"}, {"do": "peers"}, {"do": "books"}    what the ganglion says
{"do": "finish"}                        closes; answered when that has ended, with the time it took
Says "ready" first. What a test does not ask for goes on by itself, so commands may overlap.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
import time
from typing import Any

from plexo import Neuron
from plexo.codec.bytes_codec import BytesCodec
from plexo.exceptions import ConsensusNotReached
from plexo.statistics import GanglionStats
from plexo.synapse.zeromq_plexopubsub_epgm import SynapseZmqPlexoPubSubEPGM
from plexo.typing import EncodedType
from tests.multicast.child import report
from tests.multicast.truth import Log, message

NAMESPACE = "dev.plexo.test"
TYPE = "Sample"
LOOK_S = 0.005
# Messages between two turns of the event loop, where nothing else makes one.
AT_ONCE = 100


def neuron_of(name: str) -> Neuron[bytes]:
    return Neuron(bytes, NAMESPACE, BytesCodec(), name)


def bytes_of(payload: EncodedType) -> bytes:
    assert isinstance(payload, bytes)
    return payload


class SynapsePeer:
    """One neuron on a group that the test has chosen."""

    def __init__(self, group: str, port: int, **options: Any) -> None:
        self.logs = {TYPE: Log()}
        self.whole = SynapseZmqPlexoPubSubEPGM(
            neuron_of(TYPE), group, port=port, raw_reactants=[self._note], **options
        )

    async def _note(self, payload: EncodedType) -> None:
        self.logs[TYPE].note(bytes_of(payload))

    async def transmit(self, _name: str, payload: bytes) -> None:
        await self.whole.transmit(payload)


class GanglionPeer:
    """Whatever neurons the test asks for."""

    def __init__(self, port: int, **options: Any) -> None:
        from plexo import GanglionPlexoMulticast

        self.logs: dict[str, Log] = {}
        self.neurons: dict[str, Neuron[bytes]] = {}
        self.whole = GanglionPlexoMulticast(port=port, **options)

    async def adapt(self, name: str, listen: bool) -> None:
        neuron = self.neurons[name] = neuron_of(name)
        log = self.logs.setdefault(name, Log())

        async def note(payload: EncodedType) -> None:
            log.note(bytes_of(payload))

        await self.whole.adapt(neuron, (), [note] if listen else ())

    async def transmit(self, name: str, payload: bytes) -> None:
        await self.whole.transmit(payload, self.neurons[name])


def books(stats: GanglionStats) -> dict[str, Any]:
    """Whether they balance, and the sums."""
    all_books = [book for each in stats.neurons.values() for book in (each.receiving, each.sending)]
    all_books += [book for link in (*stats.links, stats.ended) for book in (link.receiving, link.sending)]
    return {
        "balanced": all(book.balanced for book in all_books),
        "received": sum(each.received for each in stats.neurons.values()),
        "accepted": sum(each.sending.accepted for each in stats.neurons.values()),
        "sent": sum(each.sending.delivered for each in stats.neurons.values()),
        "faults": {f"{cause.value} {name} {host}": n for (cause, name, host), n in stats.faults.items()},
    }


class Served:
    """Commands from standard input, each in a task of its own."""

    def __init__(self, peer: Any) -> None:
        self.peer = peer
        self.tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        lines = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
        while line := await lines.readline():
            command = json.loads(line)
            task = loop.create_task(self._do(command.pop("do"), command))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        for task in list(self.tasks):
            task.cancel()

    async def _do(self, do: str, details: dict[str, Any]) -> None:
        try:
            report(do, **await getattr(self, do)(**details))
        except Exception as error:
            logging.exception("%s failed", do)
            report("failed", do=do, why=repr(error))

    async def adapt(self, name: str, listen: bool) -> dict[str, Any]:
        await self.peer.adapt(name, listen)
        return {}

    async def send(
        self, sender: int, first: int, count: int, size: int, pause_s: float, name: str = TYPE
    ) -> dict[str, Any]:
        for number in range(first, first + count):
            await self.peer.transmit(name, message(sender, number, size))
            if pause_s or number % AT_ONCE == 0:
                await asyncio.sleep(pause_s)
        return {"sent": count}

    async def until(self, sender: int, last: int, within_s: float, name: str = TYPE) -> dict[str, Any]:
        log = self.peer.logs[name]
        deadline = time.monotonic() + within_s
        while not log.has(sender, last) and time.monotonic() < deadline:
            await asyncio.sleep(LOOK_S)
        return dict(log.summary())

    async def agreed(self, name: str, within_s: float) -> dict[str, Any]:
        started = time.monotonic()
        try:
            group = await self.peer.whole.agreed(self.peer.neurons[name], timeout_s=within_s)
        except ConsensusNotReached as error:
            return {"group": None, "why": str(error)}
        return {"group": str(group), "after_s": time.monotonic() - started}

    async def groups(self) -> dict[str, Any]:
        return {
            "groups": {
                name: {"address": str(each.address), "agreed": each.agreed, "lineage": each.lineage}
                for name, each in self.peer.whole.groups().items()
            }
        }

    async def peers(self) -> dict[str, Any]:
        return {
            "peers": [
                {"host": each.host, "publishes": list(each.publishes)} for each in self.peer.whole.peers()
            ]
        }

    async def books(self) -> dict[str, Any]:
        return books(self.peer.whole.stats())

    async def finish(self) -> dict[str, Any]:
        started = time.monotonic()
        await self.peer.whole.aclose()
        return {"after_s": time.monotonic() - started, **books(self.peer.whole.stats())}


async def serve(given: argparse.Namespace) -> None:
    options = {"bind_interface": given.interface, "port": given.port, **json.loads(given.options)}
    if "key" in options:
        options["key"] = options["key"].encode()
    peer: Any = SynapsePeer(given.group, **options) if given.role == "synapse" else GanglionPeer(**options)
    async with peer.whole:
        report("ready")
        await Served(peer).run()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=("synapse", "ganglion"))
    parser.add_argument("port", type=int)
    parser.add_argument("--group", default="")
    parser.add_argument("--interface", default="eth0")
    parser.add_argument("--options", default="{}", help="further keyword arguments, JSON")
    logging.basicConfig()
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
