# SPDX-License-Identifier: Apache-2.0
"""Tripwires on every test: it leaves no thread, task, socket or file behind, and nobody's error unseen.

Warnings are errors (pyproject.toml), so unclosed resources and exceptions in finalizers fail the test in which they are
noticed. `@pytest.mark.leaves("reason")` excuses a test from leaving nothing behind, `@pytest.mark.time_limit(seconds)`
gives it more time.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

import pytest

from plexo.ganglion.life import LifeCycle
from plexo.ganglion.zmtp import GanglionZmtp
from tests.capnp_schema import load_plexo_message

DEFAULT_SEED = 20_170_701
TIME_LIMIT_S = 60.0
# How long a thread or a descriptor that is on its way out may take.
GRACE_S = 2.0


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--seed", type=int, default=DEFAULT_SEED, help="seed of the randomised tests (fixture `seed`)"
    )
    parser.addoption(
        "--receive", choices=("loop", "thread"), default="loop", help="how ganglia receive that are not told"
    )


def pytest_report_header(config: pytest.Config) -> str:
    return f"seed: {config.getoption('seed')} (--seed=N replays a run)"


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """The number that drives a randomised test; a failure is replayed with `--seed`."""
    return int(request.config.getoption("seed"))


@pytest.fixture
def rng(seed: int) -> random.Random:
    return random.Random(seed)


# -- what is left behind -----------------------------------------------------------------------------------


class Unseen(logging.Handler):
    """Errors that asyncio could only log: tasks destroyed while pending, exceptions nobody retrieved."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(self.format(record))


unseen = Unseen()
# Tasks that were pending when the main coroutine of an asyncio.run had ended; it cancels them without a word.
abandoned: list[str] = []

_cancel_all_tasks: Any = asyncio.runners._cancel_all_tasks  # type: ignore[attr-defined]


def _note_and_cancel(loop: asyncio.AbstractEventLoop) -> None:
    abandoned.extend(repr(task) for task in asyncio.all_tasks(loop))
    _cancel_all_tasks(loop)


def open_files() -> dict[int, str]:
    """Descriptors and what they lead to."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:  # the one that listed them
            continue
    return found


def left_behind(threads: set[threading.Thread], files: dict[int, str]) -> list[str]:
    """Threads and descriptors that exist now and did not then."""
    found = [f"thread {each!r}" for each in threading.enumerate() if each not in threads]
    found += [
        f"descriptor {number}: {target}"
        for number, target in open_files().items()
        # pycapnp keeps a schema's file open as long as the process lives.
        if files.get(number) != target and ".capnp" not in target
    ]
    return found


def pytest_configure(config: pytest.Config) -> None:
    defaults: Any = GanglionZmtp.__init__.__kwdefaults__
    defaults["receive"] = config.getoption("receive")
    asyncio.runners._cancel_all_tasks = _note_and_cancel  # type: ignore[attr-defined]
    logging.getLogger("asyncio").addHandler(unseen)
    with contextlib.suppress(ImportError):
        import uvloop

        # libuv opens a pipe for signals with its first loop and keeps it as long as the process lives.
        uvloop.new_event_loop().close()
    with contextlib.suppress(ImportError):
        # With its first schema pycapnp opens the root and the working directory, and keeps them.
        load_plexo_message()


def pytest_unconfigure(config: pytest.Config) -> None:
    asyncio.runners._cancel_all_tasks = _cancel_all_tasks  # type: ignore[attr-defined]
    logging.getLogger("asyncio").removeHandler(unseen)


@pytest.fixture(autouse=True)
def _tripwires(request: pytest.FixtureRequest) -> Iterator[None]:
    unseen.messages.clear()
    abandoned.clear()
    threads = set(threading.enumerate())
    files = open_files()
    yield
    if request.node.get_closest_marker("leaves"):
        return
    left = left_behind(threads, files)
    if left:
        gc.collect()
        deadline = time.monotonic() + GRACE_S
        while (left := left_behind(threads, files)) and time.monotonic() < deadline:
            time.sleep(0.01)
    left += [f"task {each}" for each in abandoned]
    left += [f"asyncio logged: {each}" for each in unseen.messages]
    if left:
        pytest.fail("left behind:\n  " + "\n  ".join(left), pytrace=False)


@pytest.fixture(autouse=True)
def _closed_books(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every ganglion and plexus that a test closed has books that balance, and nothing is left in them."""
    closed: list[Any] = []
    end = LifeCycle._end

    def end_and_keep(self: Any) -> None:
        end(self)
        closed.append(self)

    monkeypatch.setattr(LifeCycle, "_end", end_and_keep)
    yield
    open_books = []
    for each in closed:
        if each._forsaken or not hasattr(each, "_tally"):  # half-made: an argument was refused
            continue
        stats = each.stats()
        waiting = stats.waiting + sum(
            neuron.receiving.queued + neuron.sending.queued for neuron in stats.neurons.values()
        )
        # What a stream has not given to its reader it keeps.
        waiting -= sum(
            book.queued
            for neuron in stats.neurons.values()
            for reactant, book in neuron.reactants
            if reactant is None
        )
        if not stats.balanced or waiting or stats.links or stats.ended.sending.queued:
            open_books.append(f"{each!r}: {stats}")
    if open_books:
        pytest.fail("books that were not closed:\n  " + "\n  ".join(open_books), pytrace=False)


# -- time --------------------------------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Break off a test that hangs, with the traceback of where it does."""
    marker = item.get_closest_marker("time_limit")
    limit_s = float(marker.args[0]) if marker else TIME_LIMIT_S

    def give_up(signum: int, frame: FrameType | None) -> None:
        pytest.fail(f"still running after {limit_s:g} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        return (yield)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for marker in item.iter_markers("leaves"):
            if len(marker.args) != 1 or not isinstance(marker.args[0], str):
                raise pytest.UsageError(f"{item.nodeid}: mark.leaves needs a reason")
