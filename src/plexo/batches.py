# SPDX-License-Identifier: Apache-2.0
"""What a batch of a neuron's messages is: one array, one array for each field, or a list."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from plexo._fast.batches import Batch, ColumnBatch, ListBatch, RecordBatch
from plexo._fast.batching import BatchLane
from plexo._fast.queues import Queue
from plexo.arity import reactant_arity

if TYPE_CHECKING:
    from plexo._fast.dispatch import Fanout
    from plexo.neuron.neuron import Neuron

# A batch is handed over when it is so long. Of records as many as stay in a second-level cache together with what they are
# copied from; of objects, each with fields of its own, fewer.
DEFAULT_MAX_RECORDS = 4096
DEFAULT_MAX_RECORD_BYTES = 1 << 18
DEFAULT_MAX_OBJECTS = 1024
# Room while the reactant is busy, in batches, where the usual queue is not longer anyway.
QUEUE_BATCHES = 4

# numpy's codes of int64, float64 and bool.
_CODES: dict[Any, str] = {int: "q", float: "d", bool: "?", float | None: "d"}


def record_codec(neuron: Neuron[Any]) -> Any:
    """The codec of `neuron` where its messages are records of one size (NumpyCodec with a fixed shape); else None."""
    return neuron.codec if getattr(neuron.codec, "record_bytes", 0) else None


def make_batch_lane(
    fanout: Fanout[Any],
    reactant: Any,
    queue: Queue,
    queue_is_default: bool,
    max_batch: int | None,
    max_wait_s: float,
    columns: bool,
) -> BatchLane:
    """The receiver for a reactant that wants batches, not yet attached. TypeError, ValueError name the argument."""
    neuron = fanout.neuron
    reactant_arity(reactant)
    most = _checked_max_batch(neuron, max_batch)
    if not isinstance(max_wait_s, (int, float)) or isinstance(max_wait_s, bool):
        raise TypeError(f"max_wait_s: expected seconds, got {max_wait_s!r}")
    if not 0 <= max_wait_s < math.inf:
        raise ValueError(f"max_wait_s: expected 0 or more seconds, got {max_wait_s}")
    if queue.policy == "latest":
        raise ValueError(
            "queue: 'latest' keeps single messages; a reactant with batch=True takes block, drop_oldest, drop_newest or "
            "reject"
        )
    if queue_is_default and (queue.messages is None or queue.messages < QUEUE_BATCHES * most):
        queue = Queue(queue.policy, QUEUE_BATCHES * most, queue.bytes)
    keep_sizes = queue.policy == "drop_oldest" and queue.bytes is not None
    codec = record_codec(neuron)
    batch: Batch
    if columns:
        batch = ColumnBatch(most, keep_sizes, neuron.type, columns_of(neuron))
    elif codec is not None:
        batch = RecordBatch(most, keep_sizes, codec)
    else:
        batch = ListBatch(most, keep_sizes)
    record_bytes = codec.record_bytes if codec is not None and not columns else 0
    return BatchLane(fanout, reactant, queue, batch, float(max_wait_s), record_bytes)


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
        wanted = field.type
        while hasattr(wanted, "__metadata__"):
            wanted = wanted.__origin__
        code = _CODES.get(wanted) if _hashable(wanted) else None
        if code is not None:
            found.append((field.name, code))
    if not found:
        raise TypeError(f"columns: {kind.__name__} has no field that is int, float or bool")
    return tuple(found)


def _hashable(wanted: object) -> bool:
    try:
        hash(wanted)
    except TypeError:
        return False
    return True


def _checked_max_batch(neuron: Neuron[Any], given: int | None) -> int:
    codec = record_codec(neuron)
    if given is None:
        if codec is None:
            return DEFAULT_MAX_OBJECTS
        return max(1, min(DEFAULT_MAX_RECORDS, DEFAULT_MAX_RECORD_BYTES // codec.record_bytes))
    if isinstance(given, bool) or not isinstance(given, int):
        raise TypeError(f"max_batch: expected an int or None, got {given!r}")
    if given < 1:
        raise ValueError(f"max_batch: expected at least 1, got {given}")
    return given
