# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable
from typing import Any

from typing_extensions import Self, disjoint_base

from plexo._fast.completion import Place, Target
from plexo._fast.queues import Queue

@disjoint_base
class Inbox(Target):
    def __new__(cls, place: Place, reactant: Callable[..., Any] | None, queue: Queue) -> Self: ...
    @property
    def queue(self) -> Queue: ...
