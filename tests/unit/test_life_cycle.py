# SPDX-License-Identifier: Apache-2.0
"""Closing what has no sockets, and using it from several threads: plexuses, buses and streams in process."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest

from plexo import Closed, EventLoopNotSupported, GanglionInproc, GanglionZmqTcpPair, Plexus, Queue
from tests.support import Tick, in_thread, run, tick, until, within

MAKERS: dict[str, Callable[[], Any]] = {
    "inproc": GanglionInproc,
    "plexus": lambda: Plexus([GanglionInproc()]),
}
made = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())


def test_an_event_loop_that_cannot_watch_sockets_is_named_with_what_to_do() -> None:
    class Proactor(asyncio.SelectorEventLoop):
        """As Windows' default: it has what every loop has, and not what watches sockets."""

        add_reader = asyncio.AbstractEventLoop.add_reader

    async def main() -> None:
        with GanglionZmqTcpPair(bind_interface="127.0.0.1", port=0) as ganglion:
            with pytest.raises(
                EventLoopNotSupported, match=r"Proactor has none.*loop_factory=asyncio.Selector"
            ):
                await ganglion.adapt(tick)
            assert not ganglion.closed

    loop = Proactor()
    # Itself it watches one, to be woken.
    try:
        loop.run_until_complete(main())
    finally:
        loop.close()


@made
def test_with_and_async_with_end_in_a_closed_object(make: Callable[[], Any]) -> None:
    with make() as one:
        pass
    assert one.closed

    async def main() -> None:
        async with make() as two:
            await two.adapt(tick)
        for use in (
            lambda: two.adapt(tick),
            lambda: two.react(tick, [print]),
            lambda: two.transmit(Tick(1), tick),
            lambda: two.unreact(tick, [print]),
            two.__aenter__,
        ):
            with pytest.raises(Closed):
                await use()
        await two.aclose()
        two.close()

    run(main())
    with pytest.raises(Closed):
        one.__enter__()


@made
@pytest.mark.parametrize("how", ["close", "aclose"])
def test_suspended_reactants_are_cancelled_where_they_are_at_home(make: Callable[[], Any], how: str) -> None:
    async def main() -> None:
        ended_in: list[int] = []
        begun = asyncio.Event()

        async def slow(data: Tick) -> None:
            begun.set()
            try:
                await asyncio.sleep(60)
            finally:
                ended_in.append(threading.get_ident())

        # Two reactants: they are driven by tasks of their own, not by the sender's.
        ganglion = make()
        await ganglion.react(tick, [slow, lambda data: None])
        sending = asyncio.create_task(ganglion.transmit(Tick(1), tick))
        waiting = asyncio.create_task(ganglion.transmit(Tick(2), tick))
        await begun.wait()
        if how == "close":
            await in_thread(ganglion.close)
        else:
            await in_thread(lambda: run(ganglion.aclose()))
        assert ended_in == [threading.get_ident()]
        results = await within(asyncio.gather(sending, waiting, return_exceptions=True))
        # Its reactant was cancelled; the other never reached one, and was not cancelled itself.
        assert isinstance(results[0], asyncio.CancelledError)
        assert isinstance(results[1], Closed)

    run(main())


@made
def test_a_reactant_may_close_what_called_it(make: Callable[[], Any]) -> None:
    async def main() -> None:
        ganglion = make()
        seen: list[str] = []

        async def react(data: Tick) -> None:
            await asyncio.sleep(0)
            await ganglion.aclose()
            await asyncio.sleep(0)
            seen.append("went on")

        await ganglion.react(tick, [react, lambda data: None])
        await within(ganglion.transmit(Tick(1), tick))
        assert seen == ["went on"]
        assert ganglion.closed

    run(main())


@made
def test_a_reactant_suspended_in_another_running_loop_is_refused(make: Callable[[], Any]) -> None:
    async def main() -> None:
        release = asyncio.Event()
        begun = asyncio.Event()
        seen: list[int] = []

        async def slow(data: Tick) -> None:
            begun.set()
            await release.wait()
            seen.append(data.n)

        async with make() as ganglion:
            await ganglion.react(tick, [slow])
            sending = asyncio.create_task(ganglion.transmit(Tick(1), tick))
            await begun.wait()

            def transmit() -> None:
                run(ganglion.transmit(Tick(2), tick))

            with pytest.raises(RuntimeError, match="event loop of another thread"):
                await in_thread(transmit)
            if isinstance(ganglion, Plexus):
                with pytest.raises(RuntimeError, match="event loop of another thread"):
                    await in_thread(lambda: ganglion.transmit_nowait(Tick(2)))
            release.set()
            await within(sending)
            assert seen == [1]
            # Nothing is suspended any more: another thread may.
            await in_thread(transmit)
            assert seen == [1, 2]

    run(main())


def test_the_loop_of_a_suspended_reactant_was_closed_and_close_comes_later() -> None:
    async def begin() -> None:
        await plexus.react(tick, [slow, lambda data: None])
        plexus.transmit_nowait(Tick(1))

    async def slow(data: Tick) -> None:
        await asyncio.get_running_loop().create_future()

    plexus = Plexus()
    loop = asyncio.new_event_loop()
    loop.run_until_complete(begin())
    plexus.close()
    plexus.close()
    loop.run_until_complete(asyncio.sleep(0))
    loop.run_until_complete(asyncio.sleep(0))
    assert plexus.closed
    assert not asyncio.all_tasks(loop)
    loop.close()


def test_a_stream_is_read_in_one_thread_and_fed_and_closed_in_another() -> None:
    async def main() -> None:
        plexus = Plexus()
        stream = plexus.stream(tick, Queue(messages=2))

        def feed() -> None:
            async def transmit() -> None:
                for number in range(2000):
                    await plexus.transmit(Tick(number))

            run(transmit())
            stream.close()
            stream.close()

        feeding = asyncio.create_task(in_thread(feed))
        got = [data.n async for data in stream]
        await within(feeding)
        assert got == list(range(2000))
        assert not plexus.stats().neurons[tick.name].reactants
        with pytest.raises(Closed):
            stream.__enter__()

    run(main())


def test_a_stubborn_reactant_is_named_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        release = asyncio.Event()

        async def stubborn(data: Tick) -> None:
            while not release.is_set():
                try:
                    await release.wait()
                except asyncio.CancelledError:
                    continue

        plexus = Plexus()
        await plexus.react(tick, [stubborn, lambda data: None])
        sending = asyncio.create_task(plexus.transmit(Tick(1)))
        await asyncio.sleep(0)
        with caplog.at_level(logging.WARNING, "plexo"):
            await within(plexus.aclose(), 1)
        assert "stubborn" in caplog.text
        release.set()
        await within(asyncio.gather(sending, return_exceptions=True))
        await until(lambda: len(asyncio.all_tasks()) <= 2)

    run(main())


def test_several_plexuses_share_a_bus_and_each_may_close_it() -> None:
    async def main() -> None:
        bus = GanglionInproc()
        one, two = Plexus([bus]), Plexus([bus])
        await one.adapt(tick)
        await two.adapt(tick)
        await within(asyncio.gather(one.aclose(), two.aclose(), bus.aclose()))
        assert bus.closed
        assert one._over
        assert two._over

    run(main())
