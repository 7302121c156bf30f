# SPDX-License-Identifier: Apache-2.0
"""Acknowledged delivery: outcomes, broken links, repeats, time-outs, bounds."""

from __future__ import annotations

import asyncio
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from plexo import (
    Cause,
    Closed,
    GanglionInproc,
    GanglionZmqTcpPair,
    MessageTooLarge,
    NotDelivered,
    Plexus,
    Queue,
    RemoteError,
    TransmitterNotFound,
    WrongType,
)
from plexo._fast.envelope import build_envelope
from plexo._proto import delivery_window
from plexo._proto.delivery import WINDOW_IDS, encode_deliver
from plexo.ganglion import channel as channel_module
from tests.network.acked import (
    HOST,
    SESSION,
    RawDelivering,
    acked,
    bound,
    break_link,
    connecting,
    delivery_of,
    faults,
    sender_and_receiver,
)
from tests.support import (
    Reading,
    Tick,
    frame,
    in_thread,
    reading,
    run,
    tick,
    until,
    within,
)

# -- outcomes ----------------------------------------------------------------------------------------------


def test_it_ends_when_the_reactants_over_there_have_finished() -> None:
    async def main() -> None:
        async with sender_and_receiver() as (sender, receiver):
            gate = asyncio.Event()
            begun: list[Tick] = []
            done: list[Tick] = []

            @receiver.on(tick)
            async def react(data: Tick) -> None:
                begun.append(data)
                await gate.wait()
                done.append(data)

            sending = asyncio.create_task(sender.transmit(Tick(1), acked=True))
            await until(lambda: begun)
            assert not sending.done()
            assert acked(sender).queued == 1
            gate.set()
            await within(sending)
            assert done == [Tick(1)]
            assert (acked(sender).accepted, acked(sender).delivered, acked(sender).queued) == (1, 1, 0)

    run(main())


def test_local_reactants_and_every_pair_get_it() -> None:
    async def main() -> None:
        one, other, inside = bound(), bound(), GanglionInproc()
        async with (
            Plexus([one]) as a,
            Plexus([other]) as b,
            Plexus([connecting(one), connecting(other), inside]) as sender,
            Plexus([inside]) as neighbour,
        ):
            got: list[str] = []
            a.on(tick)(lambda data: got.append("a"))
            b.on(tick)(lambda data: got.append("b"))
            neighbour.on(tick)(lambda data: got.append("neighbour"))
            sender.on(tick)(lambda data: got.append("here"))
            assert await within(sender.transmit(Tick(1), tick, acked=True)) == 3
            assert sorted(got) == ["a", "b", "here", "neighbour"]

    run(main())


def test_a_ganglion_of_its_own_acknowledges_too() -> None:
    async def main() -> None:
        async with bound() as receiver, connecting(receiver) as sender:
            raw: list[bytes] = []
            typed: list[Tick] = []
            await receiver.adapt(tick, [typed.append], [lambda data: raw.append(bytes(data))])
            await sender.adapt(tick)
            assert await within(sender.transmit(Tick(7), tick, acked=True)) == 1
            assert typed == [Tick(7)]
            assert raw == [tick.encode(Tick(7))]

    run(main())


def test_errors_over_there_come_back_by_name_and_text_only() -> None:
    async def main() -> None:
        async with sender_and_receiver() as (sender, receiver):

            @receiver.on(tick)
            async def react(data: Tick) -> None:
                await asyncio.sleep(0)
                raise KeyError("no such tank" + "!" * 5000)

            with pytest.raises(RemoteError) as caught:
                await within(sender.transmit(Tick(1), acked=True))
            assert caught.value.kind == "KeyError"
            assert caught.value.text.startswith("'no such tank!!!")
            assert len(caught.value.text) == 1000
            assert HOST in caught.value.peer
            assert acked(sender).dropped == {Cause.REACTANT_ERROR: 1}
            assert receiver.stats().neurons[tick.name].receiving.dropped == {Cause.REACTANT_ERROR: 1}

    run(main())


