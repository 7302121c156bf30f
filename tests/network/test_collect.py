# SPDX-License-Identifier: Apache-2.0
"""Collectors over links: what they hold, whom they wake, and readers in other threads while the event loop runs."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from plexo import Cause, Closed, GanglionInproc, Neuron, NumpyCodec, Plexus
from plexo.collector import Collector
from tests.network.records import (
    DTYPE,
    KINDS,
    Stranger,
    book,
    longer,
    records,
    sample,
    sender_and_receiver,
    sent,
    stranger,
    turns,
)
from tests.network.test_fork import fork_and_report
from tests.support import in_thread, namespace, run, until, within


class Collected:
    """For `stranger`: makes the collector."""

    ring: Collector

    def __init__(self, capacity: int = 1000, neuron: Neuron[Any] = sample) -> None:
        self.capacity = capacity
        self.neuron = neuron

    def __call__(self, plexus: Plexus) -> None:
        self.ring = plexus.collect(self.neuron, self.capacity)


def numbers(array: Any) -> list[int]:
    return [int(n) for n in array["n"]]


# -- what it holds -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_drain_gives_what_has_come_since(kind: str) -> None:
    async def main() -> None:
        async with sender_and_receiver(kind) as (sender, receiver, ready):
            ring = receiver.collect(sample)
            await ready()
            assert ring.capacity == 1_000_000
            assert ring.drain().shape == (0,) and ring.drain().dtype == DTYPE
            for first in (0, 700):
                for record in records(700, first):
                    await sender.transmit(record, sample)
                await until(lambda: len(ring) == 700)
                drained = ring.drain()
                assert (drained == records(700, first)).all()
                assert len(ring) == 0 and len(ring.drain()) == 0
            assert ring.overwritten == 0
            assert (ring.last(1000) == records(1000, 400)).all()
            assert (book(receiver).accepted, book(receiver).delivered) == (1400, 1400)
            ring.close()

    run(main())


@pytest.mark.parametrize("capacity", [1, 2, 7, 1000, 1023, 1024, 1025, 5_000, 17_000])
def test_only_the_newest_are_kept_and_the_others_counted(capacity: int) -> None:
    async def main() -> None:
        collected = Collected(capacity)
        async with stranger("pair", collected) as (plexus, peer):
            ring = collected.ring
            given = overwritten = read = 0
            for count in (1, 1, 5, 900, 1, 2_000, 1_100, 20_000, 3):
                await peer.send(sent("pair", records(count, given)))
                given += count
                await until(lambda given=given: book(plexus).accepted == given)
                waiting = min(capacity, given - read - overwritten)
                overwritten = given - read - waiting
                assert len(ring) == waiting
                assert ring.overwritten == overwritten
                assert numbers(ring.last(given)) == list(range(max(0, given - capacity), given))
                assert numbers(ring.last(3)) == list(range(max(0, given - min(3, capacity)), given))
                if count != 2_000:
                    assert numbers(ring.drain()) == list(range(given - waiting, given))
                    read += waiting
                counted = book(plexus)
                assert (counted.delivered, counted.queued) == (read, len(ring))
                assert counted.dropped.get(Cause.QUEUE_FULL, 0) == overwritten
            ring.close()

    run(main())


def test_arrays_stay_as_they_are_while_newer_records_lap_the_ring() -> None:
    async def main() -> None:
        collected = Collected(3_000)
        async with stranger("pair", collected) as (plexus, peer):
            kept: list[tuple[Any, Any]] = []
            given = 0
            while given < 60_000:
                await peer.send(sent("pair", records(777, given)))
                given += 777
                await until(lambda given=given: book(plexus).accepted == given)
                array = collected.ring.drain() if given % 2 else collected.ring.last(1 + given % 2_999)
                assert int(array["n"][-1]) == given - 1
                assert not array.flags.writeable
                if given // 777 % 3:
                    kept.append((array, array.copy()))
            assert len(kept) > 40
            assert all((array == before).all() for array, before in kept)
            collected.ring.close()

    run(main())


def test_memory_is_used_again_where_nothing_is_kept() -> None:
    async def main() -> None:
        collected = Collected(2_048)
        places = set()
        async with stranger("pair", collected) as (_, peer):
            for _ in range(40):
                await peer.send(sent("pair", records(1_024)))
                drained = await collected.ring.arrived(1_024)
                places.add(drained.__array_interface__["data"][0])
                del drained
            # Two thirds are in the ring, one is written next.
            assert len(places) <= 4
            collected.ring.close()

    run(main())


def test_records_with_axes() -> None:
    grid: Neuron[Any] = Neuron(np.ndarray, namespace, NumpyCodec("<i2", (2, 3)), type_name_alias="Grid")
    everything = np.arange(60, dtype="<i2").reshape(10, 2, 3)

    async def main() -> None:
        collected = Collected(8, grid)
        async with stranger("pair", collected) as (_, peer):
            ring = collected.ring
            assert ring.drain().shape == (0, 2, 3)
            peer.give(sent("pair", everything, grid))
            await until(lambda: ring.overwritten == 2)
            assert (ring.last(3) == everything[-3:]).all()
            assert (ring.drain() == everything[2:]).all()
            ring.close()

    run(main())


@pytest.mark.parametrize("kind", KINDS)
def test_two_collectors_a_batch_reactant_and_a_stream_at_once(kind: str) -> None:
    async def main() -> None:
        batches: list[Any] = []
        async with stranger(kind, lambda plexus: plexus.on(sample, batch=True)(batches.append)) as (
            plexus,
            peer,
        ):
            small, large = plexus.collect(sample, 10), plexus.collect(sample, 1000)
            other = plexus.collect(longer)
            peer.give(sent(kind, records(400)) + sent(kind, np.array([1.5]), longer))
            await until(lambda: len(other))
            await until(lambda: sum(map(len, batches)) == 400)
            assert (np.concatenate(batches) == records(400)).all()
            assert (large.drain() == records(400)).all() and large.overwritten == 0
            assert (small.drain() == records(10, 390)).all() and small.overwritten == 390
            # With a stream beside them they are decoded, and encoded again.
            stream = plexus.stream(sample)
            peer.give(sent(kind, records(50, 400)))
            await until(lambda: len(large) == 50)
            assert (large.drain() == records(50, 400)).all()
            assert [int((await stream.__anext__())["n"]) for _ in range(50)] == list(range(400, 450))
            stream.close()
            for ring in (small, large, other):
                ring.close()

    run(main())


def test_what_is_transmitted_here_is_collected_too() -> None:
    async def main() -> None:
        inproc = GanglionInproc()
        async with Plexus([inproc]) as plexus, Plexus([inproc]) as other:
            ring, theirs = plexus.collect(sample), other.collect(sample)
            for record in records(5):
                await plexus.transmit(record, sample)
            with pytest.raises(Exception, match="expected shape"):
                await plexus.transmit(records(2), sample)
            assert numbers(ring.drain()) == numbers(theirs.drain()) == [0, 1, 2, 3, 4]
            assert book(plexus).accepted == 5
            ring.close()
            theirs.close()

    run(main())


# -- waiting -----------------------------------------------------------------------------------------------


def test_arrived_waits_for_so_many() -> None:
    async def main() -> None:
        collected = Collected()
        async with stranger("pair", collected) as (_, peer):
            ring = collected.ring
            waiting = asyncio.ensure_future(ring.arrived(10))
            peer.give(sent("pair", records(9)))
            await until(lambda: len(ring) == 9)
            await turns(5)
            assert not waiting.done()
            peer.give(sent("pair", records(2, 9)))
            assert numbers(await within(waiting)) == list(range(11))
            # At once, where they are there.
            peer.give(sent("pair", records(3)))
            await until(lambda: len(ring) == 3)
            assert len(await ring.arrived(3, timeout_s=0)) == 3
            ring.close()

    run(main())


def test_time_outs_leave_what_has_come_and_nobody_waiting() -> None:
    async def main() -> None:
        collected = Collected()
        async with stranger("pair", collected) as (_, peer):
            ring = collected.ring
            peer.give(sent("pair", records(3)))
            await until(lambda: len(ring) == 3)
            with pytest.raises(TimeoutError, match=r"expected 4 records within 0\.01 s; 3 have come"):
                await ring.arrived(4, timeout_s=0.01)
            with pytest.raises(TimeoutError, match="3 have come"):
                await in_thread(lambda: ring.wait(4, timeout_s=0.01))
            with pytest.raises(TimeoutError):
                await in_thread(lambda: ring.wait(4, timeout_s=-1))
            cancelled = asyncio.ensure_future(ring.arrived(4))
            await turns(2)
            cancelled.cancel()
            await asyncio.wait([cancelled])
            assert len(ring) == 3
            # Nobody is called who does not wait any more.
            left = [
                each for each in gc.get_objects() if isinstance(each, threading.Event) and not each.is_set()
            ]
            before = len(left)
            del left
            for _ in range(20):
                with pytest.raises(TimeoutError):
                    await in_thread(lambda: ring.wait(900, timeout_s=0))
            gc.collect()
            left = [
                each for each in gc.get_objects() if isinstance(each, threading.Event) and not each.is_set()
            ]
            assert len(left) <= before + 2
            ring.close()

    run(main())


def test_waiting_in_a_thread_while_the_loop_runs() -> None:
    async def main() -> None:
        async with sender_and_receiver("pair") as (sender, receiver, ready):
            ring = receiver.collect(sample)
            await ready()
            with ThreadPoolExecutor(1) as pool:
                begun = threading.Event()

                def wait() -> Any:
                    begun.set()
                    return ring.wait(500, timeout_s=15)

                waiting = asyncio.get_running_loop().run_in_executor(pool, wait)
                assert await in_thread(lambda: begun.wait(10))
                for record in records(500):
                    await sender.transmit(record, sample)
                assert numbers(await within(waiting)) == list(range(500))
            with pytest.raises(RuntimeError, match="arrived"):
                ring.wait()
            ring.close()

    run(main())


def test_each_of_several_who_wait_gets_what_it_waited_for() -> None:
    """Two may wait for the same records; one of them gets them, the other waits on."""

    async def main() -> None:
        collected = Collected()
        async with stranger("pair", collected) as (_, peer):
            ring = collected.ring
            got: list[list[int]] = []

            async def take() -> None:
                got.append(numbers(await ring.arrived(5)))

            def take_in_thread() -> None:
                got.append(numbers(ring.wait(5, timeout_s=15)))

            tasks = [asyncio.ensure_future(take()) for _ in range(3)]
            tasks += [asyncio.ensure_future(in_thread(take_in_thread)) for _ in range(3)]  # type: ignore[arg-type]
            await turns(5)
            for n in range(6):
                peer.give(sent("pair", records(5, 5 * n)))
                await until(lambda n=n: sum(map(len, got)) == 5 * n + 5)
            await within(asyncio.gather(*tasks))
            assert [len(each) for each in got] == [5] * 6
            assert sorted(n for each in got for n in each) == list(range(30))
            ring.close()

    run(main())


# -- the end -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["close", "with", "async with", "plexus"])
def test_after_the_end_the_rest_can_be_read_and_who_waits_learns_of_it(how: str) -> None:
    async def main() -> None:
        collected = Collected()
        async with stranger("pair", collected) as (plexus, peer):
            ring = collected.ring
            peer.give(sent("pair", records(4)))
            await until(lambda: len(ring) == 4)
            waiting = asyncio.ensure_future(ring.arrived(5))
            in_a_thread = asyncio.ensure_future(in_thread(lambda: ring.wait(5)))
            await turns(5)
            if how == "close":
                ring.close()
                ring.close()
            elif how == "with":
                with ring as same:
                    assert same is ring
            elif how == "async with":
                async with ring:
                    pass
            else:
                await plexus.aclose()
            for each in (waiting, in_a_thread):
                with pytest.raises(Closed, match="4 are here"):
                    await within(each)
            if how in ("close", "with", "async with"):
                ganglion: Any = plexus.ganglia[0]
                peer.give(sent("pair", records(3)))
                await until(lambda: ganglion.stats().received == 7)
                assert book(plexus).accepted == 4
                with pytest.raises(Closed), ring:
                    pass
            assert numbers(ring.last(2)) == [2, 3]
            assert numbers(await ring.arrived(4)) == [0, 1, 2, 3]
            assert len(ring.drain()) == 0
            assert book(plexus).delivered == 4
            with pytest.raises(Closed):
                await ring.arrived()

    run(main())


def test_one_that_is_dropped_ends_its_subscription_and_is_counted() -> None:
    async def main() -> None:
        collected = Collected()
        async with stranger("pubsub", collected) as (plexus, peer):
            peer.give(sent("pubsub", records(4)))
            await until(lambda: len(collected.ring) == 4)
            kept = collected.ring.last(2)
            del collected.ring
            gc.collect()
            ganglion: Any = plexus.ganglia[0]
            peer.give(sent("pubsub", records(3)))
            await until(lambda: ganglion.stats().received == 7)
            assert book(plexus).dropped == {Cause.REMOVED: 4}
            assert book(plexus).accepted == 4
            assert numbers(kept) == [2, 3]

    run(main())


def test_closed_from_a_thread_while_records_arrive() -> None:
    async def main() -> None:
        async with stranger("pair", lambda plexus: None) as (plexus, peer):
            for _ in range(20):
                ring = plexus.collect(sample, 500)
                feeding = asyncio.ensure_future(peer.send(sent("pair", records(3_000))))
                await in_thread(ring.close)
                await within(feeding)
                assert len(ring) <= 500
                del ring
            ganglion: Any = plexus.ganglia[0]
            await until(lambda: ganglion.stats().received == 60_000)
            await turns(5)
            counted = book(plexus)
            assert counted.queued == 0 and counted.accepted == sum(counted.dropped.values())

    run(main())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_in_a_forked_child_it_is_empty_and_at_its_end() -> None:
    async def main() -> None:
        collected = Collected()
        batches: list[Any] = []
        async with stranger("pair", collected) as (plexus, peer):
            plexus.on(sample, batch=True)(batches.append)
            ring = collected.ring
            peer.give(sent("pair", records(4)))
            await until(lambda: len(ring) == 4)

            def act() -> list[Any]:
                asyncio._set_running_loop(None)
                try:
                    ring.wait(5, timeout_s=5)
                except Closed:
                    return [len(ring), ring.drain().size, len(batches)]
                return ["not closed"]

            assert (await in_thread(fork_and_report(act)))[1] == 0  # type: ignore[index]
            peer.give(sent("pair", records(4, 4)))
            await until(lambda: len(ring) == 8)
            assert numbers(ring.drain()) == list(range(8))
            await until(lambda: sum(map(len, batches)) == 8)
            ring.close()

    run(main())


def test_collected_under_several_event_loops() -> None:
    peer = Stranger("pair")
    ganglion = peer.ganglion()
    plexus = Plexus([ganglion])
    ring = plexus.collect(sample)

    async def part(first: int) -> None:
        await plexus.adapt(sample)
        if peer.socket is None:
            await peer.connect(ganglion)
        peer.give(sent("pair", records(100, first)))
        await until(lambda: len(ring) == 100 + first)

    for first in (0, 100, 200):
        run(part(first))
    assert numbers(ring.wait(300)) == list(range(300))
    ring.close()
    peer.close()
    plexus.close()


# -- threads -----------------------------------------------------------------------------------------------


@pytest.mark.time_limit(120)
def test_threads_that_drain_while_a_million_records_arrive() -> None:
    """Every record comes once, in order for each reader, or is counted as overwritten."""
    total = 1_000_000

    async def main() -> None:
        collected = Collected(30_000)
        async with stranger("pair", collected) as (plexus, peer):
            ring = collected.ring
            over = threading.Event()
            looked = threading.Event()

            def drain(pause_s: float) -> list[Any]:
                kept = []
                while not over.is_set():
                    array = ring.drain()
                    if len(array):
                        kept.append(array["n"].copy())
                    if pause_s:
                        time.sleep(pause_s)
                return kept

            def look() -> int:
                looks = 0
                while not over.is_set():
                    newest = ring.last(1_000)["n"]
                    if len(newest):
                        assert (np.diff(newest) == 1).all()
                        looks += 1
                        looked.set()
                return looks

            def wait() -> list[Any]:
                kept = []
                while not over.is_set():
                    try:
                        kept.append(ring.wait(500, timeout_s=0.05)["n"].copy())
                    except TimeoutError:
                        continue
                return kept

            with ThreadPoolExecutor(4) as pool:
                loop = asyncio.get_running_loop()
                readers = [loop.run_in_executor(pool, drain, pause_s) for pause_s in (0.0, 0.02)]
                readers.append(loop.run_in_executor(pool, wait))
                looking = loop.run_in_executor(pool, look)
                try:
                    for first in range(0, total, 50_000):
                        await peer.send(sent("pair", records(50_000, first)))
                    await until(lambda: book(plexus).accepted == total, 90)
                    # Somebody reads the rest.
                    await until(lambda: len(ring) == 0 or (len(ring) < 500 and not over.set()), 30)
                    await in_thread(lambda: looked.wait(30))
                finally:
                    over.set()
                kept = [array for reader in readers for array in await reader]
                assert await looking > 0
            rest = ring.drain()["n"]
            for array in kept:
                assert (np.diff(array) == 1).all()
            everything = np.concatenate([*kept, rest])
            assert len(np.unique(everything)) == len(everything)
            assert len(everything) + ring.overwritten == total
            assert book(plexus).delivered == len(everything)
            ring.close()

    run(main(), 100)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("capacity", [7, 1500])
def test_a_reactant_that_sends_records_itself_takes_the_room_that_a_ring_had(
    kind: str, capacity: int
) -> None:
    """Found by the fuzzer: a run was measured for both, then the reactant took the last places of the ring's slab."""

    async def main() -> None:
        own = records(1, -1)
        seen: list[int] = []
        async with sender_and_receiver(kind) as (sender, receiver, ready):
            times = 0

            @receiver.on(sample, batch=True, max_batch=5)
            def react(batch: Any) -> None:
                nonlocal times
                seen.extend(numbers(ring.drain()))
                if times < 300 and len(batch) == 5:
                    times += 1
                    receiver.transmit_nowait(own[0], sample)

            with receiver.collect(sample, capacity) as ring:
                await ready()
                for first in range(0, 3000, 1000):
                    await sender.transmit_many(records(1000, first), sample)
                await until(lambda: len(seen) + len(ring) == 3000 + times and times == 300)
                seen.extend(numbers(ring.drain()))
                assert [n for n in seen if n >= 0] == list(range(3000))
                assert seen.count(-1) == times and not ring.overwritten

    run(main())
