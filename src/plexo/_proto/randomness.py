# SPDX-License-Identifier: Apache-2.0
"""Randomness is passed in: what a protocol needs of it."""

from __future__ import annotations

from typing import Protocol


class Random(Protocol):
    """Part of `random.Random`."""

    def random(self) -> float: ...
    def randrange(self, start: int, stop: int) -> int: ...
