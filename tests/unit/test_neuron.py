# SPDX-License-Identifier: Apache-2.0
import copy
import dataclasses
import pickle
import subprocess
import sys
from collections.abc import Sequence
from typing import Annotated, Any, Generic, Literal, NewType, Protocol, TypedDict, TypeVar

import pytest

import plexo.typing as plexo_typing
from plexo.codec import JsonCodec, MsgpackCodec, PickleCodec, StringCodec
from plexo.exceptions import CodecNotFound
from plexo.namespace import Namespace
from plexo.neuron import Neuron
from plexo.neuron.neuron import Neuron as NeuronOf10
from plexo.typing.codec import Codec, TypeBoundCodec
from plexo.typing.ganglion import Ganglion, GanglionExternal
from plexo.typing.reactant import RawReactant, Reactant
from plexo.typing.synapse import SynapseExternal, SynapseInternal
from plexo.typing.transmitter import ExternalTransmitter, Transmitter

T = TypeVar("T")


@dataclasses.dataclass
class Foo:
    x: int = 1


class Dict(TypedDict):
    x: int


class Box(Generic[T]):
    pass


class Shape(Protocol):
    area: float


Name = NewType("Name", str)


class MyCodec:
    """A stranger's codec: inherits nothing."""

    name = "mine"

    def encode(self, data: Any) -> bytes:
        return repr(data).encode()

    def decode(self, data: Any) -> Any:
        return eval(bytes(data))


def test_names_as_in_1_0() -> None:
    codec = StringCodec()
    neuron = Neuron(str, Namespace(["org", "brewery"]), codec)
    assert NeuronOf10 is Neuron
    assert neuron.type is str
    assert neuron.codec is codec
    assert neuron.namespace == Namespace("org.brewery")
    assert neuron.type_name_alias == "str"
    assert neuron.name == str(neuron) == "org.brewery.str.string_UTF-8"
    assert neuron.name_without_codec == "org.brewery.str"
    assert neuron.topic == b"org.brewery.str.string_UTF-8"
    assert repr(neuron) == "<Neuron org.brewery.str.string_UTF-8>"
    assert neuron.encode("é") == "é".encode()
    assert neuron.decode("é".encode()) == "é"


def test_alias_delimiter_and_str_namespace() -> None:
    assert Neuron(Foo, "a.b", type_name_alias="Bar").name == "a.b.Bar.msgpack"
    assert Neuron(Foo, Namespace("a/b", "/"), JsonCodec()).name == "a/b/Foo/json"
    assert Neuron(Foo, "a", type_name_alias="Bär").topic == "a.Bär.msgpack".encode()


def test_equal_and_hashed_by_name() -> None:
    first, second = Neuron(Foo, "a"), Neuron(Foo, Namespace(["a"]), MsgpackCodec(Foo))
    assert first == second
    assert hash(first) == hash(second) == hash("a.Foo.msgpack")
    assert first != Neuron(Foo, "a", PickleCodec())
    assert first != "a.Foo.msgpack"


def test_the_module_is_no_part_of_the_name() -> None:
    other = dataclasses.make_dataclass("Foo", [("x", int)])
    other.__module__ = "somewhere.else"
    assert Neuron(other, "a").topic == Neuron(Foo, "a").topic


def test_copies_and_pickles() -> None:
    neuron = Neuron(Foo, "a", StringCodec())
    assert copy.deepcopy(Neuron(str, "a")) == Neuron(str, "a")
    assert copy.copy(neuron).codec is neuron.codec
    assert pickle.loads(pickle.dumps(Neuron(Foo, "a", MyCodec()))) == Neuron(Foo, "a", MyCodec())
    for codec in (MsgpackCodec(), MsgpackCodec(Foo), PickleCodec(), JsonCodec(Foo), StringCodec()):
        again = pickle.loads(pickle.dumps(Neuron(Foo, "a", codec)))
        if not isinstance(codec, StringCodec):
            assert again.decode(again.encode(Foo(2))) == Foo(2)


def test_a_strangers_codec_will_do() -> None:
    codec = MyCodec()
    neuron = Neuron(dict[str, int], "a", codec, "Counts")
    assert isinstance(codec, Codec)
    assert neuron.name == "a.Counts.mine"
    assert neuron.decode(neuron.encode({"a": 1})) == {"a": 1}


def test_a_neuron_is_a_codec() -> None:
    neuron = Neuron(Foo, "a")
    assert isinstance(neuron, Codec)
    assert Neuron(Foo, "b", neuron, "Wrapped").name == "b.Wrapped.a.Foo.msgpack"


def test_codecs_are_bound_to_the_type() -> None:
    for codec in (MsgpackCodec(), JsonCodec(), PickleCodec()):
        assert isinstance(codec, TypeBoundCodec)
        neuron = Neuron(Foo, "a", codec)
        assert neuron.codec is codec
        assert neuron.decode(neuron.encode(Foo(7))) == Foo(7)
    with pytest.raises(CodecNotFound):
        Neuron(Box, "a", MsgpackCodec())


