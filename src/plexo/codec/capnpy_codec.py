# SPDX-License-Identifier: Apache-2.0
"""Cap'n Proto by capnpy, as in 1.0."""

from __future__ import annotations

from typing import Any

from plexo.codec._base import BoundCodec, require_bytes


class CapnpyCodec(BoundCodec):
    """Structs of capnpy as Cap'n Proto messages. On the wire the same as CapnpCodec."""

    _name = "capnp"

    def __init__(self, capnpy_struct: Any) -> None:
        if not callable(getattr(capnpy_struct, "dumps", None)) or not callable(
            getattr(capnpy_struct, "loads", None)
        ):
            raise TypeError(f"capnpy_struct: expected a struct class of capnpy, got {capnpy_struct!r}")
        self.capnpy_struct = capnpy_struct
        loads = capnpy_struct.loads

        def decode(data: Any) -> Any:
            return loads(require_bytes(data))

        self._bind(capnpy_struct.dumps, decode)
