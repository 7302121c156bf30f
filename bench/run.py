# SPDX-License-Identifier: Apache-2.0
"""Prints the speed table: each row beside its target, this machine's floors, and rivals in the same run.

    python bench/run.py [--rows inproc,pair] [--repeat 5] [--json bench.json]

Every figure is the median of `--repeat` runs in fresh processes, taken in turn with its rivals, with the
least and the most in brackets. Runs check their own work: count and checksum of what the reactants saw.
Nothing here is a test, and targets missed do not fail; on a busy machine look at the ratios. Where the system
puts the two ends of a link (one core or two) moves round trips by a factor of three: `--pin` decides.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from datetime import datetime, timezone
from typing import Any

import driver
import machine
from rows import ROWS, Row, Unit
from turns import Contender, Summary, ratio, run_in_turn, summary


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure plexo against its targets and its rivals.")
    parser.add_argument(
        "--rows", default=",".join(ROWS), help=f"comma-separated, of {', '.join(ROWS)} (default: all)"
    )
    parser.add_argument(
        "--repeat", type=int, default=5, metavar="N", help="turns after the warm-up (default: 5)"
    )
    parser.add_argument(
        "--pin",
        choices=("same", "apart"),
        help="keep the two ends on the same core, or on two (default: as the system likes)",
    )
    parser.add_argument("--json", metavar="PATH", help="write every single run there, too")
    chosen = parser.parse_args()
    chosen.rows = [name.strip() for name in chosen.rows.split(",") if name.strip()]
    unknown = [name for name in chosen.rows if name not in ROWS]
    if unknown:
        parser.error(f"--rows: no row {', '.join(unknown)}; there are {', '.join(ROWS)}")
    if chosen.repeat < 1:
        parser.error("--repeat: expected at least 1")
    return chosen


def say(text: str) -> None:
    """Progress, where somebody watches."""
    if sys.stderr.isatty():
        print(f"\r\033[K  … {text}", end="", file=sys.stderr, flush=True)


def said() -> None:
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr, flush=True)


def shown(found: Summary, unit: Unit) -> str:
    middle, least, most = (
        f"{value / unit.scale:.{unit.digits}f}" for value in (found.median, found.least, found.most)
    )
    return f"{middle:>10} ({least} to {most})"


def judged(row: Row, value: float) -> str:
    if row.meets is None:
        return ""
    return f"target {row.target}: {'met' if row.meets(value) else 'MISSED'}"


def show(row: Row) -> None:
    print(f"\n{row.title}")
    for note in row.notes:
        print(f"  {note}")
    ours = row.contenders[0]
    main_figure = next(iter(row.figures))
    for contender in row.contenders:
        if contender.missing:
            print(f"  {contender.name:<46} missing: {contender.missing}")
            continue
        for figure, label in row.figures.items():
            found = summary(contender, figure)
            text = f"{contender.name}, {label}" if len(row.figures) > 1 else contender.name
            line = f"  {text:<46}{shown(found, row.unit)} {row.unit.name}"
            if row.best_counts:
                line += f", best {found.least / row.unit.scale:.{row.unit.digits}f}"
            if figure == main_figure and contender is ours and row.key != "memory":
                line += f"   {judged(row, found.median)}"
            elif figure == main_figure and row.key not in ("memory", "import"):
                compared = ratio(ours, contender, figure)
                line += f"   {ours.name} is {compared.median:.2f} x this"
                line += f" ({compared.least:.2f} to {compared.most:.2f})"
            print(line.rstrip())
    for name, value in differences(row).items():
        line = f"  {name:<46}{value / row.unit.scale:>10.{row.unit.digits}f} {row.unit.name}"
        print(f"{line}   {judged(row, value) if row.key == 'memory' else ''}".rstrip())


def differences(row: Row) -> dict[str, float]:
    """What our own cost above the floors, for rows where that is the point."""
    if row.key == "memory":
        *ours, bare = row.contenders
        floor = summary(bare, "rss_bytes").median
        return {f"{each.name}, above bare": summary(each, "rss_bytes").median - floor for each in ours}
    if row.key == "import":
        plexo, *floors = row.contenders
        mine = summary(plexo, "process_ms")
        found = {}
        for each in floors:
            other = summary(each, "process_ms")
            found[f"whole process above {each.name}, median"] = mine.median - other.median
            found[f"whole process above {each.name}, best"] = mine.least - other.least
        return found
    return {}


def measure(row: Row, repeat: int) -> None:
    if row.key == "import":
        row.contenders = [_TimedProcess(**vars(each)) for each in row.contenders]
    run_in_turn(row.contenders, max(repeat, row.at_least) if repeat >= 5 else repeat, say)
    said()


class _TimedProcess(Contender):
    def run(self) -> dict[str, float]:
        begin = time.perf_counter()
        figures = super().run()
        return {**figures, "process_ms": 1e3 * (time.perf_counter() - begin)}


def as_json(row: Row) -> dict[str, Any]:
    return {
        "row": row.key,
        "title": row.title,
        "target": row.target,
        "contenders": [
            {"name": each.name, "command": list(each.arguments), "missing": each.missing, "runs": each.runs}
            for each in row.contenders
        ],
        "differences": differences(row),
    }


def main() -> None:
    chosen = arguments()
    if chosen.pin:
        os.environ[driver.PIN] = chosen.pin
    setting = machine.description()
    load_before = machine.load()
    begun = datetime.now(timezone.utc)
    print(
        f"plexo speed table, {begun:%Y-%m-%d %H:%M} UTC, {chosen.repeat} turns after a warm-up"
        + (f", both ends pinned: {chosen.pin}" if chosen.pin else "")
    )
    for name, value in setting.items():
        print(f"  {name:<10} {value}")
    rows = []
    for name in chosen.rows:
        row = ROWS[name]()
        measure(row, chosen.repeat)
        show(row)
        rows.append(row)
        sys.stdout.flush()
    load_after = machine.load()
    print(f"\nload average {load_before} before, {load_after} after")
    if chosen.json:
        result = {
            "begun": begun.isoformat(),
            "machine": setting,
            "pin": chosen.pin,
            "load": [load_before, load_after],
            "repeat": chosen.repeat,
            "rows": [as_json(row) for row in rows],
        }
        with open(chosen.json, "w") as file:
            json.dump(result, file, indent=1)
            file.write("\n")


if __name__ == "__main__":
    main()
