# SPDX-License-Identifier: Apache-2.0
"""What waits for a reactant that gets batches: every policy and bound, while it is stuck and while it is not."""

from __future__ import annotations

import asyncio
import itertools
import logging
from typing import Any, NamedTuple

import numpy as np
import pytest

from plexo import Cause, Closed, GanglionZmqTcpPair, Plexus, Queue, QueueFull
from tests.network.records import (
    HOST,
    KINDS,
    Measured,
    book,
    check,
    measured,
    on_wire,
    records,
    sample,
    sender_and_receiver,
    sent,
    stranger,
    turns,
)
from tests.support import Tick, run, tick, until, within

# Numbers that all have the same size, in every form.
FIRST = 100_000


class Form(NamedTuple):
    """One of the things a batch may be."""

    neuron: Any
    columns: bool

    def payload(self, n: int) -> bytes:
        if self.neuron is sample:
            return bytes(records(1, n)[0].tobytes())
        if self.neuron is tick:
            return bytes(tick.encode(Tick(n)))
        return bytes(measured.encode(Measured(n, 0.5)))

    def numbers(self, batch: Any) -> list[int]:
        if self.columns:
            return list(map(int, batch["count"]))
        return [int(each["n"]) if self.neuron is sample else each.n for each in batch]


FORMS = {"records": Form(sample, False), "list": Form(tick, False), "columns": Form(measured, True)}


class Stuck:
    """A reactant that takes its first batch and then waits."""

    def __init__(self, form: Form) -> None:
        self.form = form
        self.gate = asyncio.Event()
        self.batches: list[list[int]] = []

    async def __call__(self, batch: Any) -> None:
        self.batches.append(self.form.numbers(batch))
        await self.gate.wait()

    @property
    def numbers(self) -> list[int]:
        return list(itertools.chain(*self.batches))


@pytest.mark.parametrize("bound", ["messages", "bytes"])
@pytest.mark.parametrize("policy", ["drop_oldest", "drop_newest", "reject"])
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_kept_for_one_that_is_stuck(
    kind: str, form: Form, policy: str, bound: str, caplog: pytest.LogCaptureFixture
) -> None:
    size = len(form.payload(FIRST))
    # One message may go over.
    queue = Queue(policy, 60) if bound == "messages" else Queue(policy, bytes=60 * size - 1)

    async def main() -> None:
        stuck = Stuck(form)

        def react(plexus: Plexus) -> None:
            plexus.on(form.neuron, batch=True, max_batch=50, columns=form.columns, queue=queue)(stuck)

        async with stranger(kind, react) as (plexus, peer):
            ganglion: Any = plexus.ganglia[0]

            async def give(count: int, first: int) -> None:
                before = ganglion.stats().received
                payloads = [form.payload(n) for n in range(first, first + count)]
                peer.give(on_wire(kind, form.neuron, payloads))
                await until(lambda: ganglion.stats().received == before + count)

            await give(10, FIRST)
            await until(lambda: stuck.batches)
            for first in range(FIRST + 10, FIRST + 210, 40):
                await give(40, first)
            counted = book(plexus, form.neuron)
            assert (counted.accepted, counted.queued) == (210, 70)
            assert counted.dropped == {Cause.QUEUE_FULL: 140}
            assert plexus.stats().fault_count(Cause.QUEUE_FULL) == 140
            stuck.gate.set()
            await until(lambda: book(plexus, form.neuron).delivered == 70)
            kept = (
                range(FIRST + 150, FIRST + 210) if policy == "drop_oldest" else range(FIRST + 10, FIRST + 70)
            )
            assert stuck.numbers == [*range(FIRST, FIRST + 10), *kept]
            # And it goes on as if nothing had been.
            await give(30, FIRST + 210)
            await until(lambda: book(plexus, form.neuron).delivered == 100)
            assert stuck.numbers[70:] == list(range(FIRST + 210, FIRST + 240))

    with caplog.at_level(logging.WARNING, "plexo"):
        run(main())
    told = [each.getMessage() for each in caplog.records]
    assert len([each for each in told if f"dropping ({policy})" in each]) == 1
    assert len([each for each in told if "dropped 140 messages" in each]) == 1


@pytest.mark.parametrize("bound", ["messages", "bytes"])
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_block_stops_the_link_and_goes_on_later(kind: str, form: Form, bound: str) -> None:
    size = len(form.payload(FIRST))
    queue = Queue("block", 60) if bound == "messages" else Queue("block", bytes=60 * size - 1)

    async def main() -> None:
        stuck = Stuck(form)

        def react(plexus: Plexus) -> None:
            plexus.on(form.neuron, batch=True, max_batch=50, columns=form.columns, queue=queue)(stuck)

        async with stranger(kind, react) as (plexus, peer):
            ganglion: Any = plexus.ganglia[0]
            payloads = [form.payload(n) for n in range(FIRST, FIRST + 500)]
            peer.give(on_wire(kind, form.neuron, payloads[:10]))
            await until(lambda: stuck.batches)
            peer.give(on_wire(kind, form.neuron, payloads[10:]))
            await until(lambda: book(plexus, form.neuron).queued == 70)
            await turns(20)
            assert ganglion.stats().received == 70
            stuck.gate.set()
            await until(lambda: book(plexus, form.neuron).delivered == 500)
            assert stuck.numbers == list(range(FIRST, FIRST + 500))
            assert max(map(len, stuck.batches)) <= 50
            assert not book(plexus, form.neuron).dropped

    run(main())


