# SPDX-License-Identifier: Apache-2.0
"""Both ends of a link in one process and one event loop, over TCP. A round is MESSAGES messages."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from plexo import GanglionZmqTcpPair, GanglionZmqTcpPubSub, Neuron, Plexus

MESSAGES = 1000
HOST = "127.0.0.1"
Run = Callable[[Coroutine[Any, Any, Any]], Any]


class Reading(msgspec.Struct, frozen=True):
    sensor: str
    sequence: int


READING = Neuron(Reading, "bench.loopback")


class Receiver:
    """Counts, and wakes whoever waits for a number of messages."""

    def __init__(self) -> None:
        self.seen = 0
        self.wanted = 0
        self.reached = asyncio.Event()

    def count(self, value: Reading) -> None:
        self.seen += value.sequence
        if self.seen >= self.wanted:
            self.reached.set()

    async def react(self, value: Reading) -> None:
        self.count(value)

    async def react_slowly(self, value: Reading) -> None:
        await asyncio.sleep(0)
        self.count(value)

    async def until(self, wanted: int) -> None:
        self.wanted = wanted
        if self.seen < wanted:
            self.reached.clear()
            await self.reached.wait()
        assert self.seen == wanted


async def _burst(sender: Plexus, receivers: list[Receiver], value: Reading) -> None:
    wanted = [each.seen + MESSAGES for each in receivers]
    for _ in range(MESSAGES):
        await sender.transmit(value)
    for receiver, count in zip(receivers, wanted, strict=True):
        await receiver.until(count)


async def _one_by_one(sender: Plexus, receivers: list[Receiver], value: Reading) -> None:
    (receiver,) = receivers
    for _ in range(MESSAGES):
        wanted = receiver.seen + 1
        await sender.transmit(value)
        await receiver.until(wanted)


async def _pair(receiver: Receiver, react: Any) -> list[Plexus]:
    bound = GanglionZmqTcpPair(HOST, 0)
    sender, other = Plexus([bound]), Plexus([GanglionZmqTcpPair(peer=bound.endpoint)])
    await sender.adapt(READING)
    await other.adapt(READING, [react])
    await sender.transmit(Reading("warm-up", 1))
    await receiver.until(1)
    return [sender, other]


async def _pubsub(receivers: list[Receiver]) -> list[Plexus]:
    bound = GanglionZmqTcpPubSub(HOST, 0)
    sender = Plexus([bound])
    await sender.adapt(READING)
    others = []
    for receiver in receivers:
        other = Plexus([GanglionZmqTcpPubSub(HOST, 0, peers=[bound.endpoint])])
        await other.adapt(READING, [receiver.react])
        others.append(other)
    while not all(receiver.seen for receiver in receivers):
        sender.transmit_nowait(Reading("warm-up", 1))
        await asyncio.sleep(0.001)
    # What of the warm-up is still under way belongs to no round.
    settled = -1
    while settled != sum(receiver.seen for receiver in receivers):
        settled = sum(receiver.seen for receiver in receivers)
        await asyncio.sleep(0.01)
    return [sender, *others]


async def _close(plexuses: list[Plexus]) -> None:
    for plexus in plexuses:
        await plexus.aclose()


def _measure(
    benchmark: BenchmarkFixture, run: Run, work: Any, plexuses: list[Plexus], receivers: list[Receiver]
) -> None:
    value = Reading("tank-1/upper", 1)
    try:
        benchmark(lambda: run(work(plexuses[0], receivers, value)))
    finally:
        run(_close(plexuses))


@pytest.mark.parametrize("work", [_burst, _one_by_one])
def test_pair(benchmark: BenchmarkFixture, run: Run, work: Any) -> None:
    receiver = Receiver()
    _measure(benchmark, run, work, run(_pair(receiver, receiver.react)), [receiver])


def test_pair_to_suspending_reactant(benchmark: BenchmarkFixture, run: Run) -> None:
    """Each reactant suspends once: the lane's queue and a pooled task do the work."""
    receiver = Receiver()
    _measure(benchmark, run, _burst, run(_pair(receiver, receiver.react_slowly)), [receiver])


@pytest.mark.parametrize("subscribers", [1, 4])
def test_pubsub(benchmark: BenchmarkFixture, run: Run, subscribers: int) -> None:
    receivers = [Receiver() for _ in range(subscribers)]
    _measure(benchmark, run, _burst, run(_pubsub(receivers)), receivers)
