# SPDX-License-Identifier: Apache-2.0
"""One kind of message: a Python type, a namespace and a codec."""

from __future__ import annotations

import builtins
from typing import TYPE_CHECKING, Any, Generic, cast, overload

from plexo.exceptions import WrongType
from plexo.namespace.namespace import Namespace
from plexo.typing import EncodedType, UnencodedType
from plexo.typing._instances import instance_types
from plexo.typing.codec import Codec

# The wire writes the length of a name in 16 bits.
MAX_NAME_BYTES = 65_535


class Neuron(Generic[UnencodedType]):
    """One kind of message. Its `name`, `namespace.Type.codec`, is the topic; equal and hashed by it.

    `namespace` is a Namespace or its dotted path. `codec` may be left out: see plexo.codec.choose.
    `type_name_alias` replaces the type's own `__name__` in the name, and is required for types that have none
    (`dict[str, float]`), where one side has renamed its class, or where two classes share a name.

    All attributes are computed once, here; treat a neuron as immutable. `encode` and `decode` are the codec's
    own callables, so a neuron also is a codec.

    Raises TypeError for arguments of the wrong kind, CodecNotFound (a TypeError) where no codec can be
    chosen, and ValueError for a name that does not fit the wire: more than 65,535 bytes of UTF-8, or with a
    NUL character.
    """

    __slots__ = (
        "__weakref__",
        "_codec_accepts",
        "_encode_into",
        "_encode_many",
        "_hash",
        "_record_bytes",
        "_takes_views",
        "_view_of",
        "codec",
        "decode",
        "encode",
        "instance_types",
        "name",
        "name_without_codec",
        "namespace",
        "topic",
        "type",
        "type_name_alias",
    )

    type: builtins.type[UnencodedType]
    namespace: Namespace
    codec: Codec
    type_name_alias: str
    name: str
    name_without_codec: str
    topic: bytes
    instance_types: tuple[Any, ...]

    if TYPE_CHECKING:

        @overload
        def __init__(
            self,
            _type: builtins.type[UnencodedType],
            namespace: Namespace | str,
            codec: Codec | None = None,
            type_name_alias: str | None = None,
        ) -> None: ...
        @overload  # what is no class to a type checker: unions, Any, protocols, structs of pycapnp
        def __init__(
            self: Neuron[Any],
            _type: Any,
            namespace: Namespace | str,
            codec: Codec | None = None,
            type_name_alias: str | None = None,
        ) -> None: ...

    def __init__(
        self,
        _type: Any,
        namespace: Namespace | str,
        codec: Codec | None = None,
        type_name_alias: str | None = None,
    ) -> None:
        self.type = _type
        self.namespace = _checked_namespace(namespace)
        self.type_name_alias = _checked_type_name(_type, type_name_alias)
        if codec is None:
            from plexo.codec.choose import default_codec

            codec = default_codec(_type)
        self.codec = _checked_codec(codec)

        self.name_without_codec = self.namespace.with_suffix((self.type_name_alias,))
        self.name = self.namespace.with_suffix((self.type_name_alias, codec.name))
        self.topic = _checked_topic(self.name)
        self._hash = hash(self.name)
        bound: Any = codec.for_type(_type) if hasattr(codec, "for_type") else codec
        self.instance_types = instance_types(_type)
        if hasattr(bound, "value_types"):
            self.instance_types += bound.value_types(_type)
        if not TYPE_CHECKING:
            self.encode = bound.encode
            self.decode = bound.decode
        self._codec_accepts = getattr(bound, "accepts", None)
        # For large values, and for batches, where the codec has them.
        self._view_of = getattr(bound, "view_of", None)
        self._encode_into = getattr(bound, "encode_into", None)
        self._encode_many = getattr(bound, "encode_many", None)
        self._record_bytes = getattr(bound, "record_bytes", 0)
        self._takes_views = bool(getattr(bound, "takes_views", False))

    if TYPE_CHECKING:

        def encode(self, data: UnencodedType) -> EncodedType:
            """The encoding of `data` by the codec; raises whatever the codec raises."""

        def decode(self, data: Any) -> UnencodedType:
            """The value that `data`, bytes or a read-only memoryview, encodes; may raise any Exception."""

    @property
    def checks_type_only(self) -> bool:
        """Whether a value of exactly the neuron's type is accepted without asking the codec."""
        return self._codec_accepts is None

    def accepts(self, value: object) -> bool:
        """Whether `value` is of the neuron's type, as far as isinstance and the codec can tell."""
        if not isinstance(value, self.instance_types):
            return False
        return self._codec_accepts is None or bool(self._codec_accepts(value))

    def check(self, value: object) -> None:
        """Raise unless `accepts(value)`: WrongType, or what the codec has against the value (EncodeError)."""
        if not isinstance(value, self.instance_types):
            raise WrongType(self.type, type(value), self.name)
        if self._codec_accepts is not None and not self._codec_accepts(value):
            self.encode(value)  # raises, and says what is wrong
            raise WrongType(self.type, type(value), self.name)

    def __eq__(self, other: object) -> bool:
        return self.name == other.name if isinstance(other, Neuron) else NotImplemented

    def __hash__(self) -> int:
        return self._hash

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"<Neuron {self.name}>"

    def __reduce__(self) -> Any:
        return Neuron, (self.type, self.namespace, self.codec, self.type_name_alias)


def _checked_namespace(namespace: Namespace | str) -> Namespace:
    if isinstance(namespace, Namespace):
        return namespace
    if isinstance(namespace, str):
        return Namespace(namespace)
    raise TypeError(f"namespace: expected a Namespace or a str, got {type(namespace).__name__}")


def _checked_type_name(_type: Any, alias: str | None) -> str:
    if alias is not None and not isinstance(alias, str):
        raise TypeError(f"type_name_alias: expected a str, got {type(alias).__name__}")
    name = alias or _own_name(_type)
    if not name:
        raise TypeError(
            f"type_name_alias: {_type!r} has no name of its own to put into the topic; pass one, such as "
            'type_name_alias="Readings"'
        )
    return name


def _own_name(_type: Any) -> str | None:
    # dict[str, float] answers `dict` to __name__, by asking its origin: two such neurons would share a topic.
    if isinstance(_type, type) and not hasattr(_type, "__origin__"):
        return _type.__name__
    if hasattr(_type, "__supertype__") or type(_type).__name__ == "TypeAliasType":
        return cast(str, _type.__name__)
    node = getattr(getattr(_type, "schema", None), "node", None)
    if node is not None:  # a struct of pycapnp: the name in its schema, which is what capnpy calls the class
        return cast(str, node.displayName[node.displayNamePrefixLength :])
    return None


def _checked_codec(codec: Any) -> Codec:
    if isinstance(codec, type):
        raise TypeError(f"codec: expected an instance, got the class {codec.__name__}; call it")
    for member in ("encode", "decode"):
        if not callable(getattr(codec, member, None)):
            raise TypeError(
                f"codec: expected name, encode and decode, got {codec!r} without a callable {member}"
            )
    name = getattr(codec, "name", None)
    if not isinstance(name, str) or not name:
        raise TypeError(f"codec: expected its name to be a non-empty str, got {name!r}")
    return cast(Codec, codec)


def _checked_topic(name: str) -> bytes:
    if "\0" in name:
        raise ValueError(f"the neuron's name {name!r} has a NUL character, which the wire cannot carry")
    topic = name.encode()
    if len(topic) > MAX_NAME_BYTES:
        raise ValueError(
            f"the neuron's name is {len(topic)} bytes long, expected at most {MAX_NAME_BYTES}: "
            f"{name[:60]!r}..."
        )
    return topic
