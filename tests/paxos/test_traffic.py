# SPDX-License-Identifier: Apache-2.0
"""What the allocation costs where nothing happens, and what nodes tell each other of what they publish."""

from __future__ import annotations

import random
import tracemalloc

import pytest

from plexo._proto.paxos.events import Exhausted, MemberLeft
from plexo._proto.paxos.messages import MAX_DATAGRAM_BYTES, Heartbeat, View, encode, owner_of
from plexo._proto.paxos.node import Node
from plexo._proto.paxos.timing import HEARTBEAT_BUDGET_BYTES_S
from tests.paxos.network import BEAT_S, TIMING, Network

TOPICS = 5000
TOPIC_BYTES = 1024


@pytest.mark.parametrize("nodes", [2, 7, 30, 120, 500])
def test_heartbeats_stay_within_their_budget(nodes: int) -> None:
    """One node among others who only say that they are there; all say as much as it does."""
    rng = random.Random(nodes)
    node = Node(1, 65536, rng, TIMING, 0.0)
    others = range(1 << 63, (1 << 63) + nodes - 1)
    view = View(1 << 62, 3, tuple(others[:7]), 1000, 1 << 63)
    said = 0
    began, now, ends = 40.0, 0.0, 100.0
    beats = 0
    while now < ends:
        now = min(node.due(), now + 1.0)
        beats += 1
        for instance in others if beats % 3 == 1 else ():
            node.receive(encode(Heartbeat(instance, view, 60_000, beats, 0, 0, (), 1 << 40, False)), now)
        node.take_datagrams()
        node.advance(now)
        said += sum(map(len, node.take_datagrams())) if now > began else 0
    assert len(node.members) == nodes - 1
    assert 0 < said / (ends - began) * nodes < HEARTBEAT_BUDGET_BYTES_S


def test_a_topic_costs_less_than_a_kilobyte() -> None:
    node = Node(1, 65536, random.Random(1), TIMING, 0.0)
    names = [f"org.example.topic.{n}" for n in range(TOPICS)]
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        now = 0.0
        for name in names:
            node.want(name, now)
        while len(node.registers) < TOPICS:
            assert now < 200.0
            now = max(node.due(), now)
            node.advance(now)
            node.take_datagrams()
            node.take_events()
        assert (tracemalloc.get_traced_memory()[0] - before) / TOPICS < TOPIC_BYTES
    finally:
        tracemalloc.stop()
    assert {node.registers[node.allocation(name).slot] for name in names} == {
        owner_of(name) for name in names
    }


def together(hosts: int) -> Network:
    network = Network(3, hosts, 40, Node)
    for host in network.hosts:
        network.start(host)
    network.run(20 * BEAT_S)
    return network


def test_offers_are_paged_and_read_whole() -> None:
    network = together(2)
    one, other = network.hosts
    assert one.node is not None and other.node is not None
    topics = [f"org.example.{'x' * (n % 200)}.{n}" for n in range(3000)]
    one.node.offer([*topics, "y" * 2000], one.clock(network.now))
    network.after(one)
    network.run(network.now + 10 * BEAT_S)
    assert other.node.members[one.node.instance].published == tuple(sorted(topics))
    one.node.offer([], one.clock(network.now))
    network.after(one)
    network.run(network.now + 3 * BEAT_S)
    assert other.node.members[one.node.instance].published == ()


def test_who_says_goodbye_is_gone_at_once() -> None:
    network = together(3)
    one, other, _ = network.hosts
    assert one.node is not None and other.node is not None
    one.node.leave(one.clock(network.now))
    (farewell,) = one.node.take_datagrams()
    assert len(farewell) < MAX_DATAGRAM_BYTES
    other.node.receive(farewell, other.clock(network.now))
    assert MemberLeft(one.node.instance) in other.node.take_events()
    assert one.node.due() == float("inf")
    one.node.advance(one.clock(network.now + 10))
    assert not one.node.take_datagrams()


def test_when_all_slots_are_taken_it_is_said_once() -> None:
    network = together(1)
    (host,) = network.hosts
    network.trace = []
    for n in range(10):
        network.adapt(host, f"topic.{n}")
    network.run(network.now + 20 * BEAT_S)
    exhausted = [line for line in network.trace if Exhausted.__name__ in line]
    assert len(exhausted) == len(set(exhausted)) == 2
    assert host.node is not None and len(host.node.registers) == 8
