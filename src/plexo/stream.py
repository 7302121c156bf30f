# SPDX-License-Identifier: Apache-2.0
"""Receiving by `async for` instead of by callback."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Generic

from plexo._fast.tap import Tap
from plexo.exceptions import Closed, UsedAfterFork
from plexo.typing import UnencodedType


class Stream(Generic[UnencodedType]):
    """Messages of one neuron, in order; bounded. Subscribed from its making until it is closed or dropped.

    When its queue is full the sender waits (a link is not read further), or what its policy says happens. Leaving the
    `async for` drops the stream, and with it the subscription, unless you keep it in a variable; then use
    `async with`, or `close()`.
    """

    def __init__(self, tap: Tap, leave: Callable[[], None]) -> None:
        self._tap = tap
        self._leave: Callable[[], None] | None = leave

    def __aiter__(self) -> Stream[UnencodedType]:
        return self

    async def __anext__(self) -> UnencodedType:
        tap = self._tap
        while not len(tap):
            if tap.forsaken:
                raise UsedAfterFork("this stream was made before a fork; its messages are the parent's")
            if tap.ended:
                raise StopAsyncIteration
            await tap.arrival()
        data: UnencodedType = tap.take()
        return data

    def close(self) -> None:
        """End the subscription; what has arrived can still be read.

        From any thread, also twice; where an event loop runs in another one, the subscription ends at its next turn.
        """
        self._tap.end()
        if self._leave is not None:
            # Given up only when done: KeyboardInterrupt may break it off. Leaving twice does nothing.
            self._leave()
            self._leave = None

    def __del__(self) -> None:
        if hasattr(self, "_leave"):
            self._tap.discard()
            self.close()

    def __enter__(self) -> Stream[UnencodedType]:
        if self._leave is None:
            raise Closed("this stream is closed")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def aclose(self) -> None:
        """As `close`."""
        self.close()

    async def __aenter__(self) -> Stream[UnencodedType]:
        if self._leave is None:
            raise Closed("this stream is closed")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
