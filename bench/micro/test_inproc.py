# SPDX-License-Identifier: Apache-2.0
"""`transmit` and `transmit_nowait` inside one process: reactants of both kinds, how many, how many neurons.

A round is MESSAGES messages.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from plexo import Neuron, Plexus

MESSAGES = 1000
Run = Callable[[Coroutine[Any, Any, Any]], Any]


class Reading(msgspec.Struct, frozen=True):
    sequence: int


READING = Neuron(Reading, "bench.inproc")


class Counter:
    def __init__(self) -> None:
        self.seen = 0

    def plain(self) -> Callable[[Reading], None]:
        def react(value: Reading) -> None:
            self.seen += value.sequence

        return react

    def coroutine(self) -> Callable[[Reading], Coroutine[Any, Any, None]]:
        async def react(value: Reading) -> None:
            self.seen += value.sequence

        return react

    def suspending(self) -> Callable[[Reading], Coroutine[Any, Any, None]]:
        async def react(value: Reading) -> None:
            await asyncio.sleep(0)
            self.seen += value.sequence

        return react


async def _awaited(plexus: Plexus, value: Reading) -> None:
    for _ in range(MESSAGES):
        await plexus.transmit(value)


async def _awaited_by_neuron(plexus: Plexus, value: Reading) -> None:
    for _ in range(MESSAGES):
        await plexus.transmit(value, READING)


async def _nowait(plexus: Plexus, value: Reading) -> None:
    for _ in range(MESSAGES):
        plexus.transmit_nowait(value)


def _measure(
    benchmark: BenchmarkFixture, run: Run, send: Any, counter: Counter, reactants: list[Any]
) -> None:
    plexus = Plexus()
    run(plexus.adapt(READING, reactants))
    value = Reading(1)
    run(send(plexus, value))
    assert counter.seen == MESSAGES * len(reactants)
    counter.seen = 0
    rounds = 0

    def one_round() -> None:
        nonlocal rounds
        rounds += 1
        run(send(plexus, value))

    benchmark(one_round)
    plexus.close()
    assert counter.seen == rounds * MESSAGES * len(reactants)


@pytest.mark.parametrize("reactants", [1, 8])
@pytest.mark.parametrize("kind", ["plain", "coroutine"])
@pytest.mark.parametrize("send", [_awaited, _nowait])
def test_transmit(benchmark: BenchmarkFixture, run: Run, send: Any, kind: str, reactants: int) -> None:
    counter = Counter()
    _measure(benchmark, run, send, counter, [getattr(counter, kind)() for _ in range(reactants)])


def test_transmit_with_neuron(benchmark: BenchmarkFixture, run: Run) -> None:
    counter = Counter()
    _measure(benchmark, run, _awaited_by_neuron, counter, [counter.coroutine()])


@pytest.mark.parametrize("reactants", [1, 8])
def test_transmit_to_suspending_reactants(benchmark: BenchmarkFixture, run: Run, reactants: int) -> None:
    counter = Counter()
    _measure(benchmark, run, _awaited, counter, [counter.suspending() for _ in range(reactants)])


@pytest.mark.parametrize("by", ["type", "neuron"])
def test_thousand_neurons_in_turn(benchmark: BenchmarkFixture, run: Run, by: str) -> None:
    """Every message is another neuron's: no shortcut applies."""
    counter = Counter()
    plexus = Plexus()
    react = counter.coroutine()
    types = [
        msgspec.defstruct(f"Reading{index}", [("sequence", int)], frozen=True) for index in range(MESSAGES)
    ]
    neurons: list[Neuron[Any]] = [Neuron(each, "bench.inproc") for each in types]
    for neuron in neurons:
        run(plexus.adapt(neuron, [react]))
    values = [each(1) for each in types]
    rounds = 0

    async def one_round() -> None:
        if by == "type":
            for value in values:
                await plexus.transmit(value)
        else:
            for value, neuron in zip(values, neurons, strict=True):
                await plexus.transmit(value, neuron)

    def counted() -> None:
        nonlocal rounds
        rounds += 1
        run(one_round())

    benchmark(counted)
    plexus.close()
    assert counter.seen == rounds * MESSAGES


def test_plain_await_for_comparison(benchmark: BenchmarkFixture, run: Run) -> None:
    """The reactant awaited by hand: the floor."""
    counter = Counter()
    react = counter.coroutine()
    value = Reading(1)

    async def one_round() -> None:
        for _ in range(MESSAGES):
            await react(value)

    benchmark(lambda: run(one_round()))
    assert counter.seen % MESSAGES == 0
    assert counter.seen > 0
