# SPDX-License-Identifier: Apache-2.0
"""What arrived, how fast, how late, and what is missing. No I/O; the clock is an argument."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from statistics import median
from typing import Any

from plexo.demo.messages import RateChanged, SamplingRate, Stamp

# Latencies kept for the median, by type: the latest so many.
LATENCIES_KEPT = 1000
# The time over which the live rate is taken.
RATE_WINDOW_S = 1.0


class Entry:
    """Messages of one type: numbered from 0 by their sender, so a gap is a loss."""

    def __init__(self) -> None:
        self.received = 0
        self.lost = 0
        # Came again, or behind a later one: a link that keeps order never does that.
        self.disordered = 0
        self.sent = 0  # until its last answer, says the sender
        self.latest: dict[object, Any] = {}
        self._expected = 0
        self._latencies_ns: deque[int] = deque(maxlen=LATENCIES_KEPT)
        self._counts: deque[tuple[int, int]] = deque()

    def add(self, stamp: Stamp, now_ns: int) -> None:
        self.received += 1
        if stamp.sequence < self._expected:
            self.disordered += 1
        else:
            self.lost += stamp.sequence - self._expected
            self._expected = stamp.sequence + 1
        self._latencies_ns.append(now_ns - stamp.sent_ns)

    def settle(self, sent: int) -> None:
        """The sender has sent so many until now: what is missing at the end counts too."""
        self.sent = sent
        if sent > self._expected:
            self.lost += sent - self._expected
            self._expected = sent

    def rate(self, now_ns: int) -> float:
        """Messages per second over about the last RATE_WINDOW_S; call it regularly."""
        counts = self._counts
        counts.append((now_ns, self.received))
        while len(counts) > 2 and now_ns - counts[1][0] >= RATE_WINDOW_S * 1e9:
            counts.popleft()
        (then_ns, before), (_, after) = counts[0], counts[-1]
        return (after - before) * 1e9 / (now_ns - then_ns) if now_ns > then_ns else 0.0

    @property
    def latency_ms(self) -> float | None:
        """The median of the latest; None before the first message."""
        return median(self._latencies_ns) / 1e6 if self._latencies_ns else None


class Ledger:
    """Of one run: an Entry for each type measured, and the requests with their answers."""

    def __init__(self, types: Iterable[str], clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self.entries = {name: Entry() for name in types}
        self.answers = Entry()
        self.requested: list[float] = []
        # The types that the other side has sensors for; unknown until its first answer.
        self.available: frozenset[str] | None = None
        # Whether the last answer was the one to the last request, to stop: then `sent` is final.
        self.settled = False
        self._answered: set[int] = set()
        self._clock_ns = clock_ns
        self._began_ns: int | None = None
        self._ended_ns: int | None = None

    def begin(self) -> None:
        """From here on messages are expected, and rates are taken."""
        self._began_ns = self._clock_ns()
        self.rate(self._began_ns)

    def end(self) -> None:
        self._ended_ns = self._clock_ns()

    @property
    def begun(self) -> bool:
        return self._began_ns is not None

    @property
    def elapsed_s(self) -> float:
        """Since `begin`, until `end`; 0 before."""
        if self._began_ns is None:
            return 0.0
        return ((self._clock_ns() if self._ended_ns is None else self._ended_ns) - self._began_ns) / 1e9

    # -- what happens ----------------------------------------------------------------------------------------

    def take(self, message: Any) -> None:
        """A measurement arrived."""
        entry = self.entries[type(message).__name__]
        entry.add(message.stamp, self._clock_ns())
        entry.latest[_source(message)] = message

    def next_request(self, hz: float) -> SamplingRate:
        """The request to send next."""
        request = SamplingRate(Stamp(len(self.requested), self._clock_ns()), hz)
        self.requested.append(hz)
        return request

    def answer(self, answer: RateChanged) -> None:
        """A request was answered."""
        self.answers.add(answer.stamp, self._clock_ns())
        if answer.request < len(self.requested) and self.requested[answer.request] == answer.hz:
            self._answered.add(answer.request)
        self.settled = answer.hz == 0 and answer.request == len(self.requested) - 1
        self.available = frozenset(answer.sent)
        for name, sent in answer.sent.items():
            if name in self.entries:
                self.entries[name].settle(sent)

    # -- what it comes to ------------------------------------------------------------------------------------

    @property
    def received(self) -> int:
        return sum(entry.received for entry in self.entries.values())

    @property
    def lost(self) -> int:
        return sum(entry.lost for entry in self.entries.values())

    @property
    def answered(self) -> int:
        return len(self._answered)

    def is_available(self, name: str) -> bool:
        return self.available is None or name in self.available

    def rate(self, now_ns: int) -> float:
        """All types together; as Entry.rate."""
        return sum(entry.rate(now_ns) for entry in self.entries.values())

    def problems(self) -> list[str]:
        """What was missing; nothing when messages of every type came and none was lost."""
        if self.available is None:
            return ["no message arrived"]
        found = []
        for name, entry in self.entries.items():
            if name in self.available and not entry.received:
                found.append(f"no {name} arrived")
            elif entry.lost:
                found.append(f"{entry.lost} {name} lost")
            if entry.disordered:
                found.append(f"{entry.disordered} {name} repeated or out of order")
        if not self.available & self.entries.keys():
            found.append("this machine shows no sensor at all")
        if unanswered := len(self.requested) - self.answered:
            found.append(f"{unanswered} of {len(self.requested)} SamplingRate not answered by a RateChanged")
        return found


def _source(message: Any) -> object:
    """What tells the messages of one type apart: the core, the disk, ..."""
    for field in ("core", "disk", "interface", "sensor"):
        if hasattr(message, field):
            return getattr(message, field)
    return None
