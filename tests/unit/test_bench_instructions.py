# SPDX-License-Identifier: Apache-2.0
"""How counts of instructions compare with those that were recorded; they are counted by `make instructions`."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bench import history
from bench.history import Setting

ROOT = Path(__file__).resolve().parents[2]
HERE = Setting("3.11.7", "plain", "x86_64", "gcc 12.2", "glibc 2.36", "0.19.0")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A history: `receive` was recorded twice, `send` once."""
    path = tmp_path / "instructions.csv"
    history.append({"receive": 9000.0, "send": 5000.0}, HERE, "2017-07-01", "aaa", path)
    history.append({"receive": 4000.0}, HERE, "2017-07-02", "bbb", path)
    return path


def recorded(file: Path, where: Setting = HERE) -> dict[str, history.Row]:
    return history.last(history.read(file), where)


def test_regression_is_found_against_the_newest_row(file: Path) -> None:
    worse, same = history.compare({"receive": 4201.0, "send": 5249.0}, recorded(file))
    assert worse.recorded == 4000 and worse.is_worse and not worse.is_better
    assert not same.is_worse and not same.is_better
    lines = history.table([worse, same]).splitlines()
    assert lines[1].split() == ["receive", "4000.0", "4201.0", "+5.0%", "WORSE"]
    assert lines[2].split() == ["send", "5000.0", "5249.0", "+5.0%"]


def test_better_is_said(file: Path) -> None:
    better, slightly = history.compare({"receive": 3799.0, "send": 4751.0}, recorded(file))
    assert better.is_better and not better.is_worse
    assert not slightly.is_better
    assert history.table([better]).endswith("-5.0%  better")


def test_a_path_may_have_a_tolerance_of_its_own() -> None:
    row = history.Row(*vars(HERE).values(), "2017-07-01", "aaa", "send_many", 1000.0)
    within, beyond = (history.compare({"send_many": now}, {"send_many": row})[0] for now in (1090.0, 1110.0))
    assert not within.is_worse and beyond.is_worse


@pytest.mark.parametrize(
    "other", [{"python": "3.12.1"}, {"build": "pgo"}, {"machine": "aarch64"}, {"compiler": "gcc 13.2"}]
)
def test_nothing_is_recorded_for_another_setting(file: Path, other: dict[str, str]) -> None:
    assert recorded(file, replace(HERE, **other)) == {}


def test_little_differences_of_the_setting_compare(file: Path) -> None:
    there = Setting("3.11.9", "plain", "x86_64", "gcc 12.3", "glibc 2.39", "0.20.0")
    assert set(recorded(file, there)) == {"receive", "send"}


def test_path_that_was_never_recorded_is_neither(file: Path) -> None:
    (new,) = history.compare({"publish": 1.0}, recorded(file))
    assert new.recorded is None and not new.is_worse and not new.is_better
    assert "not recorded yet" in history.table([new])


def test_rows_come_back_as_they_were_written(file: Path) -> None:
    row = history.read(file)[-1]
    assert (row.date, row.commit, row.path, row.instructions) == ("2017-07-02", "bbb", "receive", 4000.0)
    assert row.comparable() == HERE.comparable() and row.msgspec == "0.19.0"


def test_no_file_is_an_empty_history_and_another_file_an_error(tmp_path: Path) -> None:
    assert history.read(tmp_path / "none.csv") == []
    other = tmp_path / "other.csv"
    other.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="expected columns date"):
        history.read(other)


def test_committed_history_can_be_read() -> None:
    rows = history.read()
    assert rows and all(row.instructions > 0 for row in rows)


def run(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "bench" / "instructions.py"), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)


def test_unknown_path_is_refused() -> None:
    done = run("--paths", "receive,nonsense")
    assert done.returncode == 2 and "no path nonsense; there are inproc" in done.stderr


def test_without_valgrind_the_check_is_skipped(tmp_path: Path) -> None:
    done = run("--check", PATH=str(tmp_path))
    assert done.returncode == 0 and done.stdout.startswith("skipped: valgrind is not installed")
    assert run(PATH=str(tmp_path)).returncode == 1
