# SPDX-License-Identifier: Apache-2.0
"""Links that come and go, told in order and once: to iterators, to callbacks, and to whoever waits for `ready`."""

from __future__ import annotations

import asyncio
import gc
import random
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from plexo import (
    Closed,
    GanglionInproc,
    GanglionZmqTcpPair,
    GanglionZmqTcpPubSub,
    LinkEvent,
    LinkEventKind,
    Plexus,
)
from plexo.ganglion import zmtp
from plexo.ganglion.events import LinkEvents
from tests.support import (
    GREETING,
    Blob,
    RawPeer,
    Tick,
    blob,
    frame,
    in_thread,
    reading,
    ready,
    run,
    tick,
    until,
    within,
)

HOST = "127.0.0.1"
CONNECTED, DISCONNECTED = LinkEventKind.CONNECTED, LinkEventKind.DISCONNECTED
REJECTED, HANDSHAKE_FAILED = LinkEventKind.REJECTED, LinkEventKind.HANDSHAKE_FAILED
SLOW = LinkEventKind.SLOW


def pair(to: GanglionZmqTcpPair | None = None, **arguments: Any) -> GanglionZmqTcpPair:
    if to is None:
        return GanglionZmqTcpPair(HOST, 0, **arguments)
    return GanglionZmqTcpPair(peer=to.endpoint, reconnect_min_s=0.005, reconnect_max_s=0.02, **arguments)


def publisher(**arguments: Any) -> GanglionZmqTcpPubSub:
    return GanglionZmqTcpPubSub(HOST, 0, **arguments)


def subscriber(*to: GanglionZmqTcpPubSub) -> GanglionZmqTcpPubSub:
    peers = [each.endpoint for each in to if each.endpoint]
    return GanglionZmqTcpPubSub(port_pub=None, peers=peers, reconnect_min_s=0.005, reconnect_max_s=0.02)


async def kinds(events: LinkEvents, count: int) -> list[LinkEventKind]:
    return [(await within(events.__anext__())).kind for _ in range(count)]


@asynccontextmanager
async def raw(port: int | None, kind: bytes | None) -> AsyncIterator[RawPeer]:
    peer = await in_thread(lambda: RawPeer(port or 0, kind))
    try:
        yield peer
    finally:
        peer.close()


# -- ready -------------------------------------------------------------------------------------------------


def test_what_is_published_after_ready_reaches_every_subscriber() -> None:
    async def main() -> None:
        source = publisher()
        sinks = [subscriber(source) for _ in range(3)]
        got: list[int] = []
        async with (
            Plexus([source]) as p,
            Plexus([sinks[0]]) as a,
            Plexus([sinks[1]]) as b,
            Plexus([sinks[2]]) as c,
        ):
            await p.adapt(tick)
            both = asyncio.create_task(source.ready(peers=2, neuron=tick))
            a.on(tick)(lambda data: got.append(data.n))
            await within(source.ready(peers=1, neuron=tick))
            c.on(reading)(lambda data: None)
            await within(source.ready(peers=2))
            assert not both.done()
            b.on(tick)(lambda data: got.append(10 * data.n))
            await within(both)
            await p.transmit(Tick(1))
            await until(lambda: sorted(got) == [1, 10])
            await within(source.ready(peers=3))

    run(main())


def test_a_subscriber_that_connected_and_subscribed_to_nothing_does_not_count() -> None:
    async def main() -> None:
        source = publisher()
        async with source:
            events = source.link_events()
            async with raw(source.port_pub, b"SUB") as peer:
                assert await kinds(events, 1) == [CONNECTED]
                with pytest.raises(TimeoutError, match=r"expected 1 peers within 0 s; 0 are there$"):
                    await source.ready(timeout_s=0)
                waiting = asyncio.create_task(source.ready(neuron=reading))
                await in_thread(lambda: peer.socket.sendall(frame(b"\x01" + tick.topic)))
                await within(source.ready())
                await within(source.ready(neuron=tick))
                assert not waiting.done()
                # A prefix of several topics; and the count goes down again.
                await in_thread(lambda: peer.socket.sendall(frame(b"\x01org.brewery.")))
                await within(waiting)
                await in_thread(
                    lambda: peer.socket.sendall(frame(b"\x00org.brewery.") + frame(b"\x00" + tick.topic))
                )
                await until(lambda: not source._ready_peers(None))

    run(main())


