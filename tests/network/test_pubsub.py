# SPDX-License-Identifier: Apache-2.0
"""Publish/subscribe: subscriptions that follow the reactants, fan-out, slow subscribers, restarts."""

from __future__ import annotations

import asyncio
import struct
from typing import Any

import pytest

from plexo import Cause, GanglionZmqTcpPubSub, MessageTooLarge, Neuron, Plexus, Queue
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
)

HOST = "127.0.0.1"


def publisher(**arguments: Any) -> GanglionZmqTcpPubSub:
    return GanglionZmqTcpPubSub(HOST, 0, **arguments)


def subscriber(*to: GanglionZmqTcpPubSub, **arguments: Any) -> GanglionZmqTcpPubSub:
    return GanglionZmqTcpPubSub(HOST, 0, [each.endpoint for each in to], reconnect_min_s=0.005, **arguments)


def subscribers(ganglion: GanglionZmqTcpPubSub, neuron: Neuron[Any]) -> int:
    return ganglion.subscriber_count(neuron)


def test_each_subscriber_gets_what_it_reacts_to_and_nothing_else() -> None:
    async def main() -> None:
        source = publisher()
        one, other, none = subscriber(source), subscriber(source), subscriber(source)
        async with Plexus([source]) as p, Plexus([one]) as a, Plexus([other]) as b, Plexus([none]) as c:
            got_a: list[object] = []
            got_b: list[object] = []
            a.on(tick)(got_a.append)
            b.on(tick)(got_b.append)
            b.on(reading)(got_b.append)
            await c.adapt(tick)
            await p.adapt(tick)
            await p.adapt(reading)
            await until(lambda: subscribers(source, tick) == 2 and subscribers(source, reading) == 1)
            for n in range(100):
                await p.transmit(Tick(n))
            await p.transmit(Reading("a", 1))
            await until(lambda: len(got_a) == 100 and len(got_b) == 101)
            assert got_a == [Tick(n) for n in range(100)]
            assert got_b == [*got_a, Reading("a", 1)]
            assert one.stats().received == 100
            assert none.stats().received == 0

    run(main())


def test_the_subscription_ends_with_the_last_reactant_and_comes_back_with_the_next() -> None:
    async def main() -> None:
        source = publisher()
        sink = subscriber(source)
        async with Plexus([source]) as p, Plexus([sink]) as s:
            await p.adapt(tick)
            got: list[Tick] = []
            also: list[Tick] = []
            await s.react(tick, [got.append, also.append])
            await until(lambda: subscribers(source, tick) == 1)
            await s.unreact(tick, [also.append])
            await p.transmit(Tick(1))
            await until(lambda: got)
            await s.unreact(tick, [got.append])
            await until(lambda: subscribers(source, tick) == 0)
            await p.transmit(Tick(2))
            await s.react(tick, [got.append])
            await until(lambda: subscribers(source, tick) == 1)
            await p.transmit(Tick(3))
            await until(lambda: len(got) == 2)
            assert got == [Tick(1), Tick(3)]

    run(main())


def test_nothing_is_encoded_where_nobody_subscribed() -> None:
    class Counting:
        name = "counting"
        encoded = 0

        def encode(self, value: str) -> bytes:
            self.encoded += 1
            return value.encode()

        def decode(self, data: bytes) -> str:
            return data.decode()

    async def main() -> None:
        codec = Counting()
        neuron = Neuron(str, namespace, codec)
        source = publisher()
        first, second = subscriber(source), subscriber(source)
        async with Plexus([source]) as p, Plexus([first]) as a, Plexus([second]) as b:
            await p.adapt(neuron)
            await p.transmit("nobody")
            assert codec.encoded == 0
            got: list[str] = []
            a.on(neuron)(got.append)
            b.on(neuron)(got.append)
            await until(lambda: subscribers(source, neuron) == 2)
            await p.transmit("both")
            await until(lambda: got == ["both", "both"])
            assert codec.encoded == 1

    run(main())


def test_a_subscriber_with_several_publishers_and_publishers_that_restart() -> None:
    async def main() -> None:
        first, second = publisher(), publisher()
        sink = subscriber(first, second)
        async with Plexus([sink]) as s:
            got: list[int] = []
            s.on(tick)(lambda data: got.append(data.n))
            async with Plexus([second]) as q:
                await q.adapt(tick)
                async with Plexus([first]) as p:
                    await p.adapt(tick)
                    await until(lambda: subscribers(first, tick) + subscribers(second, tick) == 2)
                    await p.transmit(Tick(1))
                    await q.transmit(Tick(2))
                    await until(lambda: sorted(got) == [1, 2])
                again = GanglionZmqTcpPubSub(HOST, first.port_pub or 0)
                async with Plexus([again]) as p:
                    await p.adapt(tick)
                    await until(lambda: subscribers(again, tick) == 1)
                    await p.transmit(Tick(3))
                    await q.transmit(Tick(4))
                    await until(lambda: sorted(got) == [1, 2, 3, 4])

    run(main())


