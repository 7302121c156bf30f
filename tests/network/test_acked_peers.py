# SPDX-License-Identifier: Apache-2.0
"""Acknowledged delivery: peers that cheat, peers that cannot, and journals."""

from __future__ import annotations

import asyncio
import struct
import threading
from pathlib import Path
from typing import Any

import pytest

from plexo import (
    AckNotSupported,
    Cause,
    GanglionZmqTcpPair,
    GanglionZmqTcpPubSub,
    JournalError,
    NotDelivered,
    Plexus,
)
from plexo._fast.envelope import build_envelope
from plexo._proto.delivery import MAX_ID, encode_deliver, encode_settle
from plexo._proto.delivery import Done as SettledDone
from plexo.ganglion import delivery as delivery_module
from plexo.ganglion.journal import Journal
from tests.network.acked import (
    HOST,
    RawDelivering,
    acked,
    bound,
    connecting,
    delivery_of,
    sender_and_receiver,
)
from tests.support import (
    RawPeer,
    Tick,
    frame,
    in_thread,
    ready,
    run,
    tick,
    until,
    within,
)

# -- peers that cheat --------------------------------------------------------------------------------------


def test_ids_that_cheat_reach_no_reactant_twice() -> None:
    async def main() -> None:
        async with bound() as receiver:
            got: list[Tick] = []
            await receiver.react(tick, [got.append])
            with await in_thread(lambda: RawDelivering(receiver.port or 0)) as peer:
                await in_thread(peer.shake)

                def talk() -> list[bytes]:
                    for id, floor in ((1, 1), (1, 1), (2, 1), (MAX_ID, MAX_ID), (3, 1), (MAX_ID, MAX_ID)):
                        peer.deliver(id, floor, Tick(id % 1000))
                    return [peer.read_frame()[1][12:] for _ in range(6)]

                outcomes = await in_thread(talk)
                number = [n.to_bytes(8, "big") for n in (1, 1, 2, MAX_ID, 3, MAX_ID)]
                said = [b"\x01", b"\x01", b"\x01", b"\x01", b"\x03below-floor", b"\x01"]
                assert outcomes == [id + status for id, status in zip(number, said, strict=True)]
                assert got == [Tick(1), Tick(2), Tick(MAX_ID % 1000)]
                assert receiver.stats().fault_count(Cause.REPEATED) == 3

    run(main())


@pytest.mark.parametrize(
    "command",
    [
        frame(b"\x0cPLEXODELIVER", 4),
        frame(b"\x0cPLEXODELIVER" + bytes(16) + b"e", 4),
        frame(b"\x0bPLEXOSETTLE" + bytes(7) + b"\x01\x09", 4),
        frame(b"\x08PLEXOASK" + bytes(7) + b"\x01", 4),
    ],
)
def test_a_malformed_command_closes_the_link(command: bytes) -> None:
    async def main() -> None:
        async with bound() as receiver:
            with await in_thread(lambda: RawDelivering(receiver.port or 0)) as peer:
                await in_thread(peer.shake)
                await in_thread(lambda: peer.socket.sendall(command))
                assert await in_thread(peer.closed_by_peer)
                assert receiver.stats().fault_count(Cause.PROTOCOL_ERROR) == 1

    run(main())


def test_a_malformed_announcement_fails_the_handshake() -> None:
    async def main() -> None:
        async with bound() as receiver:
            await receiver.adapt(tick)
            with await in_thread(lambda: RawDelivering(receiver.port or 0, value=b"\x01short")) as peer:
                assert await in_thread(peer.closed_by_peer)
                assert receiver.stats().fault_count(Cause.HANDSHAKE_FAILED) == 1

    run(main())


def test_outcomes_of_numbers_that_were_never_said_are_ignored() -> None:
    async def main() -> None:
        async with bound() as sender:
            await sender.adapt(tick)
            with await in_thread(lambda: RawDelivering(sender.port or 0)) as peer:
                await in_thread(peer.shake)
                await in_thread(lambda: peer.socket.sendall(encode_settle(9, SettledDone())))
                await until(lambda: sender.stats().fault_count(Cause.WITHDRAWN) == 1)
                assert sender.peers_connected

    run(main())


def test_a_malformed_envelope_is_refused_and_the_link_stays() -> None:
    async def main() -> None:
        async with bound() as receiver:
            await receiver.adapt(tick)
            with await in_thread(lambda: RawDelivering(receiver.port or 0)) as peer:
                await in_thread(peer.shake)
                await in_thread(lambda: peer.socket.sendall(encode_deliver(1, 1, b"no envelope")))
                assert (await in_thread(peer.read_frame))[1].endswith(b"\x03malformed-message")
                undecodable = encode_deliver(2, 1, build_envelope(tick.topic, b"\xc1"))
                await receiver.react(tick, [print])
                await in_thread(lambda: peer.socket.sendall(undecodable))
                assert (await in_thread(peer.read_frame))[1].endswith(b"\x03undecodable")
                assert receiver.peers_connected

    run(main())


