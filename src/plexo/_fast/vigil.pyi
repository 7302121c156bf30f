# SPDX-License-Identifier: Apache-2.0
from typing_extensions import Self, disjoint_base

ANSWER_S: float
FIRST_NEEDED: int
MOST_NEEDED: int
FORGIVEN_AFTER: int

@disjoint_base
class Vigil:
    def __new__(cls, fixed_s: float) -> Self: ...
    @property
    def fixed_s(self) -> float: ...
    @property
    def willing(self) -> bool: ...
    @property
    def needed(self) -> int: ...
    def go_on(self) -> None: ...
