# SPDX-License-Identifier: Apache-2.0
"""Encoding and decoding through the neuron, which is what synapses call."""

from __future__ import annotations

import dataclasses
from typing import Any

import msgspec
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from plexo import JsonCodec, MsgpackCodec, Neuron, NumpyCodec, PickleCodec, StringCodec
from plexo.typing import EncodedType

numpy = pytest.importorskip("numpy")


class Reading(msgspec.Struct, frozen=True):
    sensor: str
    time: float
    value: float
    sequence: int


@dataclasses.dataclass(frozen=True)
class Record:
    sensor: str
    time: float
    value: float
    sequence: int


NAMESPACE = "bench.codecs"
STRUCT = Reading("tank-1/upper", 1700000000.25, 21.5, 65536)
RECORD = Record("tank-1/upper", 1700000000.25, 21.5, 65536)
CASES: dict[str, tuple[Neuron[Any], Any]] = {
    "msgpack-struct": (Neuron(Reading, NAMESPACE, MsgpackCodec()), STRUCT),
    "msgpack-dataclass": (Neuron(Record, NAMESPACE, MsgpackCodec()), RECORD),
    "json-struct": (Neuron(Reading, NAMESPACE, JsonCodec(Reading)), STRUCT),
    "pickle-restricted": (Neuron(Record, NAMESPACE, PickleCodec()), RECORD),
    "pickle-unrestricted": (Neuron(Record, NAMESPACE, PickleCodec(unrestricted=True)), RECORD),
    "string": (Neuron(str, NAMESPACE, StringCodec()), "x" * 64),
}
IMAGE = Neuron(numpy.ndarray, NAMESPACE, NumpyCodec("uint8", (480, 640)))


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> tuple[Neuron[Any], Any]:
    return CASES[request.param]


def test_encode(benchmark: BenchmarkFixture, case: tuple[Neuron[Any], Any]) -> None:
    neuron, value = case
    assert neuron.decode(benchmark(neuron.encode, value)) == value


def test_decode(benchmark: BenchmarkFixture, case: tuple[Neuron[Any], Any]) -> None:
    neuron, value = case
    assert benchmark(neuron.decode, _as_bytes(neuron.encode(value))) == value


def _as_bytes(encoded: EncodedType) -> bytes:
    return encoded.encode() if isinstance(encoded, str) else bytes(encoded)


def test_numpy_encode(benchmark: BenchmarkFixture) -> None:
    image = numpy.arange(480 * 640, dtype="uint8").reshape(480, 640)
    assert (IMAGE.decode(bytes(benchmark(IMAGE.encode, image))) == image).all()


def test_numpy_decode(benchmark: BenchmarkFixture) -> None:
    """Zero-copy: the time must not depend on the size."""
    decoded = benchmark(IMAGE.decode, bytes(480 * 640))
    assert decoded.shape == (480, 640)
    assert not decoded.flags.owndata
