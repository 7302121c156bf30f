# SPDX-License-Identifier: Apache-2.0
"""MessagePack, JSON, text and bytes, and which of them is chosen."""

import dataclasses
import datetime
import decimal
import enum
import sys
import uuid
import warnings
from typing import Annotated, Any, NamedTuple, NewType, TypedDict

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plexo.codec import (
    BytesCodec,
    JsonCodec,
    MsgpackCodec,
    PickleCodec,
    StringCodec,
    default_codec,
)
from plexo.exceptions import CodecNotFound
from plexo.neuron import Neuron
from plexo.typing.codec import Codec


class Struct(msgspec.Struct):
    x: int


@dataclasses.dataclass
class Data:
    x: int
    names: list[str] = dataclasses.field(default_factory=list)


class Dict(TypedDict):
    x: int


class Tuple(NamedTuple):
    x: int


class Colour(enum.Enum):
    RED = "red"


class Plain:
    def __init__(self) -> None:
        self.x = 1


@dataclasses.dataclass
class HoldsPlain:
    plain: Plain


Name = NewType("Name", str)

KNOWN: list[tuple[Any, Any]] = [
    (Struct, Struct(1)),
    (Data, Data(1, ["a"])),
    (Dict, {"x": 1}),
    (Tuple, Tuple(1)),
    (Colour, Colour.RED),
    (int, 5),
    (float, 0.5),
    (bool, True),
    (dict[str, float], {"a": 1.5}),
    (list[Data], [Data(1)]),
    (tuple[int, str], (1, "a")),
    (set[int], {1, 2}),
    (int | str, "a"),
    (Struct | None, Struct(2)),
    (datetime.datetime, datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)),
    (uuid.UUID, uuid.UUID(int=5)),
    (decimal.Decimal, decimal.Decimal("1.5")),
    (Annotated[Struct, "note"], Struct(3)),
    (list, [1, "a"]),
    (dict, {"a": 1}),
]


@pytest.mark.parametrize(("_type", "value"), KNOWN, ids=lambda item: str(item)[:30])
@pytest.mark.parametrize("make", [MsgpackCodec, JsonCodec])
def test_round_trip(make: Any, _type: Any, value: Any) -> None:
    for codec in (make(_type), make().for_type(_type)):
        encoded = codec.encode(value)
        assert type(encoded) is bytes
        assert codec.decode(encoded) == codec.decode(memoryview(encoded)) == value
        assert type(codec.decode(encoded)) is type(value)


@pytest.mark.parametrize(("_type", "value"), KNOWN, ids=lambda item: str(item)[:30])
def test_msgpack_is_the_default(_type: Any, value: Any) -> None:
    codec = default_codec(_type)
    assert type(codec) is MsgpackCodec
    assert codec.decode(codec.encode(value)) == value


def test_attrs() -> None:
    attrs = pytest.importorskip("attrs", reason="attrs is not installed")
    made = attrs.make_class("Made", {"x": attrs.field(type=int)})
    codec = default_codec(made)
    assert type(codec) is MsgpackCodec
    assert codec.decode(codec.encode(made(5))) == made(5)


@pytest.mark.parametrize("make", [MsgpackCodec, JsonCodec])
def test_wrong_fields_are_named(make: Any) -> None:
    codec = make(Data)
    with pytest.raises(msgspec.ValidationError, match=r"Expected `int`, got `str` - at `\$\.x`"):
        codec.decode(make(dict).encode({"x": "no"}))


@pytest.mark.parametrize("make", [MsgpackCodec, JsonCodec, default_codec])
@pytest.mark.parametrize("_type", [Plain, HoldsPlain, list[Plain], dict[str, list[HoldsPlain]]], ids=str)
def test_unknown_classes_are_refused_at_once(make: Any, _type: Any) -> None:
    with pytest.raises(CodecNotFound, match=r"Plain.*PickleCodec\(\)"):
        make(_type)


@pytest.mark.parametrize("_type", [Any, object, type("T", (str,), {}), "NoSuchName"])
def test_no_codec_is_guessed(_type: Any) -> None:
    with pytest.raises(CodecNotFound, match="no codec can be chosen for"):
        default_codec(_type)


@given(st.text())
def test_text(text: str) -> None:
    codec = StringCodec()
    encoded = codec.encode(text)
    assert encoded == text.encode()
    assert codec.decode(encoded) == codec.decode(memoryview(encoded)) == text  # type: ignore[arg-type]


def test_text_errors() -> None:
    with pytest.raises(UnicodeDecodeError):
        StringCodec().decode(b"\xff")
    with pytest.raises(TypeError):
        StringCodec().encode(5)
    assert type(default_codec(str)) is type(default_codec(Name)) is StringCodec


