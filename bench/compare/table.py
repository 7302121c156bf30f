# SPDX-License-Identifier: Apache-2.0
"""The board as text: one block for each row, and the table of costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .board import Result, show

DASH = "\u2013"

# Figures that are not in their row's unit: name, scale, digits.
OTHER_UNITS = {
    "rate": {"name": "thousand/s", "scale": 1e3, "digits": 1},
    "copies": {"name": "", "scale": 1.0, "digits": 0},
    "lost": {"name": "", "scale": 1.0, "digits": 0},
}


def heading(board: Result) -> str:
    lines = [
        f"plexo's board, {board['begun']}, {board['repeat']} turns after a warm-up"
        if board["repeat"] > 1
        else f"plexo's board, {board['begun']}, one turn without a warm-up"
    ]
    if board["brief"]:
        lines.append("BRIEF: so few messages show that it works, and not how fast it is")
    if board["pin"]:
        lines.append(f"both ends pinned: {board['pin']}")
    width = max(map(len, board["machine"]))
    lines += [f"  {name:<{width}}  {value}" for name, value in board["machine"].items()]
    lines.append(f"  {'load':<{width}}  {board['load'][0]} before")
    return "\n".join(lines)


def block(row: Result) -> str:
    """One row: contenders below each other, then targets."""
    lines = [f"{row['row']} {row['case']}".strip() + f": {row['title']}"]
    lines += [f"  {note}" for note in row["notes"]]
    lines += _aligned([_headings(row), *(_line(row, each) for each in row["contenders"])])
    for target in row["targets"]:
        lines.append(f"  target {_target(target, row['brief'])}")
    lines += [f"  {note}" for note in _notes(row)]
    return "\n".join(lines)


def _notes(row: Result) -> list[str]:
    """What drivers say of how they do it, and runs that were repeated."""
    by_note: dict[str, list[str]] = {}
    for each in row["contenders"]:
        if each["missing"]:
            continue
        notes = [each["note"]] if each["note"] else []
        notes += [f"{text} {figure}" for figure, text in each["texts"].items() if _short(text) != text]
        if each["repeated"]:
            notes.append(f"{len(each['repeated'])} runs repeated ({each['repeated'][-1]})")
        for note in notes:
            by_note.setdefault(note, []).append(each["name"])
    return [f"{' and '.join(names)}: {note}" for note, names in by_note.items()]


def _short(text: str) -> str:
    """What fits into a column of a text."""
    return text.partition(" (")[0].partition(",")[0]


def _headings(row: Result) -> list[str]:
    cells = [""]
    for index, (figure, label) in enumerate(row["figures"].items()):
        name = _unit(row, figure)["name"]
        cells.append(f"{label}, {name}" if name else label)
        if index == 0:
            cells.append("(least to most)")
    return [*cells, f"{row['leader'] or 'ours'} ÷ this", "(least to most)"]


def _line(row: Result, contender: Result) -> list[str]:
    if contender["missing"]:
        return [contender["name"], f"missing: {contender['missing']}"]
    cells = [contender["name"]]
    for index, figure in enumerate(row["figures"]):
        found, unit = contender["summary"].get(figure), _unit(row, figure)
        if found is None:
            cells.append(_short(contender["texts"].get(figure, DASH)))
        else:
            cells.append(show(found["median"], unit))
        if index == 0:
            cells.append(f"({show(found['least'], unit)} to {show(found['most'], unit)})" if found else "")
    compared = contender["ratio"]
    if compared:
        cells += [times(compared["median"]), f"({times(compared['least'])} to {times(compared['most'])})"]
    return cells


def _unit(row: Result, figure: str) -> Any:
    return OTHER_UNITS.get(figure, row["unit"])


def times(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _target(target: Result, brief: bool) -> str:
    if target["met"] is None:
        return f"{target['text']}: not measured"
    # So few messages prove nothing either way.
    verdict = "" if brief else f", {'met' if target['met'] else 'MISSED'}"
    return f"{target['text']}: {target['shown']}{verdict}"


def costs(rows: Sequence[Result]) -> str:
    """CPU and memory of the same runs."""
    table = [["", "CPU s per million", "CPU s per GB", "peak MiB"]]
    for row in rows:
        shown = [each for each in row["contenders"] if each["cpu_s_per_million"] or each["peak_bytes"]]
        if not shown or row["over"]:
            continue
        table.append([f"{row['row']} {row['case']}".strip()])
        table += [
            [
                f"  {each['name']}",
                _number(each["cpu_s_per_million"]),
                _number(each["cpu_s_per_gigabyte"]),
                _number(each["peak_bytes"] and each["peak_bytes"] / (1 << 20)),
            ]
            for each in shown
        ]
    if len(table) == 1:
        return ""
    title = "cost: of all ends together; CPU while measured, user and system; peak resident memory"
    return "\n".join([title, *_aligned(table)])


def _number(value: float | None) -> str:
    if value is None:
        return DASH
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _aligned(table: Sequence[Sequence[str]]) -> list[str]:
    """First column to the left, the others to the right; a line of two cells where the table has more says a
    reason, which takes no part in the widths."""
    columns = max(map(len, table))
    whole = [line for line in table if len(line) > 2 or columns <= 2]
    first = max(len(line[0]) for line in table)
    widths = [max((len(line[i]) for line in whole if i < len(line)), default=0) for i in range(1, columns)]
    lines = []
    for name, *cells in table:
        if len(cells) == 1 and columns > 2:
            lines.append(f"  {name:<{first}}  {cells[0]}")
        else:
            shown = "  ".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=False))
            lines.append(f"  {name:<{first}}  {shown}".rstrip())
    return lines