# -- peers and ganglia that cannot -------------------------------------------------------------------------


def test_a_peer_that_does_not_announce_it_gets_the_plain_wire() -> None:
    async def main() -> None:
        async with bound() as sender:
            await sender.adapt(tick)
            early = asyncio.create_task(sender.transmit(Tick(0), tick, acked=True))
            await until(lambda: sender.stats().acked.queued)
            with await in_thread(lambda: RawPeer(sender.port or 0)) as peer:
                with pytest.raises(AckNotSupported, match="does not acknowledge"):
                    await within(early)
                with pytest.raises(AckNotSupported, match="X-Plexo-Delivery"):
                    await within(sender.transmit(Tick(1), tick, acked=True))
                await sender.transmit(Tick(2), tick)
                flags, body = await in_thread(peer.read_frame)
                assert (flags, body) == (0, build_envelope(tick.topic, bytes(tick.encode(Tick(2)))))
                # Its commands of that name mean nothing to us.
                await in_thread(lambda: peer.socket.sendall(frame(b"\x0cPLEXODELIVER", 4)))
                await in_thread(lambda: peer.socket.sendall(frame(b"\x04PING\0\0hello", 4)))
                assert await in_thread(peer.read_frame) == (4, b"\x04PONGhello")

    run(main())


def test_the_next_peer_may_not_acknowledge() -> None:
    async def main() -> None:
        async with bound() as sender:
            await sender.adapt(tick)
            with await in_thread(lambda: RawDelivering(sender.port or 0)) as peer:
                await in_thread(peer.shake)
                sending = asyncio.create_task(sender.transmit(Tick(0), tick, acked=True))
                await in_thread(peer.read_frame)
            with await in_thread(lambda: RawPeer(sender.port or 0)):
                with pytest.raises(NotDelivered, match="does not acknowledge") as caught:
                    await within(sending)
                assert not caught.value.will_retry
                assert sender.stats().acked.dropped == {Cause.NOT_ACKNOWLEDGED: 1}

    run(main())


def test_a_later_version_of_the_extension_is_no_version_of_ours() -> None:
    async def main() -> None:
        async with bound() as sender:
            await sender.adapt(tick)
            with await in_thread(lambda: RawDelivering(sender.port or 0, value=b"\x02more")) as peer:
                await in_thread(peer.shake)
                await until(lambda: sender.peers_connected)
                with pytest.raises(AckNotSupported):
                    await within(sender.transmit(Tick(1), tick, acked=True))

    run(main())


def test_ganglia_that_are_no_pair_are_named() -> None:
    async def main() -> None:
        binding = bound()
        async with (
            Plexus([binding]) as receiver,
            GanglionZmqTcpPubSub(HOST, 0) as pubsub,
            Plexus([connecting(binding), pubsub]) as sender,
        ):
            got: list[Tick] = []
            receiver.on(tick)(got.append)
            sender.on(tick)(got.append)
            with pytest.raises(AckNotSupported, match="GanglionZmqTcpPubSub"):
                await sender.transmit(Tick(1), acked=True)
            with pytest.raises(AckNotSupported, match="GanglionZmqTcpPubSub"):
                await pubsub.transmit(Tick(1), tick, acked=True)
            assert got == []

    run(main())


def test_one_that_does_not_carry_the_neuron_is_no_hindrance() -> None:
    async def main() -> None:
        binding = bound()
        async with (
            Plexus([binding]) as receiver,
            Plexus([connecting(binding), GanglionZmqTcpPubSub(HOST, 0, ignored_neurons=[tick])]) as sender,
        ):
            got: list[Tick] = []
            receiver.on(tick)(got.append)
            await sender.adapt(tick)
            await within(sender.transmit(Tick(1), acked=True))
            assert got == [Tick(1)]

    run(main())


# -- journals ----------------------------------------------------------------------------------------------


def test_what_is_unacknowledged_survives_its_sender(tmp_path: Path) -> None:
    path = tmp_path / "out.journal"

    async def main() -> None:
        binding = bound()
        first = connecting(binding, journal=path)
        binding_closed = binding.endpoint
        await binding.aclose()
        await first.adapt(tick)
        sending = [asyncio.create_task(first.transmit(Tick(n), tick, acked=True)) for n in range(5)]
        await until(lambda: first.stats().acked.queued == 5)
        sending[2].cancel()
        await until(lambda: first.stats().acked.queued == 4)
        await first.aclose()
        results = await asyncio.gather(*sending, return_exceptions=True)
        for n, result in enumerate(results):
            if n != 2:
                assert isinstance(result, NotDelivered)
                assert result.will_retry
        got: list[Tick] = []
        async with (
            Plexus([GanglionZmqTcpPair(bind=binding_closed)]) as receiver,
            GanglionZmqTcpPair(peer=binding_closed, reconnect_min_s=0.005, journal=path) as second,
        ):
            receiver.on(tick)(got.append)
            assert second.stats().acked.accepted == 4
            await second.adapt(tick)
            await until(lambda: second.stats().acked.delivered == 4)
            await within(second.transmit(Tick(9), tick, acked=True))
            assert got == [Tick(0), Tick(1), Tick(3), Tick(4), Tick(9)]
        left = Journal(path)
        assert left.restored == []
        left.close()

    run(main())


