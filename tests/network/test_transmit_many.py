# SPDX-License-Identifier: Apache-2.0
"""Many values in one call, over sockets: the same bytes, books and order as one by one, with every policy."""

from __future__ import annotations

import asyncio
import itertools
import struct
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import pytest

from plexo import (
    Cause,
    GanglionInproc,
    GanglionZmqTcpPair,
    GanglionZmqTcpPubSub,
    JsonCodec,
    MessageTooLarge,
    Neuron,
    NumpyCodec,
    PickleCodec,
    Plexus,
    Queue,
    QueueFull,
    WrongType,
)
from plexo.statistics import Book, GanglionStats, sum_of
from tests.support import (
    Blob,
    RawPeer,
    Reading,
    Tick,
    blob,
    frame,
    in_thread,
    namespace,
    run,
    tick,
    until,
    within,
)

np: Any = pytest.importorskip("numpy", reason="numpy is an optional extra")

HOST = "127.0.0.1"
SAMPLE = np.dtype([("time", "<f8"), ("channels", "<f4", (13,)), ("sequence", "<u4")])  # 64 bytes
sample = Neuron(np.ndarray, namespace, NumpyCodec(SAMPLE, ()), type_name_alias="Sample")
vector = Neuron(np.ndarray, namespace, NumpyCodec("<i2", (3,)), type_name_alias="Vector")
picture = Neuron(np.ndarray, namespace, NumpyCodec("u1", (200, 200)), type_name_alias="Picture")


class Point(NamedTuple):
    x: int
    y: int


class PointCodec:
    """A user's codec: nothing for batches."""

    name = "point"

    def encode(self, data: Point) -> bytes:
        return struct.pack("<qq", *data)

    def decode(self, data: Any) -> Point:
        return Point(*struct.unpack("<qq", data))


point = Neuron(Point, namespace, PointCodec())
reading_json = Neuron(Reading, namespace, JsonCodec())
reading_pickle = Neuron(Reading, namespace, PickleCodec())


def samples(count: int, first: int = 0) -> Any:
    array = np.zeros(count, SAMPLE)
    array["sequence"] = np.arange(first, first + count)
    array["time"] = array["sequence"] / 8
    return array


def pair(**arguments: Any) -> GanglionZmqTcpPair:
    return GanglionZmqTcpPair(HOST, 0, heartbeat_s=0, reconnect_min_s=0.01, **arguments)


def to(other: GanglionZmqTcpPair, **arguments: Any) -> GanglionZmqTcpPair:
    return GanglionZmqTcpPair(peer=other.endpoint, heartbeat_s=0, reconnect_min_s=0.01, **arguments)


def checked(ganglion: Any) -> GanglionStats:
    stats: GanglionStats = ganglion.stats()
    assert stats.balanced, stats
    links = sum_of(link.sending for link in (*stats.links, stats.ended))
    assert links.delivered == sum_of(each.sending for each in stats.neurons.values()).delivered
    return stats


def sending(ganglion: Any, neuron: Any = tick) -> Book:
    return checked(ganglion).neurons[neuron.name].sending


@asynccontextmanager
async def two(
    neuron: Neuron[Any], convert: Callable[[Any], Any], **arguments: Any
) -> AsyncIterator[tuple[Any, Plexus, list[Any]]]:
    """A connected pair: the sending ganglion, its plexus, and what arrives at the other side."""
    got: list[Any] = []
    here = pair(**arguments)
    async with Plexus([here]) as a, Plexus([to(here)]) as b:
        b.on(neuron)(lambda value: got.append(convert(value)))
        await a.adapt(neuron)
        await here.ready(timeout_s=10)
        yield here, a, got


# -- the wire ----------------------------------------------------------------------------------------------

BATCHES: list[tuple[Neuron[Any], Sequence[Any]]] = [
    (tick, [Tick(n) for n in range(3000)]),
    (blob, [Blob(bytes(n)) for n in (0, 1, 7, 8, 200, 254, 255, 256, 40_000, 3, 32_767, 32_768, 70_000, 5)]),
    (blob, [Blob(bytes(300_000))] * 7),
    (reading_json, [Reading("tank", n / 2) for n in range(50)]),
    (reading_pickle, [Reading("tank", n / 2) for n in range(50)]),
    (point, [Point(n, -n) for n in range(2100)]),
    (sample, samples(5000)),
    (sample, samples(5000)[::3]),
    (sample, samples(100).astype(SAMPLE.newbyteorder(">"))),
    (sample, samples(40_000)),
    (vector, np.arange(60_000, dtype="<i2").reshape(-1, 3)),
    (vector, np.arange(600, dtype=">i2").reshape(-1, 3)[:, ::-1]),
    (vector, np.asfortranarray(np.arange(600, dtype="<i2").reshape(-1, 3))),
    (vector, list(np.arange(600, dtype="<i2").reshape(-1, 3))),
    (picture, np.arange(400_000, dtype="u4").astype("u1").reshape(-1, 200, 200)),
]


