# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable
from typing import Any

from typing_extensions import Self, disjoint_base

from plexo._fast.completion import Place
from plexo._fast.inbox import Inbox
from plexo._fast.queues import Queue
from plexo._fast.tasks import Driven

@disjoint_base
class Lane(Inbox):
    def __new__(cls, place: Place, reactant: Callable[..., Any], queue: Queue) -> Self: ...
    def go_on(self) -> None: ...

@disjoint_base
class Inline(Driven):
    def close(self) -> None: ...
