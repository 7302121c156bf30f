# SPDX-License-Identifier: Apache-2.0
"""Large arrays are sent from where they lie, as long as their sender waits, and copied where he does not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from plexo import GanglionZmqTcpPair, GanglionZmqTcpPubSub, MessageTooLarge, Neuron, NumpyCodec, Plexus, Queue
from plexo._fast.envelope import parse_envelope
from plexo.statistics import Book
from tests.support import RawPeer, in_thread, namespace, run, until, within

np: Any = pytest.importorskip("numpy", reason="numpy is an optional extra")

HOST = "127.0.0.1"
scan = Neuron(np.ndarray, namespace, NumpyCodec("<u4"), type_name_alias="Scan")
# More than any kernel takes for a peer that does not read.
LARGE = 16 << 20


def numbers(count: int = LARGE // 4) -> Any:
    return np.arange(count, dtype="<u4")


def pair(**arguments: Any) -> GanglionZmqTcpPair:
    return GanglionZmqTcpPair(HOST, 0, heartbeat_s=0, reconnect_min_s=0.01, **arguments)


@asynccontextmanager
async def stuck(**arguments: Any) -> AsyncIterator[tuple[GanglionZmqTcpPair, Plexus, RawPeer]]:
    """A pair whose peer reads when it is told to."""
    ganglion = pair(**arguments)
    async with Plexus([ganglion]) as plexus:
        await plexus.adapt(scan)
        peer = await in_thread(lambda: RawPeer(ganglion.port or 0))
        await ganglion.ready(timeout_s=10)
        with peer:
            yield ganglion, plexus, peer


async def arrives(peer: RawPeer) -> Any:
    def read() -> bytes:
        header = peer.read_exactly(9)
        # Small enough for a short frame, or large.
        if not header[0] & 2:
            return header[2:] + peer.read_exactly(header[1] - 7)
        body = bytearray(int.from_bytes(header[1:], "big"))
        at = memoryview(body)
        while at:
            at = at[peer.socket.recv_into(at) :]
        return bytes(body)

    name, payload = parse_envelope(await in_thread(read))
    assert name == scan.topic
    return scan.decode(payload)


def book(ganglion: GanglionZmqTcpPair) -> Book:
    stats = ganglion.stats()
    assert stats.balanced
    return stats.neurons[scan.name].sending


@pytest.mark.parametrize("through", ["plexus", "ganglion"])
def test_what_the_sender_does_with_its_array_afterwards_changes_nothing(through: str) -> None:
    async def main() -> None:
        async with stuck() as (ganglion, plexus, peer):
            array = numbers()
            place: Any = plexus if through == "plexus" else ganglion
            # The peer does not read: then a copy is made, and the sender may go on.
            assert await within(place.transmit(array, scan), 5) == 1
            assert book(ganglion) == Book(1, 0, 1, {})
            array[:] = 7
            assert np.array_equal(await arrives(peer), numbers())
            # Now it reads: no copy, and when `transmit` has ended everything is with the system.
            for _ in range(3):
                array = numbers()
                reading = asyncio.ensure_future(arrives(peer))
                assert await within(place.transmit(array, scan), 5) == 1
                array[:] = 7
                assert np.array_equal(await reading, numbers())
            assert book(ganglion) == Book(4, 4, 0, {})

    run(main())


def test_no_copy_is_made_for_a_peer_that_reads() -> None:
    async def main() -> None:
        import tracemalloc

        async with stuck() as (_ganglion, plexus, peer):
            array = numbers()
            chunk = bytearray(1 << 20)

            def drain() -> None:
                left = LARGE
                while left > 0:
                    left -= peer.socket.recv_into(chunk)

            tracemalloc.start()
            try:
                await asyncio.gather(plexus.transmit(array, scan), in_thread(drain))
                assert tracemalloc.get_traced_memory()[1] < LARGE // 4
            finally:
                tracemalloc.stop()

    run(main())


def test_cancelled_while_it_is_sent_the_message_is_sent_as_it_was() -> None:
    async def main() -> None:
        async with stuck() as (ganglion, plexus, peer):
            array = numbers()
            task = asyncio.create_task(plexus.transmit(array, scan))
            await asyncio.sleep(0.01)
            assert not task.done()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            array[:] = 7
            assert book(ganglion) == Book(1, 0, 1, {})
            assert np.array_equal(await arrives(peer), numbers())

    run(main())


def test_a_link_that_is_lost_in_the_middle_gets_all_of_it_again() -> None:
    async def main() -> None:
        async with stuck() as (ganglion, plexus, peer):
            array = numbers()
            task = asyncio.create_task(plexus.transmit(array, scan))
            await asyncio.sleep(0.01)
            assert not task.done()
            peer.close()
            # Accepted: it goes to whoever comes next.
            assert await within(task, 5) == 1
            array[:] = 7
            await until(lambda: not ganglion.peers_connected)
            assert book(ganglion) == Book(1, 0, 1, {})
            with await in_thread(lambda: RawPeer(ganglion.port or 0)) as second:
                assert np.array_equal(await arrives(second), numbers())
                await until(lambda: book(ganglion) == Book(1, 1, 0, {}))

    run(main())


def test_several_senders_and_those_who_do_not_wait() -> None:
    async def main() -> None:
        async with stuck() as (ganglion, plexus, peer):
            arrays = [numbers() + n for n in range(4)]
            assert plexus.transmit_nowait(arrays[0], scan) == 1
            arrays[0][:] = 7
            tasks = [asyncio.create_task(plexus.transmit(array, scan)) for array in arrays[1:]]
            await asyncio.sleep(0)
            for n in range(4):
                assert np.array_equal(await arrives(peer), numbers() + n)
            assert await within(asyncio.gather(*tasks)) == [1, 1, 1]
            assert book(ganglion) == Book(4, 4, 0, {})

    run(main())


def test_closing_while_it_is_sent() -> None:
    async def main() -> None:
        async with stuck() as (ganglion, plexus, _peer):
            task = asyncio.create_task(plexus.transmit(numbers(), scan))
            await asyncio.sleep(0.01)
            await plexus.aclose()
            assert await within(task, 5) == 1
            assert book(ganglion).queued == 0

    run(main())


def test_an_awaitable_that_nobody_awaits_takes_the_copy() -> None:
    async def main() -> None:
        async with stuck() as (ganglion, plexus, peer):
            array = numbers()
            (synapse,) = ganglion._synapses.values()
            loan = synapse.lend(array.view("u1"), array)
            assert type(loan).__name__ == "Loan"
            loan.cancel()
            loan = None
            array[:] = 7
            assert np.array_equal(await arrives(peer), numbers())
            array = numbers()
            assert synapse.lend(array.view("u1"), array) is not None  # dropped at once
            array[:] = 7
            assert np.array_equal(await arrives(peer), numbers())
            assert await plexus.transmit(numbers(3), scan) == 1
            assert np.array_equal(await arrives(peer), numbers(3))

    run(main())


def test_an_event_loop_that_ends_in_the_middle_leaves_it_to_the_next() -> None:
    ganglion = pair()
    plexus = Plexus([ganglion])
    array = numbers()

    async def first() -> RawPeer:
        await plexus.adapt(scan)
        peer = await in_thread(lambda: RawPeer(ganglion.port or 0))
        await ganglion.ready(timeout_s=10)
        task = asyncio.create_task(plexus.transmit(array, scan))
        await asyncio.sleep(0.01)
        assert not task.done()
        task.cancel()
        return peer

    async def second() -> None:
        plexus._use_running_loop()
        assert np.array_equal(await arrives(peer), numbers())
        await plexus.aclose()

    peer = run(first())
    array[:] = 7
    with peer:
        run(second())


@pytest.mark.parametrize(
    "convert",
    [
        lambda array: array[::2],
        lambda array: array.astype(">u4"),
        lambda array: array[:100],
        lambda array: np.ma.masked_array(array),
    ],
)
def test_what_is_not_lent(convert: Callable[[Any], Any]) -> None:
    assert scan._view_of(numbers()) is not None
    assert scan._view_of(convert(numbers())) is None
    assert scan._view_of("no array") is None


def test_local_reactants_and_other_queues_take_copies() -> None:
    async def main() -> None:
        async with stuck() as (_ganglion, plexus, peer):

            def change(array: Any) -> None:
                array[:] = 7

            plexus.on(scan)(change)
            assert await within(plexus.transmit(numbers(), scan), 5) == 2
            assert np.array_equal(await arrives(peer), numbers())
        async with stuck(send_queue=Queue("drop_newest", bytes=LARGE)) as (_, plexus, peer):
            array = numbers()
            assert await within(plexus.transmit(array, scan), 1) == 1
            array[:] = 7
            assert np.array_equal(await arrives(peer), numbers())
        async with stuck(max_frame_bytes=1 << 20) as (_, plexus, peer):
            with pytest.raises(MessageTooLarge):
                await plexus.transmit(numbers(), scan)

    run(main())


def test_subscribers_get_it_too() -> None:
    async def main() -> None:
        got: list[Any] = []
        source = GanglionZmqTcpPubSub(HOST, 0, heartbeat_s=0)
        async with (
            Plexus([source]) as a,
            Plexus([GanglionZmqTcpPubSub(port_pub=None, peers=[source.endpoint or ""])]) as b,
        ):
            await a.adapt(scan)
            b.on(scan)(got.append)
            await source.ready(1, scan, 10)
            array = numbers()
            assert await a.transmit(array, scan) == 1
            array[:] = 7
            await until(lambda: got)
            assert np.array_equal(got[0], numbers())

    run(main())
