# SPDX-License-Identifier: Apache-2.0
"""Queues before a link, each policy, with a peer that does not read or is not there; and the books of both sides."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import msgspec
import pytest

from plexo import (
    Cause,
    EncodeError,
    GanglionInproc,
    GanglionZmqTcpPair,
    GanglionZmqTcpPubSub,
    Neuron,
    Plexus,
    Queue,
    QueueFull,
    StringCodec,
)
from plexo._fast.envelope import build_envelope
from plexo.statistics import Book, GanglionStats, sum_of
from tests.support import Blob, RawPeer, Tick, blob, frame, in_thread, run, tick, until, within

HOST = "127.0.0.1"
BIG = bytes(1 << 20)


def pair(**arguments: Any) -> GanglionZmqTcpPair:
    return GanglionZmqTcpPair(HOST, 0, heartbeat_s=0, reconnect_min_s=0.01, **arguments)


def to(other: GanglionZmqTcpPair, **arguments: Any) -> GanglionZmqTcpPair:
    return GanglionZmqTcpPair(peer=other.endpoint, heartbeat_s=0, reconnect_min_s=0.01, **arguments)


def checked(ganglion: Any) -> GanglionStats:
    """Its books, after looking whether they balance, each and together."""
    stats: GanglionStats = ganglion.stats()
    assert stats.balanced, stats
    links = sum_of(link.sending for link in (*stats.links, stats.ended))
    neurons = sum_of(each.sending for each in stats.neurons.values())
    # Two ways of counting: a link counts what the system took, a neuron what is neither queued nor dropped.
    assert links.delivered == neurons.delivered
    arrived = sum_of(link.receiving for link in (*stats.links, stats.ended))
    strange = arrived.dropped.get(Cause.UNKNOWN_TOPIC, 0) + arrived.dropped.get(Cause.MALFORMED, 0)
    assert arrived.accepted == stats.received + strange
    return stats


def sending(ganglion: Any, neuron: Any = tick) -> Book:
    return checked(ganglion).neurons[neuron.name].sending


# -- a pair without peer -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("queue", "arrive", "dropped"),
    [
        (Queue("drop_oldest", 3), [7, 8, 9], {Cause.QUEUE_FULL: 7}),
        (Queue("drop_newest", 3), [0, 1, 2], {Cause.QUEUE_FULL: 7}),
        (Queue("reject", 3), [0, 1, 2], {}),
        (Queue("latest"), [9], {Cause.SUPERSEDED: 9}),
        (Queue("latest", key=lambda data: data.n % 3), [9, 7, 8], {Cause.SUPERSEDED: 7}),
        # Four bytes each; one message may go over.
        (Queue("drop_oldest", bytes=6), [8, 9], {Cause.QUEUE_FULL: 8}),
    ],
    ids=repr,
)
def test_what_a_pair_keeps_for_a_peer_that_is_not_there(
    queue: Queue, arrive: list[int], dropped: dict[Cause, int], caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        ganglion = pair(send_queue=queue)
        async with Plexus([ganglion]) as a:
            await a.adapt(tick)
            refusals = []
            for n in range(10):
                try:
                    handed = await within(a.transmit(Tick(n)), 1)
                except QueueFull as error:
                    refusals.append(str(error))
                    with pytest.raises(QueueFull):
                        a.transmit_nowait(Tick(n))
                    continue
                assert handed == (1 if n in arrive or queue.policy in ("drop_oldest", "latest") else 0)
            refused = len(refusals)
            assert refused == (7 if queue.policy == "reject" else 0)
            assert all("a peer that is not there" in text for text in refusals)
            assert sending(ganglion) == Book(10 - refused, 0, len(arrive), dropped)
            begun = [each.getMessage() for each in caplog.records if "dropping, first" in each.getMessage()]
            assert len(begun) == (1 if Cause.QUEUE_FULL in dropped else 0)
            got: list[int] = []
            other = to(ganglion)
            async with Plexus([other]) as b:
                b.on(tick)(lambda data: got.append(data.n))
                await until(lambda: len(got) == len(arrive))
                assert got == arrive
                await until(lambda: sending(ganglion).delivered == len(arrive))
                assert sending(ganglion) == Book(10 - refused, len(arrive), 0, dropped)
                assert checked(other).neurons[tick.name].received == len(arrive)
                # And it goes on as if nothing had been.
                assert await a.transmit(Tick(10)) == 1
                await until(lambda: got == [*arrive, 10])
                ended = [each for each in caplog.records if "no more now" in each.getMessage()]
                assert len(ended) == len(begun)

    with caplog.at_level(logging.WARNING, "plexo"):
        run(main())


# -- a peer that does not read -----------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["drop_oldest", "drop_newest", "reject", "latest"])
@pytest.mark.parametrize("kind", ["pair", "publish"])
def test_a_stuck_peer_costs_what_its_queue_holds_and_no_more(kind: str, policy: Any) -> None:
    async def main() -> None:
        bound: Any
        # A message of 1 MiB each; the system's buffers take some, the queue eight.
        queue = (
            Queue(policy, messages=8) if policy != "latest" else Queue(policy, key=lambda data: data.data[0])
        )
        if kind == "pair":
            bound = pair(send_queue=queue)
            port, socket_type = bound.port, b"PAIR"
        else:
            bound = GanglionZmqTcpPubSub(HOST, 0, send_queue=queue, heartbeat_s=0)
            port, socket_type = bound.port_pub, b"SUB"
        async with Plexus([bound]) as plexus:
            await plexus.adapt(blob)
            peer = await in_thread(lambda: RawPeer(port or 0, socket_type))
            if kind == "publish":
                await in_thread(lambda: peer.socket.sendall(frame(b"\x01" + blob.topic)))
                await until(lambda: bound.subscriber_count(blob) == 1)
            else:
                await until(lambda: bound.peers_connected)
            refusals = []
            for n in range(60):
                try:
                    await within(plexus.transmit(Blob(bytes([n % 4]) + BIG)), 1)
                except QueueFull as error:
                    refusals.append(str(error))
                await asyncio.sleep(0)
                checked(bound)
            book = sending(bound, blob)
            refused = len(refusals)
            assert all(f"127.0.0.1:{peer.socket.getsockname()[1]}" in text for text in refusals)
            assert (refused > 0) == (policy == "reject")
            assert book.accepted == 60 - refused
            limit = 5 if policy == "latest" else 9  # one more may be half sent
            assert 0 < book.queued <= limit
            cause = Cause.SUPERSEDED if policy == "latest" else Cause.QUEUE_FULL
            assert set(book.dropped) == (set() if policy == "reject" else {cause})
            (link,) = checked(bound).links
            assert link.queued_bytes <= 10 * len(BIG)
            # It reads again: what was kept arrives, whole and in order.
            first = await in_thread(lambda: read_marks(peer, kind, book.delivered + book.queued))
            await until(lambda: sending(bound, blob).queued == 0)
            if policy == "drop_newest" or policy == "reject":
                assert first == [n % 4 for n in range(len(first))]
            else:
                assert first[-1] == 59 % 4
            peer.close()
            await until(lambda: not bound.peers_connected)
            assert checked(bound).ended.sending.accepted > 0

    run(main())


def read_marks(peer: RawPeer, kind: str, count: int) -> list[int]:
    """The first byte of the payload of each message."""
    marks = []
    for _ in range(count):
        _, body = peer.read_frame()
        if kind == "publish":
            assert body == blob.topic
            _, body = peer.read_frame()
            value = blob.decode(body)
        else:
            from tests.reference.envelope import parse_envelope

            value = blob.decode(parse_envelope(body)[1])
        marks.append(value.data[0])
    return marks


def test_a_publisher_that_blocks_waits_for_the_slowest_and_for_nobody_who_is_gone() -> None:
    async def main() -> None:
        source = GanglionZmqTcpPubSub(HOST, 0, send_queue=Queue("block", messages=4), heartbeat_s=0)
        async with (
            Plexus([source]) as plexus,
            Plexus([GanglionZmqTcpPubSub(HOST, 0, [source.endpoint or ""])]) as healthy,
        ):
            got: list[int] = []
            healthy.on(blob)(lambda data: got.append(data.data[0]))
            await plexus.adapt(blob)
            stuck = await in_thread(lambda: RawPeer(source.port_pub or 0, b"SUB"))
            await in_thread(lambda: stuck.socket.sendall(frame(b"\x01" + blob.topic)))
            await within(source.ready(2, blob))
            sent = 0
            while True:
                waiting = asyncio.create_task(plexus.transmit(Blob(bytes([sent]) + BIG)))
                done, _ = await asyncio.wait([waiting], timeout=0.3)
                if not done:
                    break
                assert waiting.result() == 2
                sent += 1
            assert source.stats().waiting == 1
            with pytest.raises(QueueFull):
                plexus.transmit_nowait(Blob(BIG))
            assert sending(source, blob).dropped == {}
            stuck.close()
            await within(waiting)
            await until(lambda: got == list(range(sent + 1)))
            book = sending(source, blob)
            assert set(book.dropped) == {Cause.UNSENT}
            assert checked(source).faults.keys() == {
                (Cause.DISCONNECTED, "", HOST),
                (Cause.UNSENT, blob.name, HOST),
            }

    run(main())


def test_latest_keeps_neurons_apart_and_decodes_what_is_forwarded_for_its_key() -> None:
    async def main() -> None:
        outside = pair(send_queue=Queue("latest", key=lambda data: getattr(data, "n", 0) % 2))
        inside = pair()
        async with Plexus([inside, outside]) as bridge, Plexus([to(inside)]) as a:
            await bridge.adapt(tick)
            await bridge.adapt(blob)
            await a.adapt(tick)
            await a.adapt(blob)
            for n in range(6):
                await a.transmit(Tick(n))
                await a.transmit(Blob(bytes([n])))
            await until(lambda: inside.stats().received == 12)
            assert sending(outside) == Book(6, 0, 2, {Cause.SUPERSEDED: 4})
            assert sending(outside, blob) == Book(6, 0, 1, {Cause.SUPERSEDED: 5})
            # What does not decode has no key.
            await a.transmit(Tick(7))
            (synapse,) = (each for each in a.ganglia[0]._synapses.values() if each.neuron == tick)  # type: ignore[union-attr]
            await synapse.transmit(b"\xc1")
            await until(lambda: sending(outside).dropped.get(Cause.UNDECODABLE) == 1)
            got: list[object] = []
            async with Plexus([to(outside)]) as b:
                b.on(tick)(got.append)
                b.on(blob)(got.append)
                await until(lambda: len(got) == 3)
                assert got == [Tick(4), Blob(b"\x05"), Tick(7)]

    run(main())


# -- receiving ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["drop_oldest", "drop_newest", "reject", "latest"])
def test_a_reactant_that_drops_lets_its_link_be_read(policy: Any) -> None:
    async def main() -> None:
        left, right = pair(), None
        right = to(left)
        async with Plexus([left]) as a, Plexus([right]) as b:
            gate = asyncio.Event()
            slow: list[int] = []
            quick: list[int] = []

            async def wait(data: Tick) -> None:
                await gate.wait()
                slow.append(data.n)

            await a.react(tick, [wait], queue=Queue(policy, 5))
            await a.react(blob, [lambda data: quick.append(len(data.data))])
            await b.adapt(tick)
            await b.adapt(blob)
            for n in range(2000):
                await b.transmit(Tick(n))
            await b.transmit(Blob(b"other neurons keep their rate"))
            await until(lambda: quick == [29])
            stats = a.stats().neurons[tick.name]
            assert stats.receiving.accepted == 2000
            assert stats.receiving.balanced
            assert stats.receiving.queued == (2 if policy == "latest" else 6)
            cause = Cause.SUPERSEDED if policy == "latest" else Cause.QUEUE_FULL
            assert a.stats().faults == {(cause, tick.name, HOST): 2000 - stats.receiving.queued}
            gate.set()
            kept = {"latest": [0, 1999], "drop_oldest": [0, 1995, 1996, 1997, 1998, 1999]}
            await until(lambda: slow == kept.get(policy, [0, 1, 2, 3, 4, 5]))
            checked(left), checked(right)
            assert left.stats().links[0].receiving == Book(2001, 2001, 0, {})

    run(main())


def test_bytes_bound_what_waits_for_a_reactant() -> None:
    async def main() -> None:
        left = pair()
        right = to(left)
        async with Plexus([left]) as a, Plexus([right]) as b:
            gate = asyncio.Event()
            got: list[int] = []

            async def wait(data: Blob) -> None:
                await gate.wait()
                got.append(data.data[0])

            await a.react(blob, [wait], queue=Queue("block", bytes=3 << 20))
            await b.adapt(blob)

            async def flood() -> None:
                for n in range(100):
                    await b.transmit(Blob(bytes([n]) + BIG))

            flooding = asyncio.create_task(flood())
            await until(lambda: a.stats().neurons[blob.name].receiving.queued == 4)
            await asyncio.sleep(0.05)
            # The one in hand, and three that wait: then the socket is left alone and the sender waits.
            assert a.stats().neurons[blob.name].receiving.queued == 4
            assert not flooding.done()
            gate.set()
            await until(lambda: len(got) == 100)
            await flooding
            assert got == list(range(100))

    run(main())


# -- failures ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["plexus", "ganglion"])
def test_failures_reach_the_hook_and_poison_the_dead_letters(
    place: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        failures: list[Any] = []
        letters: list[Any] = []
        left = pair(on_error=failures.append)
        a = Plexus([left], on_error=failures.append)
        b = Plexus([to(left)])

        async def react(data: Tick) -> None:
            if data.n:
                await asyncio.sleep(0)
                raise ValueError(data.n)

        async def letter(given: Any) -> None:
            letters.append(given)
            if len(letters) == 1:
                raise KeyError("a dead letter that kills")

        async with a, b:
            holder: Any = a if place == "plexus" else left
            await holder.react(tick, [react])
            await holder.react_dead_letters([letter])
            await b.adapt(tick)
            await b.transmit(Tick(5))
            await b.ganglia[0].transmit_encoded(b"\xc1poison", tick)  # type: ignore[union-attr]
            await b.transmit(Tick(0))
            await until(lambda: len(letters) == 2 and len(failures) == 2)
            failed, killed = sorted(failures, key=lambda each: str(type(each.error)), reverse=True)
            assert type(failed.error) is ValueError
            assert (failed.neuron, failed.reactant, failed.peer, failed.data) == (tick, react, HOST, Tick(5))
            assert type(killed.error) is KeyError
            by_reason = {each.reason: each for each in letters}
            assert by_reason[Cause.UNDECODABLE].payload == b"\xc1poison"
            assert by_reason[Cause.REACTANT_ERROR].payload == tick.encode(Tick(5))
            assert {each.peer for each in letters} == {HOST}
            assert {each.neuron for each in letters} == {tick}
            assert holder.stats().fault_count(Cause.REACTANT_ERROR) == 2
            assert left.stats().fault_count(Cause.UNDECODABLE) == 1
            assert checked(left).balanced and a.stats().balanced

    run(main())
    assert "ValueError: 5" in caplog.text


def test_an_error_hook_that_raises_is_logged_and_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        def hook(failure: Any) -> None:
            raise RuntimeError("in the hook")

        plexus = Plexus(on_error=hook)
        seen: list[int] = []

        @plexus.on(tick)
        async def react(data: Tick) -> None:
            await asyncio.sleep(0)
            seen.append(data.n)
            raise ValueError(data.n)

        plexus.transmit_nowait(Tick(1))
        plexus.transmit_nowait(Tick(2))
        await until(lambda: seen == [1, 2])
        await plexus.aclose()

    run(main())
    assert caplog.text.count("RuntimeError: in the hook") == 2
    with pytest.raises(TypeError, match="on_error: expected a function"):
        Plexus(on_error=5)  # type: ignore[arg-type]


def test_a_key_that_raises_finds_nothing_sent() -> None:
    async def main() -> None:
        def key(data: Tick) -> int:
            return 1 // data.n

        source = GanglionZmqTcpPubSub(HOST, 0, send_queue=Queue("latest", key=key), heartbeat_s=0)
        got: list[int] = []
        async with (
            Plexus([source]) as plexus,
            Plexus([GanglionZmqTcpPubSub(HOST, 0, [source.endpoint or ""])]) as other,
        ):
            other.on(tick)(lambda data: got.append(data.n))
            await plexus.adapt(tick)
            await within(source.ready(1, tick))
            for n in (1, 0, 2):
                if n:
                    assert await plexus.transmit(Tick(n)) == 1
                else:
                    with pytest.raises(ZeroDivisionError):
                        await plexus.transmit(Tick(n))
            await until(lambda: got == [1, 2])
            assert sending(source).accepted == 2

    run(main())


def test_what_cannot_be_passed_on_harms_neither_the_link_nor_the_others() -> None:
    class Stubborn(msgspec.Struct):
        n: int

    class OneWay(StringCodec):
        """Decodes, and will not encode."""

        def encode(self, data: Any) -> str:
            raise EncodeError("not here")

        def decode(self, data: Any) -> Any:
            return Stubborn(int(bytes(data)))

    neuron: Neuron[Any] = Neuron(Stubborn, "org.brewery.sake", OneWay())

    async def main() -> None:
        left = pair()
        bus = GanglionInproc()
        failures: list[Any] = []
        seen: list[int] = []
        outer = Plexus([left, bus])
        inner = Plexus([bus, pair()], on_error=failures.append)
        async with outer, inner, to(left) as peer:
            await outer.adapt(neuron)
            await inner.adapt(neuron)
            await bus.react(neuron, [lambda data: seen.append(data.n)], queue=Queue("reject", 1))
            await peer.adapt(neuron)
            for n in range(3):
                await peer.transmit_encoded(str(n), neuron)
            await until(lambda: seen == [0, 1, 2] and len(failures) == 3)
            assert {type(failure.error) for failure in failures} == {EncodeError}
            assert left.peers_connected
            # Both plexuses would pass it on.
            (told,) = await asyncio.gather(bus.transmit(Stubborn(3), neuron), return_exceptions=True)
            assert "not here" in repr(told)
            assert seen == [0, 1, 2, 3]
            assert checked(left).balanced and bus.stats().balanced and inner.stats().balanced

    run(main())


def test_what_comes_while_a_plexus_closes_does_not_wait_for_its_reactants() -> None:
    async def main() -> None:
        ganglion = pair()
        plexus = Plexus([ganglion], receive_queue=Queue(messages=3))
        async with plexus:
            began: list[int] = []

            @plexus.on(tick)
            async def stuck(data: Tick) -> None:
                began.append(data.n)
                await asyncio.Event().wait()

            peer = await in_thread(lambda: RawPeer(ganglion.port or 0))
            wire = b"".join(frame(build_envelope(tick.topic, tick.encode(Tick(n)))) for n in range(100))
            await in_thread(lambda: peer.socket.sendall(wire))
            # The link is paused now, with the rest in its hands: closing drops what waits, and lets it go on.
            await until(lambda: checked(plexus).neurons[tick.name].receiving.queued == 4)
        peer.close()
        book = checked(plexus).neurons[tick.name].receiving
        assert began == [0] and book.queued == 0, (began, book)

    run(main())


@pytest.mark.parametrize("inner", ["bus", "plexus", "plexus on the bus"])
def test_a_full_reactant_behind_other_ganglia_stops_the_link_too(inner: str) -> None:
    async def main() -> None:
        left = pair()
        right = to(left, send_queue=Queue("block", bytes=100_000))
        bus = GanglionInproc()
        deep = Plexus([bus] if inner == "plexus on the bus" else [])
        outer = Plexus([left, deep if inner == "plexus" else bus])
        holder: Any = bus if inner == "bus" else deep
        gate = asyncio.Event()
        got: list[int] = []

        async def wait(data: Blob) -> None:
            await gate.wait()
            got.append(len(data.data))

        async with outer, deep, Plexus([right]) as sender:
            await outer.adapt(blob)
            await holder.react(blob, [wait], queue=Queue("block", messages=5))
            await sender.adapt(blob)

            async def flood() -> None:
                for _ in range(400):
                    await sender.transmit(Blob(bytes(100_000)))

            flooding = asyncio.create_task(flood())
            await until(lambda: holder.stats().neurons[blob.name].receiving.queued == 6)
            await asyncio.sleep(0.05)
            assert holder.stats().neurons[blob.name].receiving.queued == 6
            assert not flooding.done()
            gate.set()
            await until(lambda: len(got) == 400)
            await flooding
            assert holder.stats().balanced and checked(left).balanced

    run(main())
