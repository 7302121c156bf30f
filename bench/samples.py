# SPDX-License-Identifier: Apache-2.0
"""The messages that the benchmarks send: 64 bytes each as MessagePack, with a known checksum."""

from __future__ import annotations

import msgspec

from plexo import Namespace, Neuron

PAYLOAD_BYTES = 64
# Different values that a run cycles through: a sender that repeats one object measures its cache.
DIFFERENT = 1000
# From here on MessagePack gives an int five bytes, so that every message is equally long.
FIRST_SEQUENCE = 1 << 16

SENSOR = "tank-1/upper"


class Reading(msgspec.Struct, frozen=True):
    sensor: str
    time: float
    value: float
    sequence: int


class Echo(msgspec.Struct, frozen=True):
    """The answer to a Reading, equally long. A type of its own: who answers must not react to the answer."""

    sensor: str
    time: float
    value: float
    sequence: int


class Seen(msgspec.Struct, frozen=True):
    """What a reactant has seen since the last report."""

    count: int
    checksum: int


class Start(msgspec.Struct, frozen=True):
    """Publishers repeat it until everybody has answered."""


namespace = Namespace("bench")
reading = Neuron(Reading, namespace)
echo = Neuron(Echo, namespace)
seen = Neuron(Seen, namespace)
start = Neuron(Start, namespace)

readings = [Reading(SENSOR, 1700000000.25 + i, 21.5, FIRST_SEQUENCE + i) for i in range(DIFFERENT)]

if any(len(msgspec.msgpack.encode(each)) != PAYLOAD_BYTES for each in (readings[0], readings[-1])):
    raise AssertionError(f"the sample messages are not {PAYLOAD_BYTES} bytes long")


def expected_seen(count: int) -> Seen:
    """What a reactant must have seen after `count` messages, a multiple of DIFFERENT."""
    rounds, rest = divmod(count, DIFFERENT)
    if rest:
        raise ValueError(f"count: expected a multiple of {DIFFERENT}, got {count}")
    return Seen(count, rounds * sum(each.sequence for each in readings))


def require(count: int, checksum: int, wanted: int) -> None:
    """Raise unless the work was done: a benchmark that skips messages is very fast."""
    expected = expected_seen(wanted)
    if (count, checksum) != (expected.count, expected.checksum):
        raise AssertionError(
            f"the reactants saw {count} messages with checksum {checksum}, "
            f"expected {expected.count} with {expected.checksum}"
        )
