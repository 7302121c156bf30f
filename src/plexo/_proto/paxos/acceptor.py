# SPDX-License-Identifier: Apache-2.0
"""One voter of one epoch: what it has promised and accepted. A new epoch gets a new one."""

from __future__ import annotations

from plexo._proto.paxos.messages import MAX_ACCEPTED, Ballot, Change

# Slots that are promised and not decided; more are not answered.
MAX_OPEN_SLOTS = 16384
_NONE: Ballot = (-1, 0)


class Acceptor:
    def __init__(self) -> None:
        self._promised: dict[int, Ballot] = {}
        # Accepted and not known to be decided: ballot, owner, and since when.
        self.accepted: dict[int, tuple[Ballot, bytes, float]] = {}
        self._change_promised: Ballot = _NONE
        self.change: tuple[Ballot, Change] | None = None

    @property
    def frozen(self) -> bool:
        """It takes part in deciding the next council: slots are over for this epoch."""
        return self._change_promised != _NONE

    def promise(self, slot: int, ballot: Ballot) -> Ballot | None:
        """None: it is promised; else the higher ballot that was."""
        promised = self._promised.get(slot, _NONE)
        if ballot < promised:
            return promised
        if slot not in self._promised and len(self._promised) >= MAX_OPEN_SLOTS:
            return ballot
        self._promised[slot] = ballot
        return None

    def accept(self, slot: int, ballot: Ballot, owner: bytes, now: float) -> Ballot | None:
        """None: it is accepted; else the higher ballot that was promised."""
        if ballot < self._promised.get(slot, _NONE):
            return self._promised[slot]
        if len(self.accepted) >= MAX_ACCEPTED and slot not in self.accepted:
            return ballot
        self._promised[slot] = ballot
        self.accepted[slot] = ballot, owner, now
        return None

    def promise_change(self, ballot: Ballot) -> Ballot | None:
        if ballot < self._change_promised:
            return self._change_promised
        self._change_promised = ballot
        return None

    def accept_change(self, ballot: Ballot, change: Change) -> Ballot | None:
        if ballot < self._change_promised:
            return self._change_promised
        self._change_promised = ballot
        self.change = ballot, change
        return None

    def decided(self, slot: int) -> None:
        """Nothing has to be remembered of it any more: whoever asks is told."""
        self._promised.pop(slot, None)
        self.accepted.pop(slot, None)
