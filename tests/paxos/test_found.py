# SPDX-License-Identifier: Apache-2.0
"""What simulators and people found, in the smallest form that shows it."""

from __future__ import annotations

import random

from plexo._proto.paxos.events import MemberLeft
from plexo._proto.paxos.homes import Home, Homes, Switching, probes
from plexo._proto.paxos.messages import Approval, Heartbeat, Proposal, Registers, View, encode, owner_of
from plexo._proto.paxos.node import Node
from plexo._proto.paxos.registers import RegisterMap
from tests.paxos.network import BEAT_S, TIMING
from tests.paxos.schedule import LINEAGE, World

SWITCHING = Switching(after_s=0.4, latest_s=2.0)

# A council was lost; who was left knew that a topic has its second slot, and not who has the first: it got two slots.


def test_a_topic_keeps_its_slot_where_one_before_it_is_free() -> None:
    homes = Homes(64, lambda event: None)
    home = homes.add("a")
    assert home is not None
    known = RegisterMap()
    second = list(probes("a", 64))[1]
    known.learn(second, 0, owner_of("a"))
    assert homes.settle(home, known, 0.0, SWITCHING) is None
    assert (home.slot, home.agreed) == (second, True)


def test_a_voter_accepts_no_second_slot_for_a_topic_and_says_where_it_is() -> None:
    world = World(3, (1, 2, 3))
    world.peers[2].registers.learn(41, 1, owner_of("a"))
    world.peers[2].take(Proposal(3, LINEAGE, 1, 1, ((40, owner_of("a")),), None))
    assert list(world.said) == [Registers(2, LINEAGE, ((41, 1, owner_of("a")),))]
    assert not any(isinstance(message, Approval) for message in world.said)


def test_who_learns_where_a_topic_is_stops_proposing_it_elsewhere() -> None:
    world = World(3, (1, 2, 3))
    voting = world.peers[1].voting
    voting.propose(40, owner_of("a"), 0.0)
    voting.propose(42, owner_of("b"), 0.0)
    assert voting.forget(41, owner_of("a")) == [40]
    assert voting.open_slots == 1


# Who has learned of a move sent to the new slot while others, to whom the news got lost, did not listen there.


def moving() -> tuple[Homes, Home, int]:
    """A topic that has its second slot since 0.0, where it was sent to the first."""
    homes = Homes(64, lambda event: None)
    home = homes.add("a")
    assert home is not None
    _, second, *_ = probes("a", 64)
    known = RegisterMap()
    known.learn(second, 1, owner_of("a"))
    homes.settle(home, known, 0.0, SWITCHING)
    assert home.slot == second and home.sends == home.candidate
    return homes, home, second


def test_publishers_wait_for_who_lags_behind_but_not_for_ever() -> None:
    homes, home, second = moving()
    assert homes.due(converged=False) == SWITCHING.latest_s
    homes.advance(1.9, None, 1.0)
    assert home.sends == home.candidate
    homes.advance(2.0, None, 1.0)
    assert home.sends == second


def test_publishers_switch_soon_when_all_know() -> None:
    homes, home, second = moving()
    assert homes.due(converged=True) == SWITCHING.after_s
    homes.advance(0.3, 0.1, 1.0)
    assert home.sends == home.candidate
    homes.advance(0.4, 0.1, 1.0)
    assert home.sends == second
    assert home.candidate in home.listens()


# A second lineage came while publishers waited to switch to the slot of the first: others had never heard of that slot.


def test_publishers_stay_when_the_lineage_changes_before_they_switched() -> None:
    homes, home, second = moving()
    homes.forget_agreement()
    homes.advance(10.0, 0.1, 1.0)
    assert home.sends == home.candidate and {home.candidate, second} <= home.listens()
    known = RegisterMap()
    known.learn(second, 1, owner_of("a"))
    homes.settle(home, known, 10.0, SWITCHING)
    homes.advance(10.4, 10.0, 1.0)
    assert home.sends == second


# A node was made long before somebody ran it, or nobody ran it for a while: it founded a lineage beside one that it
# had had no chance to hear of, or took all others for gone.


def test_a_cold_start_begins_when_the_node_is_run() -> None:
    node = Node(7, 64, random.Random(1), TIMING, 0.0)
    now = 10.0
    while now < 10.0 + 2.9 * BEAT_S:
        node.advance(now)
        now += BEAT_S / 10
    assert node.view is None
    assert node.receive(encode(Heartbeat(2, View(5, 3, (2,), 0, 0), 200, 1, 0, 0, (), 0, False)), now) is None
    assert node.view is not None and node.view.lineage == 5


def test_a_cold_start_begins_anew_after_a_break() -> None:
    node = Node(7, 64, random.Random(1), TIMING, 0.0)
    node.advance(0.0)
    node.advance(20.0)
    assert node.view is None
    now = 20.0
    while node.view is None:
        now = node.due()
        node.advance(now)
    assert 20.0 + 3 * BEAT_S <= now <= 20.0 + 5 * BEAT_S


def test_after_a_break_the_silence_was_not_that_of_others() -> None:
    node = Node(7, 64, random.Random(1), TIMING, 0.0)
    node.advance(0.0)
    for beats, now in ((1, 0.0), (2, 0.1)):
        node.receive(encode(Heartbeat(2, View(5, 3, (2,), 0, 0), 200, beats, 0, 0, (), 0, False)), now)
    node.advance(30.0)
    assert 2 in node.members
    assert not any(isinstance(event, MemberLeft) for event in node.take_events())
    node.advance(30.0 + 2 * BEAT_S)
    assert 2 in node.members
    for beat in range(3, 9):
        node.advance(30.0 + beat * BEAT_S)
    assert 2 not in node.members
