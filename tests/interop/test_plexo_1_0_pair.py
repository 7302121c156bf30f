# SPDX-License-Identifier: Apache-2.0
"""A pair of ours and plexo 1.0.0."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from plexo import GanglionZmqTcpPair
from tests.interop.peer import CODECS, HOST, Messages, Ours, Peer, Texts, free_port, run_on_free_ports

BATCH = 50
BIG = 5_000_000

we_bind = pytest.mark.parametrize("we_bind", [True, False], ids=["ours-binds", "1.0-binds"])
we_start = pytest.mark.parametrize("we_start", [True, False], ids=["ours-first", "1.0-first"])


@pytest.fixture(params=list(CODECS))
def messages(request: pytest.FixtureRequest) -> Messages:
    return CODECS[request.param]()


@pytest.fixture(params=["string", "capnp"])
def few_messages(request: pytest.FixtureRequest) -> Messages:
    return CODECS[request.param]()


def ours(messages: Messages, port: int, we_bind: bool) -> Ours:
    if we_bind:
        return Ours(messages, GanglionZmqTcpPair(bind_interface=HOST, port=port))
    return Ours(messages, GanglionZmqTcpPair(peer=(HOST, port), reconnect_max_s=0.2))


async def theirs(python: Path, messages: Messages, port: int, we_bind: bool) -> Peer:
    return await Peer.start(python, "pair", messages.peer_codec, "--connect" if we_bind else "--bind", port)


@we_bind
@we_start
def test_both_directions(plexo_1_0: Path, messages: Messages, we_bind: bool, we_start: bool) -> None:
    async def main() -> None:
        port = free_port()
        if we_start:
            async with ours(messages, port, we_bind) as us:
                waiting = asyncio.create_task(us.request(1, "sent before the peer is there"))
                async with await theirs(plexo_1_0, messages, port, we_bind) as peer:
                    await waiting
                    assert await peer.got(1) == "sent before the peer is there"
                    assert await us.reply() == (1, "SENT BEFORE THE PEER IS THERE")
                    await us.exchange(peer, range(2, BATCH))
        else:
            async with await theirs(plexo_1_0, messages, port, we_bind) as peer:
                peer.send(1, "sent before the peer is there")
                async with ours(messages, port, we_bind) as us:
                    assert await us.reply() == (1, "sent before the peer is there")
                    await us.exchange(peer, range(2, BATCH))

    run_on_free_ports(main)


def test_we_bind_any_free_port(plexo_1_0: Path) -> None:
    async def main() -> None:
        messages = Texts()
        ganglion = GanglionZmqTcpPair(bind_interface=HOST, port=0)
        assert ganglion.port
        async with (
            Ours(messages, ganglion) as us,
            await theirs(plexo_1_0, messages, ganglion.port, True) as peer,
        ):
            await us.exchange(peer, range(BATCH))

    run_on_free_ports(main)


@we_bind
def test_large_messages(plexo_1_0: Path, we_bind: bool) -> None:
    async def main() -> None:
        messages, port = Texts(), free_port()
        async with (
            ours(messages, port, we_bind) as us,
            await theirs(plexo_1_0, messages, port, we_bind) as peer,
        ):
            for number in range(3):
                await us.request(number, "x" * BIG)
                assert await peer.got(number) == BIG
            for number in range(3):
                assert await us.reply() == (number, "X" * BIG)

    run_on_free_ports(main)


@we_bind
def test_1_0_restarts(plexo_1_0: Path, few_messages: Messages, we_bind: bool) -> None:
    async def main() -> None:
        port = free_port()
        async with ours(few_messages, port, we_bind) as us:
            for start in (0, 100, 200):
                async with await theirs(plexo_1_0, few_messages, port, we_bind) as peer:
                    await us.exchange(peer, range(start, start + 10))
                    peer.send(start + 99, "unasked")
                    assert await us.reply() == (start + 99, "unasked")

    run_on_free_ports(main)


@we_bind
def test_we_restart(plexo_1_0: Path, few_messages: Messages, we_bind: bool) -> None:
    async def main() -> None:
        port = free_port()
        async with await theirs(plexo_1_0, few_messages, port, we_bind) as peer:
            for start in (0, 100, 200):
                async with ours(few_messages, port, we_bind) as us:
                    await us.exchange(peer, range(start, start + 10))
                    peer.send(start + 99, "unasked")
                    assert await us.reply() == (start + 99, "unasked")

    run_on_free_ports(main)


@we_bind
def test_what_was_accepted_while_1_0_was_away_arrives(plexo_1_0: Path, we_bind: bool) -> None:
    async def main() -> None:
        messages, port = Texts(), free_port()
        async with ours(messages, port, we_bind) as us:
            async with await theirs(plexo_1_0, messages, port, we_bind) as peer:
                await us.exchange(peer, range(10))
            ganglion = us.plexus.ganglia[0]
            assert isinstance(ganglion, GanglionZmqTcpPair)
            while ganglion.peers_connected:
                await asyncio.sleep(0.001)
            waiting = [asyncio.create_task(us.request(number, "later")) for number in range(10, 20)]
            async with await theirs(plexo_1_0, messages, port, we_bind) as peer:
                await asyncio.gather(*waiting)
                for number in range(10, 20):
                    assert await peer.got(number) == "later"
                    assert await us.reply() == (number, "LATER")

    run_on_free_ports(main)
