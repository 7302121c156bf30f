# SPDX-License-Identifier: Apache-2.0
"""A forked child: what has sockets is of no use there and says so; the parent notices nothing."""

from __future__ import annotations

import asyncio
import gc
import json
import multiprocessing
import os
import sys
import traceback
import warnings
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from plexo import GanglionInproc, GanglionZmqTcpPair, GanglionZmqTcpPubSub, Plexus, UsedAfterFork
from tests.support import Tick, in_thread, run, tick, until, within

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork"),
    # From Python 3.12 on fork warns where threads exist: of the executor, of a test before this one.
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
]


def fork_and_report(act: Callable[[], object]) -> Callable[[], object]:
    """Fork; the child does `act` and leaves with os._exit. Gives what waits for its answer."""
    receiving, sending = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            answer = json.dumps(act())
            status = 0
        except BaseException:
            answer = json.dumps(traceback.format_exc())
        os.write(sending, answer.encode())
        os._exit(status)
    os.close(sending)

    def wait() -> object:
        with os.fdopen(receiving) as report:
            answer = report.read()
        _, status = os.waitpid(child, 0)
        assert status == 0, f"the child failed: {answer}"
        return json.loads(answer)

    return wait


def refused(use: Callable[[], Any]) -> str:
    """What a use raises: the name and text of its UsedAfterFork."""
    try:
        result = use()
        if isinstance(result, Awaitable):

            async def awaited() -> None:
                await result

            asyncio.run(awaited())
    except UsedAfterFork as error:
        return str(error)
    raise AssertionError("nothing was raised")


def descriptors() -> int:
    return sum(
        "socket" in os.readlink(f"/proc/self/fd/{name}")
        for name in os.listdir("/proc/self/fd")
        if _is_open(name)
    )


def _is_open(name: str) -> bool:
    return os.path.lexists(f"/proc/self/fd/{name}")


async def _entered(ganglion: Any) -> None:
    async with ganglion:
        pass


USES: dict[str, Callable[[Any], Any]] = {
    "transmit": lambda each: each.transmit(Tick(1), tick),
    "adapt": lambda each: each.adapt(tick),
    "react": lambda each: each.react(tick, [print]),
    "unreact": lambda each: each.unreact(tick, [print]),
    "async with": _entered,
    "with": lambda each: each.__enter__(),
    "stats": lambda each: each.stats(),
    "ready": lambda each: each.ready(),
    "transmit acked": lambda each: each.transmit(Tick(1), tick, acked=True),
    "link_events": lambda each: each.link_events(),
    "on_link_event": lambda each: each.on_link_event(print),
    "react_dead_letters": lambda each: each.react_dead_letters([print]),
}
GANGLION_USES = {
    "transmit_encoded": lambda each: each.transmit_encoded(b"", tick),
    "react_raw": lambda each: each.react_raw(tick, [print]),
    "peers_connected": lambda each: each.peers_connected,
}
PLEXUS_USES = {
    "transmit_nowait": lambda each: each.transmit_nowait(Tick(1)),
    "on": lambda each: each.on(tick)(print),
    "stream": lambda each: each.stream(tick),
    "infuse": lambda each: each.infuse_ganglion(GanglionInproc()),
    "request": lambda each: each.request(Tick(1), Tick),
    "respond": lambda each: each.respond(tick, tick)(print),
}