def test_block_holds_up_no_other_link_for_longer_than_it_must() -> None:
    """Two links and one full queue: the second one stops too, after the first run that it brings."""

    async def main() -> None:
        stuck = Stuck(FORMS["records"])
        first, second = GanglionZmqTcpPair(HOST, 0), GanglionZmqTcpPair(HOST, 0)
        async with Plexus([first, second]) as plexus:
            # A bridge decodes, so the second ganglion gets the neuron by a plexus of its own.
            plexus.on(sample, batch=True, queue=Queue("block", 100))(stuck)
            async with (
                Plexus([GanglionZmqTcpPair(peer=first.endpoint)]) as a,
                Plexus([GanglionZmqTcpPair(peer=second.endpoint)]) as b,
            ):
                for plexus_ in (a, b):
                    await plexus_.adapt(sample)
                await a.transmit(records(1)[0], sample)
                await until(lambda: stuck.batches)
                for n in range(1, 500):
                    a.transmit_nowait(records(1, n)[0], sample)
                await until(lambda: book(plexus).queued == 101)
                for n in range(1000, 1500):
                    b.transmit_nowait(records(1, n)[0], sample)
                await until(lambda: second.stats().received)
                await turns(20)
                assert book(plexus).queued <= 102
                stuck.gate.set()
                await until(lambda: book(plexus).delivered == 1000)
                assert [n for n in stuck.numbers if n < 1000] == list(range(500))
                assert [n for n in stuck.numbers if n >= 1000] == list(range(1000, 1500))

    run(main())


@pytest.mark.parametrize("policy", ["block", "drop_oldest", "drop_newest", "reject"])
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_nothing_is_dropped_while_the_reactant_is_idle(form: Form, policy: str) -> None:
    """The queue is shorter than a batch, and than what one turn brings: then it is what cuts the batch."""

    async def main() -> None:
        batches: list[list[int]] = []

        def react(plexus: Plexus) -> None:
            plexus.on(form.neuron, batch=True, columns=form.columns, queue=Queue(policy, 20), max_wait_s=30)(
                lambda batch: batches.append(form.numbers(batch))
            )

        async with stranger("pair", react) as (plexus, peer):
            payloads = [form.payload(n) for n in range(FIRST, FIRST + 500)]
            peer.give(on_wire("pair", form.neuron, payloads))
            await until(lambda: book(plexus, form.neuron).delivered == 500)
            assert list(itertools.chain(*batches)) == list(range(FIRST, FIRST + 500))
            assert set(map(len, batches)) == {20}
            assert not book(plexus, form.neuron).dropped

    run(main())


def test_a_queue_given_to_the_plexus_counts() -> None:
    async def main() -> None:
        stuck = Stuck(FORMS["records"])
        queue = Queue("drop_newest", 7)
        async with stranger(
            "pair", lambda plexus: plexus.on(sample, batch=True)(stuck), receive_queue=queue
        ) as (plexus, peer):
            peer.give(sent("pair", records(1)))
            await until(lambda: stuck.batches)
            peer.give(sent("pair", records(20, 1)))
            await until(lambda: book(plexus).accepted == 21)
            assert book(plexus).dropped == {Cause.QUEUE_FULL: 13}
            stuck.gate.set()
            await until(lambda: book(plexus).queued == 0)
            assert stuck.numbers == list(range(8))

    run(main())


def test_faults_are_counted_by_peer() -> None:
    async def main() -> None:
        async with sender_and_receiver("pair") as (sender, receiver, ready):
            stuck = Stuck(FORMS["records"])
            receiver.on(sample, batch=True, queue=Queue("drop_newest", 5))(stuck)
            await ready()
            await sender.transmit(records(1)[0], sample)
            await until(lambda: stuck.batches)
            for record in records(50, 1):
                await sender.transmit(record, sample)
            await until(lambda: book(receiver).accepted == 51)
            ((fault, count),) = receiver.stats().faults.items()
            assert fault[:2] == (Cause.QUEUE_FULL, sample.name) and HOST in fault[2] and count == 45
            link = receiver.ganglia[0].stats().links[0]  # type: ignore[union-attr]
            assert link.receiving.delivered == 51
            stuck.gate.set()
            await until(lambda: book(receiver).delivered == 6)

    run(main())


# -- local senders -----------------------------------------------------------------------------------------


