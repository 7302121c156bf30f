# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable, Hashable
from typing import Any, Literal

from typing_extensions import Self, disjoint_base

POLICIES: tuple[str, ...]
DEFAULT_QUEUE_MESSAGES: int

_Policy = Literal["block", "drop_oldest", "drop_newest", "reject", "latest"]

@disjoint_base
class Queue:
    def __new__(
        cls,
        policy: _Policy = "block",
        messages: int | None = None,
        bytes: int | None = None,
        key: Callable[[Any], Hashable] | None = None,
    ) -> Self: ...
    @property
    def policy(self) -> str: ...
    @property
    def messages(self) -> int | None: ...
    @property
    def bytes(self) -> int | None: ...
    @property
    def key(self) -> Callable[[Any], Hashable] | None: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

def as_queue(given: Queue | str | None, argument: str, default: Queue) -> Queue: ...

@disjoint_base
class Waiting:
    def __new__(cls, queue: Queue) -> Self: ...
    @property
    def count(self) -> int: ...
    @property
    def bytes(self) -> int: ...
