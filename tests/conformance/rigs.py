# SPDX-License-Identifier: Apache-2.0
"""How two connected ganglia of each kind are made, and what a kind cannot have: declared here, never guessed."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from plexo import GanglionInproc, GanglionZmqTcpPair, GanglionZmqTcpPubSub, Neuron
from plexo.codec import BytesCodec
from tests.support import namespace, within

HOST = "127.0.0.1"
ROOT = Path(__file__).resolve().parents[2]
POLICIES = ("block", "drop_oldest", "drop_newest", "reject", "latest")


@dataclass(frozen=True)
class Rig:
    """make(**arguments) gives two ganglia: what either transmits reaches the other. They may be one (in process)."""

    name: str
    make: Callable[..., tuple[Any, Any]]
    # It leaves the process: values are encoded, there are raw reactants, and sockets that no forked child may use.
    encodes: bool = True
    # It has links: events, `ready`, `peers_connected`, and books for each.
    links: bool = True
    # The sender knows who wants a neuron, and sends it to nobody else.
    subscribes: bool = False
    # It knows how many peers get a message, and `transmit` returns that.
    counts_peers: bool = True
    # What nobody reacts to arrives all the same, and is counted where it does.
    reaches_all: bool = True
    # Whoever sends can be made to wait, or to drop, by a peer that reads no more: policies of `send_queue`.
    send_policies: tuple[str, ...] = POLICIES
    # A large payload that it carries without being told to.
    large: int = (4 << 20) + 1
    # (arguments, bytes, bytes): under these the first payload is carried, and the second is MessageTooLarge.
    limit: tuple[dict[str, Any], int, int] | None = None
    # A payload that a peer which reads no more stops soon: some of these fill what lies between.
    bulk: int = 256 << 10

    async def connected(self, sender: Any, *neurons: Any) -> None:
        """Until what `sender` transmits reaches its peer, which reacts to `neurons`."""
        if self.links:
            for neuron in neurons or (None,):
                await within(sender.ready(1, neuron))

    def returned(self, handed: int, expected: int) -> bool:
        """Whether `transmit` may return that."""
        return handed == expected or not self.counts_peers

    def __str__(self) -> str:
        return self.name


# -- the kinds ---------------------------------------------------------------------------------------------


def _bus(**arguments: Any) -> tuple[Any, Any]:
    bus = GanglionInproc(**arguments)
    return bus, bus


def _pair(**arguments: Any) -> tuple[Any, Any]:
    one = GanglionZmqTcpPair(HOST, 0, reconnect_min_s=0.005, **arguments)
    return one, GanglionZmqTcpPair(peer=one.endpoint, reconnect_min_s=0.005, **arguments)


def _pubsub(**arguments: Any) -> tuple[Any, Any]:
    with socket.socket() as reserved:  # until the other has its port
        reserved.bind((HOST, 0))
        port = int(reserved.getsockname()[1])
        one = GanglionZmqTcpPubSub(HOST, 0, [(HOST, port)], reconnect_min_s=0.005, **arguments)
    return one, GanglionZmqTcpPubSub(HOST, port, [one.endpoint or ""], reconnect_min_s=0.005, **arguments)


@functools.cache
def stranger() -> Any:
    """The class that docs/writing-a-ganglion.md shows."""
    page = (ROOT / "docs/writing-a-ganglion.md").read_text()
    listing = re.search(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert listing is not None
    names: dict[str, Any] = {"__name__": "writing_a_ganglion"}
    exec(compile(listing[1], "writing-a-ganglion.md", "exec", dont_inherit=True), names)
    return names["GanglionSocket"]


def _stranger(**arguments: Any) -> tuple[Any, Any]:
    with contextlib.ExitStack() as sockets:
        here, there = map(sockets.enter_context, socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM))
        made = stranger()(here, **arguments), stranger()(there, **arguments)
        sockets.pop_all()
        return made


RIGS = (
    Rig("inproc", _bus, encodes=False, links=False, reaches_all=False, send_policies=()),
    Rig("pair", _pair, limit=({"max_frame_bytes": 10_000}, 9_000, 10_001)),
    Rig(
        "pubsub",
        _pubsub,
        subscribes=True,
        reaches_all=False,
        limit=({"max_frame_bytes": 10_000}, 10_000, 10_001),
    ),
    Rig("stranger", _stranger, links=False, large=60_000, limit=({}, 60_000, 60_001), bulk=50_000),
)


# -- for tests ---------------------------------------------------------------------------------------------


def every(condition: Callable[[Rig], object] = lambda rig: True) -> pytest.MarkDecorator:
    """The test runs on each rig (for which the condition holds)."""
    return pytest.mark.parametrize("rig", [rig for rig in RIGS if condition(rig)], ids=str)


encoding = every(lambda rig: rig.encodes)
linked = every(lambda rig: rig.links)


raw = Neuron(bytes, namespace, BytesCodec())


class Gate:
    """A reactant that notes what it gets, and waits with each until it is opened."""

    def __init__(self) -> None:
        self.got: list[Any] = []
        self._opened = asyncio.Event()

    async def __call__(self, data: Any) -> None:
        self.got.append(data)
        await self._opened.wait()

    def open(self) -> None:
        self._opened.set()


def bulk(rig: Rig, n: int) -> bytes:
    """A large payload that begins with its number."""
    return n.to_bytes(4, "big") * (rig.bulk // 4)


def numbers(gate: Gate) -> list[int]:
    """Of what `bulk` made."""
    return [int.from_bytes(each[:4], "big") for each in gate.got]


def receiving(ganglion: Any, neuron: Any) -> Any:
    stats = ganglion.stats()
    assert stats.balanced
    return stats.neurons[neuron.name].receiving


def sending(ganglion: Any, neuron: Any) -> Any:
    stats = ganglion.stats()
    assert stats.balanced
    return stats.neurons[neuron.name].sending
