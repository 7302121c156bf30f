# SPDX-License-Identifier: Apache-2.0
"""Counts machine instructions per message on each hot path, with callgrind.

    python bench/instructions.py [--paths receive,send] [--messages 2000] [--functions 15] [--json PATH]

Every path of paths.py runs for N and for 2 N messages; the difference divided by N is the cost of one
message, without the interpreter's start. Counts hardly depend on what else the machine does (a hash seed is
set, and timers are far apart), so a change of one percent is a change of the code. They say nothing of cache
misses and of the kernel: system calls count as nothing. `--functions` adds the costliest functions of a path,
by difference as well.

One distortion: what the code decides by the clock. Under valgrind every message comes after a silence longer
than link.QUIET_S, so `send` counts a flush for each, which a burst at full speed shares among hundreds.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from compare import machine

BENCH = Path(__file__).resolve().parent
PATHS = ("inproc", "nowait", "receive", "send")
TIMEOUT_S = 600
# Callgrind abbreviates: "(12) name" the first time, "(12)" from then on.
NAME = re.compile(r"\((\d+)\)(?: (.*))?")


def count(path: str, messages: int) -> Counter[str]:
    """Instructions by function (its own, not what it calls) of one run."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "callgrind.out"
        command = [
            "valgrind",
            "--tool=callgrind",
            f"--callgrind-out-file={out}",
            sys.executable,
            str(BENCH / "paths.py"),
            path,
            str(messages),
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
        return parse(out.read_text())


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


def per_message(path: str, messages: int) -> tuple[float, list[tuple[str, float]]]:
    """Instructions of one message, and by function, costliest first."""
    once = count(path, messages)
    twice = count(path, 2 * messages)
    # Ids, not names, differ between runs where a function has no symbol; those fall under "???".
    differences = Counter(twice)
    differences.subtract(once)
    ordered = [(name, cost / messages) for name, cost in differences.most_common()]
    return (sum(twice.values()) - sum(once.values())) / messages, ordered


def main() -> None:
    parser = argparse.ArgumentParser(description="Count machine instructions per message.")
    parser.add_argument("--paths", default=",".join(PATHS), help=f"comma-separated, of {', '.join(PATHS)}")
    parser.add_argument(
        "--messages", type=int, default=2000, metavar="N", help="a multiple of 1000 (default: 2000)"
    )
    parser.add_argument(
        "--functions", type=int, default=0, metavar="N", help="show so many functions of each path"
    )
    parser.add_argument("--json", metavar="PATH", help="write the counts there, too")
    chosen = parser.parse_args()
    paths = [each.strip() for each in chosen.paths.split(",") if each.strip()]
    unknown = [each for each in paths if each not in PATHS]
    if unknown:
        parser.error(f"--paths: no path {', '.join(unknown)}; there are {', '.join(PATHS)}")
    if chosen.messages < 1000 or chosen.messages % 1000:
        parser.error("--messages: expected a multiple of 1000")
    if shutil.which("valgrind") is None:
        raise SystemExit("valgrind is not installed: nothing can be counted")

    setting = machine.description()
    print(f"instructions per message, commit {setting['commit']}, {setting['python']}")
    found = {}
    for path in paths:
        total, functions = per_message(path, chosen.messages)
        found[path] = {"instructions": total, "functions": dict(functions[:50])}
        print(f"  {path:<10}{total:>10.0f}", flush=True)
        for name, cost in functions[: chosen.functions]:
            print(f"      {cost:>8.1f}  {cost / total:>6.1%}  {name[:90]}")
    if chosen.json:
        Path(chosen.json).write_text(json.dumps({"machine": setting, "paths": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