def test_codec_callables_are_taken_without_a_frame_between() -> None:
    codec = MsgpackCodec(Foo)
    assert Neuron(Foo, "a", codec).decode is codec.decode
    assert type(codec.decode).__name__ == "builtin_function_or_method"


@pytest.mark.parametrize(
    ("_type", "classes", "good", "bad"),
    [
        (Foo, (Foo,), Foo(), 5),
        (dict[str, float], (dict,), {"a": 1.0}, []),
        (Sequence[int], (Sequence,), [1], 5),
        (Box[int], (Box,), Box(), 5),
        (Dict, (dict,), {"x": 1}, []),
        (int | str, (int, str), "a", 1.5),
        (Foo | None, (Foo, type(None)), None, 5),
        (Annotated[Foo, "note"], (Foo,), Foo(), 5),
        (Name, (str,), Name("a"), 5),
        (float, (float, int), 5, "a"),
        (int, (int,), True, 1.5),
        (Literal["a", 1], (str, int), "a", 1.5),
        (bytes, (bytes,), b"a", bytearray(b"a")),
    ],
    ids=str,
)
def test_accepts(_type: Any, classes: Any, good: Any, bad: Any) -> None:
    neuron = Neuron(_type, "a", MyCodec(), "X")
    assert neuron.instance_types == classes
    assert neuron.accepts(good)
    assert not neuron.accepts(bad)


@pytest.mark.parametrize("_type", [Any, object, Shape, T], ids=str)
def test_accepts_everything_where_isinstance_cannot_tell(_type: Any) -> None:
    assert Neuron(_type, "a", MyCodec(), "X").accepts(5)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the type statement came with Python 3.12")
def test_type_statement() -> None:
    names: dict[str, Any] = {}
    exec("type Counts = dict[str, int]", names)
    neuron = Neuron(names["Counts"], "a")
    assert neuron.name == "a.Counts.msgpack"
    assert neuron.instance_types == (dict,)


@pytest.mark.parametrize(
    "_type", [dict[str, float], int | str, Annotated[Foo, 1], Any, list[int], Box[int]], ids=str
)
def test_types_without_a_name_of_their_own_need_an_alias(_type: Any) -> None:
    if _type is Any and isinstance(Any, type):
        pytest.skip("Any is a class from Python 3.11 on")
    with pytest.raises(
        TypeError, match=r'type_name_alias: .* has no name of its own .* type_name_alias="Readings"'
    ):
        Neuron(_type, "a", MyCodec())


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((Foo, 5), TypeError, "namespace: expected a Namespace or a str, got int"),
        (
            (Foo, "a", StringCodec),
            TypeError,
            "codec: expected an instance, got the class StringCodec; call it",
        ),
        ((Foo, "a", 5), TypeError, "codec: expected name, encode and decode, got 5"),
        ((Foo, "a", None, 5), TypeError, "type_name_alias: expected a str, got int"),
        ((Foo, "a", None, "x\0y"), ValueError, "NUL character"),
        ((Foo, "a", None, "é" * 32_770), ValueError, "65550 bytes long, expected at most 65535"),
        ((Box, "a"), CodecNotFound, "no codec can be chosen"),
    ],
)
def test_bad_arguments_are_named(arguments: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Neuron(*arguments)


def test_codec_without_a_name() -> None:
    codec = MyCodec()
    codec.name = ""
    with pytest.raises(TypeError, match="expected its name to be a non-empty str, got ''"):
        Neuron(Foo, "a", codec)


def test_the_longest_name_fits() -> None:
    alias = "x" * (65_535 - len("a..msgpack"))
    assert len(Neuron(Foo, "a", type_name_alias=alias).topic) == 65_535


def test_the_public_types_are_there_and_generic() -> None:
    assert plexo_typing.EncodedType == bytes | bytearray | memoryview | str
    assert isinstance(b"", plexo_typing.EncodedType)  # type: ignore[arg-type]
    assert Reactant[Foo] != Reactant[str]
    assert RawReactant[Foo] != RawReactant[str]
    assert plexo_typing.Signal[Foo] is not None
    assert plexo_typing.Decoder[Foo] != plexo_typing.Encoder[Foo]
    for protocol in (SynapseExternal, SynapseInternal, ExternalTransmitter, Transmitter):
        assert protocol.__doc__
    assert not isinstance(Foo(), Ganglion)
    assert not isinstance(Foo(), GanglionExternal)


def test_importing_brings_no_heavy_library() -> None:
    heavy = ("numpy", "pydantic", "attr", "attrs", "capnp", "capnpy", "python_jsonschema_objects")
    code = (
        "import sys, plexo.neuron, plexo.codec, plexo.namespace, plexo.exceptions, plexo.typing.ganglion\n"
        "from plexo.codec import StringCodec, MsgpackCodec\n"
        "plexo.neuron.Neuron(str, 'a')\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
