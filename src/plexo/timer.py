# SPDX-License-Identifier: Apache-2.0
"""One delay, and one callback after it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from inspect import isawaitable
from typing import Any


class Timer:
    """Runs `callback` `timeout` seconds after `start()`, unless cancelled before.

    `callback` takes no arguments and may be `async def` or plain. An exception it raises comes out of
    `wait()`.
    """

    def __init__(self, timeout: float, callback: Callable[[], Any] | None = None) -> None:
        self._timeout = timeout
        self._callback = callback
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Starts the delay, or starts it anew. Needs a running event loop."""
        self.cancel()
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def wait(self) -> None:
        """Returns when the callback has run, or at once if not started. Raises CancelledError if
        cancelled."""
        if self._task is not None:
            await self._task

    def cancel(self) -> None:
        """Ends the delay, and the callback if it runs. May be called at any time."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        await asyncio.sleep(self._timeout)
        if self._callback is not None:
            result = self._callback()
            if isawaitable(result):
                await result
