# SPDX-License-Identifier: Apache-2.0
"""Runs of records on the wire of a stranger: in any pieces, mixed with anything, the result is the slow path's."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plexo import Cause, GanglionZmqTcpPair, GanglionZmqTcpPubSub, Neuron, NumpyCodec, Plexus, Queue
from plexo._fast.envelope import build_envelope
from tests.network.records import (
    HOST,
    KINDS,
    book,
    feed,
    longer,
    on_wire,
    records,
    sample,
    sent,
    stranger,
    turns,
)
from tests.reference.envelope import scatter_envelope
from tests.support import RawPeer, Tick, frame, in_thread, namespace, run, tick, until

NEURONS = (sample, longer)
PING = frame(b"\x04PING\0\0context", 4)
UNKNOWN = sample.topic[:-1]


class Heard:
    """What reached reactants, as bytes; and the books."""

    def __init__(self) -> None:
        self.payloads: dict[str, list[bytes]] = {neuron.name: [] for neuron in NEURONS}
        self.collected: dict[str, bytes] = {}

    def batches(self, plexus: Plexus) -> None:
        for neuron in NEURONS:

            def note(batch: Any, name: str = neuron.name) -> None:
                self.payloads[name] += [each.tobytes() for each in batch]

            plexus.on(neuron, batch=True, max_batch=7)(note)

    def batches_and_ring(self, plexus: Plexus) -> None:
        self.batches(plexus)
        self.rings = {neuron.name: plexus.collect(neuron) for neuron in NEURONS}

    def one_by_one(self, plexus: Plexus) -> None:
        for neuron in NEURONS:

            def note(record: Any, name: str = neuron.name) -> None:
                self.payloads[name].append(record.tobytes())

            plexus.on(neuron)(note)


def outcome(
    kind: str, pieces: Sequence[bytes], how: str, **arguments: Any
) -> tuple[dict[str, list[bytes]], Any]:
    heard = Heard()
    stats = run(feed(kind, pieces, getattr(heard, how), **arguments))
    if how == "batches_and_ring":
        for name, ring in heard.rings.items():
            assert ring.drain().tobytes() == b"".join(heard.payloads[name])
    books = {
        name: (each.received, each.receiving.accepted, each.receiving.delivered, dict(each.receiving.dropped))
        for name, each in stats.neurons.items()
    }
    # What a fault says of the link's end is a matter of how it was cut.
    return heard.payloads, (books, stats.ended.receiving, dict(stats.faults))


def in_pieces(wire: bytes, sizes: Sequence[int]) -> list[bytes]:
    pieces = []
    for size in sizes:
        pieces.append(wire[:size])
        wire = wire[size:]
    return [piece for piece in (*pieces, wire) if piece]


def message(kind: str, topic: bytes, payload: bytes, rng: random.Random | None = None) -> bytes:
    if kind == "pubsub":
        return frame(topic, 1) + frame(payload)
    if rng is None:
        return frame(build_envelope(topic, payload))
    return frame(scatter_envelope(topic, payload, rng, rng.choice([1, 2, 3])))


@st.composite
def streams(draw: Any) -> tuple[str, bytes]:
    """Runs of records with everything that may come between them."""
    kind = draw(st.sampled_from(KINDS))
    rng = random.Random(draw(st.integers(0, 2**32)))
    wire = b""
    for what in draw(
        st.lists(st.sampled_from(["run"] * 4 + ["longer"] * 2 + SPECIAL), min_size=3, max_size=12)
    ):
        count = rng.choice([1, 2, 7, 8, 20])
        if what == "run":
            wire += sent(kind, records(count, rng.randrange(1000)))
        elif what == "longer":
            wire += sent(kind, np.full(count, rng.random()), longer)
        else:
            wire += special(kind, what, rng)
    return kind, wire


SPECIAL = ["ping", "size", "unknown", "foreign", "parts", "empty", "long header", "prefix payload"]


def special(kind: str, what: str, rng: random.Random) -> bytes:
    record = records(1, rng.randrange(1000)).tobytes()
    if what == "ping":
        return PING
    if what == "size":
        return message(kind, sample.topic, rng.choice([record[:-1], record + b"\0", record * 2, b""]))
    if what == "unknown":
        return message(kind, UNKNOWN, record)
    if what == "foreign":
        return message(kind, sample.topic, record, rng)
    if what == "parts":
        return frame(sample.topic, 1) + frame(record, 1) + frame(record)
    if what == "empty":
        return frame(b"")
    if what == "prefix payload":
        # A payload that looks like what a message begins with.
        return message(kind, sample.topic, sent(kind, records(1))[:16])
    # A frame header of nine bytes where one of two would do: allowed, and nothing we write.
    body = build_envelope(sample.topic, record) if kind == "pair" else record
    long = b"\x02" + len(body).to_bytes(8, "big") + body
    return long if kind == "pair" else frame(sample.topic, 1) + long


@given(streams(), st.lists(st.integers(1, 120), min_size=8, max_size=60))
@settings(max_examples=60, deadline=None)
def test_any_stream_in_any_pieces_gives_what_the_slow_path_gives(
    stream: tuple[str, bytes], sizes: list[int]
) -> None:
    kind, wire = stream
    slow = outcome(kind, [wire], "one_by_one")
    for pieces in ([wire] if wire else [], in_pieces(wire, sizes)):
        assert outcome(kind, pieces, "batches") == slow
    # The ring's share is in the plexus' book, not in the ganglion's.
    assert outcome(kind, in_pieces(wire, sizes), "batches_and_ring") == slow


@pytest.mark.parametrize("kind", KINDS)
def test_byte_by_byte(kind: str) -> None:
    rng = random.Random(7)
    wire = sent(kind, records(3)) + sent(kind, np.array([0.5, 1.5]), longer)
    wire += b"".join(special(kind, what, rng) for what in SPECIAL) + sent(kind, records(3, 3))
    slow = outcome(kind, [wire], "one_by_one")
    assert len(slow[0][sample.name]) >= 6
    assert outcome(kind, [wire], "batches") == slow
    assert outcome(kind, [wire[at : at + 1] for at in range(len(wire))], "batches_and_ring") == slow


@pytest.mark.parametrize("kind", KINDS)
def test_cut_at_every_byte_of_a_run(kind: str) -> None:
    """All cuts of two consecutive messages, over one link: what is kept of a cut message is put before the rest."""

    async def main() -> None:
        got: list[Any] = []
        async with stranger(kind, lambda plexus: plexus.on(sample, batch=True)(got.append)) as (_, peer):
            wire = sent(kind, records(4))
            for cut in range(len(wire) // 4, 3 * len(wire) // 4 + 1):
                got.clear()
                peer.give(wire[:cut])
                await turns(4)
                peer.give(wire[cut:])
                await until(lambda: sum(map(len, got)) == 4)
                assert (np.concatenate(got) == records(4)).all(), cut

    run(main())


@pytest.mark.parametrize("kind", KINDS)
def test_records_of_the_wrong_size_are_undecodable_and_the_others_go_on(kind: str) -> None:
    async def main() -> None:
        got: list[Any] = []
        letters: list[Any] = []
        async with stranger(kind, lambda plexus: plexus.on(sample, batch=True)(got.append)) as (plexus, peer):
            await plexus.react_dead_letters([letters.append])
            record = records(1).tobytes()
            wire = b""
            for size in (0, 1, 15, 17, 32, 4096):
                wire += sent(kind, records(20)) + message(kind, sample.topic, (record * 300)[:size])
            peer.give(wire)
            ganglion: Any = plexus.ganglia[0]
            await until(lambda: ganglion.stats().received == 126)
            await until(lambda: sum(map(len, got)) == 120)
            assert ganglion.stats().fault_count(Cause.UNDECODABLE) == 6
            assert [len(letter.payload) for letter in letters] == [0, 1, 15, 17, 32, 4096]
            assert book(plexus).delivered == 120

    run(main())


@pytest.mark.parametrize("kind", KINDS)
def test_a_ping_in_a_run_is_answered_and_costs_no_record(kind: str) -> None:
    async def main() -> None:
        got: list[Any] = []
        async with stranger(kind, lambda plexus: plexus.on(sample, batch=True)(got.append)) as (_, peer):
            peer.give(b"".join(sent(kind, records(50, 50 * n)) + PING for n in range(10)))
            await until(lambda: sum(map(len, got)) == 500)
            assert (np.concatenate(got) == records(500)).all()
            assert peer.socket is not None
            answered = b""
            for _ in range(50):
                await turns(2)
                try:
                    answered += peer.socket.recv(65536)
                except BlockingIOError:
                    continue
            assert answered.count(b"\x04PONGcontext") == 10

    run(main())


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_ends_in_what_no_frame_may_be(kind: str) -> None:
    """The records before it count, and the fault names the offset where it is."""

    async def main() -> None:
        got: list[Any] = []
        events: list[Any] = []
        async with stranger(kind, lambda plexus: plexus.on(sample, batch=True)(got.append)) as (plexus, peer):
            ganglion: Any = plexus.ganglia[0]
            ganglion.on_link_event(events.append)
            peer.give(sent(kind, records(30)) + b"\xff\xff\xff" + sent(kind, records(30)))
            await until(lambda: not ganglion.hub.links)
            await turns(3)
            assert sum(map(len, got)) == 30
            assert any("reserved flags" in event.reason for event in events)

    run(main())


@pytest.mark.parametrize("kind", KINDS)
def test_a_record_larger_than_a_frame_may_be(kind: str) -> None:
    """The neuron's records do not fit this ganglion: its peer breaks the rules with the first one."""
    big: Neuron[Any] = Neuron(np.ndarray, namespace, NumpyCodec("u1", (400,)), type_name_alias="Big")

    async def main() -> None:
        got: list[Any] = []

        def react(plexus: Plexus) -> None:
            plexus.on(big, batch=True)(got.append)
            plexus.on(sample, batch=True)(got.append)

        async with stranger(kind, react, {"max_frame_bytes": 300}) as (plexus, peer):
            ganglion: Any = plexus.ganglia[0]
            peer.give(sent(kind, records(20)) + message(kind, big.topic, bytes(400)) + sent(kind, records(1)))
            await until(lambda: not ganglion.hub.links)
            assert sum(map(len, got)) == 20
            assert ganglion.stats().neurons[big.name].received == 0

    run(main())


