# SPDX-License-Identifier: Apache-2.0
"""Rows of multicast of plexo_driver.py: a Plexus on each host, on groups that they agree upon."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from common import MODULUS, TIMEOUT_S, Far, check, expected, quantiles, report, run, warm_up
from multicast_common import IDLE_S, Commands, hosts, one_way, round_trips, start
from plexo_samples import (
    chunks,
    echo,
    fanout_neurons,
    kind_of,
    loop_of,
    need,
    need_batches,
    neurons,
    polling,
    reading,
    sequence_of,
    values,
)
from samples import Echo, Reading, echo_of

import plexo
from plexo import Plexus

SCRIPT = str(Path(__file__).with_name("plexo_driver.py"))
LOOK_S = 0.002
# Above what the row aims at; and what is sent in half a second, so that repairs come in time.
RATE = 350e6
WINDOW_BYTES = 256 << 20


def multicast(count: int, size: int, percent: float, style: str = "async") -> None:
    need(hasattr(plexo, "GanglionPlexoMulticast"))
    if style == "batch":
        need_batches()
    ends = [[sys.executable, SCRIPT, f"multicast-{end}", str(size), style] for end in ("send", "receive")]
    one_way(ends[0], ends[1], count, size, percent)


def send(size: int, style: str, address: str) -> None:
    run(_send(size, style, address), loop_of(style))


async def _send(size: int, style: str, address: str) -> None:
    messages, neuron = values(size), neurons[kind_of(size)]
    ganglion = plexo.GanglionPlexoMulticast(address, rate_bytes_per_s=RATE, window_bytes=WINDOW_BYTES)
    async with Plexus([ganglion]) as plexus:
        await plexus.adapt(neuron)
        await ganglion.agreed(neuron, timeout_s=20)
        commands = Commands()
        while (count := await asyncio.to_thread(next, commands, None)) is not None:
            for chunk in chunks(messages, count):
                if style == "batch":
                    await plexus.transmit_many(chunk)
                else:
                    for value in chunk:
                        await plexus.transmit(value)
            print("sent", flush=True)


def receive(size: int, style: str, address: str) -> None:
    run(_receive(size, style, address), loop_of(style))


async def _receive(size: int, style: str, address: str) -> None:
    neuron = neurons[kind_of(size)]
    ganglion = plexo.GanglionPlexoMulticast(address, rate_bytes_per_s=RATE, window_bytes=WINDOW_BYTES)
    async with Plexus([ganglion]) as plexus:
        react, take = _counting(style)
        plexus.on(neuron, batch=style == "batch")(react)
        await plexus.adapt(neuron)
        await ganglion.agreed(neuron, timeout_s=20)
        commands = Commands()
        while (wanted := await asyncio.to_thread(next, commands, None)) is not None:
            await _arrived(take, wanted)


def _counting(style: str) -> tuple[Callable[[Any], Any], Callable[[bool], tuple[int, int]]]:
    """A reactant that counts, what a user would write; and a function that tells, and begins anew."""
    count = checksum = 0

    async def react(value: Any) -> None:
        nonlocal count, checksum
        count += 1
        checksum += value.sequence

    def react_batch(batch: Sequence[Any]) -> None:
        nonlocal count, checksum
        count += len(batch)
        checksum += sum(map(sequence_of, batch))

    def take(anew: bool) -> tuple[int, int]:
        nonlocal count, checksum
        found = count, checksum % MODULUS
        if anew:
            count = checksum = 0
        return found

    return react_batch if style == "batch" else react, take


async def _arrived(take: Callable[[bool], tuple[int, int]], wanted: int) -> None:
    """As `arrived` of multicast_common, on an event loop."""
    seen, changed = 0, time.perf_counter()
    while True:
        await asyncio.sleep(LOOK_S)
        got, checksum = take(False)
        now = time.perf_counter()
        if got != seen:
            seen, changed = got, now
        elif got >= wanted or now - changed > IDLE_S:
            take(True)
            report(count=got, checksum=checksum, idle_s=now - changed)
            return


# -- there and back ------------------------------------------------------------------------------------------


def rtt(count: int, style: str = "async") -> None:
    need(hasattr(plexo, "GanglionPlexoMulticast"))
    ends = [[sys.executable, SCRIPT, f"multicast-{end}", style] for end in ("ask", "answer")]
    round_trips(ends[0], ends[1], count)


def ask(style: str, address: str) -> None:
    run(_ask(style, address), loop_of(style))


async def _ask(style: str, address: str) -> None:
    running = asyncio.get_running_loop()
    answered: asyncio.Future[None] = running.create_future()
    checksum = 0
    times: list[float] = []
    ganglion = plexo.GanglionPlexoMulticast(address, **polling(style))
    async with Plexus([ganglion]) as plexus:

        @plexus.on(echo)
        async def react(value: Echo) -> None:
            nonlocal checksum
            checksum += value.sequence
            answered.set_result(None)

        for neuron in (reading, echo):
            await plexus.adapt(neuron)
            await ganglion.agreed(neuron, timeout_s=20)
        commands = Commands()
        while (count := await asyncio.to_thread(next, commands, None)) is not None:
            for messages in (warm_up(count), count):
                times.clear()
                checksum = 0
                for chunk in chunks(values(64), messages):
                    for value in chunk:
                        answered = running.create_future()
                        begin = time.perf_counter()
                        await plexus.transmit(value)
                        await answered
                        times.append(time.perf_counter() - begin)
            check("the asking end", (len(times), checksum % MODULUS), expected(count))
            report(**quantiles(times), count=len(times), checksum=checksum % MODULUS)


def answer(style: str, address: str) -> None:
    run(_answer(style, address), loop_of(style))


async def _answer(style: str, address: str) -> None:
    ganglion = plexo.GanglionPlexoMulticast(address, **polling(style))
    async with Plexus([ganglion]) as plexus:

        @plexus.on(reading)
        async def react(value: Reading) -> None:
            await plexus.transmit(echo_of(value))

        for neuron in (reading, echo):
            await plexus.adapt(neuron)
            await ganglion.agreed(neuron, timeout_s=20)
        print("ready", flush=True)
        # Until it is ended.
        await asyncio.Event().wait()


# -- until it works ------------------------------------------------------------------------------------------


def begin(count: int) -> None:
    """Start on `count` hosts at once; agree on a type and then on another; one more program's first message."""
    need(hasattr(plexo, "GanglionPlexoMulticast"))
    member = [sys.executable, SCRIPT, "multicast-member"]
    with hosts(count) as made:
        members = [start(host, member) for host in made.hosts]
        newcomer = start(made.hosts[0], member)
        for each in (*members, newcomer):
            each.line()
        begun = time.perf_counter()
        agreed = [_all_agreed(members, kind) for kind in ("reading", "echo")]
        newcomer.tell("send")
        sent_at = newcomer.figures()["begun_at"]
        heard_at = members[1].figures()["heard_at"]
    report(
        first_ms=1e3 * (heard_at - sent_at),
        agreed_ms=1e3 * (agreed[0] - begun),
        further_ms=1e3 * (agreed[1] - agreed[0]),
    )


