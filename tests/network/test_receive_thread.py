# SPDX-License-Identifier: Apache-2.0
"""`receive="thread"`: what arrives, in which order, what is said and what is left behind, is as without it."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import Any

import pytest

from plexo import Cause, GanglionZmqTcpPair, GanglionZmqTcpPubSub, Neuron, Plexus, Queue
from plexo._fast.envelope import build_envelope
from plexo.codec import BytesCodec, NumpyCodec
from plexo.ganglion.connection import Connection
from tests.support import (
    Blob,
    RawPeer,
    Reading,
    Tick,
    blob,
    frame,
    in_thread,
    namespace,
    reading,
    run,
    tick,
    until,
    within,
)  # fmt: skip

HOST = "127.0.0.1"
THREAD = "plexo-receive"
raw_bytes = Neuron(bytes, namespace, BytesCodec())


def pair(**arguments: Any) -> GanglionZmqTcpPair:
    return GanglionZmqTcpPair(HOST, 0, receive="thread", **arguments)


def peer_of(ganglion: GanglionZmqTcpPair, **arguments: Any) -> GanglionZmqTcpPair:
    arguments.setdefault("receive", "thread")
    return GanglionZmqTcpPair(peer=ganglion.endpoint, reconnect_min_s=0.005, **arguments)


def publisher(**arguments: Any) -> GanglionZmqTcpPubSub:
    return GanglionZmqTcpPubSub(HOST, 0, **arguments)


def subscriber(*sources: GanglionZmqTcpPubSub, **arguments: Any) -> GanglionZmqTcpPubSub:
    peers = [str(source.endpoint) for source in sources]
    return GanglionZmqTcpPubSub(port_pub=None, peers=peers, receive="thread", **arguments)


def threads() -> list[str]:
    return [each.name for each in threading.enumerate() if each.name == THREAD]


def wire(neuron: Neuron[Any], value: Any) -> bytes:
    return frame(build_envelope(neuron.topic, neuron.encode(value)))


def run_on(loop_kind: str, main: Coroutine[Any, Any, None]) -> None:
    if loop_kind == "asyncio":
        return run(main)
    uvloop = pytest.importorskip("uvloop", reason="uvloop is not installed")
    loop = uvloop.new_event_loop()
    try:
        loop.run_until_complete(asyncio.wait_for(main, 20))
    finally:
        loop.close()


loops = pytest.mark.parametrize("loop_kind", ["asyncio", "uvloop"])


@pytest.mark.parametrize("value", ["threads", "", None, True])
@pytest.mark.parametrize("kind", [GanglionZmqTcpPair, GanglionZmqTcpPubSub])
def test_another_word_is_refused(kind: Any, value: Any) -> None:
    with pytest.raises(ValueError, match=f'receive: expected "loop" or "thread", got {value!r}'):
        kind(HOST, 0, receive=value)


# -- what arrives ------------------------------------------------------------------------------------------


@loops
def test_both_directions_of_a_pair_in_order_and_complete(loop_kind: str) -> None:
    count = 20_000

    async def main() -> None:
        a, b = pair(), None
        b = peer_of(a)
        got: dict[str, list[Any]] = {"a": [], "b": [], "c": []}
        async with Plexus([a]) as p, Plexus([b]) as q:

            @q.on(tick)
            async def react(data: Tick) -> None:
                got["a"].append(data.n)
                if data.n % 3 == 0:
                    await q.transmit(Reading("x" * (data.n % 400), float(data.n)))
                if data.n % 1000 == 0:
                    await asyncio.sleep(0)

            p.on(reading)(lambda data: got["b"].append(data))
            q.on(raw_bytes)(got["c"].append)
            await p.adapt(tick)
            await p.adapt(raw_bytes)
            await q.adapt(reading)
            await within(p.ready())
            for n in range(count):
                await p.transmit(Tick(n))
                if n % 1000 == 0:
                    await p.transmit(bytes([n // 1000]) * (n * 20), raw_bytes)
            await until(lambda: len(got["a"]) == count and len(got["b"]) == (count + 2) // 3)
            assert threads() == [THREAD] * 2
            assert got["a"] == list(range(count))
            assert got["b"] == [Reading("x" * (n % 400), float(n)) for n in range(0, count, 3)]
            assert got["c"] == [bytes([n // 1000]) * (n * 20) for n in range(0, count, 1000)]
            (link,) = b.stats().links
            assert link.receiving.accepted == link.receiving.delivered == count + count // 1000
            assert b.stats().balanced and a.stats().balanced
        assert threads() == []

    run_on(loop_kind, main())


@loops
def test_fifty_publishers(loop_kind: str) -> None:
    count, sources = 300, 50

    async def main() -> None:
        async with AsyncExitStack() as stack:
            publishers = [publisher() for _ in range(sources)]
            for each in publishers:
                await stack.enter_async_context(each)
                await each.adapt(reading)
            listening = subscriber(*publishers)
            got: dict[str, list[float]] = {}
            plexus = await stack.enter_async_context(Plexus([listening]))
            plexus.on(reading)(lambda data: got.setdefault(data.sensor, []).append(data.celsius))
            await within(listening.ready(sources))
            for each in publishers:
                await within(each.ready(1, reading))
            for n in range(count):
                for number, each in enumerate(publishers):
                    await each.transmit(Reading(str(number), n), reading)
            await until(lambda: sum(map(len, got.values())) == count * sources)
            assert got == {str(number): list(range(count)) for number in range(sources)}
            assert threads() == [THREAD]
            # Half of them leave, and their descriptors are used again at once.
            for each in publishers[::2]:
                await each.aclose()
            await until(lambda: len(listening.peers_connected) == sources // 2)
            for each in publishers[1::2]:
                await each.transmit(Reading("again", 1.0), reading)
            await until(lambda: len(got.get("again", ())) == sources // 2)
        assert threads() == []

    run_on(loop_kind, main())


@pytest.mark.parametrize("pieces", [1, 2, 7, 1000, 100_000])
def test_large_and_small_frames_in_any_pieces(pieces: int) -> None:
    sizes = [0, 1, 200, 65_000, 65_535, 65_536, 65_537, 3, 262_144, 262_145, 0, 3_000_001, 5, 5]
    bodies = [bytes([n]) * size for n, size in enumerate(sizes)]
    stream = b"".join(wire(raw_bytes, body) for body in bodies)
    size = max(1, len(stream) // pieces)

    async def main() -> None:
        got: list[bytes] = []
        async with Plexus([ganglion := pair()]) as plexus:
            plexus.on(raw_bytes)(got.append)

            def talk() -> None:
                with RawPeer(ganglion.port or 0) as peer:
                    peer.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    for at in range(0, len(stream), size):
                        peer.socket.sendall(stream[at : at + size])

            await in_thread(talk)
            await until(lambda: len(got) == len(bodies))
            assert got == bodies
            await until(lambda: not ganglion.hub.links)
            assert ganglion._ended.received_bytes == len(stream)

    run(main())


def test_everything_that_takes_messages() -> None:
    numpy = pytest.importorskip("numpy")
    samples = Neuron(numpy.ndarray, namespace, NumpyCodec("<f8", (8,)))
    count = 5000

    async def main() -> None:
        a = pair()
        b = peer_of(a)
        got: list[Any] = []
        batches: list[Any] = []
        lists: list[Tick] = []
        async with Plexus([a]) as p, Plexus([b]) as q:
            q.on(samples, batch=True)(lambda batch: batches.append(batch.copy()))
            collector = q.collect(samples, 2 * count)
            q.on(tick, batch=True)(lists.extend)
            q.on(tick)(got.append)
            stream = q.stream(tick)
            await p.adapt(samples)
            await p.adapt(tick)
            await within(p.ready())
            for n in range(count):
                await p.transmit(numpy.full(8, float(n)), samples)
                await p.transmit(Tick(n))
            read = [each.n async for each in _first(stream, count)]
            await until(lambda: len(lists) == count and sum(map(len, batches)) == count)
            assert read == [each.n for each in lists] == [each.n for each in got] == list(range(count))
            expected = [float(n) for n in range(count)]
            assert numpy.concatenate(batches)[:, 0].tolist() == expected
            assert (await collector.arrived(count, 10))[:, 7].tolist() == expected
            # Nobody reads it any more: it would keep what is to be acknowledged.
            stream.close()
            for n in range(count, count + 50):
                assert await within(p.transmit(Tick(n), acked=True)) == 1
            assert [each.n for each in got[count:]] == list(range(count, count + 50))
            collector.close()
            assert p.stats().balanced and q.stats().balanced

    run(main())


async def _first(stream: Any, count: int) -> Any:
    async for each in stream:
        yield each
        count -= 1
        if count == 0:
            break


def test_topics_that_nobody_has_and_messages_that_are_none() -> None:
    unknown = frame(build_envelope(b"org.nobody.Here.msgpack", b"12345678"))
    several = frame(b"a", 1) + frame(b"b")
    stream = (
        unknown * 3 + wire(tick, Tick(1)) * 2 + several + frame(b"none") + frame(b"\x04PING\0\0", 4)
    ) * 50

    async def main() -> None:
        got: list[Tick] = []
        async with Plexus([ganglion := pair()]) as plexus:
            plexus.on(tick)(got.append)
            with await in_thread(lambda: RawPeer(ganglion.port or 0)) as peer:
                await in_thread(lambda: peer.socket.sendall(stream))
                await until(lambda: len(got) == 100)
                for _ in range(50):
                    assert (await in_thread(peer.read_frame))[0] == 4
                stats = ganglion.stats()
                assert stats.fault_count(Cause.UNKNOWN_TOPIC) == 150
                assert stats.fault_count(Cause.MALFORMED) == 100
                assert stats.links[0].receiving.accepted == 350

    run(main())


# -- a reactant that is full -------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [10, 70_000])
@pytest.mark.parametrize("ending", ["goes on", "closes", "resets"])
def test_a_full_reactant_stops_its_own_link_and_loses_nothing(ending: str, size: int) -> None:
    count = 60_000 if size < 100 else 300

    async def main() -> None:
        sources = [publisher(send_queue="block"), publisher()]
        listening = subscriber(*sources)
        gate = asyncio.Event()
        got: list[int] = []
        other: list[Tick] = []
        async with (
            Plexus([sources[1]]) as healthy,
            Plexus(
                [listening],
            ) as plexus,
        ):

            @plexus.on(raw_bytes, queue=Queue("block", 3))
            async def react(data: bytes) -> None:
                got.append(int.from_bytes(data[:4], "big"))
                if len(got) == 5:
                    await gate.wait()

            plexus.on(tick)(other.append)
            sending = Plexus([sources[0]])
            await sending.adapt(raw_bytes)
            await healthy.adapt(tick)
            await within(sending.ready(1, raw_bytes))
            await within(healthy.ready(1, tick))

            async def send() -> None:
                for n in range(count):
                    await sending.transmit(n.to_bytes(4, "big") + bytes(size), raw_bytes)

            flow = asyncio.create_task(send())
            await until(lambda: len(got) == 5)
            for n in range(2000):
                await healthy.transmit(Tick(n))
            await until(lambda: len(other) == 2000)
            await asyncio.sleep(0.05)
            assert [link.reading_now for link in listening.hub.links].count(False) == 1
            assert len(got) == 5
            # What the thread was ahead is all that is here, whatever the peer has to say.
            assert all(link.arrived_bytes < 3_000_000 for link in listening.hub.links)
            if ending != "goes on":
                # The rest follows what is in the connection.
                gate.set()
                await flow
                if ending == "resets":
                    (link,) = sources[0].hub.links
                    await until(lambda: len(got) == count)
                    link.connection.socket.setsockopt(
                        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                    )
                    link.connection.lost(None, False)
                await sending.aclose()
            else:
                gate.set()
                await flow
            await until(lambda: len(got) == count)
            assert got == list(range(count))
            if ending != "goes on":
                await until(lambda: len(listening.peers_connected) == 1)
            else:
                assert all(link.reading_now for link in listening.hub.links)
                await sending.aclose()

    run(main())


@loops
def test_the_end_of_a_stream_waits_behind_a_full_reactant(loop_kind: str) -> None:
    """The peer has said all, a bit of a message, and goodbye, before the reactant takes the second message."""
    count = 3000
    stream = b"".join(wire(tick, Tick(n)) for n in range(count)) + wire(tick, Tick(0))[:-1]

    async def main() -> None:
        gate = asyncio.Event()
        got: list[int] = []
        async with Plexus([ganglion := pair()]) as plexus:

            @plexus.on(tick, queue=Queue("block", 1))
            async def react(data: Tick) -> None:
                got.append(data.n)
                await gate.wait()

            def talk() -> None:
                with RawPeer(ganglion.port or 0) as peer:
                    peer.socket.sendall(stream)

            await in_thread(talk)
            await until(lambda: got)
            await asyncio.sleep(0.05)
            assert ganglion.peers_connected and got == [0]
            gate.set()
            await until(lambda: not ganglion.peers_connected)
            assert got == list(range(count))
            assert ganglion.stats().fault_count(Cause.TRUNCATED) == 1
            assert ganglion._ended.received_bytes == len(stream)

    run_on(loop_kind, main())


# -- bad peers ---------------------------------------------------------------------------------------------

FAULTS = {
    "reserved flags": b"\x10\x00",
    "command with more": b"\x05\x00",
    "a size": b"\x02" + b"\xff" * 8,
    "too large": b"\x02" + struct.pack(">Q", 1 << 40) + b"x",
    "a command inside": frame(b"a", 1) + frame(b"\x04PING\0\0", 4),
    "error": frame(b"\x05ERROR\x04nope", 4),
    "a broken command": frame(b"\xffPING", 4),
    "large, then a fault": frame(bytes(100_000)) + b"\x08",
    "half a message": frame(bytes(100))[:50],
    "half a large one": frame(bytes(100_000))[:70_000],
    "half a message of several": frame(b"a", 1),
}


@pytest.mark.parametrize("behind", [0, 1, 5000])
@pytest.mark.parametrize("name", FAULTS)
def test_faults_are_told_as_without_a_thread(
    name: str, behind: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    offsets: list[int] = []
    violation = Connection.violation

    def note(self: Connection, expected: str, received: str, offset: int) -> None:
        offsets.append(offset)
        violation(self, expected, received, offset)

    monkeypatch.setattr(Connection, "violation", note)
    stream = wire(tick, Tick(7)) * behind + FAULTS[name]

    def outcome(receive: str) -> tuple[Any, ...]:
        caplog.clear()
        got: list[Tick] = []

        async def main() -> tuple[Any, ...]:
            reasons: list[str] = []
            async with Plexus([ganglion := GanglionZmqTcpPair(HOST, 0, receive=receive)]) as plexus:
                plexus.on(tick)(got.append)
                ganglion.on_link_event(lambda event: reasons.append(f"{event.kind} {event.reason}"))

                def talk() -> None:
                    with RawPeer(ganglion.port or 0) as peer:
                        peer.socket.sendall(stream)
                        peer.socket.shutdown(socket.SHUT_WR)
                        peer.closed_by_peer()

                await in_thread(talk)
                await until(lambda: len(reasons) == 2)
                faults = {key[0]: count for key, count in ganglion.stats().faults.items()}
                return len(got), reasons, faults, ganglion._ended.receiving

        found = run(main())
        texts = [
            record.getMessage().split(": ", 2)[2]
            for record in caplog.records
            if record.levelno > logging.INFO
        ]
        return (*found, texts)

    assert outcome("thread") == outcome("loop")
    # The end of what was received where a frame as a whole is out of place, else where it begins.
    assert len(set(offsets)) <= 1


def test_a_peer_that_resets_in_the_middle_of_a_message_and_comes_back() -> None:
    async def main() -> None:
        got: list[Tick] = []
        async with Plexus([ganglion := pair(heartbeat_s=0)]) as plexus:
            plexus.on(tick)(got.append)
            for n in range(20):

                def talk() -> None:
                    with RawPeer(ganglion.port or 0) as peer:
                        peer.socket.sendall(wire(tick, Tick(n)) * 100 + wire(tick, Tick(n))[: 5 + n])  # noqa: B023
                        peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                        while len(got) < 100 * (n + 1):  # noqa: B023
                            time.sleep(0.001)

                await in_thread(talk)
                await until(lambda: not ganglion.hub.links)
            assert len(got) == 2000
            assert ganglion.stats().fault_count(Cause.TRUNCATED) == 20

    run(main())


def test_a_message_that_comes_slowly_is_a_sign_of_life() -> None:
    stream = wire(blob, Blob(bytes(400)))

    async def main() -> None:
        got: list[Blob] = []
        async with Plexus([ganglion := pair(heartbeat_s=0.1)]) as plexus:
            plexus.on(blob)(got.append)

            def talk() -> None:
                with RawPeer(ganglion.port or 0) as peer:
                    for byte in stream[:400]:
                        peer.socket.sendall(bytes([byte]))
                        time.sleep(0.002)
                    peer.socket.sendall(stream[400:])
                    peer.socket.shutdown(socket.SHUT_WR)
                    peer.closed_by_peer()

            await in_thread(talk)
            assert got == [Blob(bytes(400))]

    run(main())


# -- life --------------------------------------------------------------------------------------------------


@loops
def test_several_loops_one_after_another_lose_nothing(loop_kind: str) -> None:
    a = pair()
    b = peer_of(a)
    sender, receiver = Plexus([a]), Plexus([b])
    got: list[int] = []

    async def receive(data: Tick) -> None:
        got.append(data.n)

    async def turn(first: int) -> None:
        receiver.on(tick)(receive)
        await sender.adapt(tick)
        await within(sender.ready())
        for n in range(first, first + 1000):
            await sender.transmit(Tick(n))
        await until(lambda: len(got) > first)
        assert threads() == [THREAD] * 2

    try:
        for number in range(4):
            run_on(loop_kind, turn(1000 * number))

        async def rest() -> None:
            await receiver.adapt(tick)
            await until(lambda: len(got) == 4000)

        run_on(loop_kind, rest())
        assert got == list(range(4000))
    finally:
        sender.close()
        receiver.close()
    assert threads() == []


def flood(ganglion: GanglionZmqTcpPair, stop: threading.Event) -> None:
    words = wire(tick, Tick(5)) * 1000
    try:
        with RawPeer(ganglion.port or 0) as peer:
            while not stop.is_set():
                peer.socket.sendall(words)
    except OSError:
        pass


@loops
@pytest.mark.parametrize("how", ["close", "aclose", "reactant"])
def test_closing_under_load(how: str, loop_kind: str) -> None:
    async def main() -> None:
        ganglion = pair()
        plexus = Plexus([ganglion])
        got: list[Tick] = []
        closing: list[Any] = []

        @plexus.on(tick)
        async def react(data: Tick) -> None:
            got.append(data)
            if how == "reactant" and len(got) == 30_000:
                closing.append(asyncio.ensure_future(plexus.aclose()))
                plexus.close()

        await ganglion.adapt(tick)
        stop = threading.Event()
        flooding = in_thread(lambda: flood(ganglion, stop))
        task = asyncio.ensure_future(flooding)
        await until(lambda: len(got) > 20_000)
        begun = time.monotonic()
        if how == "close":
            plexus.close()
        elif how == "aclose":
            await plexus.aclose()
        else:
            await until(lambda: closing)
            await within(closing[0])
        assert time.monotonic() - begun < 1.5
        assert threads() == []
        stop.set()
        await within(task)

    run_on(loop_kind, main())


def test_a_forgotten_ganglion_is_closed() -> None:
    async def main(ganglion: GanglionZmqTcpPair) -> None:
        await ganglion.adapt(tick)
        peer = await in_thread(lambda: RawPeer(ganglion.port or 0))
        await until(threads)
        await in_thread(peer.close)

    ganglion = pair()
    run(main(ganglion))
    assert threads() == [THREAD]
    del ganglion
    gc.collect()
    assert threads() == []


LEAVES = """
import asyncio, sys, threading
sys.path.insert(0, {root!r})
from plexo import GanglionZmqTcpPair
from tests.support import RawPeer, Tick, in_thread, tick, until
from tests.network.test_receive_thread import flood