@pytest.mark.parametrize("kind", ["pair", "pubsub", "plexus"])
def test_every_use_in_the_child_says_so_and_the_parent_goes_on(kind: str) -> None:
    async def main() -> None:
        if kind == "pubsub":
            here: Any = GanglionZmqTcpPubSub("127.0.0.1", port_pub=0)
            there: Any = GanglionZmqTcpPubSub(port_pub=None, peers=[here.endpoint])
        else:
            here = GanglionZmqTcpPair("127.0.0.1", port=0)
            there = GanglionZmqTcpPair(peer=here.endpoint)
        tested: Any = Plexus([here]) if kind == "plexus" else here
        events = tested.link_events()
        uses = {
            **USES,
            "read link events": lambda each: events.__anext__(),
            **(PLEXUS_USES if kind == "plexus" else GANGLION_USES),
        }
        got: list[int] = []

        def child() -> object:
            left = descriptors()
            said = {name: refused(lambda use=use: use(tested)) for name, use in uses.items()}  # type: ignore[misc]
            for _ in range(2):
                tested.close()
                asyncio.run(tested.aclose())
                there.close()
            return left, said, tested.closed

        async with tested, there:
            await there.react(tick, [lambda data: got.append(data.n)])
            await tested.adapt(tick)
            await until(
                lambda: (
                    here.subscriber_count(tick)
                    if kind == "pubsub"
                    else here.peers_connected and there.peers_connected
                )
            )
            await tested.transmit(Tick(0), tick)
            links = [*here.hub.links, *there.hub.links]
            wait = fork_and_report(child)
            for number in range(1, 500):
                await tested.transmit(Tick(number), tick)
            left, said, closed = await within(in_thread(wait))  # type: ignore[misc]
            for number in range(500, 1000):
                await tested.transmit(Tick(number), tick)
            await until(lambda: len(got) == 1000)
            assert [*here.hub.links, *there.hub.links] == links
            assert all(link.open for link in links)
        assert got == list(range(1000))
        assert closed
        # Only the event loop's own pair is left in the child.
        assert left <= 2, left
        for name in uses:
            assert f"process {os.getpid()}" in said[name], name
            assert "make a new one" in said[name]

    run(main())


def test_the_child_makes_its_own_and_talks_to_the_parent() -> None:
    async def main() -> None:
        got: list[int] = []
        async with GanglionZmqTcpPubSub("127.0.0.1", port_pub=0) as old:
            await old.adapt(tick)
            async with GanglionZmqTcpPair("127.0.0.1", port=0) as here:
                await here.react(tick, [lambda data: got.append(data.n)])

                def child() -> object:
                    async def talk() -> None:
                        async with GanglionZmqTcpPair(peer=here.endpoint) as own:
                            await own.adapt(tick)
                            await own.transmit(Tick(7), tick)

                    asyncio.run(asyncio.wait_for(talk(), 10))
                    return True

                assert await within(in_thread(fork_and_report(child)))
                await until(lambda: got)
                assert got == [7]

    run(main())


def test_bytes_that_wait_are_sent_once_and_a_socket_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "plexo.sock"

    async def main() -> None:
        got: list[int] = []
        async with (
            GanglionZmqTcpPair(bind=f"ipc://{path}") as here,
            GanglionZmqTcpPair(peer=f"ipc://{path}") as there,
        ):
            await there.react(tick, [lambda data: got.append(data.n)])
            await here.adapt(tick)
            await until(lambda: here.peers_connected and there.peers_connected)
            for number in range(10):
                await here.transmit(Tick(number), tick)

            def child() -> object:
                # A child that forgets itself and leaves the ordinary way: finalizers run.
                nonlocal here, there
                here.close()
                del here, there
                gc.collect()
                return path.exists()

            links = [*here.hub.links, *there.hub.links]
            assert await within(in_thread(fork_and_report(child)))
            await here.transmit(Tick(10), tick)
            await until(lambda: len(got) >= 11)
            assert [*here.hub.links, *there.hub.links] == links
            assert got == list(range(11))
            assert path.exists()
        assert not path.exists()

    run(main())


def test_a_fork_inside_a_reactant_while_frames_are_parsed() -> None:
    async def main() -> None:
        got: list[int] = []
        waits: list[Callable[[], object]] = []
        async with (
            GanglionZmqTcpPair("127.0.0.1", port=0) as here,
            GanglionZmqTcpPair(peer=here.endpoint) as there,
        ):

            def react(data: Tick) -> None:
                got.append(data.n)
                if data.n == 3:
                    waits.append(fork_and_report(lambda: refused(lambda: there.transmit(Tick(0), tick))))

            await there.react(tick, [react])
            await here.adapt(tick)
            for number in range(10):
                await here.transmit(Tick(number), tick)
            await until(lambda: len(got) == 10)
            assert "process" in str(await within(in_thread(waits[0])))
        assert got == list(range(10))

    run(main())