def elements(values: Any) -> Iterator[Any]:
    """What `transmit` would be given."""
    return (values[n, ...] for n in range(len(values))) if hasattr(values, "dtype") else iter(values)


@pytest.mark.parametrize("kind", ["pair", "publish"])
@pytest.mark.parametrize(("neuron", "values"), BATCHES, ids=range(len(BATCHES)))
def test_the_bytes_are_those_of_single_messages(kind: str, neuron: Neuron[Any], values: Any) -> None:
    async def wire(send: Callable[[Plexus], Any]) -> bytes:
        ganglion: Any = pair() if kind == "pair" else GanglionZmqTcpPubSub(HOST, 0, heartbeat_s=0)
        async with Plexus([ganglion]) as plexus:
            await plexus.adapt(neuron)
            port = ganglion.port if kind == "pair" else ganglion.port_pub
            peer = await in_thread(lambda: RawPeer(port, b"PAIR" if kind == "pair" else b"SUB"))
            with peer:
                if kind == "publish":
                    await in_thread(lambda: peer.socket.sendall(frame(b"\x01" + neuron.topic)))
                await ganglion.ready(neuron=neuron, timeout_s=10)
                reading = asyncio.create_task(in_thread(lambda: read_all(peer)))
                await send(plexus)
                assert sending(ganglion, neuron).accepted == len(values)
                await until(lambda: sending(ganglion, neuron).delivered == len(values))
                await plexus.aclose()
                return await reading

    async def main() -> None:
        async def singly(plexus: Plexus) -> None:
            for value in elements(values):
                await plexus.transmit(value, neuron)

        async def together(plexus: Plexus) -> None:
            assert await plexus.transmit_many(values, neuron) == len(values)

        first, second = await wire(singly), await wire(together)
        assert len(first) == len(second)
        assert first == second

    run(main())


def read_all(peer: RawPeer) -> bytes:
    parts = []
    while part := peer.socket.recv(1 << 20):
        parts.append(part)
    peer.close()
    return b"".join(parts)


def test_any_libzmq_understands_each_message() -> None:
    zmq = pytest.importorskip("zmq")
    from tests.reference.envelope import parse_envelope

    async def main() -> None:
        ganglion = pair()
        async with Plexus([ganglion]) as plexus:
            await plexus.adapt(sample)
            context = zmq.Context()
            peer = context.socket(zmq.PAIR)
            try:
                peer.connect(ganglion.endpoint)
                array = samples(3000)
                sending_all = plexus.transmit_many(array, sample)
                receiving_all = in_thread(lambda: [peer.recv() for _ in range(3000)])
                sent, bodies = await within(asyncio.gather(sending_all, receiving_all))
                assert sent == 3000
            finally:
                context.destroy(linger=0)
            names, payloads = zip(*map(parse_envelope, bodies), strict=True)
            assert set(names) == {sample.topic}
            assert b"".join(payloads) == array.tobytes()

    run(main())


# -- order and counts --------------------------------------------------------------------------------------


def test_order_among_batches_and_single_messages() -> None:
    async def main() -> None:
        async with two(tick, lambda value: value.n) as (here, a, got):
            numbers = itertools.count()
            expected = 0
            for size in (1, 1024, 3, 1025, 0, 5000):
                assert await a.transmit_many([Tick(next(numbers)) for _ in range(size)]) == size
                assert await a.transmit(Tick(next(numbers))) == 1
                # Not a list: an iterator, and the ganglion itself.
                assert await here.transmit_many((Tick(next(numbers)) for _ in range(7)), tick) == 7
                expected += size + 8
            await until(lambda: len(got) == expected)
            assert got == list(range(expected))
            assert sending(here) == Book(expected, expected, 0, {})

    run(main())