def _all_agreed(members: Sequence[Far], kind: str) -> float:
    for each in members:
        each.tell(kind)
    for each in members:
        each.line()
    return time.perf_counter()


def member(address: str) -> None:
    run(_member(address), "asyncio")


async def _member(address: str) -> None:
    make = plexo.GanglionPlexoMulticast  # imported with its first use; that is no part of what is measured
    print("ready", flush=True)
    kinds = {"reading": reading, "echo": echo}
    line = (await asyncio.to_thread(sys.stdin.readline)).strip()
    begun_at = time.perf_counter()
    ganglion = make(address)
    async with Plexus([ganglion]) as plexus:
        if line == "send":
            await plexus.adapt(reading)
            await plexus.transmit(values(64)[0])
            report(begun_at=begun_at)
            await asyncio.sleep(TIMEOUT_S)

        @plexus.on(reading)
        def react(_: Reading) -> None:
            report(heard_at=time.perf_counter())

        while line:
            await plexus.adapt(kinds[line])
            await ganglion.agreed(kinds[line], timeout_s=20)
            print("agreed", flush=True)
            line = (await asyncio.to_thread(sys.stdin.readline)).strip()


# -- one of many ---------------------------------------------------------------------------------------------

PER_TYPE_PER_S = 1000
BUSY_S = 2.0
TICK_S = 0.02


def interest(types: int) -> None:
    """The CPU time of a program that wants one of so many types, each of which is sent as often."""
    need(hasattr(plexo, "GanglionPlexoMulticast"))
    with hosts(2) as made:
        near, far = made.hosts
        wants = start(far, [sys.executable, SCRIPT, "multicast-want", str(types)])
        sends = start(near, [sys.executable, SCRIPT, "multicast-busy", str(types)])
        sends.line()
        wants.line()
        wants.tell("measure")
        wants.line()
        sends.tell("send")
        got = wants.figures()
    report(cpu_ms=1e3 * got["cpu_s"], count=got["count"], per_second=got["count"] / BUSY_S)


def busy(types: int, address: str) -> None:
    run(_busy(types, address), "asyncio")


async def _busy(types: int, address: str) -> None:
    messages, wanted = values(64), fanout_neurons()[:types]
    async with Plexus([plexo.GanglionPlexoMulticast(address)]) as plexus:
        for neuron in wanted:
            await plexus.adapt(neuron)
            await plexus.transmit(messages[0], neuron=neuron)
        await asyncio.sleep(1)
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        begun = time.perf_counter()
        for turn in range(int(BUSY_S / TICK_S)):
            for neuron in wanted:
                for value in messages[: int(PER_TYPE_PER_S * TICK_S)]:
                    await plexus.transmit(value, neuron=neuron)
            await asyncio.sleep(max(0.0, begun + (turn + 1) * TICK_S - time.perf_counter()))
        await asyncio.sleep(TIMEOUT_S)


def want(types: int, address: str) -> None:
    run(_want(types, address), "asyncio")


async def _want(types: int, address: str) -> None:
    neuron = fanout_neurons()[types // 2]
    ganglion = plexo.GanglionPlexoMulticast(address)
    async with Plexus([ganglion]) as plexus:
        react, take = _counting("async")
        plexus.on(neuron)(react)
        await plexus.adapt(neuron)
        await ganglion.agreed(neuron, timeout_s=20)
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        take(True)
        cpu_s = time.process_time()
        print("measuring", flush=True)
        count = int(PER_TYPE_PER_S * TICK_S) * int(BUSY_S / TICK_S)
        while take(False)[0] < count:
            await asyncio.sleep(0.1)
        report(cpu_s=time.process_time() - cpu_s, count=take(True)[0])
