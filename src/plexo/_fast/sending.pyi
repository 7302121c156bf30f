# SPDX-License-Identifier: Apache-2.0
from typing import Any

from typing_extensions import disjoint_base

from plexo._fast.completion import Source
from plexo._fast.outbox import Outbox
from plexo._fast.queues import Queue
from plexo._fast.synapse import Synapse
from plexo._fast.topics import TopicTable
from plexo.ganglion.connection import Connection
from plexo.ganglion.zmtp import GanglionZmtp
from plexo.statistics import Cause

MAX_FORWARD_WAITING: int

@disjoint_base
class Outlet(Source):
    @property
    def connection(self) -> Connection: ...
    @property
    def outbox(self) -> Outbox: ...
    @property
    def open(self) -> bool: ...

@disjoint_base
class Sending:
    def __new__(cls, *args: Any, **kwargs: Any) -> Any: ...
    @property
    def owner(self) -> GanglionZmtp: ...
    @property
    def topics(self) -> TopicTable[Synapse[Any]]: ...
    @property
    def links(self) -> list[Any]: ...
    @property
    def is_pair(self) -> bool: ...
    @property
    def send_queue(self) -> Queue: ...
    def queued_by_topic(self, unsent: list[tuple[Any, int]]) -> dict[bytes, int]: ...
    def drop_backlog(self, cause: Cause) -> int: ...
    def write_off(self, unsent: list[tuple[Any, int]], cause: Cause, link: Outlet | None) -> int: ...
