# SPDX-License-Identifier: Apache-2.0
"""The pair: both directions, waiting for each other, restarts, several event loops, large messages, back-pressure."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from plexo import (
    BytesCodec,
    Cause,
    Closed,
    GanglionZmqTcpPair,
    MessageTooLarge,
    Neuron,
    Plexus,
    Queue,
    QueueFull,
    WrongType,
)
from plexo.exceptions import TransmitterNotFound
from tests.support import (
    GREETING,
    Blob,
    RawPeer,
    Reading,
    Tick,
    blob,
    in_thread,
    namespace,
    reading,
    ready,
    run,
    tick,
    until,
    within,
)

HOST = "127.0.0.1"


def bound(**arguments: Any) -> GanglionZmqTcpPair:
    return GanglionZmqTcpPair(HOST, 0, **arguments)


def connecting(to: GanglionZmqTcpPair, **arguments: Any) -> GanglionZmqTcpPair:
    return GanglionZmqTcpPair(peer=to.endpoint, reconnect_min_s=0.005, **arguments)


@contextlib.asynccontextmanager
async def two_plexuses(**arguments: Any) -> AsyncIterator[tuple[Plexus, Plexus]]:
    left = bound(**arguments)
    async with Plexus([left]) as a, Plexus([connecting(left, **arguments)]) as b:
        yield a, b


def test_messages_arrive_in_order_in_both_directions() -> None:
    async def main() -> None:
        async with two_plexuses() as (a, b):
            at_a: list[Tick] = []
            at_b: list[Reading] = []
            a.on(tick)(at_a.append)
            b.on(reading)(at_b.append)
            await a.adapt(reading)
            await b.adapt(tick)
            for n in range(500):
                await a.transmit(Reading("tank", n))
                await b.transmit(Tick(n))
            await until(lambda: len(at_a) == 500 and len(at_b) == 500)
            assert at_a == [Tick(n) for n in range(500)]
            assert at_b == [Reading("tank", n) for n in range(500)]

    run(main())


def test_a_message_reaches_local_reactants_as_the_object_and_the_peer_as_a_copy() -> None:
    async def main() -> None:
        async with two_plexuses() as (a, b):
            here: list[Reading] = []
            there: list[Reading] = []
            a.on(reading)(here.append)
            b.on(reading)(there.append)
            sent = Reading("tank", 1.5)
            await a.transmit(sent)
            await until(lambda: there)
            assert here[0] is sent
            assert there == [sent]
            assert there[0] is not sent

    run(main())


@pytest.mark.parametrize("first", ["binds", "connects"])
def test_either_side_may_start_first_and_sending_waits(first: str) -> None:
    async def main() -> None:
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            port = probe.getsockname()[1]
        dials = {"peer": (HOST, port), "reconnect_min_s": 0.005}
        listens = {"bind_interface": HOST, "port": port}
        one, other = (listens, dials) if first == "binds" else (dials, listens)
        got: list[Tick] = []
        async with Plexus([GanglionZmqTcpPair(**one)]) as a:  # type: ignore[arg-type]
            await a.adapt(tick)
            sending = asyncio.create_task(a.transmit(Tick(1)))
            await asyncio.sleep(0.03)
            assert not sending.done()
            with pytest.raises(QueueFull, match="wait for a peer"):
                a.transmit_nowait(Tick(2))
            async with Plexus([GanglionZmqTcpPair(**other)]) as b:  # type: ignore[arg-type]
                b.on(tick)(got.append)
                await within(sending)
                await until(lambda: got)
        assert got == [Tick(1)]

    run(main())


def test_those_who_wait_for_a_peer_are_served_in_order_and_may_give_up() -> None:
    async def main() -> None:
        left = bound()
        got: list[int] = []
        async with Plexus([left]) as a:
            await a.adapt(tick)
            sending = [asyncio.create_task(a.transmit(Tick(n))) for n in range(20)]
            await asyncio.sleep(0)
            for n in range(0, 20, 2):
                sending[n].cancel()
            for _ in range(300):
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(a.transmit(Tick(-1)), 0)
            await asyncio.sleep(0)
            assert left.hub.waiting_messages <= 40
            async with Plexus([connecting(left)]) as b:
                b.on(tick)(lambda data: got.append(data.n))
                await until(lambda: len(got) == 10)
        assert got == list(range(1, 20, 2))

    run(main())


@pytest.mark.parametrize("restarted", ["binds", "connects"])
def test_either_side_may_restart(restarted: str) -> None:
    async def main() -> None:
        got: list[int] = []
        first = bound()
        port = first.port
        assert port is not None

        def make(side: str) -> Plexus:
            if side == "binds":
                return Plexus([GanglionZmqTcpPair(HOST, port)])
            return Plexus([GanglionZmqTcpPair(peer=(HOST, port), reconnect_min_s=0.005)])

        stays = Plexus([first]) if restarted == "connects" else make("connects")
        async with stays:
            await stays.adapt(tick)
            for n in range(5):
                again = Plexus([first]) if restarted == "binds" and n == 0 else make(restarted)
                async with again:
                    again.on(tick)(lambda data: got.append(data.n))
                    await within(stays.transmit(Tick(n)))
                    await until(lambda n=n: got[-1:] == [n])
                await until(lambda: not stays.ganglia[0].peers_connected)  # type: ignore[union-attr]
        assert got == [0, 1, 2, 3, 4]

    run(main())


@pytest.mark.parametrize("size", [100, 20_000, 100_000])
def test_what_was_accepted_when_the_link_broke_is_sent_on_the_next_one(size: int) -> None:
    """A peer that never reads: the kernel's buffers fill, the rest waits here; then it vanishes and another comes."""

    async def main() -> None:
        left = bound(send_queue=Queue(bytes=16_000_000))
        payload = bytes(size)
        async with Plexus([left]) as a:
            await a.adapt(blob)
            stuck = await in_thread(lambda: RawPeer(left.port or 0))
            await until(lambda: left.hub.links)
            sent = 0
            while left.hub.links[0].outbox.queued_bytes < 2_000_000:
                await a.transmit(Blob(sent.to_bytes(4, "big") + payload))
                sent += 1
            queued = left.stats().links[0].sending.queued
            stuck.close()
            got: list[int] = []
            await until(lambda: not left.hub.links)
            async with Plexus([connecting(left)]) as b:
                b.on(blob)(lambda data: got.append(int.from_bytes(data.data[:4], "big")))
                await within(a.transmit(Blob(sent.to_bytes(4, "big"))))
                await until(lambda: got[-1:] == [sent])
            # Every message that the kernel had not taken wholly arrives, in order, with none twice.
            assert len(got) >= queued
            assert got == list(range(sent + 1 - len(got), sent + 1))

    run(main())


