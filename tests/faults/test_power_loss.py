# SPDX-License-Identifier: Apache-2.0
"""A machine that loses power says nothing: heartbeats find out within three periods, and the link is replaced."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Callable

import pytest

from plexo import Cause, GanglionZmqTcpPair, GanglionZmqTcpPubSub
from tests.faults.proxy import HOST, Proxy
from tests.support import Tick, run, tick, until, within

HEARTBEAT_S = 0.2
# Three periods, and what a busy machine may take until it looks.
NOTICED_S = 3 * HEARTBEAT_S + 0.3
READY_LIMIT_S = 2.0

Ganglion = GanglionZmqTcpPair | GanglionZmqTcpPubSub
ARGUMENTS = {"heartbeat_s": HEARTBEAT_S, "reconnect_min_s": 0.005, "reconnect_max_s": 0.05}

kinds = pytest.mark.parametrize("kind", ["pair", "pubsub"])


def bound(kind: str) -> tuple[Ganglion, int]:
    if kind == "pair":
        pair = GanglionZmqTcpPair(HOST, 0, **ARGUMENTS)  # type: ignore[arg-type]
        return pair, pair.port or 0
    publisher = GanglionZmqTcpPubSub(HOST, 0, **ARGUMENTS)  # type: ignore[arg-type]
    return publisher, publisher.port_pub or 0


def dialling(kind: str, proxy: Proxy) -> Ganglion:
    if kind == "pair":
        return GanglionZmqTcpPair(peer=proxy.endpoint, **ARGUMENTS)  # type: ignore[arg-type]
    return GanglionZmqTcpPubSub(port_pub=None, peers=[proxy.endpoint], **ARGUMENTS)  # type: ignore[arg-type]


class Ends:
    """A sender that is bound, and a receiver that dials it through the proxy."""

    def __init__(self, proxy: Proxy, sender: Ganglion, receiver: Ganglion) -> None:
        self.proxy = proxy
        self.sender = sender
        self.receiver = receiver
        self.got: list[int] = []
        self.gate: asyncio.Event | None = None

    async def react(self, data: Tick) -> None:
        self.got.append(data.n)
        if self.gate is not None:
            await self.gate.wait()

    def joined(self) -> bool:
        if isinstance(self.sender, GanglionZmqTcpPubSub):
            return self.sender.subscriber_count(tick) == 1 and len(self.receiver.peers_connected) == 1
        return len(self.sender.peers_connected) == len(self.receiver.peers_connected) == 1

    async def arrives(self, n: int) -> None:
        await within(self.sender.transmit(Tick(n), tick))
        await until(lambda: self.got[-1:] == [n])


@contextlib.asynccontextmanager
async def joined(kind: str) -> AsyncIterator[Ends]:
    sender, port = bound(kind)
    async with Proxy(random.Random(0), port) as proxy, sender, dialling(kind, proxy) as receiver:
        ends = Ends(proxy, sender, receiver)
        await sender.adapt(tick)
        await receiver.react(tick, [ends.react])
        await until(ends.joined)
        await ends.arrives(1)
        yield ends


async def soon(condition: Callable[[], object], limit_s: float) -> float:
    """Wait; how long it took."""
    began = time.monotonic()
    await until(condition, limit_s)
    return time.monotonic() - began


def timeouts(ganglion: Ganglion) -> int:
    return ganglion.stats().fault_count(Cause.HEARTBEAT_TIMEOUT)


@kinds
def test_both_sides_notice_within_three_periods_and_the_link_is_replaced(kind: str) -> None:
    async def main() -> None:
        async with joined(kind) as ends:
            ends.proxy.black_hole()
            await soon(lambda: timeouts(ends.sender) and timeouts(ends.receiver), NOTICED_S)
            assert not ends.sender.peers_connected and not ends.receiver.peers_connected
            ends.proxy.heal()
            await soon(ends.joined, READY_LIMIT_S)
            await ends.arrives(2)
            assert timeouts(ends.sender) == timeouts(ends.receiver) == 1

    run(main())


@kinds
def test_a_machine_that_comes_back_finds_its_place_free_within_three_periods(kind: str) -> None:
    """Its old connection is dead, and the other side cannot know; a pair refuses the new one until it does."""

    async def main() -> None:
        async with joined(kind) as ends:
            ends.proxy.wires[0].black_hole()
            await ends.receiver.aclose()
            async with dialling(kind, ends.proxy) as ends.receiver:
                await ends.receiver.react(tick, [ends.react])
                await soon(ends.joined, NOTICED_S + READY_LIMIT_S)
                await ends.arrives(2)

    run(main())


@kinds
def test_a_receiver_that_reads_nothing_meanwhile_notices_when_it_reads_again(kind: str) -> None:
    async def main() -> None:
        async with joined(kind) as ends:
            gate = ends.gate = asyncio.Event()
            for n in range(2, 20):
                await within(ends.sender.transmit(Tick(n), tick))
            await until(lambda: len(ends.got) == 2)
            # What comes behind it is to be through the proxy, too: nobody reads it there, so nothing says that it is.
            await asyncio.sleep(0.2)
            ends.proxy.black_hole()
            await soon(lambda: timeouts(ends.sender), NOTICED_S)
            gate.set()
            ends.gate = None
            await soon(lambda: timeouts(ends.receiver), NOTICED_S)
            await until(lambda: ends.got == list(range(1, 20)))
            ends.proxy.heal()
            await soon(ends.joined, READY_LIMIT_S)
            await ends.arrives(20)

    run(main())


@kinds
def test_a_silent_link_that_lives_is_not_given_up(kind: str) -> None:
    async def main() -> None:
        async with joined(kind) as ends:
            await asyncio.sleep(5 * HEARTBEAT_S)
            assert timeouts(ends.sender) == timeouts(ends.receiver) == 0
            assert len(ends.proxy.wires) == ends.proxy.accepted == 1

    run(main())
