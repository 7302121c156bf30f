# SPDX-License-Identifier: Apache-2.0
"""Paxos, once for each slot, and once for the council of the next epoch.

Who proposes prepares with a ballot, proposes what the promises of a majority leave it to propose, and tells everybody
what a majority approved. A voter that promises in the register of the next council is done with slots in this epoch;
so what its epoch may have decided is in the promises of any majority, and the change carries it over as decided.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from plexo._proto.paxos.acceptor import Acceptor
from plexo._proto.paxos.messages import (
    MAX_SLOTS,
    MAX_VALUES,
    Approval,
    Ballot,
    Change,
    Message,
    Preparation,
    Promise,
    Proposal,
    Rejection,
    View,
)
from plexo._proto.paxos.proposer import MAX_ATTEMPTS, Attempt, ChangeAttempt, Phase
from plexo._proto.paxos.registers import RegisterMap
from plexo._proto.paxos.timing import Timing
from plexo._proto.randomness import Random

NEVER = float("inf")


class Voting:
    """The proposer and the voter of one node, in one view after another.

    ``say`` sends a message to all, itself included; ``decided(values)`` is told of registers, (slot, epoch, owner)
    each, ``changed(change)`` of the next view.
    """

    def __init__(
        self,
        instance: int,
        rng: Random,
        timing: Timing,
        registers: Callable[[], RegisterMap],
        say: Callable[[Message], None],
        decided: Callable[[Sequence[tuple[int, int, bytes]]], None],
        changed: Callable[[Change], None],
    ) -> None:
        self._instance = instance
        self._rng = rng
        self._timing = timing
        self._registers = registers
        self._say = say
        self._decided = decided
        self._changed = changed
        self.view: View | None = None
        self._acceptor = Acceptor()
        self._active = False
        self._round = 0
        self._attempts: dict[int, Attempt] = {}
        self._change: ChangeAttempt | None = None
        self._wanted_change: tuple[int, ...] | None = None
        # When somebody else was last heard at work on the next council.
        self._change_heard_at = float("-inf")

    # -- views -------------------------------------------------------------------------------------------------

    def enter(self, view: View, now: float) -> None:
        """Vote and propose under this view from now on; whatever was under way before is over."""
        self.view = view
        self._acceptor = Acceptor()
        self._active = False
        self._change = None
        for attempt in self._attempts.values():
            attempt.tries = 0
            attempt.wait(now)

    def carried_to(self, view: View) -> list[tuple[int, int, bytes]]:
        """What is decided with this next view, as far as it is known here: (slot, epoch, owner) each."""
        change = self._acceptor.change
        if change is None or self.view is None or change[1].view != view:
            return []
        return [(slot, self.view.epoch, owner) for slot, owner in change[1].carried]

    @property
    def majority(self) -> int:
        assert self.view is not None
        return len(self.view.council) // 2 + 1

    def votes(self) -> bool:
        """Whether this node is of the council, and knows what was decided before."""
        view = self.view
        if view is None or self._instance not in view.council:
            return False
        if not self._active:
            self._active = self._registers().before(view.epoch) == (view.count, view.digest)
        return self._active

    # -- proposing ---------------------------------------------------------------------------------------------

    def propose(self, slot: int, owner: bytes, due: float) -> bool:
        """Have it decided whose a slot is, if possible `owner`'s, from `due` on. False: too much is under way."""
        if slot not in self._attempts:
            if self.full:
                return False
            self._attempts[slot] = Attempt(slot, owner, due)
        return True

    @property
    def full(self) -> bool:
        return len(self._attempts) >= MAX_ATTEMPTS

    def change_council(self, council: tuple[int, ...] | None, now: float) -> None:
        """What the next council should be; None: the present one is right."""
        self._wanted_change = council
        if council is not None and self._change is None:
            self._change = ChangeAttempt(now)

    def drop_attempts(self) -> None:
        """Another lineage: all topics look for their homes anew."""
        self._attempts.clear()

    def forget(self, slot: int, owner: bytes) -> list[int]:
        """It is decided. The other slots that were proposed for this owner, and are no more."""
        self._attempts.pop(slot, None)
        self._acceptor.decided(slot)
        others = [other for other, attempt in self._attempts.items() if attempt.owner == owner]
        for other in others:
            del self._attempts[other]
        return others

    def due(self) -> float:
        if self.view is None:
            return NEVER
        if not self._attempts:
            return NEVER if self._change is None else self._change.due
        due = min([attempt.due for attempt in self._attempts.values()])
        return due if self._change is None else min(due, self._change.due)

    def advance(self, now: float) -> None:
        """Begin, and begin again, what is due."""
        view = self.view
        if view is None or (not self._attempts and self._change is None):
            return
        anew: list[int] = []
        prepared: dict[int, list[int]] = {}
        proposed: dict[int, list[tuple[int, bytes]]] = {}
        for slot, attempt in self._attempts.items():
            if attempt.due > now:
                continue
            if attempt.in_vain:
                if not anew:
                    self._round += 1
                anew.append(slot)
                attempt.prepare((self._round, self._instance), now + self._patience(attempt.tries))
                continue
            attempt.repeats += 1
            attempt.due = now + self._patience(attempt.repeats)
            if attempt.phase is Phase.PREPARING:
                prepared.setdefault(attempt.ballot[0], []).append(slot)
            else:
                proposed.setdefault(attempt.ballot[0], []).append((slot, attempt.value))
        if anew:
            prepared[self._round] = anew
        for round_, slots in prepared.items():
            self._prepare(view, round_, slots)
        for round_, values in proposed.items():
            self._propose(view, round_, values)
        if self.view is view:
            self._advance_change(view, now)

    def _prepare(self, view: View, round_: int, slots: Sequence[int]) -> None:
        for part in _parts(slots, MAX_SLOTS):
            self._say(Preparation(self._instance, view.lineage, view.epoch, round_, part))

    def _propose(self, view: View, round_: int, values: Sequence[tuple[int, bytes]]) -> None:
        for part in _parts(values, MAX_VALUES):
            self._say(Proposal(self._instance, view.lineage, view.epoch, round_, part, None))

    def _advance_change(self, view: View, now: float) -> None:
        change = self._change
        if change is None or change.due > now:
            return
        if self._wanted_change is None and not self._acceptor.frozen:
            self._change = None
            return
        if change.in_vain:
            self._round += 1
            change.prepare((self._round, self._instance), now + self._patience(change.tries))
        else:
            change.repeats += 1
            change.due = now + self._patience(change.repeats)
        if change.phase is Phase.PREPARING:
            self._prepare_next(view, change)
        else:
            self._propose_next(view, change)

    def _prepare_next(self, view: View, change: ChangeAttempt) -> None:
        self._say(Preparation(self._instance, view.lineage, view.epoch, change.ballot[0], ()))

    def _propose_next(self, view: View, change: ChangeAttempt) -> None:
        self._say(Proposal(self._instance, view.lineage, view.epoch, change.ballot[0], (), change.value))

    def _patience(self, tries: int) -> float:
        timing = self._timing
        most = min(timing.most_retry_after, timing.retry_after * 2.0 ** min(tries, 8))
        return most * (1 + self._rng.random()) * timing.heartbeat_s

    def adopt_orphans(self, now: float) -> None:
        """What was accepted here and whose proposer has been silent since: go on with it."""
        after = self._timing.adopt_after * self._timing.heartbeat_s
        if self._acceptor.frozen:
            if self._change is None and now - self._change_heard_at > after * (1 + self._rng.random()):
                self._change = ChangeAttempt(now)
            return
        for slot, (_, owner, at) in list(self._acceptor.accepted.items()):
            if now - at > after:
                self.propose(slot, owner, now)

    # -- what others say ---------------------------------------------------------------------------------------

    def preparation(self, message: Preparation, now: float) -> None:
        ballot: Ballot = (message.round, message.sender)
        self._give_way(message.slots, ballot, now)
        if not message.slots:
            self._give_way_to_change(ballot, now)
        if not self.votes():
            return
        if not message.slots:
            self._prepare_change(message, ballot)
            return
        registers = self._registers()
        free: list[int] = []
        accepted: list[tuple[int, int, int, bytes]] = []
        refused: list[int] = []
        highest = message.round
        known: list[int] = []
        for slot in message.slots:
            if registers.owner(slot) is not None:
                known.append(slot)
                continue
            higher = ballot if self._acceptor.frozen else self._acceptor.promise(slot, ballot)
            if higher is not None:
                refused.append(slot)
                highest = max(highest, higher[0])
            elif slot in self._acceptor.accepted:
                (round_, instance), owner, _ = self._acceptor.accepted[slot]
                accepted.append((slot, round_, instance, owner))
            else:
                free.append(slot)
        self._tell_known(known)
        view = self._in_view()
        if free or accepted:
            first = True
            for part in _parts(accepted, MAX_VALUES) or [()]:
                self._say(
                    Promise(
                        self._instance,
                        *view,
                        ballot,
                        tuple(free) if first else (),
                        part,
                        False,
                        None,
                        None,
                        0,
                        0,
                    )
                )
                first = False
        if refused:
            self._say(Rejection(self._instance, *view, ballot, tuple(refused), highest))

    def _give_way(self, slots: Iterable[int], ballot: Ballot, now: float) -> None:
        """Somebody else proposes these with a higher ballot: let it, for a while."""
        for slot in slots:
            attempt = self._attempts.get(slot)
            if attempt is not None and attempt.ballot < ballot and ballot[1] != self._instance:
                attempt.wait(now + self._patience(attempt.tries))

    def _give_way_to_change(self, ballot: Ballot, now: float) -> None:
        if ballot[1] != self._instance:
            self._change_heard_at = now
            if self._change is not None and self._change.ballot < ballot:
                self._change.wait(now + 2 * self._patience(self._change.tries + 2))

    def _prepare_change(self, message: Preparation, ballot: Ballot) -> None:
        acceptor = self._acceptor
        higher = acceptor.promise_change(ballot)
        view = self._in_view()
        if higher is not None:
            self._say(Rejection(self._instance, *view, ballot, (), higher[0]))
            return
        change_ballot, change = acceptor.change or (None, None)
        # Where a change is accepted, it is what has to be proposed again, with what it carries: no room is needed for
        # more.
        accepted = tuple(
            (slot, round_, instance, owner)
            for slot, ((round_, instance), owner, _) in acceptor.accepted.items()
            if change is None
        )
        registers = self._registers()
        self._say(
            Promise(
                self._instance, *view, ballot, (), accepted, True, change_ballot, change,
                len(registers), registers.digest,
            )
        )  # fmt: skip

    def promise(self, message: Promise, now: float) -> None:
        view = self.view
        if view is None or message.sender not in view.council or message.ballot[1] != self._instance:
            return
        if message.of_change:
            self._promised_change(view, message, now)
            return
        ready: list[tuple[int, bytes]] = []
        answers: Iterable[tuple[int, tuple[Ballot, bytes] | None]] = [
            *((slot, None) for slot in message.free),
            *((slot, ((round_, instance), owner)) for slot, round_, instance, owner in message.accepted),
        ]
        for slot, accepted in answers:
            attempt = self._attempts.get(slot)
            if attempt is None or attempt.phase is not Phase.PREPARING or attempt.ballot != message.ballot:
                continue
            attempt.promised(message.sender, accepted)
            if len(attempt.answers) >= self.majority:
                ready.append((slot, attempt.propose(now + self._patience(0))))
        self._propose(view, message.ballot[0], ready)

    def _promised_change(self, view: View, message: Promise, now: float) -> None:
        change = self._change
        if change is None or change.phase is not Phase.PREPARING or change.ballot != message.ballot:
            return
        registers = self._registers()
        synced = (message.count, message.digest) == (len(registers), registers.digest)
        accepted_change = None
        if message.change is not None and message.change_ballot is not None:
            accepted_change = (message.change_ballot, message.change)
        change.promised(message.sender, message.accepted, accepted_change, synced)
        if len(change.synced) < self.majority:
            return
        value = change.best[1] if change.best is not None else self._next_view(view, change)
        change.propose(value, now + self._patience(0))
        self._propose_next(view, change)

    def _next_view(self, view: View, change: ChangeAttempt) -> Change:
        registers = self._registers()
        carried = {
            slot: owner for slot, (_, owner) in change.accepted.items() if registers.owner(slot) is None
        }
        after = registers.sum_with(carried, view.epoch)
        council = self._wanted_change or view.council
        return Change(
            View(view.lineage, view.epoch + 1, tuple(sorted(council)), *after), tuple(sorted(carried.items()))
        )

    def rejection(self, message: Rejection, now: float) -> None:
        """Others were quicker: try again after a while, with a higher round."""
        if message.ballot[1] != self._instance:
            return
        self._round = max(self._round, message.promised)
        for slot in message.slots:
            attempt = self._attempts.get(slot)
            if (
                attempt is not None
                and attempt.ballot == message.ballot
                and attempt.phase is not Phase.WAITING
            ):
                attempt.wait(now + self._patience(attempt.tries) * self._rng.random())
        change = self._change
        if not message.slots and change is not None and change.ballot == message.ballot:
            change.wait(now + self._patience(change.tries) * self._rng.random())

    def proposal(self, message: Proposal, now: float) -> None:
        if not self.votes():
            return
        ballot: Ballot = (message.round, message.sender)
        view = self._in_view()
        if message.change is not None:
            self._give_way_to_change(ballot, now)
            higher = self._acceptor.accept_change(ballot, message.change)
            if higher is not None:
                self._say(Rejection(self._instance, *view, ballot, (), higher[0]))
            else:
                self._say(Approval(self._instance, *view, ballot, (), True))
            return
        registers = self._registers()
        approved: list[int] = []
        refused: list[int] = []
        known: list[int] = []
        highest = message.round
        for slot, owner in message.values:
            if registers.owner(slot) is not None:
                known.append(slot)
                continue
            settled = registers.slot_of(owner)
            if settled is not None:
                # One topic, one slot; its proposer does not know yet.
                known.append(settled)
                continue
            higher = ballot if self._acceptor.frozen else self._acceptor.accept(slot, ballot, owner, now)
            if higher is None:
                approved.append(slot)
            else:
                refused.append(slot)
                highest = max(highest, higher[0])
        self._tell_known(known)
        if approved:
            self._say(Approval(self._instance, *view, ballot, tuple(approved), False))
        if refused:
            self._say(Rejection(self._instance, *view, ballot, tuple(refused), highest))

    def approval(self, message: Approval, now: float) -> None:
        view = self.view
        if view is None or message.sender not in view.council or message.ballot[1] != self._instance:
            return
        if message.of_change:
            change = self._change
            if change is None or change.phase is not Phase.PROPOSING or change.ballot != message.ballot:
                return
            change.answers.add(message.sender)
            if len(change.answers) >= self.majority:
                assert change.value is not None
                self._changed(change.value)
            return
        decided: list[tuple[int, int, bytes]] = []
        for slot in message.slots:
            attempt = self._attempts.get(slot)
            if attempt is None or attempt.phase is not Phase.PROPOSING or attempt.ballot != message.ballot:
                continue
            attempt.answers.add(message.sender)
            if len(attempt.answers) >= self.majority:
                decided.append((slot, view.epoch, attempt.value))
        if decided:
            self._decided(decided)

    # -- within ------------------------------------------------------------------------------------------------

    def _in_view(self) -> tuple[int, int]:
        assert self.view is not None
        return self.view.lineage, self.view.epoch

    def _tell_known(self, slots: Sequence[int]) -> None:
        """Whoever asks for what is decided is told what it is."""
        if slots:
            self._decided([self._registers().entry(slot) for slot in slots])

    @property
    def open_slots(self) -> int:
        return len(self._attempts)


def _parts(items: Sequence[object], size: int) -> list[tuple]:  # type: ignore[type-arg]
    return [tuple(items[start : start + size]) for start in range(0, len(items), size)]
