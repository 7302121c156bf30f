# SPDX-License-Identifier: Apache-2.0
"""Many things that are due at some time, and one timer of the event loop for all of them."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
from typing import Protocol

from plexo._fast.wake import clock


class Alarmed(Protocol):
    """Something with a time. `alarm_at` is this module's: when it is to be called; inf: not at all."""

    alarm_at: float

    def on_alarm(self, now: float) -> float:
        """Do what is due; returns when it is to be called again, or inf. Times are of the monotonic clock, in
        seconds."""


class Alarms:
    """Calls `on_alarm` of whatever was `set`, from the event loop that serves it now, never before its time.

    Earlier times replace later ones; who wants to be called later than it said is called, and says so.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Alarmed]] = []
        self._count = itertools.count()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf

    def set(self, each: Alarmed, due: float) -> None:
        """Call it at `due`, unless it is called before."""
        if due < each.alarm_at:
            each.alarm_at = due
            heapq.heappush(self._heap, (due, next(self._count), each))
            if due < self._timer_at:
                self._arm()

    def forget(self, each: Alarmed) -> None:
        """Do not call it any more."""
        each.alarm_at = math.inf

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        self.stop()
        self._loop = loop
        self._arm()

    def stop(self) -> None:
        """Off the event loop; what is due stays so."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._timer_at = math.inf
        self._loop = None

    def clear(self) -> None:
        self.stop()
        for _, _, each in self._heap:
            each.alarm_at = math.inf
        self._heap.clear()

    def forsake(self) -> None:
        """In a forked child: the loop and its timer are the parent's."""
        self._loop = self._timer = None
        self._timer_at = math.inf
        self._heap.clear()

    def _arm(self) -> None:
        """One timer, for the first of all."""
        if self._loop is None or self._loop.is_closed() or not self._heap:
            return
        due = self._heap[0][0]
        if self._timer is not None:
            if due >= self._timer_at:
                return
            self._timer.cancel()
        self._timer_at = due
        self._timer = self._loop.call_later(max(0.0, due - clock()), self._ring)

    def _ring(self) -> None:
        self._timer = None
        self._timer_at = math.inf
        now = clock()
        heap = self._heap
        try:
            while heap and heap[0][0] <= now and self._loop is not None:
                due, _, each = heapq.heappop(heap)
                # Of several entries for one only that counts which it was set to last.
                if due == each.alarm_at:
                    each.alarm_at = math.inf
                    self.set(each, each.on_alarm(now))
        finally:
            self._arm()