def test_several_senders_share_a_narrow_pair() -> None:
    async def main() -> None:
        async with two(tick, lambda value: value.n, send_queue=Queue(messages=5)) as (here, a, got):
            batches = [[Tick(1000 * k + n) for n in range(700)] for k in range(3)]
            singles = [Tick(9000 + n) for n in range(50)]

            async def one_by_one() -> None:
                for value in singles:
                    await a.transmit(value)

            await asyncio.gather(*(a.transmit_many(batch) for batch in batches), one_by_one())
            await until(lambda: len(got) == 2150)
            for k in range(3):
                assert [n for n in got if n // 1000 == k] == [value.n for value in batches[k]]
            assert [n for n in got if n >= 9000] == [value.n for value in singles]
            assert sending(here) == Book(2150, 2150, 0, {})

    run(main())


def test_a_batch_waits_for_a_peer_that_comes_late_and_goes_on_with_the_next() -> None:
    async def main() -> None:
        here = pair()
        array = samples(100_000)
        seen: list[int] = []
        async with Plexus([here]) as a:
            await a.adapt(sample)
            task = asyncio.create_task(a.transmit_many(array, sample))
            await asyncio.sleep(0.01)
            assert not task.done()
            assert here.stats().waiting == 1
            async with Plexus([to(here)]) as b:
                b.on(sample)(lambda value: seen.append(int(value["sequence"])))
                assert await within(task) == len(array)
                await until(lambda: len(seen) == len(array))
                assert seen == list(range(len(array)))
            # Without a peer again, and with a second batch behind the first.
            tasks = [asyncio.create_task(a.transmit_many(samples(10, first), sample)) for first in (0, 10)]
            await asyncio.sleep(0.01)
            seen.clear()
            async with Plexus([to(here)]) as b:
                b.on(sample)(lambda value: seen.append(int(value["sequence"])))
                assert await within(asyncio.gather(*tasks)) == [10, 10]
                await until(lambda: len(seen) == 20)
                assert [n for n in seen if n < 10] == list(range(10))
                assert [n for n in seen if n >= 10] == list(range(10, 20))

    run(main())


def test_subscribers_each_get_all_and_nobody_is_encoded_for_nobody() -> None:
    async def main() -> None:
        source = GanglionZmqTcpPubSub(HOST, 0, heartbeat_s=0)
        array = samples(30_000)
        async with Plexus([source]) as a:
            await a.adapt(sample)
            await a.adapt(tick)
            assert await a.transmit_many(array, sample) == 0
            assert await a.transmit_many([Tick(1)] * 5) == 0
            got: list[list[int]] = [[], [], []]
            async with (
                Plexus([GanglionZmqTcpPubSub(port_pub=None, peers=[source.endpoint or ""])]) as b,
                Plexus([GanglionZmqTcpPubSub(port_pub=None, peers=[source.endpoint or ""])]) as c,
                Plexus([GanglionZmqTcpPubSub(port_pub=None, peers=[source.endpoint or ""])]) as d,
            ):
                for plexus, seen in zip((b, c), got, strict=False):
                    plexus.on(sample)(lambda value, seen=seen: seen.append(int(value["sequence"])))
                d.on(tick)(lambda value: got[2].append(value.n))
                await source.ready(2, sample, 10)
                await source.ready(1, tick, 10)
                assert await a.transmit_many(array, sample) == 2 * len(array)
                assert await a.transmit_many(Tick(n) for n in range(3)) == 3
                await until(lambda: len(got[0]) == len(got[1]) == len(array) and len(got[2]) == 3)
                assert got == [list(range(len(array)))] * 2 + [[0, 1, 2]]
                assert sending(source, sample) == Book(2 * len(array), 2 * len(array), 0, {})

    run(main())


# -- policies ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("queue", "arrive", "dropped"),
    [
        (Queue("drop_oldest", 3), [7, 8, 9], {Cause.QUEUE_FULL: 7}),
        (Queue("drop_newest", 3), [0, 1, 2], {Cause.QUEUE_FULL: 7}),
        (Queue("reject", 3), [0, 1, 2], {}),
        (Queue("latest"), [9], {Cause.SUPERSEDED: 9}),
        (Queue("latest", key=lambda data: data.n % 3), [9, 7, 8], {Cause.SUPERSEDED: 7}),
        (Queue("drop_oldest", bytes=6), [8, 9], {Cause.QUEUE_FULL: 8}),
    ],
    ids=repr,
)
def test_what_a_pair_keeps_of_a_batch_for_a_peer_that_is_not_there(
    queue: Queue, arrive: list[int], dropped: dict[Cause, int]
) -> None:
    async def main() -> None:
        ganglion = pair(send_queue=queue)
        async with Plexus([ganglion]) as a:
            await a.adapt(tick)
            batch = [Tick(n) for n in range(10)]
            if queue.policy == "reject":
                with pytest.raises(QueueFull) as caught:
                    await within(a.transmit_many(batch), 1)
                assert caught.value.plexo_sent == 3
            else:
                handed = await within(a.transmit_many(batch), 1)
                assert handed == (3 if queue.policy == "drop_newest" else 10)
            accepted = 3 if queue.policy == "reject" else 10
            assert sending(ganglion) == Book(accepted, 0, len(arrive), dropped)
            got: list[int] = []
            async with Plexus([to(ganglion)]) as b:
                b.on(tick)(lambda data: got.append(data.n))
                await until(lambda: len(got) == len(arrive))
                assert got == arrive
                await until(lambda: sending(ganglion) == Book(accepted, len(arrive), 0, dropped))

    run(main())


