# SPDX-License-Identifier: Apache-2.0
"""What a reactant's queue does at its bound, and that its book balances whenever it is looked at."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from plexo import Cause, GanglionInproc, Plexus, Queue, QueueFull
from plexo._fast.dispatch import Fanout
from plexo.statistics import Book, sum_of
from tests.support import Keeper, Reading, Tick, reading, run, tick, until

POLICIES = ("block", "drop_oldest", "drop_newest", "reject", "latest")


class Slow:
    """A reactant that waits for its gate."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.seen: list[Any] = []

    async def __call__(self, data: Any) -> None:
        await self.gate.wait()
        self.seen.append(data)


# -- what a user may say -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"policy": "drop"}, ValueError, "policy: expected one of block, drop_oldest"),
        ({"messages": 0}, ValueError, "messages: expected at least 1, got 0"),
        ({"messages": 1.5}, TypeError, "messages: expected an int or None"),
        ({"messages": True}, TypeError, "messages: expected an int or None"),
        ({"bytes": -1}, ValueError, "bytes: expected at least 1, got -1"),
        ({"key": len}, ValueError, "key: only the policy 'latest'"),
        ({"policy": "latest", "key": 5}, TypeError, "key: expected a function"),
    ],
)
def test_bad_bounds_are_refused_by_name(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        Queue(**arguments)


def test_a_queue_is_a_value() -> None:
    assert Queue("latest", 5, key=len) == Queue("latest", messages=5, key=len)
    assert Queue() == Queue("block", 1000)
    assert hash(Queue(bytes=7)) == hash(Queue(bytes=7))
    assert Queue(bytes=7) != Queue(bytes=8)
    assert Queue() != "block"
    assert repr(Queue("drop_oldest", 3, 9)) == "Queue('drop_oldest', messages=3, bytes=9)"
    with pytest.raises(AttributeError):
        Queue().policy = "reject"  # type: ignore[misc]


@pytest.mark.parametrize("place", ["plexus", "react", "on", "stream", "bus"])
@pytest.mark.parametrize("given", ["dorp_oldest", 5, ("block", 5)])
def test_where_a_queue_is_asked_for_other_things_are_refused(place: str, given: Any) -> None:
    plexus = Plexus()

    def say() -> None:
        if place == "plexus":
            Plexus(receive_queue=given)
        elif place == "react":
            run(plexus.react(tick, [print], queue=given))
        elif place == "on":
            plexus.on(tick, queue=given)(print)
        elif place == "stream":
            plexus.stream(tick, given)
        else:
            GanglionInproc(receive_queue=given)

    with pytest.raises((TypeError, ValueError), match=r"queue: expected a Queue or"):
        say()
    assert plexus._get_route(tick) is None


def test_the_name_of_a_policy_keeps_the_bounds() -> None:
    plexus = Plexus(receive_queue=Queue("block", 7))
    plexus.on(tick, queue="reject")(lambda data: None)
    (lane,) = plexus._get_route(tick).local.targets  # type: ignore[union-attr]
    assert repr(lane.queue) == "Queue('reject', messages=7)"  # type: ignore[attr-defined]


# -- each policy -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("queue", "seen", "dropped"),
    [
        (Queue("drop_oldest", 3), [0, 7, 8, 9], {Cause.QUEUE_FULL: 6}),
        (Queue("drop_newest", 3), [0, 1, 2, 3], {Cause.QUEUE_FULL: 6}),
        (Queue("reject", 3), [0, 1, 2, 3], {Cause.QUEUE_FULL: 6}),
        (Queue("latest", 3), [0, 9], {Cause.SUPERSEDED: 8}),
        (Queue("latest", 3, key=lambda data: data.n % 2), [0, 9, 8], {Cause.SUPERSEDED: 7}),
        (
            Queue("latest", 2, key=lambda data: data.n % 5),
            [0, 8, 9],
            {Cause.QUEUE_FULL: 7},
        ),
        (Queue("block", 3), list(range(10)), {}),
    ],
    ids=repr,
)
def test_what_waits_for_a_busy_reactant(queue: Queue, seen: list[int], dropped: dict[Cause, int]) -> None:
    async def main() -> None:
        keeper = Keeper()
        target = Fanout(tick, keeper, queue)
        slow = Slow()
        target.add(slow)
        # Posted, as from a link: nobody waits. (A ganglion in Python has no socket to stop: `block` keeps all.)
        for n in range(10):
            target.receive(Tick(n))
            assert target.book.balanced
        assert target.book.dropped == dropped
        assert target.book.queued == len(seen)
        full = dropped.get(Cause.QUEUE_FULL, 0)
        assert keeper.episodes == ([("dropping", queue.policy)] if full else [])
        slow.gate.set()
        await until(lambda: len(slow.seen) == len(seen))
        assert [data.n for data in slow.seen] == seen
        await until(lambda: target.queued == 0)
        accepted = len(seen) + sum(dropped.values())
        assert target.book == Book(accepted, len(seen), 0, dropped)
        assert keeper.episodes[1:] == ([("stopped", full)] if full else [])
        counted = {cause: count for (cause, _, _), count in keeper._tally.snapshot().items()}
        assert counted == dropped

    run(main())


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("others", [0, 1])
def test_local_senders_and_each_policy(policy: Any, others: int) -> None:
    async def main() -> None:
        plexus = Plexus(receive_queue=Queue(policy, 2))
        slow = Slow()
        quick: list[int] = []
        plexus.on(tick)(slow)
        if others:
            plexus.on(tick)(lambda data: quick.append(data.n))
        senders = [asyncio.create_task(plexus.transmit(Tick(n))) for n in range(6)]
        await asyncio.sleep(0.01)
        assert quick == (list(range(6)) if others else [])
        waiting = [n for n, sender in enumerate(senders) if not sender.done()]
        # Those whose message is gone have nothing to wait for.
        assert (
            waiting
            == {
                "block": [0, 1, 2, 3, 4, 5],
                "drop_oldest": [0, 4, 5],
                "drop_newest": [0, 1, 2],
                "reject": [0, 1, 2],
                "latest": [0, 5],
            }[policy]
        )
        slow.gate.set()
        results = await asyncio.gather(*senders, return_exceptions=True)
        assert [data.n for data in slow.seen] == waiting
        refused = [n for n, result in enumerate(results) if isinstance(result, QueueFull)]
        assert refused == ([3, 4, 5] if policy == "reject" else [])
        assert all(result == 1 + others for result in results if not isinstance(result, QueueFull))
        assert plexus.stats().balanced
        book = plexus.stats().neurons[tick.name].reactants[0].book
        assert book.accepted == 6 - len(refused)
        assert book.delivered == len(waiting)

    run(main())


