# SPDX-License-Identifier: Apache-2.0
"""One scenario: a time of faults, in which nothing wrong may be decided; then a healed network, which must converge."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, NamedTuple

from plexo._proto.paxos.node import Node
from tests.paxos.network import BEAT_S, Host, Network, Violation

CONVERGE_BEATS = 40
# What is allowed beyond: publishers switch and old groups are left some heartbeats after.
SETTLE_BEATS = 20
# While much is broken all publish, so that topics meet in their groups.
FAULTY_ROUND_S = 2 * BEAT_S


class Outcome(NamedTuple):
    beats_to_converge: float
    events: int
    moves: int
    # Messages that reached a host by a group where it listens for another topic alone.
    crossed: int


class Messages:
    """Data: publishers send to the slot that their node says, and those hear it who listen there then.

    ``sure``: those who want it are to hear it. ``sides``: of each host; None: all were connected. Only those who were
    all along are sure to hear each other.
    """

    def __init__(self, network: Network, sides: list[int] | None = None, sure: bool = True) -> None:
        self.network = network
        self.sides = sides
        self.sure = sure
        self.lost: list[str] = []
        self._rng = random.Random(len(network.hosts))

    def begin(self, every_s: float, until: float) -> None:
        """Everybody publishes each topic that it has adapted by then, at any moment of each round."""
        network = self.network
        for host in network.hosts:
            for topic in sorted(host.wanted):
                network.at(network.now + self._rng.random() * every_s, self._publish, host, topic)
        if network.now + every_s < until:
            network.at(network.now + every_s, self.begin, every_s, until)

    def _publish(self, host: Host, topic: str) -> None:
        node = host.node
        if node is None:
            return
        slot = node.sends(topic)
        self._reach(self._rng.choice(self.network.hosts), slot, topic)
        for other in self.network.hosts if self.sure else ():
            if other is host or topic not in other.wanted or other.node is None:
                continue
            if self.sides is not None and self.sides[other.number] != self.sides[host.number]:
                continue
            if slot not in other.node.listens(topic):
                self.lost.append(
                    f"{topic} from host {host.number} to {slot}: host {other.number} "
                    f"listens at {sorted(other.node.listens(topic))}"
                )

    def _reach(self, host: Host, slot: int, topic: str) -> None:
        """One of those whom it may come to is looked at."""
        if host.hears(slot):
            reached = host.reached(slot, topic)
            if reached not in (None, topic):
                raise Violation(f"no wrong delivery: {topic} by {slot} to {reached} at host {host.number}")
            self.network.crossed += reached is None


def play(seed: int, node: Callable[..., Node] = Node, trace: list[str] | None = None) -> Outcome:
    """Violation where a property does not hold. Two seeds of five duel or merge."""
    kind = play_merge if seed % 5 == 4 else play_duels if seed % 5 == 3 else play_faults
    return kind(seed, node, trace)


def play_duels(seed: int, node: Callable[..., Node] = Node, trace: list[str] | None = None) -> Outcome:
    """One lineage in which all want the same few slots for other topics, while voters come and go and most is lost."""
    rng = random.Random(seed)
    size = rng.randrange(3, 7)
    slots = 32 + rng.choice((2, 4, 8))
    network = Network(rng.randrange(1 << 62), size, slots, node)
    network.trace = trace
    if trace is not None:
        trace.append(f"{size} hosts, {slots - 32} slots")
    late = rng.random() < 0.5
    for host in network.hosts:
        # With the first ones alone there is a council before the others come.
        network.at(rng.random() * (0.1 if host.number < 2 or not late else 8.0) * BEAT_S, network.start, host)
    network.run(5 * BEAT_S)
    network.loss = rng.choice((0.1, 0.3, 0.5))
    network.doubling = rng.choice((0.0, 0.3))
    network.delay = rng.choice((0.5, 2.0, 5.0))
    faulty_s = 40 * BEAT_S
    for _ in range(3 * (slots - 32)):
        topic = f"{rng.randrange(1000)}.topic"
        network.at(network.now + rng.random() * faulty_s / 2, network.adapt, rng.choice(network.hosts), topic)
    for host in network.hosts[2:] if rng.random() < 0.7 else []:
        at = network.now + rng.random() * faulty_s
        network.at(at, network.kill, host, rng.random() < 0.3)
        network.at(at + rng.random() * 8 * BEAT_S, network.revive, host)
    for _ in range(rng.randrange(12)):
        # Deaf or dumb for a moment, too short to be missed.
        at = network.now + rng.random() * faulty_s
        pair = rng.randrange(size), rng.randrange(size)
        network.at(at, network.cut.add, pair)
        network.at(at + rng.random() * 4 * BEAT_S, network.cut.discard, pair)
    Messages(network, sure=False).begin(FAULTY_ROUND_S, network.now + faulty_s)
    network.run(network.now + faulty_s)
    return _heal(network, rng)


def play_merge(seed: int, node: Callable[..., Node] = Node, trace: list[str] | None = None) -> Outcome:
    """Two or three networks that never heard of each other become one, while everybody publishes."""
    rng = random.Random(seed)
    size = rng.randrange(3, 9)
    slots = 32 + rng.choice((8, 16, 64, 1000))
    topics = [f"{rng.randrange(1000)}.topic.{n}" for n in range(rng.choice((1, 3, 5, 8)))]
    network = Network(rng.randrange(1 << 62), size, slots, node)
    network.trace = trace
    sides = [rng.randrange(rng.choice((2, 3))) for _ in range(size)]
    network.cut = {(a, b) for a in range(size) for b in range(size) if sides[a] != sides[b]}
    if trace is not None:
        trace.append(f"{size} hosts, sides {sides}, {slots - 32} slots, {len(topics)} topics")
    for host in network.hosts:
        network.at(rng.random() * BEAT_S, network.start, host)
        for topic in topics:
            if rng.random() < 0.7:
                # In another order on each side, so that they decide differently.
                network.at((rng.random() * 5 + 5) * BEAT_S, network.adapt, host, topic)
    network.run(40 * BEAT_S)
    healed_at = network.now
    network.cut.clear()
    network.loss = rng.choice((0.0, 0.1, 0.3))
    messages = Messages(network, sides)
    until = healed_at + (CONVERGE_BEATS + SETTLE_BEATS) * BEAT_S
    messages.begin(BEAT_S / 3, until)
    took = _converge(network, healed_at + CONVERGE_BEATS * BEAT_S / 0.8)
    network.run(max(until, network.now + SETTLE_BEATS * BEAT_S))
    if messages.lost:
        raise Violation(f"no loss by moving: {messages.lost[0]}")
    _converge(network, network.now + BEAT_S)
    return Outcome(took, network.events, network.moves, network.crossed)


def _converge(network: Network, deadline: float) -> float:
    """How many heartbeats it takes."""
    began = network.now
    while True:
        network.run(network.now + BEAT_S)
        network.check_all()
        differences = network.differences()
        if not differences:
            return (network.now - began) / BEAT_S
        if network.now >= deadline:
            raise Violation(f"convergence: {'; '.join(differences[:4])}")


def play_faults(seed: int, node: Callable[..., Node] = Node, trace: list[str] | None = None) -> Outcome:
    """A time of faults, then healing."""
    rng = random.Random(seed)
    size = rng.choice((1, 2, 2, 3, 3, 3, 4, 5, 5, 7, 8, 12))
    slots = 32 + rng.choice((8, 8, 16, 64, 1000, 65504))
    topics = [f"{rng.randrange(1000)}.topic.{n}" for n in range(rng.choice((1, 2, 3, 5, 8, 12)))]
    network = Network(rng.randrange(1 << 62), size, slots, node)
    network.trace = trace
    if trace is not None:
        trace.append(f"{size} hosts, {slots - 32} slots, {len(topics)} topics")
    faulty_s = rng.choice((0.0, 10.0, 30.0, 60.0)) * BEAT_S
    hosts = network.hosts
    for host in hosts:
        network.at(rng.random() * rng.choice((0.0, 1.0, 20.0)) * BEAT_S, network.start, host)
        for topic in topics:
            if rng.random() < 0.7:
                network.at(rng.random() * max(faulty_s, 5 * BEAT_S), network.adapt, host, topic)
    if faulty_s:
        network.loss = rng.choice((0.0, 0.1, 0.3))
        network.doubling = rng.choice((0.0, 0.2))
        network.delay = rng.choice((0.05, 1.0, 10.0))
        for _ in range(rng.randrange(1, 6)):
            network.at(rng.random() * faulty_s, _fault, network, rng, faulty_s)
    Messages(network, sure=False).begin(FAULTY_ROUND_S, faulty_s)
    network.run(max(faulty_s, 21 * BEAT_S))
    for topic in topics:
        if not any(topic in host.wanted for host in hosts):
            network.adapt(rng.choice(hosts), topic)
    return _heal(network, rng)


def _heal(network: Network, rng: random.Random) -> Outcome:
    network.check_all()
    hosts = network.hosts
    # From now on nothing is broken but, maybe, a tolerable loss.
    network.loss, network.doubling, network.delay = rng.choice((0.0, 0.0, 0.3)), 0.0, 0.05
    network.cut.clear()
    for host in hosts:
        if host.node is None:
            network.start(host)
    healed_at = network.now
    # What was under way is given its ten heartbeats.
    deadline = healed_at + (10 + CONVERGE_BEATS) * BEAT_S / 0.8
    took = _converge(network, deadline)

    # All have converged: whoever sends is heard, also while publishers switch.
    messages = Messages(network)
    until = network.now + SETTLE_BEATS * BEAT_S
    messages.begin(BEAT_S / 3, until)
    network.run(until + BEAT_S)
    if messages.lost:
        raise Violation(f"no loss by moving: {messages.lost[0]}")
    # A loss of heartbeats may have made somebody look gone meanwhile; that must mend itself, and nothing may be wrong.
    network.check_all()
    return Outcome(took, network.events, network.moves, network.crossed)


def _fault(network: Network, rng: random.Random, faulty_s: float) -> None:
    hosts = network.hosts
    host = rng.choice(hosts)
    kind = rng.choice(("kill", "leave", "restart", "one-way", "cut", "partition", "heal"))
    if network.trace is not None:
        network.trace.append(f"{network.now:8.3f} - {kind} {host.number}")
    if kind in ("kill", "leave"):
        network.kill(host, kind == "leave")
    elif kind == "restart":
        network.kill(host)
        network.start(host)
    elif kind == "one-way":
        network.cut.add((host.number, rng.choice(hosts).number))
    elif kind == "cut":
        for other in hosts:
            network.cut |= {(host.number, other.number), (other.number, host.number)}
    elif kind == "partition":
        side = {each.number for each in hosts if rng.random() < 0.5}
        network.cut |= {
            (a.number, b.number) for a in hosts for b in hosts if (a.number in side) != (b.number in side)
        }
    else:
        network.cut.clear()
        for each in hosts:
            if each.node is None:
                network.start(each)
    if rng.random() < 0.6:
        network.at(network.now + rng.random() * faulty_s / 2, _mend, network, host)


def _mend(network: Network, host: Host) -> None:
    network.cut.clear()
    if host.node is None:
        network.start(host)


def replay(seed: int) -> Any:
    """As `play`, with everything that happened."""
    trace: list[str] = []
    try:
        return play(seed, trace=trace), trace
    except Violation as violation:
        return violation, trace
