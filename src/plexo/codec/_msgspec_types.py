# SPDX-License-Identifier: Apache-2.0
"""Which types msgspec encodes.

msgspec builds a decoder for any class and fails only at the first message, because a hook could still convert
it. We set no hooks, so we look for such "custom" types first and say so where the codec is made.
"""

from __future__ import annotations

from typing import Any

from plexo.exceptions import CodecNotFound


def check_supported(_type: Any, codec: str) -> None:
    """Raises CodecNotFound if msgspec would need a hook for `_type` or for anything inside it."""
    import msgspec.inspect

    try:
        info = msgspec.inspect.type_info(_type)
    except Exception as error:
        # A name in an annotation that does not resolve, a union msgspec cannot tell apart, and so on.
        raise CodecNotFound(f"{codec} cannot encode {_type!r}: {error}") from error
    custom = _find_custom(info)
    if custom is not None:
        inside = "" if custom is _type else f" (because of {custom!r})"
        raise CodecNotFound(
            f"{codec} cannot encode {_type!r}{inside}: msgspec knows Struct, dataclass, attrs, "
            "TypedDict, NamedTuple, enums, numbers, str, bytes, datetime, UUID, Decimal and containers "
            "of these; use one of them, or give the neuron another codec, such as PickleCodec()"
        )


def _find_custom(info: Any) -> Any:
    import msgspec.inspect

    waiting = [info]
    seen: set[int] = set()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, msgspec.inspect.CustomType):
            return node.cls
        if isinstance(node, (tuple, list)):
            waiting.extend(node)
        elif isinstance(node, (msgspec.inspect.Type, msgspec.inspect.Field)):
            waiting.extend(getattr(node, name) for name in node.__struct_fields__ if name != "default")
    return None
