# SPDX-License-Identifier: Apache-2.0
"""The tripwires of tests/conftest.py catch what they are there for."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

LEAKS = """
import asyncio, os, socket, threading, warnings
import pytest

kept = []

def test_nothing():
    pass

def test_thread():
    stop = threading.Event()
    kept.append(stop)
    threading.Thread(target=stop.wait, args=(20,), daemon=True).start()

def test_socket():
    kept.append(socket.socket())

def test_forgotten_socket():
    socket.socket()

def test_file():
    kept.append(os.open("/dev/null", os.O_RDONLY))

def test_task():
    async def main():
        kept.append(asyncio.ensure_future(asyncio.sleep(20)))
    asyncio.run(main())

def test_exception_nobody_retrieved():
    async def fail():
        raise ValueError("unseen")
    async def main():
        asyncio.ensure_future(fail())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    asyncio.run(main())

def test_warning():
    warnings.warn("careful")

def test_finalizer():
    class Bad:
        def __del__(self):
            raise ValueError("in a finalizer")
    Bad()

def test_books_that_were_not_closed():
    from plexo import GanglionInproc
    bus = GanglionInproc()
    stats = bus.stats()._replace(waiting=1)
    bus.stats = lambda: stats
    bus.close()

@pytest.mark.time_limit(0.2)
def test_hang():
    threading.Event().wait(20)

@pytest.mark.leaves("to see that it may")
def test_excused():
    kept.append(socket.socket())
"""


def test_every_leak_fails_its_test(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text((ROOT / "tests/conftest.py").read_text(encoding="utf-8"))
    (tmp_path / "test_leaks.py").write_text(LEAKS)
    command = [sys.executable, "-m", "pytest", "-c", ROOT / "pyproject.toml", "--rootdir", tmp_path, "-rA"]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", "--seed=5", "test_leaks.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(os.path.abspath(each) for each in sys.path)},
        capture_output=True,
        text=True,
        timeout=50,
    )
    outcomes: dict[str, set[str]] = {}
    for outcome, name in re.findall(
        r"^(PASSED|FAILED|ERROR) test_leaks\.py::(\w+)", done.stdout, re.MULTILINE
    ):
        outcomes.setdefault(name, set()).add(outcome)
    clean = {name for name, found in outcomes.items() if found == {"PASSED"}}
    assert len(outcomes) == LEAKS.count("def test_"), done.stdout + done.stderr
    assert clean == {"test_nothing", "test_excused"}, done.stdout
    assert "seed: 5 " in done.stdout


def test_the_seed_is_the_one_given(request: pytest.FixtureRequest, seed: int) -> None:
    assert seed == request.config.getoption("seed")
