# SPDX-License-Identifier: Apache-2.0
"""Cancelled at any await: what is left is usable or closed, in order, and leaks nothing.

A scenario is run again and again, cancelled after its first turn of the loop, its second, …, until it ends by itself;
then once more driven by hand, with CancelledError thrown in at its k-th suspension. What follows each time is the same:
the world it ran in must still carry messages in order, and close.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from plexo import Closed, GanglionInproc, GanglionZmqTcpPair, GanglionZmqTcpPubSub, Plexus, Queue
from tests.support import Blob, Tick, blob, run, tick, until, within

# A scenario that takes more turns than this does not end.
MOST_STEPS = 400


class World:
    """Two ends with reactants, and what came through."""

    def __init__(self, here: Any, there: Any) -> None:
        self.here = here
        self.there = there
        self.got: list[int] = []
        self.accepted: list[int] = []

    async def transmit(self, number: int) -> None:
        await self.here.transmit(Tick(number), tick)
        self.accepted.append(number)


Scenario = Callable[[World], Awaitable[object]]
WorldMaker = Callable[[], Any]


@asynccontextmanager
async def pair(**limits: Any) -> AsyncIterator[World]:
    async with (
        GanglionZmqTcpPair("127.0.0.1", 0, **limits) as here,
        GanglionZmqTcpPair(peer=here.endpoint) as there,
    ):
        world = World(here, there)
        await there.react(tick, [lambda data: world.got.append(data.n)])
        await here.adapt(tick)
        await here.adapt(blob)
        await until(lambda: here.peers_connected)
        yield world


@asynccontextmanager
async def pair_without_peer() -> AsyncIterator[World]:
    """The peer comes when the scenario is over."""
    async with GanglionZmqTcpPair("127.0.0.1", 0) as here, GanglionZmqTcpPair(peer=here.endpoint) as there:
        world = World(here, there)
        await here.adapt(tick)
        await there.adapt(tick, [lambda data: world.got.append(data.n)])
        # Both are new, and the scenario begins in this very turn: no link can be up.
        yield world


@asynccontextmanager
async def pair_with_full_queue() -> AsyncIterator[World]:
    async with pair(send_queue=Queue(bytes=1000)) as world:
        await world.there.adapt(blob, [lambda data: None])
        yield world


@asynccontextmanager
async def pubsub() -> AsyncIterator[World]:
    async with (
        GanglionZmqTcpPubSub("127.0.0.1", port_pub=0) as here,
        GanglionZmqTcpPubSub(port_pub=None, peers=[here.endpoint or ""]) as there,
    ):
        world = World(here, there)
        await here.adapt(tick)
        await there.react(tick, [lambda data: world.got.append(data.n)])
        await until(lambda: here.subscriber_count(tick))
        yield world


@asynccontextmanager
async def plexus_of_several() -> AsyncIterator[World]:
    """Two slow reactants here, one on a bus, and a pair."""
    first = GanglionZmqTcpPair("127.0.0.1", 0)
    bus = GanglionInproc()
    async with Plexus([first, bus]) as here, Plexus([GanglionZmqTcpPair(peer=first.endpoint)]) as there:
        world = World(here, there)

        async def slow(data: Tick) -> None:
            for _ in range(3):
                await asyncio.sleep(0)

        async def slower(data: Tick) -> None:
            await slow(data)
            await slow(data)

        await here.react(tick, [slow, slower])
        await bus.react(tick, [slow])
        await there.react(tick, [lambda data: world.got.append(data.n)])
        await until(lambda: first.peers_connected)
        yield world


# -- scenarios ---------------------------------------------------------------------------------------------


async def transmit_three(world: World) -> None:
    for number in range(3):
        await world.transmit(number)


async def transmit_large(world: World) -> None:
    await world.transmit(0)
    for _ in range(3):
        await world.here.transmit(Blob(b"x" * 3_000_000), blob)
    await world.transmit(1)


async def transmit_at_once(world: World) -> None:
    await asyncio.gather(*(world.transmit(number) for number in range(3)))


async def adapt_and_react(world: World) -> None:
    def extra(data: Tick) -> None:
        pass

    await world.here.adapt(blob)
    await world.there.react(tick, [extra])
    await asyncio.sleep(0)
    await world.there.unreact(tick, [extra])
    await world.transmit(0)


async def enter_and_leave(world: World) -> None:
    async with Plexus([GanglionZmqTcpPair("127.0.0.1", 0), GanglionInproc()]) as plexus:
        await plexus.react(tick, [lambda data: None])
        await asyncio.sleep(0)


async def read_a_stream(world: World) -> None:
    async with Plexus() as plexus:
        stream = plexus.stream(tick, Queue(messages=2))
        sending = asyncio.create_task(_send_all(plexus, 6))
        try:
            number = 0
            async for data in stream:
                assert data.n == number
                number += 1
                if number == 6:
                    break
        finally:
            sending.cancel()
            stream.close()


async def _send_all(plexus: Plexus, count: int) -> None:
    for number in range(count):
        await plexus.transmit(Tick(number))


async def transmit_in_reactants(world: World) -> None:
    """A reactant that answers on another neuron, to the network."""
    async with Plexus() as plexus:

        async def answer(data: Tick) -> None:
            await asyncio.sleep(0)
            await world.transmit(data.n)

        await plexus.react(tick, [answer])
        for number in range(3):
            await plexus.transmit(Tick(number))


SCENARIOS: list[tuple[WorldMaker, Scenario]] = [
    (pair, transmit_three),
    (pair, transmit_at_once),
    (pair, adapt_and_react),
    (pair, enter_and_leave),
    (pair, read_a_stream),
    (pair, transmit_in_reactants),
    (pair_without_peer, transmit_three),
    (pair_without_peer, transmit_at_once),
    (pair_without_peer, transmit_in_reactants),
    (pair_with_full_queue, transmit_large),
    (pubsub, transmit_three),
    (pubsub, adapt_and_react),
    (plexus_of_several, transmit_three),
    (plexus_of_several, transmit_at_once),
]
scenarios = pytest.mark.parametrize(
    ("world_maker", "scenario"),
    SCENARIOS,
    ids=[f"{maker.__name__}-{each.__name__}" for maker, each in SCENARIOS],
)


async def _still_right(world: World) -> None:
    """What was accepted has come, in order; what was withdrawn may have; what is sent now comes last."""
    for number in range(1000, 1005):
        await within(world.transmit(number), 5)
    await until(lambda: world.got[-1:] == [1004], 5)
    assert [number for number in world.got if number in world.accepted] == world.accepted
    assert len(set(world.got)) == len(world.got)
    assert world.got == sorted(world.got)
    for end in (world.here, world.there):
        if hasattr(end, "hub"):
            assert end.hub.waiting_messages == 0
            for neuron in end.stats().neurons.values():
                assert neuron.receiving.queued == neuron.sending.queued == 0
    # The test, what drives it, and no other.
    own = {asyncio.current_task()}
    await until(
        lambda: {each for each in asyncio.all_tasks() if each not in own and not _drives(each)} == set(), 5
    )


def _drives(task: asyncio.Task[Any]) -> bool:
    return "_still_right" in repr(task) or "limited" in repr(task) or "step_through" in repr(task)


@scenarios
def test_cancelled_after_its_kth_turn(world_maker: WorldMaker, scenario: Scenario) -> None:
    async def step_through(turns: int) -> bool:
        """Whether it ended by itself."""
        async with world_maker() as world:
            task = asyncio.ensure_future(scenario(world))
            for _ in range(turns):
                if task.done():
                    break
                await asyncio.sleep(0)
            ended = not task.cancel()
            results = await within(asyncio.gather(task, return_exceptions=True), 5)
            assert isinstance(results[0], (type(None), asyncio.CancelledError)), results
            await _still_right(world)
            return ended

    turns = 0
    while not run(step_through(turns)):
        turns += 1 if turns < 40 else 10
        assert turns < MOST_STEPS, "it does not end by itself"


# gather has tasks of its own, which no hand can drive.
@pytest.mark.parametrize(
    ("world_maker", "scenario"),
    [each for each in SCENARIOS if each[1] is not transmit_at_once],
    ids=[f"{maker.__name__}-{each.__name__}" for maker, each in SCENARIOS if each is not transmit_at_once],
)
def test_cancelled_at_its_kth_suspension(world_maker: WorldMaker, scenario: Scenario) -> None:
    class Thrown:
        """Drives a coroutine and throws CancelledError in at one suspension, before what it waits for has happened."""

        def __init__(self, driven: Any, left: int) -> None:
            self.driven = driven
            self.left = left

        def __await__(self) -> Any:
            try:
                waited = self.driven.send(None)
                while True:
                    self.left -= 1
                    if self.left < 0:
                        if waited is not None:
                            # As a task does: nobody waits for it any more.
                            waited._asyncio_future_blocking = False
                            waited.cancel()
                        waited = self.driven.throw(asyncio.CancelledError())
                        self.left = MOST_STEPS
                    yield waited
                    waited = self.driven.send(None)
            except StopIteration:
                return

    async def step_through(suspensions: int) -> bool:
        async with world_maker() as world:
            coroutine: Any = scenario(world)

            async def drive() -> bool:
                thrown = Thrown(coroutine, suspensions)
                try:
                    await thrown
                except asyncio.CancelledError:
                    return False
                return thrown.left <= suspensions

            ended = await within(drive(), 5)
            await _still_right(world)
            return ended

    suspensions = 0
    while not run(step_through(suspensions)):
        suspensions += 1
        assert suspensions < MOST_STEPS, "it does not end by itself"


# -- closing -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["pair", "pubsub", "plexus"])
@pytest.mark.parametrize("busy", [False, True], ids=["idle", "with a careful reactant"])
def test_aclose_cancelled_after_its_kth_turn(kind: str, busy: bool) -> None:
    async def step_through(turns: int) -> bool:
        cleaned = asyncio.Event()

        async def careful(data: Tick) -> None:
            try:
                await asyncio.sleep(60)
            finally:
                await asyncio.sleep(0.005)
                cleaned.set()

        async with (pubsub if kind == "pubsub" else pair)() as world:
            there = Plexus([world.there]) if kind == "plexus" else world.there
            if busy:
                await there.react(tick, [careful])
                await until(lambda: kind != "pubsub" or world.here.subscriber_count(tick))
            await world.transmit(1)
            await until(lambda: world.got)
            closing = asyncio.create_task(there.aclose())
            for _ in range(turns):
                if closing.done():
                    break
                await asyncio.sleep(0)
            ended = not closing.cancel()
            await within(asyncio.gather(closing, return_exceptions=True), 5)
            # It had begun, or there was nothing to break off.
            if turns:
                assert there._over
                assert not world.there._connections
                with pytest.raises(Closed):
                    await there.transmit(Tick(1), tick)
            await within(there.aclose(), 5)
            assert there._over
            if busy:
                await within(cleaned.wait(), 5)
            own = asyncio.current_task()
            await until(lambda: all(each is own or _drives(each) for each in asyncio.all_tasks()), 5)
            return ended

    turns = 0
    while not run(step_through(turns)):
        turns += 1 if turns < 40 else 50
        assert turns < 20 * MOST_STEPS, "it does not end by itself"
