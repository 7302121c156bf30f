# SPDX-License-Identifier: Apache-2.0
"""Bytes as they are."""

from __future__ import annotations

from typing import Any

from plexo.codec._base import BoundCodec


class BytesCodec(BoundCodec):
    """Bytes as they are: `bytes` are not copied, other bytes-like values are.

    Decodes to `bytes`, or to what a neuron of type `bytearray` or `memoryview` says.
    """

    _name = "bytes"

    def __init__(self) -> None:
        self._bind(_encode, bytes)

    def for_type(self, _type: Any) -> BytesCodec:
        if _type is not bytearray and _type is not memoryview:
            return self
        codec = type(self)()
        codec._bind(_encode, bytearray if _type is bytearray else _read_only)
        return codec


def _encode(data: Any) -> bytes:
    # bytes(5) would be five zeros: ask for a buffer, not for whatever bytes() takes.
    return data if type(data) is bytes else bytes(memoryview(data))


def _read_only(data: Any) -> memoryview:
    return memoryview(data).toreadonly()