def test_a_pair_is_ready_on_both_sides_and_then_takes_messages_at_once() -> None:
    async def main() -> None:
        left = pair()
        right = pair(left)
        async with Plexus([left]) as a, Plexus([right]) as b:
            got: list[Tick] = []
            a.on(tick)(got.append)
            b.on(tick)(got.append)
            await within(asyncio.gather(left.ready(), right.ready(neuron=tick)))
            b.transmit_nowait(Tick(1))
            a.transmit_nowait(Tick(2))
            await until(lambda: len(got) == 4)

    run(main())


def test_giving_up_says_who_is_not_there_and_why() -> None:
    async def main() -> None:
        with socket.create_server((HOST, 0)) as server:
            port = server.getsockname()[1]
        async with GanglionZmqTcpPair(peer=(HOST, port)) as alone:
            expected = rf"0 are there; not there: tcp://{HOST}:{port} \(Connection refused\)$"
            with pytest.raises(TimeoutError, match=expected):
                await within(alone.ready(timeout_s=0.05))
        async with publisher() as source:
            peers = [await in_thread(lambda: RawPeer(source.port_pub or 0, b"SUB")) for _ in range(10)]
            for peer in peers:
                await in_thread(lambda peer=peer: peer.socket.sendall(frame(b"\x01")))  # type: ignore[misc]
            with pytest.raises(
                TimeoutError, match=rf"expected 11 peers for .*; 10 are there: ({HOST}:\d+, )+.* and 2 more$"
            ):
                await within(source.ready(10)) or await source.ready(11, tick, timeout_s=0)
            for peer in peers:
                peer.close()

    run(main())


def test_cancelling_leaves_nothing_behind() -> None:
    async def main() -> None:
        async with pair() as alone:
            before = sum(not each.cancelled() for each in asyncio.get_running_loop()._scheduled)  # type: ignore[attr-defined]
            waiting = [asyncio.create_task(alone.ready(timeout_s=limit)) for limit in (None, 30.0)]
            await asyncio.sleep(0)
            assert len(alone._watchers._waiting) == 2
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
            assert all(task.cancelled() for task in waiting)
            assert not alone._watchers._waiting
            after = sum(not each.cancelled() for each in asyncio.get_running_loop()._scheduled)  # type: ignore[attr-defined]
            assert after == before

    run(main())


@pytest.mark.parametrize("around", ["ganglion", "plexus"])
def test_closing_ends_who_waits(around: str) -> None:
    async def main() -> None:
        alone = pair()
        watched: Any = Plexus([alone]) if around == "plexus" else alone
        async with watched:
            waiting = asyncio.create_task(watched.ready())
            events = watched.link_events()
            read = asyncio.create_task(events.__anext__())
            await asyncio.sleep(0)
        with pytest.raises(Closed):
            await within(waiting)
        with pytest.raises(StopAsyncIteration):
            await within(read)
        assert [event async for event in events] == []
        for call in (watched.link_events, lambda: watched.on_link_event(print)):
            with pytest.raises(Closed):
                call()
        with pytest.raises(Closed):
            await watched.ready()
        with pytest.raises(Closed):
            await events.__aenter__()

    run(main())


def test_misuse_is_refused_at_the_call() -> None:
    async def main() -> None:
        refused: tuple[tuple[type[Exception], str, tuple[Any, ...]], ...] = (
            (TypeError, "peers: expected an int", ("2",)),
            (TypeError, "peers: expected an int", (True,)),
            (ValueError, "peers: expected at least 0", (-1,)),
            (ValueError, "peers: a pair has one peer", (2,)),
            (TypeError, "neuron: expected a Neuron", (1, "tick")),
            (RuntimeError, "leaves out", (1, reading)),
            (ValueError, "timeout_s: expected at least 0", (1, None, -1)),
            (ValueError, "timeout_s: expected at least 0", (1, None, float("nan"))),
        )
        async with pair(ignored_neurons=[reading]) as alone, subscriber() as deaf:
            for error, message, arguments in refused:
                with pytest.raises(error, match=message):
                    await alone.ready(*arguments)
            with pytest.raises(ValueError, match="binds nothing"):
                await deaf.ready(1, tick)
            await alone.ready(0)

            async def coroutine_function(event: LinkEvent) -> None: ...

            for callback in (None, coroutine_function):
                with pytest.raises(TypeError, match="callback: expected a"):
                    alone.on_link_event(callback)  # type: ignore[arg-type]
            with pytest.raises(ValueError, match="limit: expected at least 1"):
                alone.link_events(0)
        for value in (0, -1, float("nan")):
            with pytest.raises(ValueError, match="slow_consumer_cut_s"):
                publisher(slow_consumer_cut_s=value)
        with pytest.raises(TypeError):
            pair(slow_consumer_cut_s=1)

    run(main())


