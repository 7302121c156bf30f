# SPDX-License-Identifier: Apache-2.0
"""The base of plug-ins where the conformance suite does not look: over a transport that does what the test says."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from plexo import Cause, Plexus, Queue, QueueFull
from plexo.ganglion import plugin
from plexo.ganglion.plugin import GanglionPlugin
from tests.support import Tick, run, tick, until


class Scripted(GanglionPlugin):
    """`room`: messages that it still takes; `peers`: to how many each goes."""

    def __init__(self, room: int = 0, peers: int = 1, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.room, self.peers = room, peers
        self.written: list[bytes] = []
        self.calls: list[str] = []

    def _read_on(self) -> None:
        self.calls.append("read")

    def _hold(self) -> None:
        self.calls.append("hold")

    def _await_room(self) -> None:
        self.calls.append("await room")

    def _leave(self, loop: asyncio.AbstractEventLoop) -> None:
        self.calls.append("leave")

    def _shut(self) -> None:
        self.calls.append("shut")

    def _write(self, topic: bytes, payload: bytes) -> int | None:
        assert topic == tick.topic
        if not self.room:
            return None
        self.room -= 1
        self.written.append(payload)
        return self.peers

    def more_room(self, room: int) -> None:
        self.room += room
        self._room()

    def sent(self) -> list[int]:
        return [tick.decode(each).n for each in self.written]


def test_what_a_transport_forgets_to_write_is_named() -> None:
    class Nothing(GanglionPlugin):
        pass

    async def main() -> None:
        nothing = Nothing()
        with pytest.raises(NotImplementedError, match="Nothing must say how it reads"):
            await nothing.adapt(tick)

    run(main())


def test_the_order_of_calls() -> None:
    ganglion = Scripted(room=9)
    assert ganglion.calls == []

    async def main() -> None:
        await ganglion.adapt(tick)
        await ganglion.transmit(Tick(1), tick)

    run(main())
    assert ganglion.calls == ["read"]
    run(main())  # the first loop is closed: there is nothing to leave
    assert ganglion.calls == ["read", "read"]
    loop = asyncio.new_event_loop()
    loop.run_until_complete(main())
    ganglion.close()
    assert ganglion.calls[:4] == ["read", "read", "read", "leave"]
    assert set(ganglion.calls[4:]) == {"shut"}
    loop.close()


def test_senders_that_gave_up_are_forgotten() -> None:
    async def main() -> None:
        async with Scripted(send_queue=Queue("block", messages=1)) as ganglion:
            await ganglion.adapt(tick)
            await ganglion.transmit(Tick(-1), tick)  # is kept
            senders = [asyncio.create_task(ganglion.transmit(Tick(n), tick)) for n in range(100)]
            await until(lambda: ganglion.stats().waiting == 100)
            for each in senders[:99]:
                each.cancel()
            await asyncio.wait(senders[:99])
            assert len(ganglion._senders) == 1
            assert ganglion.calls == ["read", "await room"]
            ganglion.more_room(2)
            assert await senders[99] == 1
            assert ganglion.sent() == [-1, 99]

    run(main())


def test_how_many_peers_got_it() -> None:
    async def main() -> None:
        async with Scripted(room=2, peers=3) as ganglion:
            await ganglion.adapt(tick)
            assert await ganglion.transmit(Tick(1), tick) == 3
            ganglion.peers = 0
            assert await ganglion.transmit(Tick(2), tick) == 0
            book = ganglion.stats().neurons[tick.name].sending
            assert (book.accepted, book.delivered, book.lost) == (3, 3, 0)

    run(main())


def test_what_was_kept_and_finds_nobody_is_counted() -> None:
    async def main() -> None:
        async with Scripted(send_queue="drop_newest") as ganglion:
            await ganglion.adapt(tick)
            assert await ganglion.transmit(Tick(1), tick) == 1
            ganglion.peers = 0
            ganglion.more_room(1)
            book = ganglion.stats().neurons[tick.name].sending
            assert book.dropped == {Cause.UNSENT: 1}
            assert ganglion.stats().fault_count(Cause.UNSENT) == 1

    run(main())


@pytest.mark.parametrize(
    ("queue", "kept", "dropped"),
    [
        (Queue("block", 10), list(range(10)), {}),
        (Queue("drop_oldest", 3), [7, 8, 9], {Cause.QUEUE_FULL: 7}),
        (Queue("drop_newest", 3), [0, 1, 2], {Cause.QUEUE_FULL: 7}),
        (Queue("reject", 3), [0, 1, 2], {}),
        (Queue("latest"), [9], {Cause.SUPERSEDED: 9}),
        (Queue("latest", key=lambda data: data.n % 3), [9, 7, 8], {Cause.SUPERSEDED: 7}),
        (Queue("latest", 2, key=lambda data: data.n), [8, 9], {Cause.QUEUE_FULL: 8}),
        # Four bytes each; one message may go over.
        (Queue("drop_oldest", bytes=6), [8, 9], {Cause.QUEUE_FULL: 8}),
    ],
    ids=repr,
)
def test_what_is_kept_without_room_is_what_a_pair_keeps(
    queue: Queue, kept: list[int], dropped: dict[Cause, int]
) -> None:
    async def main() -> None:
        ganglion = Scripted(send_queue=queue)
        async with Plexus([ganglion]) as plexus:
            await plexus.adapt(tick)
            refused = 0
            for n in range(10):
                try:
                    await plexus.transmit(Tick(n))
                except QueueFull:
                    refused += 1
                    with pytest.raises(QueueFull):
                        plexus.transmit_nowait(Tick(n))
            assert refused == (7 if queue.policy == "reject" else 0)
            book = ganglion.stats().neurons[tick.name].sending
            assert (book.accepted, book.queued, book.dropped) == (10 - refused, len(kept), dropped)
            ganglion.more_room(100)
            assert ganglion.sent() == kept

    run(main())


def test_what_is_superseded_counts_no_bytes() -> None:
    async def main() -> None:
        async with Scripted(send_queue=Queue("latest", bytes=1000)) as ganglion:
            await ganglion.adapt(tick)
            for n in (1, 1 << 40, 2):
                await ganglion.transmit(Tick(n), tick)
                assert ganglion._backlog_bytes == len(tick.encode(Tick(n)))

    run(main())


def test_without_waiting_all_that_is_accepted_is_kept_and_the_rest_refused() -> None:
    async def main() -> None:
        ganglion = Scripted(send_queue=Queue("block", messages=2))
        async with Plexus([ganglion]) as plexus:
            await plexus.adapt(tick)
            for n in range(2):
                plexus.transmit_nowait(Tick(n))
            with pytest.raises(QueueFull):
                plexus.transmit_nowait(Tick(2))
        assert ganglion.stats().neurons[tick.name].sending.dropped == {Cause.CLOSED: 2}

    run(main())


def test_what_there_is_room_for_in_the_end_is_written() -> None:
    async def main() -> None:
        ganglion = Scripted()
        async with ganglion:
            await ganglion.adapt(tick)
            for n in range(3):
                await ganglion.transmit(Tick(n), tick)
            ganglion.room = 2
        assert ganglion.sent() == [0, 1]
        assert ganglion.stats().neurons[tick.name].sending.dropped == {Cause.CLOSED: 1}

    run(main())


def test_what_is_forwarded_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugin, "MAX_FORWARD_WAITING", 5)

    async def main() -> None:
        source, sink = Scripted(), Scripted()
        sink.max_payload_bytes = 10
        async with Plexus([source, sink]) as bridge:
            await bridge.adapt(tick)
            for n in range(8):
                source._arrived(tick.topic, tick.encode(Tick(n)), "tank")
            source._arrived(tick.topic, bytes(11), "tank")
            book = sink.stats().neurons[tick.name].sending
            assert (book.accepted, book.queued) == (9, 5)
            assert book.dropped == {Cause.QUEUE_FULL: 3, Cause.REJECTED: 1}
            sink.more_room(100)
            assert sink.sent() == [0, 1, 2, 3, 4]

    run(main())


def test_faults_are_told_apart_by_host_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugin, "MAX_FEEDS", 2)

    async def main() -> None:
        async with Scripted() as ganglion:
            await ganglion.adapt(tick, [lambda data: None])
            for host in ("one", "two", "three", "four"):
                assert ganglion._arrived(tick.topic, b"\xc1", host)
            assert ganglion._arrived(b"no such topic", b"", "one")
            ganglion._malformed("too short", "one")
            assert ganglion.stats().faults == {
                (Cause.UNDECODABLE, tick.name, "one"): 1,
                (Cause.UNDECODABLE, tick.name, "two"): 1,
                (Cause.UNDECODABLE, tick.name, ""): 2,
                (Cause.UNKNOWN_TOPIC, "", "one"): 1,
                (Cause.MALFORMED, "", "one"): 1,
            }
            assert len(ganglion._feeds) == 3

    run(main())


def test_reading_is_held_and_goes_on() -> None:
    async def main() -> None:
        async with Scripted() as ganglion:
            opened = asyncio.Event()

            async def slow(data: Tick) -> None:
                await opened.wait()

            await ganglion.react(tick, [slow], queue=Queue("block", messages=2))
            answers = [ganglion._arrived(tick.topic, tick.encode(Tick(n))) for n in range(3)]
            assert answers == [True, True, False]
            assert ganglion.calls == ["read", "hold"]
            opened.set()
            await until(lambda: ganglion.calls == ["read", "hold", "read"])

    run(main())