@pytest.mark.parametrize("policy", ["block", "drop_oldest", "drop_newest", "reject", "latest"])
@pytest.mark.parametrize("bound", [{"messages": 100}, {"bytes": 50_000}], ids=str)
@pytest.mark.parametrize("kind", ["pair", "publish"])
def test_a_stuck_peer(kind: str, bound: dict[str, int], policy: Any) -> None:
    """What it is owed at the end: all but what was dropped, in order, and not twice."""

    async def main() -> None:
        queue = Queue(policy, **bound)
        ganglion: Any = (
            pair(send_queue=queue)
            if kind == "pair"
            else GanglionZmqTcpPubSub(HOST, 0, send_queue=queue, heartbeat_s=0)
        )
        total = 200_000
        array = samples(total)
        async with Plexus([ganglion]) as plexus:
            await plexus.adapt(sample)
            port = ganglion.port if kind == "pair" else ganglion.port_pub
            peer = await in_thread(lambda: RawPeer(port, b"PAIR" if kind == "pair" else b"SUB"))
            if kind == "publish":
                await in_thread(lambda: peer.socket.sendall(frame(b"\x01" + sample.topic)))
            await ganglion.ready(neuron=sample, timeout_s=10)
            task = asyncio.create_task(plexus.transmit_many(array, sample))
            await asyncio.sleep(0.1)
            while not task.done() and policy != "block":
                await asyncio.sleep(0.01)
            book = sending(ganglion, sample)
            if policy == "block":
                assert not task.done()
                assert book.accepted < total
                assert not book.dropped
                assert ganglion.stats().waiting == 1
                reading = asyncio.create_task(in_thread(lambda: read_sequence(peer, kind, total)))
                assert await within(task) == total
                assert await reading == list(range(total))
            else:
                error = task.exception()
                assert isinstance(error, QueueFull) == (policy == "reject"), error
                if policy == "reject":
                    assert book.accepted == error.plexo_sent
                else:
                    assert book.accepted == total
                owed = book.accepted - sum(book.dropped.values())
                if policy == "drop_newest":
                    assert task.result() == owed
                seen = await in_thread(lambda: read_sequence(peer, kind, owed))
                assert seen == sorted(set(seen))
                if policy in ("drop_newest", "reject"):
                    assert seen == list(range(owed))
                else:
                    assert seen[-1] == total - 1
            await until(lambda: sending(ganglion, sample).queued == 0)
            peer.close()

    run(main(), 60)


