# SPDX-License-Identifier: Apache-2.0
"""Our ganglia with libzmq (pyzmq) as the stranger at the other end.

pyzmq's sockets are used from a thread of their own, in blocking calls with time-outs, so that neither side's
event loop helps the other along.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from plexo import (
    BytesCodec,
    Cause,
    GanglionZmqTcpPair,
    GanglionZmqTcpPubSub,
    LinkEvent,
    LinkEventKind,
    Namespace,
    Neuron,
    Plexus,
)
from plexo.ganglion.zmtp import GanglionZmtp
from tests.capnp_schema import plexo_message
from tests.reference.envelope import build_envelope, parse_envelope, scatter_envelope
from tests.support import run, until, within

zmq = pytest.importorskip("zmq")
pytest.importorskip("zmq.utils.monitor")
ZmqSocket = Any  # pyzmq may be absent: its types are not for annotations here

TIMEOUT_MS = 20_000
HOST = "127.0.0.1"
MANY = 100_000
BIG = 64 << 20

namespace = Namespace("interop.pyzmq")
malt = Neuron(bytes, namespace, BytesCodec(), "Malt")
hops = Neuron(bytes, namespace, BytesCodec(), "Hops")

transports = pytest.mark.parametrize("transport", ["tcp", "ipc"])
we_bind = pytest.mark.parametrize("we_bind", [True, False], ids=["ours-binds", "zmq-binds"])


class Stranger:
    """One pyzmq socket and the thread that uses it."""

    def __init__(self, kind: int, **options: int) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._context = zmq.Context()
        self._socket = self._context.socket(kind)
        self._socket.linger = 0
        self._socket.rcvtimeo = self._socket.sndtimeo = TIMEOUT_MS
        self._socket.sndhwm = self._socket.rcvhwm = 0
        self._socket.reconnect_ivl = 20
        for name, value in options.items():
            setattr(self._socket, name, value)

    def bind(self, endpoint: str) -> str:
        self._socket.bind(endpoint)
        bound: bytes = self._socket.last_endpoint
        return bound.rstrip(b"\0").decode()

    def connect(self, endpoint: str | None) -> None:
        assert endpoint is not None
        self._socket.connect(endpoint)

    async def call(self, function: Any, *arguments: Any) -> Any:
        """function(socket, *arguments) in the socket's thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, function, self._socket, *arguments)

    async def send(self, *parts: bytes) -> None:
        await self.call(lambda socket: socket.send_multipart(parts))

    async def receive(self) -> list[bytes]:
        parts: list[bytes] = await self.call(lambda socket: socket.recv_multipart())
        return parts

    async def silent(self, milliseconds: int = 200) -> bool:
        """Whether nothing comes for so long."""
        return not await self.call(lambda socket: socket.poll(milliseconds))

    def monitor(self, events: int) -> ZmqSocket:
        """A socket that reports these events of this one's."""
        return self._socket.get_monitor_socket(events)

    def stop_monitor(self, monitor: ZmqSocket) -> None:
        self._socket.disable_monitor()
        monitor.close(0)

    def close(self) -> None:
        self._thread.submit(self._socket.close).result()
        self._thread.shutdown()
        self._context.term()


@contextmanager
def stranger(kind: int, **options: int) -> Iterator[Stranger]:
    peer = Stranger(kind, **options)
    try:
        yield peer
    finally:
        peer.close()


def endpoint(transport: str, folder: Path) -> str:
    """Where to bind: any free port, or a socket file."""
    return f"tcp://{HOST}:0" if transport == "tcp" else f"ipc://{folder}/s"


