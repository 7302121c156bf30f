# SPDX-License-Identifier: Apache-2.0
"""Rows inproc, nowait and memory of plexo_driver.py."""

from __future__ import annotations

from typing import Any

import msgspec
from common import HOST, MODULUS, Phase, check, peak_bytes, rate, report, run, used, warm_up
from plexo_memory import resident_bytes
from plexo_samples import chunks, reading, values
from samples import Reading, expected

from plexo import GanglionZmqTcpPair, GanglionZmqTcpPubSub, Neuron, Plexus


class Other(msgspec.Struct, frozen=True):
    """The type of the neurons that are known and get nothing."""

    sequence: int


def inproc(count: int, reactants: int = 1, neurons: int = 1) -> None:
    run(_inproc(count, reactants, neurons))


async def _inproc(count: int, reactants: int, neurons: int) -> None:
    totals: list[tuple[int, int]] = []
    messages = values(64)
    async with Plexus() as plexus:
        for index in range(neurons - 1):
            await plexus.adapt(Neuron(Other, f"bench.n{index}"))

        def counting() -> tuple[Any, Any]:
            seen_count = checksum = 0

            async def react(value: Reading) -> None:
                nonlocal seen_count, checksum
                seen_count += 1
                checksum += value.sequence

            def taken() -> tuple[int, int]:
                nonlocal seen_count, checksum
                found = seen_count, checksum % MODULUS
                seen_count = checksum = 0
                return found

            return react, taken

        counters = [counting() for _ in range(reactants)]
        await plexus.adapt(reading, [react for react, _ in counters])
        for phase_count in (warm_up(count), count):
            with Phase() as phase:
                for chunk in chunks(messages, phase_count):
                    for value in chunk:
                        await plexus.transmit(value)
            totals = [taken() for _, taken in counters]
            for each in totals:
                check("a reactant", each, expected(phase_count))
    report(
        **rate(count, 64, phase),
        **used(phase),
        count=sum(each for each, _ in totals),
        checksum=sum(each for _, each in totals) % MODULUS,
    )


def nowait(count: int) -> None:
    run(_nowait(count))


async def _nowait(count: int) -> None:
    seen_count = checksum = 0
    messages = values(64)
    async with Plexus() as plexus:

        @plexus.on(reading)
        def react(value: Reading) -> None:
            nonlocal seen_count, checksum
            seen_count += 1
            checksum += value.sequence

        for phase_count in (warm_up(count), count):
            seen_count = checksum = 0
            with Phase() as phase:
                for chunk in chunks(messages, phase_count):
                    for value in chunk:
                        plexus.transmit_nowait(value)
            check("the reactant", (seen_count, checksum % MODULUS), expected(phase_count))
    report(**rate(count, 64, phase), **used(phase), count=seen_count, checksum=checksum % MODULUS)


def memory(kinds: str, neurons: int) -> None:
    """RSS with `neurons` neurons adapted: of as many Struct types ("types"), or of one ("namespaces")."""
    run(_memory(kinds, neurons))


async def _memory(kinds: str, neurons: int) -> None:
    fields = [("sensor", str), ("time", float), ("value", float), ("sequence", int)]
    async with Plexus([GanglionZmqTcpPair(HOST, 0), GanglionZmqTcpPubSub(HOST, 0)]) as plexus:
        imported = resident_bytes()
        made: list[Neuron[Any]]
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
        report(rss_bytes=resident_bytes(), before_neurons_bytes=imported, peak_bytes=peak_bytes())
