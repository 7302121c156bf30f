# SPDX-License-Identifier: Apache-2.0
"""Text as UTF-8."""

from __future__ import annotations

from typing import Any

from plexo.codec._base import BoundCodec


class StringCodec(BoundCodec):
    """`str` as UTF-8 bytes; bytes that are not UTF-8 raise UnicodeDecodeError, other values TypeError."""

    _name = "string_UTF-8"

    def __init__(self) -> None:
        self._bind(str.encode, _decode)


def _decode(data: Any) -> str:
    return data.decode() if type(data) is bytes else str(data, "utf-8")
