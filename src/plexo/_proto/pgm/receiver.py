# SPDX-License-Identifier: Apache-2.0
"""What a receiver asks of one source: which packets are missing, when to NAK them, and when to give them up.

RFC 3208, section 6, as ZeroMQ's peers need it. Missing packets are *spans* of neighbours in the same state, so a
burst of losses is one entry. Each goes from BACK_OFF (a random time, so that of several receivers one asks) by a NAK
to WAIT_NCF, with the source's confirmation to WAIT_DATA, and back where nothing comes in time, until it is lost after
so many tries. The data itself ends it in any state, and so does a trail that passes it. How long to wait is learnt
from how long repairs take, as RFC 6298 does for TCP.

No clock, no chance, no I/O: the time is an argument (seconds, monotonic), numbers are drawn from an object like
``random.Random``. Whoever calls knows the sequence: `gap` comes in ascending order, and each sqn in it once until
`begin`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum, auto, unique

from plexo._proto.pgm.packets import MAX_SQNS, Tsi, dotted, encode_nak, encode_spmr
from plexo._proto.pgm.serial import MODULUS, distance
from plexo._proto.pgm.timing import Timing
from plexo._proto.randomness import Random

NEVER = float("inf")
# An SPM that is older than the last one came late, unless it is so much older: then the source counts anew, or
# the last one was forged, and would shut out all that are right.
REORDERED_SPMS = 64


@unique
class State(Enum):
    BACK_OFF = auto()
    WAIT_NCF = auto()
    WAIT_DATA = auto()


@unique
class Event(Enum):
    EXPIRED = auto()
    # Another receiver asked for it, or we did and hear ourselves.
    NAK_HEARD = auto()
    CONFIRMED = auto()


# What is not here leaves the span as it is. From BACK_OFF every way is a try.
TRANSITIONS = {
    (State.BACK_OFF, Event.EXPIRED): State.WAIT_NCF,
    (State.BACK_OFF, Event.NAK_HEARD): State.WAIT_NCF,
    (State.BACK_OFF, Event.CONFIRMED): State.WAIT_DATA,
    (State.WAIT_NCF, Event.EXPIRED): State.BACK_OFF,
    (State.WAIT_NCF, Event.CONFIRMED): State.WAIT_DATA,
    (State.WAIT_DATA, Event.EXPIRED): State.BACK_OFF,
}


class Span:
    """Missing packets ``first`` to ``last``, in numbers that do not go round.

    ``asked_at`` is when the first NAK went out, if no second one did: of two nobody knows which was answered.
    """

    __slots__ = ("asked_at", "due", "first", "last", "state", "tries")

    def __init__(
        self, first: int, last: int, state: State, due: float, tries: int = 0, asked_at: float | None = None
    ) -> None:
        self.first = first
        self.last = last
        self.state = state
        self.due = due
        self.tries = tries
        self.asked_at = asked_at

    def part(self, first: int, last: int) -> Span:
        return Span(first, last, self.state, self.due, self.tries, self.asked_at)

    def __repr__(self) -> str:
        return f"Span({self.first}-{self.last} {self.state.name} due={self.due} tries={self.tries})"


class Receiver:
    """The gaps of one source.

    ``group`` goes into NAKs: the group the source is heard on, dotted. ``nla`` is where the latest SPM said that the
    source is, ``None`` before any. ``source_address`` stands in for it: the IPv4 address its packets came from, as a
    number.
    """

    def __init__(self, tsi: Tsi, port: int, source_address: int, rng: Random, timing: Timing) -> None:
        self.tsi = tsi
        self.port = port
        self.group = "0.0.0.0"
        self.nla: str | None = None
        # NAK lists that were sent.
        self.naks = 0
        self._source = dotted(source_address)
        self._rng = rng
        self._timing = timing
        # In ascending order, disjoint.
        self._spans: list[Span] = []
        self._lost: list[tuple[int, int]] = []
        self._spm_sqn: int | None = None
        # The number of the sqn that numbers are unwrapped next to.
        self._near = 0
        # What is before was asked for anew since there was no room for it.
        self._hastened = 0
        # Not later than anything in the spans is due.
        self._due = NEVER
        self._turn_at = -NEVER
        self._spmr_at = NEVER
        self._spmr_tries = 0
        # When nothing can be repaired any more.
        self._fin_at = NEVER
        self._smoothed: float | None = None
        self._varies = 0.0

    # -- what came ------------------------------------------------------------------------------------------------

    def begin(self, sqn: int, now: float) -> None:
        """Reception starts with this sqn. Without an SPM in time it asks for one."""
        self._spans.clear()
        self._lost.clear()
        self._due = NEVER
        # Above 0 whatever comes before.
        self._near = MODULUS + sqn
        self._hastened = 0
        if self.nla is None:
            self._spmr_at, self._spmr_tries = now + self._timing.spmr_after_s, 0

    def spm(self, spm_sqn: int, nla: int | None, fin: bool, now: float) -> bool:
        """An SPM; False: it is older than the last one, and nothing else of it counts."""
        if self._spm_sqn is not None and 0 < distance(spm_sqn, self._spm_sqn) <= REORDERED_SPMS:
            return False
        self._spm_sqn = spm_sqn
        if nla is not None:
            self.nla = dotted(nla)
        self._spmr_at = NEVER
        self._fin_at = min(self._fin_at, now + self._timing.fin_expiry_s) if fin else NEVER
        return True

    def spmr_heard(self, now: float) -> None:
        """Another receiver asked for the SPM that we want, too."""
        if self._spmr_at != NEVER:
            self._spmr_at = now + self._timing.spmr_after_s

    def gap(self, first: int, last: int, now: float) -> None:
        """All from ``first`` to ``last`` are missing; they are behind all that were missing before."""
        start, end = self._unwrap(first), self._unwrap(last)
        previous = self._spans[-1] if self._spans else None
        if (
            previous is not None
            and previous.last + 1 == start
            and previous.tries == 0
            and previous.state is State.BACK_OFF
        ):
            previous.last = end
        else:
            due = now + self._draw(self._timing.nak_first_back_off_s)
            self._spans.append(Span(start, end, State.BACK_OFF, due))
            self._due = due if previous is None else min(self._due, due)
        self._near = end

    def arrived(self, sqn: int, now: float) -> None:
        """One that was missing is here."""
        number = self._unwrap(sqn)
        at = self._index(number)
        if at is None:
            return
        span = self._spans[at]
        if span.asked_at is not None:
            self._learn(now - span.asked_at)
        self._replace(at, number, number, None)

    def passed(self, trail: int) -> None:
        """What is before ``trail`` cannot be repaired any more: it is not asked for."""
        number = self._unwrap(trail)
        spans = self._spans
        keep = bisect_right(spans, number - 1, key=_first)
        if keep and spans[keep - 1].last >= number:
            keep -= 1
            spans[keep].first = max(spans[keep].first, number)
        del spans[:keep]
        self._near = max(self._near, number)

    def confirmed(self, sqns: Iterable[int], now: float) -> None:
        """An NCF: the source was asked for these."""
        self._happen(sqns, Event.CONFIRMED, now)

    def nak_heard(self, sqns: Iterable[int], now: float) -> None:
        """Another receiver asked for these."""
        self._happen(sqns, Event.NAK_HEARD, now)

    def hasten(self, now: float) -> None:
        """What there was no room for can be taken now, if it comes in order: the first list is asked for anew, at once.

        Before, it was asked for in vain so often that the next time would be long away.
        """
        if not self._spans or self._spans[0].first < self._hastened:
            return
        self._hastened = end = self._spans[0].first + MAX_SQNS
        at = self._index(end - 1)
        if at is not None:
            self._spans[at : at + 1] = _cut(self._spans[at], end)
        for span in self._spans:
            if span.first >= end:
                break
            span.state, span.due, span.tries, span.asked_at = State.BACK_OFF, now, 0, None
        self._due = now

    # -- what goes ------------------------------------------------------------------------------------------------

    def due(self) -> float:
        """When to call `advance`: when a timer ends, but for NAKs not sooner than a turn after the last ones."""
        if not self._spans:
            return self._spmr_at
        return min(self._spmr_at, self._fin_at, max(self._due, self._turn_at))

    def closed(self, now: float) -> bool:
        """Whether the source closed so long ago that it repairs nothing any more."""
        return self._fin_at <= now

    def advance(self, limit: int, now: float, full: bool = False) -> list[bytes]:
        """The NAKs and SPMRs that are due. Each goes to `nla`, else to the source's address, and to the group.

        There is room for sqns before ``limit``, others are not asked for. ``full``: there is room for the next only;
        the first list is asked for all the same, so that the source keeps it. What was given up is in `take_lost`
        then.
        """
        datagrams = []
        if self._spmr_at <= now:
            datagrams.append(encode_spmr(self.tsi, self.port))
            self._spmr_tries += 1
            again = self._spmr_tries < self._timing.spmr_tries
            self._spmr_at = now + self._timing.spmr_after_s * 2**self._spmr_tries if again else NEVER
        if max(self._due, self._turn_at) <= now:
            self._turn_at = now + self._timing.nak_turn_s
            end = self._unwrap(limit)
            if full and self._spans:
                end = min(end, self._spans[0].first + MAX_SQNS)
            wanted = self._expire(end, self._timing.naks_per_turn * MAX_SQNS, now)
            for at in range(0, len(wanted), MAX_SQNS):
                datagrams.append(self._nak(wanted[at : at + MAX_SQNS]))
        return datagrams

    def take_lost(self) -> list[tuple[int, int]]:
        """First and last sqn of what was given up since the last call."""
        lost, self._lost = self._lost, []
        return lost

    @property
    def wait_s(self) -> float:
        """How long an answer to a NAK may take now."""
        most = self._timing.nak_wait_most_s
        if self._smoothed is None:
            return most
        return min(most, max(self._timing.nak_wait_least_s, self._smoothed + 4 * self._varies))

    @property
    def spans(self) -> Sequence[Span]:
        """For tests and for showing: what is missing. Not to be changed."""
        return self._spans

    # -- within ---------------------------------------------------------------------------------------------------

    def _unwrap(self, sqn: int) -> int:
        return self._near + distance(self._near % MODULUS, sqn)

    def _draw(self, most: float) -> float:
        return self._rng.random() * most

    def _index(self, number: int) -> int | None:
        at = bisect_right(self._spans, number, key=_first) - 1
        return at if at >= 0 and self._spans[at].last >= number else None

    def _replace(self, at: int, first: int, last: int, middle: Span | None) -> None:
        """Cut ``first`` to ``last`` out of the span at this place, and put ``middle`` there if there is one."""
        span = self._spans[at]
        parts = [span.part(span.first, first - 1)] if span.first < first else []
        if middle is not None:
            parts.append(middle)
            self._due = min(self._due, middle.due)
        if last < span.last:
            parts.append(span.part(last + 1, span.last))
        self._spans[at : at + 1] = parts

    def _happen(self, sqns: Iterable[int], event: Event, now: float) -> None:
        for first, last in _runs(sorted({self._unwrap(sqn) for sqn in sqns})):
            at = max(0, bisect_right(self._spans, first, key=_first) - 1)
            while at < len(self._spans) and self._spans[at].first <= last:
                span = self._spans[at]
                state = TRANSITIONS.get((span.state, event))
                start, end = max(first, span.first), min(last, span.last)
                if state is None or start > end:
                    at += 1
                    continue
                self._replace(at, start, end, self._moved(span.part(start, end), state, now))
                # Behind what was put in; there may be one before it.
                at += 1 + (span.first < start)

    def _moved(self, span: Span, state: State, now: float) -> Span:
        if span.state is State.BACK_OFF:
            span.tries += 1
            span.asked_at = None
        span.state = state
        if state is State.BACK_OFF:
            span.due = now + self._draw(self._timing.nak_back_off_s)
        else:
            # Twice as long after each that was in vain: it may be the network that has too much to do.
            span.due = now + min(
                self._timing.nak_wait_most_s, self.wait_s * 2.0 ** min(max(span.tries - 1, 0), 8)
            )
        return span

    def _expire(self, limit: int, budget: int, now: float) -> list[int]:
        """Let timers end; the sqns to ask for.

        With the budget it ends, and what is behind stays due. What is not before the limit waits again.
        """
        at = self._index(limit - 1)
        if at is not None:
            self._spans[at : at + 1] = _cut(self._spans[at], limit)
        spans: list[Span] = []
        wanted: list[int] = []
        self._due = NEVER
        for at, span in enumerate(self._spans):
            if len(wanted) == budget:
                spans += self._spans[at:]
                self._due = now
                break
            if span.due <= now:
                state = TRANSITIONS[span.state, Event.EXPIRED]
                if state is State.BACK_OFF:
                    if span.tries >= self._timing.nak_tries and span.first < limit:
                        self._lost.append((span.first % MODULUS, span.last % MODULUS))
                        continue
                    self._moved(span, state, now)
                elif span.first >= limit:
                    span.due = now + self._timing.nak_back_off_s
                else:
                    asked, *others = _cut(span, span.first + budget - len(wanted))
                    wanted += (number % MODULUS for number in range(asked.first, asked.last + 1))
                    span = self._moved(asked, state, now)
                    span.asked_at = now if span.tries == 1 else None
                    if others:
                        spans.append(span)
                        span = others[0]
            spans.append(span)
            self._due = min(self._due, span.due)
        self._spans = spans
        return wanted

    def _nak(self, sqns: Sequence[int]) -> bytes:
        self.naks += 1
        return encode_nak(self.tsi, self.port, sqns, self.nla or self._source, self.group)

    def _learn(self, took: float) -> None:
        """RFC 6298, section 2."""
        if self._smoothed is None:
            self._smoothed, self._varies = took, took / 2
        else:
            self._varies += (abs(self._smoothed - took) - self._varies) / 4
            self._smoothed += (took - self._smoothed) / 8


def _first(span: Span) -> int:
    return span.first


def _cut(span: Span, at: int) -> list[Span]:
    """What is before this number, which may be nothing, and what is from it on, if there is any."""
    before = span.part(span.first, min(span.last, at - 1))
    return [before, span.part(at, span.last)] if at <= span.last else [before]


def _runs(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Neighbours in ascending numbers, as first and last."""
    first = last = None
    for number in numbers:
        if first is None or last is None:
            first = number
        elif number != last + 1:
            yield first, last
            first = number
        last = number
    if first is not None and last is not None:
        yield first, last
