# SPDX-License-Identifier: Apache-2.0
"""What the simulator found, in the smallest form that shows it."""

from __future__ import annotations

from plexo._proto.paxos.homes import Homes, probes
from plexo._proto.paxos.messages import Approval, Proposal, Registers, owner_of
from plexo._proto.paxos.registers import RegisterMap
from tests.paxos.schedule import LINEAGE, World

# A council was lost; who was left knew that a topic has its second slot, and not who has the first: it got two slots.


def test_a_topic_keeps_its_slot_where_one_before_it_is_free() -> None:
    homes = Homes(64, lambda event: None)
    home = homes.add("a")
    assert home is not None
    known = RegisterMap()
    second = list(probes("a", 64))[1]
    known.learn(second, 0, owner_of("a"))
    assert homes.settle(home, known, 0.0, 0.4) is None
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