def test_errors_here_and_there_are_raised_together() -> None:
    async def main() -> None:
        async with sender_and_receiver() as (sender, receiver):
            receiver.on(tick)(lambda data: 1 / 0)

            @sender.on(tick)
            async def react(data: Tick) -> None:
                raise ValueError("here")

            with pytest.raises(Exception) as caught:
                await within(sender.transmit(Tick(1), acked=True))
            found = [caught.value, *getattr(caught.value, "plexo_other_errors", ())]
            found = list(getattr(caught.value, "exceptions", found))
            assert {type(error) for error in found} == {RemoteError, ValueError}

    run(main())


@pytest.mark.parametrize("knows_it", [True, False])
def test_what_nobody_over_there_reacts_to_is_refused(knows_it: bool) -> None:
    async def main() -> None:
        async with sender_and_receiver() as (sender, receiver):
            if knows_it:
                await receiver.adapt(tick)
            with pytest.raises(
                NotDelivered, match="nobody-reacts" if knows_it else "unknown-topic"
            ) as caught:
                await within(sender.transmit(Tick(1), acked=True))
            assert not caught.value.will_retry
            assert acked(sender).dropped == {Cause.IGNORED if knows_it else Cause.UNKNOWN_TOPIC: 1}

    run(main())


def test_misuse_is_told_before_anything_is_sent() -> None:
    async def main() -> None:
        async with sender_and_receiver(max_frame_bytes=1000) as (sender, receiver):
            got: list[Any] = []
            receiver.on(tick)(got.append)
            receiver.on(reading)(got.append)
            with pytest.raises(WrongType):
                await sender.transmit(Reading("tank", 1.0), tick, acked=True)  # type: ignore[arg-type]
            with pytest.raises(TransmitterNotFound):
                await sender.transmit(Reading("tank", 1.0), reading, acked=True)
            await sender.adapt(reading)
            with pytest.raises(MessageTooLarge):
                await sender.transmit(Reading("t" * 1000, 1.0), acked=True)
            for wrong in (0, -1, math.nan):
                with pytest.raises(ValueError, match="timeout_s: expected more than 0"):
                    await sender.transmit(Tick(1), acked=True, timeout_s=wrong)
            with pytest.raises(TypeError, match="timeout_s"):
                await sender.transmit(Tick(1), acked=True, timeout_s="soon")  # type: ignore[arg-type]
            await within(sender.transmit(Tick(1), acked=True, timeout_s=math.inf))
            assert got == [Tick(1)]

    run(main())
    with pytest.raises(ValueError, match="ack_timeout_s"):
        bound(ack_timeout_s=0)


# -- broken links ------------------------------------------------------------------------------------------


def test_it_is_sent_again_on_the_next_link_and_the_repeat_is_dropped() -> None:
    async def main() -> None:
        async with sender_and_receiver() as (sender, receiver):
            gate = asyncio.Event()
            got: list[Tick] = []

            @receiver.on(tick)
            async def react(data: Tick) -> None:
                got.append(data)
                await gate.wait()

            sending = [asyncio.create_task(sender.transmit(Tick(n), acked=True)) for n in range(5)]
            await until(lambda: got)
            for _ in range(3):
                break_link(sender)
                await until(lambda: delivery_of(sender).channel is not None)
            await until(lambda: faults(receiver, Cause.REPEATED) >= 5)
            gate.set()
            await within(asyncio.gather(*sending))
            assert got == [Tick(n) for n in range(5)]

    run(main())


def test_an_outcome_that_was_lost_with_its_link_is_said_again() -> None:
    async def main() -> None:
        async with sender_and_receiver() as (sender, receiver):
            got: list[Tick] = []

            @receiver.on(tick)
            def react(data: Tick) -> None:
                got.append(data)
                break_link(receiver)  # before the outcome can be said

            await within(sender.transmit(Tick(1), acked=True))
            assert got == [Tick(1)]

    run(main())


