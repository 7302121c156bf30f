# SPDX-License-Identifier: Apache-2.0
"""MessagePack by msgspec: the quick codec for typed values, and the default one."""

from __future__ import annotations

from typing import Any

from plexo.codec._base import BoundCodec

_UNBOUND = object()


class MsgpackCodec(BoundCodec):
    """Values of a type that msgspec knows, as MessagePack.

    Structs, dataclasses, attrs classes, TypedDict, NamedTuple, numbers, str, bytes, containers, datetime,
    UUID, Decimal, enums, and generics and unions of these. `decode` validates against the type and raises
    msgspec.ValidationError naming the field, msgspec.DecodeError for what is no MessagePack,
    UnicodeDecodeError for text that is not UTF-8 (all of them ValueErrors), and RecursionError for what is
    nested too deep. Without an argument the neuron's type is used; alone, such a codec decodes to plain dicts
    and lists. Raises CodecNotFound for a type msgspec does not know.
    """

    _name = "msgpack"

    def __init__(self, _type: Any = _UNBOUND) -> None:
        from msgspec import msgpack

        from plexo.codec._msgspec_types import check_supported

        self.type = Any if _type is _UNBOUND else _type
        self._is_bound = _type is not _UNBOUND
        if self._is_bound:
            check_supported(_type, "MsgpackCodec")
        encoder = msgpack.Encoder()
        decode = msgpack.Decoder(self.type).decode
        self._bind(encoder.encode, decode, takes_views=True, encode_into=encoder.encode_into)

    def for_type(self, _type: Any) -> MsgpackCodec:
        return self if self._is_bound else type(self)(_type)
