# SPDX-License-Identifier: Apache-2.0
"""Fault scenarios with plexo 1.0.0 at the other end, in its own process.

It answers each request, so that it can be seen from here what it got. A process takes a second to start; each serves
several scenarios, and is killed and started again in the middle of one.
"""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path
from typing import Any

import pytest

from plexo import Closed, GanglionZmqTcpPair, GanglionZmqTcpPubSub
from tests.faults.balance import imbalance, nothing_waits
from tests.faults.proxy import HOST, Proxy
from tests.interop.peer import Ours, Peer, Texts, free_port, run_on_free_ports
from tests.support import until, within

SCENARIOS = 5
STEPS = 8
# Healed, a request is answered within this time; 1.0 itself waits 0.1 s before it connects again.
ANSWER_LIMIT_S = 3.0
LAST_REQUESTS = 12
ARGUMENTS: dict[str, Any] = {"reconnect_min_s": 0.05, "reconnect_max_s": 0.1, "heartbeat_s": 0}


class Bench:
    """A process of 1.0, the proxies between it and us, and the present program of ours."""

    def __init__(self, python: Path, rng: random.Random, kind: str, we_bind: bool) -> None:
        self.python = python
        self.rng = rng
        self.kind = kind
        self.we_bind = we_bind
        self.to_us, self.to_them = Proxy(rng, narrow=True), Proxy(rng, narrow=True)
        self.messages = Texts()
        self.us: Ours | None = None
        self.peer: Peer | None = None
        self.hearing: asyncio.Task[None] | None = None
        self.their_port = free_port()
        self.number = 0
        self.said: dict[int, str] = {}
        self.got: list[int] = []
        self.answers: list[int] = []
        self.journal: list[str] = []

    @property
    def proxies(self) -> list[Proxy]:
        if self.kind == "pubsub":
            return [self.to_us, self.to_them]
        return [self.to_us if self.we_bind else self.to_them]

    # -- both programs -------------------------------------------------------------------------------------------

    async def start_peer(self) -> None:
        if self.kind == "pubsub":
            ends: list[object] = ["--bind", self.their_port, "--connect", self.to_us.port]
        elif self.we_bind:
            ends = ["--connect", self.to_us.port]
        else:
            ends = ["--bind", self.their_port]
        self.to_them.target = self.their_port
        self.peer = await Peer.start(self.python, self.kind, "string", *ends)
        self.hearing = asyncio.create_task(self.hear(self.peer))

    async def hear(self, peer: Peer) -> None:
        """What 1.0 says it got."""
        while True:
            event = await peer.event(timeout_s=None)
            number = event["number"]
            # Of a long text it tells the length.
            assert event["text"] in (self.said[number], len(self.said[number])), event
            assert not self.got or number > self.got[-1], f"1.0 got {number} after {self.got[-1]}"
            self.got.append(number)

    async def kill_peer(self) -> None:
        assert self.peer is not None and self.hearing is not None
        self.hearing.cancel()
        await asyncio.gather(self.hearing, return_exceptions=True)
        await self.peer.kill()

    async def start_us(self) -> None:
        ganglion: Any
        if self.kind == "pubsub":
            ganglion = GanglionZmqTcpPubSub(HOST, 0, [self.to_them.endpoint], **ARGUMENTS)
            self.to_us.target = ganglion.port_pub
        elif self.we_bind:
            ganglion = GanglionZmqTcpPair(HOST, 0, **ARGUMENTS)
            self.to_us.target = ganglion.port
        else:
            ganglion = GanglionZmqTcpPair(peer=self.to_them.endpoint, **ARGUMENTS)
        self.us = await Ours(self.messages, ganglion).__aenter__()

    async def stop_us(self, abruptly: bool) -> None:
        us, self.us = self.us, None
        assert us is not None
        if abruptly:
            for proxy in self.proxies:
                proxy.cut()
        await us.plexus.aclose()
        self.listen(us)
        stats = us.plexus.ganglia[0].stats()  # type: ignore[union-attr]
        assert imbalance(stats, self.kind == "pair") is None and nothing_waits(stats) is None

    # -- what is seen --------------------------------------------------------------------------------------------

    def listen(self, us: Ours) -> None:
        while not us.replies.empty():
            number, text = us.replies.get_nowait()
            assert text == self.said[number].upper()
            assert not self.answers or number > self.answers[-1], f"{number} after {self.answers[-1]}"
            self.answers.append(number)

    def look(self) -> None:
        assert self.hearing is not None
        if self.hearing.done():
            self.hearing.result()
        if self.us is not None:
            self.listen(self.us)
            wrong = imbalance(self.us.plexus.ganglia[0].stats(), self.kind == "pair")  # type: ignore[union-attr]
            assert wrong is None, wrong

    async def ask(self, text: str) -> int:
        self.number += 1
        number = self.number
        self.said[number] = text
        assert self.us is not None
        await within(self.us.request(number, text))
        return number

    async def flood(self, count: int) -> None:
        for _ in range(count):
            if self.us is None:
                return
            try:
                await self.ask("x" * self.rng.choice((0, 10, 1000, 20_000)))
            except Closed:
                return

    # -- a scenario ----------------------------------------------------------------------------------------------

    async def play(self, kill_peer: bool) -> None:
        self.journal.clear()
        await self.start_us()
        flood: asyncio.Task[None] | None = None
        for at in range(STEPS):
            if flood is None or flood.done():
                flood = asyncio.create_task(self.flood(self.rng.choice((1, 10, 50))))
            self.journal.append(await self.step())
            if kill_peer and at == STEPS // 2:
                self.journal.append("1.0 is killed and started again")
                await self.kill_peer()
                await self.start_peer()
            self.look()
            await asyncio.sleep(self.rng.uniform(0, 0.01))
            self.look()
        for proxy in self.proxies:
            proxy.heal()
        if self.us is None:
            await self.start_us()
        assert flood is not None
        await within(flood)
        await self.heal()
        await self.stop_us(abruptly=False)

    async def step(self) -> str:
        proxy = self.rng.choice(self.proxies)
        kind = self.rng.choice(
            ("cut", "fin", "stall", "split", "delay", "half", "refuse", "hole", "heal", "restart")
        )
        if kind == "restart":
            if self.us is not None:
                await self.stop_us(abruptly=True)
            await self.start_us()
        elif kind == "refuse":
            proxy.refuse()
            proxy.cut()
        elif kind == "hole":
            proxy.black_hole()
        elif kind == "heal":
            proxy.heal()
        for wire in list(proxy.wires):
            if not wire.connected:
                continue
            flow = self.rng.choice(wire.flows)
            if kind in ("cut", "fin"):
                wire.cut(kind == "cut")
            elif kind == "stall":
                flow.stall()
            elif kind == "split":
                flow.split(self.rng.choice((1, 5, 50)), 100)
            elif kind == "delay":
                flow.delay(0.003)
            elif kind == "half":
                flow.half_close()
        return kind

    async def heal(self) -> None:
        """Answered again in time; and then every request, in order."""
        if not await self.answered():
            # A bound PAIR of libzmq holds on to a connection that has ended until all of it is read; the next one it
            # accepts and throws away what comes on it. 1.0 reads nothing while a reply of its own waits for a peer, so
            # the two wait for each other. Only its users can end that, by starting it again.
            assert self.kind == "pair" and not self.we_bind, f"no answer within {ANSWER_LIMIT_S} s"
            await self.kill_peer()
            await self.start_peer()
            assert await self.answered(), "a new process of 1.0 does not answer either"
        await until(lambda: (self.look(), self.answers[-1] == self.number)[1])
        last = [await self.ask(f"at last {n}") for n in range(LAST_REQUESTS)]
        await until(lambda: (self.look(), self.answers[-1] == self.got[-1] == self.number)[1])
        assert self.answers[-LAST_REQUESTS:] == last == self.got[-LAST_REQUESTS:]

    async def answered(self) -> bool:
        """Ask until something that is asked now is answered."""
        deadline = time.monotonic() + ANSWER_LIMIT_S
        first = self.number + 1
        while not self.answers or self.answers[-1] < first:
            if time.monotonic() > deadline:
                return False
            await self.ask("again?")
            await asyncio.sleep(0.01)
            self.look()
        return True


MODES = [("pair", True), ("pair", False), ("pubsub", True), ("pubsub", False)]


@pytest.mark.time_limit(90)
@pytest.mark.parametrize(
    ("kind", "we_bind"), MODES, ids=["pair-ours-binds", "pair-1.0-binds", "pubsub-1", "pubsub-2"]
)
def test_after_any_faults_1_0_answers_again(plexo_1_0: Path, seed: int, kind: str, we_bind: bool) -> None:
    async def main() -> None:
        bench = Bench(plexo_1_0, random.Random(f"{seed} {kind} {we_bind}"), kind, we_bind)
        async with bench.to_us, bench.to_them:
            await bench.start_peer()
            try:
                for n in range(SCENARIOS):
                    await bench.play(kill_peer=n == SCENARIOS // 2)
            except BaseException as error:
                error.args = (f"{error} (scenario {n}, --seed={seed}: {', '.join(bench.journal)})",)
                raise
            finally:
                await bench.kill_peer()
                if bench.us is not None:
                    await bench.us.plexus.aclose()

    run_on_free_ports(main, timeout_s=80)
