# SPDX-License-Identifier: Apache-2.0
"""What a codec is: three members, and some that it may have.

`name` ends the topic, `encode` turns a value into bytes (or text, sent as UTF-8), `decode` turns bytes back.
Inherit from `Codec` or do not: only the members count. `decode` is given `bytes`, or where `takes_views` says so
a read-only `memoryview`, and may raise any Exception: whatever it raises means that these bytes are no message
of this neuron.

Optional members:

* `for_type(type)` returns the codec to use for a neuron of that type. A codec that needs the type (pickle:
  what may be loaded; JSON and MessagePack without an argument: what to decode into) has it, so that
  `PickleCodec()` can be written without repeating the type. The neuron keeps the codec it was given as
  `neuron.codec` and takes `encode`, `decode` and `accepts` from what `for_type` returns; both must have the
  same `name`.
* `accepts(value)` returns whether `value` may be encoded, where isinstance of the neuron's type does not
  tell.
* `takes_views`, where it is true: `decode` is given large payloads as a read-only memoryview of where they were
  received, without a copy. That memory is used again when nothing made of the view is left.
* `record_bytes` (an int; 0: none) and `from_records(buffer, start, count)`: all messages have this size, and this
  makes an array over so many of them that lie in `buffer` one behind the other. See docs/batches.md.
* `value_types(type)` returns classes whose instances a neuron of that type carries beside it, a tuple.
* `view_of(value)` returns the encoding of a large value as bytes-like memory, one byte per item, which stays as
  it is as long as nobody changes the value; or None. It may be sent from there while the sender waits.

And for `transmit_many`, which calls `encode` for each value of a codec that has neither:

* `encode_into(value, buffer, -1)` appends the encoding of `value` to `buffer`, a bytearray.
* `encode_many(values)`, with the attribute `record_bytes`, for one object that holds many values: an iterator
  over bytes-like blocks, each of them encodings of `record_bytes` one after another; None where `values` is
  no such object. What is wrong with `values` is raised at the call. `len(values)` and `values[i]` must work.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Protocol, runtime_checkable

from plexo.typing import EncodedType


@runtime_checkable
class Codec(Protocol):
    """Turns values into bytes and back."""

    def __str__(self) -> str:
        return self.name

    def __hash__(self) -> int:
        return hash(self.name)

    @abstractmethod
    def encode(self, data: Any) -> EncodedType:
        """The encoding of `data`. Raises any Exception if it has none."""

    @abstractmethod
    def decode(self, data: Any) -> Any:
        """The value that `data`, bytes or a read-only memoryview, encodes. Raises any Exception if it is
        none."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Last part of the topic: peers that use another codec use another topic."""
        ...


@runtime_checkable
class TypeBoundCodec(Codec, Protocol):
    """A codec that wants to know the type of the neuron it is used by."""

    @abstractmethod
    def for_type(self, _type: Any) -> Codec:
        """The codec for values of `_type`; may be the codec itself."""
