# SPDX-License-Identifier: Apache-2.0
"""Order, suspension, errors, queues and cancellation of reactants, all in process."""

from __future__ import annotations

import asyncio
import sys
from functools import partial
from typing import Any

import pytest

from plexo import Cause, Plexus, Queue, QueueFull
from plexo._fast.dispatch import Fanout
from plexo.arity import reactant_arity
from plexo.dendrite import DecoderDendrite, Dendrite
from tests.support import Keeper, Tick, run, tick, until


def fanout(limit: int = 1000) -> tuple[Fanout[Tick], list[BaseException]]:
    keeper = Keeper()
    return Fanout(tick, keeper, Queue(messages=limit)), keeper.errors


# -- arity ---------------------------------------------------------------------------------------------------------


class _Callable:
    def __call__(self, data: Tick) -> None: ...

    def two(self, data: Tick, neuron: object) -> None: ...


@pytest.mark.parametrize(
    ("reactant", "arity"),
    [
        (lambda data: None, 1),
        (lambda data, neuron: None, 2),
        (lambda data, neuron, reaction_id: None, 3),
        (lambda data, neuron, reaction_id=None: None, 3),
        (lambda data, neuron=None: None, 2),
        (lambda data, tank=5: None, 1),
        (lambda data=None: None, 1),
        (lambda data, *rest: None, 3),
        (lambda *args: None, 3),
        (_Callable(), 1),
        (_Callable().two, 2),
        (partial(lambda plexus, data: None, object()), 1),
        (partial(lambda plexus, data, neuron, reaction_id: None, object()), 3),
        ([].append, 1),
    ],
)
def test_arity_is_read_from_the_signature(reactant: Any, arity: int) -> None:
    assert reactant_arity(reactant) == arity


@pytest.mark.parametrize(
    "reactant", [None, 3, lambda: None, lambda a, b, c, d: None, lambda data, *, needed: None]
)
def test_what_cannot_be_called_is_refused_when_added(reactant: Any) -> None:
    plexus = Plexus()
    with pytest.raises(TypeError, match="reactant"):
        plexus.on(tick)(reactant)
    with pytest.raises(TypeError, match="reactant"):
        run(plexus.react(tick, [reactant]))


def test_all_of_several_reactants_are_added_or_none() -> None:
    async def main() -> None:
        dendrite = Dendrite(tick)
        with pytest.raises(TypeError):
            await dendrite.add_reactants([lambda data: None, 5])  # type: ignore[list-item]
        assert dendrite.reactants == ()
        with pytest.raises(TypeError, match="iterable"):
            await dendrite.add_reactants(lambda data: None)  # type: ignore[arg-type]

    run(main())


def test_reactants_get_as_many_arguments_as_they_take() -> None:
    seen: list[Any] = []

    async def main() -> None:
        dendrite = Dendrite(
            tick,
            [
                lambda data: seen.append((data,)),
                lambda data, neuron: seen.append((data, neuron)),
                lambda data, neuron, reaction_id: seen.append((data, neuron, reaction_id)),
            ],
        )
        await dendrite.transduce(Tick(1))

    run(main())
    assert seen == [(Tick(1),), (Tick(1), tick), (Tick(1), tick, None)]


def test_a_reactant_is_in_a_dendrite_once() -> None:
    async def main() -> None:
        seen: list[Tick] = []
        dendrite = Dendrite(tick, [seen.append])
        await dendrite.add_reactants([seen.append, seen.append])
        await dendrite.transduce(Tick(1))
        await dendrite.remove_reactants([seen.append, print])
        await dendrite.transduce(Tick(2))
        assert seen == [Tick(1)]

    run(main())


# -- order and suspension ------------------------------------------------------------------------------------------


def test_reactants_get_the_very_object_in_order() -> None:
    async def main() -> None:
        plexus = Plexus()
        seen: list[Tick] = []

        @plexus.on(tick)
        async def react(data: Tick) -> None:
            seen.append(data)

        sent = [Tick(n) for n in range(100)]
        for one in sent:
            await plexus.transmit(one)
        assert len(seen) == 100
        assert all(a is b for a, b in zip(sent, seen, strict=True))

    run(main())


