# SPDX-License-Identifier: Apache-2.0
"""Runs contenders in turn (A B C, A B C, …), each time in fresh processes, and sums up what came out.

In turn, because a shared or warming machine drifts: what is measured in one block of time says as much about
the minute as about the code. The first turn warms caches up and is thrown away.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import statistics
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from . import programs
from .programs import Missing

# Longer than drivers' own bound (60 s), which says more about what went wrong.
TIMEOUT_S = 90.0
# In the environment of a driver: the command line of the program at the other end, if not the driver itself.
FAR = "PLEXO_BENCH_FAR"
# A driver that cannot do this work here ends its errors with such a line: "missing: REASON".
MISSING = "missing: "

Figures = dict[str, float]


@dataclass(frozen=True)
class Count:
    """How many messages: enough for about a second, and in a brief run enough to see that it works."""

    full: int
    brief: int = 1000


class Amount(Count):
    """How much, where that is no number of messages: seconds, bytes."""


@dataclass
class Contender:
    """One command that prints one JSON object of figures, or a reason why there is none."""

    name: str
    # A name in programs.PROGRAMS.
    program: str
    # The command and its arguments; a Count becomes a number.
    arguments: Sequence[object]
    ours: bool = False
    # The program at the other end, where it is another one.
    far: str = ""
    # Where this is a point of a curve: the curve's name and the point's place.
    series: str = ""
    x: float = 0.0
    # Too long for a brief run.
    in_brief: bool = True
    missing: str = ""
    failed: bool = False
    runs: list[Figures] = field(default_factory=list)
    # Why single runs had to be done again.
    repeated: list[str] = field(default_factory=list)

    def command(self, brief: bool) -> list[str]:
        return [str(_number(each, brief)) for each in self.arguments]

    def count(self, brief: bool) -> int:
        """How many messages one run is about; 0 where no Count says."""
        counts = (each for each in self.arguments if isinstance(each, Count) and not isinstance(each, Amount))
        return next((_number(each, brief) for each in counts), 0)

    def run(self, brief: bool) -> Figures:
        environment = programs.environment(self.program)
        if self.far:
            environment[FAR] = shlex.join(programs.command(self.far))
        return run_command([*programs.command(self.program), *self.command(brief)], environment)


def _number(argument: object, brief: bool) -> int:
    if isinstance(argument, Count):
        return argument.brief if brief else argument.full
    return argument  # type: ignore[return-value]


def run_command(command: Sequence[str], environment: dict[str, str]) -> Figures:
    """The JSON object that the command prints last. Raises RuntimeError where it fails, Missing where it says so."""
    # A group of its own, so that a driver that hangs takes the processes at its other end along.
    process = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        output, errors = process.communicate(timeout=TIMEOUT_S)
    except BaseException:
        _end_group(process.pid)
        process.communicate()
        raise
    # A driver that failed may have left its far end behind.
    _end_group(process.pid)
    lines = errors.strip().splitlines()
    if process.returncode:
        if lines and lines[-1].startswith(MISSING):
            raise Missing(lines[-1].removeprefix(MISSING))
        raise RuntimeError(f"{shlex.join(command)} failed:\n{errors.strip()[-2000:]}")
    figures: Figures = json.loads(output.strip().splitlines()[-1])
    return figures


def _end_group(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def run_in_turn(
    contenders: Sequence[Contender], turns: int, brief: bool, say: Callable[[str], None], warm_up: bool = True
) -> None:
    """Fill `runs` of each contender with `turns` results; the warm-up is brief.

    A run that fails is done again once; then the contender is `missing` with the reason, and `failed`.
    """
    for turn in range(-1 if warm_up else 0, turns):
        for contender in contenders:
            if contender.missing:
                continue
            say(f"{contender.name}, {'warm-up' if turn < 0 else f'{turn + 1} of {turns}'}")
            try:
                figures = _run_or_again(contender, brief or turn < 0)
            except Missing as reason:
                contender.missing = str(reason)
                contender.runs.clear()
            except (RuntimeError, subprocess.TimeoutExpired, OSError, ValueError, LookupError) as error:
                contender.missing = f"failed: {_last_line(error)}"
                contender.failed = True
                contender.runs.clear()
            else:
                if turn >= 0:
                    contender.runs.append(figures)


def _run_or_again(contender: Contender, brief: bool) -> Figures:
    try:
        return contender.run(brief)
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        contender.repeated.append(_last_line(error))
        return contender.run(brief)


def _last_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1] if lines else type(error).__name__


@dataclass(frozen=True)
class Summary:
    median: float
    least: float
    most: float


def _summed_up(values: Sequence[float]) -> Summary:
    return Summary(statistics.median(values), min(values), max(values))


def summary(contender: Contender, figure: str) -> Summary | None:
    """None where the contender did not run or has no such figure."""
    values = [run[figure] for run in contender.runs if figure in run]
    return _summed_up(values) if values else None


def ratio(ours: Contender, other: Contender, figure: str) -> Summary | None:
    """Ours to the other's, turn by turn: what both suffered from in one turn falls out."""
    values = [
        mine[figure] / theirs[figure]
        for mine, theirs in zip(ours.runs, other.runs, strict=False)
        if figure in mine and theirs.get(figure)
    ]
    return _summed_up(values) if values else None