kept = []

async def main():
    ganglion = GanglionZmqTcpPair("127.0.0.1", 0, receive="thread")
    kept.append(ganglion)
    got = []
    await ganglion.react(tick, [got.append])
    threading.Thread(target=flood, args=(ganglion, threading.Event()), daemon=True).start()
    await until(lambda: len(got) > 1000)
    {end}

asyncio.run(main())
assert "plexo-receive" in [each.name for each in threading.enumerate()]
print("end")
"""


@pytest.mark.parametrize("end", ["", "ganglion.kept = kept", "sys.ganglion = ganglion"])
def test_an_interpreter_that_ends_without_closing(end: str) -> None:
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    done = subprocess.run(
        [sys.executable, "-c", LEAVES.format(root=root, end=end)],
        capture_output=True, text=True, timeout=30, cwd=root, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "end\n"), done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("inside", [False, True], ids=["between", "in a reactant"])
def test_a_forked_child_forgets_the_thread(inside: bool) -> None:
    async def main() -> None:
        ganglion = pair()
        children: list[int] = []
        got: list[Tick] = []

        def fork() -> None:
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    assert ganglion.closed and threads() == []
                    left = [os.readlink(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")
                            if os.path.lexists(f"/proc/self/fd/{name}")]  # fmt: skip
                    ganglion.close()
                    assert "anon_inode:[eventfd]" not in left, left
                    status = 0
                finally:
                    os._exit(status)
            children.append(child)

        def react(data: Tick) -> None:
            got.append(data)
            if inside and len(got) in (5000, 10_000):
                fork()

        async with Plexus([ganglion]) as plexus:
            plexus.on(tick)(react)
            stop = threading.Event()
            task = asyncio.ensure_future(in_thread(lambda: flood(ganglion, stop)))
            await until(lambda: len(got) > 12_000)
            if not inside:
                for _ in range(3):
                    fork()
            for child in children:
                assert (await in_thread(lambda child=child: os.waitpid(child, 0)))[1] == 0  # type: ignore[misc]
            before = len(got)
            await until(lambda: len(got) > before + 5000)
            stop.set()
            await within(task)
        assert children

    run(main())


def test_descriptors_of_links_that_go_are_used_again_under_load() -> None:
    """Whoever connects next gets the number of the socket that was closed; nobody reads what is another's."""

    async def main() -> None:
        sources = [publisher(reconnect_min_s=0.001) for _ in range(6)]
        listening = subscriber(*sources, reconnect_min_s=0.001, reconnect_max_s=0.002)
        got: dict[str, list[float]] = {}
        ended = asyncio.Event()
        async with AsyncExitStack() as stack:
            plexus = await stack.enter_async_context(Plexus([listening]))
            plexus.on(reading)(lambda data: got.setdefault(data.sensor, []).append(data.celsius))

            async def speak(number: int, source: GanglionZmqTcpPubSub) -> None:
                await source.adapt(reading)
                n = 0.0
                while not ended.is_set():
                    for _ in range(50):
                        n += 1
                        await source.transmit(Reading(str(number), n), reading)
                    await asyncio.sleep(0)

            speaking = [
                asyncio.create_task(speak(number, await stack.enter_async_context(source)))
                for number, source in enumerate(sources)
            ]
            for turn in range(60):
                await until(lambda: len(listening.peers_connected) > 3)
                link = listening.hub.links[turn % len(listening.hub.links)]
                link.connection.lost(None, False)
                await asyncio.sleep(0.001)
            ended.set()
            await asyncio.gather(*speaking)
        assert set(got) == {str(number) for number in range(6)}
        for heard in got.values():
            assert heard == sorted(set(heard))
        faults = {key[0] for key in listening.stats().faults}
        assert faults <= {Cause.DISCONNECTED, Cause.TRUNCATED}

    run(main(), 40)


