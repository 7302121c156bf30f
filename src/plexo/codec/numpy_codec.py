# SPDX-License-Identifier: Apache-2.0
"""Arrays as their bytes: no header, because dtype and shape are part of the neuron's meaning, not of each
message."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from typing import Any

from plexo.codec._base import BoundCodec
from plexo.exceptions import DecodeError, EncodeError

# Of an array that has to be brought into the form of the wire, so much is copied at a time.
BLOCK_BYTES = 1 << 20
# From here on an array that lies in memory as it is sent is not copied for it, where its sender waits.
LARGE_BYTES = 128 << 10


class NumpyCodec(BoundCodec):
    """numpy arrays of one dtype and shape as raw bytes, little-endian and in C order.

    `dtype` is anything numpy.dtype takes, structured ones too; whatever byte order it names, the wire is
    little-endian. `shape` None means one-dimensional of any length, `()` one scalar (a 0-d array); its first
    entry may be None for any length there, `(None, 3)`.

    `encode` takes an array or numpy scalar of exactly that dtype (byte order aside) and shape and raises
    EncodeError otherwise: nothing is cast in silence. `decode` returns a read-only array over the received
    bytes, without a copy, and raises DecodeError for a wrong size. Raises TypeError for dtypes that hold
    Python objects.

    `transmit_many` with a fixed `shape` also takes one array of this dtype and the shape (n, *shape): n messages,
    laid out without a Python object for each.

    `transmit` over a pair sends a contiguous little-endian array of 128 KiB or more without a copy: it must not be
    changed before the call has ended.
    """

    _name = "numpy"

    def __init__(self, dtype: Any, shape: Sequence[int | None] | int | None = None) -> None:
        try:
            import numpy
        except ImportError as error:
            raise ImportError("NumpyCodec needs numpy: pip install 'pyplexo[numpy]'") from error

        given = numpy.dtype(dtype)
        if given.hasobject:
            raise TypeError(f"dtype: {given} holds Python objects, which have no bytes to send")
        if given.itemsize == 0:
            raise TypeError(
                f"dtype: expected a dtype with a size, got {given!r}; say how long, such as 'S16'"
            )
        self.dtype = given.newbyteorder("<")
        self.shape = _checked_shape(shape)
        self._numpy: Any = numpy
        self._any_length = bool(self.shape) and self.shape[0] is None
        fixed: list[int] = [n for n in self.shape if n is not None]
        self._row_bytes = self.dtype.itemsize * prod(fixed)
        if self._any_length and self._row_bytes == 0:
            raise ValueError(
                f"shape: {shape} has rows of no bytes, so their number cannot be told from a message"
            )
        self._wire_shape: tuple[int, ...] = (-1, *fixed) if self._any_length else tuple(fixed)
        self._bind(
            self._to_bytes,
            self._from_bytes,
            takes_views=True,
            encode_many=self._blocks_of,
            view_of=self._view_of,
        )

    @property
    def record_bytes(self) -> int:
        """The size of every message, where all have the same; else 0.

        Such messages are records: batches and `collect` copy them from the network into one array, without decoding
        each. Not those of a subclass with an `encode` or `decode` of its own.
        """
        own = type(self)
        plain = own.encode is BoundCodec.encode and own.decode is BoundCodec.decode
        return 0 if self._any_length or not plain else self._row_bytes

    def from_records(self, buffer: Any, start: int, count: int) -> Any:
        """An array over `count` records that lie in `buffer` from record `start` on; its first axis counts them."""
        shape = (count, *self._wire_shape)
        if count == 0:
            return self._numpy.empty(shape, self.dtype)
        items = count * (self._row_bytes // self.dtype.itemsize)
        flat = self._numpy.frombuffer(buffer, self.dtype, items, start * self._row_bytes)
        return flat.reshape(shape) if self._wire_shape else flat

    def value_types(self, _type: Any) -> tuple[type, ...]:
        """For a neuron of arrays of one element each: elements of other arrays, which are no arrays, are sent too."""
        return (self._numpy.generic,) if self.shape == () and _type is self._numpy.ndarray else ()

    def accepts(self, value: Any) -> bool:
        """Whether `value` is an array of this dtype and shape."""
        return isinstance(value, (self._numpy.ndarray, self._numpy.generic)) and self._mismatch(value) is None

    def _mismatch(self, value: Any) -> str | None:
        if value.dtype != self.dtype and value.dtype.newbyteorder("<") != self.dtype:
            return f"expected dtype {self.dtype}, got {value.dtype}; convert it with .astype()"
        shape = value.shape
        if len(shape) == len(self.shape) and all(
            n is None or n == m for n, m in zip(self.shape, shape, strict=True)
        ):
            return None
        expected = str(self.shape).replace("None", "any")
        return f"expected shape {expected}, got {shape}"

    def _to_bytes(self, value: Any) -> bytes:
        if not isinstance(value, (self._numpy.ndarray, self._numpy.generic)):
            raise EncodeError(f"expected a numpy array, got {type(value).__name__}")
        mismatch = self._mismatch(value)
        if mismatch is not None:
            raise EncodeError(mismatch)
        if value.dtype != self.dtype:
            value = value.astype(self.dtype)
        encoded: bytes = value.tobytes("C")
        return encoded

    def _view_of(self, value: Any) -> Any:
        if (
            type(value) is self._numpy.ndarray
            and value.nbytes >= LARGE_BYTES
            and value.flags.c_contiguous
            and value.dtype == self.dtype
            and self._mismatch(value) is None
        ):
            return value.reshape(-1).view(self._numpy.uint8)
        return None

    def _blocks_of(self, values: Any) -> Iterator[Any] | None:
        if not isinstance(values, self._numpy.ndarray) or not self.record_bytes:
            return None
        # An empty array has nothing to say of what is in it but its dtype and shape.
        mismatch = self._mismatch(self._numpy.empty(values.shape[1:], values.dtype))
        if mismatch is not None or not values.ndim:
            raise EncodeError(f"in an array whose first axis counts messages: {mismatch or 'no axes'}")
        return self._blocks(values)

    def _blocks(self, values: Any) -> Iterator[Any]:
        step = max(1, BLOCK_BYTES // self.record_bytes)
        for start in range(0, len(values), step):
            block = self._numpy.ascontiguousarray(values[start : start + step], self.dtype)
            # Not every dtype has a buffer (datetime64 has none); bytes have.
            yield block.reshape(-1).view(self._numpy.uint8)

    def _from_bytes(self, data: Any) -> Any:
        size = len(data)
        if self._any_length:
            if size % self._row_bytes:
                raise DecodeError(f"expected a multiple of {self._row_bytes} bytes ({self!r}), got {size}")
        elif size != self._row_bytes:
            raise DecodeError(f"expected {self._row_bytes} bytes ({self!r}), got {size}")
        # ndarray() is frombuffer() that also takes an empty buffer.
        shape = (size // self._row_bytes, *self._wire_shape[1:]) if self._any_length else self._wire_shape
        array = self._numpy.ndarray(shape, self.dtype, data)
        array.flags.writeable = False
        return array

    def __repr__(self) -> str:
        return f"NumpyCodec({str(self.dtype)!r}, {self.shape})"


def _checked_shape(shape: Sequence[int | None] | int | None) -> tuple[int | None, ...]:
    if shape is None:
        return (None,)
    if isinstance(shape, int):
        shape = (shape,)
    checked = tuple(shape)
    for index, n in enumerate(checked):
        if n is None:
            if index:
                raise ValueError(f"shape: only the first entry may be None, got {checked}")
        elif isinstance(n, bool) or not hasattr(n, "__index__") or n < 0:
            raise ValueError(f"shape: expected numbers of 0 or more, got {checked}")
    return checked