def test_two_event_loops_one_after_another_on_the_same_objects() -> None:
    left = bound()
    right = connecting(left)
    a, b = Plexus([left]), Plexus([right])
    got: list[Tick] = []

    async def react() -> None:
        await b.react(tick, [got.append])

    async def send(n: int) -> None:
        await b.adapt(tick)  # brings b onto this loop; the pair waits for it
        await a.transmit(Tick(n), tick)
        await until(lambda: len(got) == n)

    run(a.adapt(tick))
    run(react())
    for n in range(1, 4):
        run(send(n))
    a.close()
    b.close()
    assert got == [Tick(1), Tick(2), Tick(3)]


def test_two_running_loops_at_once_are_refused() -> None:
    async def main() -> None:
        async with Plexus([bound()]) as a:
            await a.adapt(tick)
            with pytest.raises(RuntimeError, match="another event loop"):
                await in_thread(lambda: asyncio.run(a.transmit(Tick(1))))

    run(main())


def test_uvloop() -> None:
    uvloop = pytest.importorskip("uvloop", reason="uvloop is not installed")

    async def main() -> None:
        async with two_plexuses() as (a, b):
            got: list[Tick] = []

            @b.on(tick)
            async def react(data: Tick) -> None:
                await asyncio.sleep(0)
                got.append(data)

            await a.adapt(tick)
            for n in range(1000):
                await a.transmit(Tick(n))
            await until(lambda: len(got) == 1000)
            await a.adapt(blob)
            big: list[Blob] = []
            b.on(blob)(big.append)
            await a.transmit(Blob(bytes(5_000_000)))
            await until(lambda: big)

    loop = uvloop.new_event_loop()
    try:
        loop.run_until_complete(asyncio.wait_for(main(), 20))
    finally:
        loop.close()


