# SPDX-License-Identifier: Apache-2.0
"""Rows pair, rtt and rttload of plexo_driver.py: a Plexus at each end of a pair."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from common import (
    HOST,
    MODULUS,
    Far,
    Load,
    Phase,
    check,
    far_report,
    peak_bytes,
    quantiles,
    rate,
    report,
    run,
    used,
    warm_up,
    warm_up_in,
)
from plexo_samples import (
    Receiver,
    chunks,
    echo,
    kind_of,
    loop_of,
    need_batches,
    neurons,
    polling,
    reading,
    seen,
    values,
)
from samples import STOP, Echo, Reading, Seen, echo_of, expected

from plexo import GanglionZmqTcpPair, Plexus

SCRIPT = str(Path(__file__).with_name("plexo_driver.py"))


# -- one way -------------------------------------------------------------------------------------------------


def pair(count: int, size: int = 64, style: str = "async") -> None:
    if style == "batch":
        need_batches()
    run(_pair(count, size, style), loop_of(style))


async def _pair(count: int, size: int, style: str) -> None:
    messages = values(size)
    async with Plexus([ganglion := GanglionZmqTcpPair(HOST, 0)]) as plexus:
        peer = Far(SCRIPT, "pair-peer", ganglion.port, warm_up(count), count, size, style)
        reports: asyncio.Queue[Seen] = asyncio.Queue()

        @plexus.on(seen)
        def react(value: Seen) -> None:
            reports.put_nowait(value)

        await plexus.adapt(neurons[kind_of(size)])
        for phase_count in (warm_up(count), count):
            with Phase() as phase:
                for chunk in chunks(messages, phase_count):
                    if style == "batch":
                        await plexus.transmit_many(chunk)  # type: ignore[attr-defined]
                    else:
                        for value in chunk:
                            await plexus.transmit(value)
                got = await reports.get()
            check("the far end", (got.count, got.checksum), expected(phase_count))
        far = await asyncio.to_thread(peer.finish)
    report(**rate(count, size, phase), **used(phase, far), count=got.count, checksum=got.checksum)


def pair_peer(port: int, warm: int, count: int, size: int = 64, style: str = "async") -> None:
    run(_pair_peer(port, warm, count, size, style), loop_of(style))


async def _pair_peer(port: int, warm: int, count: int, size: int, style: str) -> None:
    done = asyncio.Event()
    phase = Phase()
    async with Plexus([GanglionZmqTcpPair(peer=(HOST, port))]) as plexus:
        await plexus.adapt(seen)

        def enough(got: int, checksum: int) -> int:
            plexus.transmit_nowait(Seen(got, checksum))
            if done_once:
                phase.__exit__()
                done.set()
            else:
                done_once.append(True)
                phase.__enter__()
            return count

        done_once: list[bool] = []
        receiver = Receiver(warm, enough)
        neuron = neurons[kind_of(size)]
        if style == "batch":
            plexus.on(neuron, batch=True)(receiver.batches())  # type: ignore[call-arg]
        else:
            plexus.on(neuron)(receiver.coroutine())
        await done.wait()
    far_report(phase)


# -- there and back ------------------------------------------------------------------------------------------


def rtt(count: int, style: str = "async") -> None:
    run(_rtt(count, style), loop_of(style))


async def _rtt(count: int, style: str) -> None:
    warm, messages = warm_up(count), values(64)
    running = asyncio.get_running_loop()
    answered: asyncio.Future[None] = running.create_future()
    got = checksum = 0
    times: list[float] = []
    async with Plexus([ganglion := GanglionZmqTcpPair(HOST, 0, **polling(style))]) as plexus:
        peer = Far(SCRIPT, "rtt-peer", ganglion.port, warm + count, style)

        @plexus.on(echo)
        async def react(value: Echo) -> None:
            nonlocal got, checksum
            got += 1
            checksum += value.sequence
            answered.set_result(None)

        await plexus.adapt(reading)
        for phase_count in (warm, count):
            times.clear()
            got = checksum = 0
            with Phase() as phase:
                for chunk in chunks(messages, phase_count):
                    for value in chunk:
                        answered = running.create_future()
                        begin = time.perf_counter()
                        await plexus.transmit(value)
                        await answered
                        times.append(time.perf_counter() - begin)
            check("the near end", (got, checksum % MODULUS), expected(phase_count))
        far = await asyncio.to_thread(peer.finish)
    report(**quantiles(times), **used(phase, far), count=got, checksum=checksum % MODULUS)


def rtt_peer(port: int, count: int, style: str = "async") -> None:
    run(_rtt_peer(port, count, style), loop_of(style))


async def _rtt_peer(port: int, count: int, style: str) -> None:
    answered, warm = 0, warm_up_in(count)
    done = asyncio.Event()
    phase = Phase()
    async with Plexus([GanglionZmqTcpPair(peer=(HOST, port), **polling(style))]) as plexus:
        await plexus.adapt(echo)

        @plexus.on(reading)
        async def react(value: Reading) -> None:
            nonlocal answered
            await plexus.transmit(echo_of(value))
            answered += 1
            if answered == warm:
                phase.__enter__()
            elif answered == count:
                phase.__exit__()
                done.set()

        await done.wait()
    far_report(phase)


def rttload(seconds: float, style: str = "async") -> None:
    run(_rttload(seconds, style), loop_of(style))


async def _rttload(seconds: float, style: str) -> None:
    load = Load(seconds, values(64))
    async with Plexus([ganglion := GanglionZmqTcpPair(HOST, 0, **polling(style))]) as plexus:
        peer = Far(SCRIPT, "rttload-peer", ganglion.port, style)

        @plexus.on(echo)
        async def react(value: Echo) -> None:
            load.answered(value.sequence)

        await plexus.adapt(reading)
        await plexus.ready(timeout_s=10)
        for batch in load.batches():
            for value in batch:
                await plexus.transmit(value)
            await asyncio.sleep(0)
        await plexus.transmit(STOP)
        far = await asyncio.to_thread(peer.finish)
    report(**load.figures(), peak_bytes=peak_bytes() + far["peak_bytes"])


def rttload_peer(port: int, style: str = "async") -> None:
    run(_rttload_peer(port, style), loop_of(style))


async def _rttload_peer(port: int, style: str) -> None:
    done = asyncio.Event()
    async with Plexus([GanglionZmqTcpPair(peer=(HOST, port), **polling(style))]) as plexus:
        await plexus.adapt(echo)

        @plexus.on(reading)
        async def react(value: Reading) -> None:
            if value.sequence:
                await plexus.transmit(echo_of(value))
            else:
                done.set()

        await done.wait()
    report(peak_bytes=peak_bytes())
