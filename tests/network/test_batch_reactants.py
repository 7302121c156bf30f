# SPDX-License-Identifier: Apache-2.0
"""What befalls a reactant that gets batches: it suspends, keeps them, raises, leaves, closes, is cancelled."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from plexo import Cause, GanglionZmqTcpPair, Plexus
from tests.network.records import (
    DTYPE,
    HOST,
    KINDS,
    Measured,
    book,
    check,
    measured,
    on_wire,
    records,
    sample,
    sent,
    stranger,
    turns,
)
from tests.support import Tick, run, tick, until, within


def joined(batches: list[Any]) -> Any:
    return np.concatenate(batches)


# -- reactants ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_while_it_is_suspended_the_next_batches_fill(kind: str) -> None:
    async def main() -> None:
        gate = asyncio.Event()
        batches: list[Any] = []

        def react(plexus: Plexus) -> None:
            @plexus.on(sample, batch=True, max_batch=100)
            async def note(batch: Any) -> None:
                batches.append(batch)
                await gate.wait()

        async with stranger(kind, react) as (plexus, peer):
            ganglion: Any = plexus.ganglia[0]
            peer.give(sent(kind, records(10)))
            await until(lambda: batches)
            peer.give(sent(kind, records(250, 10)))
            await until(lambda: ganglion.stats().received == 260)
            await turns(3)
            assert len(batches) == 1 and book(plexus).queued == 260
            gate.set()
            await until(lambda: sum(map(len, batches)) == 260)
            assert list(map(len, batches)) == [10, 100, 100, 50]
            assert (joined(batches) == records(260)).all()
            await until(lambda: book(plexus).delivered == 260)

    run(main())


def test_a_coroutine_that_does_not_suspend_costs_no_task() -> None:
    async def main() -> None:
        tasks: set[Any] = set()

        def react(plexus: Plexus) -> None:
            @plexus.on(sample, batch=True)
            async def note(batch: Any, neuron: Any) -> None:
                assert neuron is sample
                tasks.update(asyncio.all_tasks())
                async with asyncio.timeout(5) if hasattr(asyncio, "timeout") else asyncio.Lock():
                    await asyncio.sleep(0)
                seen.append(len(batch))

        seen: list[int] = []
        async with stranger("pair", react) as (_, peer):
            before = asyncio.all_tasks()
            for _ in range(10):
                peer.give(sent("pair", records(10)))
                await turns(10)
            await until(lambda: sum(seen) == 100)
            assert len(tasks - before) <= 10

    run(main())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("columns", [False, True])
def test_kept_arrays_never_change(kind: str, columns: bool) -> None:
    async def main() -> None:
        kept: list[Any] = []
        wanted: list[Any] = []
        neuron = measured if columns else sample

        def react(plexus: Plexus) -> None:
            @plexus.on(neuron, batch=True, max_batch=300, columns=columns)
            def keep(batch: Any) -> None:
                array = batch["count"] if columns else batch
                # Some whole, some in part, some not at all.
                if len(wanted) % 3 != 2:
                    kept.append(array[: len(array) // (1 + len(wanted) % 2)])
                else:
                    kept.append(None)
                wanted.append(array.copy())

        async with stranger(kind, react) as (plexus, peer):
            for n in range(0, 20_000, 130):
                if columns:
                    payloads = [measured.encode(Measured(i, 0.0)) for i in range(n, n + 130)]
                    await peer.send(on_wire(kind, measured, payloads))
                else:
                    await peer.send(sent(kind, records(130, n)))
            await until(lambda: book(plexus, neuron).delivered == 20_020)
        assert len(kept) > 60
        for array, before in zip(kept, wanted, strict=True):
            assert array is None or (array == before[: len(array)]).all()

    run(main())


def test_memory_is_used_again_where_no_array_is_kept() -> None:
    async def main() -> None:
        places: list[int] = []
        kept: list[Any] = []
        keeping = False

        def react(plexus: Plexus) -> None:
            @plexus.on(sample, batch=True, max_batch=500)
            def note(batch: Any) -> None:
                places.append(batch.__array_interface__["data"][0])
                if keeping:
                    kept.append(batch)

        async with stranger("pair", react) as (_, peer):

            async def give() -> None:
                before = len(places)
                peer.give(sent("pair", records(500)))
                await until(lambda: len(places) > before)

            for _ in range(40):
                await give()
            # The one that fills while another is in hand, and that one.
            assert len(set(places)) <= 2
            places.clear()
            keeping = True
            for _ in range(10):
                await give()
            assert len(set(places)) == 10
            # Small batches that are kept share memory.
            places.clear()
            slabs = set()
            for n in range(100):
                peer.give(sent("pair", records(1, n)))
                await until(lambda n=n: len(places) > n)
                base: Any = kept[-1]
                while isinstance(base, np.ndarray):
                    base = base.base
                slabs.add(id(getattr(base, "obj", base)))
            assert len(slabs) <= 3
            assert [int(each["n"][0]) for each in kept[-100:]] == list(range(100))

    run(main())


def test_what_it_raises_goes_to_on_error_with_the_batch_and_to_dead_letters_one_by_one() -> None:
    async def main() -> None:
        failures: list[Any] = []
        letters: list[Any] = []
        good: list[Any] = []

        def react(plexus: Plexus) -> None:
            @plexus.on(sample, batch=True, max_batch=10)
            async def note(batch: Any) -> None:
                if 10 <= batch["n"][0] < 20:
                    await asyncio.sleep(0)
                    raise ValueError("no such tank")
                if batch["n"][0] == 20:
                    raise OSError("at once")
                good.append(batch.copy())

        async with stranger("pair", react, on_error=failures.append) as (plexus, peer):
            await plexus.react_dead_letters([letters.append])
            peer.give(sent("pair", records(35)))
            await until(lambda: book(plexus).queued == 0 and book(plexus).accepted == 35)
            assert joined(good)["n"].tolist() == [*range(10), *range(30, 35)]
            assert [str(failure.error) for failure in failures] == ["no such tank", "at once"]
            assert failures[0].data["n"].tolist() == list(range(10, 20))
            assert failures[1].data["n"].tolist() == list(range(20, 30))
            assert np.frombuffer(b"".join(letter.payload for letter in letters), DTYPE)["n"].tolist() == list(
                range(10, 30)
            )
            assert {letter.reason for letter in letters} == {Cause.REACTANT_ERROR}
            assert book(plexus).dropped == {Cause.REACTANT_ERROR: 20}
            assert plexus.stats().fault_count(Cause.REACTANT_ERROR) == 20
            assert book(plexus).delivered == 15

    run(main())


def test_dead_letters_name_the_peer_each_came_from() -> None:
    """Of one batch from two peers; the faults are counted by peer, too."""

    async def main() -> None:
        letters: list[Any] = []
        first, second = GanglionZmqTcpPair(HOST, 0), GanglionZmqTcpPair("127.0.0.2", 0)
        async with Plexus([first, second]) as plexus:

            @plexus.on(tick, batch=True, max_batch=4, max_wait_s=5)
            def note(batch: Any) -> None:
                raise ValueError("no")

            await plexus.react_dead_letters([letters.append])
            for ganglion, host, n in ((first, HOST, 0), (second, "127.0.0.2", 2)):
                async with Plexus([GanglionZmqTcpPair(peer=ganglion.endpoint)]) as sender:
                    await sender.adapt(tick)
                    await sender.transmit(Tick(n))
                    await sender.transmit(Tick(n + 1))
                    await until(lambda ganglion=ganglion: ganglion.stats().received == 2)
                assert host
            await until(lambda: len(letters) == 4)
            hosts = [letter.peer for letter in letters]
            assert [tick.decode(letter.payload).n for letter in letters] == [0, 1, 2, 3]
            assert plexus.stats().fault_count(Cause.REACTANT_ERROR) == 4
            counted = {peer: count for (_, _, peer), count in plexus.stats().faults.items()}
            assert {peer: hosts.count(peer) for peer in hosts} == counted

    run(main())


def test_it_may_transmit_its_own_neuron_and_others() -> None:
    async def main() -> None:
        async with Plexus() as plexus:
            batches: list[list[int]] = []
            others: list[Tick] = []
            plexus.on(tick)(others.append)

            @plexus.on(measured, batch=True)
            async def count_down(batch: list[Measured]) -> None:
                batches.append([each.count for each in batch])
                for each in batch:
                    await plexus.transmit(Tick(each.count))
                    if each.count:
                        await plexus.transmit(Measured(each.count - 1, 0.0))

            await plexus.transmit(Measured(3, 0.0))
            await plexus.transmit(Measured(1, 0.0))
            await until(lambda: len(others) == 6)
            assert batches == [[3, 1], [2, 0], [1], [0]]
            assert [each.n for each in others] == [3, 1, 2, 0, 1, 0]

    run(main())


@pytest.mark.parametrize("kind", KINDS)
def test_one_that_removes_itself_in_the_middle_of_a_run_gets_no_more(kind: str) -> None:
    async def main() -> None:
        first: list[Any] = []
        second: list[Any] = []
        plexuses: list[Plexus] = []

        def once(batch: Any) -> None:
            first.append(batch.copy())
            plexuses[0]._unreact(sample, [once, also])

        def also(batch: Any) -> None:
            second.append(batch.copy())

        def react(plexus: Plexus) -> None:
            plexuses.append(plexus)
            plexus.on(sample, batch=True, max_batch=100)(once)
            plexus.on(sample, batch=True, max_batch=150)(also)

        async with stranger(kind, react) as (plexus, peer):
            ganglion: Any = plexus.ganglia[0]
            peer.give(sent(kind, records(1_000)))
            await until(lambda: ganglion.stats().received == 1_000)
            await turns(5)
            assert (joined(first) == records(100)).all() and not second
            # Nobody wants the rest, and that is counted.
            assert ganglion.stats().neurons[sample.name].receiving.dropped == {Cause.IGNORED: 900}

    run(main())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("what", ["plexus", "ganglion"])
def test_one_that_closes_in_the_middle_of_a_run(kind: str, what: str) -> None:
    async def main() -> None:
        batches: list[Any] = []
        other: list[Any] = []

        def react(plexus: Plexus) -> None:
            @plexus.on(sample, batch=True, max_batch=100)
            def closes(batch: Any) -> None:
                batches.append(batch.copy())
                (plexus if what == "plexus" else plexus.ganglia[0]).close()

            plexus.on(sample, batch=True)(other.append)

        async with stranger(kind, react) as (plexus, peer):
            peer.give(sent(kind, records(1_000)))
            await until(lambda: batches)
            await turns(10)
            assert len(batches) == 1 and (batches[0] == records(100)).all()
            assert len(other) <= (what == "ganglion")
            check(plexus)

    run(main())


def test_one_that_has_its_peer_leave_gets_what_had_come() -> None:
    async def main() -> None:
        batches: list[Any] = []
        async with stranger("pair", lambda plexus: None) as (plexus, peer):

            @plexus.on(sample, batch=True, max_batch=100)
            def leaves(batch: Any) -> None:
                batches.append(batch.copy())
                peer.leave()

            peer.give(sent("pair", records(950)))
            await until(lambda: sum(map(len, batches)) == 950)
            assert (joined(batches) == records(950)).all()
            ganglion: Any = plexus.ganglia[0]
            await until(lambda: not ganglion.hub.links)

    run(main())


def test_one_that_is_cancelled_goes_on_with_the_next_batch() -> None:
    async def main() -> None:
        tasks: list[Any] = []
        batches: list[Any] = []
        gate = asyncio.Event()

        def react(plexus: Plexus) -> None:
            @plexus.on(sample, batch=True, max_batch=100)
            async def note(batch: Any) -> None:
                tasks.append(asyncio.current_task())
                await gate.wait()
                batches.append(batch.copy())

        async with stranger("pair", react) as (plexus, peer):
            peer.give(sent("pair", records(250)))
            await until(lambda: tasks and book(plexus).accepted == 250)
            tasks[0].cancel()
            gate.set()
            await until(lambda: book(plexus).delivered == 150)
            assert (joined(batches) == records(150, 100)).all()
            assert book(plexus).dropped == {Cause.CANCELLED: 100}

    run(main())


def test_closing_counts_what_waited() -> None:
    async def main() -> None:
        begun: list[Any] = []

        def react(plexus: Plexus) -> None:
            @plexus.on(sample, batch=True, max_batch=100)
            async def stuck(batch: Any) -> None:
                begun.append(batch)
                await asyncio.Event().wait()

        async with stranger("pair", react) as (plexus, peer):
            peer.give(sent("pair", records(330)))
            await until(lambda: book(plexus).accepted == 330)
            await within(plexus.aclose(), 2)
            assert book(plexus).dropped == {Cause.CANCELLED: 100, Cause.CLOSED: 230}
            assert len(begun) == 1

    run(main())