@pytest.mark.parametrize(
    "size", [0, 1, 200, 247, 255, 256, 32_767, 32_768, 65_536, 262_143, 262_144, 5_000_001]
)
def test_every_size_arrives_whole(size: int) -> None:
    async def main() -> None:
        neuron = Neuron(bytes, namespace, BytesCodec())
        payload = os.urandom(size)
        async with two_plexuses() as (a, b):
            got: list[bytes] = []
            b.on(neuron)(got.append)
            await a.adapt(neuron)
            for _ in range(3):
                await a.transmit(payload)
            await a.transmit(b"end")
            await until(lambda: len(got) == 4)
            assert got == [payload, payload, payload, b"end"]

    run(main())


def test_a_message_over_the_limit_is_refused_before_anything_is_sent() -> None:
    async def main() -> None:
        async with two_plexuses(max_frame_bytes=100_000) as (a, b):
            got: list[Blob] = []
            local: list[Blob] = []
            b.on(blob)(got.append)
            a.on(blob)(local.append)
            with pytest.raises(MessageTooLarge, match="at most 100000"):
                await a.transmit(Blob(bytes(200_000)))
            assert local == []
            await a.transmit(Blob(b"small"))
            await until(lambda: got)
            assert got == [Blob(b"small")]

    run(main())


def test_a_wrong_type_is_refused_before_anything_is_sent() -> None:
    async def main() -> None:
        async with two_plexuses() as (a, b):
            got: list[object] = []
            a.on(tick)(got.append)
            b.on(tick)(got.append)
            with pytest.raises(WrongType, match="Tick"):
                await a.transmit("x", tick)  # type: ignore[type-var]
            with pytest.raises(WrongType):
                a.transmit_nowait(Reading("a", 1), tick)
            with pytest.raises(TransmitterNotFound, match="adapt"):
                await a.transmit("x")
            with pytest.raises(TransmitterNotFound, match="adapt"):
                await a.transmit(Reading("a", 1), reading)
            await asyncio.sleep(0.02)
            assert got == []

    run(main())


def test_a_busy_reactant_holds_the_sender_up_and_loses_nothing() -> None:
    async def main() -> None:
        left = bound(receive_queue=Queue(messages=10))
        async with (
            Plexus([left], receive_queue=Queue(messages=10)) as a,
            Plexus([connecting(left, send_queue=Queue(bytes=50_000))]) as b,
        ):
            gate = asyncio.Event()
            got: list[int] = []

            @a.on(blob)
            async def slow(data: Blob) -> None:
                await gate.wait()
                got.append(int.from_bytes(data.data[:4], "big"))

            await b.adapt(blob)
            sent = 0

            async def flood() -> None:
                nonlocal sent
                while True:
                    await b.transmit(Blob(sent.to_bytes(4, "big") + bytes(10_000)))
                    sent += 1

            flooding = asyncio.create_task(flood())
            last = -1
            while sent != last:  # until the sender is held up
                last = sent
                await asyncio.sleep(0.1)
            assert left.stats().neurons[blob.name].received <= 20
            gate.set()
            await until(lambda: len(got) > last)
            flooding.cancel()
            await asyncio.wait([flooding])
            await until(lambda: len(got) >= sent)
            assert got == list(range(len(got)))

    run(main())


