# SPDX-License-Identifier: Apache-2.0
"""A subscriber that has stopped reading: told as SLOW, cut after a set time, and nobody else notices."""

from __future__ import annotations

import asyncio
import time

import pytest

from plexo import Cause, LinkEventKind, Plexus
from tests.network.test_link_events import HOST, kinds, publisher, raw, subscriber
from tests.support import Blob, RawPeer, blob, frame, in_thread, run, tick, until, within

CONNECTED, DISCONNECTED, SLOW = LinkEventKind.CONNECTED, LinkEventKind.DISCONNECTED, LinkEventKind.SLOW


def test_a_subscriber_whose_queue_stays_full_is_cut(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        source = publisher(slow_consumer_cut_s=0.05)
        async with source, source.link_events() as events:
            await source.adapt(tick)
            async with raw(source.port_pub, b"SUB") as peer:
                await in_thread(lambda: peer.socket.sendall(frame(b"\x01" + tick.topic)))
                await within(source.ready(neuron=tick))
                assert await kinds(events, 1) == [CONNECTED]
                synapse, (link,) = source._find(tick), source.hub.links
                # Full, and free again in time: nothing but the event.
                source._queue_full(link, synapse)
                source._queue_freed(link, 3)
                assert not source._full
                assert f"dropped 3 messages to {link.connection.peer}; no more now" in caplog.text
                source._queue_full(link, synapse)
                assert await kinds(events, 2) == [SLOW, SLOW]
                event = await within(events.__anext__())
                assert event.kind is DISCONNECTED
                assert event.reason == "slow-consumer: its queue was full for 0.05 s"
                assert await in_thread(peer.closed_by_peer)
                assert not source._full and not source.peers_connected

    run(main())


def test_a_stuck_subscriber_is_told_and_cut_and_the_others_miss_nothing() -> None:
    async def main() -> None:
        source = publisher(slow_consumer_cut_s=0.2)
        async with (
            Plexus([source]) as p,
            Plexus([subscriber(source)]) as healthy,
            source.link_events() as events,
        ):
            got: list[int] = []
            healthy.on(blob)(lambda data: got.append(len(data.data)))
            await p.adapt(blob)
            async with raw(source.port_pub, b"SUB") as stuck:
                await in_thread(lambda: stuck.socket.sendall(frame(b"\x01")))
                await within(p.ready(2, blob))
                assert await kinds(events, 2) == [CONNECTED, CONNECTED]
                sent = 0
                is_slow = asyncio.create_task(kinds(events, 1))
                while not is_slow.done():
                    sent += 1
                    await p.transmit(Blob(bytes(1 << 20)))
                    await until(lambda sent=sent: len(got) == sent)  # type: ignore[misc]
                assert is_slow.result() == [SLOW]
                event = await within(events.__anext__())
                assert event.kind is DISCONNECTED and event.reason.startswith("slow-consumer: ")
                assert event.peer == f"{HOST}:{stuck.socket.getsockname()[1]}"
                assert source.stats().fault_count(Cause.SLOW_CONSUMER) == 1
                assert await in_thread(stuck.closed_by_peer)
            await p.transmit(Blob(b"after"))
            await until(lambda: len(got) == sent + 1)
            async with raw(source.port_pub, b"SUB") as back:
                await in_thread(lambda: back.socket.sendall(frame(b"\x01")))
                await within(p.ready(2, blob))

    run(main())


def test_the_time_of_a_full_queue_counts_while_a_loop_runs() -> None:
    source = publisher(slow_consumer_cut_s=0.05)

    async def fill(peer: RawPeer) -> None:
        await source.adapt(tick)
        await in_thread(lambda: peer.socket.sendall(frame(b"\x01")))
        await within(source.ready(neuron=tick))
        source._queue_full(source.hub.links[0], source._find(tick))

    async def wait_for_the_cut() -> None:
        events = source.link_events()
        assert source.peers_connected
        assert (await within(events.__anext__())).reason.startswith("slow-consumer: ")

    async def begin() -> RawPeer:
        await source.adapt(tick)
        return await in_thread(lambda: RawPeer(source.port_pub or 0, b"SUB"))

    with run(begin()) as peer:
        run(fill(peer))
        # No loop runs: nothing could be sent, so nobody is too slow.
        time.sleep(0.1)
        run(wait_for_the_cut())
    source.close()
