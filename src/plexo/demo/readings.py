# SPDX-License-Identifier: Apache-2.0
"""This machine's sensors, read by psutil, as messages.

Which of them there are differs by system, container and permission: a sensor that cannot be read, or that
shows nothing the first time, is left out, and RateChanged says so by not naming its type.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator

import psutil  # type: ignore[import-untyped, unused-ignore]

from plexo.demo.messages import (
    CpuCore,
    DiskCounters,
    Load,
    Measurement,
    Memory,
    NetworkCounters,
    Stamp,
    Temperature,
)

# The kernel counts a core's time in steps of 10 ms: over less than a second, percentages would jump.
CPU_WINDOW_S = 1.0

# What psutil raises for sensors that a system does not have, or a container does not show. (RuntimeError:
# counters in a format it does not know.)
UNREADABLE = (OSError, AttributeError, NotImplementedError, RuntimeError, psutil.Error)

Sensor = Callable[[], Iterator[Measurement]]


class Stamps:
    """Numbers the messages of each type."""

    def __init__(self, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self.sent: dict[str, int] = {}
        self._clock_ns = clock_ns

    def next(self, kind: type) -> Stamp:
        sequence = self.sent.get(kind.__name__, 0)
        self.sent[kind.__name__] = sequence + 1
        return Stamp(sequence, self._clock_ns())


class Readings:
    """The sensors that work here; `sample` yields one message for each core, disk, interface, ..."""

    def __init__(self, stamps: Stamps) -> None:
        self._stamps = stamps
        self._cpu_times = deque([(time.monotonic(), _cpu_times())])
        self._sensors: dict[type, Sensor] = {}
        candidates: dict[type, Sensor] = {
            CpuCore: self._cpu_cores,
            Memory: self._memory,
            Load: self._load,
            DiskCounters: self._disks,
            NetworkCounters: self._interfaces,
            Temperature: self._temperatures,
        }
        for kind, sensor in candidates.items():
            if _shows_something(sensor):
                self._sensors[kind] = sensor
        # The trial took numbers; count from 0 those types that are here.
        stamps.sent = {kind.__name__: 0 for kind in self._sensors}

    def sample(self) -> Iterator[Measurement]:
        """Measure once; each message is made, and stamped, when it is asked for."""
        for kind, sensor in list(self._sensors.items()):
            try:
                yield from sensor()
            except UNREADABLE as error:
                del self._sensors[kind]
                print(f"{kind.__name__}: {error or type(error).__name__}; no longer read", file=sys.stderr)

    def _cpu_cores(self) -> Iterator[CpuCore]:
        now = time.monotonic()
        times = _cpu_times()
        seen = self._cpu_times
        seen.append((now, times))
        while len(seen) > 2 and now - seen[1][0] >= CPU_WINDOW_S:
            seen.popleft()
        for core, (before, after) in enumerate(zip(seen[0][1], times, strict=False)):
            yield CpuCore(self._stamps.next(CpuCore), core, busy_percent(before, after))

    def _memory(self) -> Iterator[Memory]:
        seen = psutil.virtual_memory()
        yield Memory(self._stamps.next(Memory), seen.total - seen.available, seen.total)

    def _load(self) -> Iterator[Load]:
        averages = psutil.getloadavg()
        yield Load(self._stamps.next(Load), *averages)

    def _disks(self) -> Iterator[DiskCounters]:
        for disk, seen in (psutil.disk_io_counters(perdisk=True) or {}).items():
            # Linux lists loop devices and the like that nothing has ever been mounted on.
            if seen.read_bytes or seen.write_bytes:
                yield DiskCounters(self._stamps.next(DiskCounters), disk, seen.read_bytes, seen.write_bytes)

    def _interfaces(self) -> Iterator[NetworkCounters]:
        for interface, seen in (psutil.net_io_counters(pernic=True) or {}).items():
            yield NetworkCounters(
                self._stamps.next(NetworkCounters), interface, seen.bytes_recv, seen.bytes_sent
            )

    def _temperatures(self) -> Iterator[Temperature]:
        for chip, sensors in psutil.sensors_temperatures().items():
            for index, seen in enumerate(sensors):
                if seen.current is not None:
                    name = f"{chip} {seen.label or index}"
                    yield Temperature(self._stamps.next(Temperature), name, float(seen.current))


def busy_percent(before: tuple[float, float], after: tuple[float, float]) -> float:
    """From two (idle, total) times of one core; 0 where no time has passed."""
    idle, total = after[0] - before[0], after[1] - before[1]
    if total <= 0:
        return 0.0
    return min(100.0, max(0.0, 100.0 * (1.0 - idle / total)))


def _cpu_times() -> list[tuple[float, float]]:
    """For each core: its idle and its total time, in seconds."""
    found = []
    for times in psutil.cpu_times(percpu=True):
        # A virtual machine's time is counted as `user` too.
        guests = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
        found.append((times.idle + getattr(times, "iowait", 0.0), sum(times) - guests))
    return found


def _shows_something(sensor: Sensor) -> bool:
    try:
        return next(sensor(), None) is not None
    except UNREADABLE:
        return False
