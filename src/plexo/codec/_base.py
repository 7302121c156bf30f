# SPDX-License-Identifier: Apache-2.0
"""What the codecs of this package share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from plexo.typing import EncodedType
from plexo.typing.codec import Codec


class BoundCodec(Codec):
    """A codec around two callables.

    They become attributes of the instance, so that `codec.decode` is the library's own C function and no
    Python frame is added. A subclass that overrides `encode` or `decode` is respected, and reaches the
    original through `super()`.
    """

    _name: str

    def _bind(self, encode: Callable[[Any], EncodedType], decode: Callable[[Any], Any]) -> None:
        self._encode = encode
        self._decode = decode
        own = type(self)
        if own.encode is BoundCodec.encode:
            self.__dict__["encode"] = encode
        if own.decode is BoundCodec.decode:
            self.__dict__["decode"] = decode

    def encode(self, data: Any) -> EncodedType:
        return self._encode(data)

    def decode(self, data: Any) -> Any:
        return self._decode(data)

    @property
    def name(self) -> str:
        return self._name


def require_bytes(encoded: Any) -> bytes:
    """For libraries that take no memoryview."""
    return encoded if type(encoded) is bytes else bytes(encoded)
