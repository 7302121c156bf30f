# SPDX-License-Identifier: Apache-2.0
from typing import Any

from typing_extensions import Self, disjoint_base

@disjoint_base
class Chunk: ...

@disjoint_base
class Run(Chunk): ...

@disjoint_base
class Big(Chunk):
    def __new__(cls, head: bytes, payload: bytes, padding: int, topic: bytes) -> Self: ...

@disjoint_base
class Outbox:
    def __new__(cls, fd: int) -> Self: ...
    @property
    def queued_bytes(self) -> int: ...
    @property
    def sent_bytes(self) -> int: ...

def census_of(unsent: list[tuple[Any, int]], is_pair: bool) -> dict[bytes, int]: ...
