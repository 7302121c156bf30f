# SPDX-License-Identifier: Apache-2.0
"""Proposals under way: of slots, many with one message, and of the next council.

State only; `voting` says what follows.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum, unique

from plexo._proto.paxos.messages import MAX_ACCEPTED, Ballot, Change

# A message without enough answers is said again so many times, before a higher ballot is tried: losses are no duels.
MAX_REPEATS = 3
# Slots that one node proposes at once; the others wait for their turn. More would not be accepted.
MAX_ATTEMPTS = MAX_ACCEPTED


@unique
class Phase(Enum):
    """It waits (to begin, or to begin again), for promises, for approvals."""

    WAITING = 0
    PREPARING = 1
    PROPOSING = 2


class Attempt:
    """To have `owner` decided for a slot; or what somebody else began there. For the council `slot` is -1."""

    __slots__ = ("answers", "ballot", "best", "due", "owner", "phase", "repeats", "slot", "tries")

    def __init__(self, slot: int, owner: bytes, due: float) -> None:
        self.slot = slot
        self.owner = owner
        self.due = due
        self.phase = Phase.WAITING
        self.tries = self.repeats = 0
        self.ballot: Ballot = (-1, 0)
        # Who answered in this phase.
        self.answers: set[int] = set()
        # Of the promises: the highest ballot that was accepted, and its owner.
        self.best: tuple[Ballot, bytes] | None = None

    def prepare(self, ballot: Ballot, due: float) -> None:
        self.phase, self.ballot, self.due = Phase.PREPARING, ballot, due
        self.answers = set()
        self.best = None
        self.repeats = 0
        self.tries += 1

    def promised(self, by: int, accepted: tuple[Ballot, bytes] | None) -> None:
        self.answers.add(by)
        if accepted is not None and (self.best is None or accepted[0] > self.best[0]):
            self.best = accepted

    def propose(self, due: float) -> bytes:
        """The owner to propose now: what was accepted already goes before what was wanted."""
        self.phase, self.due = Phase.PROPOSING, due
        self.answers = set()
        self.repeats = 0
        return self.owner if self.best is None else self.best[1]

    @property
    def value(self) -> bytes:
        return self.owner if self.best is None else self.best[1]

    def wait(self, due: float) -> None:
        self.phase, self.due = Phase.WAITING, due

    @property
    def in_vain(self) -> bool:
        """It is time for another ballot, not for saying it again."""
        return self.phase is Phase.WAITING or self.repeats >= MAX_REPEATS


class ChangeAttempt:
    """To have the next council decided."""

    __slots__ = (
        "accepted",
        "answers",
        "ballot",
        "best",
        "due",
        "phase",
        "repeats",
        "synced",
        "tries",
        "value",
    )

    def __init__(self, due: float) -> None:
        self.due = due
        self.phase = Phase.WAITING
        self.tries = self.repeats = 0
        self.ballot: Ballot = (-1, 0)
        self.answers: set[int] = set()
        # Promises of those who know exactly the registers that we know.
        self.synced: set[int] = set()
        self.accepted: dict[int, tuple[Ballot, bytes]] = {}
        self.best: tuple[Ballot, Change] | None = None
        self.value: Change | None = None

    def prepare(self, ballot: Ballot, due: float) -> None:
        self.phase, self.ballot, self.due = Phase.PREPARING, ballot, due
        self.answers, self.synced, self.accepted = set(), set(), {}
        self.best = self.value = None
        self.repeats = 0
        self.tries += 1

    def promised(
        self,
        by: int,
        accepted: Iterable[tuple[int, int, int, bytes]],
        change: tuple[Ballot, Change] | None,
        synced: bool,
    ) -> None:
        if synced:
            self.synced.add(by)
        else:
            self.synced.discard(by)
        for slot, round_, instance, owner in accepted:
            ballot = round_, instance
            if slot not in self.accepted or ballot > self.accepted[slot][0]:
                self.accepted[slot] = ballot, owner
        if change is not None and (self.best is None or change[0] > self.best[0]):
            self.best = change

    def propose(self, value: Change, due: float) -> None:
        self.phase, self.due, self.value = Phase.PROPOSING, due, value
        self.answers = set()
        self.repeats = 0

    def wait(self, due: float) -> None:
        self.phase, self.due = Phase.WAITING, due

    @property
    def in_vain(self) -> bool:
        """As that of an Attempt."""
        return self.phase is Phase.WAITING or self.repeats >= MAX_REPEATS
