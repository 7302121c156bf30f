# SPDX-License-Identifier: Apache-2.0
"""The messages that the board sends, of four sizes as MessagePack, with known checksums.

Without plexo: the environments of rivals have msgspec and not us.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import cache
from typing import Any

import msgspec
from common import DIFFERENT, FIRST_SEQUENCE, MODULUS, cycle_checksum
from common import check_fanout as check_fanout
from common import expected as expected
from common import expected_fanout as expected_fanout

SENSOR = "tank-1/upper"
TIME = 1700000000.25
VALUE = 21.5


class Small(msgspec.Struct, frozen=True, array_like=True):
    sequence: int
    value: float
    kind: int


class Reading(msgspec.Struct, frozen=True):
    sensor: str
    time: float
    value: float
    sequence: int


class Block(msgspec.Struct, frozen=True):
    sequence: int
    data: bytes


class Echo(msgspec.Struct, frozen=True):
    """The answer to a Reading, equally long. A type of its own: who answers must not react to the answer."""

    sensor: str
    time: float
    value: float
    sequence: int


class Seen(msgspec.Struct, frozen=True):
    """What a receiver has seen since its last report."""

    count: int
    checksum: int


TYPES: dict[int, Any] = {16: Small, 64: Reading, 1024: Block, 65536: Block}
# Of a Block's encoding: one byte of map, two keys, an int and the head of a bin.
BLOCK_HEAD_BYTES = 23

# Ends row rttload; it is not answered.
STOP = Reading(SENSOR, TIME, VALUE, 0)


def topic(kind: type, codec: str = "msgpack") -> str:
    return f"bench.{kind.__name__}.{codec}"


def fanout_topic(number: int, codec: str = "msgpack") -> str:
    return f"bench.t{number:02d}.Reading.{codec}"


@cache
def values(size: int = 64) -> Sequence[Any]:
    """The DIFFERENT messages of this size. Blocks share their data (1000 times 64 KiB are no small thing)."""
    sequences = range(FIRST_SEQUENCE, FIRST_SEQUENCE + DIFFERENT)
    made: list[Any]
    if size == 16:
        made = [Small(sequence, VALUE, 7) for sequence in sequences]
    elif size == 64:
        made = [Reading(SENSOR, TIME + index, VALUE, sequence) for index, sequence in enumerate(sequences)]
    elif size in TYPES:
        length = size - BLOCK_HEAD_BYTES
        data = (bytes(range(256)) * (length // 256 + 1))[:length]
        made = [Block(sequence, data) for sequence in sequences]
    else:
        raise ValueError(f"size: expected one of {sorted(TYPES)}, got {size}")
    if any(len(msgspec.msgpack.encode(each)) != size for each in (made[0], made[-1])):
        raise AssertionError(f"the messages are not {size} bytes long")
    return made


def echo_of(value: Reading) -> Echo:
    return Echo(value.sensor, value.time, value.value, value.sequence)


# -- row ingest ----------------------------------------------------------------------------------------------

SAMPLE_BYTES = 64
_SAMPLE = struct.Struct("<IId6d")


def sample_bytes(ident: int) -> list[bytes]:
    """The DIFFERENT samples of one sensor, as they are on the wire; seq as the sequences above."""
    return [
        _SAMPLE.pack(ident, FIRST_SEQUENCE + index, TIME + index, *(VALUE + axis for axis in range(6)))
        for index in range(DIFFERENT)
    ]


@cache
def sample_dtype() -> Any:
    """The NumPy dtype of a sample; imports NumPy, which most rows do without."""
    import numpy as np

    made = np.dtype([("id", "<u4"), ("seq", "<u4"), ("time", "<f8"), ("values", "<f8", 6)])
    if made.itemsize != SAMPLE_BYTES or _SAMPLE.size != SAMPLE_BYTES:
        raise AssertionError(f"a sample has {made.itemsize} bytes")
    return made


def expected_samples(count: int, connections: int) -> tuple[int, int]:
    """Count and sum of seq after `count` samples in all, equally many from each connection."""
    each = count // connections
    return each * connections, connections * cycle_checksum(each) % MODULUS


# -- row large -----------------------------------------------------------------------------------------------

PAGE_BYTES = 4096
# So many different arrays that no cache of a processor holds them all.
ARRAYS_BYTES = 64_000_000


def _page_values(size: int, which: int) -> Any:
    import numpy as np

    return ((np.arange(-(-size // PAGE_BYTES)) + which) % 251).astype(np.uint8)


def large_arrays(size: int) -> list[Any]:
    """Arrays of `size` bytes. The first byte of page p of array k is (p + k) % 251, all others are 0."""
    import numpy as np

    made = [np.zeros(size, np.uint8) for _ in range(max(1, ARRAYS_BYTES // size))]
    for which, array in enumerate(made):
        array[::PAGE_BYTES] = _page_values(size, which)
    return made


def page_sum(array: Any) -> int:
    """Sum of one byte per page of an array of bytes: the receiver has touched all of it."""
    return int(array[::PAGE_BYTES].sum(dtype="u8"))


def expected_large(count: int, size: int) -> tuple[int, int]:
    """Count and sum of the page sums after `count` arrays."""
    different = max(1, ARRAYS_BYTES // size)
    sums = [int(_page_values(size, which).sum(dtype="u8")) for which in range(different)]
    rounds, rest = divmod(count, different)
    return count, (rounds * sum(sums) + sum(sums[:rest])) % MODULUS
