# SPDX-License-Identifier: Apache-2.0
"""What a batch of a neuron's messages is: one array, one array for each field, or a list."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin

from plexo._fast.batches import Batch, ColumnBatch, ListBatch, RecordBatch
from plexo._fast.batching import BatchLane
from plexo._fast.dispatch import DEFAULT_QUEUE
from plexo._fast.queues import Queue

if TYPE_CHECKING:
    from plexo._fast.dispatch import Fanout
    from plexo.neuron.neuron import Neuron

# A batch is handed over when it is so long. Of records as many as stay in a second-level cache together with what they
# are copied from; of objects, each with fields of its own, fewer.
DEFAULT_MAX_RECORDS = 4096
DEFAULT_MAX_RECORD_BYTES = 1 << 18
DEFAULT_MAX_OBJECTS = 1024
# And whatever their number, when so much has come for them: large ones would fill caches and memory.
DEFAULT_MAX_BATCH_BYTES = 1 << 20
# A slip of the keyboard rather than a batch: what it becomes is made in one piece.
MOST_MAX_BATCH = 1 << 30
# Room while the reactant is busy, in batches, where nobody chose a queue.
QUEUE_BATCHES = 4

# numpy's codes of int64, float64 and bool, by the classes that an annotation names.
_CODES = {
    frozenset({int}): "q",
    frozenset({float}): "d",
    frozenset({float, NoneType}): "d",
    frozenset({bool}): "?",
}


def record_codec(neuron: Neuron[Any]) -> Any:
    """The codec of `neuron` where its messages are records of one size (NumpyCodec with a fixed shape); else None."""
    return neuron.codec if getattr(neuron.codec, "record_bytes", 0) else None


class BatchPlan:
    """What a reactant of `neuron` that wants batches asked for. TypeError, ValueError name the argument."""

    def __init__(
        self, neuron: Neuron[Any], queue: Queue, max_batch: int | None, max_wait_s: float, columns: bool
    ) -> None:
        self.neuron = neuron
        self.given = (queue, max_batch, max_wait_s, columns)
        self.most = _checked_max_batch(neuron, max_batch)
        self.most_bytes = DEFAULT_MAX_BATCH_BYTES if max_batch is None else sys.maxsize
        if not isinstance(max_wait_s, (int, float)) or isinstance(max_wait_s, bool):
            raise TypeError(f"max_wait_s: expected seconds, got {max_wait_s!r}")
        if not 0 <= max_wait_s < math.inf:
            raise ValueError(f"max_wait_s: expected 0 or more seconds, got {max_wait_s}")
        self.max_wait_s = float(max_wait_s)
        if queue.policy == "latest":
            raise ValueError(
                "queue: 'latest' keeps single messages; a reactant with batch=True takes block, drop_oldest, "
                "drop_newest or reject"
            )
        # The usual queue, which nobody chose, would be shorter than a batch.
        self.queue = (
            Queue("block", QUEUE_BATCHES * self.most, queue.bytes) if queue is DEFAULT_QUEUE else queue
        )
        self.columns = columns_of(neuron) if columns else None
        self.codec = None if columns else record_codec(neuron)

    def lane(self, fanout: Fanout[Any], reactant: Any) -> BatchLane:
        """The receiver for `reactant`, not yet attached."""
        if fanout.neuron is not self.neuron:
            # Another neuron of this name was here first, and its codec counts.
            return BatchPlan(fanout.neuron, *self.given).lane(fanout, reactant)
        batch: Batch
        keep_sizes = self.queue.policy == "drop_oldest" and self.queue.bytes is not None
        if self.columns is not None:
            batch = ColumnBatch(self.most, keep_sizes, fanout.neuron.type, self.columns)
        elif self.codec is not None:
            batch = RecordBatch(self.most, keep_sizes, self.codec)
        else:
            batch = ListBatch(self.most, keep_sizes)
        record_bytes = 0 if self.codec is None else self.codec.record_bytes
        return BatchLane(fanout, reactant, self.queue, batch, self.max_wait_s, record_bytes, self.most_bytes)


def columns_of(neuron: Neuron[Any]) -> tuple[tuple[str, str], ...]:
    """The numeric fields of a msgspec Struct, in their order, each with the code of its column.

    int, float, bool, and `float | None`, whose None becomes NaN. TypeError where the neuron carries no Struct, or one
    without such fields.
    """
    import msgspec

    kind = neuron.type
    if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
        raise TypeError(f"columns: expected a neuron of a msgspec.Struct, got {neuron}")
    found = []
    for field in msgspec.structs.fields(kind):
        code = _CODES.get(frozenset(_alternatives(field.type)))
        if code is not None:
            found.append((field.name, code))
    if not found:
        raise TypeError(f"columns: {kind.__name__} has no field that is int, float or bool")
    return tuple(found)


def _alternatives(wanted: Any) -> Iterator[type]:
    """The classes that an annotation names; `object` for what is none."""
    while hasattr(wanted, "__metadata__"):
        wanted = wanted.__origin__
    if get_origin(wanted) in (Union, UnionType):
        for each in get_args(wanted):
            yield from _alternatives(each)
    else:
        yield wanted if isinstance(wanted, type) else object


def _checked_max_batch(neuron: Neuron[Any], given: int | None) -> int:
    codec = record_codec(neuron)
    if given is None:
        if codec is None:
            return DEFAULT_MAX_OBJECTS
        size: int = codec.record_bytes
        return max(1, min(DEFAULT_MAX_RECORDS, DEFAULT_MAX_RECORD_BYTES // size))
    if isinstance(given, bool) or not isinstance(given, int):
        raise TypeError(f"max_batch: expected an int or None, got {given!r}")
    if given < 1:
        raise ValueError(f"max_batch: expected at least 1, got {given}")
    if given > MOST_MAX_BATCH:
        raise ValueError(f"max_batch: expected at most {MOST_MAX_BATCH}, got {given}")
    return given
