# SPDX-License-Identifier: Apache-2.0
"""Nodes with one thing wrong, each of which the simulator has to find."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from plexo._proto.paxos import acceptor, homes, node, proposer, registers, voting
from plexo._proto.paxos.homes import Home, Switching
from plexo._proto.paxos.messages import Change, View
from tests.paxos import network

Sabotage = Callable[[pytest.MonkeyPatch], None]
SABOTAGES: dict[str, tuple[str, int, Sabotage]] = {}


def sabotage(found_as: str, first: int) -> Callable[[Sabotage], Sabotage]:
    """What it is found as, and from which seed on it is looked for, so that a test is short."""

    def keep(it: Sabotage) -> Sabotage:
        SABOTAGES[it.__name__] = found_as, first, it
        return it

    return keep


@sabotage("agreement", 200)
def acceptor_forgets_promises(patch: pytest.MonkeyPatch) -> None:
    promise = acceptor.Acceptor.promise

    def forgetful(self: acceptor.Acceptor, slot: int, ballot: Any) -> Any:
        answer = promise(self, slot, ballot)
        self._promised.pop(slot, None)
        return answer

    patch.setattr(acceptor.Acceptor, "promise", forgetful)


@sabotage("agreement", 200)
def acceptor_accepts_below_its_promise(patch: pytest.MonkeyPatch) -> None:
    def lax(self: acceptor.Acceptor, slot: int, ballot: Any, owner: bytes, now: float) -> None:
        self.accepted[slot] = ballot, owner, now

    patch.setattr(acceptor.Acceptor, "accept", lax)


@sabotage("agreement", 0)
def proposer_ignores_what_was_accepted(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(proposer.Attempt, "promised", lambda self, by, accepted: self.answers.add(by))


@sabotage("agreement", 0)
def proposer_is_content_with_one_answer(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(voting.Voting, "majority", property(lambda self: 1))


@sabotage("agreement", 0)
def learner_overwrites(patch: pytest.MonkeyPatch) -> None:
    """Whoever proposes tells its own value as decided, and a learner takes the last word."""
    learn = registers.RegisterMap.learn

    def overwrite(self: registers.RegisterMap, slot: int, epoch: int, owner: bytes) -> bool:
        before = self._owners.get(slot)
        if before is not None and before != owner:
            self._owners[slot] = owner
        return learn(self, slot, epoch, owner)

    approval = voting.Voting.approval

    def hasty(self: voting.Voting, message: Any, now: float) -> None:
        values = [
            (slot, message.epoch, self._attempts[slot].owner)
            for slot in message.slots
            if slot in self._attempts and message.ballot[1] == self._instance
        ]
        approval(self, message, now)
        if values:
            self._decided(values)

    patch.setattr(registers.RegisterMap, "learn", overwrite)
    patch.setattr(voting.Voting, "approval", hasty)


@sabotage("agreement", 150)
def change_carries_nothing_over(patch: pytest.MonkeyPatch) -> None:
    def empty(self: voting.Voting, view: View, change: proposer.ChangeAttempt) -> Change:
        known = self._registers()
        council = self._wanted_change or view.council
        return Change(
            View(view.lineage, view.epoch + 1, tuple(sorted(council)), len(known), known.digest), ()
        )

    patch.setattr(voting.Voting, "_next_view", empty)


@sabotage("agreement", 0)
def acceptor_goes_on_after_its_promise_of_a_change(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(acceptor.Acceptor, "frozen", False)


@sabotage("agreement", 0)
def change_forgets_another_that_was_accepted(patch: pytest.MonkeyPatch) -> None:
    promised = proposer.ChangeAttempt.promised
    patch.setattr(
        proposer.ChangeAttempt,
        "promised",
        lambda self, by, accepted, change, synced: promised(self, by, accepted, None, synced),
    )


@sabotage("no loss by moving", 0)
def publishers_switch_at_once(patch: pytest.MonkeyPatch) -> None:
    move = homes.Homes._move

    def hasty(self: homes.Homes, home: Home, slot: int, now: float, switching: Switching) -> None:
        move(self, home, slot, now, Switching(-1.0, -1.0))
        self.advance(now, None, 0.0)

    patch.setattr(homes.Homes, "_move", hasty)


@sabotage("no loss by moving", 0)
def subscribers_leave_at_once(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Home, "listens", lambda self: frozenset((self.slot,)))


@sabotage("stability", 0)
def topics_stay_at_their_candidate(patch: pytest.MonkeyPatch) -> None:
    """Whoever owns it."""

    def settle(self: homes.Homes, home: Home, known: Any, now: float, switching: Switching) -> int | None:
        if known.owner(home.candidate) is None:
            return home.candidate
        self._decided(home, home.candidate, now, switching)
        return None

    patch.setattr(homes.Homes, "settle", settle)


@sabotage("convergence", 0)
def registers_are_not_exchanged(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(node.Node, "_ask", lambda self, instance, buckets: None)


@sabotage("convergence", 0)
def lineages_do_not_merge(patch: pytest.MonkeyPatch) -> None:
    consider = node.Node._consider

    def stubborn(self: node.Node, view: View) -> None:
        if self.view is None or self.view.lineage == view.lineage:
            consider(self, view)

    patch.setattr(node.Node, "_consider", stubborn)


@sabotage("no wrong delivery", 0)
def receivers_trust_the_group(patch: pytest.MonkeyPatch) -> None:
    def trusting(self: network.Host, slot: int, topic: str) -> str | None:
        assert self.node is not None
        return next((each for each in sorted(self.wanted) if slot in self.node.listens(each)), None)

    patch.setattr(network.Host, "reached", trusting)
