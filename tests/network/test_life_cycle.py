# SPDX-License-Identifier: Apache-2.0
"""Closing what has sockets: from any thread and loop, broken off anywhere, in time whatever the peers do."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from plexo import (
    Cause,
    Closed,
    GanglionInproc,
    GanglionZmqTcpPair,
    GanglionZmqTcpPubSub,
    NotDelivered,
    Plexus,
    Queue,
)
from plexo.ganglion.journal import Journal
from tests.support import (
    GREETING,
    Blob,
    RawPeer,
    Tick,
    blob,
    frame,
    in_thread,
    ready,
    run,
    tick,
    until,
    within,
)

SOON_S = 1.0


class LoopThread:
    """An event loop that runs in a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)

    def do(self, main: Any, timeout_s: float = 10) -> Any:
        return asyncio.run_coroutine_threadsafe(main, self.loop).result(timeout_s)

    def __enter__(self) -> LoopThread:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.loop.close()

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    begun = time.monotonic()
    yield
    assert time.monotonic() - begun < seconds


def endpoint() -> tuple[str, int]:
    """An address of this host that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        name: tuple[str, int] = probe.getsockname()
        return name


MAKERS: dict[str, Callable[[], Any]] = {
    "pair": lambda: GanglionZmqTcpPair("127.0.0.1", port=0),
    "pair that dials": lambda: GanglionZmqTcpPair(peer=endpoint()),
    "pubsub": lambda: GanglionZmqTcpPubSub("127.0.0.1", port_pub=0, peers=[endpoint()]),
    "plexus": lambda: Plexus([GanglionZmqTcpPair("127.0.0.1", port=0), GanglionInproc()]),
}
made = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())


async def _close(ganglion: Any, how: str) -> None:
    if how == "close":
        ganglion.close()
    else:
        await ganglion.aclose()


@made
@pytest.mark.parametrize("how", ["close", "aclose"])
def test_from_another_thread_while_its_loop_runs(make: Callable[[], Any], how: str) -> None:
    with LoopThread() as home:
        ganglion = make()
        home.do(ganglion.react(tick, [lambda data: None]))
        with at_most(SOON_S):
            if how == "close":
                ganglion.close()
            else:
                run(ganglion.aclose())
        assert ganglion.closed
        assert ganglion._over
        with pytest.raises(Closed):
            home.do(ganglion.transmit(Tick(1), tick))


@made
@pytest.mark.parametrize("closed_loop", [False, True])
@pytest.mark.parametrize("how", ["close", "aclose"])
def test_after_its_loop_ended(make: Callable[[], Any], closed_loop: bool, how: str) -> None:
    first = asyncio.new_event_loop()
    ganglion = make()
    first.run_until_complete(ganglion.react(tick, [lambda data: None]))
    if closed_loop:
        first.close()
    with at_most(SOON_S):
        if how == "close":
            ganglion.close()
            ganglion.close()
        else:
            run(ganglion.aclose())
            run(ganglion.aclose())
    assert ganglion._over
    first.close()


@made
@pytest.mark.parametrize("running", [False, True])
def test_from_several_threads_at_once(make: Callable[[], Any], running: bool) -> None:
    with LoopThread() as home:
        ganglion = make()
        home.do(ganglion.react(tick, [lambda data: None]))
        if not running:
            home.stop()
        start = threading.Barrier(4)
        over: list[bool] = []

        def close() -> None:
            start.wait(10)
            ganglion.close()
            over.append(ganglion._over)

        threads = [threading.Thread(target=close) for _ in range(4)]
        with at_most(2 * SOON_S):
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(10)
        assert over == [True] * 4
        if not running:
            home.thread = threading.Thread(target=home.loop.run_forever)
            home.thread.start()


def test_what_was_accepted_arrives_when_another_thread_closes() -> None:
    payload = b"x" * 4_000_000

    async def main() -> None:
        got: list[Blob] = []
        with LoopThread() as home:
            async with GanglionZmqTcpPair("127.0.0.1", port=0) as here:
                await here.react(blob, [got.append])
                there = GanglionZmqTcpPair(peer=here.endpoint)
                home.do(there.adapt(blob))
                await until(lambda: here.peers_connected)
                home.do(there.transmit(Blob(payload), blob))
                await in_thread(there.close)
                await until(lambda: got)
        assert got[0].data == payload

    run(main())


def test_a_loop_that_does_not_answer_closes_when_it_wakes(caplog: pytest.LogCaptureFixture) -> None:
    with LoopThread() as home:
        pair = GanglionZmqTcpPair("127.0.0.1", port=0)
        home.do(pair.adapt(tick))
        awake = threading.Event()
        home.loop.call_soon_threadsafe(awake.wait, 10)
        with caplog.at_level(logging.WARNING, "plexo"), at_most(1.5):
            pair.close()
        assert "has not answered" in caplog.text
        assert pair.closed
        assert not pair._over
        awake.set()
        home.do(until(lambda: pair._over))


def test_a_loop_that_ends_while_it_is_asked() -> None:
    with LoopThread() as home:
        pair = GanglionZmqTcpPair("127.0.0.1", port=0)
        home.do(pair.adapt(tick))
        home.loop.call_soon_threadsafe(lambda: (time.sleep(0.2), home.loop.stop()))
        with at_most(1.5):
            pair.close()
        assert pair._over
        home.thread.join(10)
        home.thread = threading.Thread(target=home.loop.run_forever)
        home.thread.start()


@pytest.mark.parametrize("how", ["close", "aclose"])
@pytest.mark.parametrize("with_plexus", [False, True])
def test_from_inside_a_reactant_while_frames_are_parsed(how: str, with_plexus: bool) -> None:
    async def main() -> None:
        got: list[int] = []
        finished = asyncio.Event()
        there = GanglionZmqTcpPair("127.0.0.1", port=0)
        closing: Any = Plexus([there]) if with_plexus else there

        async def react(data: Tick) -> None:
            got.append(data.n)
            if data.n == 3:
                if how == "aclose":
                    await asyncio.sleep(0)
                await _close(closing, how)
                finished.set()

        await closing.react(tick, [react])
        async with GanglionZmqTcpPair(peer=there.endpoint) as here:
            await here.adapt(tick)
            await until(lambda: here.peers_connected)
            for number in range(10):
                await here.transmit(Tick(number), tick)
            with at_most(SOON_S):
                await within(finished.wait())
            assert closing._over
            assert got == [0, 1, 2, 3]
            counted = there.stats().faults if not with_plexus else closing._tally.snapshot()
            assert counted or how == "close"

    run(main())


def test_from_two_tasks_at_once_the_second_waits_for_the_first() -> None:
    async def main() -> None:
        got: list[Blob] = []
        async with GanglionZmqTcpPair("127.0.0.1", port=0) as here:
            await here.react(blob, [got.append])
            there = GanglionZmqTcpPair(peer=here.endpoint)
            await there.adapt(blob)
            await until(lambda: there.peers_connected)
            await there.transmit(Blob(b"x" * 8_000_000), blob)
            first = asyncio.create_task(there.aclose())
            await asyncio.sleep(0)
            second = asyncio.create_task(there.aclose())
            await asyncio.sleep(0)
            second.cancel()
            await within(there.aclose())
            assert there._over
            await within(first)
            await until(lambda: got)
            assert second.cancelled()

    run(main())


def test_a_plain_close_takes_over_from_a_task_of_its_loop() -> None:
    async def main() -> None:
        with RawPeerThatNeverReads() as stuck:
            there = GanglionZmqTcpPair(peer=stuck.address, send_queue=Queue(bytes=1 << 26))
            await there.adapt(blob)
            await until(lambda: there.peers_connected)
            await there.transmit(Blob(b"x" * 30_000_000), blob)
            lingering = asyncio.create_task(there.aclose())
            await asyncio.sleep(0.01)
            there.close()
            assert there._over
            await within(lingering)

    run(main())


class RawPeerThatNeverReads:
    """A listening socket whose one connection shakes hands and reads no more."""

    def __init__(self, role: bytes = b"PAIR") -> None:
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.listening.settimeout(10)
        self.address = self.listening.getsockname()
        self.thread = threading.Thread(target=self._serve, args=(role,))
        self.over = threading.Event()

    def _serve(self, role: bytes) -> None:
        connection, _ = self.listening.accept()
        with connection:
            connection.sendall(GREETING + ready(role))
            self.over.wait(10)

    def __enter__(self) -> RawPeerThatNeverReads:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join(10)
        self.listening.close()


# -- in time -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["close", "aclose"])
def test_two_hundred_links_of_which_some_are_stuck_and_some_send_without_end(how: str) -> None:
    async def main() -> None:
        publisher = GanglionZmqTcpPubSub("127.0.0.1", port_pub=0)
        await publisher.adapt(blob)
        over = threading.Event()
        peers = await in_thread(lambda: [RawPeer(publisher.port_pub or 0, b"SUB") for _ in range(200)])
        try:
            for each in peers:
                each.socket.sendall(frame(b"\x01"))
            await until(lambda: publisher.subscriber_count(blob) == 200)
            await publisher.transmit(Blob(b"x" * 6_000_000), blob)
            await publisher.transmit(Blob(b"y" * 6_000_000), blob)

            def send_without_end(each: RawPeer) -> None:
                while not over.is_set():
                    try:
                        each.socket.sendall(frame(b"\x01" + bytes(200)) * 100)
                    except OSError:
                        return

            senders = [threading.Thread(target=send_without_end, args=(each,)) for each in peers[:5]]
            for sender in senders:
                sender.start()
            with at_most(SOON_S):
                await _close(publisher, how)
            assert publisher._over
            assert publisher.stats().fault_count(Cause.CLOSED) > 0
        finally:
            over.set()
            for each in peers:
                each.close()
        for sender in senders:
            await in_thread(sender.join)

    run(main())


@pytest.mark.parametrize("how", ["close", "aclose"])
def test_a_plexus_of_several_stuck_links_lingers_for_all_of_them_together(how: str) -> None:
    async def main() -> None:
        with RawPeerThatNeverReads() as one, RawPeerThatNeverReads() as two, RawPeerThatNeverReads() as three:
            pairs = [
                GanglionZmqTcpPair(peer=each.address, send_queue=Queue(bytes=1 << 26))
                for each in (one, two, three)
            ]
            plexus = Plexus(pairs)
            await plexus.adapt(blob)
            await until(lambda: all(pair.peers_connected for pair in pairs))
            await plexus.transmit(Blob(b"x" * 30_000_000))
            with at_most(SOON_S):
                await _close(plexus, how)
            assert all(pair._over for pair in pairs)
            assert all(pair.stats().fault_count(Cause.CLOSED) == 1 for pair in pairs)

    run(main())


@pytest.mark.parametrize("from_thread", [False, True])
def test_a_reactant_that_ignores_its_cancellation_is_left_to_its_loop(
    from_thread: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        cancelled: list[int] = []
        release = asyncio.Event()
        ended = asyncio.Event()

        async def stubborn(data: Tick) -> None:
            while not release.is_set():
                try:
                    await release.wait()
                except asyncio.CancelledError:
                    cancelled.append(data.n)
            ended.set()

        there = GanglionZmqTcpPair("127.0.0.1", port=0)
        await there.react(tick, [stubborn])
        async with GanglionZmqTcpPair(peer=there.endpoint) as here:
            await here.adapt(tick)
            await here.transmit(Tick(1), tick)
            await until(lambda: there.stats().received)
            with caplog.at_level(logging.WARNING, "plexo"), at_most(SOON_S):
                await (in_thread(there.close) if from_thread else there.aclose())
            assert there._over
            assert "goes on after its cancellation" in caplog.text
            assert "stubborn" in caplog.text
            assert cancelled == [1]
            release.set()
            await within(ended.wait())

    run(main())


def test_closing_waits_for_cancelled_reactants_to_clean_up() -> None:
    async def main() -> None:
        steps: list[str] = []

        async def careful(data: Tick) -> None:
            try:
                await asyncio.sleep(60)
            finally:
                await asyncio.sleep(0.05)
                steps.append("cleaned")

        there = GanglionZmqTcpPair("127.0.0.1", port=0)
        await there.react(tick, [careful])
        async with GanglionZmqTcpPair(peer=there.endpoint) as here:
            await here.adapt(tick)
            await here.transmit(Tick(1), tick)
            await until(lambda: there.stats().received)
            await there.aclose()
            assert steps == ["cleaned"]

    run(main())


# -- broken off --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["pair", "pubsub", "plexus", "ipc", "journal"])
def test_keyboard_interrupt_anywhere_in_close_and_closing_again(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tracer raises it before the k-th line of our own code, for every k."""
    # The peer's loop has ended: it takes nothing, and the lingering would be waited out for every k.
    monkeypatch.setattr("plexo.ganglion.life.LINGER_S", 0.005)
    package = str(Path(sys.modules["plexo"].__file__ or "").parent)

    def interrupted_at(line: int, close: Callable[[], None]) -> bool:
        left = line

        def trace(frame: FrameType, event: str, argument: object) -> Any:
            nonlocal left
            if not frame.f_code.co_filename.startswith(package):
                return None
            if event == "line":
                left -= 1
                if left == 0:
                    raise KeyboardInterrupt
            return trace

        before = sys.gettrace()
        # A finalizer of an earlier round is nobody's call to close.
        gc.disable()
        sys.settrace(trace)
        try:
            close()
        except KeyboardInterrupt:
            return True
        finally:
            sys.settrace(before)
            gc.enable()
        return False

    async def leave_unacknowledged(path: Path) -> None:
        async with GanglionZmqTcpPair("127.0.0.1", 0, journal=path) as pair:
            await pair.adapt(blob)
            sending = asyncio.create_task(pair.transmit(Blob(b""), blob, acked=True))
            await until(lambda: pair.stats().acked.accepted)
        with pytest.raises(NotDelivered):
            await sending

    async def prepare(count: int) -> tuple[Any, Any]:
        path = tmp_path / f"{count}.sock"
        if kind == "pubsub":
            here: Any = GanglionZmqTcpPubSub("127.0.0.1", port_pub=0)
            there: Any = GanglionZmqTcpPubSub(port_pub=None, peers=[here.endpoint])
        else:
            if kind == "journal":
                await leave_unacknowledged(journal)
            here = GanglionZmqTcpPair(
                "127.0.0.1" if kind != "ipc" else None,
                0,
                bind=f"ipc://{path}" if kind == "ipc" else None,
                journal=journal if kind == "journal" else None,
            )
            there = GanglionZmqTcpPair(peer=here.endpoint)
        outer = Plexus([here]) if kind == "plexus" else here
        await there.react(tick, [lambda data: None])
        await outer.react(tick, [lambda data: None])
        await until(lambda: here.peers_connected and there.peers_connected)
        await outer.transmit(Tick(1), tick)
        if kind != "pubsub":
            # More than the system takes: something is left to be written off.
            await outer.adapt(blob)
            await outer.transmit(Blob(b"x" * 6_000_000), blob)
        return outer, there

    journal = tmp_path / "journal"
    line = 1
    while True:
        here, there = asyncio.run(prepare(line))
        there.close()
        stopped = interrupted_at(line, here.close)
        here.close()
        assert here._over, line
        for part in here._members():
            assert part._over, line
            assert not getattr(part, "_connections", None), line
            assert not getattr(part, "_listeners", None), line
            assert part.stats().balanced, line
        if kind == "journal":
            # Unlocked, with what nobody over there reacts to.
            left = Journal(journal)
            left.close()
            assert len(left.restored) == 1
            for each in tmp_path.iterdir():
                each.unlink()
        if not stopped:
            break
        line += 1
    assert line > 40, "the tracer saw nothing"
    assert not list(tmp_path.iterdir())
    gc.collect()