def test_in_process_there_are_no_links() -> None:
    async def main() -> None:
        async with GanglionInproc() as bus:
            await bus.ready()
            with pytest.raises(ValueError, match="no links"):
                await bus.ready(1)
            events = bus.link_events()
            async with Plexus([bus]) as plexus:
                await plexus.ready(0)
                with pytest.raises(TimeoutError, match=r"expected 1 peers for .* 0 are there$"):
                    await plexus.ready(neuron=tick, timeout_s=0)
        assert [event async for event in events] == []

    run(main())


def test_a_plexus_counts_the_links_of_all_its_ganglia_and_of_those_it_gets_later() -> None:
    async def main() -> None:
        left, source = pair(), publisher()
        async with Plexus([left]) as inner, Plexus() as outer:
            ready_two = asyncio.create_task(outer.ready(2, tick))
            told: list[LinkEvent] = []
            outer.on_link_event(told.append)
            await outer.infuse_ganglion(inner)
            await inner.infuse_ganglion(source)
            async with Plexus([pair(left)]) as a:
                await within(outer.ready(1, tick))
                async with Plexus([subscriber(source)]) as b:
                    await within(outer.ready(1))
                    assert not ready_two.done()
                    b.on(tick)(lambda data: None)
                    await within(ready_two)
                    # Another way to the same ganglion: it is counted and told once all the same.
                    await outer.infuse_ganglion(source)
                    with pytest.raises(TimeoutError, match="2 are there: "):
                        await outer.ready(3, timeout_s=0.01)
                await until(lambda: len(told) == 3)
                assert [event.ganglion for event in told] == [left, source, source]
                await a.aclose()
            await until(lambda: len(told) == 4)
            assert [event.kind for event in told] == [CONNECTED, CONNECTED, DISCONNECTED, DISCONNECTED]

    run(main())


def test_a_ganglion_that_is_infused_with_its_links_counts_at_once() -> None:
    async def main() -> None:
        left = pair()
        async with left, pair(left), Plexus() as inner, Plexus([inner]) as outer:
            await within(left.ready())
            waiting = asyncio.create_task(outer.ready())
            await asyncio.sleep(0)
            assert not waiting.done()
            await inner.infuse_ganglion(left)
            await within(waiting)

    run(main())


def test_filters_of_a_plexus_and_its_ganglia_say_which_links_count() -> None:
    async def main() -> None:
        open_to_all, without = pair(), pair(ignored_neurons=[tick])
        async with Plexus([open_to_all, without]) as plexus, pair(open_to_all), pair(without):
            await within(plexus.ready(2))
            await within(plexus.ready(1, tick))
            with pytest.raises(TimeoutError, match="1 are there"):
                await plexus.ready(2, tick, timeout_s=0.01)

    run(main())


# -- events ------------------------------------------------------------------------------------------------


def test_both_sides_are_told_of_a_link_and_of_its_end() -> None:
    async def main() -> None:
        left = pair()
        async with left, left.link_events() as here:
            for _ in range(2):
                right = pair(left)
                there = right.link_events()
                async with right:
                    assert await kinds(here, 1) == [CONNECTED]
                    assert await kinds(there, 1) == [CONNECTED]
                    (name,) = left.peers_connected
                event = await within(here.__anext__())
                assert event == LinkEvent(DISCONNECTED, name, "closed by the peer", left)
                assert [each async for each in there] == [
                    LinkEvent(DISCONNECTED, str(left.endpoint), "this side was closed", right)
                ]

    run(main())


