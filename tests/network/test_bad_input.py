# SPDX-License-Identifier: Apache-2.0
"""What a broken or hostile peer sends: its link is closed or its message dropped, a count goes up, and that is all.

Every case runs beside a healthy link or a healthy neuron, which must go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from plexo import Cause, GanglionZmqTcpPair, GanglionZmqTcpPubSub, Namespace, Neuron, Plexus, Queue
from plexo._fast.envelope import build_envelope
from plexo.codec import PickleCodec
from tests.support import GREETING, RawPeer, Reading, Tick, frame, in_thread, reading, ready, run, tick, until

HOST = "127.0.0.1"


def pair(**arguments: Any) -> GanglionZmqTcpPair:
    return GanglionZmqTcpPair(HOST, 0, **arguments)


async def still_works(ganglion: GanglionZmqTcpPair, got: list[Any]) -> None:
    """A well-behaved peer connects to `ganglion` and is heard."""
    await until(lambda: not ganglion.hub.links)
    before = len(got)
    async with Plexus([GanglionZmqTcpPair(peer=ganglion.endpoint, reconnect_min_s=0.005)]) as peer:
        await peer.adapt(tick)
        await peer.transmit(Tick(1))
        await until(lambda: len(got) > before)


BAD_GREETINGS = {
    "http": b"GET / HTTP/1.1\r\n\r\n",
    "old zmtp 1.0": b"\x01\x00",
    "zmtp 2.0": b"\xff\0\0\0\0\0\0\0\x01\x7f\x01",
    "garbage": bytes(range(7, 100)),
    "zeros": bytes(64),
    "curve": GREETING[:12] + b"CURVE".ljust(20, b"\0"),
    "message first": GREETING + frame(b"hello"),
    "reserved flags": GREETING + b"\x84\x00",
    "huge ready": GREETING + b"\x06" + struct.pack(">Q", 1 << 62),
    "unknown command": GREETING + frame(b"\x05HELLO", 4),
    "wrong socket type": GREETING + ready(b"SUB"),
    "no socket type": GREETING + frame(b"\x05READY", 4),
    "error": GREETING + frame(b"\x05ERROR\x04nope", 4),
    "bad metadata": GREETING + frame(b"\x05READY\xff\xff", 4),
}


@pytest.mark.parametrize("name", BAD_GREETINGS)
@pytest.mark.parametrize("bytewise", [False, True])
def test_a_bad_handshake_closes_that_connection_only(name: str, bytewise: bool) -> None:
    def talk(port: int) -> bool:
        with RawPeer(port, None) as peer:
            try:
                for piece in (
                    [bytes([byte]) for byte in BAD_GREETINGS[name]] if bytewise else [BAD_GREETINGS[name]]
                ):
                    peer.socket.sendall(piece)
            except OSError:
                return True
            return peer.closed_by_peer()

    async def main() -> None:
        ganglion = pair()
        async with Plexus([ganglion]) as plexus:
            got: list[Tick] = []
            plexus.on(tick)(got.append)
            assert await in_thread(lambda: talk(ganglion.port or 0))
            assert ganglion.stats().fault_count(Cause.HANDSHAKE_FAILED) == 1
            await still_works(ganglion, got)

    run(main())


def test_a_peer_that_is_gone_before_our_ready_leaves_no_link() -> None:
    async def main() -> None:
        ganglion = pair()
        async with Plexus([ganglion]) as plexus:
            got: list[Tick] = []
            plexus.on(tick)(got.append)
            peer = socket.create_connection((HOST, ganglion.port or 0), 10)
            await until(lambda: ganglion._connections)
            # All at once, with our greeting unread: its hand-shake can be read, ours cannot be sent any more.
            peer.sendall(GREETING + ready(b"PAIR"))
            peer.close()
            await until(lambda: not ganglion._connections)
            assert not ganglion.hub.links and not ganglion.peers_connected
            await still_works(ganglion, got)
            assert not ganglion.stats().fault_count(Cause.REJECTED)

    run(main())


BAD_TRAFFIC: dict[str, bytes] = {
    "reserved flags": b"\x08\x00",
    "reserved flags later": frame(build_envelope(tick.topic, b"\x81\xa1n\x05")) + b"\xf0\x00",
    "command with more": frame(b"\x04PING\0\0", 5),
    "size with top bit": b"\x02" + b"\xff" * 8,
    "frame above the cap": b"\x02" + struct.pack(">Q", 2_000_001),
    "malformed ping": frame(b"\x04PING\0", 4),
    "ping with long context": frame(b"\x04PING\0\0" + bytes(17), 4),
    "empty command": frame(b"", 4),
    "command inside a message": frame(b"a", 1) + frame(b"\x04PING\0\0", 4),
    "error command": frame(b"\x05ERROR\x03bad", 4),
}


@pytest.mark.parametrize("name", BAD_TRAFFIC)
def test_a_protocol_error_closes_that_link(name: str, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        ganglion = pair(max_frame_bytes=2_000_000)
        async with Plexus([ganglion]) as plexus:
            got: list[Tick] = []
            plexus.on(tick)(got.append)
            peer = await in_thread(lambda: RawPeer(ganglion.port or 0))
            await in_thread(lambda: peer.socket.sendall(BAD_TRAFFIC[name]))
            assert await in_thread(peer.closed_by_peer)
            peer.close()
            assert ganglion.stats().fault_count(Cause.PROTOCOL_ERROR) == 1
            assert "expected" in caplog.text
            await still_works(ganglion, got)

    run(main())


def envelope(payload: bytes, topic: bytes = tick.topic) -> bytes:
    return frame(build_envelope(topic, payload))


GOOD = envelope(tick.encode(Tick(42)))
BAD_MESSAGES: dict[str, tuple[bytes, Cause]] = {
    "empty frame": (frame(b""), Cause.MALFORMED),
    "garbage": (frame(b"hello, this is no envelope"), Cause.MALFORMED),
    "truncated envelope": (frame(build_envelope(tick.topic, b"x" * 40)[:-8]), Cause.MALFORMED),
    "several parts": (frame(b"a", 1) + frame(b"b", 1) + frame(b"c"), Cause.MALFORMED),
    "unknown topic": (envelope(b"\xc0", b"org.example.Nobody.msgpack"), Cause.UNKNOWN_TOPIC),
    "not utf-8": (envelope(b"\xc0", b"\xff\xfe"), Cause.UNKNOWN_TOPIC),
    "empty topic": (envelope(b"\xc0", b""), Cause.UNKNOWN_TOPIC),
    "undecodable": (envelope(b"\xc1"), Cause.UNDECODABLE),
    "wrong fields": (envelope(b"\x81\xa1n\xa1x"), Cause.UNDECODABLE),
    "empty payload": (envelope(b""), Cause.UNDECODABLE),
}


@pytest.mark.parametrize("name", BAD_MESSAGES)
@pytest.mark.parametrize("bytewise", [False, True])
def test_a_bad_message_is_dropped_and_the_link_stays(
    name: str, bytewise: bool, caplog: pytest.LogCaptureFixture
) -> None:
    bad, cause = BAD_MESSAGES[name]

    def talk(peer: RawPeer) -> None:
        data = bad + GOOD + bad + GOOD
        for piece in [bytes([byte]) for byte in data] if bytewise else [data]:
            peer.socket.sendall(piece)

    async def main() -> None:
        ganglion = pair()
        async with Plexus([ganglion]) as plexus:
            got: list[Tick] = []
            plexus.on(tick)(got.append)
            peer = await in_thread(lambda: RawPeer(ganglion.port or 0))
            await in_thread(lambda: talk(peer))
            await until(lambda: len(got) == 2)
            assert got == [Tick(42), Tick(42)]
            stats = ganglion.stats()
            (link,) = stats.links
            assert link.receiving.dropped == {cause: 2}
            assert link.receiving.accepted == 4
            assert link.receiving.delivered == 2
            if cause is Cause.UNDECODABLE:
                assert stats.neurons[tick.name].receiving.dropped == {cause: 2}
                assert stats.faults == {(cause, tick.name, "127.0.0.1"): 2}
            assert stats.balanced
            assert stats.fault_count(cause) == 2
            warnings = [record for record in caplog.records if record.levelname == "WARNING"]
            assert [record.name for record in warnings].count("plexo") == 1
            assert ganglion.hub.links
            peer.close()

    run(main())


@pytest.mark.parametrize(
    "left_over",
    [b"\x00", b"\x00\x50half", b"\x02\0\0\0\0\0\x01\0\0" + bytes(1000), b"\x02\0", frame(b"part", 1)],
)
def test_a_frame_cut_off_by_the_end_of_the_stream_is_counted(left_over: bytes) -> None:
    async def main() -> None:
        ganglion = pair()
        async with Plexus([ganglion]) as plexus:
            got: list[Tick] = []
            plexus.on(tick)(got.append)
            peer = await in_thread(lambda: RawPeer(ganglion.port or 0))
            await in_thread(lambda: peer.socket.sendall(GOOD + left_over))
            await until(lambda: got)
            peer.close()
            await until(lambda: ganglion.stats().fault_count(Cause.TRUNCATED) == 1)
            await still_works(ganglion, got)

    run(main())


def test_a_stranger_who_says_nothing_is_closed_in_time_and_blocks_nobody() -> None:
    async def main() -> None:
        ganglion = pair(handshake_timeout_s=0.3)
        async with Plexus([ganglion]) as plexus:
            got: list[Tick] = []
            plexus.on(tick)(got.append)
            silent = await in_thread(lambda: [RawPeer(ganglion.port or 0, None) for _ in range(5)])
            await still_works(ganglion, got)
            for peer in silent:
                assert await in_thread(peer.closed_by_peer)
                peer.close()
            assert ganglion.stats().fault_count(Cause.HANDSHAKE_TIMEOUT) == 5

    run(main())


def test_one_byte_at_a_time_does_not_extend_the_handshake() -> None:
    async def main() -> None:
        ganglion = pair(handshake_timeout_s=0.2)
        async with Plexus([ganglion]):
            slow = await in_thread(lambda: RawPeer(ganglion.port or 0, None))

            def drip() -> bool:
                import time

                for byte in GREETING:
                    try:
                        slow.socket.sendall(bytes([byte]))
                    except OSError:
                        return True
                    time.sleep(0.05)
                return False

            assert await in_thread(drip)
            slow.close()
            assert ganglion.stats().fault_count(Cause.HANDSHAKE_TIMEOUT) == 1

    run(main())


def test_too_many_strangers_are_turned_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plexo.ganglion.zmtp.MAX_HANDSHAKES", 3)

    async def main() -> None:
        ganglion = pair()
        async with Plexus([ganglion]):
            strangers = await in_thread(lambda: [RawPeer(ganglion.port or 0, None) for _ in range(5)])
            await until(lambda: ganglion.stats().fault_count(Cause.REJECTED) == 2)
            for peer in strangers:
                peer.close()

    run(main())


def test_a_claimed_size_costs_no_memory_before_the_bytes_come() -> None:
    async def main() -> None:
        import resource

        ganglion = pair()
        async with Plexus([ganglion]):
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            peer = await in_thread(lambda: RawPeer(ganglion.port or 0))
            await in_thread(
                lambda: peer.socket.sendall(b"\x02" + struct.pack(">Q", 1_000_000_000) + bytes(100))
            )
            await until(lambda: ganglion.hub.links[0].received_bytes >= 109)
            assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KiB
            peer.close()

    run(main())


def test_a_peer_that_asks_and_never_reads_fills_no_memory() -> None:
    async def main() -> None:
        ganglion = pair(send_queue=Queue(bytes=100_000))
        async with Plexus([ganglion]) as plexus:
            got: list[Tick] = []
            plexus.on(tick)(got.append)
            peer = await in_thread(lambda: RawPeer(ganglion.port or 0))
            peer.socket.settimeout(0.5)
            pings = frame(b"\x04PING\0\0" + bytes(16), 4) * 4000

            def flood() -> None:
                try:
                    for _ in range(100):
                        peer.socket.sendall(pings)
                except TimeoutError:
                    pass

            await in_thread(flood)
            assert ganglion.hub.links[0].outbox.queued_bytes < 200_000
            peer.close()
            await still_works(ganglion, got)

    run(main())


def test_a_raising_reactant_harms_neither_the_link_nor_the_others(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        ganglion = pair()
        async with Plexus([ganglion]) as plexus:
            got: list[object] = []

            @plexus.on(tick)
            async def bad(data: Tick) -> None:
                raise OSError("not the link's")

            plexus.on(tick)(got.append)
            plexus.on(reading)(got.append)
            peer = await in_thread(lambda: RawPeer(ganglion.port or 0))
            data = GOOD + envelope(reading.encode(Reading("a", 1)), reading.topic)
            await in_thread(lambda: peer.socket.sendall(data))
            await until(lambda: len(got) == 2)
            assert got == [Tick(42), Reading("a", 1)]
            assert "not the link's" in caplog.text
            assert ganglion.hub.links
            peer.close()

    run(main())


@pytest.mark.parametrize("kind", ["plain", "coroutine", "suspending"])
def test_closing_from_inside_a_reactant(kind: str) -> None:
    async def main() -> None:
        ganglion = pair()
        async with Plexus([ganglion]) as plexus:
            got: list[Tick] = []

            def plain(data: Tick) -> None:
                got.append(data)
                plexus.close()

            async def coroutine(data: Tick) -> None:
                if kind == "suspending":
                    await asyncio.sleep(0)
                plain(data)

            plexus.on(tick)(plain if kind == "plain" else coroutine)

            peer = await in_thread(lambda: RawPeer(ganglion.port or 0))
            await in_thread(lambda: peer.socket.sendall(GOOD * 3))
            await until(lambda: got)
            assert await in_thread(peer.closed_by_peer)
            peer.close()
            assert got == [Tick(42)]

    run(main())


async def published(
    messages: bytes, expect: Callable[[GanglionZmqTcpPubSub, list[Any]], Awaitable[None]]
) -> None:
    """A stranger publishes `messages` to a subscriber of ours."""
    import socket

    listener = socket.create_server((HOST, 0))
    sink = GanglionZmqTcpPubSub(HOST, 0, peers=[listener.getsockname()], reconnect_min_s=0.005)
    async with Plexus([sink]) as plexus:
        got: list[Any] = []
        plexus.on(tick)(got.append)

        def serve() -> socket.socket:
            peer, _ = listener.accept()
            peer.settimeout(10)
            peer.sendall(GREETING + ready(b"PUB") + messages)
            return peer

        peer = await in_thread(serve)
        await expect(sink, got)
        peer.close()
    listener.close()


GOOD_PUB = frame(tick.topic, 1) + frame(tick.encode(Tick(42)))


@pytest.mark.parametrize(
    "bad",
    [
        frame(tick.topic),
        frame(tick.topic, 1) + frame(b"x", 1) + frame(b"y"),
        frame(tick.topic, 1) + frame(b"x", 1) + frame(b"y", 1) + frame(b"z"),
        frame(b""),
    ],
)
def test_published_messages_that_are_not_topic_and_payload_are_dropped(bad: bytes) -> None:
    async def expect(sink: GanglionZmqTcpPubSub, got: list[Any]) -> None:
        await until(lambda: len(got) == 2)
        assert sink.stats().fault_count(Cause.MALFORMED) == 1
        assert got == [Tick(42), Tick(42)]

    run(published(GOOD_PUB + bad + GOOD_PUB, expect))


def test_a_subscriber_that_sends_messages_or_too_many_subscriptions() -> None:
    async def main() -> None:
        source = GanglionZmqTcpPubSub(HOST, 0)
        async with source:
            chatty = await in_thread(lambda: RawPeer(source.port_pub or 0, b"SUB"))
            await in_thread(lambda: chatty.socket.sendall(frame(b"\x07what") + frame(b"a", 1) + frame(b"b")))
            await until(lambda: source.stats().fault_count(Cause.MALFORMED) >= 2)
            assert source.hub.links
            greedy = await in_thread(lambda: RawPeer(source.port_pub or 0, b"SUB"))
            flood = b"".join(frame(b"\x01" + n.to_bytes(4, "big")) for n in range(20_000))

            def send() -> None:
                with contextlib.suppress(OSError):
                    greedy.socket.sendall(flood)

            await in_thread(send)
            assert await in_thread(greedy.closed_by_peer)
            await until(lambda: source.stats().fault_count(Cause.PROTOCOL_ERROR) == 1)
            assert len(source.hub.links) == 1
            chatty.close()
            greedy.close()
            await asyncio.sleep(0)

    run(main())


def test_what_a_peer_sends_cannot_break_a_log_line(caplog: pytest.LogCaptureFixture) -> None:
    picky = Neuron(Tick, Namespace("org.brewery.sake"), PickleCodec())

    async def main() -> None:
        ganglion = pair()
        async with Plexus([ganglion]) as plexus:
            plexus.on(picky)(lambda data: None)
            peer = await in_thread(lambda: RawPeer(ganglion.port or 0))
            forged = pickle.dumps(Tick(1)).replace(b"Tick", b"\nT\x1bk")
            await in_thread(lambda: peer.socket.sendall(envelope(forged, picky.topic)))
            await until(lambda: ganglion.stats().neurons[picky.name].receiving.dropped.get(Cause.UNDECODABLE))
            peer.close()

    run(main())
    lines = [record.getMessage() for record in caplog.records if "do not decode" in record.getMessage()]
    assert len(lines) == 1 and "?T?k" in lines[0] and lines[0].isprintable()