def test_a_busy_reactant_does_not_hold_up_other_neurons_until_its_queue_is_full() -> None:
    async def main() -> None:
        async with two_plexuses() as (a, b):
            gate = asyncio.Event()
            quick: list[Tick] = []

            @b.on(reading)
            async def slow(data: Reading) -> None:
                await gate.wait()

            b.on(tick)(quick.append)
            await a.adapt(tick)
            await a.adapt(reading)
            for n in range(100):
                await a.transmit(Reading("a", n))
                await a.transmit(Tick(n))
            await until(lambda: len(quick) == 100)
            gate.set()

    run(main())


def test_a_second_peer_is_refused_and_the_first_is_not_disturbed() -> None:
    async def main() -> None:
        left = bound()
        async with Plexus([left]) as a, Plexus([connecting(left)]) as b:
            got: list[Tick] = []
            a.on(tick)(got.append)
            await b.adapt(tick)
            await b.transmit(Tick(1))
            await until(lambda: got)
            second = connecting(left)
            async with Plexus([second]) as c:
                await c.adapt(tick)
                sending = asyncio.create_task(c.transmit(Tick(3)))
                await until(lambda: left.stats().fault_count(Cause.REJECTED) > 1)
                await b.transmit(Tick(2))
                await until(lambda: len(got) == 2)
                # It knows that it is not connected: its message waits, and arrives once the first peer has left.
                assert not sending.done()
                assert not second.peers_connected
                assert second.stats().fault_count(Cause.HANDSHAKE_FAILED) > 0
                await b.aclose()
                await within(sending)
                await until(lambda: len(got) == 3)

    run(main())


def test_a_peer_that_hangs_up_is_dialled_ever_more_rarely() -> None:
    async def main() -> None:
        listener = socket.create_server((HOST, 0))
        listener.settimeout(10)

        def serve() -> list[float]:
            times = []
            for n in range(7):
                peer, _ = listener.accept()
                times.append(time.monotonic())
                if n % 2:
                    peer.sendall(GREETING + ready(b"PAIR"))
                peer.settimeout(1)
                with contextlib.suppress(OSError):
                    peer.recv(100)
                peer.close()
            return times

        async with GanglionZmqTcpPair(peer=listener.getsockname(), reconnect_min_s=0.01):
            times = await in_thread(serve)
        waits = [later - earlier for earlier, later in zip(times, times[1:], strict=False)]  # noqa: RUF007
        # 10, 20, 40, 80, 160, 320 ms, each between half and all of it
        assert waits[-1] > 0.15
        assert sum(waits) > 0.31
        listener.close()

    run(main())


def test_heartbeats_end_a_link_whose_peer_fell_silent() -> None:
    async def main() -> None:
        left = bound(heartbeat_s=0.05)
        async with Plexus([left]):
            silent = await in_thread(lambda: RawPeer(left.port or 0))
            flags, body = await in_thread(silent.read_frame)
            assert flags == 4
            assert body[:5] == b"\x04PING"
            await until(lambda: left.stats().fault_count(Cause.HEARTBEAT_TIMEOUT) == 1)
            assert await in_thread(silent.closed_by_peer)
            silent.close()

    run(main())


def test_heartbeats_keep_an_idle_or_paused_link() -> None:
    async def main() -> None:
        left = bound(heartbeat_s=0.02, receive_queue=Queue(messages=1))
        right = connecting(left, heartbeat_s=0.02)
        async with Plexus([left], receive_queue=Queue(messages=1)) as a, Plexus([right]) as b:
            gate = asyncio.Event()
            got: list[Tick] = []

            @a.on(tick)
            async def slow(data: Tick) -> None:
                await gate.wait()
                got.append(data)

            await b.adapt(tick)
            for n in range(5):
                await b.transmit(Tick(n))
            await asyncio.sleep(0.3)
            gate.set()
            await until(lambda: len(got) == 5)
            for ganglion in (left, right):
                assert ganglion.stats().fault_count(Cause.HEARTBEAT_TIMEOUT) == 0
                assert ganglion.stats().fault_count(Cause.DISCONNECTED) == 0

    run(main())