def test_dropping_an_open_ganglion_closes_its_sockets_and_removes_its_file(tmp_path: Path) -> None:
    path = tmp_path / "plexo.sock"
    pair = GanglionZmqTcpPair(bind=f"ipc://{path}")
    asyncio.run(pair.adapt(tick))
    assert path.exists()
    del pair
    gc.collect()
    assert not path.exists()


# -- calls from a wrong thread -----------------------------------------------------------------------------

WRONG: dict[str, Callable[[Any], Any]] = {
    "transmit": lambda each: each.transmit(Tick(1), tick),
    "adapt": lambda each: each.adapt(tick),
    "react": lambda each: each.react(tick, [print]),
    "unreact": lambda each: each.unreact(tick, [print]),
    "async with": lambda each: each.__aenter__(),
}
WRONG_PLEXUS: dict[str, Callable[[Any], Any]] = {
    "transmit_nowait": lambda each: each.transmit_nowait(Tick(1)),
    "on": lambda each: each.on(tick)(print),
    "stream": lambda each: each.stream(tick),
    "infuse": lambda each: each.infuse_ganglion(GanglionInproc()),
}


@made
@pytest.mark.parametrize("with_loop", [False, True])
def test_calls_from_a_wrong_thread_are_refused(make: Callable[[], Any], with_loop: bool) -> None:
    with LoopThread() as home:
        ganglion = make()
        reactant = lambda data: None  # noqa: E731
        home.do(ganglion.react(tick, [reactant]))
        uses = {**WRONG, **(WRONG_PLEXUS if isinstance(ganglion, Plexus) else {})}

        async def called(use: Callable[[Any], Any]) -> None:
            result = use(ganglion)
            if asyncio.iscoroutine(result):
                await result

        def call(use: Callable[[Any], Any]) -> None:
            if with_loop:
                run(called(use))
            else:
                called(use).send(None)

        for name, use in uses.items():
            with pytest.raises(
                RuntimeError, match=r"served by another event loop|running event loop"
            ) as raised:
                call(use)
            assert not isinstance(raised.value, Closed), name
        if not isinstance(ganglion, Plexus):
            assert ganglion.stats().received == 0
            assert ganglion.peers_connected == ()
        ganglion.close()


