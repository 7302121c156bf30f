# SPDX-License-Identifier: Apache-2.0
"""What annotations are made of, and what a class is annotated with; nothing is imported or called for it."""

from __future__ import annotations

import builtins
import sys
import types
import typing
from collections.abc import Iterator
from enum import Enum
from typing import Any


def parts_of(annotation: Any) -> Iterator[Any]:
    """Parts of an annotation: of generics, unions, Annotated, Literal, NewType, aliases, type variables."""
    origin = typing.get_origin(annotation)
    if origin is typing.Literal:
        yield from (type(value) for value in annotation.__args__ if isinstance(value, Enum))
        return
    if origin is not None and hasattr(annotation, "__metadata__"):
        yield annotation.__origin__
        return
    if origin is not None:
        yield origin
        for argument in typing.get_args(annotation):
            if isinstance(argument, list):  # of Callable
                yield from argument
            else:
                yield argument
        return
    for name in ("__supertype__", "__value__", "__bound__"):
        inner = getattr(annotation, name, None) if not isinstance(annotation, type) else None
        if inner is not None:
            yield inner
    yield from getattr(annotation, "__constraints__", ()) or ()


def fields_of(cls: type) -> Iterator[Any]:
    """The annotations of a class's fields and of its constructor, resolved where that can be done."""
    if issubclass(cls, Enum):
        return
    for owner in cls.__mro__:
        yield from getattr(owner, "__orig_bases__", ())
        for name, hint in _hints(owner, vars(owner)).items():
            if (
                not (name.startswith("__") and name.endswith("__"))
                and typing.get_origin(hint) is not typing.ClassVar
            ):
                yield hint
        constructor = vars(owner).get("__init__")
        if isinstance(constructor, types.FunctionType):
            yield from _hints(constructor, vars(owner)).values()
    for attribute in getattr(cls, "__attrs_attrs__", ()):
        yield attribute.type


def _hints(owner: Any, local_names: Any) -> dict[str, Any]:
    """Resolved annotations; where one does not resolve, the others still do."""
    annotations = _annotations(owner)
    module = sys.modules.get(getattr(owner, "__module__", ""))
    names = {**vars(typing), **vars(builtins), **(vars(module) if module else {}), **local_names}
    if isinstance(owner, type):
        names.setdefault(owner.__name__, owner)
    resolved = {}
    for name, hint in annotations.items():
        resolved[name] = _resolve(hint, names)
    return resolved


def _annotations(owner: Any) -> dict[str, Any]:
    if sys.version_info >= (3, 14):  # evaluates them on access, where one missing name would lose the others
        import annotationlib

        return annotationlib.get_annotations(owner, format=annotationlib.Format.FORWARDREF)
    return dict(getattr(owner, "__annotations__", ()))


def _resolve(hint: Any, names: dict[str, Any]) -> Any:
    def holder() -> None: ...

    holder.__annotations__ = {"hint": hint}
    try:
        return typing.get_type_hints(holder, globalns=names, include_extras=True)["hint"]
    except Exception:
        return None
