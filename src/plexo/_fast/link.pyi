# SPDX-License-Identifier: Apache-2.0
from typing_extensions import disjoint_base

from plexo._fast.hub import Hub, Line
from plexo.ganglion.connection import Connection

@disjoint_base
class Link(Line):
    def __init__(
        self, hub: Hub, connection: Connection, fd: int, takes_messages: bool, received: bytes
    ) -> None: ...
    @property
    def received(self) -> int: ...
    @property
    def received_bytes(self) -> int: ...
    def on_readable(self) -> None: ...
