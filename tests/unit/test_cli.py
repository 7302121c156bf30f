# SPDX-License-Identifier: Apache-2.0
"""`plexo` and `python -m plexo`: help, version, wrong arguments, and life without the extra."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

import plexo

TIMEOUT_S = 60.0
EXTRAS = ("psutil", "rich", "typer")


def python(*arguments: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    paths = [str(path)] if path is not None else []
    paths.append(str(Path(plexo.__file__).parent.parent))
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "COLUMNS": "100", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


@pytest.fixture
def without(tmp_path: Path) -> Path:
    """A folder in front of everything else, in which each module of the extra is missing."""
    for name in EXTRAS:
        (tmp_path / f"{name}.py").write_text(f"raise ModuleNotFoundError('No module named {name}')\n")
    return tmp_path


@pytest.mark.parametrize("arguments", [(), ("demo",), ("version",), ("--help",)])
def test_without_the_extra_one_line_says_what_to_install(arguments: tuple[str, ...], without: Path) -> None:
    done = python("-m", "plexo", *arguments, path=without)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "pip install 'pyplexo[demo]'" in done.stderr


@pytest.mark.parametrize("missing", EXTRAS)
def test_any_missing_one_is_named(missing: str, without: Path) -> None:
    pytest.importorskip("typer")
    pytest.importorskip("psutil")
    for name in EXTRAS:
        if name != missing:
            (without / f"{name}.py").unlink()
    done = python("-m", "plexo", "version", path=without)
    assert done.returncode == 2
    assert f"need {missing}," in done.stderr


def test_the_library_imports_nothing_of_the_extra() -> None:
    done = python("-c", f"import sys, plexo; print([name for name in {EXTRAS!r} if name in sys.modules])")
    assert done.stdout == "[]\n", done.stderr


def test_version() -> None:
    pytest.importorskip("typer")
    done = python("-m", "plexo", "version")
    assert done.returncode == 0, done.stderr
    lines = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert lines["plexo"] == plexo.__version__
    assert lines["Python"].startswith(platform.python_version())
    assert lines["compiled"] == "yes"
    assert "msgspec" in lines


def test_help_names_the_commands() -> None:
    pytest.importorskip("typer")
    done = python("-m", "plexo", "--help")
    assert done.returncode == 0
    assert "demo" in done.stdout
    assert "version" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("demo", "--seconds", "nan"),
        ("demo", "--seconds", "inf"),
        ("demo", "--seconds", "0"),
        ("demo", "--seconds", "soon"),
        ("demo", "--port", "70000"),
        ("demo", "--port", "-1"),
    ],
)
def test_wrong_arguments_are_refused(arguments: tuple[str, ...]) -> None:
    pytest.importorskip("typer")
    done = python("-m", "plexo", *arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert arguments[-1] in done.stderr or arguments[-2] in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"), [((), "usage: "), (("rubbish",), "peer: expected"), (("a", "b"), "usage: ")]
)
def test_the_sensor_process_by_hand_wants_an_address(arguments: tuple[str, ...], said: str) -> None:
    pytest.importorskip("psutil")
    done = python("-m", "plexo.demo.sensors", *arguments)
    assert done.returncode == 1
    assert done.stderr.startswith(said)
