# SPDX-License-Identifier: Apache-2.0
"""When an event loop stays awake for an answer, and when it stops doing so. See src/_fast/vigil.pyx."""

from __future__ import annotations

import asyncio
from typing import Any

from plexo import GanglionZmqTcpPair, Neuron, Plexus
from plexo._fast.vigil import ANSWER_S, FIRST_NEEDED, MOST_NEEDED
from tests.support import Tick, namespace, run, tick, until

HOST = "127.0.0.1"


class Tock(Tick, frozen=True):
    pass


tock = Neuron(Tock, namespace)


async def questions(count: int, delay_s: float, pause_s: float = 0.0) -> Any:
    """Ask so often, answered after `delay_s`; the asking side's vigil."""
    bound = GanglionZmqTcpPair(HOST, 0, heartbeat_s=0)
    dialling = GanglionZmqTcpPair(peer=(HOST, bound.port), heartbeat_s=0)
    answers: list[int] = []
    async with Plexus([bound]) as asking, Plexus([dialling]) as answering:
        asking.on(tock)(lambda value: answers.append(value.n))

        @answering.on(tick)
        async def answer(value: Tick) -> None:
            if delay_s:
                await asyncio.sleep(delay_s)
            await answering.transmit(Tock(value.n))

        await asking.adapt(tick)
        await answering.adapt(tock)
        await asking.ready(1)
        for n in range(count):
            await asking.transmit(Tick(n))
            await until(lambda n=n: len(answers) == n + 1)  # type: ignore[misc]
            if pause_s:
                await asyncio.sleep(pause_s)
        vigil = bound.hub.vigil
        return vigil.willing, vigil.needed


def test_quick_answers_are_waited_for_awake() -> None:
    """In one process the answer is there within a few turns of the loop, unless the machine has other things to do."""

    async def main() -> None:
        for _ in range(20):
            willing, _ = await questions(4 * FIRST_NEEDED, 0)
            if willing:
                return
        raise AssertionError("never awake")

    run(main())


def test_slow_answers_are_slept_through() -> None:
    willing, needed = run(questions(3 * FIRST_NEEDED, 5 * ANSWER_S))
    assert not willing and needed == FIRST_NEEDED


def test_one_who_only_sends_and_one_who_only_receives_sleep() -> None:
    async def main() -> None:
        bound = GanglionZmqTcpPair(HOST, 0, heartbeat_s=0)
        dialling = GanglionZmqTcpPair(peer=(HOST, bound.port), heartbeat_s=0)
        got: list[int] = []
        async with Plexus([bound]) as sending, Plexus([dialling]) as receiving:
            receiving.on(tick)(lambda value: got.append(value.n))
            await sending.adapt(tick)
            for n in range(20 * FIRST_NEEDED):
                await sending.transmit(Tick(n))
                await asyncio.sleep(0)
            await until(lambda: len(got) == 20 * FIRST_NEEDED)
            assert not bound.hub.vigil.willing and not dialling.hub.vigil.willing

    run(main())


def test_a_vain_vigil_is_the_last_for_long() -> None:
    """An answer that does not come is not waited for again, until four times as many have come quickly."""

    async def main() -> None:
        bound = GanglionZmqTcpPair(HOST, 0, heartbeat_s=0)
        dialling = GanglionZmqTcpPair(peer=(HOST, bound.port), heartbeat_s=0)
        answers: list[int] = []
        silent = False
        async with Plexus([bound]) as asking, Plexus([dialling]) as answering:
            asking.on(tock)(lambda value: answers.append(value.n))

            @answering.on(tick)
            async def answer(value: Tick) -> None:
                if not silent:
                    await answering.transmit(Tock(value.n))

            await asking.adapt(tick)
            await answering.adapt(tock)
            await asking.ready(1)
            vigil = bound.hub.vigil
            n = 0
            while not vigil.willing:
                await asking.transmit(Tick(n))
                n += 1
                await until(lambda n=n: len(answers) == n)  # type: ignore[misc]
            needed = vigil.needed
            silent = True
            await asking.transmit(Tick(n))
            await until(lambda: not vigil.willing)
            assert vigil.needed == min(4 * needed, MOST_NEEDED)

    run(main())


def test_it_can_be_turned_off() -> None:
    async def main() -> None:
        ganglion = GanglionZmqTcpPair(HOST, 0, busy_poll_s=0)
        assert ganglion.hub.vigil.fixed_s == 0
        ganglion.close()

    run(main())