@pytest.mark.parametrize("how", ["stopped", "interrupted", "stopped and interrupted"])
def test_a_reactant_that_takes_the_sockets_off_the_loop_or_is_interrupted_loses_nothing(
    how: str,
) -> None:
    """What is behind the message in hand, in the same block and in those behind it, comes in order on the next loop."""
    count = 30_000
    stream = b"".join(wire(tick, Tick(n)) for n in range(count))
    ganglion = pair(heartbeat_s=0)
    got: list[int] = []
    peer: list[RawPeer] = []

    def react(data: Tick) -> None:
        got.append(data.n)
        if len(got) % 3000 == 100:
            # Let the thread read ahead.
            time.sleep(0.02)
            if "stopped" in how:
                ganglion._leave_loop()
                asyncio.get_running_loop().call_soon(ganglion._use_running_loop)
            if "interrupted" in how:
                raise KeyboardInterrupt

    def talk() -> None:
        peer.append(RawPeer(ganglion.port or 0))
        peer[0].socket.sendall(stream)

    def look() -> None:
        if len(got) == count:
            loop.stop()
        else:
            loop.call_later(0.002, look)

    talking = threading.Thread(target=talk)
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(ganglion.react(tick, [react]))
        talking.start()
        loop.call_soon(look)
        interrupts = 0
        while len(got) < count:
            try:
                loop.run_forever()
            except KeyboardInterrupt:
                interrupts += 1
        assert interrupts == (count // 3000 if "interrupted" in how else 0)
        loop.run_until_complete(ganglion.aclose())
    finally:
        talking.join(10)
        peer[0].close()
        loop.close()
    assert got == list(range(count))
    assert threads() == []
