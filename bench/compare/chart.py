# SPDX-License-Identifier: Apache-2.0
"""The board as one SVG: bars of how many times as fast this library is as each rival, and curves of what scales.

Written by hand, because a chart library would be the largest dependency here. Colours follow the reader's light
or dark mode; a reader that knows no style sheets in SVG (or no modes) gets the light one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Any

from .board import TIMES, Result, show
from .table import times

WIDTH = 920
MARGIN = 28
# Where bars may be, and how high a line of text and bar is.
LABELS = 270
VALUES = 70
LINE = 21
BAR = 13
HEAD = 40
# Both ends of the axis, if nothing is beyond them.
LEAST, MOST = 0.5, 10.0
PANEL_HEIGHT = 190

STYLE = """
svg { color-scheme: light dark }
text { font-family: system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; font-size: 13px; fill: #1f2328 }
.paper { fill: #ffffff; stroke: #d1d9e0 } .title { font-size: 19px; font-weight: 600 }
.row { font-weight: 600 } .small { font-size: 11.5px } .quiet { fill: #59636e } .end { text-anchor: end }
.halo { paint-order: stroke; stroke: #ffffff; stroke-width: 5; stroke-linejoin: round }
.middle { text-anchor: middle } .grid { stroke: #d1d9e0; stroke-width: 1 } .one { stroke: #59636e; stroke-width: 1.5 }
.ahead { fill: #1a7f6b } .behind { fill: #c4652d } .floor { fill: #8c959f }
.spread { stroke: #1f2328; stroke-width: 1.2 } .curve { fill: none; stroke-width: 2 }
.s0 { stroke: #1a7f6b } .s1 { stroke: #c4652d } .d0 { fill: #1a7f6b } .d1 { fill: #c4652d }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 } .paper { fill: #0d1117; stroke: #3d444d } .halo { stroke: #0d1117 }
.quiet { fill: #9198a1 } .grid { stroke: #2a313c }
.one { stroke: #9198a1 } .ahead { fill: #3fb8a0 } .behind { fill: #e08a54 } .floor { fill: #656c76 }
.spread { stroke: #e6edf3 } .s0 { stroke: #3fb8a0 } .s1 { stroke: #e08a54 } .d0 { fill: #3fb8a0 } .d1 { fill: #e08a54 }
}
"""


def drawn(board: Result) -> str:
    """The SVG."""
    rows = [row for row in board["rows"] if row["chart"] and row["leader"] and _rivals(row)]
    curves = [row for row in board["rows"] if row["over"] and _points(row)]
    pieces: list[str] = []
    y = _title(pieces, board)
    if rows:
        y = _bars(pieces, rows, y)
    if curves:
        y = _curves(pieces, curves, y)
    height = y + 16
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'role="img" aria-label="plexo beside its rivals">\n<style>{STYLE}</style>\n'
        f'<rect class="paper" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="10"/>\n'
        + "\n".join(pieces)
        + "\n</svg>\n"
    )


def _title(pieces: list[str], board: Result) -> int:
    machine = board["machine"]
    under = f"{machine.get('processor', '')}, {machine.get('cores', '')} cores; {machine.get('python', '')}; "
    under += f"commit {machine.get('commit', '')}, {board['begun'].split(' ')[0]}"
    how = f"medians of {board['repeat']} turns, ours and the others one after another in one run; "
    how += "thin lines: least to most; grey: floors"
    pieces.append(_text(MARGIN, 38, "plexo beside its rivals: how many times as fast", "title"))
    pieces.append(_text(MARGIN, 59, under, "small quiet"))
    pieces.append(
        _text(MARGIN, 76, "only a few messages: no measurement" if board["brief"] else how, "small quiet")
    )
    return 90


# -- bars ----------------------------------------------------------------------------------------------------


def advantage(row: Result, contender: Result) -> tuple[float, float, float] | None:
    """How many times as fast the leader is: median, least, most."""
    found = contender["ratio"]
    if not found or min(found.values()) <= 0:
        return None
    if row["unit"]["less_is_better"]:
        return 1 / found["median"], 1 / found["most"], 1 / found["least"]
    return found["median"], found["least"], found["most"]


def _rivals(row: Result) -> list[tuple[Result, tuple[float, float, float]]]:
    return [
        (each, times_as_fast)
        for each in row["contenders"]
        if not each["ours"] and (times_as_fast := advantage(row, each))
    ]


class _Axis:
    """From a figure to a place, logarithmically."""

    def __init__(self, least: float, most: float, begin: float, end: float) -> None:
        self._low, self._high = math.log10(least), math.log10(most)
        self._begin, self._end = begin, end
        self.least, self.most = least, most

    def place(self, value: float) -> float:
        share = (math.log10(value) - self._low) / ((self._high - self._low) or 1.0)
        return self._begin + share * (self._end - self._begin)

    def ticks(self) -> list[float]:
        """Powers of ten within it, with 2 and 5 between them where there are few."""
        exponents = range(math.floor(self._low), math.ceil(self._high) + 1)
        steps = (1, 2, 5) if self._high - self._low < 2.2 else (1,)
        made = [step * 10.0**exponent for exponent in exponents for step in steps]
        return [each for each in made if self.least * 0.999 <= each <= self.most * 1.001]


def _bars(pieces: list[str], rows: Sequence[Result], y: int) -> int:
    found = [value for row in rows for _, three in _rivals(row) for value in three]
    axis = _Axis(min(LEAST, *found) * 0.9, max(MOST, *found) * 1.1, MARGIN + LABELS, WIDTH - MARGIN - VALUES)
    grid = len(pieces)
    top = y + 18
    y = top
    for row in rows:
        y += HEAD
        leader = next(each for each in row["contenders"] if each["name"] == row["leader"])
        figure = next(iter(row["figures"]))
        about = f"{row['leader']}: {_amount(leader['summary'][figure]['median'], row['unit'])}"
        if len(row["figures"]) > 1 and row["unit"]["less_is_better"]:
            about += f" ({row['figures'][figure]})"
        pieces.append(_text(MARGIN, y - 9, row["chart"], "row"))
        pieces.append(_text(MARGIN + LABELS, y - 9, about, "small quiet halo"))
        for contender, three in _rivals(row):
            pieces += _bar(axis, contender, three, y)
            y += LINE
    bottom = y + 6
    behind = [_text(axis.place(1) + 6, top + 4, "plexo is faster →", "small quiet")]
    if axis.least < 0.6:
        behind.append(_text(axis.place(1) - 6, top + 4, "← slower", "small quiet end"))
    for tick in axis.ticks():
        x = axis.place(tick)
        behind.append(_line(x, top + 12, x, bottom, "one" if tick == 1 else "grid"))
        behind.append(_text(x, bottom + 16, f"{tick:g} {TIMES}", "small quiet middle"))
    pieces[grid:grid] = behind
    return bottom + 30


def _amount(value: float, unit: Result) -> str:
    if unit["name"] == "thousand/s" and value >= 1e6:
        return f"{value / 1e6:.2f} million/s"
    return f"{show(value, unit)} {unit['name']}"


def _bar(axis: _Axis, contender: Result, three: tuple[float, float, float], y: float) -> list[str]:
    median, least, most = three
    one, end = axis.place(1), axis.place(median)
    kind = "floor" if contender["name"].startswith("floor") else "ahead" if median >= 1 else "behind"
    middle = y + LINE / 2
    return [
        _text(MARGIN + LABELS - 10, middle + 4.5, contender["name"], "end"),
        f'<rect class="{kind}" x="{min(one, end):.1f}" y="{middle - BAR / 2:.1f}" '
        f'width="{max(1.0, abs(end - one)):.1f}" height="{BAR}" rx="2"/>',
        _line(axis.place(least), middle, axis.place(most), middle, "spread"),
        _text(max(axis.place(most), one) + 7, middle + 4.5, f"{times(median)} {TIMES}", "small"),
    ]


# -- curves --------------------------------------------------------------------------------------------------


def _points(row: Result) -> dict[str, list[tuple[float, float]]]:
    """By series."""
    found: dict[str, list[tuple[float, float]]] = {}
    figure = next(iter(row["figures"]))
    for each in row["contenders"]:
        if each["series"] and figure in each["summary"] and each["x"] > 0:
            found.setdefault(each["series"], []).append((each["x"], each["summary"][figure]["median"]))
    return found


def _curves(pieces: list[str], rows: Sequence[Result], y: int) -> int:
    y += 10
    pieces.append(_text(MARGIN, y + 8, "messages per second over …", "row"))
    names = list(dict.fromkeys(series for row in rows for series in _points(row)))
    x = MARGIN + LABELS
    for index, name in enumerate(names):
        pieces.append(f'<circle class="d{index % 2}" cx="{x}" cy="{y + 4}" r="4"/>')
        pieces.append(_text(x + 10, y + 8, name, "small"))
        x += 30 + 8 * len(name)
    y += 24
    values = [rate for row in rows for points in _points(row).values() for _, rate in points]
    between = 22
    width = (WIDTH - 2 * MARGIN - 44 - between * (len(rows) - 1)) / len(rows)
    up = _Axis(min(values) / 1.6, max(values) * 1.6, y + PANEL_HEIGHT, y)
    for index, row in enumerate(rows):
        left = MARGIN + 44 + index * (width + between)
        pieces += _panel(row, names, up, left, width, y, with_labels=index == 0)
    return y + PANEL_HEIGHT + 42


def _panel(
    row: Result, names: list[str], up: _Axis, left: float, width: float, top: float, with_labels: bool
) -> list[str]:
    series = _points(row)
    xs = [x for points in series.values() for x, _ in points]
    along = _Axis(min(xs), max(max(xs), min(xs) * 10), left + 6, left + width - 6)
    bottom = top + PANEL_HEIGHT
    pieces = [_text(left + width / 2, bottom + 34, row["over"], "middle small")]
    for tick in (each for each in up.ticks() if math.log10(each).is_integer()):
        pieces.append(_line(left, up.place(tick), left + width, up.place(tick), "grid"))
        if with_labels:
            pieces.append(_text(left - 7, up.place(tick) + 4, _short(tick), "end small quiet"))
    ticks = [tick for tick in along.ticks() if math.log10(tick).is_integer()]
    step = math.ceil(len(ticks) * 34 / width)
    for tick in ticks[::step]:
        pieces.append(_line(along.place(tick), bottom, along.place(tick), bottom + 4, "one"))
        pieces.append(_text(along.place(tick), bottom + 17, _short(tick), "middle small quiet"))
    pieces.append(_line(left, bottom, left + width, bottom, "one"))
    for name, points in series.items():
        kind = names.index(name) % 2
        places = [(along.place(x), up.place(rate)) for x, rate in sorted(points)]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        pieces.append(f'<polyline class="curve s{kind}" points="{line}"/>')
        pieces += [f'<circle class="d{kind}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in places]
    return pieces


def _short(value: float) -> str:
    for scale, letter in ((1e6, "M"), (1e3, "k")):
        if value >= scale:
            return f"{value / scale:g}{letter}"
    return f"{value:g}"


# -- SVG -----------------------------------------------------------------------------------------------------


def _text(x: float, y: float, text: Any, kind: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(str(text))}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'
