# SPDX-License-Identifier: Apache-2.0
"""What the codecs of this package share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from plexo.typing import EncodedType
from plexo.typing.codec import Codec

if TYPE_CHECKING:
    from typing_extensions import Self


class BoundCodec(Codec):
    """A codec around two callables.

    They become attributes of the instance, so that `codec.decode` is the library's own C function and no
    Python frame is added. A subclass that overrides `encode` or `decode` is respected, and reaches the
    original through `super()`.
    """

    _name: str
    _made_with: tuple[tuple[Any, ...], dict[str, Any]]

    def __new__(cls, *arguments: Any, **keywords: Any) -> Self:
        codec = super().__new__(cls)
        codec._made_with = arguments, keywords
        return codec

    def __reduce__(self) -> Any:
        # The callables do not pickle, so a copy is made the way this one was.
        return _remake, (type(self), *self._made_with)

    def _bind(
        self,
        encode: Callable[[Any], EncodedType],
        decode: Callable[[Any], Any],
        takes_views: bool = False,
        **shortcuts: Callable[..., Any],
    ) -> None:
        """takes_views, and `shortcuts` (`encode_into`, `encode_many`, `view_of`): see plexo.typing.codec."""
        self._encode = encode
        self._decode = decode
        own = type(self)
        if own.encode is BoundCodec.encode:
            self.__dict__["encode"] = encode
            # Not where a subclass encodes otherwise: these would pass it by.
            self.__dict__.update(shortcuts)
        if own.decode is BoundCodec.decode:
            self.__dict__["decode"] = decode
            self.__dict__["takes_views"] = takes_views

    def encode(self, data: Any) -> EncodedType:
        return self._encode(data)

    def decode(self, data: Any) -> Any:
        return self._decode(data)

    @property
    def name(self) -> str:
        return self._name


def _remake(cls: type[BoundCodec], arguments: tuple[Any, ...], keywords: dict[str, Any]) -> BoundCodec:
    return cls(*arguments, **keywords)


def require_bytes(encoded: Any) -> bytes:
    """For libraries that take no memoryview."""
    return encoded if type(encoded) is bytes else bytes(encoded)