def read_sequence(peer: RawPeer, kind: str, count: int) -> list[int]:
    """The last field of so many samples."""
    before = len(sample.topic) + 4 if kind == "publish" else 2 + 32 + (len(sample.topic) // 8 + 1) * 8
    data = b""
    parts = []
    left = count * (before + 64)
    while left:
        data = peer.socket.recv(min(left, 1 << 20))
        assert data
        parts.append(data)
        left -= len(data)
    whole = np.frombuffer(b"".join(parts), "u1").reshape(count, before + 64)
    return list(map(int, np.ascontiguousarray(whole[:, -4:]).view("<u4")[:, 0]))


def test_one_slow_subscriber_costs_the_others_nothing() -> None:
    async def main() -> None:
        source = GanglionZmqTcpPubSub(HOST, 0, send_queue=Queue("drop_newest", bytes=100_000), heartbeat_s=0)
        got: list[int] = []
        async with (
            Plexus([source]) as a,
            Plexus([GanglionZmqTcpPubSub(port_pub=None, peers=[source.endpoint or ""])]) as b,
        ):
            await a.adapt(sample)
            b.on(sample)(lambda value: got.append(int(value["sequence"])))
            stuck = await in_thread(lambda: RawPeer(source.port_pub or 0, b"SUB"))
            await in_thread(lambda: stuck.socket.sendall(frame(b"\x01" + sample.topic)))
            await source.ready(2, sample, 10)
            total = 0
            while not sending(source, sample).dropped.get(Cause.QUEUE_FULL):
                # So small that the healthy one always has room.
                handed = await a.transmit_many(samples(500, total), sample)
                assert 500 <= handed <= 1000
                total += 500
                await until(lambda: len(got) == total)  # noqa: B023
            assert got == list(range(total))
            book = sending(source, sample)
            assert book.accepted == 2 * total
            stuck.close()
            await until(lambda: len(source.peers_connected) == 1)
            checked(source)

    run(main(), 60)


# -- what is wrong, and the end ----------------------------------------------------------------------------


def test_nothing_of_a_chunk_with_an_error_is_sent() -> None:
    async def main() -> None:
        async with two(tick, lambda value: value.n) as (here, a, got):
            wrong: Any = [Tick(0), Tick(1), "no tick", Tick(3)]
            with pytest.raises(WrongType) as caught:
                await a.transmit_many(wrong)
            assert "at index 2" in str(caught.value)
            assert (caught.value.index, vars(caught.value)["plexo_index"]) == (2, 2)
            # A list is looked through as a whole, another iterable up to the chunk in which something is wrong.
            late: Any = [*(Tick(n) for n in range(5000)), 5]
            with pytest.raises(WrongType, match="at index 5000"):
                await here.transmit_many(late, tick)
            assert sending(here) == Book(0, 0, 0, {})
            with pytest.raises(WrongType, match="at index 5000") as caught:
                await a.transmit_many(iter(late))
            assert vars(caught.value)["plexo_sent"] == 4096
            await until(lambda: len(got) == 4096)
            assert got == list(range(4096))
            unencodable: Any = [*(Tick(n) for n in range(1500)), Tick(2**70), Tick(3)]
            with pytest.raises(OverflowError) as overflow:
                await a.transmit_many(unencodable)
            assert vars(overflow.value) == {"plexo_index": 1500, "plexo_sent": 1024}
            await until(lambda: len(got) == 4096 + 1024)
            assert sending(here) == Book(5120, 5120, 0, {})

    run(main())


def test_what_is_too_large_is_found_before_the_rest_of_its_chunk_is_sent() -> None:
    async def main() -> None:
        async with two(blob, lambda value: len(value.data), max_frame_bytes=1000) as (here, a, got):
            values = [Blob(bytes(n)) for n in (10, 20, 2000, 30)]
            with pytest.raises(MessageTooLarge) as caught:
                await a.transmit_many(values)
            assert vars(caught.value) == {"plexo_index": 2, "plexo_sent": 0}
            with pytest.raises(MessageTooLarge):
                await here.transmit_many(values, blob)
            assert sending(here, blob).accepted == 0
            assert await a.transmit_many([*values[:2], values[3]]) == 3
            await until(lambda: got == [10, 20, 30])

    run(main())


@pytest.mark.parametrize("policy", ["block", "drop_oldest"])
def test_cancelled_in_the_middle(policy: Any) -> None:
    async def main() -> None:
        ganglion = pair(send_queue=Queue(policy, messages=50))
        total = 2_000_000
        async with Plexus([ganglion]) as plexus:
            await plexus.adapt(sample)
            peer = await in_thread(lambda: RawPeer(ganglion.port or 0))
            await ganglion.ready(timeout_s=10)
            sent: list[int] = []

            async def send() -> None:
                try:
                    await plexus.transmit_many(samples(total), sample)
                except asyncio.CancelledError as error:
                    sent.append(vars(error)["plexo_sent"])
                    raise

            task = asyncio.create_task(send())
            await asyncio.sleep(0.05)
            assert not task.done()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            book = sending(ganglion, sample)
            assert 0 < book.accepted < total
            assert sent == [book.accepted]
            owed = book.accepted - sum(book.dropped.values())
            seen = await in_thread(lambda: read_sequence(peer, "pair", owed))
            assert seen == sorted(set(seen))
            if policy == "block":
                assert seen == list(range(book.accepted))
            await until(lambda: sending(ganglion, sample).queued == 0)
            assert ganglion.stats().waiting == 0
            # And the next message goes as if nothing had been.
            await plexus.transmit_many(samples(1, 77), sample)
            assert await in_thread(lambda: read_sequence(peer, "pair", 1)) == [77]
            peer.close()

    run(main(), 60)


def test_closing_ends_a_batch_that_waits() -> None:
    async def main() -> None:
        from plexo import Closed

        ganglion = pair()
        async with Plexus([ganglion]) as plexus:
            await plexus.adapt(sample)
            task = asyncio.create_task(plexus.transmit_many(samples(10), sample))
            await asyncio.sleep(0.01)
        with pytest.raises(Closed) as caught:
            await task
        assert vars(caught.value)["plexo_sent"] == 0
        assert checked(ganglion).neurons[sample.name].sending == Book(0, 0, 0, {})

    run(main())


def test_a_link_that_breaks_in_the_middle_loses_nothing_that_is_with_us() -> None:
    async def main() -> None:
        ganglion = pair()
        total = 300_000
        async with Plexus([ganglion]) as plexus:
            await plexus.adapt(sample)
            first = await in_thread(lambda: RawPeer(ganglion.port or 0))
            await ganglion.ready(timeout_s=10)
            task = asyncio.create_task(plexus.transmit_many(samples(total), sample))
            await asyncio.sleep(0.05)
            assert not task.done()
            first.close()
            await until(lambda: not ganglion.peers_connected)
            owed = total - sending(ganglion, sample).delivered
            second = await in_thread(lambda: RawPeer(ganglion.port or 0))
            seen = await in_thread(lambda: read_sequence(second, "pair", owed))
            assert await within(task) == total
            assert seen == list(range(total - owed, total))
            await until(lambda: sending(ganglion, sample) == Book(total, total, 0, {}))
            second.close()

    run(main(), 60)


def test_the_event_loop_has_its_turns_during_a_large_batch() -> None:
    async def main() -> None:
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        source = GanglionZmqTcpPubSub(HOST, 0, heartbeat_s=0)
        async with Plexus([source]) as plexus:
            await plexus.adapt(sample)
            peer = await in_thread(lambda: RawPeer(source.port_pub or 0, b"SUB"))
            await in_thread(lambda: peer.socket.sendall(frame(b"\x01" + sample.topic)))
            await source.ready(neuron=sample, timeout_s=10)
            counting = asyncio.create_task(count())
            await plexus.transmit_many(samples(500_000), sample)
            counting.cancel()
            assert turns > 10
            peer.close()

    run(main(), 60)


# -- through a plexus --------------------------------------------------------------------------------------


def test_local_reactants_and_two_ganglia() -> None:
    async def main() -> None:
        first, second, bus = pair(), pair(), GanglionInproc()
        got: dict[str, list[int]] = {"local": [], "first": [], "second": [], "bus": []}
        async with (
            Plexus([first, second]) as a,
            Plexus([to(first)]) as b,
            Plexus([to(second)]) as c,
        ):
            b.on(tick)(lambda value: got["first"].append(value.n))
            c.on(tick)(lambda value: got["second"].append(value.n))

            @a.on(tick)
            async def local(value: Tick) -> None:
                if value.n % 500 == 0:
                    await asyncio.sleep(0)
                got["local"].append(value.n)

            values = [Tick(n) for n in range(3000)]
            assert await a.transmit_many(values) == 9000
            await until(lambda: len(got["first"]) == len(got["second"]) == 3000)
            assert got["local"] == got["first"] == got["second"] == list(range(3000))
            # An internal ganglion, too: then each message remembers where it has been.
            await a.infuse_ganglion(bus)
            await bus.react(tick, [lambda value: got["bus"].append(value.n)])
            assert await a.transmit_many(iter(values)) == 12_000
            await until(lambda: len(got["first"]) == len(got["second"]) == 6000)
            assert got["bus"] == got["local"][3000:] == list(range(3000))
            bad: Any = [Tick(1), Tick(2**70)]
            with pytest.raises(OverflowError):
                await a.transmit_many(bad)
            assert len(got["local"]) == 6000

    run(main())
