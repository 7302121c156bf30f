# SPDX-License-Identifier: Apache-2.0
"""Where topics are at home: probing for a slot, and moving without losing what is on its way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from plexo._fast.topics import topic_hash
from plexo._proto.paxos.events import Agreed, Event, Exhausted, Moved, RouteChanged
from plexo._proto.paxos.messages import owner_of
from plexo._proto.paxos.registers import RegisterMap
from plexo._proto.paxos.timing import RESERVED_SLOTS


def probes(topic: str, slots: int) -> Iterator[int]:
    """Every slot that can be a topic's, in the order in which it looks for one."""
    free = slots - RESERVED_SLOTS
    first = topic_hash(topic)
    for i in range(free):
        yield RESERVED_SLOTS + (first + i) % free


class Allocation(NamedTuple):
    """Agreed, or provisional: then it is the topic's candidate, or where it was agreed before a lineage changed."""

    slot: int
    agreed: bool


class Switching(NamedTuple):
    """How long publishers wait before they send to another slot: at least, and where not all know of it, at most."""

    after_s: float
    latest_s: float


class Home:
    __slots__ = (
        "agreed",
        "candidate",
        "exhausted",
        "owner",
        "sends",
        "slot",
        "switch_at",
        "switch_latest",
        "topic",
        "trailing",
    )

    def __init__(self, topic: str, slots: int) -> None:
        self.topic = topic
        self.owner = owner_of(topic)
        self.candidate = next(probes(topic, slots))
        # Where it is at home, whether that is decided, and where publishers send now.
        self.slot = self.sends = self.candidate
        self.agreed = False
        self.exhausted = False
        # When publishers may switch, once all know the same, and when they do at the latest.
        self.switch_at = self.switch_latest = float("inf")
        # Slots it moved from, and when.
        self.trailing: dict[int, float] = {}

    def listens(self) -> frozenset[int]:
        """Also at the candidate: whoever has just come sends there until it knows better."""
        return frozenset((self.candidate, self.slot, self.sends, *self.trailing))


class Homes:
    """The topics that are wanted here. ``tell`` is given what happens."""

    def __init__(self, slots: int, tell: Callable[[Event], None]) -> None:
        self._slots = slots
        self._tell = tell
        self.by_topic: dict[str, Home] = {}
        self._by_owner: dict[bytes, Home] = {}
        self._moving: set[str] = set()

    def add(self, topic: str) -> Home | None:
        """None: it is there already."""
        if topic in self.by_topic:
            return None
        home = self.by_topic[topic] = Home(topic, self._slots)
        self._by_owner[home.owner] = home
        return home

    def of(self, owner: bytes) -> Home | None:
        return self._by_owner.get(owner)

    def settle(self, home: Home, registers: RegisterMap, now: float, switching: Switching) -> int | None:
        """Look where it is at home by what is decided; the slot to propose it for, if there is one."""
        settled = registers.slot_of(home.owner)
        if settled is not None:
            # Also where one before it is free: a lineage may begin without all of what the one before had decided.
            self._decided(home, settled, now, switching)
            return None
        for slot in probes(home.topic, self._slots):
            if registers.owner(slot) is None:
                return slot
        if not home.exhausted:
            # All are at its candidate then, whatever another lineage gave it.
            self._move(home, home.candidate, now, switching)
            home.exhausted = True
            self._tell(Exhausted(home.topic))
        return None

    def _decided(self, home: Home, slot: int, now: float, switching: Switching) -> None:
        if home.agreed and home.slot == slot:
            return
        home.agreed = True
        home.exhausted = False
        self._tell(Agreed(home.topic, slot))
        self._move(home, slot, now, switching)

    def _move(self, home: Home, slot: int, now: float, switching: Switching) -> None:
        before, home.slot = home.slot, slot
        home.trailing.pop(slot, None)
        if before != slot:
            self._tell(Moved(home.topic, before, slot))
            home.trailing[before] = now
            if home.sends not in (slot, before):
                home.trailing[home.sends] = now
        waits = home.sends != slot
        home.switch_at = now + switching.after_s if waits else float("inf")
        home.switch_latest = now + switching.latest_s if waits else float("inf")
        if home.sends != slot or home.trailing:
            self._moving.add(home.topic)
        if before != slot:
            self._tell(RouteChanged(home.topic))

    def forget_agreement(self) -> None:
        """Another lineage: nothing is decided any more. Everything stays where it is until it is, publishers as
        well."""
        for home in self.by_topic.values():
            home.agreed = home.exhausted = False
            home.switch_at = home.switch_latest = float("inf")

    def due(self, converged: bool) -> float:
        if not self._moving:
            return float("inf")
        homes = [self.by_topic[topic] for topic in self._moving]
        return min(home.switch_at if converged else home.switch_latest for home in homes)

    def advance(self, now: float, converged_at: float | None, leave_s: float) -> None:
        """Switch publishers whose time it is: where somebody lags behind, they wait for it; leave slots that nobody
        sends to since all knew, ``converged_at``."""
        for topic in tuple(self._moving):
            home = self.by_topic[topic]
            if (home.switch_latest if converged_at is None else home.switch_at) <= now:
                home.switch_at = home.switch_latest = float("inf")
                home.trailing[home.sends] = now
                home.sends = home.slot
                home.trailing.pop(home.slot, None)
                self._tell(RouteChanged(topic))
            if converged_at is not None:
                left = [
                    slot
                    for slot, at in home.trailing.items()
                    if now - max(at, converged_at) >= leave_s and slot != home.sends
                ]
                for slot in left:
                    del home.trailing[slot]
                if left:
                    self._tell(RouteChanged(topic))
            if not home.trailing and home.switch_at == float("inf"):
                self._moving.discard(topic)
