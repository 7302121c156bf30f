# SPDX-License-Identifier: Apache-2.0
"""Rows fanout, ingest and links of plexo_driver.py: publish/subscribe."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from common import (
    HOST,
    MODULUS,
    SUBSCRIBERS,
    Far,
    Phase,
    check,
    far_report,
    rate,
    report,
    run,
    used,
    wanted_topics,
    warm_up,
)
from plexo_samples import (
    DIFFERENT,
    Receiver,
    chunks,
    fanout_neurons,
    loop_of,
    need,
    need_batches,
    neurons,
    reading,
    values,
)
from samples import (
    SAMPLE_BYTES,
    Reading,
    Small,
    check_fanout,
    expected,
    expected_fanout,
    expected_samples,
    sample_bytes,
    sample_dtype,
)

from plexo import GanglionZmqTcpPubSub, Neuron, NumpyCodec, Plexus, Queue

SCRIPT = str(Path(__file__).with_name("plexo_driver.py"))
READY_S = 30.0
# Everything must arrive: a publisher with this queue waits for its slowest subscriber.
WAITING = Queue("block", bytes=1 << 20)
# How often the pull form looks.
PULL_S = 0.002
RING_SAMPLES = 1_000_000
# Idle links that are made at a time, fewer than a publisher shakes hands with at a time.
LINKS_AT_A_TIME = 50


# -- 1 to 8 --------------------------------------------------------------------------------------------------


def fanout(count: int, style: str = "async") -> None:
    if style == "batch":
        need_batches()
    run(_fanout(count, style), loop_of(style))


async def _fanout(count: int, style: str) -> None:
    messages, topics = values(64), fanout_neurons()
    ganglion = GanglionZmqTcpPubSub(HOST, 0, send_queue=WAITING)
    async with Plexus([ganglion]) as plexus:
        peers = [
            Far(SCRIPT, "fanout-peer", ganglion.port_pub, warm_up(count), count, number, style)
            for number in range(SUBSCRIBERS)
        ]
        for neuron in topics:
            await plexus.adapt(neuron)
        subscribers = Counter(topic for number in range(SUBSCRIBERS) for topic in wanted_topics(number))
        for topic, many in subscribers.items():
            await plexus.ready(many, topics[topic], READY_S)
        cycle = list(zip(messages, topics * (DIFFERENT // len(topics)), strict=True))
        for phase_count in (warm_up(count), count):
            with Phase() as phase:
                for chunk in chunks(cycle, phase_count):
                    if style == "batch":
                        await _in_batches(plexus, chunk, topics)
                    else:
                        for value, neuron in chunk:
                            await plexus.transmit(value, neuron)
                found = await asyncio.to_thread(lambda: [peer.figures() for peer in peers])
            got = check_fanout(found, phase_count)
        # The last line of each was read above.
        await asyncio.to_thread(lambda: [peer.process.wait(timeout=10) for peer in peers])
    report(
        **rate(count, 64, phase),
        **used(phase, *found),
        count=got[0],
        checksum=got[1],
    )


async def _in_batches(plexus: Plexus, chunk: Any, topics: list[Neuron[Reading]]) -> None:
    """The same messages, those of one topic behind each other: a batch is of one neuron."""
    for topic, neuron in enumerate(topics):
        batch = [value for value, _ in chunk[topic :: len(topics)]]
        if batch:
            await plexus.transmit_many(batch, neuron)  # type: ignore[attr-defined]


def fanout_peer(port: int, warm: int, count: int, number: int, style: str = "async") -> None:
    run(_fanout_peer(port, warm, count, number, style), loop_of(style))


async def _fanout_peer(port: int, warm: int, count: int, number: int, style: str) -> None:
    topics = wanted_topics(number)
    wanted = [expected_fanout(each, topics)[0] for each in (warm, count)]
    done = asyncio.Event()
    phase = Phase()
    figures: dict[str, int] = {}

    def enough(got: int, checksum: int) -> int:
        if figures:
            phase.__exit__()
            done.set()
        else:
            report(count=got, checksum=checksum)
            phase.__enter__()
        figures.update(count=got, checksum=checksum)
        return wanted[1]

    receiver = Receiver(wanted[0], enough)
    by_topic = fanout_neurons()
    ganglion = GanglionZmqTcpPubSub(port_pub=None, peers=[(HOST, port)])
    async with Plexus([ganglion]) as plexus:
        # One reactant for all ten, so that there is one count.
        if style == "batch":
            batches = receiver.batches()
            for topic in topics:
                plexus.on(by_topic[topic], batch=True)(batches)  # type: ignore[call-arg]
        else:
            react = receiver.coroutine()
            for topic in topics:
                plexus.on(by_topic[topic])(react)
        await done.wait()
        # Before closing: the publisher's time ends with this line.
        far_report(phase, **figures)


# -- one subscriber, and links that nothing goes to ----------------------------------------------------------


def links(count: int, idle: int) -> None:
    run(_links(count, idle))


async def _links(count: int, idle: int) -> None:
    _allow_files()
    messages = values(64)
    ganglion = GanglionZmqTcpPubSub(HOST, 0, send_queue=WAITING)
    other = neurons[Small]
    async with Plexus([ganglion]) as plexus:
        await plexus.adapt(reading)
        await plexus.adapt(other)
        idler = Far(SCRIPT, "idle-peer", ganglion.port_pub, idle, stdin=True)
        await plexus.ready(idle, other, READY_S)
        peer = Far(SCRIPT, "links-peer", ganglion.port_pub, warm_up(count), count)
        await plexus.ready(1, reading, READY_S)
        for phase_count in (warm_up(count), count):
            with Phase() as phase:
                for chunk in chunks(messages, phase_count):
                    for value in chunk:
                        await plexus.transmit(value)
                found = await asyncio.to_thread(peer.figures)
            check("the subscriber", (found["count"], found["checksum"]), expected(phase_count))
        idler.tell("enough")
        # What the idle ends use is their own affair.
        await asyncio.to_thread(idler.finish)
    report(
        **rate(count, 64, phase),
        **used(phase, found),
        count=found["count"],
        checksum=found["checksum"],
    )


def links_peer(port: int, warm: int, count: int) -> None:
    run(_links_peer(port, warm, count))


async def _links_peer(port: int, warm: int, count: int) -> None:
    done = asyncio.Event()
    phase = Phase()
    figures: dict[str, int] = {}

    def enough(got: int, checksum: int) -> int:
        if figures:
            phase.__exit__()
            done.set()
        else:
            report(count=got, checksum=checksum)
            phase.__enter__()
        figures.update(count=got, checksum=checksum)
        return count

    async with Plexus([GanglionZmqTcpPubSub(port_pub=None, peers=[(HOST, port)])]) as plexus:
        plexus.on(reading)(Receiver(warm, enough).coroutine())
        await done.wait()
        far_report(phase, **figures)


def idle_peer(port: int, idle: int) -> None:
    _allow_files()
    run(_idle_peer(port, idle))


async def _idle_peer(port: int, idle: int) -> None:
    other = neurons[Small]
    made: list[GanglionZmqTcpPubSub] = []
    with Phase() as phase:
        while len(made) < idle:
            some = [
                GanglionZmqTcpPubSub(port_pub=None, peers=[(HOST, port)])
                for _ in range(min(LINKS_AT_A_TIME, idle - len(made)))
            ]
            for ganglion in some:
                await ganglion.react(other, [lambda _: None])
            for ganglion in some:
                await ganglion.ready(timeout_s=READY_S)
            made += some
        await asyncio.to_thread(sys.stdin.readline)
    far_report(phase)
    for ganglion in made:
        ganglion.close()


def _allow_files() -> None:
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


# -- sensors into arrays -------------------------------------------------------------------------------------


def _sample_neuron() -> Neuron[Any]:
    import numpy

    return Neuron(numpy.ndarray, "bench", NumpyCodec(sample_dtype(), ()), "Sample")


def ingest(count: int, connections: int, style: str = "async") -> None:
    """Styles: async (one by one), batch, collect (the pull form), thread (a thread receives), and both (batch,
    and the sender is this library, too)."""
    if style in ("batch", "thread", "both"):
        need_batches()
    elif style == "collect":
        need(hasattr(Plexus, "collect"))
    run(_ingest(count, connections, style), loop_of(style))


async def _ingest(count: int, connections: int, style: str) -> None:
    peer = Far(
        SCRIPT, "ingest-peer-many" if style == "both" else "ingest-peer", count, connections, stdin=True
    )
    ports = (await asyncio.to_thread(peer.line)).split()
    ganglion = _collector([(HOST, int(port)) for port in ports], style)
    async with Plexus([ganglion]) as plexus:
        collect = (_pulled if style == "collect" else _reacted)(plexus, style, warm_up(count))
        got = await anext(collect)
        check("the collector", got, expected_samples(warm_up(count), connections))
        with Phase() as phase:
            peer.tell("go")
            got = await collect.asend(count)
        check("the collector", got, expected_samples(count, connections))
        far = await asyncio.to_thread(peer.finish)
    report(**rate(count, SAMPLE_BYTES, phase), **used(phase, far), count=got[0], checksum=got[1])


def _collector(peers: list[tuple[str, int]], style: str) -> GanglionZmqTcpPubSub:
    if style != "thread":
        return GanglionZmqTcpPubSub(port_pub=None, peers=peers)
    try:
        return GanglionZmqTcpPubSub(port_pub=None, peers=peers, receive="thread")
    except TypeError:
        need(False)
        raise


async def _pulled(plexus: Plexus, _style: str, wanted: int) -> Any:
    """Count and checksum of `wanted` samples, and of as many more as are sent in."""
    ring = plexus.collect(_sample_neuron(), capacity=RING_SAMPLES)  # type: ignore[attr-defined]
    while True:
        count = checksum = 0
        while count < wanted:
            await asyncio.sleep(PULL_S)
            array = ring.drain()
            count += len(array)
            checksum += int(array["seq"].sum(dtype="u8"))
        wanted = yield count, checksum % MODULUS


async def _reacted(plexus: Plexus, style: str, wanted: int) -> Any:
    import numpy

    count = checksum = 0
    reached = asyncio.Event()
    if style == "async":
        # What a user has who wants arrays of what comes one by one.
        batch = numpy.zeros(DIFFERENT, sample_dtype())
        filled = 0

        @plexus.on(_sample_neuron())
        async def react(sample: Any) -> None:
            nonlocal count, checksum, filled
            batch[filled] = sample
            filled += 1
            if filled == DIFFERENT or count + filled == wanted:
                checksum += int(batch["seq"][:filled].sum(dtype="u8"))
                count += filled
                filled = 0
                if count >= wanted:
                    reached.set()

    else:

        @plexus.on(_sample_neuron(), batch=True)  # type: ignore[call-arg]
        def react_to_batch(array: Any) -> None:
            nonlocal count, checksum
            count += len(array)
            checksum += int(array["seq"].sum(dtype="u8"))
            if count >= wanted:
                reached.set()

    while True:
        await reached.wait()
        found = count, checksum % MODULUS
        count = checksum = 0
        reached.clear()
        wanted = yield found


def ingest_peer_many(count: int, connections: int) -> None:
    need_batches()
    run(_ingest_peer_many(count, connections))


async def _ingest_peer_many(count: int, connections: int) -> None:
    """The sensors, sending arrays of DIFFERENT samples with this library."""
    import numpy

    neuron = _sample_neuron()
    plexuses, ports, cycles = [], [], []
    for ident in range(connections):
        ganglion = GanglionZmqTcpPubSub(HOST, 0, send_queue=WAITING)
        plexuses.append(Plexus([ganglion]))
        ports.append(str(ganglion.port_pub))
        cycles.append(numpy.frombuffer(b"".join(sample_bytes(ident)), sample_dtype()))
    print(" ".join(ports), flush=True)
    for plexus in plexuses:
        await plexus.adapt(neuron)
        await plexus.ready(1, neuron, READY_S)

    async def send(plexus: Plexus, cycle: Any, each: int) -> None:
        for chunk in chunks(cycle, each):
            await plexus.transmit_many(chunk, neuron)  # type: ignore[attr-defined]

    async def send_all(total: int) -> None:
        each = total // connections
        await asyncio.gather(
            *(send(plexus, cycle, each) for plexus, cycle in zip(plexuses, cycles, strict=True))
        )

    await send_all(warm_up(count))
    await asyncio.to_thread(sys.stdin.readline)
    with Phase() as phase:
        await send_all(count)
    far_report(phase)
    for plexus in plexuses:
        await plexus.aclose()
