# SPDX-License-Identifier: Apache-2.0
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plexo.codec import NumpyCodec, PickleCodec
from plexo.exceptions import CodecNotFound, DecodeError, EncodeError
from plexo.neuron import Neuron

np = pytest.importorskip("numpy", reason="numpy is an optional extra")

DTYPES = [
    "f4",
    "<f8",
    ">f8",
    "i2",
    ">u4",
    "?",
    "c8",
    "S5",
    "U3",
    "M8[ns]",
    ">m8[s]",
    [("x", ">f4"), ("y", "u1", (2,))],
]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (0,), (2, 0)])
def test_round_trip(dtype: Any, shape: tuple[int, ...]) -> None:
    codec = NumpyCodec(dtype, shape)
    array = np.frombuffer(bytes(range(1, 255)) * 3, np.uint8)[
        : codec.dtype.itemsize * max(1, np.prod(shape, dtype=int))
    ]
    array = np.zeros(shape, dtype) if np.dtype(dtype).kind in "U?" or 0 in shape else array.view(codec.dtype)
    array = array.reshape(shape).astype(dtype) if 0 not in shape else array
    encoded = codec.encode(array)
    assert type(encoded) is bytes
    assert len(encoded) == array.nbytes
    for data in (encoded, memoryview(b"x" + encoded)[1:]):
        decoded = codec.decode(data)
        assert decoded.shape == shape
        assert decoded.dtype == codec.dtype
        assert decoded.tobytes() == encoded
        assert not decoded.flags.writeable


def test_the_wire_is_little_endian_in_c_order() -> None:
    codec = NumpyCodec(">u2", (2, 2))
    array = np.array([[1, 2], [3, 4]], ">u2")
    wire = b"\1\0\2\0\3\0\4\0"
    assert codec.encode(array) == wire
    assert codec.encode(array.astype("<u2")) == wire
    assert codec.encode(np.asfortranarray(array)) == wire
    assert codec.encode(np.repeat(array, 2, axis=1)[:, ::2]) == wire
    assert codec.decode(wire).tolist() == array.tolist()


def test_decoding_copies_nothing() -> None:
    data = bytes(16)
    decoded = NumpyCodec("f8").decode(data)
    assert decoded.__array_interface__["data"][0] == np.frombuffer(data, "f8").__array_interface__["data"][0]
    with pytest.raises(ValueError, match="read-only"):
        decoded[0] = 1
    assert not NumpyCodec("f8").decode(bytearray(16)).flags.writeable


@given(st.lists(st.floats(width=32, allow_nan=False), max_size=20))
def test_any_length(values: list[float]) -> None:
    codec = NumpyCodec("f4")
    assert codec.decode(codec.encode(np.array(values, "f4"))).tolist() == values


def test_any_number_of_rows() -> None:
    codec = NumpyCodec("i4", (None, 3))
    assert codec.decode(codec.encode(np.ones((5, 3), "i4"))).shape == (5, 3)
    assert codec.decode(b"").shape == (0, 3)
    with pytest.raises(DecodeError, match=r"expected a multiple of 12 bytes .*, got 16"):
        codec.decode(bytes(16))


@pytest.mark.parametrize("size", [0, 11, 13, 24])
def test_wrong_sizes(size: int) -> None:
    with pytest.raises(DecodeError, match=rf"expected 12 bytes .*float32.*, got {size}$"):
        NumpyCodec("f4", (3,)).decode(bytes(size))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.zeros(3), "expected dtype float32, got float64"),
        (np.zeros(3, "i4"), "expected dtype float32, got int32"),
        (np.zeros(4, "f4"), r"expected shape \(3,\), got \(4,\)"),
        (np.zeros((3, 1), "f4"), r"expected shape \(3,\), got \(3, 1\)"),
        ([1.0, 2.0, 3.0], "expected a numpy array, got list"),
    ],
)
def test_what_does_not_fit_is_not_cast(value: Any, message: str) -> None:
    neuron = Neuron(np.ndarray, "x", NumpyCodec("f4", 3))
    assert not neuron.accepts(value)
    with pytest.raises(EncodeError, match=message):
        neuron.encode(value)


def test_neuron_of_an_array() -> None:
    neuron = Neuron(np.ndarray, "x", NumpyCodec("f4", (3,)), "Force")
    assert neuron.name == "x.Force.numpy"
    assert neuron.accepts(np.zeros(3, "f4"))
    with pytest.raises(CodecNotFound, match=r"codec=NumpyCodec\(dtype, shape\)"):
        Neuron(np.ndarray, "x")
    assert Neuron(np.ndarray, "x", PickleCodec()).accepts(np.zeros(5))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("O",), TypeError, "dtype: object holds Python objects"),
        (([("a", "O")],), TypeError, "holds Python objects"),
        (("S",), TypeError, "dtype: expected a dtype with a size"),
        (("f4", (-1,)), ValueError, "shape: expected numbers of 0 or more"),
        (("f4", (3, None)), ValueError, "shape: only the first entry may be None"),
        (("f4", (None, 0)), ValueError, "rows of no bytes"),
    ],
)
def test_bad_arguments_are_named(arguments: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        NumpyCodec(*arguments)


def test_without_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "numpy", None)
    with pytest.raises(ImportError, match=r"pyplexo\[numpy\]"):
        NumpyCodec("f4")