def test_a_key_that_fails_harms_that_message_alone(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        def key(data: Tick) -> object:
            return [] if data.n == 2 else 1 // (data.n - 1)

        plexus = Plexus(receive_queue=Queue("latest", key=key))
        slow = Slow()
        plexus.on(tick)(slow)
        plexus.transmit_nowait(Tick(0))
        with pytest.raises(ZeroDivisionError):
            await plexus.transmit(Tick(1))
        with pytest.raises(TypeError, match="unhashable"):
            await plexus.transmit(Tick(2))
        last = asyncio.create_task(plexus.transmit(Tick(3)))
        await asyncio.sleep(0)
        slow.gate.set()
        await last
        assert [data.n for data in slow.seen] == [0, 3]
        (stats,) = plexus.stats().neurons[tick.name].reactants
        assert stats.book == Book(4, 2, 0, {Cause.REACTANT_ERROR: 2})

    run(main())


@pytest.mark.parametrize("policy", POLICIES)
def test_a_stream_with_each_policy(policy: Any) -> None:
    async def main() -> None:
        plexus = Plexus()
        async with plexus.stream(tick, Queue(policy, 2)) as stream:
            senders = [asyncio.create_task(plexus.transmit(Tick(n))) for n in range(5)]
            await asyncio.sleep(0.01)
            waiting = [n for n, sender in enumerate(senders) if not sender.done()]
            assert waiting == ([2, 3, 4] if policy == "block" else [])
            assert plexus.stats().balanced
            kept = {"block": [0, 1, 2, 3, 4], "drop_oldest": [3, 4], "latest": [4]}.get(policy, [0, 1])
            assert [(await anext(stream)).n for _ in kept] == kept
            results = await asyncio.gather(*senders, return_exceptions=True)
            refused = sum(isinstance(result, QueueFull) for result in results)
            assert refused == (3 if policy == "reject" else 0)
            (stats,) = plexus.stats().neurons[tick.name].reactants
            assert stats.reactant is None
            assert stats.book.accepted == 5 - refused
            assert stats.book.delivered == len(kept)
            assert stats.book.balanced
            unread = asyncio.create_task(plexus.transmit(Tick(9)))
            await unread
        # Unread when its stream was dropped.
        del stream
        assert plexus.stats().neurons[tick.name].receiving.dropped[Cause.REMOVED] == 1
        assert plexus.stats().balanced

    run(main())


# -- books -------------------------------------------------------------------------------------------------


def test_every_way_a_message_can_end_is_in_the_book() -> None:
    async def main() -> None:
        plexus = Plexus()
        gate = asyncio.Event()

        async def react(data: Tick) -> None:
            if data.n == 1:
                raise ValueError(data.n)
            if data.n >= 2:
                await gate.wait()

        plexus.on(tick)(react)

        def book() -> Book:
            found = plexus.stats().neurons[tick.name].receiving
            assert found.balanced
            return found

        await plexus.transmit(Tick(0))
        with pytest.raises(ValueError, match="1"):
            await plexus.transmit(Tick(1))
        assert book() == Book(2, 1, 0, {Cause.REACTANT_ERROR: 1})
        suspended = asyncio.create_task(plexus.transmit(Tick(2)))
        await asyncio.sleep(0)
        assert book() == Book(3, 1, 1, {Cause.REACTANT_ERROR: 1})
        behind = [asyncio.create_task(plexus.transmit(Tick(n))) for n in (3, 4)]
        await asyncio.sleep(0)
        assert book().queued == 3
        behind[0].cancel()
        suspended.cancel()
        await asyncio.gather(suspended, behind[0], return_exceptions=True)
        await until(lambda: book().dropped.get(Cause.WITHDRAWN) == 2)
        assert book().queued == 1
        plexus.transmit_nowait(Tick(5))
        assert book() == Book(6, 1, 2, {Cause.REACTANT_ERROR: 1, Cause.WITHDRAWN: 2})
        await plexus.unreact(tick, [react])
        # What it has begun it finishes.
        assert book() == Book(6, 1, 1, {Cause.REACTANT_ERROR: 1, Cause.WITHDRAWN: 2, Cause.REMOVED: 1})
        gate.set()
        await behind[1]
        assert book() == Book(6, 2, 0, {Cause.REACTANT_ERROR: 1, Cause.WITHDRAWN: 2, Cause.REMOVED: 1})
        assert plexus.stats().neurons[tick.name].reactants == ()

    run(main())


@pytest.mark.leaves("a reactant suspended in a loop that ends")
def test_what_an_ended_loop_and_closing_leave_is_in_the_book() -> None:
    plexus = Plexus()
    gates: list[asyncio.Event] = []

    async def react(data: Tick) -> None:
        gates.append(asyncio.Event())
        await gates[-1].wait()

    async def begin() -> None:
        plexus.on(tick)(react)
        for n in range(3):
            plexus.transmit_nowait(Tick(n))
        assert plexus.stats().neurons[tick.name].receiving.queued == 3

    def book() -> Book:
        return plexus.stats().neurons[tick.name].receiving

    run(begin())
    assert book() == Book(3, 0, 2, {Cause.CANCELLED: 1})

    async def close() -> None:
        plexus.transmit_nowait(Tick(3))
        await until(lambda: len(gates) > 1)
        assert book().balanced
        await plexus.aclose()

    run(close())
    assert book().queued == 0
    assert book().accepted == 4
    assert book().dropped == {Cause.CANCELLED: 2, Cause.CLOSED: 2}


def test_books_balance_at_every_step_of_a_random_life(rng: random.Random) -> None:
    async def main() -> None:
        plexus = Plexus()
        gates: list[asyncio.Future[None]] = []
        tasks: list[asyncio.Task[Any]] = []
        truth = {"called": 0, "ended": 0}

        def make(queue: Queue) -> Any:
            async def react(data: Tick) -> None:
                truth["called"] += 1
                kind = data.n % 4
                if kind == 1:
                    raise ValueError(data.n)
                if kind >= 2:
                    gates.append(asyncio.get_running_loop().create_future())
                    await gates[-1]
                truth["ended"] += 1

            plexus.on(tick, queue=queue)(react)
            return react

        reactants: list[Any] = []
        stream = plexus.stream(tick, Queue("drop_oldest", 3))
        read = 0
        for step in range(400):
            move = rng.randrange(8)
            if move == 0 and len(reactants) < 4:
                reactants.append(make(Queue(rng.choice(POLICIES), rng.randint(1, 3))))  # type: ignore[arg-type]
            elif move == 1 and reactants:
                await plexus.unreact(tick, [reactants.pop(rng.randrange(len(reactants)))])
            elif move == 2 and gates:
                gate = gates.pop(rng.randrange(len(gates)))
                if not gate.done():
                    gate.set_result(None)
            elif move == 3 and tasks:
                tasks.pop(rng.randrange(len(tasks))).cancel()
            elif move == 4:
                read += len(stream._tap)
                while len(stream._tap):
                    await anext(stream)
            elif move == 5:
                await asyncio.sleep(0)
            else:
                tasks.append(asyncio.create_task(plexus.transmit(Tick(step))))
            assert plexus.stats().balanced, step
        while any(not task.done() for task in tasks):
            for gate in gates:
                if not gate.done():
                    gate.set_result(None)
            await asyncio.sleep(0)
            assert plexus.stats().balanced
        await asyncio.gather(*tasks, return_exceptions=True)
        stats = plexus.stats().neurons[tick.name]
        await until(lambda: plexus.stats().neurons[tick.name].receiving.queued == len(stream._tap))
        stats = plexus.stats().neurons[tick.name]
        book = stats.receiving
        # The ground truth, which no counter of the library went into.
        assert book.delivered == truth["ended"] + read
        assert truth["called"] == truth["ended"] + sum(
            book.dropped.get(cause, 0) for cause in (Cause.REACTANT_ERROR, Cause.CANCELLED)
        ) + cancelled_in_hand(book, truth, read)
        await plexus.aclose()
        assert plexus.stats().balanced

    def cancelled_in_hand(book: Book, truth: dict[str, int], read: int) -> int:
        # Withdrawn are messages that waited and messages in hand; only those in hand were called.
        in_hand = truth["called"] - truth["ended"] - book.dropped.get(Cause.REACTANT_ERROR, 0)
        in_hand -= book.dropped.get(Cause.CANCELLED, 0)
        assert 0 <= in_hand <= book.dropped.get(Cause.WITHDRAWN, 0)
        return in_hand

    run(main())


def test_books_add_up() -> None:
    one = Book(5, 2, 1, {Cause.CLOSED: 2})
    two = Book(3, 1, 0, {Cause.CLOSED: 1, Cause.IGNORED: 1})
    assert sum_of([one, two]) == Book(8, 3, 1, {Cause.CLOSED: 3, Cause.IGNORED: 1})
    assert sum_of([]) == Book(0, 0, 0, {})
    assert one.balanced and two.balanced and not Book(1, 0, 0, {}).balanced
    assert one.lost == 2


def test_a_snapshot_stays_as_it_is() -> None:
    plexus = Plexus()
    plexus.on(tick)(lambda data: None)
    before = plexus.stats()
    plexus.transmit_nowait(Tick(1))
    assert before.neurons[tick.name].receiving.accepted == 0
    assert plexus.stats().neurons[tick.name].receiving.delivered == 1
    with pytest.raises(TypeError):
        before.neurons[tick.name].receiving.dropped[Cause.CLOSED] = 1  # type: ignore[index]


# -- how many got it ---------------------------------------------------------------------------------------


def test_transmit_says_to_how_many() -> None:
    async def main() -> None:
        bus = GanglionInproc()
        await bus.react(tick, [lambda data: None])
        plexus = Plexus([bus])
        await plexus.adapt(tick)
        await plexus.adapt(reading)
        assert await plexus.transmit(Tick(0)) == 1
        assert await plexus.transmit(Reading("a", 1.0)) == 0

        async def again(data: Tick) -> None:
            if data.n:
                assert await plexus.transmit(Reading("a", 1.0)) == 0
                await asyncio.sleep(0)

        plexus.on(tick)(again)
        assert await plexus.transmit(Tick(1)) == 2
        assert plexus.transmit_nowait(Tick(0)) == 2
        assert await bus.transmit(Tick(0), tick) == 2  # its own reactant, and the plexus

    run(main())
