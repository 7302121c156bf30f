# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable, Generator
from typing import Any

from typing_extensions import disjoint_base

from plexo._fast.books import Ledger
from plexo._fast.tasks import Work
from plexo.statistics import Book

@disjoint_base
class Place:
    @property
    def neuron(self) -> Any: ...
    @property
    def owner(self) -> Any: ...
    keeps_payload: bool

@disjoint_base
class Source:
    @property
    def host(self) -> str: ...
    @property
    def receiving(self) -> Ledger: ...

@disjoint_base
class Feed(Source):
    def __init__(self, host: str, resumed: Callable[[], object]) -> None: ...
    @property
    def stopped(self) -> bool: ...

@disjoint_base
class Completion:
    def __await__(self) -> Generator[Any, Any]: ...
    async def wait(self) -> None: ...

@disjoint_base
class Target(Work):
    @property
    def reactant(self) -> Any: ...
    @property
    def ledger(self) -> Ledger: ...
    @property
    def record_bytes(self) -> int: ...
    @property
    def book(self) -> Book: ...
