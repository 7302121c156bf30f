# SPDX-License-Identifier: Apache-2.0
from collections.abc import Generator
from typing import Any

from typing_extensions import disjoint_base

from plexo._fast.tasks import Work

@disjoint_base
class Place:
    @property
    def neuron(self) -> Any: ...
    @property
    def errors(self) -> int: ...

@disjoint_base
class Source: ...

@disjoint_base
class Completion:
    def __await__(self) -> Generator[Any, Any]: ...
    async def wait(self) -> None: ...

@disjoint_base
class Target(Work):
    @property
    def reactant(self) -> Any: ...
