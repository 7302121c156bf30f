# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable

from typing_extensions import disjoint_base

from plexo._fast.hub import Hub, Line
from plexo.ganglion.connection import Connection
from plexo.statistics import Cause

@disjoint_base
class Link(Line):
    def __init__(
        self, hub: Hub, connection: Connection, fd: int, takes_messages: bool, received: bytes
    ) -> None: ...
    def on_readable(self) -> None: ...
    def receive_asked(
        self, body: bytes, settled: Callable[[Cause | None, list[BaseException] | None], None]
    ) -> None: ...
