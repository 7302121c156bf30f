# SPDX-License-Identifier: Apache-2.0
"""One of the two processes of the soak: joined to the other by a pair and by publish/subscribe, both ways.

    python -m tests.soak.worker NAME SEED FIRST_STREAM PAIR_PORT OWN_PORT OTHER_PORT [--uvloop]

"left" binds the pair. It is told what to do on standard input, a word a line, and answers each with a line of JSON:

    work       send from now on
    restart    close everything and begin anew, in this process
    calm       stop sending; answers when what was sent has left this process
    sample     what this process holds now, and whether its books balance
    stop       close everything; answers what is left then, and ends
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import logging
import os
import random
import sys
import threading
from collections.abc import Callable
from typing import Any

import msgspec

from bench.compare.drivers.plexo_memory import resident_bytes
from plexo import GanglionZmqTcpPair, GanglionZmqTcpPubSub, Namespace, Neuron, Plexus
from tests.faults.balance import imbalance, nothing_waits

HOST = "127.0.0.1"
LARGEST_BYTES = 1 << 20
USUAL_BYTES = 1 << 16
# A burst, then a pause: about two thousand messages a second on each of the four ways, 20 MB/s.
LARGEST_BURST = 40
PAUSE_S = 0.01
CONTENTS = random.Random(1).randbytes(LARGEST_BYTES + 251)
CALM_LIMIT_S = 20.0
BIND_TRIES = 100
trim = getattr(ctypes.CDLL(None), "malloc_trim", None)


class Chunk(msgspec.Struct, frozen=True, array_like=True):
    stream: int
    n: int
    data: bytes


KINDS = ("pair", "pubsub")
NAMES = ("left", "right")
NEURONS = {
    (kind, name): Neuron(Chunk, Namespace(f"org.brewery.{kind}.{name}")) for kind in KINDS for name in NAMES
}


def size_from(rng: random.Random) -> int:
    """Nothing at all now and then, all magnitudes up to 64 KiB, and one in a hundred up to 1 MiB."""
    chance = rng.random()
    if chance < 0.03:
        return 0
    if chance > 0.99:
        return rng.randint(USUAL_BYTES, LARGEST_BYTES)
    return int(USUAL_BYTES ** rng.random())


class Ear:
    """A reactant that knows what may come: numbers of a stream go up, contents are what they must be."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._last: dict[int, int] = {}
        self.heard = 0
        self.heard_bytes = 0
        self.untrue: list[str] = []

    async def react(self, chunk: Chunk) -> None:
        self.heard += 1
        self.heard_bytes += len(chunk.data)
        start = chunk.n % 251
        if chunk.data != CONTENTS[start : start + len(chunk.data)]:
            self._complain(f"contents of {chunk.stream}/{chunk.n} are wrong")
        last = self._last.get(chunk.stream)
        if last is None:
            if len(self._last) > 8:
                self._last.pop(min(self._last))
        elif chunk.n <= last:
            self._complain(f"{chunk.stream}/{chunk.n} came after {last}")
        self._last[chunk.stream] = chunk.n
        chance = self._rng.random()
        if chance < 0.002:
            await asyncio.sleep(self._rng.random() * 0.02)
        elif chance < 0.004:
            raise RuntimeError("a reactant that fails now and then")

    def _complain(self, what: str) -> None:
        if len(self.untrue) < 10:
            self.untrue.append(what)