def test_transmit_waits_for_a_reactant_that_suspends() -> None:
    async def main() -> None:
        plexus = Plexus()
        seen: list[int] = []

        @plexus.on(tick)
        async def react(data: Tick) -> None:
            await asyncio.sleep(0.001)
            seen.append(data.n)

        await plexus.transmit(Tick(1))
        assert seen == [1]
        await asyncio.gather(*(plexus.transmit(Tick(n)) for n in range(2, 50)))
        assert seen == list(range(1, 50))

    run(main())


@pytest.mark.parametrize("reactants", [1, 2])
def test_later_messages_wait_for_a_suspended_reactant_and_others_do_not(reactants: int) -> None:
    async def main() -> None:
        target, errors = fanout()
        gate = asyncio.Event()
        slow_seen: list[int] = []
        quick_seen: list[int] = []

        async def slow(data: Tick) -> None:
            await gate.wait()
            slow_seen.append(data.n)

        target.add(slow)
        if reactants == 2:
            target.add(lambda data: quick_seen.append(data.n))
        for n in range(10):
            target.receive(Tick(n))
        assert quick_seen == (list(range(10)) if reactants == 2 else [])
        assert target.queued == 10  # one of them in hand
        gate.set()
        await until(lambda: len(slow_seen) == 10)
        assert slow_seen == list(range(10))
        assert target.queued == 0
        assert not errors

    run(main())


def test_a_suspended_reactant_runs_in_one_task_from_beginning_to_end() -> None:
    """asyncio.timeout, TaskGroup and wait_for look at the current task in a coroutine's very first step."""

    async def main() -> None:
        target, errors = fanout()
        tasks: list[Any] = []
        done = asyncio.Event()

        async def react(data: Tick) -> None:
            tasks.append(asyncio.current_task())
            if sys.version_info >= (3, 11):
                async with asyncio.timeout(5), asyncio.TaskGroup() as group:
                    group.create_task(asyncio.sleep(0.001))
            await asyncio.wait_for(asyncio.sleep(0.001), 5)
            tasks.append(asyncio.current_task())
            if data.n == 3:
                done.set()

        target.add(react)
        for n in range(4):
            target.receive(Tick(n))
        await done.wait()
        assert not errors
        assert len(tasks) == 8
        assert None not in tasks
        assert all(before is after for before, after in zip(tasks[::2], tasks[1::2], strict=True))

    run(main())


@pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio.timeout came with Python 3.11")
@pytest.mark.parametrize("others", [0, 1])
def test_a_timeout_inside_a_reactant_fires(others: int) -> None:
    async def main() -> None:
        plexus = Plexus()
        outcome: list[str] = []

        @plexus.on(tick)
        async def react(data: Tick) -> None:
            try:
                async with asyncio.timeout(0.005):
                    await asyncio.sleep(10)
            except TimeoutError:
                outcome.append("timeout")

        if others:
            plexus.on(tick)(lambda data: None)
        await plexus.transmit(Tick(1))
        plexus.transmit_nowait(Tick(2))
        await until(lambda: len(outcome) == 2)
        assert asyncio.current_task() is not None

    run(main())


def test_no_task_is_made_for_a_coroutine_that_does_not_suspend() -> None:
    async def main() -> None:
        target, _ = fanout()
        seen: list[int] = []

        async def react(data: Tick) -> None:
            seen.append(data.n)

        target.add(react)
        before = asyncio.all_tasks()
        for n in range(100):
            target.receive(Tick(n))
        assert seen == list(range(100))
        assert asyncio.all_tasks() == before

    run(main())


def test_awaitables_that_are_no_coroutines_are_awaited_too() -> None:
    async def main() -> None:
        plexus = Plexus()
        futures: list[asyncio.Future[None]] = []

        @plexus.on(tick)
        def react(data: Tick) -> asyncio.Future[None]:
            futures.append(asyncio.get_running_loop().create_future())
            return futures[-1]

        sending = asyncio.create_task(plexus.transmit(Tick(1)))
        await until(lambda: futures)
        assert not sending.done()
        futures[0].set_result(None)
        await sending

    run(main())


