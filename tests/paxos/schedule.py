# SPDX-License-Identifier: Apache-2.0
"""The proposers and voters alone, under any schedule: what was said once may arrive at any time, often, or never.

A bag keeps all that was ever said, and a step takes one message of it to one peer, or lets one peer lose its
patience. So loss, doubling and reordering need no steps of their own. Time has no part in it but for patience.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from copy import copy
from typing import Any

from plexo._proto.paxos.messages import (
    Approval,
    Change,
    Message,
    Preparation,
    Promise,
    Proposal,
    Registers,
    Rejection,
    View,
)
from plexo._proto.paxos.registers import RegisterMap
from plexo._proto.paxos.timing import Timing
from plexo._proto.paxos.voting import NEVER, Voting
from tests.paxos.network import Violation

LINEAGE = 5
_HANDLERS = {
    Preparation: "preparation",
    Promise: "promise",
    Rejection: "rejection",
    Proposal: "proposal",
    Approval: "approval",
}


class _Even:
    """No chance."""

    def random(self) -> float:
        return 0.5

    def randrange(self, start: int, stop: int) -> int:
        return start


class Peer:
    """As much of a node as votes, proposes and learns."""

    def __init__(self, world: World, instance: int, view: View | None) -> None:
        self.world = world
        self.instance = instance
        self.now = 0.0
        self.registers = RegisterMap()
        self.voting = Voting(
            instance, _Even(), Timing(), lambda: self.registers, self.say, self.decided, self.changed
        )
        if view is not None:
            self.voting.enter(view, 0.0)

    def say(self, message: Message) -> None:
        self.world.said.setdefault(message)
        self.world.log.append(message)
        name = _HANDLERS.get(type(message))
        if name is not None:
            getattr(self.voting, name)(message, self.now)

    def decided(self, values: Sequence[tuple[int, int, bytes]]) -> None:
        self.learn(values)
        self.say(Registers(self.instance, LINEAGE, tuple(values)))

    def changed(self, change: Change) -> None:
        view = self.voting.view
        assert view is not None
        if change.carried:
            self.decided([(slot, view.epoch, owner) for slot, owner in change.carried])
        self.enter(change.view)

    def enter(self, view: View) -> None:
        self.voting.enter(view, self.now)
        self.world.views.setdefault(view)
        self.world.log.append(view)
        known = self.world.of_epoch.setdefault(view.epoch, view)
        if known != view:
            raise Violation(f"agreement: epoch {view.epoch} has two councils")

    def learn(self, values: Sequence[tuple[int, int, bytes]]) -> None:
        for slot, epoch, owner in values:
            known = self.world.owners.setdefault(slot, owner)
            if known != owner:
                raise Violation(f"agreement: slot {slot} has two owners")
            if self.registers.learn(slot, epoch, owner):
                self.voting.forget(slot, owner)

    def take(self, message: Message | View) -> None:
        view = self.voting.view
        if isinstance(message, View):
            if view is None or message.epoch > view.epoch:
                self.learn(self.voting.carried_to(message))
                self.enter(message)
        elif isinstance(message, Registers):
            self.learn(message.values)
        elif view is not None and message.epoch == view.epoch:  # type: ignore[union-attr]
            getattr(self.voting, _HANDLERS[type(message)])(message, self.now)
        self.voting.advance(self.now)

    def lose_patience(self) -> None:
        due = self.voting.due()
        if due < NEVER:
            self.now = max(self.now, due)
            self.voting.advance(self.now)

    def copied(self, world: World) -> Peer:
        peer = Peer(world, self.instance, None)
        peer.now = self.now
        for slot, epoch, owner in map(self.registers.entry, self.registers.owners):
            peer.registers.learn(slot, epoch, owner)
        ours, its = self.voting, peer.voting
        its.view = ours.view
        its._active, its._round, its._wanted_change = ours._active, ours._round, ours._wanted_change
        its._acceptor._promised = ours._acceptor._promised.copy()
        its._acceptor.accepted = ours._acceptor.accepted.copy()
        its._acceptor._change_promised = ours._acceptor._change_promised
        its._acceptor.change = ours._acceptor.change
        for slot, attempt in ours._attempts.items():
            its._attempts[slot] = other = copy(attempt)
            other.answers = attempt.answers.copy()
        if ours._change is not None:
            its._change = change = copy(ours._change)
            change.answers, change.synced = change.answers.copy(), change.synced.copy()
            change.accepted = change.accepted.copy()
        return peer

    def state(self) -> Any:
        """All but times and counts of repeats."""
        voting, acceptor = self.voting, self.voting._acceptor
        change = voting._change
        return (
            voting.view and voting.view.epoch,
            voting._round,
            tuple(self.registers.owners.items()),
            tuple(acceptor._promised.items()),
            tuple((slot, ballot, owner) for slot, (ballot, owner, _) in acceptor.accepted.items()),
            acceptor._change_promised,
            acceptor.change,
            tuple(
                (slot, each.phase, each.ballot, each.best, frozenset(each.answers))
                for slot, each in voting._attempts.items()
            ),
            change
            and (
                change.phase, change.ballot, change.best, change.value, frozenset(change.answers),
                frozenset(change.synced), tuple(change.accepted.items()),
            ),
        )  # fmt: skip


class World:
    """``council`` votes first, of as many peers as there are. ``said`` and ``views`` in their order, as keys."""

    def __init__(self, peers: int, council: tuple[int, ...]) -> None:
        view = View(LINEAGE, 1, council, 0, 0)
        self.said: dict[Message, None] = {}
        self.views: dict[View, None] = {view: None}
        # What was said since it was emptied.
        self.log: list[Message | View] = []
        self.owners: dict[int, bytes] = {}
        self.of_epoch = {1: view}
        self.peers = {instance: Peer(self, instance, view) for instance in range(1, peers + 1)}

    def copied(self) -> World:
        world = World(0, (1,))
        world.said, world.views = self.said.copy(), self.views.copy()
        world.owners, world.of_epoch = self.owners.copy(), self.of_epoch.copy()
        world.peers = {instance: peer.copied(world) for instance, peer in self.peers.items()}
        return world

    def state(self) -> int:
        return hash(
            (*(peer.state() for peer in self.peers.values()), frozenset(self.said), frozenset(self.views))
        )

    def steps(self) -> Iterator[tuple[int, Message | View | None]]:
        """To whom what may be brought now; None: its patience ends."""
        for peer in self.peers.values():
            for message in (*self.said, *self.views):
                if isinstance(message, View) or message.sender != peer.instance:
                    yield peer.instance, message
            if peer.voting.due() < NEVER:
                yield peer.instance, None

    def step(self, instance: int, message: Message | View | None) -> None:
        peer = self.peers[instance]
        if message is None:
            peer.lose_patience()
        else:
            peer.take(message)


def walk(seed: int, steps: int = 150) -> None:
    """A random schedule: 3 to 5 peers, 3 of them in the council, which changes; Violation where two decide otherwise.

    Messages wait in a bag, of which any is taken, lost or doubled next. It goes in spells in which only some peers
    hear and speak, so that majorities differ.
    """
    rng = random.Random(seed)
    peers = rng.randrange(3, 6)
    world = World(peers, tuple(sorted(rng.sample(range(1, peers + 1), 3))))
    loss, doubling = rng.choice((0.0, 0.1, 0.3)), rng.choice((0.0, 0.1, 0.3))
    changing = rng.choice((0.0, 0.05, 0.15))
    # Who learns only from voters, and by changes.
    untold = rng.random() < 0.7
    bag: list[tuple[Peer, Message | View]] = []
    awake = list(world.peers)
    for number in range(steps):
        if number % 20 == 0:
            awake = rng.sample(range(1, peers + 1), rng.randrange(2, peers + 1))
        peer = world.peers[rng.choice(awake)]
        chance = rng.random()
        if chance < 0.1:
            slot = rng.randrange(2)
            if peer.registers.owner(slot) is None:
                peer.voting.propose(slot, bytes((peer.instance, slot)) * 8, peer.now)
        elif chance < 0.1 + changing:
            if peer.voting.view is not None and peer.instance in peer.voting.view.council:
                peer.voting.change_council(tuple(sorted(rng.sample(range(1, peers + 1), 3))), peer.now)
        elif chance < 0.4:
            peer.lose_patience()
        elif chance < 0.45 and (not untold or rng.random() < 0.2):
            # As after a question for what differs.
            values = tuple(map(peer.registers.entry, peer.registers.owners))
            world.log.append(Registers(peer.instance, LINEAGE, values))
        peer.voting.advance(peer.now)
        for message in world.log:
            if untold and isinstance(message, Registers) and rng.random() < 0.8:
                continue
            bag += [(each, message) for each in world.peers.values() if rng.random() >= loss]
        world.log.clear()
        for _ in range(3):
            if bag:
                at = rng.randrange(len(bag))
                to, message = bag[at]
                if to.instance in awake:
                    if rng.random() >= doubling:
                        bag[at] = bag[-1]
                        bag.pop()
                    if isinstance(message, View) or message.sender != to.instance:
                        to.take(message)


def explore(depth: int, most: int, changing: bool) -> tuple[int, int, int]:
    """Every schedule of so many steps, until there are so many states: (depth done, states, transitions).

    Peers 1 and 2 of the council 1, 2, 3 want two slots for other owners; with `changing` peer 2 wants a council
    without peer 3 too.
    """
    world = World(3, (1, 2, 3))
    for instance in (1, 2):
        voting = world.peers[instance].voting
        for slot in (0, 1):
            voting.propose(slot, bytes((instance, slot)) * 8, 0.0)
    if changing:
        world.peers[2].voting.change_council((1, 2), 0.0)
    for instance in (1, 2):
        world.peers[instance].voting.advance(0.0)
    known = {world.state()}
    border = [world]
    transitions = 0
    for level in range(depth):
        after: list[World] = []
        for each in border:
            for instance, message in each.steps():
                other = each.copied()
                other.step(instance, message)
                transitions += 1
                state = other.state()
                if state not in known:
                    known.add(state)
                    after.append(other)
            if transitions >= most:
                return level, len(known), transitions
        border = after
    return depth, len(known), transitions
