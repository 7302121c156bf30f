# SPDX-License-Identifier: Apache-2.0
"""Prints the board: every row of this library beside its rivals, its targets and this machine's floors.

Every figure is the median of `--repeat` turns in fresh processes, ours and the others one after another, with the
least and the most in brackets; ratios are taken turn by turn. Drivers check their own work: count and checksum
of what the receivers saw. Nothing here is a test, and targets missed do not fail; on a busy machine look at the
ratios. Where the system puts the two ends of a link (one core or two) moves round trips by a factor of three:
`--pin` decides.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from datetime import datetime, timezone
from pathlib import Path

from . import board, chart, machine, programs, rows, table

CACHE = programs.ROOT / ".cache" / "bench"
PIN = "PLEXO_BENCH_PIN"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.compare", description="Measure plexo against its targets and its rivals."
    )
    known = ", ".join((*rows.ROWS, rows.COST))
    parser.add_argument("--rows", default="", help=f"comma-separated, of {known} (default: all)")
    parser.add_argument(
        "--repeat", type=int, default=5, metavar="N", help="turns after the warm-up (default: 5)"
    )
    parser.add_argument(
        "--brief", action="store_true", help="so few messages that it only shows that all works"
    )
    parser.add_argument("--ours", action="store_true", help="ours alone: neither rivals nor floors")
    parser.add_argument(
        "--pin", choices=("same", "apart"), help="keep the two ends on the same core, or on two"
    )
    parser.add_argument(
        "--json", type=Path, metavar="PATH", help="default: .cache/bench/board.json (brief.json)"
    )
    parser.add_argument(
        "--chart", type=Path, metavar="PATH", help="SVG; default: .cache/bench/board.svg (brief.svg)"
    )
    parser.add_argument(
        "--from", type=Path, dest="read", metavar="PATH", help="measure nothing: show this JSON"
    )
    found = parser.parse_args()
    try:
        found.rows = rows.chosen(
            [each.strip() for each in found.rows.split(",") if each.strip()] or list(rows.ROWS)
        )
    except LookupError as error:
        parser.error(f"--rows: {error.args[0]}")
    if found.repeat < 1:
        parser.error("--repeat: expected at least 1")
    name = "brief" if found.brief else "board"
    found.json = found.json or CACHE / f"{name}.json"
    found.chart = found.chart or CACHE / f"{name}.svg"
    return found


def say(text: str) -> None:
    """Progress, where somebody watches."""
    if sys.stderr.isatty():
        print(f"\r\033[K  … {text}", end="", file=sys.stderr, flush=True)


def said() -> None:
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr, flush=True)


def measured(chosen: argparse.Namespace) -> board.Result:
    """The board, printed row by row as it comes."""
    if chosen.pin:
        os.environ[PIN] = chosen.pin
    for row in chosen.rows:
        if chosen.ours:
            row.contenders = [
                each
                for each in row.contenders
                if each.ours and {each.program, each.far or "plexo"} == {"plexo"}
            ]
    chosen.rows = [row for row in chosen.rows if row.contenders]
    used = {
        name for row in chosen.rows for each in row.contenders for name in (each.program, each.far) if name
    }
    programs.prepare(sorted(used))
    found: board.Result = {
        "begun": f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC",
        "machine": machine.description() | programs.versions(sorted(used)),
        "pin": chosen.pin or "",
        "repeat": chosen.repeat,
        "brief": chosen.brief,
        "load": [machine.load()],
        "rows": [],
    }
    print(table.heading(found), flush=True)
    for row in chosen.rows:
        result = board.measure(row, chosen.repeat, chosen.brief, say)
        said()
        found["rows"].append(result)
        print(f"\n{table.block(result)}", flush=True)
    found["load"].append(machine.load())
    return found


def main() -> int:
    chosen = arguments()
    if chosen.read:
        found = json.loads(chosen.read.read_text())
        print(table.heading(found))
        for row in found["rows"]:
            print(f"\n{table.block(row)}")
    else:
        found = measured(chosen)
        chosen.json.parent.mkdir(parents=True, exist_ok=True)
        chosen.json.write_text(json.dumps(found, indent=1) + "\n")
    costs = table.costs(found["rows"])
    if costs:
        print(f"\n{costs}")
    print(f"\nload average {found['load'][0]} before, {found['load'][-1]} after")
    chosen.chart.parent.mkdir(parents=True, exist_ok=True)
    chosen.chart.write_text(chart.drawn(found))
    failed = board.failures(found["rows"])
    for each in failed:
        print(f"FAILED {each}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
