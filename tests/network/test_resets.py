# SPDX-License-Identifier: Apache-2.0
"""A peer that resets its connection right behind its last bytes: what it said counts, and it is gone at once."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from plexo import GanglionZmqTcpPair, GanglionZmqTcpPubSub, Plexus
from plexo._fast.envelope import build_envelope
from tests.support import GREETING, TIMEOUT_S, Tick, frame, ready, tick, until, within

HOST = "127.0.0.1"


def run(main: Coroutine[Any, Any, None], loop_kind: str) -> None:
    kind = asyncio if loop_kind == "asyncio" else pytest.importorskip("uvloop")
    loop = kind.new_event_loop()
    try:
        loop.run_until_complete(asyncio.wait_for(main, TIMEOUT_S))
    finally:
        loop.close()


loops = pytest.mark.parametrize("loop_kind", ["asyncio", "uvloop"])


async def say_and_reset(ganglion: GanglionZmqTcpPair, words: bytes) -> None:
    """The words and the reset are both there when the other side looks."""
    with socket.create_connection((HOST, ganglion.port or 0)) as peer:
        await until(lambda: ganglion._connections)
        peer.sendall(words)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def pair() -> GanglionZmqTcpPair:
    return GanglionZmqTcpPair(HOST, 0, heartbeat_s=0, handshake_timeout_s=60)


@loops
def test_a_peer_that_is_gone_when_the_hand_shake_ends_does_not_keep_others_out(loop_kind: str) -> None:
    async def main() -> None:
        ganglion = pair()
        got: list[Tick] = []
        async with Plexus([ganglion]) as plexus:
            plexus.on(tick)(got.append)
            for _ in range(3):
                await say_and_reset(ganglion, GREETING + ready(b"PAIR"))
                await until(lambda: ganglion.stats().faults)
                await until(lambda: not ganglion._connections)
                assert not ganglion.hub.links
            async with Plexus([GanglionZmqTcpPair(peer=ganglion.endpoint, reconnect_min_s=0.005)]) as other:
                await other.adapt(tick)
                await within(other.transmit(Tick(1)))
                await until(lambda: got == [Tick(1)])

    run(main(), loop_kind)


@loops
@pytest.mark.parametrize("said", [b"", GREETING[:20], GREETING], ids=["nothing", "part", "greeting"])
def test_a_reset_in_the_hand_shake_is_noticed_at_once(loop_kind: str, said: bytes) -> None:
    async def main() -> None:
        ganglion = pair()
        async with ganglion:
            await say_and_reset(ganglion, said)
            await until(lambda: ganglion.stats().faults)
            await until(lambda: not ganglion._connections)

    run(main(), loop_kind)


@loops
@pytest.mark.parametrize("messages", [1, 3, 100_000])
def test_a_reset_behind_messages_is_noticed_at_once_and_they_count(loop_kind: str, messages: int) -> None:
    message = frame(build_envelope(tick.topic, tick.encode(Tick(7))))

    async def main() -> None:
        ganglion = pair()
        got: list[Tick] = []
        async with Plexus([ganglion]) as plexus:
            plexus.on(tick)(got.append)
            await reset_behind(ganglion.port or 0, b"PAIR", message * messages, lambda: ganglion.hub.links)
            await until(lambda: len(got) == messages)
            await until(lambda: not ganglion.hub.links)

    run(main(), loop_kind)


async def reset_behind(port: int, role: bytes, words: bytes, established: Callable[[], object]) -> None:
    """Shake hands, then say the words and reset."""
    loop = asyncio.get_running_loop()
    with socket.socket() as peer:
        peer.setblocking(False)
        await loop.sock_connect(peer, (HOST, port))
        await loop.sock_sendall(peer, GREETING + ready(role))
        await until(established)
        assert await within(loop.sock_recv(peer, 1000))
        # The window is large enough for the last 64 KiB, which are there together with the reset.
        await within(loop.sock_sendall(peer, words[:-65536]))
        await asyncio.sleep(0.02)
        peer.setblocking(True)
        peer.sendall(words[-65536:])
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@loops
def test_a_subscriber_that_resets_is_gone_at_once(loop_kind: str) -> None:
    async def main() -> None:
        ganglion = GanglionZmqTcpPubSub(HOST, 0, heartbeat_s=0)
        async with ganglion:
            await ganglion.adapt(tick)
            subscribing = frame(b"\x09SUBSCRIBE" + tick.topic, 4)
            await reset_behind(ganglion.port_pub or 0, b"SUB", subscribing, lambda: ganglion.hub.links)
            await until(lambda: not ganglion.hub.links)

    run(main(), loop_kind)