def test_a_receiver_that_starts_later_or_again_gets_it() -> None:
    async def main() -> None:
        first = bound()
        endpoint = first.endpoint
        got: list[tuple[str, Tick]] = []
        async with Plexus([connecting(first)]) as sender:
            await sender.adapt(tick)
            async with Plexus([first]) as receiver:
                hold = asyncio.Event()

                @receiver.on(tick)
                async def react(data: Tick) -> None:
                    got.append(("first", data))
                    await hold.wait()

                sending = asyncio.create_task(sender.transmit(Tick(1), acked=True))
                await until(lambda: got)
            assert not sending.done()
            async with Plexus([GanglionZmqTcpPair(bind=endpoint)]) as receiver:
                receiver.on(tick)(lambda data: got.append(("second", data)))
                await within(sending)
        assert got == [("first", Tick(1)), ("second", Tick(1))]

    run(main())


def test_plain_messages_that_wait_on_a_broken_link_go_on_without_the_commands() -> None:
    """What is half sent when the link breaks is kept for the next peer, which may not know the commands."""

    async def main() -> None:
        async with bound() as sender:
            await sender.adapt(tick)
            peer = await in_thread(lambda: RawDelivering(sender.port or 0))
            await in_thread(peer.shake)
            await until(lambda: sender._delivery.channel is not None)
            sending = [asyncio.create_task(sender.transmit(Tick(n), tick, acked=True)) for n in range(3)]
            await asyncio.sleep(0)
            link = sender._delivery.channel.link  # type: ignore[union-attr]
            # All in one turn, so that nothing of it is flushed but the first.
            plain = [asyncio.create_task(sender.transmit(Tick(n), tick)) for n in range(10, 13)]
            await asyncio.gather(*plain)
            unsent = link.close()
            kept = channel_module.without_commands(unsent)
            assert b"PLEXO" not in b"".join(wire for wire, _ in kept)
            assert sum(messages for _, messages in kept) == sum(messages for _, messages in unsent)
            peer.close()
            for task in sending:
                task.cancel()
            await asyncio.gather(*sending, return_exceptions=True)

    run(main())


def test_commands_are_taken_out_of_what_is_unsent() -> None:
    plain = frame(b"message") + frame(b"x" * 300)
    command = encode_deliver(1, 1, b"e" * 400)
    big = (b"head", b"payload", 3)
    unsent = [
        (frame(b"message") + command + frame(b"x" * 300) + command, 2),
        (big, 1),
        (command, 0),
        (b"", 0),
    ]
    assert channel_module.without_commands(unsent) == [(plain, 2), (big, 1)]


# -- time --------------------------------------------------------------------------------------------------


def test_without_an_outcome_in_time_it_is_withdrawn() -> None:
    async def main() -> None:
        async with sender_and_receiver() as (sender, receiver):
            never = asyncio.Event()

            @receiver.on(tick)
            async def react(data: Tick) -> None:
                await never.wait()

            with pytest.raises(NotDelivered, match="not acknowledged within") as caught:
                await within(sender.transmit(Tick(1), acked=True, timeout_s=0.05))
            assert not caught.value.will_retry
            assert acked(sender).dropped == {Cause.NOT_ACKNOWLEDGED: 1}
            assert delivery_of(sender)._window.to_send() == []
            # An outcome that comes now is none of ours any more.
            never.set()
            await until(lambda: faults(sender, Cause.WITHDRAWN) == 1)
            assert acked(sender).delivered == 0

    run(main())


def test_without_a_peer_too() -> None:
    async def main() -> None:
        async with bound(ack_timeout_s=0.05) as alone:
            await alone.adapt(tick)
            with pytest.raises(NotDelivered, match="no peer is connected"):
                await within(alone.transmit(Tick(1), tick, acked=True))
            assert alone.stats().acked.dropped == {Cause.NOT_ACKNOWLEDGED: 1}

    run(main())


