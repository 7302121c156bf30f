# SPDX-License-Identifier: Apache-2.0
from collections.abc import Generator

from typing_extensions import Self, disjoint_base

@disjoint_base
class Breath:
    def __await__(self) -> Generator[None]: ...
    def __iter__(self) -> Self: ...
    def __next__(self) -> None: ...

@disjoint_base
class Load:
    @property
    def count(self) -> int: ...