def test_a_stuck_subscriber_loses_messages_that_are_counted_and_the_other_gets_all(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        source = publisher(send_queue=Queue("drop_newest", bytes=200_000))
        sink = subscriber(source)
        async with Plexus([source]) as p, Plexus([sink]) as s:
            got: list[int] = []
            s.on(blob)(lambda data: got.append(int.from_bytes(data.data[:4], "big")))
            await p.adapt(blob)
            stuck = await in_thread(lambda: RawPeer(source.port_pub or 0, b"SUB"))
            await in_thread(lambda: stuck.socket.sendall(frame(b"\x09SUBSCRIBE", 4)))
            await until(lambda: subscribers(source, blob) == 2)
            for n in range(600):
                await p.transmit(Blob(n.to_bytes(4, "big") + bytes(20_000)))
                await until(lambda n=n: len(got) == n + 1)
            stats = source.stats()
            dropped = stats.neurons[blob.name].sending.lost
            assert dropped > 0
            assert stats.neurons[blob.name].sending.accepted == 1200
            assert stats.balanced
            assert caplog.text.count("queue to") == 1
            assert any(link.queued_bytes >= 200_000 for link in stats.links)
            queued = sum(link.sending.queued for link in stats.links)
            stuck.close()
            await until(lambda: subscribers(source, blob) == 1)
            assert source.stats().fault_count(Cause.UNSENT) >= queued > 0

    run(main())


def test_prefixes_that_match_more_than_is_reacted_to_are_sorted_out_here() -> None:
    """`…Tick.msgpack` is a prefix of `…Tick.msgpackx`: subscriptions are prefixes, topics are exact."""

    class Longer:
        name = "msgpackx"

        def encode(self, value: Tick) -> bytes:
            return b"?"

        def decode(self, data: bytes) -> Tick:
            raise ValueError("never decoded")

    async def main() -> None:
        longer = Neuron(Tick, namespace, Longer())
        source = publisher()
        sink = subscriber(source)
        async with Plexus([source]) as p, Plexus([sink]) as s:
            got: list[Tick] = []
            s.on(tick)(got.append)
            await p.adapt(tick)
            await p.adapt(longer)
            await until(lambda: subscribers(source, tick) == 1)
            await p.transmit(Tick(1), longer)
            await p.transmit(Tick(2), tick)
            await until(lambda: got)
            assert got == [Tick(2)]
            assert sink.stats().fault_count(Cause.UNKNOWN_TOPIC) == 1
            assert sink.stats().fault_count(Cause.UNDECODABLE) == 0

    run(main())


@pytest.mark.parametrize("size", [0, 1, 255, 256, 32_768, 65_535, 65_536, 300_000, 5_000_000])
def test_every_size_arrives_whole(size: int) -> None:
    async def main() -> None:
        source = publisher()
        sink = subscriber(source)
        neuron = Neuron(bytes, namespace)
        async with Plexus([source]) as p, Plexus([sink]) as s:
            got: list[bytes] = []
            s.on(neuron)(got.append)
            await p.adapt(neuron)
            await until(lambda: subscribers(source, neuron) == 1)
            payload = bytes(range(256)) * (size // 256) + bytes(size % 256)
            await p.transmit(payload)
            await p.transmit(b"end")
            await until(lambda: len(got) == 2)
            assert got == [payload, b"end"]

    run(main())


def test_a_message_over_the_limit_is_refused() -> None:
    async def main() -> None:
        source = publisher(max_frame_bytes=100_000)
        sink = subscriber(source)
        async with Plexus([source]) as p, Plexus([sink]) as s:
            s.on(blob)(lambda data: None)
            await p.adapt(blob)
            await until(lambda: subscribers(source, blob) == 1)
            with pytest.raises(MessageTooLarge):
                await p.transmit(Blob(bytes(200_000)))

    run(main())


def test_a_long_topic_is_subscribed_to() -> None:
    async def main() -> None:
        neuron = Neuron(Tick, "x" * 3000)
        source = publisher()
        sink = subscriber(source)
        async with Plexus([source]) as p, Plexus([sink]) as s:
            got: list[Tick] = []
            s.on(neuron)(got.append)
            await p.adapt(neuron)
            await until(lambda: subscribers(source, neuron) == 1)
            await p.transmit(Tick(1), neuron)
            await until(lambda: got)

    run(main())


@pytest.mark.parametrize("form", ["command", "message"])
def test_both_forms_of_subscription_are_understood_and_cancelled(form: str) -> None:
    async def main() -> None:
        source = publisher()
        async with Plexus([source]) as p:
            await p.adapt(tick)
            peer = await in_thread(lambda: RawPeer(source.port_pub or 0, b"SUB"))
            if form == "command":
                subscribe, cancel = (
                    frame(b"\x09SUBSCRIBE" + tick.topic, 4),
                    frame(b"\x06CANCEL" + tick.topic, 4),
                )
            else:
                subscribe, cancel = frame(b"\x01" + tick.topic), frame(b"\x00" + tick.topic)
            await in_thread(lambda: peer.socket.sendall(subscribe))
            await until(lambda: subscribers(source, tick) == 1)
            await p.transmit(Tick(1))
            assert await in_thread(peer.read_frame) == (1, tick.topic)
            assert await in_thread(peer.read_frame) == (0, tick.encode(Tick(1)))
            await in_thread(lambda: peer.socket.sendall(cancel))
            await until(lambda: subscribers(source, tick) == 0)
            peer.close()

    run(main())


def test_pings_are_answered() -> None:
    async def main() -> None:
        source = publisher()
        async with source:
            peer = await in_thread(lambda: RawPeer(source.port_pub or 0, b"SUB"))
            await in_thread(
                lambda: peer.socket.sendall(frame(b"\x04PING" + struct.pack(">H", 5) + b"abc", 4))
            )
            assert await in_thread(peer.read_frame) == (4, b"\x04PONGabc")
            peer.close()

    run(main())


def test_ipc(tmp_path: Any) -> None:
    async def main() -> None:
        source = GanglionZmqTcpPubSub(bind=f"ipc://{tmp_path}/pub")
        sink = GanglionZmqTcpPubSub(bind=f"ipc://{tmp_path}/other", peers=[f"ipc://{tmp_path}/pub"])
        async with Plexus([source]) as p, Plexus([sink]) as s:
            got: list[Tick] = []
            s.on(tick)(got.append)
            await p.adapt(tick)
            await until(lambda: subscribers(source, tick) == 1)
            await p.transmit(Tick(1))
            await until(lambda: got)

    run(main())


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"peers": "tcp://127.0.0.1:5"}, TypeError, "peers"),
        ({"peers": ["127.0.0.1"]}, ValueError, "peers"),
        ({"bind": "tcp://127.0.0.1:0", "bind_interface": HOST}, ValueError, "bind"),
    ],
)
def test_bad_arguments_name_the_argument(
    arguments: dict[str, Any], error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        GanglionZmqTcpPubSub(**{"bind_interface": HOST, "port_pub": 0} | arguments)


def test_what_a_loop_left_unflushed_holds_nothing_back_in_the_next() -> None:
    source = publisher()
    first, second = subscriber(source), subscriber(source)
    p, a, b = Plexus([source]), Plexus([first]), Plexus([second])
    got_a: list[int] = []
    got_b: list[int] = []
    a.on(tick)(lambda data: got_a.append(data.n))
    b.on(reading)(lambda data: got_b.append(int(data.celsius)))

    async def join() -> None:
        for plexus in (p, a, b):
            await plexus.adapt(tick)
            await plexus.adapt(reading)

    async def leave_unflushed() -> None:
        await join()
        await until(lambda: subscribers(source, tick) == 1 and subscribers(source, reading) == 1)
        for n in range(5):
            await p.transmit(Tick(n))
        loop.stop()  # before the turn in which they would be flushed

    async def go_on() -> None:
        await join()
        for n in range(2):  # the first goes at once, the second at the end of the turn
            await p.transmit(Reading("b", n))
        await until(lambda: got_b == [0, 1], 3)  # less than a heartbeat
        await until(lambda: got_a == [0, 1, 2, 3, 4], 3)

    loop = asyncio.new_event_loop()
    left = loop.create_task(leave_unflushed())
    loop.run_forever()
    assert left.done()
    loop.close()
    run(go_on())
    for plexus in (a, b, p):
        plexus.close()


def test_a_ganglion_that_only_receives_binds_nothing() -> None:
    async def main() -> None:
        source = publisher()
        sink = GanglionZmqTcpPubSub(port_pub=None, peers=[source.endpoint or ""], reconnect_min_s=0.005)
        assert sink.endpoint is None
        async with Plexus([source]) as p, Plexus([sink]) as s:
            got: list[Tick] = []
            s.on(tick)(got.append)
            await p.adapt(tick)
            await until(lambda: source.subscriber_count(tick) == 1)
            await p.transmit(Tick(1))
            await until(lambda: got)
            assert "nothing" in repr(sink)

    run(main())


def test_a_peer_by_host_name() -> None:
    async def main() -> None:
        source = publisher()
        sink = GanglionZmqTcpPubSub(
            HOST, 0, peers=[("localhost", source.port_pub or 0)], reconnect_min_s=0.005
        )
        async with Plexus([source]) as p, Plexus([sink]) as s:
            got: list[Tick] = []
            s.on(tick)(got.append)
            await p.adapt(tick)
            await until(lambda: subscribers(source, tick) == 1)
            await p.transmit(Tick(1))
            await until(lambda: got)
            assert asyncio.all_tasks()

    run(main())
