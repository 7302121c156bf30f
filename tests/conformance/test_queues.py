# SPDX-License-Identifier: Apache-2.0
"""Queues before reactants and peers, under each policy; books that balance meanwhile and afterwards."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from plexo import Cause, Closed, Queue, QueueFull
from tests.conformance.rigs import POLICIES, RIGS, Gate, Rig, bulk, every, numbers, raw, receiving, sending
from tests.support import Reading, Tick, reading, run, tick, until, within

MOST = 4
COUNT = 10
# Of ten messages for a reactant that is busy with the first, and has a queue of four.
ARRIVE = {
    "block": list(range(COUNT)),
    "drop_oldest": [0, 6, 7, 8, 9],
    "drop_newest": [0, 1, 2, 3, 4],
    "reject": [0, 1, 2, 3, 4],
    "latest": [0, 9],
}


@every()
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("place", ["of the ganglion", "of the reactant"])
def test_what_waits_for_a_busy_reactant(rig: Rig, policy: Any, place: str) -> None:
    async def main() -> None:
        queue = Queue(policy) if policy == "latest" else Queue(policy, messages=MOST)
        one, other = rig.make(**({"receive_queue": queue} if place == "of the ganglion" else {}))
        async with one, other:
            gate, idle = Gate(), Gate()
            idle.open()
            await other.react(tick, [gate], **({"queue": queue} if place == "of the reactant" else {}))
            await other.react(reading, [idle])
            await one.adapt(tick)
            await one.adapt(reading)
            await rig.connected(one, tick, reading)
            refused = 0

            async def send(n: int) -> None:
                nonlocal refused
                try:
                    await one.transmit(Tick(n), tick)
                except QueueFull:
                    refused += 1

            # In process, who sends waits for the reactant.
            senders = [asyncio.create_task(send(n)) for n in range(COUNT)]
            # A link may be read no further under `block`; else everything comes.
            come = MOST if policy == "block" and rig.encodes else COUNT
            await until(lambda: receiving(other, tick).accepted + refused >= come)
            assert len(gate.got) == 1
            if come == MOST:
                # Long enough for what has come to be read, if it were.
                await asyncio.sleep(0.02)
                assert receiving(other, tick).queued <= 1 + MOST
            if policy != "block":
                # The link is read: another neuron on it is not held up.
                await one.transmit(Reading("tank", 1), reading)
                await until(lambda: idle.got)
            gate.open()
            await within(asyncio.gather(*senders))
            await until(lambda: receiving(other, tick).delivered == len(ARRIVE[policy]))
            await until(lambda: receiving(other, tick).queued == 0)
            assert [each.n for each in gate.got] == ARRIVE[policy]
            book = receiving(other, tick)
            dropped = COUNT - len(ARRIVE[policy])
            cause = Cause.SUPERSEDED if policy == "latest" else Cause.QUEUE_FULL
            if policy == "reject" and not rig.encodes:
                assert (refused, book.accepted) == (dropped, COUNT - dropped)
            else:
                assert book.dropped == ({cause: dropped} if dropped else {})
                assert other.stats().fault_count(cause) == dropped
            # And it goes on as if nothing had been.
            await one.transmit(Tick(COUNT), tick)
            await until(lambda: gate.got[-1] == Tick(COUNT))

    run(main())


async def stuck(rig: Rig, one: Any, other: Any) -> Gate:
    """`other` has a reactant that takes one message and reads no further; `one` is connected."""
    gate = Gate()
    await other.react(raw, [gate], queue=Queue("block", messages=1))
    await one.adapt(raw)
    await rig.connected(one, raw)
    return gate


# Messages that are certainly more than lies between two ganglia.
ENOUGH = 200


@pytest.mark.parametrize(
    ("rig", "policy"), [(rig, policy) for rig in RIGS for policy in rig.send_policies], ids=str
)
def test_what_waits_for_a_peer_that_does_not_read(rig: Rig, policy: Any) -> None:
    async def main() -> None:
        key = {"key": lambda data: data[3] % 2} if policy == "latest" else {"messages": MOST}
        one, other = rig.make(send_queue=Queue(policy, **key))
        async with one, other:
            gate = await stuck(rig, one, other)
            refused = 0
            accepted: list[int] = []
            sender: asyncio.Future[Any] | None = None
            for n in range(ENOUGH):
                sender = asyncio.ensure_future(one.transmit(bulk(rig, n), raw))
                done, _ = await asyncio.wait([sender], timeout=0.2 if policy == "block" else 10)
                if policy == "block" and not done and one.stats().waiting == 1:
                    break
                with contextlib.suppress(QueueFull):
                    await within(sender)
                    accepted.append(n)
                refused = n + 1 - len(accepted)
                dropped = sending(one, raw).lost
                if refused + dropped > 5:
                    break
            assert sender is not None
            book = sending(one, raw)
            if policy == "block":
                assert not sender.done()
                accepted.append(n)
            elif policy == "reject":
                assert refused > 5
                assert book.lost == 0
            else:
                cause = Cause.SUPERSEDED if policy == "latest" else Cause.QUEUE_FULL
                assert set(book.dropped) == {cause}
                assert one.stats().fault_count(cause) == book.lost
                assert book.queued <= MOST + 1
            gate.open()
            await within(asyncio.gather(sender, return_exceptions=True))
            await until(lambda: sending(one, raw).queued == 0)
            book = sending(one, raw)
            assert (book.accepted, book.delivered) == (len(accepted), len(accepted) - book.lost)
            await until(lambda: len(gate.got) == book.delivered)
            got = numbers(gate)
            assert got == sorted(set(got))
            assert set(got) <= set(accepted)
            # Each policy keeps the beginning, and those that say so the end.
            assert got[0] == 0
            if policy in ("block", "reject"):
                assert got == accepted
            elif policy != "drop_newest":
                assert got[-1] == accepted[-1]
            await one.transmit(bulk(rig, ENOUGH), raw)
            await until(lambda: numbers(gate)[-1] == ENOUGH)

    run(main())


@every(lambda rig: "block" in rig.send_policies)
def test_senders_that_wait_are_served_in_order_and_may_give_up(rig: Rig) -> None:
    async def main() -> None:
        one, other = rig.make(send_queue=Queue("block", messages=1))
        async with one, other:
            gate = await stuck(rig, one, other)
            senders = [asyncio.create_task(one.transmit(bulk(rig, n), raw)) for n in range(ENOUGH)]
            await until(lambda: one.stats().waiting > 20)
            await asyncio.sleep(0.05)
            given_up = [n for n, each in enumerate(senders) if not each.done()][5:10]
            for n in given_up:
                senders[n].cancel()
            await asyncio.wait([senders[n] for n in given_up])
            assert all(senders[n].cancelled() for n in given_up)
            gate.open()
            # Those who come while the others are served stand behind them.
            for n in range(ENOUGH, ENOUGH + 50):
                await asyncio.sleep(0)
                senders.append(asyncio.create_task(one.transmit(bulk(rig, n), raw)))
            await within(asyncio.gather(*(each for n, each in enumerate(senders) if n not in given_up)))
            expected = [n for n in range(ENOUGH + 50) if n not in given_up]
            await until(lambda: len(gate.got) == len(expected))
            assert numbers(gate) == expected
            assert one.stats().waiting == 0
            assert sending(one, raw).accepted == len(expected)

    run(main())


@every(lambda rig: "block" in rig.send_policies)
@pytest.mark.parametrize("how", ["close", "aclose"])
def test_closing_tells_the_senders_that_wait(rig: Rig, how: str) -> None:
    async def main() -> None:
        one, other = rig.make(send_queue=Queue("block", messages=1))
        async with one, other:
            await stuck(rig, one, other)
            senders = [asyncio.create_task(one.transmit(bulk(rig, n), raw)) for n in range(ENOUGH)]
            await until(lambda: one.stats().waiting > 20)
            if how == "close":
                one.close()
            else:
                await one.aclose()
            results = await within(asyncio.gather(*senders, return_exceptions=True))
            refused = [each for each in results if isinstance(each, Closed)]
            assert len(refused) > 20
            book = sending(one, raw)
            assert book.accepted == ENOUGH - len(refused)
            assert set(book.dropped) <= {Cause.CLOSED, Cause.UNSENT}
            assert one.stats().waiting == 0

    run(main())


@every(lambda rig: "drop_oldest" in rig.send_policies)
def test_closing_counts_what_no_peer_has_taken(rig: Rig) -> None:
    async def main() -> None:
        one, other = rig.make(send_queue=Queue("drop_oldest", messages=MOST))
        async with one, other:
            gate = await stuck(rig, one, other)
            sent = 0
            while (book := sending(one, raw)).lost < 20 or book.queued < MOST:
                await one.transmit(bulk(rig, sent), raw)
                await asyncio.sleep(0.002)
                sent += 1
                assert sent < ENOUGH
            await one.aclose()
            after = sending(one, raw)
            assert after.accepted == sent
            assert after.queued == 0
            # What the system took while it was being closed is not lost, and all of the rest is counted.
            closed = after.dropped.get(Cause.CLOSED, 0)
            assert after.dropped.get(Cause.QUEUE_FULL) == book.dropped[Cause.QUEUE_FULL]
            assert after.delivered - book.delivered + closed == book.queued
            gate.open()
            await until(lambda: len(gate.got) == after.delivered)

    run(main())


@every()
def test_closing_counts_what_waited_for_a_reactant(rig: Rig) -> None:
    async def main() -> None:
        one, other = rig.make()
        async with one, other:
            gate = Gate()
            # Two: one alone is driven, in process, by its sender's task, which no closing cancels.
            await other.react(tick, [gate, lambda data: None])
            await one.adapt(tick)
            await rig.connected(one, tick)

            def waiting() -> Any:
                assert other.stats().balanced
                return other.stats().neurons[tick.name].reactants[0].book

            senders = [asyncio.create_task(one.transmit(Tick(n), tick)) for n in range(COUNT)]
            await until(lambda: waiting().queued == COUNT)
            await other.aclose()
            results = await within(asyncio.gather(*senders, return_exceptions=True))
            book = waiting()
            assert (book.accepted, book.delivered, book.queued, book.lost) == (COUNT, 0, 0, COUNT)
            assert set(book.dropped) == {Cause.CANCELLED, Cause.CLOSED}
            if rig.encodes:
                assert all(rig.returned(each, 1) for each in results)
            else:
                assert isinstance(results[0], asyncio.CancelledError)
                assert all(isinstance(each, Closed) for each in results[1:])

    run(main())


@every()
def test_books_balance_while_everything_happens_at_once(rig: Rig) -> None:
    async def main() -> None:
        one, other = rig.make(receive_queue=Queue("drop_oldest", messages=3))
        async with one, other:
            seen = 0

            async def react(data: Tick) -> None:
                nonlocal seen
                seen += 1
                await asyncio.sleep(0)
                if data.n % 7 == 0:
                    raise ValueError("every seventh")

            await other.react(tick, [react, lambda data: None])
            await one.adapt(tick)
            await rig.connected(one, tick)

            async def send(start: int) -> None:
                for n in range(start, start + 100):
                    with contextlib.suppress(ValueError):
                        await one.transmit(Tick(n), tick)
                    assert one.stats().balanced and other.stats().balanced

            await asyncio.gather(*(send(100 * n) for n in range(5)))
            await until(
                lambda: receiving(other, tick).accepted == 1000 and receiving(other, tick).queued == 0
            )
            stats = other.stats()
            book = stats.neurons[tick.name].receiving
            assert set(book.dropped) <= {Cause.QUEUE_FULL, Cause.REACTANT_ERROR}
            first, second = (each.book for each in stats.neurons[tick.name].reactants)
            assert first.accepted == second.accepted == 500
            assert first.delivered == seen - first.dropped.get(Cause.REACTANT_ERROR, 0)

    run(main())