@pytest.mark.parametrize("kind", KINDS)
def test_a_reactant_that_stops_the_link_leaves_the_rest_of_the_run_for_later(kind: str) -> None:
    """Wherever in the received bytes that happens, nothing is lost or comes twice."""

    async def main() -> None:
        for most in (1, 3, 10, 255, 256, 257):
            got: list[Any] = []

            def react(plexus: Plexus, most: int = most, got: list[Any] = got) -> None:
                @plexus.on(sample, batch=True, max_batch=most, queue=Queue("block", most))
                async def slow(batch: Any) -> None:
                    got.append(batch.copy())
                    await turns(1)

            async with stranger(kind, react) as (_, peer):
                peer.give(sent(kind, records(700)))
                await until(lambda got=got: sum(map(len, got)) == 700)
                assert (np.concatenate(got) == records(700)).all()

    run(main())


@pytest.mark.parametrize("kind", KINDS)
def test_a_neuron_without_records_between_them(kind: str) -> None:
    async def main() -> None:
        got: list[Any] = []
        ticks: list[Any] = []

        def react(plexus: Plexus) -> None:
            plexus.on(sample, batch=True)(got.append)
            plexus.on(tick)(ticks.append)

        wire = b"".join(
            sent(kind, records(n % 3, 10 * n)) + on_wire(kind, tick, [tick.encode(Tick(n))])
            for n in range(200)
        )
        async with stranger(kind, react) as (_, peer):
            peer.give(wire)
            await until(lambda: len(ticks) == 200)
            await turns(3)
            assert [each.n for each in ticks] == list(range(200))
            wanted = [10 * n + i for n in range(200) for i in range(n % 3)]
            assert np.concatenate(got)["n"].tolist() == wanted

    run(main())


