# SPDX-License-Identifier: Apache-2.0
import asyncio
from typing import Any

from typing_extensions import disjoint_base

from plexo._fast.queues import Queue
from plexo._fast.sending import Sending
from plexo._fast.synapse import Synapse
from plexo._fast.topics import TopicTable
from plexo._fast.vigil import Vigil

@disjoint_base
class Turns(Sending):
    def __init__(
        self,
        owner: Any,
        topics: TopicTable[Synapse[Any]],
        max_frame_bytes: int,
        send_queue: Queue,
        busy_poll_s: float = -1,
    ) -> None: ...
    @property
    def loop(self) -> asyncio.AbstractEventLoop | None: ...
    @property
    def max_frame_bytes(self) -> int: ...
    @property
    def vigil(self) -> Vigil: ...
    def flush_dirty(self) -> None: ...
    def flush_all(self) -> None: ...

@disjoint_base
class Waiters:
    def __new__(cls) -> Waiters: ...
    def __bool__(self) -> bool: ...
    def forget_cancelled(self, future: asyncio.Future[None]) -> None: ...
