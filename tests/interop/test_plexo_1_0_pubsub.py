# SPDX-License-Identifier: Apache-2.0
"""Publish/subscribe of ours and plexo 1.0.0. Each side binds its publisher and connects to the other's."""

from __future__ import annotations

from pathlib import Path

import pytest

from plexo import GanglionZmqTcpPubSub
from tests.interop.peer import CODECS, HOST, Messages, Ours, Peer, Texts, free_port, run_on_free_ports

BATCH = 50


@pytest.fixture(params=list(CODECS))
def messages(request: pytest.FixtureRequest) -> Messages:
    return CODECS[request.param]()


@pytest.fixture(params=["string", "capnp"])
def few_messages(request: pytest.FixtureRequest) -> Messages:
    return CODECS[request.param]()


def ours(messages: Messages, our_port: int, their_port: int) -> Ours:
    ganglion = GanglionZmqTcpPubSub(
        bind_interface=HOST, port_pub=our_port, peers=[(HOST, their_port)], reconnect_max_s=0.2
    )
    return Ours(messages, ganglion)


async def theirs(python: Path, messages: Messages, our_port: int, their_port: int) -> Peer:
    return await Peer.start(
        python, "pubsub", messages.peer_codec, "--bind", their_port, "--connect", our_port
    )


@pytest.mark.parametrize("we_start", [True, False], ids=["ours-first", "1.0-first"])
def test_both_directions(plexo_1_0: Path, messages: Messages, we_start: bool) -> None:
    async def main() -> None:
        ports = free_port(), free_port()
        if we_start:
            async with ours(messages, *ports) as us, await theirs(plexo_1_0, messages, *ports) as peer:
                await us.until_joined(peer)
                await us.exchange(peer, range(1, BATCH))
        else:
            async with await theirs(plexo_1_0, messages, *ports) as peer, ours(messages, *ports) as us:
                await us.until_joined(peer)
                await us.exchange(peer, range(1, BATCH))

    run_on_free_ports(main)


def test_1_0_publishes_unasked(plexo_1_0: Path, messages: Messages) -> None:
    async def main() -> None:
        ports = free_port(), free_port()
        async with ours(messages, *ports) as us, await theirs(plexo_1_0, messages, *ports) as peer:
            await us.until_joined(peer)
            for number in range(BATCH):
                peer.send(number, "unasked")
            for number in range(BATCH):
                assert await us.reply() == (number, "unasked")

    run_on_free_ports(main)


def test_1_0_restarts(plexo_1_0: Path, few_messages: Messages) -> None:
    async def main() -> None:
        ports = free_port(), free_port()
        async with ours(few_messages, *ports) as us:
            for start in (0, 100, 200):
                async with await theirs(plexo_1_0, few_messages, *ports) as peer:
                    await us.until_joined(peer)
                    await us.exchange(peer, range(start, start + 10))

    run_on_free_ports(main)


def test_we_restart(plexo_1_0: Path, few_messages: Messages) -> None:
    async def main() -> None:
        ports = free_port(), free_port()
        async with await theirs(plexo_1_0, few_messages, *ports) as peer:
            for start in (0, 100, 200):
                async with ours(few_messages, *ports) as us:
                    await us.until_joined(peer)
                    await us.exchange(peer, range(start, start + 10))

    run_on_free_ports(main)


def test_large_messages(plexo_1_0: Path) -> None:
    async def main() -> None:
        messages, ports = Texts(), (free_port(), free_port())
        async with ours(messages, *ports) as us, await theirs(plexo_1_0, messages, *ports) as peer:
            await us.until_joined(peer)
            # One at a time, below the bound of our queue to a subscriber: what finds it full is dropped.
            for number in range(3):
                await us.request(number, "x" * 900_000)
                assert await peer.got(number) == 900_000
                assert await us.reply() == (number, "X" * 900_000)

    run_on_free_ports(main)
