# SPDX-License-Identifier: Apache-2.0
"""Reactants that get batches over links: what is in a batch, when it is handed over, who is beside it."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from plexo import Cause, GanglionInproc, GanglionZmqTcpPair, Plexus, RemoteError
from tests.network.records import (
    DTYPE,
    HOST,
    KINDS,
    Measured,
    Stranger,
    book,
    check,
    feed,
    longer,
    measured,
    records,
    sample,
    sender_and_receiver,
    sent,
    stranger,
    turns,
)
from tests.support import Blob, Tick, blob, run, tick, until, within


def joined(batches: list[Any]) -> Any:
    return np.concatenate(batches)


# -- what is in a batch ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_every_record_arrives_once_and_in_order(kind: str) -> None:
    async def main() -> None:
        async with sender_and_receiver(kind) as (sender, receiver, ready):
            batches: list[Any] = []
            receiver.on(sample, batch=True)(batches.append)
            await ready()
            everything = records(20_000)
            for record in everything:
                await sender.transmit(record, sample)
            await until(lambda: sum(map(len, batches)) >= len(everything))
            assert (joined(batches) == everything).all()
            assert all(batch.dtype == DTYPE and batch.ndim == 1 for batch in batches)
            # Far fewer calls than messages, and none longer than the default.
            assert len(batches) < len(everything) / 10
            assert max(map(len, batches)) <= 4096
            counted = book(receiver)
            assert (counted.accepted, counted.delivered) == (20_000, 20_000)

    run(main())


@pytest.mark.parametrize("kind", KINDS)
def test_values_that_are_no_records_come_in_lists(kind: str) -> None:
    async def main() -> None:
        async with sender_and_receiver(kind, [tick]) as (sender, receiver, ready):
            batches: list[list[Tick]] = []
            receiver.on(tick, batch=True)(batches.append)
            await ready()
            for n in range(5_000):
                await sender.transmit(Tick(n))
            await until(lambda: sum(map(len, batches)) >= 5_000)
            assert [each.n for batch in batches for each in batch] == list(range(5_000))
            assert all(type(batch) is list for batch in batches)
            assert len(batches) < 1_000

    run(main())


@pytest.mark.parametrize("kind", KINDS)
def test_structs_come_in_columns(kind: str) -> None:
    async def main() -> None:
        async with sender_and_receiver(kind, [measured]) as (sender, receiver, ready):
            batches: list[dict[str, Any]] = []
            receiver.on(measured, batch=True, columns=True)(batches.append)
            await ready()
            for n in range(3_000):
                await sender.transmit(Measured(n, n / 2, "x" * (n % 9), n % 3 == 0, None if n % 2 else 1.5))
            await until(lambda: sum(len(batch["count"]) for batch in batches) >= 3_000)
            assert all(list(batch) == ["count", "celsius", "open", "maybe"] for batch in batches)
            columns = {name: joined([batch[name] for batch in batches]) for name in batches[0]}
            n = np.arange(3_000)
            assert (columns["count"] == n).all() and columns["count"].dtype == np.int64
            assert (columns["celsius"] == n / 2).all() and columns["celsius"].dtype == np.float64
            assert (columns["open"] == (n % 3 == 0)).all() and columns["open"].dtype == np.bool_
            assert (np.isnan(columns["maybe"]) == (n % 2 == 1)).all() and (columns["maybe"][::2] == 1.5).all()

    run(main())


@pytest.mark.parametrize("kind", KINDS)
def test_two_neurons_at_once_are_kept_apart(kind: str) -> None:
    got: dict[str, list[Any]] = {"sample": [], "longer": []}

    def react(plexus: Plexus) -> None:
        plexus.on(sample, batch=True)(got["sample"].append)
        plexus.on(longer, batch=True)(got["longer"].append)

    wire = b""
    for n in range(300):
        wire += sent(kind, records(n % 4, 10 * n)) + sent(kind, np.full(n % 3, float(n)), longer)
    run(feed(kind, [wire], react))
    assert joined(got["sample"])["n"].tolist() == [10 * n + i for n in range(300) for i in range(n % 4)]
    assert joined(got["longer"]).tolist() == [float(n) for n in range(300) for _ in range(n % 3)]


def test_a_record_with_axes_and_one_too_large_for_a_run() -> None:
    """A shape adds axes behind the first; from 32 KiB on records are not looked for in runs, from 64 KiB on decoded."""
    from plexo import Neuron, NumpyCodec

    async def main() -> None:
        for shape in ((2, 3), (5_000,), (20_000,)):
            neuron: Neuron[Any] = Neuron(
                np.ndarray, "org.brewery.sake", NumpyCodec("<f8", shape), type_name_alias=f"Grid{shape[0]}"
            )
            async with sender_and_receiver("pair", [neuron]) as (sender, receiver, _):
                batches: list[Any] = []
                receiver.on(neuron, batch=True)(batches.append)
                everything = np.random.default_rng(1).random((12, *shape))
                for each in everything:
                    await sender.transmit(each, neuron)
                await until(lambda batches=batches: sum(map(len, batches)) == 12)
                assert (joined(batches) == everything).all()

    run(main())


# -- when --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_one_turn_is_one_batch(kind: str) -> None:
    async def main() -> None:
        batches: list[Any] = []
        async with stranger(kind, lambda plexus: plexus.on(sample, batch=True)(batches.append)) as (_, peer):
            for n in range(5):
                peer.give(sent(kind, records(100, 100 * n)))
                await until(lambda n=n: len(batches) > n)
            assert [batch["n"].tolist() for batch in batches] == [
                list(range(100 * n, 100 * n + 100)) for n in range(5)
            ]

    run(main())


@pytest.mark.parametrize("kind", KINDS)
def test_a_long_turn_is_cut_at_max_batch(kind: str) -> None:
    async def main() -> None:
        batches: list[Any] = []
        at: list[int] = []

        def react(plexus: Plexus) -> None:
            @plexus.on(sample, batch=True, max_batch=64)
            def note(batch: Any) -> None:
                batches.append(batch.copy())
                at.append(book(plexus).accepted)

        async with stranger(kind, react) as (_, peer):
            peer.give(sent(kind, records(200)))
            await until(lambda: len(batches) == 4)
            assert list(map(len, batches)) == [64, 64, 64, 8]
            assert (joined(batches) == records(200)).all()
            # The full ones are handed over on the way, not kept until the end of the turn.
            assert at == [64, 128, 192, 200]

    run(main())


def test_it_waits_for_more_as_long_as_it_was_told() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        skipped_s = 0.0
        clock = loop.time
        loop.time = lambda: clock() + skipped_s  # type: ignore[method-assign]
        batches: list[Any] = []

        def react(plexus: Plexus) -> None:
            plexus.on(sample, batch=True, max_wait_s=3.0, max_batch=10)(lambda batch: batches.append(batch))

        async with stranger("pair", react) as (plexus, peer):
            ganglion: Any = plexus.ganglia[0]

            async def give(count: int, first: int) -> None:
                before = ganglion.stats().received
                peer.give(sent("pair", records(count, first)))
                await until(lambda: ganglion.stats().received == before + count)
                await turns(5)

            await give(3, 0)
            skipped_s += 2.0
            await give(2, 3)
            assert not batches
            # Three seconds after the first of them, not after the last.
            skipped_s += 1.5
            await until(lambda: batches)
            assert batches[0]["n"].tolist() == [0, 1, 2, 3, 4]
            # A full one does not wait, and the next one waits anew.
            await give(12, 5)
            assert batches[1]["n"].tolist() == list(range(5, 15)) and len(batches) == 2
            skipped_s += 2.0
            await turns(5)
            assert len(batches) == 2 and book(plexus).queued == 2
            skipped_s += 1.5
            await until(lambda: len(batches) == 3)
            assert batches[2]["n"].tolist() == [15, 16]

    run(main())


def test_waiting_is_not_over_early_because_a_batch_was_full_meanwhile() -> None:
    """The reactant is busy: the clock of a batch that is full must not run on for the next one."""

    async def main() -> None:
        gate = asyncio.Event()
        batches: list[Any] = []

        def react(plexus: Plexus) -> None:
            @plexus.on(sample, batch=True, max_wait_s=3.0, max_batch=4)
            async def note(batch: Any) -> None:
                batches.append(batch["n"].tolist())
                await gate.wait()

        async with stranger("pair", react) as (plexus, peer):
            ganglion: Any = plexus.ganglia[0]
            loop = asyncio.get_running_loop()
            clock = loop.time
            skipped_s = 0.0
            loop.time = lambda: clock() + skipped_s  # type: ignore[method-assign]
            for count, first in ((4, 0), (3, 4), (2, 7)):
                peer.give(sent("pair", records(count, first)))
                await until(lambda first=first, count=count: ganglion.stats().received == first + count)
                await turns(3)
                skipped_s += 2.0
            # The batch of 4 to 7 was begun four seconds ago, the one of 8 two seconds ago.
            gate.set()
            await turns(5)
            assert batches == [[0, 1, 2, 3], [4, 5, 6, 7]]
            skipped_s += 1.5
            await until(lambda: len(batches) == 3)
            assert batches[2] == [8]

    run(main())


@pytest.mark.parametrize("kind", KINDS)
def test_under_uvloop(kind: str) -> None:
    uvloop = pytest.importorskip("uvloop")
    batches: list[Any] = []

    async def main() -> None:
        async with stranger(kind, lambda plexus: plexus.on(sample, batch=True)(batches.append)) as (_, peer):
            for n in range(20):
                await peer.send(sent(kind, records(500, 500 * n)))
                await until(lambda n=n: sum(map(len, batches)) == 500 * n + 500)

    loop = uvloop.new_event_loop()
    try:
        loop.run_until_complete(asyncio.wait_for(main(), 20))
    finally:
        loop.close()
    assert (joined(batches) == records(10_000)).all()
    assert len(batches) <= 60


# -- beside others -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_ordinary_reactants_streams_and_raw_ones_beside_it(kind: str) -> None:
    """Then records are decoded; nobody gets more or less for it, and it may change at any time."""

    async def main() -> None:
        batches: list[Any] = []
        plain: list[int] = []
        raw: list[bytes] = []

        def one(record: Any) -> None:
            plain.append(int(record["n"]))

        def keep_raw(payload: Any) -> None:
            raw.append(payload)

        async with stranger(kind, lambda plexus: plexus.on(sample, batch=True)(batches.append)) as (
            plexus,
            peer,
        ):
            ganglion: Any = plexus.ganglia[0]
            given = 0

            async def give() -> None:
                nonlocal given
                peer.give(sent(kind, records(50, given)))
                given += 50
                await until(lambda: sum(map(len, batches)) == given)

            await give()
            await plexus.react(sample, [one])
            await give()
            assert plain == list(range(50, 100))
            await ganglion.react_raw(sample, [keep_raw])
            await give()
            assert raw == [each.tobytes() for each in records(50, 100)]
            await plexus.unreact(sample, [one])
            await give()
            await ganglion.unreact(sample, raw_reactants=[keep_raw])
            stream = plexus.stream(sample)
            await give()
            assert [int((await stream.__anext__())["n"]) for _ in range(50)] == list(range(200, 250))
            stream.close()
            await give()
            assert (joined(batches) == records(given)).all()
            assert plain == list(range(50, 150))

    run(main())


@pytest.mark.parametrize("kind", KINDS)
def test_two_plexuses_on_one_ganglion(kind: str) -> None:
    async def main() -> None:
        mine: list[Any] = []
        theirs: list[Any] = []
        async with stranger(kind, lambda plexus: plexus.on(sample, batch=True)(mine.append)) as (
            plexus,
            peer,
        ):
            ganglion: Any = plexus.ganglia[0]
            other = Plexus([ganglion])

            async def give(first: int) -> None:
                before = ganglion.stats().received
                peer.give(sent(kind, records(60, first)))
                await until(lambda: ganglion.stats().received == before + 60)
                await turns(3)

            await other.adapt(sample)
            await give(0)
            other.on(sample, batch=True)(theirs.append)
            await give(60)
            await plexus.unreact(sample, [mine.append])
            await give(120)
            plexus.on(sample, batch=True)(mine.append)
            await other.unreact(sample, [theirs.append])
            await give(180)
            assert joined(mine)["n"].tolist() == [*range(120), *range(180, 240)]
            assert joined(theirs)["n"].tolist() == list(range(60, 180))
            check(other)

    run(main())


def test_a_bridge_forwards_what_its_batch_reactant_gets_too() -> None:
    async def main() -> None:
        here: list[Any] = []
        there: list[Any] = []
        left, right = GanglionZmqTcpPair(HOST, 0), GanglionZmqTcpPair(HOST, 0)
        async with (
            Plexus([left, right]) as bridge,
            Plexus([GanglionZmqTcpPair(peer=left.endpoint)]) as a,
            Plexus([GanglionZmqTcpPair(peer=right.endpoint)]) as b,
        ):
            bridge.on(sample, batch=True)(here.append)
            b.on(sample, batch=True)(there.append)
            await a.adapt(sample)
            await until(lambda: left.hub.links and right.hub.links)
            for record in records(500):
                await a.transmit(record, sample)
            await until(lambda: sum(map(len, there)) == 500 and sum(map(len, here)) == 500)
            assert (joined(here) == records(500)).all() and (joined(there) == records(500)).all()

    run(main())


def test_plexus_in_plexus_and_a_ganglion_of_this_process() -> None:
    async def main() -> None:
        batches: dict[str, list[Any]] = {"inner": [], "outer": [], "inproc": []}
        async with stranger("pair", lambda inner: inner.on(sample, batch=True)(batches["inner"].append)) as (
            inner,
            peer,
        ):
            inproc = GanglionInproc()
            outer = Plexus([inner, inproc])
            outer.on(sample, batch=True)(batches["outer"].append)
            last = Plexus([inproc])
            last.on(sample, batch=True)(batches["inproc"].append)
            peer.give(sent("pair", records(100)))
            await until(lambda: batches["inproc"])
            await outer.transmit(records(1, 100)[0], sample)
            await until(lambda: all(sum(map(len, got)) == 101 for got in batches.values()))
            for got in batches.values():
                assert (joined(got) == records(101)).all()
            for plexus in (outer, last):
                check(plexus)

    run(main())


# -- acknowledged ------------------------------------------------------------------------------------------


def test_an_acked_message_is_told_of_when_its_batch_is_done() -> None:
    async def main() -> None:
        async with sender_and_receiver("pair") as (sender, receiver, ready):
            gate = asyncio.Event()
            batches: list[Any] = []

            @receiver.on(sample, batch=True)
            async def note(batch: Any) -> None:
                batches.append(batch["n"].tolist())
                await gate.wait()
                if batch["n"][0] == 3:
                    raise ValueError("not three")

            await ready()
            first = [asyncio.ensure_future(sender.transmit(each, sample, acked=True)) for each in records(3)]
            await until(lambda: sum(map(len, batches)) >= 1 and book(receiver).accepted == 3)
            await turns(20)
            assert not any(each.done() for each in first)
            gate.set()
            await within(asyncio.gather(*first))
            with pytest.raises(RemoteError, match="not three"):
                await within(sender.transmit(records(1, 3)[0], sample, acked=True))
            await within(sender.transmit(records(1, 4)[0], sample, acked=True))
            assert [n for batch in batches for n in batch] == [0, 1, 2, 3, 4]

    run(main())


def test_acked_messages_that_a_queue_drops_or_a_removal_are_told() -> None:
    from plexo import NotDelivered, Queue

    async def main() -> None:
        async with sender_and_receiver("pair", [tick]) as (sender, receiver, ready):
            gate = asyncio.Event()
            batches: list[Any] = []

            async def stuck(batch: list[Tick]) -> None:
                batches.append([each.n for each in batch])
                await gate.wait()

            receiver.on(tick, batch=True, queue=Queue("drop_oldest", 2))(stuck)
            await ready()
            await sender.transmit(Tick(0))
            await until(lambda: batches)
            waiting = []
            for n in range(1, 5):
                waiting.append(asyncio.ensure_future(sender.transmit(Tick(n), acked=True)))
                await until(lambda n=n: book(receiver, tick).accepted == n + 1)
            for each in waiting[:2]:
                with pytest.raises(NotDelivered):
                    await within(each)
            assert not waiting[2].done() and not waiting[3].done()
            await receiver.unreact(tick, [stuck])
            for each in waiting[2:]:
                with pytest.raises(NotDelivered):
                    await within(each)
            gate.set()
            assert book(receiver, tick).dropped == {Cause.QUEUE_FULL: 2, Cause.REMOVED: 2}

    run(main())


# -- several event loops -----------------------------------------------------------------------------------


def test_messages_left_over_by_one_event_loop_are_for_the_next() -> None:
    batches: list[Any] = []
    gates: list[asyncio.Event] = []

    def react(plexus: Plexus) -> None:
        @plexus.on(sample, batch=True, max_batch=100)
        async def note(batch: Any) -> None:
            await gates[-1].wait()
            batches.append(batch.copy())

    peer = Stranger("pair")
    ganglion = peer.ganglion()
    plexus = Plexus([ganglion])
    react(plexus)

    async def begin() -> None:
        gates.append(asyncio.Event())
        await plexus.adapt(sample)
        await peer.connect(ganglion)
        peer.give(sent("pair", records(250)))
        await until(lambda: book(plexus).accepted == 250)

    async def go_on() -> None:
        gates.append(asyncio.Event())
        gates[-1].set()
        await plexus.adapt(sample)
        peer.give(sent("pair", records(50, 250)))
        await until(lambda: book(plexus).delivered == 200)
        # The batch that was in hand has died with its event loop.
        assert book(plexus).dropped == {Cause.CANCELLED: 100}
        assert (joined(batches) == records(200, 100)).all()
        await plexus.aclose()

    with pytest.MonkeyPatch.context() as patch:
        # The reactant is pending when the first one ends; that is the point.
        patch.setattr("tests.conftest.abandoned", [])
        run(begin())
        run(go_on())
    peer.close()


def test_what_waited_for_the_end_of_a_turn_that_never_came() -> None:
    batches: list[list[int]] = []
    plexus = Plexus()
    plexus.on(tick, batch=True, max_wait_s=60)(lambda batch: batches.append([each.n for each in batch]))

    async def send(n: int) -> None:
        await plexus.transmit(Tick(n))

    run(send(1))
    assert batches == []
    # No turn to wait for where no event loop runs: everything is handed over.
    plexus.transmit_nowait(Tick(2))
    assert batches == [[1, 2]]
    plexus.transmit_nowait(Tick(3))
    assert batches == [[1, 2], [3]]

    async def last() -> None:
        await plexus.transmit(Tick(4))
        await plexus.aclose()

    run(last())
    assert book(plexus, tick).dropped == {Cause.CLOSED: 1}


def test_a_batch_of_large_messages_is_handed_over_by_their_bytes() -> None:
    """Unless the user said how many messages he wants."""

    async def main() -> None:
        for max_batch, longest in ((None, 5), (20, 20)):
            sizes: list[int] = []
            bound = GanglionZmqTcpPair(HOST, 0)
            dialling = GanglionZmqTcpPair(peer=(HOST, bound.port))
            async with Plexus([bound]) as one, Plexus([dialling]) as other:

                @other.on(blob, batch=True, max_batch=max_batch, max_wait_s=0.2)
                def react(batch: list[Blob], sizes: list[int] = sizes) -> None:
                    sizes.append(len(batch))

                await one.adapt(blob)
                await one.transmit_many([Blob(bytes(1 << 18))] * 20, blob)
                await until(lambda sizes=sizes: sum(sizes) == 20)  # type: ignore[misc]
            # 1 MiB is reached with the fourth, or the fifth where heads do not count.
            assert max(sizes) <= longest and (max_batch is not None or len(sizes) >= 4)

    run(main())