def test_a_peer_that_only_subscribes_sends_no_records() -> None:
    """A publisher takes none: they are malformed, also where its own plexus wants the neuron."""

    async def main() -> None:
        got: list[Any] = []
        async with Plexus([GanglionZmqTcpPubSub(HOST, 0)]) as plexus:
            plexus.on(sample, batch=True)(got.append)
            ganglion: Any = plexus.ganglia[0]
            port = int(ganglion.endpoint.rpartition(":")[2])
            peer = await in_thread(lambda: RawPeer(port, b"SUB"))
            peer.socket.sendall(sent("pubsub", records(3)))
            await until(lambda: ganglion.stats().fault_count(Cause.MALFORMED) == 3)
            peer.close()
            assert got == []

    run(main())


@pytest.mark.parametrize("kind", KINDS)
def test_the_runs_of_these_tests_are_what_the_library_writes(kind: str) -> None:
    async def main() -> None:
        if kind == "pair":
            sender: Any = GanglionZmqTcpPair(HOST, 0, heartbeat_s=0)
        else:
            sender = GanglionZmqTcpPubSub(HOST, 0, heartbeat_s=0, send_queue="block")
        async with Plexus([sender]) as plexus:
            await plexus.adapt(sample)
            port = int(sender.endpoint.rpartition(":")[2])
            peer = await in_thread(lambda: RawPeer(port, b"PAIR" if kind == "pair" else b"SUB"))
            if kind == "pubsub":
                peer.socket.sendall(frame(b"\x01" + sample.topic))
                await until(lambda: sender.subscriber_count(sample))
            for record in records(3):
                await plexus.transmit(record, sample)
            wire = sent(kind, records(3))
            assert await in_thread(lambda: peer.read_exactly(len(wire))) == wire
            peer.close()

    run(main())
