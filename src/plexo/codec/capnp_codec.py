# SPDX-License-Identifier: Apache-2.0
"""Cap'n Proto by pycapnp.

pycapnp's own `from_bytes` is a context manager whose result is valid only inside it (and, in older versions,
a function that keeps the buffer but needs it aligned). A decoded value lives as long as its receiver likes,
so the segments are cut out here, which copies and thereby aligns them, and `from_segments` keeps them alive.
"""

from __future__ import annotations

import struct
from typing import Any

from plexo.codec._base import BoundCodec
from plexo.exceptions import DecodeError, EncodeError

# Reading counts words towards a limit, to stop small messages that point at themselves for ever; the
# library's default is 8 Mi words. Larger messages get eight readings of themselves, because several reactants
# may read one value.
_DEFAULT_TRAVERSAL_LIMIT_WORDS = 8 * 1024 * 1024
_TRAVERSALS = 8
# capnp's own limit on the segments of a message from a stream.
_MAX_SEGMENTS = 512


class CapnpCodec(BoundCodec):
    """Structs of pycapnp as Cap'n Proto messages. On the wire the same as CapnpyCodec.

    `encode` takes builders and readers of this struct, also those inside another message (these are copied).
    `decode` returns a reader. Following its pointers may raise capnp.KjException later, where the message is
    broken inside.
    """

    _name = "capnp"

    def __init__(self, struct: Any, traversal_limit_words: int | None = None) -> None:
        if not is_capnp_struct(struct):
            raise TypeError(f"struct: expected a struct of a schema loaded by pycapnp, got {struct!r}")
        if traversal_limit_words is not None and traversal_limit_words <= 0:
            raise ValueError(
                f"traversal_limit_words: expected a positive number, got {traversal_limit_words}"
            )
        self.struct = struct
        self.traversal_limit_words = traversal_limit_words
        self._builder: Any = struct.Builder
        self._reader: Any = struct.Reader
        self._bind(self._to_bytes, self._from_bytes)

    def accepts(self, value: Any) -> bool:
        """Whether `value` is a builder or reader of this struct."""
        return isinstance(value, (self._builder, self._reader))

    def _to_bytes(self, value: Any) -> bytes:
        if isinstance(value, self._reader):
            value = value.as_builder()
        elif not isinstance(value, self._builder):
            raise EncodeError(f"expected a {self.struct.schema.node.displayName}, got {type(value).__name__}")
        elif not value.is_root:
            value = value.copy()
        # Sending one builder twice is fine; without this pycapnp warns about it.
        value.clear_write_flag()
        encoded: bytes = value.to_bytes()
        return encoded

    def _from_bytes(self, data: Any) -> Any:
        limit = self.traversal_limit_words
        if limit is None:
            limit = max(_DEFAULT_TRAVERSAL_LIMIT_WORDS, _TRAVERSALS * len(data) // 8)
        return self.struct.from_segments(split_segments(data), traversal_limit_in_words=limit)


def split_segments(data: Any) -> list[bytes]:
    """The segments of a message in stream framing
    (https://capnproto.org/encoding.html#serialization-over-a-stream).

    Raises DecodeError if the segment table does not describe exactly these bytes.
    """
    view = memoryview(data)
    if len(view) < 8:
        raise DecodeError(f"expected a Cap'n Proto message of 8 bytes or more, got {len(view)}")
    count = struct.unpack_from("<I", view)[0] + 1
    if count > _MAX_SEGMENTS:
        raise DecodeError(f"expected at most {_MAX_SEGMENTS} Cap'n Proto segments, got {count}")
    start = 4 * (count + 1 + (count + 1) % 2)  # the table ends on a word boundary
    if len(view) < start:
        raise DecodeError(f"expected a segment table of {start} bytes, got {len(view)} in all")
    segments = []
    for size_words in struct.unpack_from(f"<{count}I", view, 4):
        end = start + 8 * size_words
        if end > len(view):
            raise DecodeError(f"expected a segment up to byte {end}, got {len(view)} bytes in all")
        segments.append(bytes(view[start:end]))
        start = end
    if start != len(view):
        raise DecodeError(f"expected a Cap'n Proto message of {start} bytes, got {len(view)}")
    return segments


def is_capnp_struct(_type: Any) -> bool:
    """Whether `_type` is a struct of a schema loaded by pycapnp."""
    return all(
        hasattr(_type, name) for name in ("new_message", "from_segments", "schema", "Builder", "Reader")
    )
