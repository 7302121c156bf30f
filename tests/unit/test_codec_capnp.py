# SPDX-License-Identifier: Apache-2.0
import gc
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plexo.codec.capnp_codec import CapnpCodec, split_segments
from plexo.codec.capnpy_codec import CapnpyCodec
from plexo.codec.choose import default_codec
from plexo.exceptions import DecodeError, EncodeError
from plexo.neuron import Neuron

SCHEMA = """@0xdbb9ad1f14bf0b36;
struct Person { id @0 :UInt32; name @1 :Text; friends @2 :List(Person); }
struct Other { id @0 :UInt32; }
"""


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> Any:
    capnp = pytest.importorskip("capnp", reason="pycapnp is an optional extra")
    path: Path = tmp_path_factory.mktemp("schema") / "person.capnp"
    path.write_text(SCHEMA)
    return capnp.load(str(path))


def test_round_trip_outlives_the_buffer(schema: Any) -> None:
    neuron: Neuron[Any] = Neuron(schema.Person, "x")
    assert neuron.name == "x.Person.capnp"
    encoded = bytes(neuron.encode(schema.Person.new_message(id=3, name="n" * 50)))  # type: ignore[arg-type]
    readers = [neuron.decode(memoryview(bytes(off) + encoded)[off:]) for off in range(9)]
    gc.collect()
    assert [(reader.id, reader.name) for reader in readers] == [(3, "n" * 50)] * 9
    assert neuron.encode(readers[0]) == encoded


def test_one_builder_may_be_sent_twice_and_parts_may_be_sent(schema: Any) -> None:
    codec = CapnpCodec(schema.Person)
    person = schema.Person.new_message(friends=[{"id": 7, "name": "friend"}])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert codec.encode(person) == codec.encode(person)
        assert codec.decode(codec.encode(person.friends[0])).id == 7
        assert codec.decode(codec.encode(codec.decode(codec.encode(person)).friends[0])).name == "friend"


def test_several_segments(schema: Any) -> None:
    person = schema.Person.new_message(num_first_segment_words=1, name="n" * 10_000)
    encoded = CapnpCodec(schema.Person).encode(person)
    assert len(split_segments(encoded)) > 1
    assert CapnpCodec(schema.Person).decode(encoded).name == "n" * 10_000


def test_accepts_builders_and_readers_of_this_struct_only(schema: Any) -> None:
    neuron: Neuron[Any] = Neuron(schema.Person, "x", CapnpCodec(schema.Person))
    person = schema.Person.new_message(id=1)
    assert neuron.accepts(person)
    assert neuron.accepts(person.as_reader())
    assert not neuron.accepts(schema.Other.new_message())
    assert not neuron.accepts(5)
    with pytest.raises(EncodeError, match=r"expected a .*Person, got _DynamicStructBuilder"):
        neuron.encode(schema.Other.new_message())


def test_limits(schema: Any) -> None:
    person = schema.Person.new_message(name="n" * 800)
    encoded = CapnpCodec(schema.Person).encode(person)
    reader = CapnpCodec(schema.Person, traversal_limit_words=10).decode(encoded)
    with pytest.raises(Exception, match="traversal limit"):
        _ = reader.name
    with pytest.raises(ValueError, match="traversal_limit_words"):
        CapnpCodec(schema.Person, 0)
    with pytest.raises(TypeError, match="struct: expected a struct"):
        CapnpCodec(int)


@given(st.binary(max_size=64))
def test_segment_table_of_noise(noise: bytes) -> None:
    try:
        segments = split_segments(noise)
    except DecodeError:
        return
    assert noise.endswith(b"".join(segments))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"abc", "8 bytes or more, got 3"),
        (b"\xff\xff\xff\xff" + bytes(4), "at most 512 Cap'n Proto segments"),
        (b"\x02\0\0\0" + bytes(4), "segment table of 16 bytes, got 8"),
        (b"\0\0\0\0\2\0\0\0" + bytes(8), "segment up to byte 24, got 16"),
        (b"\0\0\0\0\1\0\0\0" + bytes(16), "message of 16 bytes, got 24"),
    ],
)
def test_bad_segment_tables(data: bytes, message: str) -> None:
    with pytest.raises(DecodeError, match=message):
        split_segments(data)


def test_capnpy() -> None:
    pytest.importorskip("capnpy", reason="capnpy is an optional extra")
    from capnpy.schema import CodeGeneratorRequest_RequestedFile as File  # type: ignore[import-not-found]

    neuron: Neuron[Any] = Neuron(File, "x", type_name_alias="File")
    assert type(neuron.codec) is CapnpyCodec
    assert neuron.name == "x.File.capnp"
    encoded = bytes(neuron.encode(File(id=3, filename=b"a", imports=[])))  # type: ignore[arg-type]
    assert len(split_segments(encoded)) == 1
    assert neuron.decode(encoded).filename == neuron.decode(memoryview(encoded)).filename == b"a"
    with pytest.raises(ValueError, match="header"):
        neuron.decode(b"abc")
    assert type(default_codec(File)) is CapnpyCodec


class LikeCapnpy:
    """What the codec needs of a capnpy struct, for where capnpy does not build."""

    def dumps(self) -> bytes:
        return b"dumped"

    @classmethod
    def loads(cls, data: bytes) -> bytes:
        assert type(data) is bytes
        return data


def test_capnpy_needs_dumps_and_loads() -> None:
    neuron = Neuron(LikeCapnpy, "x", CapnpyCodec(LikeCapnpy))
    assert neuron.encode(LikeCapnpy()) == b"dumped"
    assert neuron.decode(memoryview(b"dumped")) == b"dumped"
    with pytest.raises(TypeError, match="capnpy_struct: expected a struct class of capnpy"):
        CapnpyCodec(int)
