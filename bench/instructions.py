# SPDX-License-Identifier: Apache-2.0
"""Counts machine instructions per message on each hot path, with callgrind; records and compares them.

    python bench/instructions.py [--paths receive,send] [--messages 4000] [--functions 15] [--json PATH]
    python bench/instructions.py --record      appends what was counted to instructions.csv
    python bench/instructions.py --check       fails where a path costs more than was recorded last

Paths of paths.py run under valgrind in one go, each in a fork; what lies between its two marks is counted,
without the interpreter's start and a quarter of the messages to warm up. Counts hardly depend on what else the
machine does (a hash seed is set, and timers are far apart), so a change of one percent is a change of the code.
They say nothing of cache misses and of the kernel: system calls count as nothing. They do depend on the
interpreter, its build and the compiler, so only equal ones are compared (history.Setting).

Runs of one tree differ by 0.5 %, in another folder or environment by 1 %; `inproc` and `nowait` not at all. `send_many`
does not repeat as well, 1795 to 1955 were seen: much of it is memcpy, probably because its buffer grows by realloc, and
whether that moves it follows from what lies behind it on the heap. It has a tolerance of its own.

One distortion: what the code decides by the clock. Under valgrind every message comes after a silence longer
than hub.QUIET_S, so `send` and `publish` count a flush for each, which a burst at full speed shares among hundreds.
That is the same in every run, but for a message now and then that comes sooner.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import history
from compare import machine

BENCH = Path(__file__).resolve().parent
# Messages of each: as few as keep runs within 0.5 % of each other. Records cost so little that what a
# chunk of bytes costs, large or small, would show.
MESSAGES = 4000
RECORDS = 32000
PATHS = {
    "inproc": MESSAGES,
    "nowait": MESSAGES,
    "receive": MESSAGES,
    "batch": MESSAGES,
    "records": RECORDS,
    "send": MESSAGES,
    "send_many": MESSAGES,
    "send_records": RECORDS,
    "publish": MESSAGES,
    "deframe": RECORDS,
    "reception": RECORDS,
}
# The function that paths.mark calls.
MARK = "getppid"
TIMEOUT_S = 600
# Callgrind abbreviates: "(12) name" the first time, "(12)" from then on.
NAME = re.compile(r"\((\d+)\)(?: (.*))?")


def count(wanted: dict[str, int]) -> dict[str, Counter[str]]:
    """Of each path with so many messages: instructions between its marks, by function (its own, not what it calls)."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            "valgrind",
            "--tool=callgrind",
            f"--dump-before={MARK}",
            f"--callgrind-out-file={folder}/%p",
            sys.executable,
            str(BENCH / "paths.py"),
            "counted",
            *(f"{path}:{messages}" for path, messages in wanted.items()),
        ]
        done = subprocess.run(
            command,
            env=dict(os.environ, PYTHONHASHSEED="0"),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
        return {path: between_marks(Path(folder), pid) for path, pid in json.loads(done.stdout).items()}


def between_marks(folder: Path, pid: int) -> Counter[str]:
    """The second part of what a process left; the first ends at the first mark, the last is the rest."""
    parts = len(list(folder.glob(f"{pid}.*")))
    if parts != 2:
        raise SystemExit(f"expected two marks of {MARK} in a path, found {parts}")
    return parse((folder / f"{pid}.2").read_text())


def parse(profile: str) -> Counter[str]:
    """Self cost by function of a callgrind profile with one event."""
    names: dict[str, str] = {}
    costs: Counter[str] = Counter()
    function = ""
    called = False
    for line in profile.splitlines():
        if line.startswith(("fn=", "cfn=")):
            kind, _, text = line.partition("=")
            found = NAME.match(text)
            if found is None:
                continue
            number, name = found.groups()
            if name is not None:
                # Counts of recursion and file names of anonymous code: 'name'2 is name.
                names[number] = name.partition("'")[0]
            if kind == "fn":
                function = names[number]
        elif line.startswith("calls="):
            # The next line is the inclusive cost of the call, which the callee has as its own already.
            called = True
        elif line and (line[0].isdigit() or line[0] in "+-*"):
            if not called:
                costs[function] += int(line.split()[1])
            called = False
    return costs


def per_message(total: float, messages: int) -> float:
    """The share of one message, where `messages` were asked for: some lie before the marks, see paths.rounds."""
    return total / (messages - max(1, messages // 1000 // 4) * 1000)


def record(found: dict[str, float], where: history.Setting) -> None:
    commit = machine.commit()
    if commit.endswith("+"):
        print("tracked files differ from the commit: recorded as measured on it all the same")
    today = datetime.date.today().isoformat()
    rows = history.append(found, where, today, commit.rstrip("+"))
    print(f"recorded {len(rows)} paths in {history.HISTORY.name}: commit it with the change")


def judge(found: dict[str, float], recorded: dict[str, history.Row]) -> int:
    """Print how it compares; the exit status."""
    verdicts = history.compare(found, recorded)
    print(history.table(verdicts))
    worse = [each.path for each in verdicts if each.is_worse]
    if worse:
        print(
            f"above the record by more than is tolerated: {', '.join(worse)}. Where it is worth that, "
            "say why in the commit and record it: python bench/instructions.py --record"
        )
    if any(each.is_better or each.recorded is None for each in verdicts):
        print("better, or new: keep it so with python bench/instructions.py --record")
    return 1 if worse else 0


def main() -> int:
    parser = argparse.ArgumentParser(description="Count machine instructions per message.")
    parser.add_argument("--paths", default=",".join(PATHS), help=f"comma-separated, of {', '.join(PATHS)}")
    parser.add_argument(
        "--messages",
        type=int,
        metavar="N",
        help="of each path: a multiple of 1000, from 2000 (default: by path)",
    )
    parser.add_argument(
        "--functions", type=int, default=0, metavar="N", help="show so many functions of each path"
    )
    parser.add_argument("--json", metavar="PATH", help="write the counts there, too")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--record", action="store_true", help=f"append the counts to {history.HISTORY.name}")
    what.add_argument("--check", action="store_true", help="compare with what was recorded last")
    chosen = parser.parse_args()
    paths = [each.strip() for each in chosen.paths.split(",") if each.strip()]
    unknown = [each for each in paths if each not in PATHS]
    if unknown:
        parser.error(f"--paths: no path {', '.join(unknown)}; there are {', '.join(PATHS)}")
    if chosen.messages is not None and (chosen.messages < 2000 or chosen.messages % 1000):
        parser.error("--messages: expected a multiple of 1000, at least 2000")
    if chosen.messages is not None and (chosen.record or chosen.check):
        parser.error("--messages: what is recorded has numbers of its own")
    if shutil.which("valgrind") is None:
        reason = "valgrind is not installed: nothing can be counted"
        if not chosen.check:
            raise SystemExit(reason)
        print(f"skipped: {reason}")
        return 0

    described = machine.description()
    where = history.setting(described["msgspec"])
    recorded = history.last(history.read(), where) if chosen.check else {}
    if chosen.check and not recorded:
        print(f"nothing recorded for this setting: {', '.join(where.comparable())}")
        print("to begin: python bench/instructions.py --record")
        return 0
    print(f"instructions per message, commit {described['commit']}, {described['python']}, {where.compiler}")
    wanted = {path: chosen.messages or PATHS[path] for path in paths}
    functions = count(wanted)
    found = {path: per_message(sum(functions[path].values()), wanted[path]) for path in paths}
    for path in paths:
        ordered = [(name, per_message(n, wanted[path])) for name, n in functions[path].most_common(50)]
        if not chosen.check or chosen.functions:
            print(f"  {path:<14}{found[path]:>10.1f}")
        for name, cost in ordered[: chosen.functions]:
            print(f"      {cost:>8.1f}  {cost / found[path]:>6.1%}  {name[:90]}")
        functions[path] = Counter(dict(ordered))
    if chosen.json:
        report = {path: {"instructions": found[path], "functions": functions[path]} for path in paths}
        Path(chosen.json).write_text(json.dumps({"machine": described, "paths": report}, indent=1) + "\n")
    if chosen.record:
        record(found, where)
    return judge(found, recorded) if chosen.check else 0


if __name__ == "__main__":
    sys.exit(main())