def test_a_second_peer_is_rejected_and_both_sides_are_told() -> None:
    async def main() -> None:
        left = pair()
        async with left, pair(left) as first:
            await within(first.ready())
            here = left.link_events()
            second = pair(left)
            async with second, second.link_events() as there:
                assert (await within(here.__anext__()))[0::2] == (REJECTED, "this pair has its peer")
                event = await within(there.__anext__())
                assert event[:2] == (REJECTED, second.endpoint)
                assert "this_pair_has_its_peer" in event.reason
                with pytest.raises(TimeoutError, match=r"not there: .*this.pair.has.its.peer"):
                    await second.ready(timeout_s=0)
                await first.aclose()
                while (await within(there.__anext__())).kind is REJECTED:
                    pass
                await within(second.ready(timeout_s=10))

    run(main())


def test_too_many_connections_are_rejected_with_an_event(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zmtp, "MAX_HANDSHAKES", 1)

    async def main() -> None:
        async with (
            pair() as alone,
            alone.link_events() as events,
            raw(alone.port, None),
            raw(alone.port, None) as second,
        ):
            event = await within(events.__anext__())
            assert event.kind is REJECTED and event.reason == "too many connections"
            assert event.peer == f"{HOST}:{second.socket.getsockname()[1]}"

    run(main())


