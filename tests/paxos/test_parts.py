# SPDX-License-Identifier: Apache-2.0
"""Parts of the allocation: probing, messages and their bounds, offers, floods."""

from __future__ import annotations

import random

import pytest

from plexo._proto.paxos import messages
from plexo._proto.paxos.homes import fnv1a_64, probes
from plexo._proto.paxos.messages import Change, Heartbeat, Offers, Promise, Proposal, View, owner_of
from plexo._proto.paxos.node import Node
from plexo._proto.paxos.timing import HEARTBEAT_BUDGET_BYTES_S, MAX_COUNCIL, Timing


def test_fnv1a_64() -> None:
    """The vectors of RFC 9923."""
    assert fnv1a_64(b"") == 0xCBF29CE484222325
    assert fnv1a_64(b"a") == 0xAF63DC4C8601EC8C
    assert fnv1a_64(b"foobar") == 0x85944171F73967E8


def test_probing_visits_every_free_slot_once() -> None:
    visited = list(probes("org.brewery.sake.Reading.msgpack", 64))
    assert sorted(visited) == list(range(32, 64))
    assert visited[0] == 32 + fnv1a_64(b"org.brewery.sake.Reading.msgpack") % 32


def test_datagrams_are_small_whatever_is_in_them() -> None:
    most = (1 << 64) - 1
    council = tuple(most - n for n in range(MAX_COUNCIL))
    view = View(most, (1 << 32) - 1, council, most, most)
    owner = owner_of("x")
    accepted = tuple(((1 << 28) - 1, (1 << 48) - 1, most, owner) for _ in range(messages.MAX_ACCEPTED))
    carried = tuple(((1 << 28) - 1, owner) for _ in range(messages.MAX_CARRIED))
    change = Change(view, carried)
    ballot = ((1 << 48) - 1, most)
    for message in (
        Heartbeat(most, view, 1 << 22, most, most, most, council * 2, most, True),
        Proposal(most, most, (1 << 32) - 1, (1 << 48) - 1, (), change),
        Promise(most, most, (1 << 32) - 1, ballot, (), accepted, True, ballot, None, most, most),
    ):
        encoded = messages.encode(message)
        assert len(encoded) <= messages.MAX_DATAGRAM_BYTES
        assert messages.decode(encoded) == message


def test_nothing_from_the_network_raises(rng: random.Random) -> None:
    sample = random.Random(7)
    nodes = [Node(n + 1, 64, sample, Timing(), 0.0) for n in range(3)]
    seen: list[bytes] = []
    for step in range(60):
        now = step * 0.05
        for node in nodes:
            if step == 0:
                node.want("topic", now)
                node.offer(["topic", "another"], now)
            node.advance(now)
        said = [datagram for node in nodes for datagram in node.take_datagrams()]
        seen += said
        for node in nodes:
            for datagram in said:
                assert node.receive(datagram, now) is None
    assert all(node.allocation("topic").agreed for node in nodes)
    victim = nodes[0]
    for _ in range(20_000):
        datagram = bytearray(rng.choice(seen))
        for _ in range(rng.randrange(1, 4)):
            datagram[rng.randrange(len(datagram))] = rng.randrange(256)
        fault = victim.receive(bytes(datagram[: rng.randrange(1, len(datagram) + 1)]), 3.0)
        assert fault in (None, "malformed", "unknown-version")
        victim.take_datagrams()
    assert victim.receive(b"", 3.0) == "empty"
    assert victim.receive(bytes(1401), 3.0) == "too-large"


def test_pages_of_offers_arrive_in_any_order() -> None:
    rng = random.Random(7)
    one, other = (Node(n + 1, 64, rng, Timing(), 0.0) for n in range(2))
    topics = [f"org.brewery.topic.number.{n}" for n in range(3000)]
    one.offer(topics, 0.0)
    one.advance(0.1)
    datagrams = one.take_datagrams()
    assert all(len(datagram) <= messages.MAX_DATAGRAM_BYTES for datagram in datagrams)
    heartbeats = [each for each in datagrams if isinstance(messages.decode(each), Heartbeat)]
    pages = [each for each in datagrams if isinstance(messages.decode(each), Offers)]
    rng.shuffle(pages)
    for datagram in (*heartbeats, *pages):
        assert other.receive(datagram, 0.2) is None
    assert sorted(other.members[1].published) == sorted(topics)


@pytest.mark.parametrize("others", [1, 49, 499])
def test_heartbeats_of_all_stay_within_their_budget(others: int) -> None:
    rng = random.Random(7)
    node = Node(1, 65536, rng, Timing(), 0.0)
    view = View(5, 1, (2, 3), 0, 0)
    sent = 0
    now, until = 0.0, 60.0
    beat = 0.0
    count = 0
    while now < until:
        if now >= beat:
            count += 1
            for other in range(2, others + 2):
                node.receive(messages.encode(Heartbeat(other, view, 4000, count, 0, 0, (), 0, False)), now)
            beat += 4.0
        node.advance(now)
        if now >= 20.0:  # when all are known
            sent += sum(len(datagram) + 28 for datagram in node.take_datagrams())
        else:
            node.take_datagrams()
        now = min(max(now + 0.001, node.due()), beat)
    assert sent / (until - 20.0) * (others + 1) <= HEARTBEAT_BUDGET_BYTES_S * (1.2 if others > 49 else 1)


def test_a_flood_of_forged_nodes_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plexo._proto.paxos.node.MAX_MEMBERS", 50)
    node = Node(1, 64, random.Random(7), Timing(), 0.0)
    for other in range(2, 1000):
        node.receive(messages.encode(Heartbeat(other, None, 200, 1, 0, 0, (), 0, False)), 0.0)
    assert len(node.members) == 50