def test_a_local_sender_is_done_when_its_message_is_in_a_batch() -> None:
    async def main() -> None:
        async with Plexus() as plexus:
            stuck = Stuck(FORMS["list"])
            plexus.on(tick, batch=True, queue=Queue("block", 3))(stuck)
            assert await plexus.transmit(Tick(0)) == 1
            assert stuck.batches == []
            await until(lambda: stuck.batches)
            for n in range(1, 4):
                await within(plexus.transmit(Tick(n)), 1)
            # Full: a sender waits, and one that cannot is refused.
            with pytest.raises(QueueFull):
                plexus.transmit_nowait(Tick(-1))
            late = asyncio.ensure_future(plexus.transmit(Tick(4)))
            await turns(10)
            assert not late.done()
            stuck.gate.set()
            await within(late)
            await until(lambda: book(plexus, tick).delivered == 5)
            assert stuck.numbers == [0, 1, 2, 3, 4]

    run(main())


def test_a_local_sender_that_waits_learns_that_the_plexus_was_closed() -> None:
    async def main() -> None:
        plexus = Plexus()
        stuck = Stuck(FORMS["list"])
        plexus.on(tick, batch=True, queue=Queue("block", 1))(stuck)
        plexus.transmit_nowait(Tick(0))
        await until(lambda: stuck.batches)
        await plexus.transmit(Tick(1))
        late = asyncio.ensure_future(plexus.transmit(Tick(2)))
        await turns(3)
        await plexus.aclose()
        with pytest.raises(Closed):
            await within(late)
        assert book(plexus, tick).dropped == {Cause.CANCELLED: 1, Cause.CLOSED: 2}

    run(main())


@pytest.mark.parametrize(
    ("policy", "kept", "refused"),
    [("drop_oldest", [8, 9], 0), ("drop_newest", [1, 2], 0), ("reject", [1, 2], 7)],
)
def test_local_messages_under_the_other_policies(policy: str, kept: list[int], refused: int) -> None:
    async def main() -> None:
        async with Plexus() as plexus:
            stuck = Stuck(FORMS["list"])
            plexus.on(tick, batch=True, queue=Queue(policy, 2))(stuck)
            plexus.transmit_nowait(Tick(0))
            await until(lambda: stuck.batches)
            refusals = 0
            for n in range(1, 10):
                try:
                    if n % 2:
                        await within(plexus.transmit(Tick(n)), 1)
                    else:
                        plexus.transmit_nowait(Tick(n))
                except QueueFull:
                    refusals += 1
            assert refusals == refused
            stuck.gate.set()
            await until(lambda: book(plexus, tick).delivered == 3)
            assert stuck.numbers == [0, *kept]
            assert book(plexus, tick).dropped == ({} if refused else {Cause.QUEUE_FULL: 7})

    run(main())


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_value_that_does_not_fit_reaches_its_sender(form: Form) -> None:
    """Into records and columns it is put at once, so the sender learns of it; others in the batch are unharmed."""

    async def main() -> None:
        async with Plexus() as plexus:
            batches: list[Any] = []
            plexus.on(form.neuron, batch=True, columns=form.columns)(
                lambda batch: batches.append(form.numbers(batch))
            )
            good: list[Any] = {
                id(sample): [records(1, n)[0] for n in range(2)],
                id(tick): [Tick(0), Tick(1)],
                id(measured): [Measured(0, 0.0), Measured(1, 1.0)],
            }[id(form.neuron)]
            bad: Any = {id(sample): np.zeros(3), id(tick): "text", id(measured): Measured(1 << 70, 0.0)}[
                id(form.neuron)
            ]
            await plexus.transmit(good[0], form.neuron)
            with pytest.raises(Exception, match=r"expected|carries|too big"):
                await plexus.transmit(bad, form.neuron)
            await plexus.transmit(good[1], form.neuron)
            await until(lambda: batches)
            assert batches == [[0, 1]]
            assert book(plexus, form.neuron).accepted == 2

    run(main())


def test_its_own_messages_find_no_room_in_the_end() -> None:
    async def main() -> None:
        refusals: list[str] = []
        async with Plexus() as plexus:

            @plexus.on(tick, batch=True, queue=Queue("block", 5), max_batch=5)
            async def multiply(batch: list[Tick]) -> None:
                for each in batch:
                    if each.n < 3:
                        for _ in range(4):
                            try:
                                await plexus.transmit(Tick(each.n + 1))
                            except QueueFull as error:
                                refusals.append(str(error))

            await plexus.transmit(Tick(0))
            await until(lambda: refusals and book(plexus, tick).queued == 0)
            assert all("its own neuron" in each for each in refusals)
            check(plexus)

    run(main())


def test_messages_of_a_link_and_local_ones_in_one_batch() -> None:
    async def main() -> None:
        async with sender_and_receiver("pair") as (sender, receiver, ready):
            batches: list[Any] = []
            receiver.on(sample, batch=True, max_wait_s=30, max_batch=20)(
                lambda batch: batches.append(batch["n"].tolist())
            )
            await ready()
            for n in range(0, 20, 2):
                await sender.transmit(records(1, n)[0], sample)
                await until(lambda n=n: book(receiver).accepted == n + 1)
                await receiver.transmit(records(1, n + 1)[0], sample)
            assert batches == [list(range(20))]

    run(main())