def test_many_reactants_may_be_suspended_at_once() -> None:
    async def main() -> None:
        plexus = Plexus()
        gate = asyncio.Event()
        finished: list[int] = []

        def slow(index: int) -> Any:
            async def react(data: Tick) -> None:
                await gate.wait()
                finished.append(index)

            return react

        await plexus.react(tick, [slow(index) for index in range(200)])
        sending = asyncio.create_task(plexus.transmit(Tick(1)))
        await asyncio.sleep(0)
        gate.set()
        await sending
        assert sorted(finished) == list(range(200))
        # And again, with the tasks that were kept.
        await plexus.transmit(Tick(2))
        assert len(finished) == 400

    run(main())


# -- reactants that transmit ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("suspend", [False, True])
@pytest.mark.parametrize("others", [0, 1])
def test_a_reactant_may_transmit_its_own_neuron(suspend: bool, others: int) -> None:
    async def main() -> None:
        plexus = Plexus()
        seen: list[int] = []

        @plexus.on(tick)
        async def react(data: Tick) -> None:
            if suspend:
                await asyncio.sleep(0)
            if data.n < 50:
                await plexus.transmit(Tick(data.n + 1))
            seen.append(data.n)

        if others:
            plexus.on(tick)(lambda data: None)
        await plexus.transmit(Tick(0))
        await until(lambda: len(seen) == 51)
        assert seen == list(range(51))

    run(main())


def test_a_plain_reactant_may_transmit_its_own_neuron_without_recursion() -> None:
    plexus = Plexus()
    seen: list[int] = []

    @plexus.on(tick)
    def react(data: Tick) -> None:
        if data.n < 5000:
            plexus.transmit_nowait(Tick(data.n + 1))
        seen.append(data.n)

    plexus.transmit_nowait(Tick(0))
    assert seen == list(range(5001))


@pytest.mark.parametrize("others", [0, 1])
def test_a_reactant_that_floods_itself_is_told(others: int) -> None:
    async def main() -> None:
        plexus = Plexus(receive_queue=Queue(messages=10))
        seen: list[int] = []

        @plexus.on(tick)
        async def react(data: Tick) -> None:
            seen.append(data.n)
            if data.n == 0:
                with pytest.raises(QueueFull, match="own neuron"):  # noqa: PT012 - the eleventh
                    for n in range(1, 100):
                        await plexus.transmit(Tick(n))

        if others:
            plexus.on(tick)(lambda data: None)
        await plexus.transmit(Tick(0))
        await until(lambda: len(seen) == 11)
        assert seen == list(range(11))

    run(main())


def test_reactants_of_two_neurons_may_call_each_other() -> None:
    from tests.support import Reading, reading

    async def main() -> None:
        plexus = Plexus()
        seen: list[object] = []

        @plexus.on(tick)
        async def on_tick(data: Tick) -> None:
            await plexus.transmit(Reading("a", data.n))
            assert asyncio.current_task() is not None
            seen.append(data)

        @plexus.on(reading)
        async def on_reading(data: Reading) -> None:
            await asyncio.sleep(0)
            seen.append(data)

        await plexus.transmit(Tick(1))
        assert seen == [Reading("a", 1), Tick(1)]

    run(main())


# -- errors --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suspend", [False, True])
def test_transmit_raises_what_the_reactant_raises(suspend: bool) -> None:
    async def main() -> None:
        plexus = Plexus()

        @plexus.on(tick)
        async def react(data: Tick) -> None:
            if suspend:
                await asyncio.sleep(0)
            raise ZeroDivisionError(data.n)

        for n in range(3):
            with pytest.raises(ZeroDivisionError, match=str(n)):
                await plexus.transmit(Tick(n))
        if not suspend:
            with pytest.raises(ZeroDivisionError):
                plexus.transmit_nowait(Tick(3))

    run(main())


