# SPDX-License-Identifier: Apache-2.0
"""Receiving by `async for` instead of by callback."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Generic

from plexo.exceptions import Closed
from plexo.typing import UnencodedType

DEFAULT_STREAM_MESSAGES = 1000


class Buffer:
    """The reactant behind a stream; knows nothing of the stream, so that dropping the stream ends it."""

    __slots__ = ("arrived", "closed", "items", "limit", "room")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.items: deque[Any] = deque()
        self.closed = False
        self.arrived: asyncio.Future[None] | None = None
        self.room: asyncio.Future[None] | None = None

    def __call__(self, data: Any) -> Awaitable[None] | None:
        """Take a message; when full, whoever called waits for the future (and later messages for him)."""
        self.items.append(data)
        arrived, self.arrived = self.arrived, None
        if arrived is not None and not arrived.done():
            arrived.set_result(None)
        if len(self.items) < self.limit:
            return None
        self.room = asyncio.get_running_loop().create_future()
        return self.room

    def end(self) -> None:
        """Nothing more will come: wake up reader and sender."""
        self.closed = True
        self.release()
        arrived, self.arrived = self.arrived, None
        if arrived is not None and not arrived.done() and not arrived.get_loop().is_closed():
            arrived.set_result(None)

    def release(self) -> None:
        room, self.room = self.room, None
        if room is not None and not room.done() and not room.get_loop().is_closed():
            room.set_result(None)


class Stream(Generic[UnencodedType]):
    """Messages of one neuron, in order; bounded. Subscribed from its making until it is closed or dropped.

    When `limit` messages wait, the sender waits (a link is not read further), as with a reactant that is busy. Leaving
    the `async for` drops the stream, and with it the subscription, unless you keep it in a variable; then use
    `async with`, or `close()`.
    """

    def __init__(self, subscribe: Callable[[Any], Callable[[], None]], limit: int) -> None:
        if limit < 1:
            raise ValueError(f"limit: expected at least 1 message, got {limit}")
        self._buffer = Buffer(limit)
        self._leave: Callable[[], None] | None = subscribe(self._buffer)

    def __aiter__(self) -> Stream[UnencodedType]:
        return self

    async def __anext__(self) -> UnencodedType:
        buffer = self._buffer
        while not buffer.items:
            if self._leave is None or buffer.closed:
                raise StopAsyncIteration
            if buffer.arrived is not None and not buffer.arrived.done():
                raise RuntimeError("a stream has one reader at a time")
            arrived = buffer.arrived = asyncio.get_running_loop().create_future()
            await arrived
        data: UnencodedType = buffer.items.popleft()
        if 2 * len(buffer.items) <= buffer.limit:
            buffer.release()
        return data

    def close(self) -> None:
        """End the subscription; what has arrived can still be read."""
        leave, self._leave = self._leave, None
        if leave is not None:
            leave()
        self._buffer.end()

    def __del__(self) -> None:
        if getattr(self, "_leave", None) is not None:
            self.close()

    async def __aenter__(self) -> Stream[UnencodedType]:
        if self._leave is None:
            raise Closed("this stream is closed")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
