# SPDX-License-Identifier: Apache-2.0
"""Row multicast of plexo_driver.py: a Plexus at each end, on a group that they agree upon."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from common import MODULUS, run
from multicast_common import IDLE_S, Commands, one_way
from plexo_samples import chunks, kind_of, loop_of, need, need_batches, neurons, sequence_of, values

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
    from common import report

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
