# SPDX-License-Identifier: Apache-2.0
"""What instructions.py counted before, in instructions.csv, and how a run compares with it."""

from __future__ import annotations

import csv
import platform
import shlex
import subprocess
import sysconfig
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

HISTORY = Path(__file__).resolve().parent / "instructions.csv"
# Runs differ by 1 % at most, so this is no noise; less than this is the price of many a good change.
TOLERANCE = 0.05
# Of paths that repeat less well; instructions.py says why.
TOLERANCES = {"send_many": 0.10}
COMPILER_TIMEOUT_S = 10


@dataclass(frozen=True)
class Setting:
    """What counts depend on besides the code. `python` and `compiler` are compared without their last numbers."""

    python: str
    # How the interpreter was built, "plain", "pgo" or "pgo lto": it is half of what is counted.
    build: str
    machine: str
    compiler: str
    libc: str
    msgspec: str

    def comparable(self) -> tuple[str, ...]:
        minor = ".".join(self.python.split(".")[:2])
        return minor, self.build, self.machine, self.compiler.partition(".")[0]


@dataclass(frozen=True)
class Row(Setting):
    """A line of the history: a path, and its instructions per message."""

    date: str
    commit: str
    path: str
    instructions: float


COLUMNS = ("date", "commit", *(each.name for each in fields(Setting)), "path", "instructions")


@dataclass(frozen=True)
class Verdict:
    """One path: what was recorded last (None: never), what it is now, and the change as a share."""

    path: str
    recorded: float | None
    now: float

    @property
    def change(self) -> float:
        return self.now / self.recorded - 1 if self.recorded else 0.0

    @property
    def tolerance(self) -> float:
        return TOLERANCES.get(self.path, TOLERANCE)

    @property
    def is_worse(self) -> bool:
        return self.change > self.tolerance

    @property
    def is_better(self) -> bool:
        return self.change < -self.tolerance


def compiler() -> str:
    """Name and version of the C compiler that builds here, such as "gcc 12.2"."""
    command = shlex.split(sysconfig.get_config_var("CC") or "cc")[:1]
    try:
        version, banner = (
            subprocess.run(
                [*command, *options], capture_output=True, text=True, check=True, timeout=COMPILER_TIMEOUT_S
            ).stdout.strip()
            for options in (("-dumpfullversion", "-dumpversion"), ("--version",))
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return f"{'clang' if 'clang' in banner else 'gcc'} {'.'.join(version.split('.')[:2])}"


def build() -> str:
    options = sysconfig.get_config_var("CONFIG_ARGS") or ""
    words = [
        word
        for option, word in (("--enable-optimizations", "pgo"), ("--with-lto", "lto"))
        if option in options
    ]
    return " ".join(words) or "plain"


def setting(msgspec: str) -> Setting:
    """Of this interpreter, with this version of msgspec."""
    libc = " ".join(platform.libc_ver()).strip() or "unknown"
    return Setting(platform.python_version(), build(), platform.machine(), compiler(), libc, msgspec)


def read(path: Path = HISTORY) -> list[Row]:
    """All rows, oldest first; none where there is no file. ValueError: other columns."""
    if not path.exists():
        return []
    with path.open(newline="") as lines:
        reader = csv.DictReader(lines)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise ValueError(f"{path}: expected columns {', '.join(COLUMNS)}, got {reader.fieldnames}")
        return [Row(**{**line, "instructions": float(line["instructions"])}) for line in reader]


def append(
    found: Mapping[str, float], where: Setting, date: str, commit: str, path: Path = HISTORY
) -> list[Row]:
    """A row for each path that was counted; returns them."""
    rows = [
        Row(**asdict(where), date=date, commit=commit, path=each, instructions=n) for each, n in found.items()
    ]
    is_new = not path.exists()
    with path.open("a", newline="") as lines:
        writer = csv.DictWriter(lines, COLUMNS, lineterminator="\n")
        if is_new:
            writer.writeheader()
        for row in rows:
            writer.writerow({**asdict(row), "instructions": f"{row.instructions:.1f}"})
    return rows


def last(rows: Iterable[Row], where: Setting) -> dict[str, Row]:
    """The newest row of each path among those that compare with `where`."""
    return {row.path: row for row in rows if row.comparable() == where.comparable()}


def compare(found: Mapping[str, float], recorded: Mapping[str, Row]) -> list[Verdict]:
    """Of each path that was counted. What is recorded of others does not matter."""
    return [
        Verdict(path, recorded[path].instructions if path in recorded else None, now)
        for path, now in found.items()
    ]


def table(verdicts: Sequence[Verdict]) -> str:
    """For people: path, recorded, now, change, and what to say about it."""
    lines = [f"  {'path':<14}{'recorded':>10}{'now':>10}{'change':>9}"]
    for each in verdicts:
        if each.recorded is None:
            lines.append(f"  {each.path:<14}{'-':>10}{each.now:>10.1f}{'-':>9}  not recorded yet")
            continue
        remark = "  WORSE" if each.is_worse else "  better" if each.is_better else ""
        lines.append(f"  {each.path:<14}{each.recorded:>10.1f}{each.now:>10.1f}{each.change:>+9.1%}{remark}")
    return "\n".join(lines)
