# SPDX-License-Identifier: Apache-2.0
"""What the tests of batches and collectors share: records, their wire, and peers that send what they like."""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import numpy as np

from plexo import Cause, GanglionZmqTcpPair, GanglionZmqTcpPubSub, Neuron, NumpyCodec, Plexus
from plexo._fast.envelope import build_envelope
from plexo.statistics import sum_of
from tests.support import GREETING, frame, namespace, ready, until

HOST = "127.0.0.1"
DTYPE = np.dtype([("n", "<i8"), ("x", "<f8")])
KINDS = ("pair", "pubsub")

sample: Neuron[Any] = Neuron(np.ndarray, namespace, NumpyCodec(DTYPE, ()), type_name_alias="Sample")
# Its topic begins with that of `sample`.
longer: Neuron[Any] = Neuron(np.ndarray, sample.name, NumpyCodec("<f8", ()), type_name_alias="Longer")


class Measured(msgspec.Struct):
    count: int
    celsius: float
    label: str = ""
    open: bool = False
    maybe: float | None = None


measured = Neuron(Measured, namespace)

_numbers = itertools.count()


def records(count: int, first: int = 0) -> Any:
    made = np.zeros(count, DTYPE)
    made["n"] = np.arange(first, first + count)
    made["x"] = made["n"] / 2
    return made


def on_wire(kind: str, neuron: Neuron[Any], payloads: Iterable[bytes]) -> bytes:
    if kind == "pair":
        return b"".join(frame(build_envelope(neuron.topic, payload)) for payload in payloads)
    return b"".join(frame(neuron.topic, 1) + frame(payload) for payload in payloads)


def sent(kind: str, array: Any, neuron: Neuron[Any] = sample) -> bytes:
    """The wire of these records, one message each."""
    return on_wire(kind, neuron, [each.tobytes() for each in array])


class Stranger:
    """The other end of one link, by hand: an abstract Unix socket, on which what was sent has arrived."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        name = f"plexo-batches-{os.getpid()}-{next(_numbers)}"
        self.where = f"ipc://@{name}"
        self._address = f"\0{name}"
        self._server: socket.socket | None = None
        self.socket: socket.socket | None = None
        if kind == "pubsub":
            self._server = socket.socket(socket.AF_UNIX)
            self._server.bind(self._address)
            self._server.listen()
            self._server.setblocking(False)

    def ganglion(self, **arguments: Any) -> Any:
        if self.kind == "pair":
            return GanglionZmqTcpPair(bind=self.where, heartbeat_s=0, **arguments)
        return GanglionZmqTcpPubSub(port_pub=None, peers=(self.where,), heartbeat_s=0, **arguments)

    async def connect(self, ganglion: Any) -> None:
        loop = asyncio.get_running_loop()
        if self._server is not None:
            self.socket, _ = await loop.sock_accept(self._server)
        else:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.connect(self._address)
        self.socket.setblocking(False)
        await loop.sock_sendall(self.socket, GREETING + ready(b"PAIR" if self.kind == "pair" else b"PUB"))
        await until(lambda: ganglion.hub.links)

    def give(self, data: bytes) -> None:
        """At once; more than the kernel takes is a mistake of the test."""
        assert self.socket is not None
        assert self.socket.send(data) == len(data)

    async def send(self, data: bytes) -> None:
        assert self.socket is not None
        await asyncio.get_running_loop().sock_sendall(self.socket, data)

    def leave(self) -> None:
        if self.socket is not None:
            self.socket.close()
            self.socket = None

    def close(self) -> None:
        self.leave()
        if self._server is not None:
            self._server.close()


@asynccontextmanager
async def stranger(
    kind: str, react: Callable[[Plexus], object], in_ganglion: dict[str, Any] | None = None, **arguments: Any
) -> AsyncIterator[tuple[Plexus, Stranger]]:
    """A plexus over one ganglion, to which `react` adds reactants, and a stranger that is connected."""
    peer = Stranger(kind)
    ganglion = peer.ganglion(**(in_ganglion or {}))
    try:
        async with Plexus([ganglion], **arguments) as plexus:
            react(plexus)
            await peer.connect(ganglion)
            try:
                yield plexus, peer
            finally:
                check(plexus)
                # Else closing waits for it, to spare it a reset.
                peer.leave()
    finally:
        peer.close()


async def feed(
    kind: str, pieces: Sequence[bytes], react: Callable[[Plexus], object], **arguments: Any
) -> Any:
    """Give the pieces one by one, each to a turn of its own; the ganglion's books when all of it was read."""
    async with stranger(kind, react, arguments) as (plexus, peer):
        ganglion: Any = plexus.ganglia[0]
        links = list(ganglion.hub.links)
        for piece in pieces:
            await peer.send(piece)
            await turns(3)
        peer.leave()
        await until(lambda: not set(links) & set(ganglion.hub.links))
        await turns(3)
        return ganglion.stats()


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def check(plexus: Plexus) -> None:
    """The books of a plexus and its ganglia, each and together."""
    assert plexus.stats().balanced, plexus.stats()
    for ganglion in plexus.ganglia:
        stats: Any = ganglion.stats()
        assert stats.balanced, stats
        arrived = sum_of(link.receiving for link in (*stats.links, stats.ended))
        strange = arrived.dropped.get(Cause.UNKNOWN_TOPIC, 0) + arrived.dropped.get(Cause.MALFORMED, 0)
        assert arrived.accepted == stats.received + strange, stats


def book(plexus: Plexus, neuron: Neuron[Any] = sample) -> Any:
    """Of what came to the reactants of the plexus."""
    check(plexus)
    return plexus.stats().neurons[neuron.name].receiving


@asynccontextmanager
async def sender_and_receiver(
    kind: str, neurons: Sequence[Neuron[Any]] = (sample,), **arguments: Any
) -> AsyncIterator[tuple[Plexus, Plexus, Callable[[], Any]]]:
    """Two plexuses over TCP; the third waits until what the receiver wants is known to the sender."""
    if kind == "pair":
        there: Any = GanglionZmqTcpPair(HOST, 0, heartbeat_s=0)
        here: Any = GanglionZmqTcpPair(peer=there.endpoint, heartbeat_s=0, reconnect_min_s=0.01)
    else:
        there = GanglionZmqTcpPubSub(HOST, 0, heartbeat_s=0, send_queue="block")
        here = GanglionZmqTcpPubSub(HOST, 0, [there.endpoint], heartbeat_s=0, reconnect_min_s=0.01)
    async with Plexus([there]) as sender, Plexus([here], **arguments) as receiver:
        for neuron in neurons:
            await sender.adapt(neuron)

        async def joined() -> None:
            await until(lambda: there.hub.links)
            if kind == "pubsub":
                await until(lambda: all(there.subscriber_count(neuron) for neuron in neurons))

        yield sender, receiver, joined
        check(receiver)