# -- life cycle ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["aclose", "close", "with"])
def test_closing_flushes_what_was_accepted(how: str) -> None:
    async def main() -> None:
        left = bound()
        async with Plexus([left]) as a:
            got: list[int] = []
            a.on(blob)(lambda data: got.append(int.from_bytes(data.data[:4], "big")))
            b = Plexus([connecting(left)])
            await b.adapt(blob)
            await b.adapt(tick)
            await a.adapt(tick)
            await a.transmit(Tick(1))  # unread by b: closing with unread bytes must not reset the link
            for n in range(50):
                await b.transmit(Blob(n.to_bytes(4, "big") + bytes(1000)))
            if how == "aclose":
                await b.aclose()
            elif how == "close":
                b.close()
            else:
                with b:
                    pass
            await until(lambda: len(got) == 50)
            assert got == list(range(50))
            b.close()
            with pytest.raises(Closed):
                await b.transmit(Blob(b""))
            with pytest.raises(Closed):
                await b.adapt(reading)

    run(main())


def test_closing_while_senders_wait_tells_them() -> None:
    async def main() -> None:
        a = Plexus([bound()])
        await a.adapt(tick)
        waiting = [asyncio.create_task(a.transmit(Tick(n))) for n in range(3)]
        await asyncio.sleep(0.01)
        assert a.ganglia[0].stats().waiting == 3
        await a.aclose()
        for outcome in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(outcome, Closed)
        stats = a.ganglia[0].stats()
        assert stats.waiting == 0
        # They know: nothing was accepted, and nothing lost in silence.
        assert stats.neurons[tick.name].sending.accepted == 0
        assert stats.faults == {}

    run(main())


def test_closing_returns_within_a_second_though_the_peer_never_reads() -> None:
    async def main() -> None:
        left = bound()
        a = Plexus([left])
        await a.adapt(blob)
        stuck = await in_thread(lambda: RawPeer(left.port or 0))
        with contextlib.suppress(asyncio.TimeoutError):
            while True:
                await asyncio.wait_for(a.transmit(Blob(bytes(100_000))), 0.1)
        begin = asyncio.get_running_loop().time()
        await a.aclose()
        assert asyncio.get_running_loop().time() - begin < 1
        assert left.stats().fault_count(Cause.CLOSED) > 0
        stuck.close()

    run(main())


def test_what_a_link_gives_back_while_its_pair_closes_is_counted() -> None:
    async def main() -> None:
        left = bound()
        async with Plexus([left]) as a:
            await a.adapt(blob)
            stuck = await in_thread(lambda: RawPeer(left.port or 0))
            with contextlib.suppress(asyncio.TimeoutError):
                while True:
                    await asyncio.wait_for(a.transmit(Blob(bytes(100_000))), 0.1)
            assert left.stats().neurons[blob.name].sending.queued
            # It reset the connection, and closing is the first to notice.
            stuck.close()
        book = left.stats().neurons[blob.name].sending
        assert book.balanced and not book.queued and book.dropped[Cause.CLOSED] > 0

    run(main())


def test_closing_returns_within_a_second_though_the_peer_sends_without_end() -> None:
    class Endless:
        """A socket that always has more to read."""

        family = socket.AF_INET

        def shutdown(self, how: int) -> None: ...

        def recv(self, size: int) -> bytes:
            return bytes(size)

    async def main() -> None:
        left = bound()
        async with Plexus([connecting(left)]), left:
            await until(lambda: left.hub.links)
            connection: Any = left.hub.links[0].connection
            real, connection.socket = connection.socket, Endless()
            assert not connection.finish_sending()
            assert not connection.finish_sending()
            connection.socket = real

    run(main())


