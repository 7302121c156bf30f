# SPDX-License-Identifier: Apache-2.0
"""One instance on the network: heartbeats, who is there, under which lineage they agree, and catching up."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from plexo._proto.paxos import messages
from plexo._proto.paxos.events import Event, LineageChanged
from plexo._proto.paxos.homes import Allocation, Homes, Switching
from plexo._proto.paxos.lineage import first_lineage, lineage_below
from plexo._proto.paxos.members import Member, Members, pages_of
from plexo._proto.paxos.messages import (
    MAX_HEARD,
    MAX_TOPIC_BYTES,
    MAX_VALUES,
    Approval,
    Change,
    Heartbeat,
    Inquiry,
    Message,
    Offers,
    Preparation,
    Promise,
    Proposal,
    Registers,
    Rejection,
    View,
)
from plexo._proto.paxos.registers import RegisterMap
from plexo._proto.paxos.timing import (
    HEARTBEAT_BUDGET_BYTES_S,
    HEARTBEAT_BYTES,
    MAX_COUNCIL,
    RESERVED_SLOTS,
    Timing,
)
from plexo._proto.paxos.voting import NEVER, Voting
from plexo._proto.randomness import Random

# Pages of registers in answer to one question.
MAX_ANSWER_PAGES = 8
_OF_ANY_VIEW = frozenset((Heartbeat, Offers, Inquiry))
_OF_VOTES = frozenset((Preparation, Promise, Rejection, Proposal, Approval))


class Node:
    """``instance`` is random, new with every start, and not 0; ``slots`` how many addresses the block has. Times are in
    seconds, of any one clock. What is to be sent and told is there to be taken after every call.

    ValueError: too few slots.
    """

    def __init__(self, instance: int, slots: int, rng: Random, timing: Timing, now: float) -> None:
        if slots <= RESERVED_SLOTS:
            raise ValueError(f"slots: expected more than {RESERVED_SLOTS}, got {slots}")
        self.instance = instance
        self._slots = slots
        self._rng = rng
        self._timing = timing
        self._beat_s = timing.heartbeat_s
        self._now = now
        self._datagrams: list[bytes] = []
        self._events: list[Event] = []
        self._members = Members(self._events.append)
        # Who sent what `receive` took last.
        self.last_sender: int | None = None
        self._registers = RegisterMap()
        self._homes = Homes(slots, self._events.append)
        # Topics whose turn to look for a home is still to come; and those that wait for a slot to be decided.
        self._pending: set[str] = set()
        self._probing: dict[int, set[str]] = {}
        self._voting = Voting(
            instance, rng, timing, lambda: self._registers, self._say, self._decided, self._changed
        )
        self._view: View | None = None
        self._since = now
        self._beats = 0
        self._next_beat_at = now
        self._next_inquiry_at = now
        self._next_answer_at = now
        self._converged_at: float | None = None
        self._change_since = NEVER
        self._lost_since = NEVER
        self._offered: tuple[str, ...] = ()
        self._offers = 0
        self._offers_at = NEVER
        self._left = False
        self._receive: dict[type, Callable[[Any, float], None]] = {
            Heartbeat: self._heartbeat,
            Registers: self._learn_registers,
            Inquiry: self._inquiry,
            Offers: lambda page, _: self._members.take_page(page),
            Preparation: self._voting.preparation,
            Promise: self._voting.promise,
            Rejection: self._voting.rejection,
            Proposal: self._voting.proposal,
            Approval: self._voting.approval,
        }

    # -- for whoever runs it -----------------------------------------------------------------------------------

    def want(self, topic: str, now: float) -> None:
        """Find it a home; may be repeated."""
        self._now = now
        if self._homes.add(topic) is not None:
            self._settle(topic, now)
            self._voting.advance(now)

    def offer(self, published: Iterable[str], now: float) -> None:
        """What others are told that is published here. Topics too long for a page are left out."""
        self._now = now
        topics = tuple(sorted(topic for topic in published if len(topic.encode()) <= MAX_TOPIC_BYTES))
        if topics != self._offered:
            self._offered = topics
            self._offers = self._offers + 1 if topics else 0
            if topics:
                # Several may follow each other at once.
                self._offers_at = min(self._offers_at, now + self._beat_s / 4)

    def receive(self, datagram: bytes, now: float) -> str | None:
        """A control datagram; None, or a short token for why it was dropped."""
        self._now = now
        message = messages.decode(datagram)
        if isinstance(message, str):
            return message
        if not all(RESERVED_SLOTS <= slot < self._slots for slot in messages.slots_of(message)):
            return "foreign-slot"
        self.last_sender = message.sender
        if message.sender == self.instance or self._left:
            return None
        if type(message) in _OF_ANY_VIEW or self._here(message):
            self._receive[type(message)](message, now)
            self._voting.advance(now)
        return None

    def due(self) -> float:
        """When to call `advance`."""
        homes_due = self._homes.due(self._converged_at is not None)
        due = min(self._next_beat_at, self._voting.due(), homes_due, self._offers_at)
        return NEVER if self._left else due

    def advance(self, now: float) -> None:
        """Let time pass."""
        self._now = now
        if self._left:
            return
        if now >= self._next_beat_at:
            self._tick(now)
        if now >= self._offers_at:
            self._offers_at = NEVER
            self._say_offers()
        self._voting.advance(now)
        self._homes.advance(now, self._converged_at, self._timing.leave_after * self._beat_s)

    def leave(self, now: float) -> None:
        """Say goodbye, so that nobody has to wait for it; the end."""
        if not self._left:
            self._now = now
            self._say_heartbeat(now, leaving=True)
            self._left = True

    def take_datagrams(self) -> list[bytes]:
        """For the control group, each below 1,400 bytes."""
        taken, self._datagrams = self._datagrams, []
        return taken

    def take_events(self) -> list[Event]:
        taken = self._events[:]
        self._events.clear()
        return taken

    def allocation(self, topic: str) -> Allocation:
        """Where a wanted topic is at home. KeyError: it is not wanted."""
        home = self._homes.by_topic[topic]
        return Allocation(home.slot, home.agreed)

    def sends(self, topic: str) -> int:
        """The slot that messages of a wanted topic go to now."""
        return self._homes.by_topic[topic].sends

    def listens(self, topic: str) -> frozenset[int]:
        """The slots where a wanted topic may be heard now."""
        return self._homes.by_topic[topic].listens()

    @property
    def view(self) -> View | None:
        """Who votes; None: no lineage yet."""
        return self._view

    @property
    def members(self) -> Mapping[int, Member]:
        """The other nodes that are heard, by instance."""
        return self._members.by_instance

    @property
    def registers(self) -> Mapping[int, bytes]:
        """What is decided: the owner of each slot, as `messages.owner_of` makes it of a topic."""
        return self._registers.owners

    @property
    def digest(self) -> int:
        """Of the decided registers; the same where they are."""
        return self._registers.digest

    # -- time --------------------------------------------------------------------------------------------------

    def _interval(self) -> float:
        """Between heartbeats: stretched where there are so many nodes that theirs would be too much."""
        nodes = len(self._members) + 1
        return max(self._beat_s, nodes * HEARTBEAT_BYTES / HEARTBEAT_BUDGET_BYTES_S)

    def _tick(self, now: float) -> None:
        gone_after = self._timing.gone_after
        if not self._beats or now - self._next_beat_at > gone_after * self._interval():
            # It did not listen until now.
            self._since = now
            self._members.listen_anew(now)
        self._members.remove_silent(now, gone_after, self._beat_s)
        if self._view is None:
            self._found_if_alone(now)
        else:
            self._found_if_lost(now)
            self._look_after_council(now)
            self._voting.adopt_orphans(now)
        self._settle_pending()
        self._look_whether_converged(now)
        self._say_heartbeat(now)
        self._next_beat_at = now + self._interval() * (0.9 + 0.2 * self._rng.random())

    def _say_heartbeat(self, now: float, leaving: bool = False) -> None:
        self._beats += 1
        hears = () if self._view is not None else tuple(sorted(self._members.by_instance)[:MAX_HEARD])
        self._say(
            Heartbeat(
                self.instance, self._view, max(1, round(1000 * self._interval())), self._beats,
                len(self._registers), self._registers.digest, hears, self._offers, leaving,
            )
        )  # fmt: skip

    def _found_if_alone(self, now: float) -> None:
        """A cold start: the lowest of those who hear each other founds."""
        if now - self._since < self._timing.found_after * self._beat_s:
            return
        mutual = [each.instance for each in self._members if self.instance in each.hears]
        if all(self.instance < instance for instance in mutual):
            self._found(first_lineage(self._rng), mutual)

    def _found(self, lineage: int, others: Sequence[int]) -> None:
        council = tuple(sorted((self.instance, *sorted(others)[: MAX_COUNCIL - 1])))
        before = 0 if self._view is None else self._view.lineage
        self._registers = self._registers.renewed()
        self._enter(View(lineage, 1, council, len(self._registers), self._registers.digest))
        self._events.append(LineageChanged(before, lineage))
        self._say_heartbeat(self._now)
        self._settle_all(0.0)

    def _found_if_lost(self, now: float) -> None:
        """A majority of the council is gone: those who are left go on without it, with what they know."""
        view = self._view
        assert view is not None
        there = sum(self._can_vote(instance, view) for instance in view.council)
        if there >= self._voting.majority:
            self._lost_since = NEVER
            return
        self._lost_since = min(self._lost_since, now)
        left = sorted(each.instance for each in self._members if self._shares_lineage(each))
        rank = sum(instance < self.instance for instance in left)
        # Members are missed after `gone_after`.
        wait = self._timing.lost_after - self._timing.gone_after + self._timing.gone_after * rank
        if now - self._lost_since >= wait * self._interval():
            self._lost_since = NEVER
            self._found(lineage_below(view.lineage, self._rng), left)

    def _look_after_council(self, now: float) -> None:
        """Replace voters that are gone, and take in others while there is room."""
        view = self._view
        assert view is not None
        if self.instance not in view.council:
            return
        keep = [instance for instance in view.council if self._is_there(instance)]
        settled = self._timing.settled_after * self._beat_s
        newcomers = sorted(
            (each.since, each.instance)
            for each in self._members
            if each.instance not in view.council
            and self._shares_lineage(each)
            and now - each.since >= settled
        )
        council = tuple(sorted([*keep, *(instance for _, instance in newcomers)][:MAX_COUNCIL]))
        if council == view.council or len(keep) < self._voting.majority:
            self._change_since = NEVER
            self._voting.change_council(None, now)
            return
        self._change_since = min(self._change_since, now)
        rank = sum(instance < self.instance for instance in keep)
        if now - self._change_since >= rank * self._timing.gone_after * self._beat_s:
            self._voting.change_council(council, now)

    def _can_vote(self, instance: int, view: View) -> bool:
        """Whether a voter is there, and may know what was decided before: who alone knew may be gone."""
        if instance == self.instance:
            return self._voting.votes()
        return self._is_there(instance) and self._members.by_instance[instance].count >= view.count

    def _is_there(self, instance: int) -> bool:
        if instance == self.instance:
            return True
        member = self._members.get(instance)
        return member is not None and self._shares_lineage(member)

    def _shares_lineage(self, member: Member) -> bool:
        return (
            member.view is not None and self._view is not None and member.view.lineage == self._view.lineage
        )

    def _look_whether_converged(self, now: float) -> None:
        """Whether all know the same, and since when."""
        view = self._view
        if view is None or any(
            not self._shares_lineage(each) or each.digest != self._registers.digest for each in self._members
        ):
            self._converged_at = None
        elif self._converged_at is None:
            self._converged_at = now

    # -- views -------------------------------------------------------------------------------------------------

    def _enter(self, view: View) -> None:
        self._view = view
        self._change_since = self._lost_since = NEVER
        self._converged_at = None
        self._voting.enter(view, self._now)

    def _changed(self, change: Change) -> None:
        """The next epoch is decided, by us: it and what it carries over are told to all."""
        view = self._view
        assert view is not None
        carried = [(slot, view.epoch, owner) for slot, owner in change.carried]
        self._learn(carried)
        self._say_registers(carried)
        self._enter(change.view)
        self._say_heartbeat(self._now)
        self._settle_pending()

    def _consider(self, view: View) -> None:
        """Another node's view."""
        ours = self._view
        if ours is None or view.lineage < ours.lineage:
            before = 0 if ours is None else ours.lineage
            self._registers = RegisterMap()
            self._homes.forget_agreement()
            self._enter(view)
            self._events.append(LineageChanged(before, view.lineage))
            # First what is decided there, then proposals of what is not.
            self._next_inquiry_at = self._now
            self._settle_all(self._beat_s / 2)
        elif view.lineage == ours.lineage and view.epoch > ours.epoch:
            self._learn(self._voting.carried_to(view))
            self._enter(view)

    def _here(self, message: Any) -> bool:
        """Whether it is of this lineage, and of this epoch where that matters; else tell its sender where we are."""
        view = self._view
        if view is None:
            return False
        if message.lineage == view.lineage and (
            isinstance(message, Registers) or message.epoch == view.epoch
        ):
            return True
        older = message.lineage > view.lineage or (
            message.lineage == view.lineage and message.epoch < view.epoch
        )
        if older and self._now >= self._next_answer_at:
            self._next_answer_at = self._now + self._timing.inquiry_after * self._beat_s
            self._say_heartbeat(self._now)
        return False

    # -- what others say ---------------------------------------------------------------------------------------

    def _heartbeat(self, beat: Heartbeat, now: float) -> None:
        if beat.leaving:
            self._members.remove(beat.sender)
            return
        newcomer = self._members.get(beat.sender) is None
        member = self._members.hear(beat, now)
        if member is None:
            return
        if newcomer:
            # It shall not have to wait to know us.
            self._next_beat_at = min(self._next_beat_at, now + self._beat_s * self._rng.random() / 4)
        if beat.view is not None:
            self._consider(beat.view)
        if self._shares_lineage(member) and (beat.count, beat.digest) != (
            len(self._registers), self._registers.digest,
        ):  # fmt: skip
            self._converged_at = None
            self._ask(beat.sender, self._registers.buckets())
        elif member.version != member.offers:
            self._ask(beat.sender, b"")

    def _ask(self, instance: int, buckets: bytes) -> None:
        if self._now >= self._next_inquiry_at:
            self._next_inquiry_at = self._now + self._timing.inquiry_after * self._beat_s
            lineage = 0 if self._view is None else self._view.lineage
            self._say(Inquiry(self.instance, instance, lineage, buckets))

    def _inquiry(self, message: Inquiry, now: float) -> None:
        if message.to != self.instance:
            return
        if not message.buckets:
            self._offers_at = min(self._offers_at, now + self._beat_s / 4)
            return
        if self._view is None or message.lineage != self._view.lineage:
            return
        if len(message.buckets) == len(self._registers.buckets()):
            values = list(self._registers.differing(message.buckets))
            most = MAX_ANSWER_PAGES * MAX_VALUES
            # What is left over is asked for again; begin anywhere, so that all have their turn.
            start = self._rng.randrange(0, len(values)) if len(values) > most else 0
            self._say_registers((values[start:] + values[:start])[:most])

    def _learn_registers(self, message: Registers, now: float) -> None:
        self._learn(message.values)
        self._settle_pending()

    # -- registers and topics ----------------------------------------------------------------------------------

    def _decided(self, values: Sequence[tuple[int, int, bytes]]) -> None:
        """By our proposal, or known and asked for: tell all."""
        self._learn(values)
        self._say_registers(values)
        self._settle_pending()

    def _learn(self, values: Iterable[tuple[int, int, bytes]]) -> None:
        for slot, epoch, owner in values:
            if self._registers.learn(slot, epoch, owner):
                self._converged_at = None
                for each in (slot, *self._voting.forget(slot, owner)):
                    self._pending |= self._probing.pop(each, set())
                home = self._homes.of(owner)
                if home is not None:
                    self._settle(home.topic, self._now)

    def _settle(self, topic: str, due: float) -> None:
        """Find out where it is at home, or propose it from `due` on."""
        home = self._homes.by_topic[topic]
        timing = self._timing
        switching = Switching(timing.switch_after * self._beat_s, timing.switch_latest * self._beat_s)
        slot = self._homes.settle(home, self._registers, self._now, switching)
        if slot is None:
            self._pending.discard(topic)
        elif self._view is not None and self._voting.propose(slot, home.owner, due):
            # Maybe for somebody else: what comes of it is looked at when it is decided.
            self._probing.setdefault(slot, set()).add(topic)
            self._pending.discard(topic)
        else:
            self._pending.add(topic)

    def _settle_all(self, spread_s: float) -> None:
        """Under another lineage; not all nodes at once, since many want the same."""
        self._voting.drop_attempts()
        self._probing.clear()
        self._pending.update(self._homes.by_topic)
        self._settle_pending(self._now + self._rng.random() * spread_s)

    def _settle_pending(self, due: float | None = None) -> None:
        for topic in sorted(self._pending):
            if self._voting.full:
                break
            self._settle(topic, self._now if due is None else due)

    # -- speaking ----------------------------------------------------------------------------------------------

    def _say(self, message: Message) -> None:
        """To all; what concerns votes also to ourselves, at once."""
        self._datagrams.append(messages.encode(message))
        if type(message) in _OF_VOTES:
            self._receive[type(message)](message, self._now)

    def _say_registers(self, values: Sequence[tuple[int, int, bytes]]) -> None:
        view = self._view
        if view is None:
            return
        for start in range(0, len(values), MAX_VALUES):
            self._say(Registers(self.instance, view.lineage, tuple(values[start : start + MAX_VALUES])))

    def _say_offers(self) -> None:
        pages = pages_of(self._offered)
        for number, topics in enumerate(pages):
            self._say(Offers(self.instance, self._offers, number, len(pages), topics))
