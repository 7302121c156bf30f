# SPDX-License-Identifier: Apache-2.0
from typing import Any

from typing_extensions import Self, disjoint_base

from plexo._fast.batches import Batch
from plexo._fast.completion import Place
from plexo._fast.lanes import Lane
from plexo._fast.queues import Queue

@disjoint_base
class BatchLane(Lane):
    def __new__(
        cls,
        place: Place,
        reactant: Any,
        queue: Queue,
        batch: Batch,
        max_wait_s: float,
        record_bytes: int,
        batch_bytes: int,
    ) -> Self: ...
    def flush(self) -> None: ...
