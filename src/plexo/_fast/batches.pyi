# SPDX-License-Identifier: Apache-2.0
from typing import Any

from typing_extensions import Self, disjoint_base

@disjoint_base
class Batch: ...

@disjoint_base
class ListBatch(Batch):
    def __new__(cls, most: int, keep_sizes: bool) -> Self: ...

@disjoint_base
class SlabBatch(Batch): ...

@disjoint_base
class RecordBatch(SlabBatch):
    def __new__(cls, most: int, keep_sizes: bool, codec: Any) -> Self: ...

@disjoint_base
class ColumnBatch(SlabBatch):
    def __new__(
        cls, most: int, keep_sizes: bool, kind: type, columns: tuple[tuple[str, str], ...]
    ) -> Self: ...
