# SPDX-License-Identifier: Apache-2.0
"""Links, where a kind has them: events, `ready`, names of peers, and a book for each."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from plexo import LinkEvent, LinkEventKind, Plexus
from tests.conformance.rigs import Rig, every, linked
from tests.support import Tick, run, tick, until, within


@every(lambda rig: not rig.encodes)
def test_in_process_there_are_none(rig: Rig) -> None:
    async def main() -> None:
        one, _ = rig.make()
        async with one:
            await one.ready(0)
            with pytest.raises(ValueError, match="peers"):
                await one.ready(1)
            assert one.stats().links == ()

    run(main())


@every(lambda rig: rig.encodes and not rig.links)
def test_without_links_nobody_is_awaited_for_ever(rig: Rig) -> None:
    async def main() -> None:
        one, other = rig.make()
        async with one, other:
            await one.ready(0)
            with pytest.raises(TimeoutError):
                await one.ready(1, timeout_s=0)
            assert one.stats().links == ()

    run(main())


@linked
@pytest.mark.parametrize("around", ["ganglion", "plexus"])
def test_both_sides_are_told_of_a_link_and_of_its_end(rig: Rig, around: str) -> None:
    async def main() -> None:
        one, other = rig.make()
        outer: Any = one if around == "ganglion" else Plexus([one])
        told: list[LinkEvent] = []
        told_there: list[LinkEvent] = []
        outer.on_link_event(told.append)
        other.on_link_event(told_there.append)
        events = outer.link_events()
        async with outer:
            async with other:
                await other.react(tick, [lambda data: None])
                await outer.adapt(tick)
                await within(outer.ready(1, tick))
                peers = one.peers_connected
                assert peers
                up = one.stats()
                assert len(up.links) == len(peers)
                assert {link.peer for link in up.links} == set(peers)
                assert up.balanced
                await until(lambda: told and told_there)
            await until(lambda: not one.peers_connected)
            await until(lambda: told[-1].kind is LinkEventKind.DISCONNECTED)
            stats = one.stats()
            assert stats.links == ()
            assert stats.balanced
        kinds = [
            each.kind for each in told if each.kind in (LinkEventKind.CONNECTED, LinkEventKind.DISCONNECTED)
        ]
        # Every end follows a beginning, for each peer.
        assert kinds.count(LinkEventKind.CONNECTED) == kinds.count(LinkEventKind.DISCONNECTED) >= 1
        assert {each.ganglion for each in told} == {one}
        assert all(each.reason for each in told if each.kind is LinkEventKind.DISCONNECTED)
        assert told_there[-1].kind is LinkEventKind.DISCONNECTED
        # The iterator had the same, and ends with the ganglion.
        assert [each async for each in events] == told

    run(main())


@linked
def test_messages_are_in_the_books_of_their_links(rig: Rig) -> None:
    async def main() -> None:
        one, other = rig.make()
        async with one, other:
            got: list[Any] = []
            await other.react(tick, [got.append])
            await one.adapt(tick)
            await rig.connected(one, tick)
            for n in range(50):
                await one.transmit(Tick(n), tick)
            await until(lambda: len(got) == 50)

            def books(ganglion: Any, side: str) -> list[int]:
                links = ganglion.stats().links
                return sorted(getattr(each, side).delivered for each in links if getattr(each, side).accepted)

            await until(lambda: books(one, "sending") == [50])
            assert books(other, "receiving") == [50]
            assert one.stats().balanced and other.stats().balanced
            assert max(link.received_bytes for link in other.stats().links) >= 50 * len(tick.encode(Tick(0)))

    run(main())


@linked
def test_ready_waits_and_says_who_is_missing(rig: Rig) -> None:
    async def main() -> None:
        one, other = rig.make()
        async with one, other:
            # No event loop has had a turn yet.
            with pytest.raises(TimeoutError, match="expected 1 peers"):
                await one.ready(1, timeout_s=0)
            with pytest.raises(ValueError, match="peers"):
                await one.ready(-1)
            with pytest.raises(TypeError, match="peers"):
                await one.ready("all")
            waiting = asyncio.create_task(one.ready(1, tick))
            await other.react(tick, [lambda data: None])
            await one.adapt(tick)
            await within(waiting)

    run(main())
