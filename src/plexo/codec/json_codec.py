# SPDX-License-Identifier: Apache-2.0
"""JSON, by whichever library the type belongs to.

msgspec for what it knows, pydantic for its models, python-jsonschema-objects for classes built from a JSON
Schema (the only kind 1.0 took). Which one is decided once, in the constructor, by looking at modules that are
already imported: a pydantic model cannot exist in a process that never imported pydantic.
"""

from __future__ import annotations

import sys
from functools import partial
from importlib import import_module
from typing import Any

from plexo.codec._base import BoundCodec, require_bytes

_UNBOUND = object()


class JsonCodec(BoundCodec):
    """Values as JSON, validated against `schema_class` when decoded.

    `schema_class` is any type msgspec knows (see MsgpackCodec), a pydantic model or a generic of one, or a
    python-jsonschema-objects class. Without it the neuron's type is used.
    `decode` raises what that library does; msgspec does what MsgpackCodec names.

    `serialize_args` are keyword arguments for the library that writes: `serialize(**args)` of
    python-jsonschema-objects (default: compact separators), `to_json(**args)` of pydantic (default:
    `by_alias=True`, because that is what it reads back). msgspec has none, so giving them raises TypeError.
    """

    _name = "json"

    def __init__(self, schema_class: Any = _UNBOUND, serialize_args: dict[str, Any] | None = None) -> None:
        self._is_bound = schema_class is not _UNBOUND
        self._given_args = serialize_args
        self.schema_class: Any = schema_class if self._is_bound else Any
        self.serialize_args: dict[str, Any] = {} if serialize_args is None else serialize_args
        if is_jsonschema_class(self.schema_class):
            self._bind_jsonschema()
        elif mentions_pydantic(self.schema_class):
            self._bind_pydantic()
        else:
            self._bind_msgspec()

    @classmethod
    def load_from_schema(
        cls, json_schema: dict[str, Any], schema_name: str, serialize_args: dict[str, Any] | None = None
    ) -> JsonCodec:
        """The codec for the class that python-jsonschema-objects builds from a JSON Schema.

        The class is then `codec.schema_class`. Raises ImportError without that library, and KeyError if the
        schema defines no `schema_name`.
        """
        try:
            python_jsonschema_objects = import_module("python_jsonschema_objects")
        except ImportError as error:
            raise ImportError(
                "JsonCodec.load_from_schema needs python-jsonschema-objects: "
                "pip install 'pyplexo[jsonschema]'"
            ) from error
        classes = python_jsonschema_objects.ObjectBuilder(json_schema).build_classes()
        try:
            schema_class = classes[schema_name]
        except (AttributeError, KeyError):
            known = ", ".join(sorted(name for name in dir(classes) if not name.startswith("_")))
            raise KeyError(
                f"schema_name: the schema defines no {schema_name!r}; it defines {known}"
            ) from None
        return cls(schema_class, serialize_args=serialize_args)

    def for_type(self, _type: Any) -> JsonCodec:
        return self if self._is_bound else type(self)(_type, self._given_args)

    def _bind_jsonschema(self) -> None:
        if self._given_args is None:
            self.serialize_args = {"separators": (",", ":")}
        schema_class, arguments = self.schema_class, self.serialize_args

        def encode(data: Any) -> str:
            text: str = data.serialize(**arguments)
            return text

        def decode(data: Any) -> Any:
            return schema_class().from_json(data if isinstance(data, str) else require_bytes(data))

        self._bind(encode, decode)

    def _bind_pydantic(self) -> None:
        from pydantic import TypeAdapter

        if self._given_args is None:
            self.serialize_args = {"by_alias": True}
        adapter: Any = TypeAdapter(self.schema_class)
        validate = adapter.validator.validate_json

        def decode(data: Any) -> Any:
            return validate(bytes(data) if type(data) is memoryview else data)

        self._bind(partial(adapter.serializer.to_json, **self.serialize_args), decode)

    def _bind_msgspec(self) -> None:
        from msgspec import json

        from plexo.codec._msgspec_types import check_supported

        if self._given_args and self._is_bound:
            raise TypeError(
                f"serialize_args: expected None, got {self._given_args!r}: "
                f"{self.schema_class!r} is written by msgspec, which takes none"
            )
        if self._is_bound:
            check_supported(self.schema_class, "JsonCodec")
        encoder = json.Encoder()
        decode = json.Decoder(self.schema_class).decode
        self._bind(encoder.encode, decode, takes_views=True, encode_into=encoder.encode_into)


def is_jsonschema_class(_type: Any) -> bool:
    """Whether `_type` is a class made by python-jsonschema-objects."""
    if not isinstance(_type, type):
        return False
    module = sys.modules.get("python_jsonschema_objects.classbuilder")
    if module is not None and issubclass(_type, module.ProtocolBase):
        return True
    # 1.0 took anything with these two methods; so do we, unless msgspec or pydantic know the class.
    return (
        callable(getattr(_type, "serialize", None))
        and callable(getattr(_type, "from_json", None))
        and not any(
            hasattr(_type, mark)
            for mark in (
                "__struct_fields__",
                "__dataclass_fields__",
                "__attrs_attrs__",
                "__pydantic_validator__",
            )
        )
    )


def mentions_pydantic(_type: Any) -> bool:
    """Whether `_type` is a pydantic model or dataclass, or a generic or union with one among its
    arguments."""
    if "pydantic" not in sys.modules:
        return False
    if isinstance(_type, type) and (
        hasattr(_type, "__pydantic_validator__") or hasattr(_type, "__pydantic_fields__")
    ):
        return True
    return any(mentions_pydantic(argument) for argument in getattr(_type, "__args__", ()))
