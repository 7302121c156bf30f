# SPDX-License-Identifier: Apache-2.0
"""Micro-benchmarks of the parts: `pytest bench/micro`; once each and untimed with --benchmark-disable.

What needs an event loop gets one for the whole benchmark (`run`): a round is many messages, so that entering
the loop hardly counts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

ROUND_TIMEOUT_S = 20.0

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture
def run() -> Iterator[Run]:
    """Runs coroutines on one event loop, each bounded in time."""
    loop = asyncio.new_event_loop()
    try:
        yield lambda coroutine: loop.run_until_complete(asyncio.wait_for(coroutine, ROUND_TIMEOUT_S))
    finally:
        # Spare tasks of the library are hidden, and whatever else is left would be a leak.
        left = asyncio.all_tasks(loop)
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
        assert not left


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.add_marker(pytest.mark.benchmark(group=Path(item.path).stem.removeprefix("test_")))