def test_bytes() -> None:
    codec, data = BytesCodec(), bytes(1000)
    assert codec.encode(data) is data
    assert codec.decode(data) is data
    assert codec.encode(bytearray(b"x")) == codec.encode(memoryview(b"x")) == b"x"
    assert codec.decode(memoryview(b"x")) == b"x"
    for wrong in (5, "text", [1]):
        with pytest.raises(TypeError):
            codec.encode(wrong)


@pytest.mark.parametrize("_type", [bytes, bytearray, memoryview])
def test_bytes_like_neurons_get_their_type(_type: Any) -> None:
    neuron: Neuron[Any] = Neuron(_type, "x")
    assert type(neuron.codec) is BytesCodec
    decoded = neuron.decode(neuron.encode(_type(b"abc")))
    assert type(decoded) is _type
    assert decoded == b"abc"


@pytest.mark.parametrize(
    ("codec", "name"),
    [
        (StringCodec(), "string_UTF-8"),
        (BytesCodec(), "bytes"),
        (PickleCodec(), "pickle"),
        (JsonCodec(), "json"),
        (MsgpackCodec(), "msgpack"),
    ],
)
def test_names(codec: Codec, name: str) -> None:
    assert isinstance(codec, Codec)
    assert codec.name == str(codec) == name
    assert hash(codec) == hash(name)


def test_unbound_codecs_decode_to_plain_data() -> None:
    assert MsgpackCodec().decode(MsgpackCodec().encode({"x": [1]})) == {"x": [1]}
    assert JsonCodec().decode('{"x":[1]}') == {"x": [1]}


def test_a_subclass_may_override_and_call_super() -> None:
    class Loud(StringCodec):
        def encode(self, data: Any) -> Any:
            return super().encode(data.upper())

    neuron = Neuron(str, "x", Loud())
    assert neuron.encode("a") == b"A"
    assert neuron.decode(b"a") == "a"


# --- JSON by other libraries ------------------------------------------------------------------------------


def test_pydantic() -> None:
    pydantic = pytest.importorskip("pydantic", reason="pydantic is an optional extra")

    class Model(pydantic.BaseModel):  # type: ignore[name-defined,misc]
        x: int = pydantic.Field(alias="ex")

    value = Model(ex=1)
    for _type, sent in ((Model, value), (list[Model], [value]), (Model | None, value)):
        codec = default_codec(_type)
        assert type(codec) is JsonCodec
        encoded = codec.encode(sent)
        assert b'{"ex":1}' in encoded  # type: ignore[operator]
        assert codec.decode(encoded) == codec.decode(memoryview(encoded)) == sent  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="ex"):
        JsonCodec(Model).decode(b'{"ex":"no"}')
    assert JsonCodec(Model, {"by_alias": False}).encode(value) == b'{"x":1}'


SCHEMA = {
    "$schema": "http://json-schema.org/draft-04/schema",
    "id": "foo",
    "title": "Foo",
    "type": "object",
    "properties": {"message": {"type": "string"}},
    "required": ["message"],
}


def test_jsonschema_as_in_1_0() -> None:
    pytest.importorskip("python_jsonschema_objects", reason="python-jsonschema-objects is an optional extra")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        codec = JsonCodec.load_from_schema(SCHEMA, "Foo")
    foo = codec.schema_class
    assert codec.serialize_args == {"separators": (",", ":")}
    assert codec.encode(foo(message="é")) == '{"message":"\\u00e9"}'
    for data in ('{"message":"a"}', b'{"message":"a"}', memoryview(b'{"message":"a"}')):
        assert codec.decode(data).message == "a"
    with pytest.raises(Exception, match="required"):
        codec.decode("{}")
    assert JsonCodec(foo, {"indent": 1}).encode(foo(message="a")) == '{\n "message": "a"\n}'
    assert type(default_codec(foo)) is JsonCodec
    assert Neuron(foo, "x", codec).accepts(foo(message="a"))
    with pytest.raises(KeyError, match="defines no 'Bar'"):
        JsonCodec.load_from_schema(SCHEMA, "Bar")


def test_without_jsonschema(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "python_jsonschema_objects", None)
    with pytest.raises(ImportError, match=r"pyplexo\[jsonschema\]"):
        JsonCodec.load_from_schema(SCHEMA, "Foo")


def test_msgspec_takes_no_serialize_args() -> None:
    with pytest.raises(TypeError, match="serialize_args: expected None"):
        JsonCodec(Data, {"indent": 1})


def test_classes_with_the_methods_of_1_0_are_enough() -> None:
    class Duck:
        def serialize(self, **arguments: Any) -> str:
            return str(sorted(arguments))

        def from_json(self, data: Any) -> Any:
            return data

    assert JsonCodec(Duck).encode(Duck()) == "['separators']"
