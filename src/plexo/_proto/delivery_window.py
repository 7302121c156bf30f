# SPDX-License-Identifier: Apache-2.0
"""The memory of acknowledged delivery: what a sender has under way, and what a receiver has seen (see `delivery`).

Both are bounded whatever the other side says: a sender's numbers lie within WINDOW_IDS of its floor, a receiver
remembers only such numbers, for the MAX_SESSIONS sessions that it saw last.
"""

from __future__ import annotations

from enum import Enum, unique
from typing import NamedTuple

from plexo._proto.delivery import (
    MAX_ID,
    MAX_SESSIONS,
    WINDOW_BYTES,
    WINDOW_IDS,
    Settled,
    encode_deliver,
)

# ---- the sender's window


class _Outgoing:
    __slots__ = ("envelope", "sendable", "size")

    def __init__(self, envelope: bytes | None, sendable: bool) -> None:
        self.envelope = envelope
        self.size = len(envelope) if envelope is not None else 0
        self.sendable = sendable


class Window:
    """The messages that one session has under way, in order of their numbers.

    A message is *added* (it has a number), becomes *sendable* (at once, or when its journal has it), is *settled* (its
    outcome is known or it was withdrawn: never said again), and *forgotten* (the journal has forgotten it too). The
    floor is the lowest number that is not forgotten.
    """

    def __init__(self, next_id: int = 1) -> None:
        if not 1 <= next_id <= MAX_ID:
            raise ValueError(f"next_id must be 1 to {MAX_ID}, not {next_id}")
        self.floor = next_id
        self.next_id = next_id
        self.bytes = 0
        self._messages: dict[int, _Outgoing] = {}
        self._unsettled = 0

    @property
    def unsettled(self) -> int:
        """Messages whose outcome is not known."""
        return self._unsettled

    def has_room(self, size: int) -> bool:
        """Whether a message with an envelope of so many bytes may be added now."""
        if self.next_id - self.floor >= WINDOW_IDS or self.next_id > MAX_ID:
            return False
        return self.bytes == 0 or self.bytes + size <= WINDOW_BYTES

    def add(self, envelope: bytes, *, sendable: bool) -> int:
        """The message's number. The caller has asked `has_room`."""
        id = self.next_id
        self.next_id = id + 1
        self._put(id, envelope, sendable)
        return id

    def restore(self, id: int, envelope: bytes) -> None:
        """A message of an earlier life, sendable; in order, and before `add`.

        ValueError: not in order, or too far apart.
        """
        if id < self.next_id or (self._messages and id >= self.floor + WINDOW_IDS):
            raise ValueError(
                f"id must be {self.next_id} to {self.floor + WINDOW_IDS - 1}, in rising order, not {id}"
            )
        if not self._messages:
            self.floor = id
        self.next_id = id + 1
        self._put(id, envelope, True)

    def skip_to(self, next_id: int) -> None:
        """Numbers below were used in an earlier life, and are settled unless restored."""
        self.next_id = max(self.next_id, next_id)
        if not self._messages:
            self.floor = self.next_id

    def _put(self, id: int, envelope: bytes, sendable: bool) -> None:
        message = self._messages[id] = _Outgoing(envelope, sendable)
        self.bytes += message.size
        self._unsettled += 1

    def allow(self, id: int) -> bool:
        """It may be sent from now on; False where it is settled (withdrawn) already."""
        message = self._messages.get(id)
        if message is None or message.envelope is None:
            return False
        message.sendable = True
        return True

    def command(self, id: int) -> bytes:
        """The frame that says this message with today's floor. KeyError: it is not under way, or not sendable."""
        message = self._messages[id]
        if message.envelope is None or not message.sendable:
            raise KeyError(id)
        return encode_deliver(id, self.floor, message.envelope)

    def to_send(self) -> list[int]:
        """What a new link has to say first: everything sendable and not settled, in order."""
        return [id for id, each in self._messages.items() if each.sendable and each.envelope is not None]

    def settle(self, id: int) -> bool:
        """Its outcome is known, or it is withdrawn; False where that was so already, or nothing has this number."""
        message = self._messages.get(id)
        if message is None or message.envelope is None:
            return False
        message.envelope = None
        self.bytes -= message.size
        self._unsettled -= 1
        return True

    def forget(self, id: int) -> None:
        """A settled message that no journal would bring back; unknown numbers are ignored."""
        message = self._messages.get(id)
        if message is None:
            return
        self.settle(id)
        del self._messages[id]
        while self.floor < self.next_id and self.floor not in self._messages:
            self.floor += 1


# ---- the receiver's filter


@unique
class Seen(Enum):
    """What a receiver knows of a number."""

    NEW = "new"
    IN_HAND = "in-hand"  # being worked on; its outcome will be said when it is known
    SETTLED = "settled"  # a repeat of what has an outcome
    BELOW_FLOOR = "below-floor"  # the sender had said that this is settled: it must not be said again


class Verdict(NamedTuple):
    """`outcome` is there with SETTLED."""

    seen: Seen
    outcome: Settled | None = None


class RepeatFilter:
    """The numbers of one session between its floor and WINDOW_IDS above: in hand, or settled with an outcome."""

    def __init__(self) -> None:
        self.floor = 1
        self._known: dict[int, Settled | None] = {}

    def __len__(self) -> int:
        return len(self._known)

    def receive(self, id: int, floor: int) -> Verdict:
        """A parsed Deliver came. NEW: it is in hand now, call `settle` or `forget` when it has ended."""
        if floor > self.floor:
            self._raise_floor(floor)
        if id < self.floor:
            return Verdict(Seen.BELOW_FLOOR)
        if id in self._known:
            outcome = self._known[id]
            return Verdict(Seen.IN_HAND if outcome is None else Seen.SETTLED, outcome)
        self._known[id] = None
        return Verdict(Seen.NEW)

    def _raise_floor(self, floor: int) -> None:
        if floor - self.floor > len(self._known):
            self._known = {id: outcome for id, outcome in self._known.items() if id >= floor}
        else:
            for id in range(self.floor, floor):
                self._known.pop(id, None)
        self.floor = floor

    def settle(self, id: int, outcome: Settled) -> None:
        """Remember the outcome for a repeat, unless the floor has passed it."""
        if id in self._known:
            self._known[id] = outcome

    def forget(self, id: int) -> None:
        """Nobody has worked on it: a repeat is to be tried anew."""
        self._known.pop(id, None)


class Sessions:
    """A filter for each of the sessions seen last."""

    def __init__(self) -> None:
        self._filters: dict[bytes, RepeatFilter] = {}

    def __len__(self) -> int:
        return len(self._filters)

    def of(self, session: bytes) -> RepeatFilter:
        """The filter of this session, a new one where it is not remembered; it counts as seen now."""
        found = self._filters.pop(session, None)
        if found is None:
            found = RepeatFilter()
            if len(self._filters) >= MAX_SESSIONS:
                del self._filters[next(iter(self._filters))]
        self._filters[session] = found
        return found
