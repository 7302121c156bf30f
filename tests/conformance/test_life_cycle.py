# SPDX-License-Identifier: Apache-2.0
"""Beginning and end: closing from everywhere, several event loops, threads, forked children. Nothing is left behind
(that is asked of every test by the fixtures in tests/conftest.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import threading
from typing import Any

import pytest

from plexo import Cause, Closed, Plexus, UsedAfterFork
from tests.conformance.rigs import Gate, Rig, bulk, encoding, every, numbers, raw, receiving
from tests.support import Tick, in_thread, run, tick, until, within


async def refused(ganglion: Any, rig: Rig) -> None:
    """Everything that is closed refuses by this name."""
    for use in (
        lambda: ganglion.adapt(tick),
        lambda: ganglion.react(tick, [print]),
        lambda: ganglion.transmit(Tick(1), tick),
        lambda: ganglion.transmit_many([Tick(1)], tick),
        lambda: ganglion.unreact(tick, [print]),
        lambda: ganglion.ready(0),
        lambda: ganglion.react_dead_letters([print]),
        ganglion.__aenter__,
        *([lambda: ganglion.transmit_encoded(b"", tick)] if rig.encodes else []),
    ):
        with pytest.raises(Closed):
            await use()
    for use_now in (ganglion.__enter__, ganglion.link_events, lambda: ganglion.on_link_event(print)):
        with pytest.raises(Closed):
            use_now()
    assert ganglion.closed
    assert ganglion.stats().balanced


@every()
def test_never_used_and_closed(rig: Rig) -> None:
    for each in set(rig.make()):
        with each:
            assert each.capable(tick)
        each.close()
        assert each.closed


@every()
@pytest.mark.parametrize("how", ["close", "aclose", "async with", "with"])
def test_closed_twice_and_refusing_from_then_on(rig: Rig, how: str) -> None:
    async def main() -> None:
        one, other = rig.make()
        got: list[Any] = []
        await other.react(tick, [got.append])
        await one.adapt(tick)
        await rig.connected(one, tick)
        await one.transmit(Tick(1), tick)
        await until(lambda: got)
        for each in (one, other):
            if how == "close":
                each.close()
                each.close()
            elif how == "aclose":
                await each.aclose()
                await each.aclose()
            elif each.closed:  # one bus
                pass
            elif how == "async with":
                async with each:
                    pass
            else:
                with each:
                    pass
            await refused(each, rig)

    run(main())


@every()
def test_what_was_accepted_arrives_although_the_sender_closes(rig: Rig) -> None:
    async def main() -> None:
        one, other = rig.make()
        gate = Gate()
        gate.open()
        async with other:
            await other.react(raw, [gate])
            async with one:
                await one.adapt(raw)
                await rig.connected(one, raw)
                for n in range(20):
                    await one.transmit(bulk(rig, n), raw)
            await until(lambda: len(gate.got) == 20)
            assert numbers(gate) == list(range(20))

    run(main())


@every()
@pytest.mark.parametrize("how", ["close", "aclose"])
def test_closed_from_another_thread_while_its_loop_runs(rig: Rig, how: str) -> None:
    async def main() -> None:
        one, other = rig.make()
        async with one, other:
            cancelled_in: list[int] = []
            begun = asyncio.Event()

            async def slow(data: Tick) -> None:
                begun.set()
                try:
                    await asyncio.sleep(60)
                finally:
                    cancelled_in.append(threading.get_ident())

            await other.react(tick, [slow, lambda data: None])
            await one.adapt(tick)
            await rig.connected(one, tick)
            sender = asyncio.create_task(one.transmit(Tick(1), tick))
            await within(begun.wait())
            await in_thread(other.close if how == "close" else lambda: run(other.aclose()))
            assert other.closed
            assert cancelled_in == [threading.get_ident()]
            await asyncio.gather(sender, return_exceptions=True)
            await refused(other, rig)

    run(main())


@every()
@pytest.mark.parametrize("how", ["close", "aclose"])
@pytest.mark.parametrize("around", ["ganglion", "plexus"])
def test_closed_within_a_reactant(rig: Rig, how: str, around: str) -> None:
    async def main() -> None:
        one, other = rig.make()
        gone_on: list[Tick] = []
        async with one, other:
            outer: Any = other if around == "ganglion" else Plexus([other])
            reached = asyncio.Event()

            async def react(data: Tick) -> None:
                if how == "close":
                    outer.close()
                else:
                    await outer.aclose()
                gone_on.append(data)
                reached.set()

            await outer.react(tick, [react])
            if one is not other:
                await one.adapt(tick)
            await rig.connected(one, tick)
            senders = [asyncio.create_task(one.transmit(Tick(n), tick)) for n in range(3)]
            await within(reached.wait())
            assert gone_on == [Tick(0)]
            assert other.closed
            await within(asyncio.gather(*senders, return_exceptions=True))
            assert other.stats().balanced

    run(main())


@every()
def test_several_event_loops_one_after_another(rig: Rig) -> None:
    one, other = rig.make()
    got: list[int] = []

    async def begin() -> None:
        await other.react(tick, [lambda data: got.append(data.n)])
        await one.adapt(tick)
        await rig.connected(one, tick)
        await one.transmit(Tick(0), tick)
        await until(lambda: got == [0])

    async def go_on(n: int) -> None:
        await other.adapt(tick)
        await one.transmit(Tick(n), tick)
        await until(lambda: got[-1] == n)

    run(begin())
    for n in range(1, 4):
        run(go_on(n))
    assert got == [0, 1, 2, 3]
    one.close()
    other.close()


@every()
def test_many_generations_in_one_event_loop(rig: Rig) -> None:
    """Descriptors are used again, so what a closed one leaves in the event loop is in the way of the next."""

    async def main() -> None:
        for n in range(5):
            one, other = rig.make()
            async with one, other:
                got: list[Any] = []
                await other.react(tick, [got.append])
                await one.adapt(tick)
                await rig.connected(one, tick)
                await one.transmit(Tick(n), tick)
                await until(lambda got=got: got)  # type: ignore[misc]
                assert got == [Tick(n)]

    run(main())


@encoding
@pytest.mark.leaves("the first event loop ends while a reactant is suspended in it")
def test_what_one_event_loop_leaves_before_a_reactant_is_for_the_next(rig: Rig) -> None:
    one, other = rig.make()
    got: list[int] = []
    begun: list[int] = []

    async def react(data: Tick) -> None:
        begun.append(data.n)
        if data.n == 0:
            await asyncio.sleep(60)
        got.append(data.n)

    async def begin() -> None:
        await other.react(tick, [react])
        await one.adapt(tick)
        await rig.connected(one, tick)
        for n in range(3):
            await one.transmit(Tick(n), tick)
        await until(lambda: receiving(other, tick).queued == 3)

    async def go_on() -> None:
        await other.adapt(tick)
        await until(lambda: len(got) == 2)

    run(begin())
    assert begun == [0]
    run(go_on())
    assert got == [1, 2]
    assert receiving(other, tick).dropped == {Cause.CANCELLED: 1}
    one.close()
    other.close()


@every()
def test_its_loop_ended_or_was_closed_before_it(rig: Rig) -> None:
    one, other = rig.make()
    loop = asyncio.new_event_loop()
    loop.run_until_complete(other.react(tick, [lambda data: None]))
    loop.run_until_complete(one.adapt(tick))
    one.close()
    loop.close()
    other.close()
    assert one.closed and other.closed


@encoding
def test_two_event_loops_at_once_are_refused(rig: Rig) -> None:
    async def main() -> None:
        one, other = rig.make()
        async with one, other:
            await one.adapt(tick)
            for use in (
                lambda: run(one.adapt(tick)),
                lambda: run(one.transmit(Tick(1), tick)),
                lambda: run(one.react(tick, [print])),
                lambda: run(one.unreact(tick, [print])),
            ):
                with pytest.raises(RuntimeError, match="another event loop"):
                    await in_thread(use)
            # Nothing of that changed anything, and these are for any thread.
            assert await in_thread(lambda: (one.capable(tick), one.closed, one.stats().balanced)) == (
                True,
                False,
                True,
            )
            gate = Gate()
            gate.open()
            await other.react(tick, [gate])
            await rig.connected(one, tick)
            await one.transmit(Tick(2), tick)
            await until(lambda: gate.got == [Tick(2)])

    run(main())


# Where nobody is known to want it, nothing is done.
@every(lambda rig: rig.encodes and not rig.subscribes)
def test_a_call_without_an_event_loop_is_refused(rig: Rig) -> None:
    one, other = rig.make()
    run(one.adapt(tick))
    sending = one.transmit(Tick(1), tick)
    with pytest.raises(RuntimeError, match="loop"):
        sending.send(None)
    one.close()
    other.close()


@every()
def test_a_cancelled_transmit_leaves_it_usable(rig: Rig) -> None:
    async def main() -> None:
        one, other = rig.make()
        async with one, other:
            gate = Gate()
            await other.react(tick, [gate])
            await one.adapt(tick)
            await rig.connected(one, tick)
            senders = [asyncio.create_task(one.transmit(Tick(n), tick)) for n in range(3)]
            await until(lambda: gate.got)
            senders[2].cancel()
            gate.open()
            await within(asyncio.gather(*senders, return_exceptions=True))
            await one.transmit(Tick(3), tick)
            await until(lambda: gate.got[-1] == Tick(3))
            # Where it had gone out already, it cannot be withdrawn.
            assert gate.got in ([Tick(n) for n in (0, 1, 3)], [Tick(n) for n in range(4)])

    run(main())


# -- forked children ---------------------------------------------------------------------------------------


def in_child(act: Any) -> Any:
    """What `act` returns in a forked child, which leaves with os._exit."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            answer = json.dumps(act())
        except BaseException as error:
            answer = json.dumps(f"failed: {error!r}")
        os.write(writing, answer.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as report:
        answer = report.read()
    os.waitpid(child, 0)
    return json.loads(answer)


# From Python 3.12 on fork warns where threads exist: of the executor, of a test before this one.
_quietly = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


def forking(test: Any) -> Any:
    return _quietly(pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")(test))


def sockets() -> set[str]:
    found = set()
    for name in os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else ():
        with contextlib.suppress(OSError):
            found.add(os.readlink(f"/proc/self/fd/{name}"))
    return {each for each in found if each.startswith("socket:")}


def _refusals(ganglion: Any) -> list[str]:
    said = []

    async def awaited(use: Any) -> None:
        await use()

    for use in (
        lambda: ganglion.transmit(Tick(1), tick),
        lambda: ganglion.transmit_encoded(b"", tick),
        lambda: ganglion.adapt(tick),
        lambda: ganglion.react(tick, [print]),
        lambda: ganglion.ready(),
    ):
        try:
            asyncio.run(awaited(use))
        except UsedAfterFork:
            said.append("refused")
    try:
        ganglion.stats()
    except UsedAfterFork:
        said.append("refused")
    ganglion.close()
    return said


@forking
@encoding
@pytest.mark.parametrize("when", ["between loops", "in a loop"])
def test_a_forked_child_is_refused_and_the_parent_notices_nothing(rig: Rig, when: str) -> None:
    before = sockets()
    one, other = rig.make()
    got: list[int] = []

    async def begin() -> None:
        await other.react(tick, [lambda data: got.append(data.n)])
        await one.adapt(tick)
        await rig.connected(one, tick)
        await one.transmit(Tick(0), tick)
        await until(lambda: got == [0])
        if when == "in a loop":
            # Its event loop is the parent's; what it is asked there has to be synchronous.
            assert in_child(lambda: _refused_at_once(one)) == "refused"
            await go_on(1)

    async def go_on(n: int) -> None:
        await one.transmit(Tick(n), tick)
        await other.adapt(tick)
        await until(lambda: got[-1] == n)

    run(begin())
    if when == "between loops":
        assert in_child(lambda: _refusals(one)) == ["refused"] * 6
        # The child has closed its copies of the descriptors, and nothing else.
        assert in_child(lambda: sorted(sockets() - before)) == []
        assert sockets() > before or not os.path.isdir("/proc/self/fd")
        run(go_on(1))
    assert got == [0, 1]
    one.close()
    other.close()


def _refused_at_once(ganglion: Any) -> str:
    try:
        ganglion.transmit(Tick(1), tick).send(None)
    except UsedAfterFork:
        ganglion.close()
        return "refused"
    return "nothing was raised"


@forking
@every(lambda rig: not rig.encodes)
def test_a_forked_child_goes_on_without_sockets(rig: Rig) -> None:
    one, _ = rig.make()
    got: list[int] = []
    run(one.react(tick, [lambda data: got.append(data.n)]))
    run(one.transmit(Tick(1), tick))

    def act() -> Any:
        asyncio.run(one.transmit(Tick(2), tick))
        return got, one.stats().neurons[tick.name].receiving.accepted

    assert in_child(act) == [[1, 2], 1]
    assert got == [1]
    one.close()