def test_close_after_the_last_loop_ended_and_twice() -> None:
    left = bound()
    a, b = Plexus([left]), Plexus([connecting(left)])
    got: list[Tick] = []

    async def main() -> None:
        await a.react(tick, [got.append])
        await b.adapt(tick)
        await b.transmit(Tick(1))
        await until(lambda: got)

    run(main())
    for _ in range(2):
        a.close()
        b.close()


def test_a_ganglion_without_a_plexus() -> None:
    async def main() -> None:
        left = bound()
        right = connecting(left)
        async with left, right:
            values: list[Tick] = []
            raw: list[bytes] = []
            await left.adapt(tick, [values.append], [raw.append])
            await right.adapt(tick)
            await right.transmit(Tick(1), tick)
            await right.transmit_encoded(tick.encode(Tick(2)), tick)
            await until(lambda: len(values) == 2)
            assert values == [Tick(1), Tick(2)]
            assert raw == [tick.encode(Tick(1)), tick.encode(Tick(2))]
            await left.unreact(tick, [values.append])
            await right.transmit(Tick(3), tick)
            await until(lambda: len(raw) == 3)
            assert len(values) == 2

    run(main())


# -- arguments -----------------------------------------------------------------------------------------------------


def test_ipc(tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "pair.sock"
        for _ in range(2):  # the second time over the socket file of the first
            left = GanglionZmqTcpPair(bind=f"ipc://{path}")
            async with Plexus([left]) as a, Plexus([GanglionZmqTcpPair(peer=f"ipc://{path}")]) as b:
                got: list[Tick] = []
                a.on(tick)(got.append)
                await b.adapt(tick)
                await b.transmit(Tick(1))
                await until(lambda: got)  # noqa: B023  # awaited within the iteration
            assert not path.exists()
        stale = socket.socket(socket.AF_UNIX)
        stale.bind(str(path))
        stale.close()
        GanglionZmqTcpPair(bind=f"ipc://{path}").close()

    run(main())


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"bind_interface": HOST, "port": 70_000}, ValueError, "port"),
        ({"bind_interface": HOST, "port": "5580"}, TypeError, "port"),
        ({"bind_interface": "no-such-interface0"}, ValueError, "bind_interface"),
        ({"peer": "127.0.0.1"}, ValueError, "peer"),
        ({"peer": "tcp://127.0.0.1"}, ValueError, "peer"),
        ({"peer": "udp://127.0.0.1:5"}, ValueError, "peer"),
        ({"peer": 5580}, TypeError, "peer"),
        ({"peer": (HOST, 1), "bind_interface": HOST}, ValueError, "peer"),
        ({"bind_interface": HOST, "port": 0, "max_frame_bytes": 0}, ValueError, "max_frame_bytes"),
        ({"bind_interface": HOST, "port": 0, "receive_queue": 0}, TypeError, "receive_queue"),
        ({"bind_interface": HOST, "port": 0, "relevant_neurons": [1]}, TypeError, "relevant_neurons"),
        ({"bind": "ipc://" + "x" * 200}, ValueError, "bind"),
    ],
)
def test_bad_arguments_name_the_argument(
    arguments: dict[str, Any], error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        GanglionZmqTcpPair(**arguments)


def test_an_address_in_use_is_an_error_at_once_that_names_it() -> None:
    with bound() as left, pytest.raises(OSError, match=f"cannot bind tcp://127.0.0.1:{left.port}"):
        GanglionZmqTcpPair(HOST, left.port or 0)


def test_filters(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        left = bound(relevant_neurons=[tick])
        async with Plexus([left]) as a, Plexus([connecting(left)]) as b:
            got: list[object] = []
            b.on(tick)(got.append)
            b.on(reading)(got.append)
            await a.adapt(tick)
            await a.adapt(reading)
            await a.transmit(Reading("local only", 1))
            await a.transmit(Tick(1))
            await until(lambda: got)
            assert got == [Tick(1)]
            await left.adapt(reading)
            assert "not capable" in caplog.text
            with pytest.raises(TransmitterNotFound):
                await left.transmit(Reading("a", 1), reading)

    run(main())
