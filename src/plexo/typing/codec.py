# SPDX-License-Identifier: Apache-2.0
"""What a codec is: three members, and some that it may have.

`name` ends the topic, `encode` turns a value into bytes (or text, sent as UTF-8), `decode` turns bytes back.
Inherit from `Codec` or do not: only the members count. `decode` is given `bytes` or a read-only `memoryview`
and may raise any Exception: whatever it raises means that these bytes are no message of this neuron.

Optional members:

* `for_type(type)` returns the codec to use for a neuron of that type. A codec that needs the type (pickle:
  what may be loaded; JSON and MessagePack without an argument: what to decode into) has it, so that
  `PickleCodec()` can be written without repeating the type. The neuron keeps the codec it was given as
  `neuron.codec` and takes `encode`, `decode` and `accepts` from what `for_type` returns; both must have the
  same `name`.
* `accepts(value)` returns whether `value` may be encoded, where isinstance of the neuron's type does not
  tell.
* `value_types`: a tuple of more classes whose values may be transmitted, beside the neuron's type.
* `record_bytes` (an int; 0: none) and `from_records(buffer, start, count)`: all messages have this size, and this
  makes an array over so many of them that lie in `buffer` one behind the other. See docs/batches.md.
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