BAD: dict[str, tuple[bytes, str]] = {
    "not ZMTP": (b"GET / HTTP/1.1\r\n\r\n", "signature"),
    "wrong socket type": (GREETING + ready(b"SUB"), "incompatible-socket-type"),
    "gone": (GREETING, "end of stream"),
    "gone at once": (b"", "end of stream"),
    "silent": (b"", "no hand-shake within 0.05 s"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_handshake_that_fails_is_told_once(name: str) -> None:
    sent, expected = BAD[name]

    async def main() -> None:
        limit_s = 0.05 if name == "silent" else 10
        async with pair(handshake_timeout_s=limit_s) as alone, alone.link_events() as events:
            async with raw(alone.port, None) as peer:
                await in_thread(lambda: peer.socket.sendall(sent))
                if name.startswith("gone"):
                    await in_thread(lambda: peer.socket.shutdown(socket.SHUT_WR))
                event = await within(events.__anext__())
                assert event.kind is HANDSHAKE_FAILED
                assert expected in event.reason
                assert await in_thread(peer.closed_by_peer)
            async with pair(alone):
                assert await kinds(events, 1) == [CONNECTED]

    run(main())


def test_a_peer_that_refuses_us_rejects() -> None:
    async def main() -> None:
        with socket.create_server((HOST, 0)) as server:

            def refuse() -> None:
                accepted, _ = server.accept()
                with accepted:
                    accepted.sendall(GREETING + frame(b"\x05ERROR\x04nope", 4))
                    while accepted.recv(4096):
                        pass

            dialling = GanglionZmqTcpPair(peer=server.getsockname(), reconnect_min_s=60, reconnect_max_s=60)
            async with dialling, dialling.link_events() as events:
                await in_thread(refuse)
                event = await within(events.__anext__())
                assert event[:2] == (REJECTED, dialling.endpoint)
                assert "'nope'" in event.reason

    run(main())


FAULTS: dict[str, tuple[bytes, float, str]] = {
    "protocol error": (b"\x08\x00", 0, "expected a frame without reserved flags"),
    "silence": (b"", 0.05, "no answer to heartbeats"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_link_that_we_end_says_why(name: str) -> None:
    sent, heartbeat_s, expected = FAULTS[name]

    async def main() -> None:
        async with pair(heartbeat_s=heartbeat_s) as alone:
            events = alone.link_events()
            async with raw(alone.port, b"PAIR") as peer:
                assert await kinds(events, 1) == [CONNECTED]
                await in_thread(lambda: peer.socket.sendall(sent))
                event = await within(events.__anext__())
                assert event.kind is DISCONNECTED
                assert expected in event.reason

    run(main())


def test_a_peer_that_is_gone_before_its_link_is_up_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with pair() as alone, alone.link_events() as events:
            await alone.adapt(blob)
            # What waits for the next peer must not be lost with one that never was.
            async with raw(alone.port, b"PAIR"):
                sending = asyncio.create_task(alone.transmit(Blob(bytes(64 << 20)), blob))
                assert await kinds(events, 1) == [CONNECTED]
                await within(sending)
            assert await kinds(events, 1) == [DISCONNECTED]
            unsent = list(alone._unsent)
            assert sum(messages for _, messages in unsent) == 1

            peer = socket.create_connection((HOST, alone.port or 0))
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

            def reset_now(connection: object) -> None:
                peer.close()

            # Called when the peer's READY has been read, before anything is written to the link.
            monkeypatch.setattr(alone, "refuses", reset_now)
            peer.sendall(GREETING + ready(b"PAIR"))
            assert await kinds(events, 2) == [CONNECTED, DISCONNECTED]
            assert not alone.hub.links and not alone._connections
            assert alone._unsent == unsent
            monkeypatch.undo()
            async with Plexus([pair(alone)]) as next_one:
                got: list[Blob] = []
                next_one.on(blob)(got.append)
                await until(lambda: got == [Blob(bytes(64 << 20))])

    run(main())


def test_links_told_and_links_that_are_up_agree(rng: random.Random) -> None:
    async def main() -> None:
        source = publisher()
        up: dict[str, int] = {}

        def watch(event: LinkEvent) -> None:
            up[event.peer] = up.get(event.peer, 0) + {CONNECTED: 1, DISCONNECTED: -1}.get(event.kind, 0)
            assert up[event.peer] in (0, 1)

        async with source:
            source.on_link_event(watch)
            there: list[Any] = []
            for _ in range(60):
                if there and rng.random() < 0.4:
                    there.pop(rng.randrange(len(there))).close()
                else:
                    there.append(
                        await in_thread(lambda: RawPeer(source.port_pub or 0, rng.choice((b"SUB", None))))
                    )
            for each in there:
                each.close()
            # Both in one look: an event may not lag behind what it tells by more than a turn of the loop.
            await until(lambda: not source._connections and not any(up.values()))
            assert up

    run(main())


# -- iterators ---------------------------------------------------------------------------------------------


async def come_and_go(left: GanglionZmqTcpPair, times: int) -> None:
    for _ in range(times):
        async with pair(left) as right:
            await within(asyncio.gather(left.ready(), right.ready()))
        await until(lambda: not left.peers_connected)


def test_a_reader_that_sleeps_stops_nobody_and_keeps_the_latest() -> None:
    async def main() -> None:
        async with pair() as left:
            sleeping, awake = left.link_events(limit=3), left.link_events()
            await come_and_go(left, 4)
            assert await kinds(awake, 8) == 4 * [CONNECTED, DISCONNECTED]
            assert (sleeping.dropped, awake.dropped) == (5, 0)
            assert await kinds(sleeping, 3) == [DISCONNECTED, CONNECTED, DISCONNECTED]

    run(main())


def test_an_iterator_has_one_reader_and_survives_a_cancelled_one() -> None:
    async def main() -> None:
        async with pair() as left, left.link_events() as events:
            read = asyncio.create_task(events.__anext__())
            await asyncio.sleep(0)
            with pytest.raises(RuntimeError, match="one reader"):
                await events.__anext__()
            read.cancel()
            await asyncio.gather(read, return_exceptions=True)
            await come_and_go(left, 1)
            assert await kinds(events, 2) == [CONNECTED, DISCONNECTED]

    run(main())


def test_an_iterator_ends_when_it_is_closed_or_dropped() -> None:
    async def main() -> None:
        async with pair() as left:
            events = left.link_events()
            await come_and_go(left, 1)
            events.close()
            await come_and_go(left, 1)
            assert [event.kind async for event in events] == [CONNECTED, DISCONNECTED]
            dropped = left.link_events()
            assert len(left._watchers._buffers) == 1
            del dropped
            gc.collect()
            assert not left._watchers._buffers

    run(main())


def test_a_reader_that_comes_while_the_ganglion_closes_gets_the_last_events() -> None:
    async def main() -> None:
        left = pair()
        events = left.link_events()
        await left.adapt(blob)
        async with raw(left.port, b"PAIR"):  # it reads nothing, so closing takes its time
            assert await kinds(events, 1) == [CONNECTED]
            await within(left.transmit(Blob(bytes(64 << 20)), blob))
            closing = asyncio.create_task(left.aclose())
            await until(lambda: left.closed)
            assert not closing.done()
            assert await kinds(events, 1) == [DISCONNECTED]
            await within(closing)

    run(main())


# -- callbacks ---------------------------------------------------------------------------------------------


def test_a_callback_that_raises_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with pair() as left:
            told: list[LinkEventKind] = []

            def broken(event: LinkEvent) -> None:
                raise ValueError("no such tank")

            left.on_link_event(broken)
            left.on_link_event(lambda event: told.append(event.kind))
            await come_and_go(left, 1)
            await until(lambda: len(told) == 2)
            assert caplog.text.count("no such tank") >= 2

    run(main())


def test_a_callback_is_called_until_it_is_removed_and_once_for_each_time_it_was_given() -> None:
    async def main() -> None:
        async with pair() as left:
            told: list[LinkEventKind] = []
            removers: list[Callable[[], None]] = []

            def tell(event: LinkEvent) -> None:
                told.append(event.kind)

            def remove_the_other(event: LinkEvent) -> None:
                removers[1]()

            removers += [left.on_link_event(remove_the_other)]
            removers += [left.on_link_event(tell), left.on_link_event(tell)]
            await come_and_go(left, 1)
            await until(lambda: len(told) == 2)
            removers[2]()
            removers[2]()
            await come_and_go(left, 1)
            assert told == [CONNECTED, DISCONNECTED]

    run(main())


def test_a_callback_may_transmit_as_soon_as_the_link_is_up() -> None:
    async def main() -> None:
        left = pair()
        async with Plexus([left]) as a:
            await a.adapt(tick)
            left.on_link_event(
                lambda event: event.kind is CONNECTED and a.transmit_nowait(Tick(len(greeted)))
            )
            greeted: list[Tick] = []
            for n in range(3):
                async with Plexus([pair(left)]) as b:
                    b.on(tick)(greeted.append)
                    await until(lambda n=n: len(greeted) > n)  # type: ignore[misc]
            assert greeted == [Tick(0), Tick(1), Tick(2)]

    run(main())


@pytest.mark.parametrize("around", ["ganglion", "plexus"])
def test_a_callback_may_close_the_ganglion(around: str) -> None:
    async def main() -> None:
        left = pair()
        watched: Any = Plexus([left]) if around == "plexus" else left
        told: list[LinkEvent] = []

        def close(event: LinkEvent) -> None:
            if event.kind is CONNECTED:
                watched.close()

        async with watched, pair(left):
            watched.on_link_event(close)
            watched.on_link_event(told.append)
            events = watched.link_events()
            assert [event.kind async for event in events] == [CONNECTED, DISCONNECTED]
            assert watched.closed
            assert [event.kind for event in told] == [CONNECTED, DISCONNECTED]
            assert told[1].reason == "this side was closed"

    run(main())


# -- event loops -------------------------------------------------------------------------------------------


def test_watching_goes_on_from_one_event_loop_to_the_next() -> None:
    left = pair()
    told: list[LinkEventKind] = []
    left.on_link_event(lambda event: told.append(event.kind))
    events = left.link_events()

    async def meet() -> None:
        async with pair(left) as right:
            # Reading serves the ganglion from this loop; nothing else has touched it here.
            assert (await within(events.__anext__())).kind is CONNECTED
            await within(right.ready())
        assert (await within(events.__anext__())).kind is DISCONNECTED

    for _ in range(2):
        run(meet())
    assert told == 2 * [CONNECTED, DISCONNECTED]
    left.close()


def test_what_a_loop_did_not_live_to_deliver_the_next_one_or_closing_does() -> None:
    left = pair()
    right = pair(left)
    told: list[LinkEventKind] = []
    left.on_link_event(lambda event: told.append(event.kind))

    async def meet() -> None:
        await within(asyncio.gather(left.ready(), right.ready()))

    async def serve() -> None:
        await left.adapt(tick)
        await asyncio.sleep(0)

    def stop_and_tell(loop: asyncio.AbstractEventLoop) -> None:
        loop.stop()
        left._queue_full(left.hub.links[0], None)

    for turn in range(2):
        loop = asyncio.new_event_loop()
        loop.run_until_complete(meet())
        told.clear()
        loop.call_soon(stop_and_tell, loop)
        loop.run_forever()
        assert told == []
        loop.close()
        if turn == 0:
            run(serve())
            assert told == [SLOW]
    left.close()
    assert told == [SLOW, DISCONNECTED]
    right.close()
