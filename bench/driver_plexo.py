# SPDX-License-Identifier: Apache-2.0
"""Measures this library, one thing in one process; see driver.py."""

from __future__ import annotations

import asyncio
import time

import msgspec
from driver import finish, main, other_end, quantiles, report, run
from samples import DIFFERENT, Echo, Reading, Seen, Start, echo, reading, readings, require, seen, start

from plexo import GanglionZmqTcpPair, GanglionZmqTcpPubSub, Neuron, Plexus, Queue

HOST = "127.0.0.1"
# Publishers drop what exceeds the queue of a subscriber; here everything must arrive, so it is as long as the
# run.
SEND_QUEUE_BYTES = 1 << 30
# Messages that a publisher sends before it gives its event loop a turn.
BURST = 100


# -- in process ----------------------------------------------------------------------------------------------


def inproc(count: int) -> None:
    run(_inproc(count))


async def _inproc(count: int) -> None:
    seen_count = checksum = 0
    async with Plexus() as plexus:

        @plexus.on(reading)
        async def react(value: Reading) -> None:
            nonlocal seen_count, checksum
            seen_count += 1
            checksum += value.sequence

        for value in readings:
            await plexus.transmit(value)
        seen_count = checksum = 0
        begin = time.perf_counter()
        for _ in range(count // DIFFERENT):
            for value in readings:
                await plexus.transmit(value)
        seconds = time.perf_counter() - begin
    require(seen_count, checksum, count)
    report(per_second=count / seconds)


def nowait(count: int) -> None:
    run(_nowait(count))


async def _nowait(count: int) -> None:
    seen_count = checksum = 0
    async with Plexus() as plexus:

        @plexus.on(reading)
        def react(value: Reading) -> None:
            nonlocal seen_count, checksum
            seen_count += 1
            checksum += value.sequence

        for value in readings:
            plexus.transmit_nowait(value)
        seen_count = checksum = 0
        begin = time.perf_counter()
        for _ in range(count // DIFFERENT):
            for value in readings:
                plexus.transmit_nowait(value)
        seconds = time.perf_counter() - begin
    require(seen_count, checksum, count)
    report(per_second=count / seconds)


# -- pair, one way -------------------------------------------------------------------------------------------


def pair(count: int, loop: str = "asyncio") -> None:
    run(_pair(count, loop), loop)


async def _pair(count: int, loop: str) -> None:
    warm_up = max(DIFFERENT, count // 10 // DIFFERENT * DIFFERENT)
    async with Plexus([ganglion := GanglionZmqTcpPair(HOST, 0)]) as plexus:
        peer = other_end(__file__, "pair-peer", ganglion.port, warm_up, count, loop)
        reports: asyncio.Queue[Seen] = asyncio.Queue()

        @plexus.on(seen)
        def react(value: Seen) -> None:
            reports.put_nowait(value)

        await plexus.adapt(reading)
        for messages in (warm_up, count):
            begin = time.perf_counter()
            for _ in range(messages // DIFFERENT):
                for value in readings:
                    await plexus.transmit(value)
            sent = time.perf_counter()
            got = await reports.get()
            seconds = time.perf_counter() - begin
            require(got.count, got.checksum, messages)
        await asyncio.to_thread(finish, peer)
    report(per_second=count / seconds, sender_s=sent - begin, seconds=seconds)


def pair_peer(port: int, warm_up: int, count: int, loop: str) -> None:
    run(_pair_peer(port, [count, warm_up]), loop)


async def _pair_peer(port: int, phases: list[int]) -> None:
    seen_count = checksum = 0
    wanted = phases.pop()
    done = asyncio.Event()
    async with Plexus([GanglionZmqTcpPair(peer=(HOST, port))]) as plexus:
        await plexus.adapt(seen)

        @plexus.on(reading)
        async def react(value: Reading) -> None:
            nonlocal seen_count, checksum, wanted
            seen_count += 1
            checksum += value.sequence
            if seen_count == wanted:
                await plexus.transmit(Seen(seen_count, checksum))
                seen_count = checksum = 0
                if phases:
                    wanted = phases.pop()
                else:
                    done.set()

        await done.wait()


# -- pair, there and back ------------------------------------------------------------------------------------


def roundtrip(count: int, loop: str = "asyncio") -> None:
    run(_roundtrip(count, loop), loop)


async def _roundtrip(count: int, loop: str) -> None:
    warm_up = DIFFERENT
    running = asyncio.get_running_loop()
    answered: asyncio.Future[None] = running.create_future()
    seen_count = checksum = 0
    async with Plexus([ganglion := GanglionZmqTcpPair(HOST, 0)]) as plexus:
        peer = other_end(__file__, "roundtrip-peer", ganglion.port, warm_up + count, loop)

        @plexus.on(echo)
        async def react(value: Echo) -> None:
            nonlocal seen_count, checksum
            seen_count += 1
            checksum += value.sequence
            answered.set_result(None)

        await plexus.adapt(reading)
        times: list[float] = []
        for _ in range((warm_up + count) // DIFFERENT):
            for value in readings:
                answered = running.create_future()
                begin = time.perf_counter()
                await plexus.transmit(value)
                await answered
                times.append(time.perf_counter() - begin)
        await asyncio.to_thread(finish, peer)
    require(seen_count, checksum, warm_up + count)
    report(**quantiles(times[warm_up:]))


def roundtrip_peer(port: int, count: int, loop: str) -> None:
    run(_roundtrip_peer(port, count), loop)


async def _roundtrip_peer(port: int, count: int) -> None:
    answered = 0
    done = asyncio.Event()
    async with Plexus([GanglionZmqTcpPair(peer=(HOST, port))]) as plexus:
        await plexus.adapt(echo)

        @plexus.on(reading)
        async def react(value: Reading) -> None:
            nonlocal answered
            await plexus.transmit(Echo(value.sensor, value.time, value.value, value.sequence))
            answered += 1
            if answered == count:
                done.set()

        await done.wait()


# -- publish/subscribe ---------------------------------------------------------------------------------------


def pubsub(count: int, subscribers: int) -> None:
    run(_pubsub(count, subscribers))


async def _pubsub(count: int, subscribers: int) -> None:
    warm_up = max(DIFFERENT, count // 10 // DIFFERENT * DIFFERENT)
    ganglion = GanglionZmqTcpPubSub(HOST, 0, send_queue=Queue("drop_newest", bytes=SEND_QUEUE_BYTES))
    async with Plexus([ganglion]) as plexus:
        peers = [
            other_end(__file__, "pubsub-peer", ganglion.port_pub, warm_up, count, output=True)
            for _ in range(subscribers)
        ]
        await plexus.adapt(reading)
        await plexus.adapt(start)
        ready = [asyncio.ensure_future(asyncio.to_thread(_line, peer)) for peer in peers]
        while not all(each.done() for each in ready):
            plexus.transmit_nowait(Start())
            await asyncio.sleep(0.01)
        for messages in (warm_up, count):
            begin = time.perf_counter()
            for _ in range(messages // DIFFERENT):
                for index, value in enumerate(readings):
                    await plexus.transmit(value)
                    if index % BURST == 0:
                        await asyncio.sleep(0)
            for line in await asyncio.gather(*(asyncio.to_thread(_line, peer) for peer in peers)):
                got = msgspec.json.decode(line, type=Seen)
                require(got.count, got.checksum, messages)
            seconds = time.perf_counter() - begin
        for peer in peers:
            await asyncio.to_thread(finish, peer)
    report(per_second=count / seconds)


def _line(peer: object) -> str:
    line = peer.stdout.readline()  # type: ignore[attr-defined]
    if not line:
        raise RuntimeError("a subscriber ended early")
    return str(line)


def pubsub_peer(port: int, warm_up: int, count: int) -> None:
    run(_pubsub_peer(port, [count, warm_up]))


async def _pubsub_peer(port: int, phases: list[int]) -> None:
    seen_count = checksum = 0
    started = False
    wanted = phases.pop()
    done = asyncio.Event()
    async with Plexus([GanglionZmqTcpPubSub(HOST, 0, peers=[(HOST, port)])]) as plexus:

        @plexus.on(reading)
        async def react(value: Reading) -> None:
            nonlocal seen_count, checksum, wanted
            seen_count += 1
            checksum += value.sequence
            if seen_count == wanted:
                report(count=seen_count, checksum=checksum)
                seen_count = checksum = 0
                if phases:
                    wanted = phases.pop()
                else:
                    done.set()

        # Subscribed to last: whoever gets this gets the readings too.
        @plexus.on(start)
        def begin(_: Start) -> None:
            nonlocal started
            if not started:
                started = True
                print("ready", flush=True)

        await done.wait()


# -- memory --------------------------------------------------------------------------------------------------


def memory(kinds: str, neurons: int) -> None:
    """RSS with `neurons` neurons adapted: of as many Struct types ("types"), or of one ("namespaces")."""
    run(_memory(kinds, neurons))


async def _memory(kinds: str, neurons: int) -> None:
    from memory import resident_bytes

    fields = [("sensor", str), ("time", float), ("value", float), ("sequence", int)]
    async with Plexus([GanglionZmqTcpPair(HOST, 0), GanglionZmqTcpPubSub(HOST, 0)]) as plexus:
        imported = resident_bytes()
        if kinds == "types":
            made = [
                Neuron(msgspec.defstruct(f"Reading{index}", fields), "bench.memory")
                for index in range(neurons)
            ]
        else:
            made = [Neuron(Reading, f"bench.memory.n{index}") for index in range(neurons)]
        for neuron in made:
            await plexus.adapt(neuron)
        # The work was done: the first and the last can be sent (a subscriber would get them).
        for neuron in (made[0], made[-1]):
            await plexus.ganglia[1].transmit(neuron.type("a", 1.0, 2.0, 3), neuron)
        report(rss_bytes=resident_bytes(), before_neurons_bytes=imported)


if __name__ == "__main__":
    main(
        {
            "inproc": inproc,
            "nowait": nowait,
            "pair": pair,
            "pair-peer": pair_peer,
            "roundtrip": roundtrip,
            "roundtrip-peer": roundtrip_peer,
            "pubsub": pubsub,
            "pubsub-peer": pubsub_peer,
            "memory": memory,
        }
    )
