# SPDX-License-Identifier: Apache-2.0
"""Which packets are missing, one by one, and when they are asked for: no spans, numbers that do not go round."""

from __future__ import annotations

from dataclasses import dataclass

from plexo._proto.pgm.timing import Timing

BACK_OFF, WAIT_NCF, WAIT_DATA = "BACK_OFF", "WAIT_NCF", "WAIT_DATA"
LIST = 63


@dataclass
class Missing:
    state: str
    due: float
    tries: int = 0
    asked_at: float | None = None


class Receiver:
    """`drawn` is what every draw gives, as a share of the longest back-off."""

    def __init__(self, timing: Timing, drawn: float) -> None:
        self.timing, self.drawn = timing, drawn
        self.missing: dict[int, Missing] = {}
        self.lost: list[int] = []
        self.smoothed: float | None = None
        self.varies = 0.0

    def gap(self, first: int, last: int, now: float) -> None:
        before = self.missing.get(first - 1)
        due = now + self.drawn * self.timing.nak_first_back_off_s
        if before is not None and before.state == BACK_OFF and before.tries == 0:
            due = before.due
        for number in range(first, last + 1):
            self.missing[number] = Missing(BACK_OFF, due)

    def arrived(self, number: int, now: float) -> None:
        found = self.missing.pop(number, None)
        if found is None or found.asked_at is None:
            return
        took = now - found.asked_at
        if self.smoothed is None:
            self.smoothed, self.varies = took, took / 2
        else:
            self.varies = 0.75 * self.varies + 0.25 * abs(self.smoothed - took)
            self.smoothed = 0.875 * self.smoothed + 0.125 * took

    def passed(self, trail: int) -> None:
        self.missing = {number: each for number, each in self.missing.items() if number >= trail}

    def confirmed(self, numbers: list[int], now: float) -> None:
        for number in set(numbers) & set(self.missing):
            each = self.missing[number]
            if each.state != WAIT_DATA:
                self._wait(each, WAIT_DATA, now)

    def nak_heard(self, numbers: list[int], now: float) -> None:
        for number in set(numbers) & set(self.missing):
            each = self.missing[number]
            if each.state == BACK_OFF:
                self._wait(each, WAIT_NCF, now)

    def advance(self, limit: int, full: bool, now: float) -> list[int]:
        """What is asked for."""
        if full and self.missing:
            limit = min(limit, min(self.missing) + LIST)
        asked: list[int] = []
        for number in sorted(self.missing):
            each = self.missing[number]
            if len(asked) == self.timing.naks_per_turn * LIST:
                break
            if each.due > now:
                continue
            if each.state == BACK_OFF:
                if number >= limit:
                    each.due = now + self.timing.nak_back_off_s
                else:
                    asked.append(number)
                    self._wait(each, WAIT_NCF, now)
                    each.asked_at = now if each.tries == 1 else None
            elif each.tries >= self.timing.nak_tries and number < limit:
                self.lost.append(number)
                del self.missing[number]
            else:
                each.state = BACK_OFF
                each.due = now + self.drawn * self.timing.nak_back_off_s
        return asked

    def _wait(self, each: Missing, state: str, now: float) -> None:
        least, most = self.timing.nak_wait_least_s, self.timing.nak_wait_most_s
        wait = most
        if self.smoothed is not None:
            wait = min(most, max(least, self.smoothed + 4 * self.varies))
        if each.state == BACK_OFF:
            each.tries += 1
            each.asked_at = None
        each.state = state
        each.due = now + min(most, wait * 2 ** min(each.tries - 1, 8))
