# SPDX-License-Identifier: Apache-2.0
"""A network of nodes in one process and virtual time: everything that happens follows from one seed."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from typing import Any

from plexo._fast.topics import TopicTable
from plexo._proto.paxos import messages
from plexo._proto.paxos.events import Agreed, Exhausted, LineageChanged, Moved
from plexo._proto.paxos.homes import probes
from plexo._proto.paxos.node import Node
from plexo._proto.paxos.timing import Timing

BEAT_S = 0.2
TIMING = Timing(heartbeat_s=BEAT_S)


class Host:
    """A place where a node runs, is killed and started again; its clock may be wrong by a fifth."""

    def __init__(self, number: int, drift: float) -> None:
        self.number = number
        self.drift = drift
        self.node: Node | None = None
        # A call of `wake` that is planned, by its number, and for when.
        self.woken = 0
        self.wakes_at = float("inf")
        # Lineage and digest of what was looked at last.
        self.checked = (0, 0)
        # What is adapted here, and what a message's topic is looked up in, as in a ganglion.
        self.wanted: set[str] = set()
        self.reactants: TopicTable[str] = TopicTable()

    def hears(self, slot: int) -> bool:
        """Whether it is in that group, for whatever topic."""
        node = self.node
        return node is not None and any(slot in node.listens(topic) for topic in self.wanted)

    def reached(self, slot: int, topic: str) -> str | None:
        """Whose reactants get a message that comes by that group; its topic alone says so."""
        return self.reactants.get(topic.encode())

    def clock(self, now: float) -> float:
        return now * self.drift


class Violation(AssertionError):
    """A property does not hold."""


class Network:
    def __init__(self, seed: int, hosts: int, slots: int, node: Callable[..., Node] = Node) -> None:
        self.rng = random.Random(seed)
        self.slots = slots
        self.make_node = node
        self.now = 0.0
        self.hosts = [Host(n, self.rng.uniform(0.8, 1.2)) for n in range(hosts)]
        self.loss = self.doubling = 0.0
        self.delay = 0.1  # of a heartbeat, at most
        # Ordered pairs of hosts between which nothing goes.
        self.cut: set[tuple[int, int]] = set()
        self._queue: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._count = 0
        self.bytes = 0
        self.faults: dict[str, int] = {}
        # What was ever decided: (lineage, slot) to owner, (lineage, owner) to slot.
        self.owners: dict[tuple[int, int], bytes] = {}
        self.homes: dict[tuple[int, bytes], int] = {}
        self.agreed_at: dict[tuple[int, str], float] = {}
        self.trace: list[str] | None = None
        self.events = self.moves = self.crossed = 0

    # -- running -----------------------------------------------------------------------------------------------

    def at(self, time: float, do: Callable[..., None], *arguments: Any) -> None:
        self._count += 1
        heapq.heappush(self._queue, (time, self._count, do, arguments))

    def run(self, until: float) -> None:
        queue = self._queue
        while queue and queue[0][0] <= until:
            self.now, _, do, arguments = heapq.heappop(queue)
            do(*arguments)
        self.now = until

    def start(self, host: Host) -> None:
        instance = self.rng.randrange(1, 1 << 64)
        # A generator of its own, so that one node's doing does not change another's.
        rng = random.Random(self.rng.randrange(1 << 62))
        host.node = self.make_node(instance, self.slots, rng, TIMING, host.clock(self.now))
        for topic in sorted(host.wanted):
            host.node.want(topic, host.clock(self.now))
        self.after(host)

    def kill(self, host: Host, farewell: bool = False) -> None:
        if host.node is not None:
            if farewell:
                host.node.leave(host.clock(self.now))
                self.after(host)
            host.node = None
            host.woken += 1
            host.wakes_at = float("inf")

    def revive(self, host: Host) -> None:
        if host.node is None:
            self.start(host)

    def adapt(self, host: Host, topic: str) -> None:
        if topic not in host.wanted:
            host.wanted.add(topic)
            host.reactants.insert(topic.encode(), topic)
        if host.node is not None:
            host.node.want(topic, host.clock(self.now))
            self.after(host)

    def after(self, host: Host) -> None:
        """A node was called: check it, send what it says, and wake it when it wants."""
        node = host.node
        assert node is not None
        view = node.view
        if view is not None:
            known = view.lineage, node.digest
            if known != host.checked:
                host.checked = known
                self.check_registers(node)
        for event in node.take_events():
            self.note(host, node, event)
        for datagram in node.take_datagrams():
            self.bytes += len(datagram)
            if len(datagram) >= messages.MAX_DATAGRAM_BYTES + 1:
                raise Violation(f"a control datagram of {len(datagram)} bytes")
            self.carry(host, datagram)
        due = max(self.now, node.due() / host.drift)
        if due != host.wakes_at:
            host.wakes_at = due
            host.woken += 1
            if due < float("inf"):
                self.at(due, self.wake, host, host.woken)

    def wake(self, host: Host, woken: int) -> None:
        if host.node is not None and host.woken == woken:
            host.wakes_at = float("inf")
            # Not before its time by its own clock.
            host.node.advance(max(host.clock(self.now), host.node.due()))
            self.after(host)

    def carry(self, sender: Host, datagram: bytes) -> None:
        random = self.rng.random
        most = self.delay * BEAT_S
        for host in self.hosts:
            if host is sender or (self.cut and (sender.number, host.number) in self.cut):
                continue
            if random() >= self.loss:
                self.at(self.now + random() * most, self.arrive, host, datagram)
            if self.doubling and random() < self.doubling:
                self.at(self.now + random() * most, self.arrive, host, datagram)

    def arrive(self, host: Host, datagram: bytes) -> None:
        node = host.node
        if node is not None:
            fault = node.receive(datagram, host.clock(self.now))
            if fault is not None:
                self.faults[fault] = self.faults.get(fault, 0) + 1
            self.after(host)

    # -- properties --------------------------------------------------------------------------------------------

    def note(self, host: Host, node: Node, event: Any) -> None:
        self.events += 1
        self.moves += isinstance(event, Moved)
        if self.trace is not None:
            self.trace.append(f"{self.now:8.3f} {host.number} {event}")
        if isinstance(event, Agreed):
            self.check_registers(node)
            assert node.view is not None
            self.agreed_at.setdefault((host.number, event.topic), self.now)
            known = self.homes.get((node.view.lineage, messages.owner_of(event.topic)))
            if known != event.slot:
                raise Violation(
                    f"stability: {event.topic} is at {event.slot} for host {host.number}, was at {known}"
                )

    def check_registers(self, node: Node) -> None:
        """Agreement and uniqueness, over everything that any node ever held in this lineage."""
        view = node.view
        if view is None:
            return
        for slot, owner in node.registers.items():
            known = self.owners.setdefault((view.lineage, slot), owner)
            if known != owner:
                raise Violation(f"agreement: slot {slot} has two owners in lineage {view.lineage:x}")
            home = self.homes.setdefault((view.lineage, owner), slot)
            if home != slot:
                raise Violation(
                    f"uniqueness: one topic has slots {home} and {slot} in lineage {view.lineage:x}"
                )

    def check_all(self) -> None:
        for host in self.hosts:
            if host.node is not None:
                self.check_registers(host.node)

    def differences(self) -> list[str]:
        """Why this network has not converged; nothing where it has."""
        nodes = [(host, host.node) for host in self.hosts if host.node is not None]
        found = []
        if len({node.view.lineage if node.view else 0 for _, node in nodes}) > 1 or any(
            node.view is None for _, node in nodes
        ):
            found.append(
                f"lineages {[node.view and (node.view.lineage, node.view.epoch) for _, node in nodes]}"
            )
        if len({node.digest for _, node in nodes}) > 1:
            found.append(f"registers {[len(node.registers) for _, node in nodes]}")
        for host, node in nodes:
            for topic in sorted(host.wanted):
                slot, agreed = node.allocation(topic)
                # Also where all slots are others': then it is to be at its candidate everywhere.
                if node.sends(topic) != slot:
                    found.append(f"{topic} at host {host.number} goes to {node.sends(topic)}, not {slot}")
                if (
                    not agreed
                    and len(node.registers) < self.slots - 32
                    and not all(each in node.registers for each in probes(topic, self.slots))
                ):
                    found.append(f"{topic} is not agreed at host {host.number}")
        return found


__all__ = ["BEAT_S", "TIMING", "Exhausted", "Host", "LineageChanged", "Moved", "Network", "Violation"]
