# SPDX-License-Identifier: Apache-2.0
"""Measures libraries for events within a process, blinker and pyee, with async reactants; row inproc.

LIBRARY is the last argument of both commands. What takes no part in an event is known, too: signals of the same
namespace, or event names of the same emitter, with a reactant each.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import samples
from common import MODULUS, Phase, check, import_ms, main, rate, report, run, used, warm_up
from samples import DIFFERENT, Reading

NOTES = {
    "inproc": "pyee starts a task for each reactant and does not wait for it; so it emits in bursts and is waited for"
}

# Events that pyee is given before the event loop has its turn.
BURST = 100

Reactant = Callable[[Reading], Awaitable[None]]


class _Counter:
    """A reactant as a user would write it, and what it saw."""

    def __init__(self) -> None:
        count = checksum = 0

        async def react(value: Reading) -> None:
            nonlocal count, checksum
            count += 1
            checksum += value.sequence

        def taken() -> tuple[int, int]:
            nonlocal count, checksum
            found = count, checksum % MODULUS
            count = checksum = 0
            return found

        self.react, self.taken = react, taken


async def _other(_value: Reading) -> None:
    raise AssertionError("a reactant of another event was called")


def inproc(count: int, reactants: int, neurons: int, library: str) -> None:
    run(_inproc(count, reactants, neurons, LIBRARIES[library]))


async def _inproc(count: int, reactants: int, neurons: int, library: Any) -> None:
    counters = [_Counter() for _ in range(reactants)]
    send = library([counter.react for counter in counters], neurons)
    values = samples.values()
    for messages in (warm_up(count), count):
        with Phase() as phase:
            await send(values, messages)
        seen = [counter.taken() for counter in counters]
        for each in seen:
            check("a reactant", each, samples.expected(messages))
    total = sum(each[0] for each in seen), sum(each[1] for each in seen) % MODULUS
    report(**rate(count, 64, phase), count=total[0], checksum=total[1], **used(phase))


def _blinker(reactants: Sequence[Reactant], neurons: int) -> Any:
    import blinker

    namespace = blinker.Namespace()
    for index in range(neurons - 1):
        namespace.signal(f"bench.n{index}").connect(_other, weak=False)
    signal = namespace.signal("bench.Reading")
    for reactant in reactants:
        # The sender of a signal is the positional argument: here it is the message.
        signal.connect(reactant, weak=False)

    async def send(values: Sequence[Reading], count: int) -> None:
        for index in range(count):
            await signal.send_async(values[index % DIFFERENT])

    return send


def _pyee(reactants: Sequence[Reactant], neurons: int) -> Any:
    from pyee.asyncio import AsyncIOEventEmitter

    emitter = AsyncIOEventEmitter()
    for index in range(neurons - 1):
        emitter.on(f"bench.n{index}", _other)
    for reactant in reactants:
        emitter.on("bench.Reading", reactant)

    async def send(values: Sequence[Reading], count: int) -> None:
        for first in range(0, count, BURST):
            for index in range(first, min(first + BURST, count)):
                emitter.emit("bench.Reading", values[index % DIFFERENT])
            # Cheaper than its wait_for_complete(), which adds a callback to each task.
            while not emitter.complete:
                await asyncio.sleep(0)

    return send


LIBRARIES = {"blinker": _blinker, "pyee": _pyee}
IMPORTS = {"blinker": "import blinker", "pyee": "import pyee.asyncio"}


if __name__ == "__main__":
    main({"inproc": inproc, "import": lambda library: import_ms(IMPORTS[library])})