def test_a_stream_is_closed_from_any_thread_and_wakes_its_reader() -> None:
    with LoopThread() as home:
        publisher = GanglionZmqTcpPubSub("127.0.0.1", port_pub=0)
        subscriber = GanglionZmqTcpPubSub(port_pub=None, peers=[publisher.endpoint or ""])
        plexus = Plexus([subscriber])

        async def begin() -> Any:
            await publisher.adapt(tick)
            stream = plexus.stream(tick)
            await until(lambda: publisher.subscriber_count(tick))
            return stream

        async def read(stream: Any) -> list[int]:
            return [data.n async for data in stream]

        stream = home.do(begin())
        reading = asyncio.run_coroutine_threadsafe(read(stream), home.loop)
        home.do(publisher.transmit(Tick(1), tick))
        home.do(until(lambda: subscriber.stats().received))
        stream.close()
        assert reading.result(10) == [1]
        home.do(until(lambda: not publisher.subscriber_count(tick)))
        plexus.close()
        publisher.close()


def test_a_stream_is_closed_after_its_loop_ended() -> None:
    async def begin() -> Any:
        await publisher.adapt(tick)
        stream = plexus.stream(tick)
        await until(lambda: publisher.subscriber_count(tick))
        return stream

    publisher = GanglionZmqTcpPubSub("127.0.0.1", port_pub=0)
    plexus = Plexus([GanglionZmqTcpPubSub(port_pub=None, peers=[publisher.endpoint or ""])])
    stream = run(begin())
    stream.close()

    async def go_on() -> None:
        await publisher.adapt(tick)
        await plexus.adapt(tick)
        await until(lambda: not publisher.subscriber_count(tick))

    run(go_on())
    plexus.close()
    publisher.close()
