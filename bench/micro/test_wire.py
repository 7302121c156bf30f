# SPDX-License-Identifier: Apache-2.0
"""Envelope, frame header, topic hash and table, packets, each through its Python face (the call included)."""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from plexo import topic_hash
from plexo._fast.deframer import Probe
from plexo._fast.envelope import build_envelope, parse_envelope
from plexo._fast.frames import build_frame, parse_frame_header
from plexo._fast.pgm import checksum, data_packet, parse_packet
from plexo._fast.topics import TopicTable

TOPIC = b"org.brewery.sake.Reading.msgpack"
PAYLOAD = bytes(64)
ENVELOPE = build_envelope(TOPIC, PAYLOAD)


@pytest.mark.parametrize("size", [64, 4096])
def test_envelope_parse(benchmark: BenchmarkFixture, size: int) -> None:
    message = build_envelope(TOPIC, bytes(size))
    assert benchmark(parse_envelope, message) == (TOPIC, bytes(size))


@pytest.mark.parametrize("size", [64, 4096])
def test_envelope_build(benchmark: BenchmarkFixture, size: int) -> None:
    payload = bytes(size)
    assert parse_envelope(benchmark(build_envelope, TOPIC, payload)) == (TOPIC, payload)


@pytest.mark.parametrize("size", [64, 300], ids=["short", "long"])
def test_frame_header_parse(benchmark: BenchmarkFixture, size: int) -> None:
    found = benchmark(parse_frame_header, build_frame(0, bytes(size)))
    assert found is not None
    assert size in found


def test_frame_build(benchmark: BenchmarkFixture) -> None:
    assert benchmark(build_frame, 0, ENVELOPE).endswith(ENVELOPE)


def test_topic_hash(benchmark: BenchmarkFixture) -> None:
    assert benchmark(topic_hash, TOPIC) == topic_hash(TOPIC.decode())


def _table(topics: int) -> TopicTable[int]:
    table: TopicTable[int] = TopicTable()
    for index in range(topics):
        table.insert(b"org.brewery.sake.Reading%d.msgpack" % index, index)
    return table


@pytest.mark.parametrize("topics", [1, 1000])
def test_topic_table_same_topic(benchmark: BenchmarkFixture, topics: int) -> None:
    """What the last-topic shortcut is for."""
    table = _table(topics)
    assert benchmark(table.get, b"org.brewery.sake.Reading0.msgpack") == 0


def test_topic_table_changing_topics(benchmark: BenchmarkFixture) -> None:
    table = _table(1000)
    wanted = table.topics()

    def look_up() -> int:
        return sum(table.get(topic, -1) for topic in wanted)

    assert benchmark(look_up) == 999 * 1000 // 2


def test_topic_table_unknown_topic(benchmark: BenchmarkFixture) -> None:
    assert benchmark(_table(1000).get, b"org.brewery.sake.Reading1000.msgpack") is None


@pytest.mark.parametrize("size", [16, 1472, 65507])
def test_packet_checksum(benchmark: BenchmarkFixture, size: int) -> None:
    assert benchmark(checksum, b"\xff" * (size & ~1)) == 0


def test_packet_parse(benchmark: BenchmarkFixture) -> None:
    """With its checksum, and a copy of the TSDU that compiled code does without."""
    packet = data_packet(4, b"source", 1, 5561, 7, 5, bytes(1448))
    assert not isinstance(benchmark(parse_packet, packet), int)


def test_deframe(benchmark: BenchmarkFixture) -> None:
    """A hundred packets full of the smallest messages that are likely."""
    message = bytes([len(TOPIC) + 1, 1]) + TOPIC + bytes([17, 0]) + bytes(16)
    tsdus = [bytes(2) + message * (1446 // len(message))] * 100
    stream = Probe(collects=False)
    benchmark(stream.push_many, tsdus, 1)
    assert stream.messages % (1446 // len(message) * 100) == 0
    assert not stream.faults