def test_without_sockets_a_plexus_begins_anew_in_the_child() -> None:
    async def main() -> None:
        bus = GanglionInproc()
        plexus = Plexus([bus])
        gate = asyncio.Event()
        done: list[tuple[str, int]] = []

        async def slow(data: Tick) -> None:
            if data.n < 100:
                await gate.wait()
            done.append(("slow", data.n))

        await plexus.adapt(tick, [slow])
        await bus.react(tick, [lambda data: done.append(("bus", data.n))])
        stream = plexus.stream(tick)
        sending = [asyncio.create_task(plexus.transmit(Tick(number))) for number in (1, 2)]
        await asyncio.sleep(0)

        def child() -> object:
            done.clear()

            async def use() -> None:
                await plexus.transmit(Tick(100))
                await plexus.transmit(Tick(101))
                own = GanglionZmqTcpPair("127.0.0.1", port=0)
                await plexus.infuse_ganglion(own)
                async with GanglionZmqTcpPair(peer=own.endpoint) as there:
                    await there.adapt(tick)
                    await there.transmit(Tick(102), tick)
                    await until(lambda: len(done) == 6)

            asyncio.run(asyncio.wait_for(use(), 10))
            said = refused(stream.__anext__)
            plexus.close()
            books = [each.stats() for each in (plexus, bus)]
            counts = [each.neurons[tick.name].receiving for each in books]
            assert all(each.balanced for each in books)
            # On the bus the port to the plexus has a copy of each, too.
            assert [(each.accepted, each.delivered) for each in counts] == [(3, 3), (6, 6)], counts
            assert not any(each.faults for each in books)
            return done, said

        seen, said = await within(in_thread(fork_and_report(child)))  # type: ignore[misc]
        assert sorted(seen) == [[name, number] for name in ("bus", "slow") for number in (100, 101, 102)]
        assert "parent" in said
        gate.set()
        await within(asyncio.gather(*sending))
        assert [data.n async for data in _first(stream, 2)] == [1, 2]
        assert sorted(done) == [("bus", 1), ("bus", 2), ("slow", 1), ("slow", 2)]
        stream.close()
        await plexus.aclose()

    run(main())


async def _first(stream: Any, count: int) -> Any:
    for _ in range(count):
        yield await stream.__anext__()


_inherited: Any = None


def _in_worker(number: int) -> str:
    return refused(lambda: _inherited.transmit(Tick(number), tick))


def test_workers_of_multiprocessing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        got: list[int] = []
        async with (
            GanglionZmqTcpPair("127.0.0.1", port=0) as here,
            GanglionZmqTcpPair(peer=here.endpoint) as there,
        ):
            monkeypatch.setattr(sys.modules[__name__], "_inherited", here)
            await there.react(tick, [lambda data: got.append(data.n)])
            await here.adapt(tick)
            await until(lambda: here.peers_connected)
            await here.transmit(Tick(0), tick)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                pool = multiprocessing.get_context("fork").Pool(2)
            try:
                answers = pool.map_async(_in_worker, range(4))
                for number in range(1, 100):
                    await here.transmit(Tick(number), tick)
                said = await within(in_thread(lambda: answers.get(10)))
            finally:
                pool.close()
                await within(in_thread(pool.join))
            assert all(f"process {os.getpid()}" in each for each in said)
            await until(lambda: len(got) == 100)
        assert got == list(range(100))

    run(main())


def test_a_closed_parent_link_ends_at_once_though_the_child_lives() -> None:
    """The child's copies would hold the connection open: the peer would not learn that the parent has gone."""

    async def main() -> None:
        reading, writing = os.pipe()
        async with GanglionZmqTcpPair("127.0.0.1", port=0) as here:
            there = GanglionZmqTcpPair(peer=here.endpoint)
            await there.adapt(tick)
            await here.adapt(tick)
            await until(lambda: here.peers_connected)
            wait = fork_and_report(lambda: os.read(reading, 1).decode())
            await there.aclose()
            await until(lambda: not here.peers_connected, 2)
            os.write(writing, b"x")
            assert await within(in_thread(wait)) == "x"
        os.close(reading)
        os.close(writing)

    run(main())
