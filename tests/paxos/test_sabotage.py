# SPDX-License-Identifier: Apache-2.0
"""Every check can fail: a node with one thing wrong is found."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from plexo._proto.paxos.messages import Proposal, View, owner_of
from tests.paxos.network import Violation
from tests.paxos.sabotage import SABOTAGES
from tests.paxos.scenario import play_merge
from tests.paxos.schedule import LINEAGE, World, walk

SEEDS = 1500


def search_all(search: Callable[[int], object], seeds: range) -> None:
    for seed in seeds:
        search(seed)


@pytest.mark.parametrize("name", SABOTAGES)
def test_it_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found_as, first, sabotage = SABOTAGES[name]
    search: Callable[[int], object] = walk if found_as == "agreement" else play_merge
    sabotage(monkeypatch)
    with pytest.raises(Violation, match=found_as):
        search_all(search, range(first, first + SEEDS))


def test_nothing_is_found_where_nothing_is_wrong() -> None:
    for seed in range(1000):
        walk(seed)


def unsynced() -> World:
    """Peers 1, 2, 3 in epoch 2, which begins with a register that nobody but peer 1 knows."""
    world = World(3, (1, 2, 3))
    peer = world.peers[1]
    peer.learn([(0, 1, owner_of("a"))])
    view = View(LINEAGE, 2, (1, 2, 3), *peer.registers.before(2))
    for each in world.peers.values():
        each.enter(view)
    return world


def test_a_voter_says_nothing_before_it_knows_what_was_decided() -> None:
    world = unsynced()
    world.peers[2].take(Proposal(3, LINEAGE, 2, 1, ((0, owner_of("b")),), None))
    assert not world.peers[2].voting.votes() and not world.said
    world.peers[2].learn([(0, 1, owner_of("a"))])
    assert world.peers[2].voting.votes()


def test_a_change_needs_promises_of_a_majority_that_knows_the_same() -> None:
    world = World(3, (1, 2, 3))
    world.peers[2].learn([(0, 1, owner_of("a"))])
    voting = world.peers[1].voting
    voting.change_council((1, 2), 0.0)
    voting.advance(0.0)
    preparation = next(iter(world.said))
    world.peers[2].take(preparation)
    for message in list(world.said):
        world.peers[1].take(message)
    assert not any(isinstance(message, Proposal) for message in world.said)
    world.peers[3].take(preparation)
    for message in list(world.said):
        world.peers[1].take(message)
    assert any(isinstance(message, Proposal) for message in world.said)