def test_cancelling_withdraws() -> None:
    async def main() -> None:
        binding = bound()
        got: list[Tick] = []
        async with Plexus([binding]) as receiver, Plexus() as sender:
            receiver.on(tick)(got.append)
            pair = GanglionZmqTcpPair(peer=(HOST, 1), reconnect_min_s=0.005)
            await sender.infuse_ganglion(pair)
            await sender.adapt(tick)
            sending = asyncio.create_task(sender.transmit(Tick(1), acked=True))
            await until(lambda: pair.stats().acked.queued == 1)
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
            assert pair.stats().acked.dropped == {Cause.WITHDRAWN: 1}
            assert pair._delivery._window.to_send() == []

    run(main())


def test_closing_tells_who_waits() -> None:
    async def main() -> None:
        alone = bound()
        await alone.adapt(tick)
        sending = asyncio.create_task(alone.transmit(Tick(1), tick, acked=True))
        await until(lambda: alone.stats().acked.queued == 1)
        await alone.aclose()
        with pytest.raises(NotDelivered, match="was closed") as caught:
            await within(sending)
        assert not caught.value.will_retry
        assert alone.stats().acked.dropped == {Cause.CLOSED: 1}
        with pytest.raises(Closed):
            await alone.transmit(Tick(1), tick, acked=True)

    run(main())


def test_a_receiver_that_closes_lets_the_sender_try_again() -> None:
    """Cancelled reactants have not finished: nothing is settled."""

    async def main() -> None:
        async with sender_and_receiver() as (sender, receiver):
            got: list[Tick] = []

            @receiver.on(tick)
            async def react(data: Tick) -> None:
                got.append(data)
                await asyncio.Event().wait()

            # The first is in hand when the receiver closes, the second waits behind it.
            sending = [asyncio.create_task(sender.transmit(Tick(n), acked=True)) for n in (1, 2)]
            await until(lambda: receiver.stats().neurons[tick.name].receiving.queued == 2)
            await receiver.aclose()
            await until(lambda: delivery_of(sender).channel is None)
            assert not any(each.done() for each in sending)
            assert acked(sender).queued == 2
            for each in sending:
                each.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await each

    run(main())


def test_closing_with_a_full_window_and_a_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery_window, "WINDOW_IDS", 4)

    async def main() -> None:
        async with sender_and_receiver(journal=tmp_path / "out.journal") as (sender, receiver):
            receiver.on(tick)(lambda data: None)
            sending = [asyncio.create_task(sender.transmit(Tick(n), acked=True)) for n in range(50)]
            # Outcomes are on their way into the journal, and others wait for room.
            await until(lambda: any(task.done() for task in sending))
            await sender.aclose()
            results = await within(asyncio.gather(*sending, return_exceptions=True))
            assert results[0] == 1
            lost = [result for result in results if isinstance(result, NotDelivered)]
            assert {result.will_retry for result in lost} <= {True, False}
            assert len(lost) + results.count(1) == 50

    run(main())


@pytest.mark.leaves("a task of a reactant that is suspended when its loop ends")
def test_a_reactant_whose_loop_ended_is_told_when_the_next_one_runs() -> None:
    async def receive_once() -> None:
        begun = asyncio.Event()

        async def react(data: Tick) -> None:
            begun.set()
            await asyncio.Event().wait()

        await receiver.react(tick, [react])
        await within(begun.wait())

    async def send() -> BaseException | None:
        async with connecting(receiver) as sender:
            await sender.adapt(tick)
            sent = await asyncio.gather(sender.transmit(Tick(1), tick, acked=True), return_exceptions=True)
            return sent[0]

    with ThreadPoolExecutor(1) as elsewhere:
        receiver = bound()
        try:
            sending = elsewhere.submit(lambda: run(send()))
            run(receive_once())

            async def go_on() -> None:
                await receiver.adapt(tick)
                await until(sending.done)

            run(go_on())
            error = sending.result()
            assert isinstance(error, NotDelivered)
            assert "cancelled" in error.reason
        finally:
            receiver.close()