def test_a_message_is_sent_only_after_its_row_is_committed(tmp_path: Path) -> None:
    async def main() -> None:
        async with sender_and_receiver(journal=tmp_path / "out.journal") as (sender, receiver):
            got: list[Tick] = []
            receiver.on(tick)(got.append)
            journal = delivery_of(sender).journal
            assert journal is not None
            await within(sender.transmit(Tick(0), acked=True))
            real = journal._commit
            gate = threading.Event()

            def late(batch: Any) -> Any:
                gate.wait(20)
                return real(batch)

            journal._commit = late  # type: ignore[method-assign]
            sending = asyncio.create_task(sender.transmit(Tick(1), acked=True))
            await until(lambda: acked(sender).queued)
            await sender.transmit(Tick(2))
            await until(lambda: Tick(2) in got)
            assert Tick(1) not in got
            gate.set()
            await within(sending)
            assert got == [Tick(0), Tick(2), Tick(1)]

    run(main())


def test_what_cannot_be_stored_is_not_sent(tmp_path: Path) -> None:
    async def main() -> None:
        async with sender_and_receiver(journal=tmp_path / "out.journal") as (sender, receiver):
            got: list[Tick] = []
            receiver.on(tick)(got.append)
            journal = delivery_of(sender).journal
            assert journal is not None
            journal._connection.execute("PRAGMA query_only = ON")
            with pytest.raises(JournalError, match="read-only"):
                await within(sender.transmit(Tick(1), acked=True))
            assert got == []
            assert acked(sender).accepted == 0
            journal._connection.execute("PRAGMA query_only = OFF")
            await within(sender.transmit(Tick(2), acked=True))
            assert got == [Tick(2)]

    run(main())


def test_a_time_out_takes_it_out_of_the_journal(tmp_path: Path) -> None:
    path = tmp_path / "out.journal"

    async def main() -> None:
        async with bound(journal=path) as alone:
            await alone.adapt(tick)
            with pytest.raises(NotDelivered) as caught:
                await within(alone.transmit(Tick(1), tick, acked=True, timeout_s=0.05))
            assert not caught.value.will_retry

    run(main())
    left = Journal(path)
    assert left.restored == []
    left.close()


def test_stored_messages_wait_for_a_receiver_that_takes_up_its_neurons_late(tmp_path: Path) -> None:
    path = tmp_path / "out.journal"
    journal = Journal(path)
    journal.store(1, tick.topic, bytes(tick.encode(Tick(1))), lambda error: None)
    journal.close()

    async def main() -> None:
        async with sender_and_receiver(journal=path) as (sender, receiver):
            await until(lambda: delivery_of(sender)._offer_again)
            got: list[Tick] = []
            receiver.on(tick)(got.append)
            await until(lambda: got)
            await until(lambda: acked(sender).delivered == 1)

    run(main())


def test_stored_messages_that_nobody_takes_are_given_up_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery_module, "OFFER_AGAIN_S", 0.01)
    path = tmp_path / "out.journal"
    journal = Journal(path)
    journal.store(1, tick.topic, bytes(tick.encode(Tick(1))), lambda error: None)
    journal.close()

    async def main() -> None:
        async with sender_and_receiver(journal=path, ack_timeout_s=0.05) as (sender, _):
            await until(lambda: acked(sender).dropped == {Cause.UNKNOWN_TOPIC: 1})
            journal = delivery_of(sender).journal
            assert journal is not None
            await until(lambda: journal.stored == 0)

    run(main())


def test_a_journal_in_use_is_an_error_at_the_call_and_leaves_nothing_open(tmp_path: Path) -> None:
    path = tmp_path / "out.journal"
    first = bound(journal=path)
    with pytest.raises(JournalError, match="in use"):
        bound(journal=path)
    first.close()
    with pytest.raises(ValueError, match="peer"):
        GanglionZmqTcpPair(HOST, 0, peer=(HOST, 1), journal=path)
    bound(journal=path).close()


def test_raw_ready_is_what_the_document_says() -> None:
    async def main() -> None:
        async with bound() as pair:
            await pair.adapt(tick)
            with await in_thread(lambda: RawPeer(pair.port or 0)) as peer:
                session = pair._delivery.session
                assert peer.received[64:] == frame(
                    ready(b"PAIR")[2:] + b"\x10X-Plexo-Delivery" + struct.pack(">I", 17) + b"\x01" + session,
                    4,
                )

    run(main())
