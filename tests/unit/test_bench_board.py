# SPDX-License-Identifier: Apache-2.0
"""The board's own arithmetic and its pictures; what it measures is run by `make bench-briefly`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree

import pytest

from bench.compare import board, chart, programs, rows, table, turns
from bench.compare.programs import Missing
from bench.compare.rows import MEBIBYTES, MICROSECONDS, THOUSANDS, Row, Target, Unit
from bench.compare.turns import Contender, Count, Figures


def contender(name: str, *values: float, figure: str = "per_second", ours: bool = False) -> Contender:
    return Contender(
        name,
        "plexo" if ours else "floor",
        ("pair", Count(2000)),
        ours,
        runs=[{figure: each} for each in values],
    )


def make_row(*contenders: Contender, unit: Unit = THOUSANDS, figure: str = "per_second", **more: Any) -> Row:
    return Row("pair", "one way", {figure: "messages"}, unit, list(contenders), **more)


def words(text: str) -> list[str]:
    return text.split()


OURS = contender("plexo", 2000.0, 3000.0, 1000.0, ours=True)
RIVAL = contender("rival", 1000.0, 1000.0, 1000.0)


# -- turns ---------------------------------------------------------------------------------------------------


def test_ratio_is_taken_turn_by_turn() -> None:
    """Both were slow in the second turn: that is no difference between them."""
    mine, theirs = contender("plexo", 200.0, 20.0, 220.0), contender("rival", 100.0, 10.0, 100.0)
    found = turns.ratio(mine, theirs, "per_second")
    assert found == turns.Summary(2.0, 2.0, 2.2)


def test_summary_of_nothing_is_none() -> None:
    assert turns.summary(contender("plexo"), "per_second") is None
    assert turns.summary(OURS, "p50_us") is None
    assert turns.ratio(OURS, contender("rival"), "per_second") is None


def test_command_has_counts_as_numbers() -> None:
    made = Contender("plexo", "plexo", ("pair", Count(1_000_000, 5000), 64, "uvloop"))
    assert made.command(False) == ["pair", "1000000", "64", "uvloop"]
    assert made.command(True) == ["pair", "5000", "64", "uvloop"]
    assert made.count(True) == 5000
    assert Contender("plexo", "plexo", ("import",)).count(False) == 0


@dataclass
class Scripted(Contender):
    """Does in `run` what a script says, and writes itself down."""

    script: list[Figures | Exception] = field(default_factory=list)
    journal: list[str] = field(default_factory=list)

    def run(self, brief: bool) -> Figures:
        self.journal.append(f"{self.name}{' briefly' if brief else ''}")
        done = self.script.pop(0)
        if isinstance(done, Exception):
            raise done
        return done


def test_contenders_run_in_turn_after_a_brief_warm_up() -> None:
    journal: list[str] = []
    a, b = (
        Scripted(name, "plexo", (), script=[{"x": 0.0}, {"x": 1.0}, {"x": 2.0}], journal=journal)
        for name in "ab"
    )
    turns.run_in_turn([a, b], 2, False, lambda _: None)
    assert journal == ["a briefly", "b briefly", "a", "b", "a", "b"]
    assert a.runs == b.runs == [{"x": 1.0}, {"x": 2.0}]


def test_a_failed_run_is_repeated_once() -> None:
    a = Scripted("a", "plexo", (), script=[RuntimeError("lost\nits peer"), {"x": 1.0}])
    turns.run_in_turn([a], 1, False, lambda _: None, warm_up=False)
    assert (a.runs, a.repeated, a.failed) == ([{"x": 1.0}], ["its peer"], False)


@pytest.mark.parametrize(
    ("problem", "reason", "failed"),
    [(RuntimeError("no luck"), "failed: no luck", True), (Missing("no compiler"), "no compiler", False)],
)
def test_who_cannot_run_is_missing_with_the_reason(problem: Exception, reason: str, failed: bool) -> None:
    a = Scripted("a", "plexo", (), ours=True, script=[{"x": 1.0}, problem, problem])
    b = Scripted("b", "plexo", (), script=[{"x": 1.0}, {"x": 2.0}])
    turns.run_in_turn([a, b], 2, False, lambda _: None, warm_up=False)
    assert (a.missing, a.failed, a.runs) == (reason, failed, [])
    assert len(b.runs) == 2
    result = board.result(make_row(a, b))
    assert board.failures([result]) == ([f"a, pair : {reason}"] if failed else [])


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Contender]:
    """A contender that is this Python program."""

    def made(program: str) -> Contender:
        command = [sys.executable, "-I", "-S", "-c", program]
        monkeypatch.setitem(programs.PROGRAMS, "scripted", programs.Program(lambda: command))
        programs._answer.cache_clear()
        return Contender("scripted", "scripted", ("pair", Count(1000)))

    return made


def test_the_last_line_of_a_driver_is_its_result(driver: Callable[[str], Contender]) -> None:
    made = driver("import sys; print('hello'); print('{\"per_second\": ' + sys.argv[2] + '}')")
    assert made.run(False) == {"per_second": 1000}
    programs._answer.cache_clear()


def test_a_driver_may_say_that_something_is_missing(driver: Callable[[str], Contender]) -> None:
    with pytest.raises(Missing, match=r"^not in this version$"):
        driver("raise SystemExit('missing: not in this version')").run(False)
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        driver("1 / 0").run(False)
    programs._answer.cache_clear()


def test_far_end_of_another_program_is_in_the_environment(driver: Callable[[str], Contender]) -> None:
    made = driver("import json, os; print(json.dumps({'far': os.environ['PLEXO_BENCH_FAR']}))")
    made.far = "floor"
    assert "plexo_floors.py" in str(made.run(False)["far"])
    assert turns.FAR not in os.environ
    programs._answer.cache_clear()


# -- targets -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "value", "met"),
    [
        (Target(2000.0), 2000.0, True),
        (Target(2001.0), 2000.0, False),
        (Target(2.0, "rival"), 2.0, True),
        (Target(2.1, "rival"), 2.0, False),
        (Target(2.1, "rival", at_most=True), 2.0, True),
        (Target(1000.0, "rival", at_most=True, above=True), 1000.0, True),
        (Target(1.0, "nobody"), None, None),
        (Target(1.0, ours="nobody"), None, None),
        (Target(1.0, "absent"), None, None),
    ],
)
def test_judgement(target: Target, value: float | None, met: bool | None) -> None:
    absent = contender("absent")
    absent.missing = "no compiler"
    found = board.judged(make_row(OURS, RIVAL, absent), target)
    assert (found["value"], found["met"]) == (value, met)


def test_leader_is_the_first_of_ours_that_ran() -> None:
    missing = contender("plexo, batches", ours=True)
    missing.missing = "not in this version"
    row = make_row(RIVAL, missing, OURS)
    assert board.leader(row) is OURS
    assert board.leader(make_row(RIVAL)) is None


def test_judgement_names_units() -> None:
    found = board.judged(make_row(OURS, RIVAL), Target(2000.0))
    assert (found["text"], found["shown"]) == ("plexo: at least 2.0 thousand/s", "2.0")
    found = board.judged(make_row(OURS, RIVAL), Target(1.0, "rival"))
    assert (found["text"], found["shown"]) == (f"plexo: at least 1.00 {board.TIMES} rival", "2.00")


# -- tables --------------------------------------------------------------------------------------------------


def test_block() -> None:
    absent = contender("absent")
    absent.missing = "there is no Go compiler"
    row = make_row(OURS, RIVAL, absent, case="64 B", targets=[Target(1.5, "rival"), Target(1.0, "absent")])
    text = table.block(board.result(row))
    lines = text.splitlines()
    assert lines[0] == "pair 64 B: one way"
    assert lines[1].split() == words("messages, thousand/s (least to most) plexo ÷ this (least to most)")
    assert lines[2].split() == words("plexo 2.0 (1.0 to 3.0)")
    assert lines[3].split() == words("rival 1.0 (1.0 to 1.0) 2.00 (1.00 to 3.00)")
    assert lines[4].split(maxsplit=1) == ["absent", "missing: there is no Go compiler"]
    assert lines[5].endswith("2.00, met")
    assert lines[6].endswith("not measured")


def test_a_brief_run_is_not_judged() -> None:
    row = make_row(OURS, RIVAL, targets=[Target(1.5, "rival")])
    assert "met" not in table.block(board.result(row, brief=True))


def test_texts_and_other_units_in_a_block() -> None:
    made = contender("plexo", 4e9, figure="bytes_per_second", ours=True)
    made.runs[0].update(copies="1 + 0 (but for the first)", rate=5000.0)
    row = make_row(made, unit=rows.GIGABYTES, figure="bytes_per_second")
    row.figures = {"bytes_per_second": "payload", "copies": "copies", "rate": "at"}
    _, _, line, note = table.block(board.result(row)).splitlines()
    assert note == "  plexo: 1 + 0 (but for the first) copies"
    assert line.split() == words("plexo 4.00 (4.00 to 4.00) 1 + 0 5.0")


def test_costs() -> None:
    made = contender("plexo", 1000.0, ours=True)
    made.runs[0].update(cpu_s=0.5, peak_bytes=float(64 << 20))
    per_million = board.result(make_row(made))
    assert per_million["contenders"][0]["cpu_s_per_million"] == 250.0
    assert table.costs([per_million]).splitlines()[-1].split() == ["plexo", "250", table.DASH, "64.0"]
    per_gigabyte = board.result(make_row(made, message_bytes=1_000_000))
    assert per_gigabyte["contenders"][0]["cpu_s_per_gigabyte"] == 0.25
    assert table.costs([board.result(make_row(RIVAL))]) == ""


# -- the whole board -----------------------------------------------------------------------------------------


def whole(*results: board.Result) -> board.Result:
    made = {
        "begun": "2026-01-01 00:00 UTC",
        "machine": {
            "commit": "abc",
            "processor": "<fast & new>",
            "cores": "2 usable of 2",
            "python": "CPython 3",
        },
        "pin": "",
        "repeat": 5,
        "brief": False,
        "load": ["0.00", "1.00"],
        "rows": list(results),
    }
    # What is drawn and printed may come from a file.
    found: board.Result = json.loads(json.dumps(made))
    return found


def test_heading_says_where_and_how() -> None:
    text = table.heading(whole())
    assert "5 turns after a warm-up" in text
    assert "<fast & new>" in text
    assert "0.00 before" in text


def test_chart_is_svg() -> None:
    curve = make_row(contender("plexo, 1", 1000.0, ours=True), contender("plexo, 10", 900.0, ours=True))
    for x, each in zip((1.0, 10.0), curve.contenders, strict=True):
        each.series, each.x = "plexo", x
    curve.over = "neurons"
    bars = board.result(make_row(OURS, RIVAL, chart="pair"))
    svg = chart.drawn(whole(bars, board.result(curve), board.result(make_row(RIVAL, chart="alone"))))
    texts = [each.text for each in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]
    assert "rival" in texts
    assert f"2.00 {board.TIMES}" in texts
    assert "neurons" in texts
    assert "alone" not in texts


def test_chart_of_nothing() -> None:
    ElementTree.fromstring(chart.drawn(whole()))


def test_less_time_is_faster() -> None:
    mine = contender("plexo", 10.0, 20.0, figure="p50_us", ours=True)
    theirs = contender("rival", 40.0, 40.0, figure="p50_us")
    row = board.result(make_row(mine, theirs, unit=MICROSECONDS, figure="p50_us"))
    assert row["contenders"][1]["ratio"]["median"] == 0.375
    assert chart.advantage(row, row["contenders"][1]) == (1 / 0.375, 2.0, 4.0)


# -- the rows ------------------------------------------------------------------------------------------------

ALL = rows.chosen(list(rows.ROWS))


@pytest.mark.parametrize("row", ALL, ids=[row.name for row in ALL])
def test_rows_are_consistent(row: Row) -> None:
    names = [each.name for each in row.contenders]
    assert len(set(names)) == len(names)
    assert any(each.ours for each in row.contenders)
    for each in row.contenders:
        assert each.program in programs.PROGRAMS
        assert not each.far or each.far in programs.PROGRAMS
        assert all(count.brief <= count.full for count in each.arguments if isinstance(count, Count))
    for target in row.targets:
        assert not target.rival or target.rival in names
        assert not target.ours or target.ours in names


def test_chosen_rows() -> None:
    assert {row.key for row in rows.chosen(["rtt", "pair"])} == {"rtt", "pair"}
    assert {row.key for row in rows.chosen(["cost"])} == set(rows.COSTED)
    with pytest.raises(LookupError, match="no row nothing; there are inproc"):
        rows.chosen(["nothing"])


def test_units() -> None:
    assert board.show(1_234_567.0, THOUSANDS) == "1,234.6"
    assert board.show(float(1 << 20), MEBIBYTES) == "1.00"
    assert [table.times(each) for each in (0.5, 12.34, 1234.0)] == ["0.50", "12.3", "1,234"]
