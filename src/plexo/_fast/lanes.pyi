# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable
from typing import Any

from typing_extensions import Self, disjoint_base

from plexo._fast.completion import Place, Target
from plexo._fast.tasks import Driven

def reactant_arity(reactant: object) -> int: ...

@disjoint_base
class Lane(Target):
    def __new__(cls, place: Place, reactant: Callable[..., Any], limit: int) -> Self: ...
    def go_on(self) -> None: ...

@disjoint_base
class Inline(Driven):
    def close(self) -> None: ...
