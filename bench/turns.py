# SPDX-License-Identifier: Apache-2.0
"""Runs contenders in turn (A B C, A B C, …), each time in fresh processes, and sums up what came out.

In turn, because a shared or warming machine drifts: what is measured in one block of time says as much about
the minute as about the code. The first turn warms caches up and is thrown away.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

BENCH = Path(__file__).resolve().parent
# Longer than drivers' own bound (driver.TIMEOUT_S), which says more about what went wrong.
TIMEOUT_S = 90.0

Figures = dict[str, float]


class Missing(Exception):
    """This contender cannot run here; the message says why."""


def _located(argument: object) -> str:
    text = str(argument)
    return str(BENCH / text) if text.endswith(".py") else text


@dataclass
class Contender:
    """One command that prints one JSON object of figures, or a reason why there is none."""

    name: str
    arguments: Sequence[object]
    ours: bool = False
    missing: str = ""
    interpreter: Callable[[], str] = lambda: sys.executable
    # Its own environment: nothing of this checkout on its path.
    foreign: bool = False
    runs: list[Figures] = field(default_factory=list)

    def run(self) -> Figures:
        environment = dict(os.environ, PYTHONHASHSEED="0")
        if self.foreign:
            for name in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"):
                environment.pop(name, None)
        # Scripts by their full path, and no change of directory: PYTHONPATH may be relative.
        command = [self.interpreter(), *map(_located, self.arguments)]
        # A group of its own, so that a driver that hangs takes the process at its other end along.
        process = subprocess.Popen(
            command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            output, errors = process.communicate(timeout=TIMEOUT_S)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise
        if process.returncode:
            raise RuntimeError(f"{' '.join(command)} failed:\n{errors.strip()[-2000:]}")
        figures: Figures = json.loads(output.strip().splitlines()[-1])
        return figures


def run_in_turn(
    contenders: Sequence[Contender], turns: int, say: Callable[[str], None], warm_up: bool = True
) -> None:
    """Fill `runs` of each contender with `turns` results; one that fails is marked missing with the reason.

    Our own must not fail: RuntimeError then.
    """
    for turn in range(-1 if warm_up else 0, turns):
        for contender in contenders:
            if contender.missing:
                continue
            say(f"{contender.name}, {'warm-up' if turn < 0 else f'{turn + 1} of {turns}'}")
            try:
                figures = contender.run()
            except Missing as reason:
                contender.missing = str(reason)
            except (RuntimeError, subprocess.TimeoutExpired, OSError, ValueError) as error:
                if contender.ours:
                    raise
                contender.missing = f"failed: {str(error).splitlines()[-1]}"
                contender.runs.clear()
            else:
                if turn >= 0:
                    contender.runs.append(figures)


@dataclass(frozen=True)
class Summary:
    median: float
    least: float
    most: float


def summary(contender: Contender, figure: str) -> Summary:
    values = [run[figure] for run in contender.runs]
    return Summary(statistics.median(values), min(values), max(values))


def ratio(ours: Contender, other: Contender, figure: str) -> Summary:
    """Ours to the other's, turn by turn: what both suffered from in one turn falls out."""
    values = [mine[figure] / theirs[figure] for mine, theirs in zip(ours.runs, other.runs, strict=True)]
    return Summary(statistics.median(values), min(values), max(values))
