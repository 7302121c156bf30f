# SPDX-License-Identifier: Apache-2.0
"""What closing owes to those who watch and count: link events, books, dead letters, reactants that were removed."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from plexo import (
    Cause,
    Closed,
    GanglionZmqTcpPair,
    LinkEvent,
    LinkEventKind,
    NotDelivered,
    Plexus,
    Queue,
)
from tests.network.test_life_cycle import LoopThread, RawPeerThatNeverReads
from tests.support import Blob, Tick, blob, in_thread, run, tick, until, within


@pytest.mark.parametrize("with_plexus", [False, True])
def test_link_events_of_a_close_from_another_thread_are_told_where_the_loop_runs(with_plexus: bool) -> None:
    with LoopThread() as home:
        pair = GanglionZmqTcpPair("127.0.0.1", port=0)
        whole: Any = Plexus([pair]) if with_plexus else pair
        told: list[tuple[LinkEvent, int]] = []
        whole.on_link_event(lambda event: told.append((event, threading.get_ident())))

        async def begin() -> Any:
            await whole.adapt(tick)
            return whole.link_events()

        async def read(events: Any) -> list[LinkEvent]:
            return [event async for event in events]

        async def wait() -> None:
            with pytest.raises(Closed):
                await whole.ready(2 if with_plexus else 1, timeout_s=10)

        events = home.do(begin())
        reading = asyncio.run_coroutine_threadsafe(read(events), home.loop)
        there = GanglionZmqTcpPair(peer=pair.endpoint)
        home.do(there.adapt(tick))
        home.do(until(lambda: len(told) == 1))
        waiting = asyncio.run_coroutine_threadsafe(wait(), home.loop) if with_plexus else None
        whole.close()
        there.close()
        kinds = [LinkEventKind.CONNECTED, LinkEventKind.DISCONNECTED]
        assert [event.kind for event in reading.result(10)] == kinds
        assert [event.kind for event, _ in told] == kinds
        assert told[1][0].reason == "this side was closed"
        assert {thread for _, thread in told} == {home.thread.ident}
        if waiting is not None:
            waiting.result(10)


@pytest.mark.parametrize("with_plexus", [False, True])
def test_a_reactant_for_dead_letters_is_cancelled_where_it_is_at_home(with_plexus: bool) -> None:
    async def main() -> None:
        begun = asyncio.Event()
        ended_in: list[int] = []

        async def slow(letter: object) -> None:
            begun.set()
            try:
                await asyncio.sleep(60)
            finally:
                ended_in.append(threading.get_ident())

        def fail(data: Tick) -> None:
            raise ValueError("poison")

        there = GanglionZmqTcpPair("127.0.0.1", port=0)
        whole: Any = Plexus([there]) if with_plexus else there
        await whole.react(tick, [fail])
        await whole.react_dead_letters([slow])
        async with GanglionZmqTcpPair(peer=there.endpoint) as here:
            await here.adapt(tick)
            await here.transmit(Tick(1), tick)
            await here.transmit(Tick(2), tick)
            await within(begun.wait())
            await until(lambda: whole.stats().fault_count(Cause.REACTANT_ERROR) == 2)
            await in_thread(whole.close)
        assert ended_in == [threading.get_ident()]
        assert whole.stats().fault_count(Cause.CLOSED) == 1
        assert whole.stats().fault_count(Cause.CANCELLED) == 1

    run(main())


def test_a_reactant_that_was_removed_while_busy_is_cancelled_too() -> None:
    async def main() -> None:
        begun = asyncio.Event()
        ended_in: list[int] = []

        async def slow(data: Tick) -> None:
            begun.set()
            try:
                await asyncio.sleep(60)
            finally:
                ended_in.append(threading.get_ident())

        there = GanglionZmqTcpPair("127.0.0.1", port=0)
        await there.react(tick, [slow, lambda data: None])
        async with GanglionZmqTcpPair(peer=there.endpoint) as here:
            await here.adapt(tick)
            await here.transmit(Tick(1), tick)
            await here.transmit(Tick(2), tick)
            await within(begun.wait())
            await until(lambda: there.stats().received == 2)
            await there.unreact(tick, [slow])
            await in_thread(there.close)
        assert ended_in == [threading.get_ident()]
        book = there.stats().neurons[tick.name].receiving
        assert book.dropped == {Cause.REMOVED: 1, Cause.CANCELLED: 1}

    run(main())


def test_what_a_dead_loop_left_is_in_the_books_after_closing() -> None:
    plexus = Plexus()

    async def slow(data: Tick) -> None:
        await asyncio.get_running_loop().create_future()

    async def begin() -> list[asyncio.Task[int]]:
        await plexus.react(tick, [slow, lambda data: None])
        sending = [asyncio.ensure_future(plexus.transmit(Tick(number))) for number in range(3)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return sending

    loop = asyncio.new_event_loop()
    for task in loop.run_until_complete(begin()):
        task._log_destroy_pending = False  # type: ignore[attr-defined]
    # The senders' futures are in a loop that was closed: nobody is there to be woken.
    loop.close()
    plexus.close()
    book = plexus.stats().neurons[tick.name].receiving
    assert (book.accepted, book.delivered, book.queued) == (6, 3, 0)
    assert book.dropped == {Cause.CLOSED: 2, Cause.CANCELLED: 1}


def test_what_a_stuck_peer_did_not_take_is_in_the_book_of_its_link() -> None:
    async def main() -> None:
        with RawPeerThatNeverReads() as stuck:
            there = GanglionZmqTcpPair(peer=stuck.address, send_queue=Queue(bytes=1 << 26))
            await there.adapt(blob)
            await until(lambda: there.peers_connected)
            for _ in range(3):
                await there.transmit(Blob(b"x" * 10_000_000), blob)
            await there.aclose()
        stats = there.stats()
        for book in (stats.ended.sending, stats.neurons[blob.name].sending):
            assert (book.accepted, book.delivered, book.queued) == (3, 0, 0)
            assert book.dropped == {Cause.CLOSED: 3}

    run(main())


def test_a_stream_read_in_another_thread_lets_the_link_go_on() -> None:
    count = 5000

    async def read(stream: Any) -> list[int]:
        got = []
        async for data in stream:
            got.append(data.n)
            if data.n == count - 1:
                break
        return got

    with LoopThread() as home:
        there = GanglionZmqTcpPair("127.0.0.1", port=0)
        here = GanglionZmqTcpPair(peer=there.endpoint)
        plexus = Plexus([there])

        async def begin() -> Any:
            await here.adapt(tick)
            return plexus.stream(tick, Queue(messages=10))

        async def feed() -> None:
            for number in range(count):
                await here.transmit(Tick(number), tick)

        stream = home.do(begin())
        feeding = asyncio.run_coroutine_threadsafe(feed(), home.loop)
        assert run(read(stream)) == list(range(count))
        feeding.result(10)
        stream.close()
        plexus.close()
        here.close()
        assert plexus.stats().neurons[tick.name].receiving.delivered == count


def test_a_plexus_that_waits_in_one_thread_is_closed_in_another() -> None:
    async def main() -> None:
        plexus = Plexus()
        waiting = asyncio.create_task(plexus.ready(1))
        events = plexus.link_events()
        reading = asyncio.create_task(events.__anext__())
        await asyncio.sleep(0)
        await in_thread(plexus.close)
        results = await within(asyncio.gather(waiting, reading, return_exceptions=True))
        assert [type(each) for each in results] == [Closed, StopAsyncIteration]

    run(main())


@pytest.mark.parametrize("from_thread", [False, True])
def test_a_responder_is_cancelled_and_waited_for(from_thread: bool) -> None:
    async def main() -> None:
        begun = asyncio.Event()
        steps: list[str] = []
        there = GanglionZmqTcpPair("127.0.0.1", port=0)

        @there.respond(tick, tick)
        async def slow(question: Tick) -> Tick:
            begun.set()
            try:
                await asyncio.sleep(60)
            finally:
                await asyncio.sleep(0.05)
                steps.append("cleaned")
            return question

        async with GanglionZmqTcpPair(peer=there.endpoint) as here:
            await there.ready(0)
            asking = asyncio.create_task(here.request(Tick(1), Tick, tick))
            await within(begun.wait())
            await (in_thread(there.close) if from_thread else there.aclose())
            assert steps == ["cleaned"]
            with pytest.raises(NotDelivered):
                await within(asking)

    run(main())


def test_a_responder_may_close_its_own_pair() -> None:
    async def main() -> None:
        ended = asyncio.Event()
        there = GanglionZmqTcpPair("127.0.0.1", port=0)

        @there.respond(tick, tick)
        async def close(question: Tick) -> Tick:
            await asyncio.sleep(0)
            await there.aclose()
            ended.set()
            return question

        async with GanglionZmqTcpPair(peer=there.endpoint) as here:
            await there.ready(0)
            asking = asyncio.create_task(here.request(Tick(1), Tick, tick))
            await within(ended.wait())
            with pytest.raises(NotDelivered):
                await within(asking)
        assert there.closed

    run(main())


def test_an_unacknowledged_message_is_in_the_books_after_closing() -> None:
    async def main() -> None:
        pair = GanglionZmqTcpPair("127.0.0.1", port=0)
        await pair.adapt(tick)
        sending = asyncio.create_task(pair.transmit(Tick(1), tick, acked=True))
        await until(lambda: pair.stats().acked.accepted)
        await in_thread(pair.close)
        with pytest.raises(NotDelivered):
            await within(sending)
        book = pair.stats().acked
        assert (book.accepted, book.queued) == (1, 0)
        assert book.dropped == {Cause.CLOSED: 1}

    run(main())
