# SPDX-License-Identifier: Apache-2.0
import asyncio
from types import TracebackType
from typing import Any

from typing_extensions import Self, disjoint_base

@disjoint_base
class Work: ...

@disjoint_base
class Driven:
    def __await__(self) -> Self: ...
    def __iter__(self) -> Self: ...
    def __next__(self) -> Any: ...
    def send(self, value: object) -> Any: ...
    def throw(
        self,
        error: BaseException | type[BaseException],
        value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> Any: ...

@disjoint_base
class Runner(Driven):
    @property
    def task(self) -> asyncio.Task[Any]: ...
    def close(self) -> None: ...

@disjoint_base
class TaskPool:
    def __new__(cls, loop: asyncio.AbstractEventLoop) -> Self: ...
    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...