def test_several_event_loops_one_after_another() -> None:
    binding = bound()
    dialling = connecting(binding)
    got: list[Tick] = []
    try:

        async def first() -> None:
            await binding.react(tick, [got.append])
            await dialling.adapt(tick)
            await within(dialling.transmit(Tick(1), tick, acked=True))

        async def second() -> None:
            await binding.update_transmitter(tick)
            await within(dialling.transmit(Tick(2), tick, acked=True))

        run(first())
        run(second())
        assert got == [Tick(1), Tick(2)]
        assert dialling.stats().acked.delivered == 2
    finally:
        dialling.close()
        binding.close()


# -- bounds ------------------------------------------------------------------------------------------------


def test_a_full_window_makes_the_sender_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery_window, "WINDOW_IDS", 8)

    async def main() -> None:
        async with sender_and_receiver() as (sender, receiver):
            gate = asyncio.Event()
            got: list[Tick] = []

            @receiver.on(tick)
            async def react(data: Tick) -> None:
                got.append(data)
                await gate.wait()

            sending = [asyncio.create_task(sender.transmit(Tick(n), acked=True)) for n in range(50)]
            await until(lambda: got)
            assert acked(sender).queued == 8
            assert len(delivery_of(sender)._waiting) == 42
            sending[20].cancel()
            gate.set()
            results = await within(asyncio.gather(*sending, return_exceptions=True))
            assert [n for n, result in enumerate(results) if result != 1] == [20]
            assert got == [Tick(n) for n in range(50) if n != 20]

    run(main())


def test_bytes_in_the_window_are_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery_window, "WINDOW_BYTES", 400)

    async def main() -> None:
        async with bound() as alone:
            await alone.adapt(tick)
            sending = [asyncio.create_task(alone.transmit(Tick(n), tick, acked=True)) for n in range(20)]
            await until(lambda: alone._delivery._waiting)
            assert alone.stats().acked.queued == 400 // len(
                build_envelope(tick.topic, bytes(tick.encode(Tick(1))))
            )
            assert alone._delivery._window.bytes <= 400
            await alone.aclose()
            await asyncio.gather(*sending, return_exceptions=True)

    run(main())


def test_a_peer_that_asks_for_more_than_a_window_is_refused_and_bounded() -> None:
    async def main() -> None:
        # A shorter queue would pause the link before.
        async with bound(receive_queue=Queue(messages=2 * WINDOW_IDS)) as receiver:
            never = asyncio.Event()

            async def react(data: Tick) -> None:
                await never.wait()

            await receiver.react(tick, [react])
            with await in_thread(lambda: RawDelivering(receiver.port or 0)) as peer:
                await in_thread(peer.shake)

                def flood() -> tuple[int, bytes]:
                    for id in range(1, WINDOW_IDS + 20):
                        peer.deliver(id, id, Tick(id))
                    return peer.read_frame()

                flags, body = await in_thread(flood)
                assert (flags, body) == (
                    4,
                    b"\x0bPLEXOSETTLE" + (WINDOW_IDS + 1).to_bytes(8, "big") + b"\x03queue-full",
                )
                assert receiver._delivery._in_hand.messages == WINDOW_IDS
                assert len(receiver._delivery._sessions.of(SESSION)) <= WINDOW_IDS

    run(main())


def test_a_peer_that_never_reads_its_outcomes_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel_module, "MAX_UNREAD_OUTCOMES", 500)

    async def main() -> None:
        async with bound() as receiver:

            def react(data: Tick) -> None:
                raise ValueError("x" * 1000)

            await receiver.react(tick, [react])
            with await in_thread(lambda: RawDelivering(receiver.port or 0)) as peer:
                await in_thread(peer.shake)

                def flood() -> bool:
                    try:
                        for id in range(1, 100_000):
                            peer.deliver(id, id, Tick(id))
                    except OSError:
                        return True
                    return False

                assert await in_thread(flood)
                assert receiver.stats().fault_count(Cause.PROTOCOL_ERROR) == 1

    run(main(), 40)