@pytest.mark.parametrize("suspend", [False, True])
def test_the_others_run_when_reactants_raise_and_all_errors_arrive(suspend: bool) -> None:
    async def main() -> None:
        plexus = Plexus()
        seen: list[int] = []

        async def bad(kind: type[Exception], data: Tick) -> None:
            if suspend:
                await asyncio.sleep(0)
            raise kind("bad")

        await plexus.react(
            tick, [partial(bad, ValueError), lambda data: seen.append(data.n), partial(bad, KeyError)]
        )
        if sys.version_info >= (3, 11):
            with pytest.raises(ExceptionGroup) as caught:  # noqa: F821  # not in Python 3.10
                await plexus.transmit(Tick(1))
            kinds = {type(error) for error in caught.value.exceptions}
        else:
            with pytest.raises((ValueError, KeyError)) as caught_one:
                await plexus.transmit(Tick(1))
            kinds = {type(caught_one.value), *map(type, caught_one.value.plexo_other_errors)}
        assert kinds == {ValueError, KeyError}
        assert seen == [1]

    run(main())


def test_errors_of_received_messages_are_reported_and_the_next_message_comes() -> None:
    async def main() -> None:
        target, errors = fanout()
        seen: list[int] = []

        async def react(data: Tick) -> None:
            if data.n % 3 == 1:
                raise ValueError(data.n)
            if data.n % 3 == 2:
                await asyncio.sleep(0)
                raise KeyError(data.n)
            seen.append(data.n)

        target.add(react)
        for n in range(9):
            target.receive(Tick(n))
        await until(lambda: len(errors) == 6)
        assert seen == [0, 3, 6]
        assert [type(error) for error in errors] == [ValueError, KeyError] * 3
        assert target.book.dropped == {Cause.REACTANT_ERROR: 6}

    run(main())


