# SPDX-License-Identifier: Apache-2.0
"""The two processes of the flood test, see test_flood.py.

    python -m tests.faults.flood receive             prints its ports, and at the end what it saw
    python -m tests.faults.flood send PORT PORT …    floods them until it is killed

For each queue policy there is a pair, and a reactant that sleeps for SLEEP_S with such a queue before it. Ticks share
the link; under `block`, where the link itself has to stop, they have a link of their own.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from typing import Any

import msgspec

from plexo import GanglionZmqTcpPair, Namespace, Neuron, Queue
from tests.faults.balance import imbalance

HOST = "127.0.0.1"
POLICIES = ("block", "drop_oldest", "drop_newest", "reject", "latest")
# How long ticks are counted before the reactants fall asleep, and how long these sleep then.
AWAKE_S = 1.5
SLEEP_S = 10.0
LOAD_BYTES = 16_384
QUEUE_BYTES = 4 << 20
KEYS = 100
LOADS_PER_TICK = 4
DRAIN_LIMIT_S = 15.0


class Load(msgspec.Struct, frozen=True, array_like=True):
    n: int
    data: bytes


class Tick(msgspec.Struct, frozen=True, array_like=True):
    n: int


LOADS = Neuron(Load, Namespace("org.brewery.flood"))
TICKS = Neuron(Tick, Namespace("org.brewery.flood"))


class Sleeper:
    """One policy's receiver."""

    def __init__(self, policy: str) -> None:
        self.policy = policy
        self.ganglion = GanglionZmqTcpPair(HOST, 0)
        self.tick_ganglion = GanglionZmqTcpPair(HOST, 0) if policy == "block" else self.ganglion
        self.asleep = False
        self.began = asyncio.Event()
        self.woke_at = 0.0
        self.last_before = -1
        self.loads: list[int] = []
        self.ticks: list[int] = []
        self.most_queued = 0

    @property
    def ports(self) -> list[int]:
        return [self.ganglion.port or 0, self.tick_ganglion.port or 0]

    async def start(self) -> None:
        key = (lambda load: load.n % KEYS) if self.policy == "latest" else None
        queue = Queue(self.policy, bytes=QUEUE_BYTES, key=key)  # type: ignore[arg-type]
        await self.ganglion.react(LOADS, [self.load], queue=queue)
        await self.tick_ganglion.react(TICKS, [lambda tick: self.ticks.append(tick.n)])

    async def load(self, load: Load) -> None:
        self.loads.append(load.n)
        if self.asleep and not self.began.is_set():
            self.began.set()
            await asyncio.sleep(SLEEP_S)
            self.asleep = False
            self.last_before = load.n

    def look(self) -> None:
        stats = self.ganglion.stats()
        self.most_queued = max(self.most_queued, stats.neurons[LOADS.name].receiving.queued)

    def report(self, ticks: list[int]) -> dict[str, Any]:
        stats = self.ganglion.stats()
        return {
            "ticks": ticks,
            "ticks_in_order": self.ticks == list(range(len(self.ticks))),
            "loads_received": stats.neurons[LOADS.name].received,
            "loads_in_order": all(a < b for a, b in zip(self.loads, self.loads[1:], strict=False)),
            "loads_complete": self.loads == list(range(len(self.loads))),
            "dropped": {
                cause.value: count for cause, count in stats.neurons[LOADS.name].receiving.dropped.items()
            },
            "most_queued": self.most_queued,
            "imbalance": imbalance(stats, True),
        }


def say(what: object) -> None:
    print(json.dumps(what), flush=True)


async def receive() -> None:
    sleepers = [Sleeper(policy) for policy in POLICIES]
    for sleeper in sleepers:
        await sleeper.start()
    say([port for sleeper in sleepers for port in sleeper.ports])
    await asyncio.gather(*(sleeper.ganglion.ready(timeout_s=DRAIN_LIMIT_S) for sleeper in sleepers))
    await asyncio.gather(*(sleeper.tick_ganglion.ready(timeout_s=DRAIN_LIMIT_S) for sleeper in sleepers))
    at_first = [len(sleeper.ticks) for sleeper in sleepers]
    await asyncio.sleep(AWAKE_S)
    asleep = [len(sleeper.ticks) for sleeper in sleepers]
    for sleeper in sleepers:
        sleeper.asleep = True
    await asyncio.wait_for(asyncio.gather(*(sleeper.began.wait() for sleeper in sleepers)), DRAIN_LIMIT_S)
    say("asleep")
    for _ in range(int(10 * SLEEP_S) - 5):
        await asyncio.sleep(0.1)
        for sleeper in sleepers:
            sleeper.look()
    awake = [len(sleeper.ticks) for sleeper in sleepers]
    say("awake")
    await asyncio.sleep(1.5)
    say(
        {
            sleeper.policy: sleeper.report([before, during, after])
            for sleeper, before, during, after in zip(sleepers, at_first, asleep, awake, strict=True)
        }
    )
    for sleeper in sleepers:
        await sleeper.ganglion.aclose()
        await sleeper.tick_ganglion.aclose()


async def flood(load_port: int, tick_port: int) -> None:
    loads = GanglionZmqTcpPair(peer=(HOST, load_port))
    ticks = loads if tick_port == load_port else GanglionZmqTcpPair(peer=(HOST, tick_port))
    for ganglion in (loads, ticks):
        await ganglion.adapt(LOADS)
        await ganglion.adapt(TICKS)
    data = bytes(LOAD_BYTES)

    async def send_loads(n: int = 0) -> None:
        while True:
            await loads.transmit(Load(n, data), LOADS)
            n += 1
            if ticks is loads and n % LOADS_PER_TICK == 0:
                await ticks.transmit(Tick(n // LOADS_PER_TICK - 1), TICKS)

    async def send_ticks(n: int = 0) -> None:
        while ticks is not loads:
            await ticks.transmit(Tick(n), TICKS)
            n += 1
            await asyncio.sleep(0.0005)

    await asyncio.gather(send_loads(), send_ticks())


async def send(ports: list[int]) -> None:
    await asyncio.gather(*(flood(*ports[n : n + 2]) for n in range(0, len(ports), 2)))


if __name__ == "__main__":
    logging.getLogger("plexo").setLevel(logging.CRITICAL)
    asyncio.run(receive() if sys.argv[1] == "receive" else send([int(port) for port in sys.argv[2:]]))
