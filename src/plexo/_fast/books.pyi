# SPDX-License-Identifier: Apache-2.0
from collections.abc import Mapping

from typing_extensions import Self, disjoint_base

from plexo.statistics import Cause

MAX_TALLIES: int
OTHER: str

@disjoint_base
class Tally:
    def __new__(cls) -> Self: ...
    def add(self, cause: Cause, topic: str = ..., peer: str = ..., count: int = ...) -> bool: ...
    def clear(self) -> None: ...
    def snapshot(self) -> Mapping[tuple[Cause, str, str], int]: ...

@disjoint_base
class Cell: ...

@disjoint_base
class Ledger: ...
