# SPDX-License-Identifier: Apache-2.0
"""From an annotation to what isinstance takes."""

from __future__ import annotations

import types
import typing
from typing import Any

# PEP 484: an int will do where a float is asked for, and either where a complex is.
_NUMERIC_TOWER: dict[Any, tuple[type, ...]] = {float: (float, int), complex: (complex, float, int)}


def instance_types(_type: Any) -> tuple[type, ...]:
    """The classes whose instances are values of `_type`; `(object,)` where isinstance cannot tell.

    Annotated, NewType and aliases are looked through, a union gives its members, a generic its origin, a
    TypedDict dict, a Literal the classes of its values.
    """
    found: list[type] = []
    _collect(_type, found)
    return tuple(dict.fromkeys(found))


def _collect(_type: Any, found: list[type]) -> None:
    if _type is None:
        found.append(type(None))
        return
    origin = typing.get_origin(_type)
    if origin is typing.Union or origin is types.UnionType:
        for member in _type.__args__:
            _collect(member, found)
    elif origin is typing.Literal:
        found.extend(type(value) for value in _type.__args__)
    elif hasattr(_type, "__metadata__"):
        _collect(_type.__origin__, found)
    elif hasattr(_type, "__supertype__"):
        _collect(_type.__supertype__, found)
    elif type(_type).__name__ == "TypeAliasType":
        _collect(_type.__value__, found)
    elif origin is not None:
        _collect(origin, found)
    elif isinstance(_type, type):
        found.extend(_classes(_type))
    elif isinstance(getattr(_type, "Builder", None), type) and isinstance(
        getattr(_type, "Reader", None), type
    ):
        found.extend(
            (_type.Builder, _type.Reader)
        )  # a struct of pycapnp is a module-like object with two classes
    else:
        found.append(object)


def _classes(_type: type) -> tuple[type, ...]:
    if _type in _NUMERIC_TOWER:
        return _NUMERIC_TOWER[_type]
    if issubclass(_type, dict) and hasattr(_type, "__total__"):
        return (dict,)
    if typing.is_typeddict(_type):
        return (dict,)
    try:
        isinstance(None, _type)
    except TypeError:  # a Protocol that is not runtime_checkable
        return (object,)
    return (_type,)