class Inbox:
    """A reactant; keeps what it gets."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[bytes] = asyncio.Queue()

    async def __call__(self, data: bytes) -> None:
        self.queue.put_nowait(data)

    async def get(self) -> bytes:
        return await within(self.queue.get())


def pair_with(peer: Stranger, we_bind: bool, transport: str, folder: Path) -> GanglionZmqTcpPair:
    if we_bind:
        ganglion = GanglionZmqTcpPair(bind=endpoint(transport, folder))
        peer.connect(ganglion.endpoint)
        return ganglion
    return GanglionZmqTcpPair(peer=peer.bind(endpoint(transport, folder)))


# -- pair ----------------------------------------------------------------------------------------------------


@transports
@we_bind
def test_pair(we_bind: bool, transport: str, tmp_path: Path) -> None:
    async def main() -> None:
        with stranger(zmq.PAIR) as peer:
            async with pair_with(peer, we_bind, transport, tmp_path) as ganglion:
                inbox = Inbox()
                await ganglion.adapt(malt, [inbox])
                for payload in (b"", b"x", b"pale ale malt", bytes(range(256)), bytes(70_000)):
                    await within(ganglion.transmit(payload, malt))
                    assert parse_envelope((await peer.receive())[0]) == (malt.topic, payload)
                    await peer.send(build_envelope(malt.topic, payload))
                    assert await inbox.get() == payload

    run(main())


def test_pair_with_envelopes_of_pycapnp(tmp_path: Path) -> None:
    envelope = plexo_message()

    async def main() -> None:
        with stranger(zmq.PAIR) as peer:
            async with pair_with(peer, True, "tcp", tmp_path) as ganglion:
                inbox = Inbox()
                await ganglion.adapt(malt, [inbox])
                for payload in (b"", b"x", bytes(range(256)), bytes(300_000)):
                    await within(ganglion.transmit(payload, malt))
                    with envelope.from_bytes((await peer.receive())[0]) as message:
                        assert (message.typeName, bytes(message.payload)) == (malt.name, payload)
                    await peer.send(envelope.new_message(typeName=malt.name, payload=payload).to_bytes())
                    assert await inbox.get() == payload
                    # Segments of a word each where possible, and the payload before the name.
                    scattered = envelope.new_message(
                        num_first_segment_words=1,
                        allocate_seg_callable=lambda minimum, *_: bytearray(8 * minimum),
                    )
                    scattered.payload = payload
                    scattered.typeName = malt.name
                    wire = scattered.to_bytes()
                    assert int.from_bytes(wire[:4], "little") > 0  # segments, less one
                    await peer.send(wire)
                    assert await inbox.get() == payload

    run(main())


def test_pair_with_envelopes_in_many_segments(tmp_path: Path) -> None:
    async def main() -> None:
        rng = random.Random(20240229)
        with stranger(zmq.PAIR) as peer:
            async with pair_with(peer, True, "tcp", tmp_path) as ganglion:
                inbox, other = Inbox(), Inbox()
                await ganglion.adapt(malt, [inbox])
                await ganglion.adapt(hops, [other])
                for count in (1, 2, 3, 5, 8, 100, 512):
                    for _ in range(10):
                        payload = rng.randbytes(rng.randrange(200))
                        await peer.send(scatter_envelope(malt.topic, payload, rng, count))
                        assert await inbox.get() == payload
                assert other.queue.empty()
                assert ganglion.stats().fault_count(Cause.MALFORMED) == 0

    run(main())


@transports
@we_bind
def test_pair_keeps_every_message_in_order(we_bind: bool, transport: str, tmp_path: Path) -> None:
    async def main() -> None:
        with stranger(zmq.PAIR) as peer:
            async with pair_with(peer, we_bind, transport, tmp_path) as ganglion:
                plexus = Plexus(ganglia=[ganglion])
                received: list[int] = []
                complete = asyncio.Event()

                async def keep(data: bytes) -> None:
                    received.append(int.from_bytes(data, "big"))
                    if len(received) == MANY:
                        complete.set()

                await plexus.adapt(malt, [keep])
                await plexus.adapt(hops)

                def receive_all(socket: ZmqSocket) -> int:
                    for number in range(MANY):
                        if parse_head(socket.recv()) != (hops.topic, number):
                            return number
                    return MANY

                def send_all(socket: ZmqSocket) -> None:
                    for number in range(MANY):
                        socket.send(build_envelope(malt.topic, number.to_bytes(4, "big")))

                receiving = asyncio.create_task(peer.call(receive_all))
                for number in range(MANY):
                    await plexus.transmit(number.to_bytes(4, "big"), hops)
                assert await within(receiving, 60) == MANY
                await within(peer.call(send_all), 60)
                await within(complete.wait(), 60)
                assert received == list(range(MANY))

    def parse_head(envelope: bytes) -> tuple[bytes, int]:
        # The plain layout, whose parts are at fixed places: the reference parser is too slow for so many.
        assert len(envelope) == len(example)
        return envelope[32 : 32 + len(hops.topic)], int.from_bytes(envelope[-8:-4], "big")

    example = build_envelope(hops.topic, bytes(4))
    assert parse_head(example) == (hops.topic, 0)
    run(main(), 120)


@we_bind
def test_pair_with_a_large_message(we_bind: bool, tmp_path: Path) -> None:
    async def main() -> None:
        payload = random.Random(1).randbytes(1 << 20) * (BIG >> 20)
        with stranger(zmq.PAIR) as peer:
            async with pair_with(peer, we_bind, "tcp", tmp_path) as ganglion:
                inbox = Inbox()
                await ganglion.adapt(malt, [inbox])
                sending = asyncio.create_task(ganglion.transmit(payload, malt))
                (envelope,) = await within(peer.receive())
                await within(sending)
                assert envelope.endswith(payload)
                await within(peer.send(envelope))
                assert await inbox.get() == payload

    run(main(), 60)


@we_bind
def test_pair_survives_restarts_of_the_stranger(we_bind: bool, tmp_path: Path) -> None:
    async def main() -> None:
        with stranger(zmq.PAIR) as peer:
            where = endpoint("tcp", tmp_path) if we_bind else peer.bind(endpoint("tcp", tmp_path))
        limits: dict[str, Any] = {"reconnect_max_s": 0.1}
        ganglion = (
            GanglionZmqTcpPair(bind=where, **limits) if we_bind else GanglionZmqTcpPair(peer=where, **limits)
        )
        async with ganglion:
            inbox = Inbox()
            await ganglion.adapt(malt, [inbox])
            for turn in range(5):
                with stranger(zmq.PAIR) as peer:
                    if we_bind:
                        peer.connect(ganglion.endpoint)
                    else:
                        peer.bind(where)
                    await within(ganglion.transmit(b"out %d" % turn, malt))
                    assert parse_envelope((await peer.receive())[0]) == (malt.topic, b"out %d" % turn)
                    await peer.send(build_envelope(malt.topic, b"in %d" % turn))
                    assert await inbox.get() == b"in %d" % turn
                await until(lambda: not ganglion.peers_connected)

    run(main())


@pytest.mark.parametrize("kind", [zmq.ROUTER, zmq.DEALER, zmq.REQ, zmq.PUB, zmq.SUB])
@we_bind
def test_pair_refuses_other_sockets(kind: int, we_bind: bool, tmp_path: Path) -> None:
    async def main() -> None:
        with stranger(kind) as peer:
            async with pair_with(peer, we_bind, "tcp", tmp_path) as ganglion:
                await ganglion.adapt(malt, [Inbox()])
                await until(lambda: ganglion.stats().fault_count(Cause.HANDSHAKE_FAILED))
                assert not ganglion.peers_connected

    run(main())


# -- publish/subscribe ---------------------------------------------------------------------------------------


def pubsub_on(*peers: str, **limits: Any) -> GanglionZmqTcpPubSub:
    return GanglionZmqTcpPubSub(bind=f"tcp://{HOST}:0", peers=peers, **limits)


async def until_subscribed(ganglion: GanglionZmtp, neuron: Neuron[Any], count: int = 1) -> None:
    synapse: Any = ganglion._synapses[neuron]
    await until(lambda: synapse.subscriber_count == count)


@pytest.mark.parametrize("kind", [zmq.PUB, zmq.XPUB])
@transports
def test_from_a_publisher(kind: int, transport: str, tmp_path: Path) -> None:
    async def main() -> None:
        with stranger(kind) as peer:
            async with pubsub_on(peer.bind(endpoint(transport, tmp_path))) as ganglion:
                inbox, other = Inbox(), Inbox()
                await ganglion.adapt(malt, [inbox])
                await ganglion.adapt(hops, [other])
                while inbox.queue.empty() or other.queue.empty():
                    await peer.send(malt.topic, b"joining")
                    await peer.send(hops.topic, b"joining")
                    await asyncio.sleep(0.01)
                for number in range(1000):
                    await peer.send(malt.topic, b"%d" % number)
                    await peer.send(malt.topic + b".more", b"of another topic with the same beginning")
                data = await inbox.get()
                while data == b"joining":
                    data = await inbox.get()
                for number in range(1000):
                    assert data == b"%d" % number
                    data = await inbox.get() if number < 999 else b""
                assert inbox.queue.empty()
                assert set(drain(other.queue)) == {b"joining"}

    run(main())


def drain(queue: asyncio.Queue[bytes]) -> list[bytes]:
    return [queue.get_nowait() for _ in range(queue.qsize())]


@pytest.mark.parametrize("kind", [zmq.SUB, zmq.XSUB])
@transports
def test_to_a_subscriber(kind: int, transport: str, tmp_path: Path) -> None:
    async def main() -> None:
        with stranger(kind) as peer:
            async with GanglionZmqTcpPubSub(bind=endpoint(transport, tmp_path)) as ganglion:
                await ganglion.adapt(malt)
                await ganglion.adapt(hops)
                await peer.call(subscribe, malt.topic)
                peer.connect(ganglion.endpoint)
                await until_subscribed(ganglion, malt)
                await ganglion.transmit(b"nobody wants this", hops)
                for number in range(1000):
                    await ganglion.transmit(b"%d" % number, malt)
                for number in range(1000):
                    assert await peer.receive() == [malt.topic, b"%d" % number]
                await peer.call(cancel, malt.topic)
                await until_subscribed(ganglion, malt, 0)
                await ganglion.transmit(b"nobody wants this any more", malt)
                await peer.call(subscribe, b"interop.")  # a prefix
                await until_subscribed(ganglion, malt)
                await until_subscribed(ganglion, hops)
                await ganglion.transmit(b"again", malt)
                await ganglion.transmit(b"and this", hops)
                assert await peer.receive() == [malt.topic, b"again"]
                assert await peer.receive() == [hops.topic, b"and this"]
                assert await peer.silent()

    run(main())


def subscribe(socket: ZmqSocket, topic: bytes) -> None:
    if socket.type == zmq.SUB:
        socket.subscribe(topic)
    else:
        socket.send(b"\1" + topic)


def cancel(socket: ZmqSocket, topic: bytes) -> None:
    if socket.type == zmq.SUB:
        socket.unsubscribe(topic)
    else:
        socket.send(b"\0" + topic)


@pytest.mark.parametrize("with_plexus", [True, False], ids=["plexus", "ganglion"])
def test_a_publisher_sees_exactly_our_topics(with_plexus: bool, tmp_path: Path) -> None:
    """Subscribed with the first reactant, cancelled with the last; a restarted publisher is told again."""

    async def main() -> None:
        with stranger(zmq.XPUB, xpub_verbose=1) as first:
            where = first.bind(endpoint("tcp", tmp_path))
            ganglion = pubsub_on(where, reconnect_max_s=0.1)
            carrier: Any = Plexus(ganglia=[ganglion]) if with_plexus else ganglion
            async with carrier:
                one, two = Inbox(), Inbox()
                await carrier.adapt(hops)  # sending is no reason to subscribe
                await carrier.adapt(malt)
                await until(lambda: ganglion.peers_connected)
                assert await first.silent()
                await carrier.react(malt, [one])
                assert await first.receive() == [b"\1" + malt.topic]
                await carrier.react(malt, [two])
                await carrier.unreact(malt, [one])
                assert await first.silent()
                await carrier.unreact(malt, [two])
                assert await first.receive() == [b"\0" + malt.topic]
                await carrier.react(malt, [one])
                assert await first.receive() == [b"\1" + malt.topic]
                await carrier.react(hops, [two])
                assert await first.receive() == [b"\1" + hops.topic]
                await first.call(lambda socket: socket.close())
                await until(lambda: not ganglion.peers_connected)
                await carrier.unreact(hops, [two])
                with stranger(zmq.XPUB, xpub_verbose=1) as second:
                    second.bind(where)
                    assert await second.receive() == [b"\1" + malt.topic]
                    assert await second.silent()
                    await second.send(malt.topic, b"after the restart")
                    assert await one.get() == b"after the restart"

    run(main())


def test_from_several_publishers_to_several_subscribers(tmp_path: Path) -> None:
    async def main() -> None:
        with (
            stranger(zmq.PUB) as pub_1,
            stranger(zmq.PUB) as pub_2,
            stranger(zmq.SUB) as sub_1,
            stranger(zmq.SUB) as sub_2,
        ):
            sources = [pub_1.bind(endpoint("tcp", tmp_path)), pub_2.bind(endpoint("ipc", tmp_path))]
            async with pubsub_on(*sources) as ganglion:
                inbox = Inbox()
                await ganglion.adapt(malt, [inbox])
                await ganglion.adapt(hops)
                for sub in (sub_1, sub_2):
                    await sub.call(subscribe, hops.topic)
                    sub.connect(ganglion.endpoint)
                await until_subscribed(ganglion, hops, 2)
                await ganglion.transmit(b"to all", hops)
                for sub in (sub_1, sub_2):
                    assert await sub.receive() == [hops.topic, b"to all"]
                seen: set[bytes] = set()
                while seen != {b"from 1", b"from 2"}:
                    await pub_1.send(malt.topic, b"from 1")
                    await pub_2.send(malt.topic, b"from 2")
                    await asyncio.sleep(0.01)
                    seen.update(drain(inbox.queue))

    run(main())


@pytest.mark.parametrize("size", [65_535, 65_536, BIG])
def test_publish_large_messages_both_ways(size: int, tmp_path: Path) -> None:
    async def main() -> None:
        with stranger(zmq.XPUB) as source, stranger(zmq.SUB) as sink:
            async with pubsub_on(source.bind(endpoint("tcp", tmp_path))) as ganglion:
                inbox = Inbox()
                await ganglion.adapt(malt, [inbox])
                assert await source.receive() == [b"\1" + malt.topic]
                await sink.call(subscribe, malt.topic)
                sink.connect(ganglion.endpoint)
                await until_subscribed(ganglion, malt)
                payload = bytes(size)
                await source.send(malt.topic, payload)
                assert await inbox.get() == payload
                await ganglion.transmit(payload, malt)
                assert await within(sink.receive()) == [malt.topic, payload]

    run(main(), 60)


@pytest.mark.parametrize("kind", [zmq.ROUTER, zmq.DEALER, zmq.PAIR])
def test_publish_subscribe_refuses_other_sockets(kind: int, tmp_path: Path) -> None:
    async def main() -> None:
        with stranger(kind) as listening, stranger(kind) as dialling:
            async with pubsub_on(listening.bind(endpoint("tcp", tmp_path))) as ganglion:
                await ganglion.adapt(malt, [Inbox()])
                dialling.connect(ganglion.endpoint)
                await until(lambda: ganglion.stats().fault_count(Cause.HANDSHAKE_FAILED) >= 2)
                assert not ganglion.peers_connected

    run(main())


# -- heartbeats ----------------------------------------------------------------------------------------------

HEARTBEATS = {"heartbeat_ivl": 50, "heartbeat_timeout": 200, "heartbeat_ttl": 400}


@we_bind
@pytest.mark.parametrize("ours_s", [0, 0.05], ids=["theirs", "both"])
def test_heartbeats_keep_a_quiet_link(we_bind: bool, ours_s: float, tmp_path: Path) -> None:
    """For several times their time-outs nothing but PING and PONG passes, and the link stays."""

    async def main() -> None:
        with stranger(zmq.PAIR, **HEARTBEATS) as peer:
            events = peer.monitor(zmq.EVENT_DISCONNECTED | zmq.EVENT_HANDSHAKE_SUCCEEDED)
            where = endpoint("tcp", tmp_path)
            if we_bind:
                ganglion = GanglionZmqTcpPair(bind=where, heartbeat_s=ours_s)
                peer.connect(ganglion.endpoint)
            else:
                ganglion = GanglionZmqTcpPair(peer=peer.bind(where), heartbeat_s=ours_s)
            try:
                async with ganglion:
                    inbox = Inbox()
                    await ganglion.adapt(malt, [inbox])
                    await until(lambda: ganglion.peers_connected)
                    await peer.send(build_envelope(malt.topic, b"first"))
                    assert await inbox.get() == b"first"
                    before = ganglion.stats().links[0].received_bytes
                    # Twenty of their PINGs take a second, several times as long as they wait for a PONG.
                    await until(lambda: ganglion.stats().links[0].received_bytes > before + 20 * 8)
                    await peer.send(build_envelope(malt.topic, b"last"))
                    assert await inbox.get() == b"last"
                    assert ganglion.stats().faults == {}
                    seen = []
                    while events.poll(0):
                        seen.append(zmq.utils.monitor.recv_monitor_message(events)["event"])
                    assert seen == [zmq.EVENT_HANDSHAKE_SUCCEEDED]
            finally:
                peer.stop_monitor(events)

    run(main())


def test_our_heartbeats_are_answered_by_libzmq(tmp_path: Path) -> None:
    async def main() -> None:
        with stranger(zmq.PAIR) as peer:
            ganglion = GanglionZmqTcpPair(peer=peer.bind(endpoint("tcp", tmp_path)), heartbeat_s=0.05)
            async with ganglion:
                await ganglion.adapt(malt, [Inbox()])
                await until(lambda: ganglion.peers_connected)
                before = ganglion.stats().links[0].received_bytes
                await until(lambda: ganglion.stats().links[0].received_bytes > before + 10 * 7)
                assert ganglion.stats().fault_count(Cause.HEARTBEAT_TIMEOUT) == 0
                await ganglion.transmit(b"still here", malt)
                assert parse_envelope((await peer.receive())[0]) == (malt.topic, b"still here")

    run(main())


# -- link events ---------------------------------------------------------------------------------------------


def test_what_is_published_after_ready_reaches_every_subscriber() -> None:
    async def main() -> None:
        async with pubsub_on() as ganglion:
            await ganglion.adapt(malt)
            with stranger(zmq.SUB) as one, stranger(zmq.SUB) as other, stranger(zmq.SUB) as deaf:
                for peer in (one, other, deaf):
                    peer.connect(ganglion.endpoint)
                with pytest.raises(TimeoutError, match=r"0 are there"):
                    await ganglion.ready(2, malt, timeout_s=0.02)
                for peer in (one, other):
                    await peer.call(lambda socket: socket.subscribe(malt.topic))
                await within(ganglion.ready(2, malt))
                await ganglion.transmit(b"first", malt)
                for peer in (one, other):
                    assert await peer.receive() == [malt.topic, b"first"]

    run(main())


@we_bind
@transports
def test_links_to_strangers_are_told(we_bind: bool, transport: str, tmp_path: Path) -> None:
    async def main() -> None:
        with stranger(zmq.PAIR) as peer:
            async with pair_with(peer, we_bind, transport, tmp_path) as ganglion:
                events = ganglion.link_events()
                await within(ganglion.ready())
                (name,) = ganglion.peers_connected
                await peer.call(lambda socket: socket.close())
                assert await within(events.__anext__()) == LinkEvent(
                    LinkEventKind.CONNECTED, name, "", ganglion
                )
                assert (await within(events.__anext__()))[:2] == (LinkEventKind.DISCONNECTED, name)

    run(main())


def test_a_stranger_that_wants_a_password_fails_its_handshake(tmp_path: Path) -> None:
    async def main() -> None:
        with stranger(zmq.PAIR, plain_server=1) as peer:
            async with pair_with(peer, False, "tcp", tmp_path) as ganglion, ganglion.link_events() as events:
                event = await within(events.__anext__())
                assert event.kind is LinkEventKind.HANDSHAKE_FAILED
                with pytest.raises(TimeoutError, match=r"not there: tcp://"):
                    await ganglion.ready(timeout_s=0)

    run(main())


def test_a_stranger_that_came_too_early_comes_again(tmp_path: Path) -> None:
    """A pair turns a second peer away; libzmq must go on dialling, for the first may be the one that is dead."""

    async def main() -> None:
        where = endpoint("ipc", tmp_path)
        ganglion = GanglionZmqTcpPair(bind=where)
        got: list[bytes] = []
        async with Plexus([ganglion]) as plexus, GanglionZmqTcpPair(peer=where) as first:
            plexus.on(malt)(got.append)
            await first.ready(timeout_s=20)
            with stranger(zmq.PAIR, reconnect_ivl=5) as peer:
                peer.connect(where)
                await until(lambda: ganglion.stats().fault_count(Cause.REJECTED) >= 2)
                await first.aclose()
                await peer.send(build_envelope(malt.topic, b"at last"))
                await until(lambda: got == [b"at last"])

    run(main())