def test_errors_after_transmit_nowait_are_reported(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        plexus = Plexus()

        @plexus.on(tick)
        async def react(data: Tick) -> None:
            await asyncio.sleep(0)
            raise ZeroDivisionError("later")

        plexus.transmit_nowait(Tick(1))
        await until(lambda: "later" in caplog.text)
        plexus.on(tick)(lambda data: None)
        caplog.clear()
        plexus.transmit_nowait(Tick(1))
        await until(lambda: "later" in caplog.text)

    run(main())


# -- transmit_nowait -----------------------------------------------------------------------------------------------


def test_plain_reactants_need_no_event_loop() -> None:
    plexus = Plexus()
    seen: list[int] = []
    plexus.on(tick)(lambda data: seen.append(data.n))
    plexus.transmit_nowait(Tick(1))
    plexus.on(tick)(lambda data: seen.append(-data.n))
    plexus.transmit_nowait(Tick(2))
    assert seen == [1, 2, -2]


def test_a_coroutine_reactant_outside_of_a_loop_is_a_clear_error() -> None:
    plexus = Plexus()

    @plexus.on(tick)
    async def react(data: Tick) -> None: ...

    with pytest.raises(RuntimeError, match="running event loop"):
        plexus.transmit_nowait(Tick(1))
    run(plexus.transmit(Tick(2)))


def test_transmit_nowait_raises_when_a_queue_is_full_and_sends_nothing() -> None:
    async def main() -> None:
        plexus = Plexus(receive_queue=Queue(messages=3))
        gate = asyncio.Event()
        slow: list[int] = []
        quick: list[int] = []

        @plexus.on(tick)
        async def react(data: Tick) -> None:
            await gate.wait()
            slow.append(data.n)

        plexus.on(tick)(lambda data: quick.append(data.n))
        for n in range(4):
            plexus.transmit_nowait(Tick(n))
        with pytest.raises(QueueFull, match="queue of a reactant"):
            plexus.transmit_nowait(Tick(4))
        assert quick == [0, 1, 2, 3]
        gate.set()
        await until(lambda: len(slow) == 4)
        plexus.transmit_nowait(Tick(5))
        await until(lambda: slow == [0, 1, 2, 3, 5])

    run(main())


# -- cancellation and loops ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("others", [0, 1])
def test_cancelling_a_transmit_cancels_its_reactants_and_the_lane_goes_on(others: int) -> None:
    async def main() -> None:
        plexus = Plexus()
        seen: list[object] = []

        @plexus.on(tick)
        async def react(data: Tick) -> None:
            try:
                await asyncio.sleep(0 if data.n else 30)
            except asyncio.CancelledError:
                seen.append("cancelled")
                raise
            seen.append(data.n)

        if others:
            plexus.on(tick)(lambda data: None)
        first = asyncio.create_task(plexus.transmit(Tick(0)))
        await asyncio.sleep(0)
        withdrawn = asyncio.create_task(plexus.transmit(Tick(1)))
        last = asyncio.create_task(plexus.transmit(Tick(2)))
        await asyncio.sleep(0)
        withdrawn.cancel()
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait([first, withdrawn, last])
        assert first.cancelled()
        assert withdrawn.cancelled()
        assert last.exception() is None
        assert seen == ["cancelled", 2]
        await plexus.transmit(Tick(3))
        assert seen[-1] == 3

    run(main())


@pytest.mark.leaves("the loop ends under a suspended reactant: that is the case under test")
@pytest.mark.parametrize("how", ["await", "nowait"])
def test_a_loop_that_ends_leaves_the_lane_usable(how: str) -> None:
    plexus = Plexus()
    seen: list[int] = []

    @plexus.on(tick)
    async def react(data: Tick) -> None:
        if data.n == 0:
            await asyncio.sleep(60)
        seen.append(data.n)

    async def first() -> None:
        if how == "await":
            asyncio.get_running_loop().create_task(plexus.transmit(Tick(0)))
        else:
            plexus.transmit_nowait(Tick(0))
            plexus.transmit_nowait(Tick(1))
        await asyncio.sleep(0.01)

    run(first())
    run(plexus.transmit(Tick(2)))
    assert seen == ([2] if how == "await" else [1, 2])


def test_a_loop_closed_under_a_suspended_reactant_leaves_the_lane_usable() -> None:
    target, errors = fanout()
    seen: list[int] = []
    closed: list[int] = []

    async def react(data: Tick) -> None:
        try:
            await asyncio.sleep(60 if data.n == 0 else 0)
        except GeneratorExit:
            closed.append(data.n)
            raise
        seen.append(data.n)

    target.add(react)

    async def first() -> None:
        target.receive(Tick(0))
        target.receive(Tick(1))
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(first())
    loop.close()

    async def second() -> None:
        target.revive()
        await until(lambda: 1 in seen)
        target.receive(Tick(2))
        await until(lambda: 2 in seen)

    run(second())
    assert seen == [1, 2]
    assert closed == [0]
    assert not errors


def test_removing_a_reactant_drops_what_waits_for_it() -> None:
    async def main() -> None:
        plexus = Plexus()
        gate = asyncio.Event()
        seen: list[int] = []

        async def react(data: Tick) -> None:
            await gate.wait()
            seen.append(data.n)

        await plexus.react(tick, [react])
        sending = [asyncio.create_task(plexus.transmit(Tick(n))) for n in range(3)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await plexus.unreact(tick, [react])
        gate.set()
        await asyncio.gather(*sending)
        assert seen == [0]

    run(main())


def test_closing_ends_suspended_reactants() -> None:
    async def main() -> None:
        ended: list[str] = []
        async with Plexus() as plexus:

            @plexus.on(tick)
            async def react(data: Tick) -> None:
                try:
                    await asyncio.sleep(60)
                finally:
                    ended.append("ended")

            plexus.transmit_nowait(Tick(1))
            plexus.transmit_nowait(Tick(2))
            await asyncio.sleep(0)
        await until(lambda: ended)
        assert len(asyncio.all_tasks()) <= 2

    run(main())


# -- encoded data --------------------------------------------------------------------------------------------------


def test_a_decoder_dendrite_decodes_only_for_those_who_want_it() -> None:
    async def main() -> None:
        raw: list[object] = []
        values: list[Tick] = []
        dendrite = DecoderDendrite(tick, raw_reactants=[raw.append])
        await dendrite.transduce(b"\xff not messagepack")
        assert raw == [b"\xff not messagepack"]
        await dendrite.add_reactants([values.append])
        await dendrite.transduce(bytes(tick.encode(Tick(7))))  # type: ignore[arg-type]
        assert values == [Tick(7)]
        with pytest.raises(ValueError):
            await dendrite.transduce(b"\xff")
        await dendrite.remove_raw_reactants([raw.append])
        assert dendrite.raw_reactants == ()

    run(main())
