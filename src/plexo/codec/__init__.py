# SPDX-License-Identifier: Apache-2.0
"""Codecs, each loaded when it is first named."""

from typing import TYPE_CHECKING

__all__ = [
    "BytesCodec",
    "CapnpCodec",
    "CapnpyCodec",
    "JsonCodec",
    "MsgpackCodec",
    "NumpyCodec",
    "PickleCodec",
    "StringCodec",
    "default_codec",
]

if TYPE_CHECKING:
    from plexo.codec.bytes_codec import BytesCodec
    from plexo.codec.capnp_codec import CapnpCodec
    from plexo.codec.capnpy_codec import CapnpyCodec
    from plexo.codec.choose import default_codec
    from plexo.codec.json_codec import JsonCodec
    from plexo.codec.msgpack_codec import MsgpackCodec
    from plexo.codec.numpy_codec import NumpyCodec
    from plexo.codec.pickle_codec import PickleCodec
    from plexo.codec.string_codec import StringCodec

_HOMES = {
    "BytesCodec": "bytes_codec",
    "CapnpCodec": "capnp_codec",
    "CapnpyCodec": "capnpy_codec",
    "JsonCodec": "json_codec",
    "MsgpackCodec": "msgpack_codec",
    "NumpyCodec": "numpy_codec",
    "PickleCodec": "pickle_codec",
    "StringCodec": "string_codec",
    "default_codec": "choose",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
