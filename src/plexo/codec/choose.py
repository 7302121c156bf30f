# SPDX-License-Identifier: Apache-2.0
"""The codec of a neuron that was given none.

A rule of this file: pickle is never chosen for anybody; who wants it says so.
"""

from __future__ import annotations

import sys
from typing import Any

from plexo.exceptions import CodecNotFound
from plexo.typing.codec import Codec


def default_codec(_type: Any) -> Codec:
    """The codec for `_type`: StringCodec for str, BytesCodec for bytes-like types, JsonCodec for pydantic
    models and
    python-jsonschema-objects classes, CapnpyCodec and CapnpCodec for their structs, MsgpackCodec for
    everything msgspec knows. Raises CodecNotFound, which says what to pass, for anything else.
    """
    _type = _unwrapped(_type)
    if _type is str:
        from plexo.codec.string_codec import StringCodec

        return StringCodec()
    if _type in (bytes, bytearray, memoryview):
        from plexo.codec.bytes_codec import BytesCodec

        return BytesCodec()
    if isinstance(_type, type):
        codec = _for_foreign_class(_type)
        if codec is not None:
            return codec

    from plexo.codec.capnp_codec import CapnpCodec, is_capnp_struct

    if is_capnp_struct(_type):
        return CapnpCodec(_type)

    from plexo.codec.json_codec import JsonCodec, is_jsonschema_class, mentions_pydantic

    if is_jsonschema_class(_type) or mentions_pydantic(_type):
        return JsonCodec(_type)
    if _type in (Any, object):
        raise CodecNotFound(
            f"no codec can be chosen for {_type!r}: name the type, or pass codec=, such as PickleCodec()"
        )

    from plexo.codec.msgpack_codec import MsgpackCodec

    try:
        return MsgpackCodec(_type)
    except CodecNotFound as error:
        raise CodecNotFound(
            f"no codec can be chosen for {_type!r}: known are str, bytes, msgspec.Struct, dataclass, attrs, "
            "TypedDict, NamedTuple, enums, numbers, datetime, UUID, Decimal, containers of these, pydantic "
            "models, python-jsonschema-objects classes and structs of capnpy and pycapnp. Pass codec=, "
            f"such as PickleCodec() or your own object with name, encode and decode. ({error})"
        ) from error


def _for_foreign_class(_type: type) -> Codec | None:
    numpy = sys.modules.get("numpy")
    if numpy is not None and issubclass(_type, (numpy.ndarray, numpy.generic)):
        raise CodecNotFound(
            f"no codec can be chosen for {_type.__name__}: the messages carry neither dtype nor shape, so "
            "pass codec=NumpyCodec(dtype, shape)"
        )
    capnpy = sys.modules.get("capnpy.struct_")
    if capnpy is not None and issubclass(_type, capnpy.Struct):
        from plexo.codec.capnpy_codec import CapnpyCodec

        return CapnpyCodec(_type)
    return None


def _unwrapped(_type: Any) -> Any:
    """Without Annotated, NewType and `type X = ...` around it."""
    while True:
        if hasattr(_type, "__metadata__"):
            _type = _type.__origin__
        elif hasattr(_type, "__supertype__"):
            _type = _type.__supertype__
        elif type(_type).__name__ == "TypeAliasType":
            _type = _type.__value__
        else:
            return _type
