# SPDX-License-Identifier: Apache-2.0
"""What a PGM source says beside its data: where it is, what it can repair, that it was asked, that it ends."""

from __future__ import annotations

from collections import deque
from typing import Protocol

from plexo._proto.pgm.packets import Packet, Tsi, encode_ncf, encode_spm
from plexo._proto.pgm.timing import Timing

# Packets whose last repair is remembered, so that they are not repaired twice at once.
MAX_REMEMBERED = 8192


class Window(Protocol):
    """What a source needs of a transmit window."""

    @property
    def trail(self) -> int: ...
    @property
    def lead(self) -> int: ...
    def has(self, sqn: int) -> bool: ...
    def hold(self, sqn: int, until: float, limit: float) -> None: ...


class Source:
    """The control half of a source. ``take`` gives the datagrams to be multicast, ``due`` says when there are some.

    ``nla`` is the address that NAKs are sent to, ``group`` where the data goes. Times are in seconds, of any one clock.
    """

    def __init__(
        self, window: Window, tsi: Tsi, port: int, nla: str, group: str, timing: Timing, now: float
    ) -> None:
        self._window = window
        self._tsi = tsi
        self._port = port
        self._nla = nla
        self._timing = timing
        self.group = group
        # Small: OpenPGM compares it with 0 and drops what is 2**31 ahead.
        self._spm_sqn = 0
        self._ready: list[bytes] = []
        # SPMs at fixed times, then one each interval of the heartbeat.
        self._planned: deque[float] = deque()
        self._step = len(timing.heartbeat_spms_s)
        self._heartbeat_at = now + timing.ambient_spm_s
        self._last_spm_at = float("-inf")
        self._wanted_spm = False
        self._repaired_at: dict[int, float] = {}
        self._last: deque[float] | None = None
        self.finished = False

    # -- what happens ------------------------------------------------------------------------------------------

    def start(self, now: float) -> None:
        """It begins: receivers are told before there is data."""
        self._planned = deque(now + after for after in self._timing.first_spms_s)

    def moved(self, group: str, now: float) -> None:
        """From now on everything goes to another group."""
        self.group = group
        self.start(now)

    def data_sent(self, now: float) -> None:
        """The last packet is out; the heartbeats begin anew."""
        self._step = 0
        self._heartbeat_at = now + self._timing.heartbeat_spms_s[0]

    def spmr(self, now: float) -> None:
        """A receiver asks where the source is."""
        self._wanted_spm = True

    def nak(self, packet: Packet, now: float) -> tuple[int, ...]:
        """A receiver asks for packets: those to repair now. What is asked for stays in the window for a while.

        What is not there any more, or not yet, is answered by an SPM, which says so.
        """
        if packet.nla != self._nla or self.finished:
            return ()
        timing = self._timing
        known, wanted = [], []
        for sqn in packet.sqns:
            if not self._window.has(sqn):
                self._wanted_spm = True
                continue
            known.append(sqn)
            self._window.hold(sqn, now + timing.hold_s, timing.hold_limit_s)
            if now - self._repaired_at.get(sqn, float("-inf")) >= timing.repair_interval_s:
                self._repaired_at[sqn] = now
                wanted.append(sqn)
        if len(self._repaired_at) > MAX_REMEMBERED:
            self._repaired_at = {
                sqn: at for sqn, at in self._repaired_at.items() if now - at < timing.repair_interval_s
            }
        if known:
            self._ready.append(
                encode_ncf(self._tsi, self._port, known, self._nla, packet.group or self.group)
            )
        return tuple(wanted)

    def finish(self, now: float) -> None:
        """It ends; after the last goodbye nothing is repaired."""
        if self._last is None:
            self._last = deque(now + after for after in self._timing.last_spms_s)

    # -- what follows ------------------------------------------------------------------------------------------

    def due(self) -> float:
        """When there is something to take; inf: never again."""
        if self._ready:
            return float("-inf")
        if self._last is not None:
            return self._last[0] if self._last else float("inf")
        due = min(self._heartbeat_at, self._planned[0] if self._planned else float("inf"))
        return min(due, self._last_spm_at + self._timing.spm_interval_s) if self._wanted_spm else due

    def take(self, now: float) -> list[bytes]:
        """What is to be said now."""
        ready, self._ready = self._ready, []
        if self._last is not None:
            while self._last and self._last[0] <= now:
                self._last.popleft()
                ready.append(self._spm(now, fin=True))
            self.finished = not self._last
            return ready
        # The very sum of `due`: a difference may be rounded to below the interval, and never end.
        wanted = self._wanted_spm and self._last_spm_at + self._timing.spm_interval_s <= now
        while self._planned and self._planned[0] <= now:
            # Each of them, also where several are due: who hears none begins behind the first data that it hears.
            self._planned.popleft()
            ready.append(self._spm(now))
            wanted = self._wanted_spm = False
        if self._heartbeat_at <= now:
            wanted = True
            self._step += 1
            series = self._timing.heartbeat_spms_s
            self._heartbeat_at = now + (
                series[self._step] if self._step < len(series) else self._timing.ambient_spm_s
            )
        if wanted:
            self._wanted_spm = False
            ready.append(self._spm(now))
        return ready

    def _spm(self, now: float, fin: bool = False) -> bytes:
        self._last_spm_at = now
        window = self._window
        spm = encode_spm(self._tsi, self._port, self._spm_sqn, window.trail, window.lead, self._nla, fin)
        self._spm_sqn = (self._spm_sqn + 1) % (1 << 32)
        return spm
