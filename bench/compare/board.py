# SPDX-License-Identifier: Apache-2.0
"""From rows to results: measures, compares, judges. Results are plain dictionaries, for JSON, tables and the chart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from . import programs
from .rows import Row, Target, Unit
from .turns import Contender, Summary, ratio, run_in_turn, summary

Result = dict[str, Any]
TIMES = "\u00d7"
TIMES_UNIT = Unit(TIMES, digits=2)


def measure(row: Row, repeat: int, brief: bool, say: Callable[[str], None]) -> Result:
    """Run the row's contenders in turn; the result says everything that tables and the chart show."""
    for each in row.contenders:
        if brief and not each.in_brief:
            each.missing = each.missing or "not in a brief run"
    turns = repeat if repeat < 5 else max(repeat, row.at_least)
    # A single turn only shows that it works.
    run_in_turn(row.contenders, turns, brief, lambda text: say(f"{row.name}: {text}"), warm_up=repeat > 1)
    return result(row, brief)


def leader(row: Row) -> Contender | None:
    """The first of ours that ran."""
    return next((each for each in row.contenders if each.ours and each.runs), None)


def result(row: Row, brief: bool = False) -> Result:
    first = leader(row)
    return {
        "row": row.key,
        "case": row.case,
        "title": row.title,
        "brief": brief,
        "figures": row.figures,
        "unit": asdict(row.unit),
        "notes": list(row.notes),
        "chart": row.chart,
        "over": row.over,
        "message_bytes": row.message_bytes,
        "leader": first.name if first else "",
        "contenders": [_contender(row, first, each, brief) for each in row.contenders],
        "targets": [judged(row, target) for target in row.targets],
    }


def _contender(row: Row, first: Contender | None, contender: Contender, brief: bool) -> Result:
    compared = ratio(first, contender, row.figure) if first and contender is not first else None
    return {
        "name": contender.name,
        "ours": contender.ours,
        "program": contender.program,
        "far": contender.far,
        "command": contender.command(brief),
        "series": contender.series,
        "x": contender.x,
        "missing": contender.missing,
        "note": programs.note(contender.program, row.key),
        "failed": contender.failed,
        "repeated": contender.repeated,
        "summary": {
            figure: _as_dict(found) for figure in row.figures if (found := _numbers(contender, figure))
        },
        "texts": {
            figure: contender.runs[-1][figure]
            for figure in row.figures
            if contender.runs and isinstance(contender.runs[-1].get(figure), str)
        },
        # The leader's figure divided by this one's.
        "ratio": _as_dict(compared) if compared else None,
        **cost(contender, contender.count(brief), row.message_bytes),
        "runs": contender.runs,
    }


def _numbers(contender: Contender, figure: str) -> Summary | None:
    if any(isinstance(run.get(figure), str) for run in contender.runs):
        return None
    return summary(contender, figure)


def _as_dict(found: Summary) -> dict[str, float]:
    return asdict(found)


def cost(contender: Contender, count: int, message_bytes: int) -> Result:
    """CPU seconds of all ends together per million messages (per gigabyte, where the size is given), and memory."""
    found: Result = {"cpu_s_per_million": None, "cpu_s_per_gigabyte": None, "peak_bytes": None}
    cpu, peak = summary(contender, "cpu_s"), summary(contender, "peak_bytes")
    if cpu and count:
        if message_bytes:
            found["cpu_s_per_gigabyte"] = cpu.median / (count * message_bytes) * 1e9
        else:
            found["cpu_s_per_million"] = cpu.median / count * 1e6
    if peak:
        found["peak_bytes"] = peak.median
    return found


def judged(row: Row, target: Target) -> Result:
    """What was aimed at, what was reached, and whether that will do (None: not measured)."""
    mine = _named(row, target.ours) if target.ours else leader(row)
    other = _named(row, target.rival) if target.rival else None
    of_rival = bool(target.rival) and not target.above
    # A ratio has no unit.
    unit = TIMES_UNIT if of_rival else row.unit
    text = f"{target.ours or (mine.name if mine else 'ours')}: {'at most' if target.at_most else 'at least'} "
    text += f"{show(target.bound, unit)} {unit.name}"
    if target.rival:
        text += f" above {target.rival}" if target.above else f" {target.rival}"
    value = _value(row, target, mine, other)
    reached = None if value is None else (value <= target.bound if target.at_most else value >= target.bound)
    return {
        "text": text,
        "value": value,
        "shown": "" if value is None else show(value, unit),
        "met": reached,
    }


def _value(row: Row, target: Target, mine: Contender | None, other: Contender | None) -> float | None:
    if mine is None or (target.rival and other is None):
        return None
    if other is not None and not target.above:
        compared = ratio(mine, other, row.figure)
        return compared.median if compared else None
    found = summary(mine, row.figure)
    floor = summary(other, row.figure) if other else Summary(0.0, 0.0, 0.0)
    return found.median - floor.median if found and floor else None


def _named(row: Row, name: str) -> Contender | None:
    return next((each for each in row.contenders if each.name == name), None)


def show(value: float, unit: Unit | Result) -> str:
    """`value` in `unit`, without the unit's name."""
    scale, digits = (unit.scale, unit.digits) if isinstance(unit, Unit) else (unit["scale"], unit["digits"])
    return f"{value / scale:,.{digits}f}"


def failures(results: Sequence[Result]) -> list[str]:
    """Runs of ours that failed: the board shows them, and its exit status does."""
    return [
        f"{each['name']}, {row['row']} {row['case']}: {each['missing']}"
        for row in results
        for each in row["contenders"]
        if each["ours"] and each["failed"]
    ]