class Worker:
    def __init__(self, arguments: list[str]) -> None:
        name, *numbers = arguments
        seed, stream, self.pair_port, self.own_port, self.other_port = (int(each) for each in numbers)
        self.name = name
        self.rng = random.Random(seed)
        self.stream = stream
        self.ears = {kind: Ear(self.rng) for kind in KINDS}
        self.sent = 0
        self.working = asyncio.Event()
        self.wrong: list[str] = []
        self.plexus: Plexus | None = None
        self.ganglia: dict[str, Any] = {}
        self.senders: list[asyncio.Task[None]] = []
        self.idle = 0

    # -- life ----------------------------------------------------------------------------------------------------

    async def begin(self) -> None:
        self.stream += 1
        arguments = {"reconnect_min_s": 0.01, "reconnect_max_s": 0.1, "max_frame_bytes": 2 * LARGEST_BYTES}
        of_kind = {kind: [NEURONS[kind, name] for name in NAMES] for kind in KINDS}
        pair = (
            {"bind_interface": HOST, "port": self.pair_port}
            if self.name == "left"
            else {"peer": (HOST, self.pair_port)}
        )
        self.ganglia = {
            "pair": await bound(
                lambda: GanglionZmqTcpPair(relevant_neurons=of_kind["pair"], **pair, **arguments)
            ),
            "pubsub": await bound(
                lambda: GanglionZmqTcpPubSub(
                    HOST,
                    self.own_port,
                    [(HOST, self.other_port)],
                    relevant_neurons=of_kind["pubsub"],
                    **arguments,
                )
            ),
        }
        self.plexus = Plexus(list(self.ganglia.values()))
        other = NAMES[1 - NAMES.index(self.name)]
        for kind in KINDS:
            await self.plexus.adapt(NEURONS[kind, self.name])
            await self.plexus.react(NEURONS[kind, other], [self.ears[kind].react])
        self.idle = 0
        self.senders = [asyncio.create_task(self.send(self.plexus, kind)) for kind in KINDS]

    async def end(self) -> None:
        """Close; the books must balance with nothing left in them."""
        plexus, self.plexus = self.plexus, None
        assert plexus is not None
        for sender in self.senders:
            sender.cancel()
        await asyncio.gather(*self.senders, return_exceptions=True)
        await plexus.aclose()
        for kind, ganglion in self.ganglia.items():
            stats = ganglion.stats()
            if (wrong := imbalance(stats, kind == "pair") or nothing_waits(stats)) is not None:
                self.wrong.append(f"{kind}, closed: {wrong}")
        self.ganglia = {}

    async def send(self, plexus: Plexus, kind: str) -> None:
        neuron = NEURONS[kind, self.name]
        n = 0
        while True:
            if not self.working.is_set():
                self.idle += 1
                await self.working.wait()
                self.idle -= 1
            for _ in range(self.rng.randint(1, LARGEST_BURST)):
                start = n % 251
                await plexus.transmit(
                    Chunk(self.stream, n, CONTENTS[start : start + size_from(self.rng)]), neuron
                )
                n += 1
                self.sent += 1
            await asyncio.sleep(PAUSE_S)

    # -- answers -------------------------------------------------------------------------------------------------

    async def do(self, what: str) -> dict[str, Any]:
        if what == "work":
            self.working.set()
        elif what == "restart":
            await self.end()
            await self.begin()
        elif what == "calm":
            self.working.clear()
            await self.until_calm()
        elif what == "sample":
            return self.sample()
        elif what == "stop":
            await self.end()
        return {"wrong": self.wrong, "tasks": len(asyncio.all_tasks())}

    async def until_calm(self) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + CALM_LIMIT_S
        while self.idle < len(KINDS) or any(
            nothing_waits(ganglion.stats()) or not ganglion.peers_connected
            for ganglion in self.ganglia.values()
        ):
            if loop.time() > deadline:
                self.wrong.append(f"not calm within {CALM_LIMIT_S} s")
                return
            await asyncio.sleep(0.005)

    def sample(self) -> dict[str, Any]:
        links = {}
        dropped: dict[str, int] = {}
        for kind, ganglion in self.ganglia.items():
            stats = ganglion.stats()
            if (wrong := imbalance(stats, kind == "pair")) is not None:
                self.wrong.append(f"{kind}: {wrong}")
            links[kind] = [
                sum(link.sending.delivered for link in stats.links),
                sum(link.receiving.accepted for link in stats.links),
            ]
            for each in stats.neurons.values():
                for book in (each.sending, each.receiving):
                    for cause, count in book.dropped.items():
                        dropped[cause.value] = dropped.get(cause.value, 0) + count
        gc.collect()
        give_back_free_memory()
        return {
            "rss": resident_bytes(),
            "blocks": sys.getallocatedblocks(),
            "fds": len(os.listdir("/proc/self/fd")),
            "tasks": len(asyncio.all_tasks()),
            "threads": threading.active_count(),
            "links": links,
            "waits": self.plexus is not None and nothing_waits(self.plexus.stats()),
            "dropped": dropped,
            "sent": self.sent,
            "heard": sum(ear.heard for ear in self.ears.values()),
            "heard_bytes": sum(ear.heard_bytes for ear in self.ears.values()),
            "wrong": self.wrong + [what for ear in self.ears.values() for what in ear.untrue],
        }


def give_back_free_memory() -> None:
    """What the allocator keeps for later is no leak; glibc can be told to let go of it."""
    if trim is not None:
        trim(0)


async def bound(make: Callable[[], Any]) -> Any:
    """A port that was ours a moment ago may be in use for another one."""
    for left in reversed(range(BIND_TRIES)):
        try:
            return make()
        except OSError:
            if not left:
                raise
            await asyncio.sleep(0.05)


async def main(arguments: list[str]) -> None:
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    worker = Worker(arguments)
    await worker.begin()
    print(json.dumps({"began": True}), flush=True)
    while line := (await lines.readline()).decode().strip():
        print(json.dumps(await worker.do(line)), flush=True)
        if line == "stop":
            break
    transport.close()


if __name__ == "__main__":
    logging.getLogger("plexo").setLevel(logging.CRITICAL)
    given = sys.argv[1:]
    loops: Any = asyncio
    if "--uvloop" in given:
        import uvloop as loops  # type: ignore[no-redef]

        given.remove("--uvloop")
    loop = loops.new_event_loop()
    try:
        loop.run_until_complete(main(given))
    finally:
        loop.close()
