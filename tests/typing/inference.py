# SPDX-License-Identifier: Apache-2.0
"""What a type checker makes of programs that use plexo; checked by mypy --strict, never run.

Each `type: ignore` is a proof: strict mode complains where the error it names is not reported.
"""

from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from ipaddress import IPv4Address
from typing import Any
from uuid import UUID

import msgspec
import numpy as np
from numpy.typing import NDArray
from typing_extensions import assert_type

from plexo import (
    Axon,
    Book,
    BytesCodec,
    Collector,
    GanglionInproc,
    GanglionStats,
    GanglionZmqTcpPair,
    GanglionZmqTcpPubSub,
    JsonCodec,
    MsgpackCodec,
    Namespace,
    Neuron,
    NumpyCodec,
    PickleCodec,
    Plexus,
    Stream,
    StringCodec,
    topic_hash,
)
from plexo.typing.codec import Codec
from plexo.typing.ganglion import Ganglion, GanglionExternal


class Reading(msgspec.Struct, frozen=True):
    sensor: str
    celsius: float


class Calibrated(Reading, frozen=True):
    offset: float


brewery = Namespace("org.brewery.sake")
reading = Neuron(Reading, brewery)
text = Neuron(str, "org.brewery.sake", StringCodec())
number = Neuron(np.ndarray, brewery, NumpyCodec("f8", ()), type_name_alias="Number")
numbers = np.zeros(5)
plexus = Plexus(ganglia=[GanglionInproc()])


# -- neurons and codecs ------------------------------------------------------------------------------------

assert_type(reading, Neuron[Reading])
assert_type(text, Neuron[str])
assert_type(Neuron(dict[str, float], brewery, type_name_alias="Readings"), Neuron[dict[str, float]])
assert_type(reading.decode(b""), Reading)
assert_type(reading.type, type[Reading])
assert_type(reading.topic, bytes)
assert_type(topic_hash(reading.name), int)
reading.encode("x")  # type: ignore[arg-type]
Neuron(Reading, 5)  # type: ignore[call-overload]

codecs: list[Codec] = [StringCodec(), BytesCodec(), PickleCodec(), JsonCodec(Reading), MsgpackCodec(Reading)]


# -- on ----------------------------------------------------------------------------------------------------


@plexus.on(reading)
async def log(r: Reading) -> None: ...


@plexus.on(reading)
def plain(r: Reading) -> int:
    return 1


@plexus.on(reading)
async def with_neuron(r: Reading, neuron: Neuron[Reading]) -> None: ...


@plexus.on(reading)
def with_all(r: Reading, neuron: Neuron[Reading], reaction_id: UUID | None) -> None: ...


@plexus.on(reading)
def of_anything(data: object) -> None: ...


assert_type(log, Callable[[Reading], Coroutine[Any, Any, None]])
assert_type(plain, Callable[[Reading], int])
assert_type(with_neuron, Callable[[Reading, Neuron[Reading]], Coroutine[Any, Any, None]])
assert_type(with_all, Callable[[Reading, Neuron[Reading], UUID | None], None])
assert_type(plain(Reading("tank-1", 21.5)), int)


@plexus.on(reading)  # type: ignore[arg-type]
async def of_another_type(r: str) -> None: ...


@plexus.on(reading)  # type: ignore[arg-type]
def of_a_subtype(r: Calibrated) -> None: ...


@plexus.on(reading)  # type: ignore[arg-type]
def with_another_neuron(r: Reading, neuron: Neuron[str]) -> None: ...


@plexus.on(reading)  # type: ignore[arg-type]
def without_arguments() -> None: ...


# -- batches -----------------------------------------------------------------------------------------------

samples = Neuron(np.ndarray[Any, Any], "org.brewery.sake", NumpyCodec("<f8", ()), type_name_alias="Sample")


@plexus.on(reading, batch=True)
async def in_lists(batch: list[Reading]) -> None: ...


@plexus.on(reading, batch=True, max_batch=100, max_wait_s=0.1, queue="drop_oldest", columns=True)
def in_columns(batch: dict[str, Any]) -> int:
    return len(batch)


@plexus.on(samples, batch=True)
def in_arrays(batch: NDArray[Any]) -> None: ...


@plexus.on(reading, batch=True)
def in_lists_with_neuron(batch: list[Reading], neuron: Neuron[Reading]) -> None: ...


@plexus.on(reading, batch=True)  # type: ignore[arg-type]
def of_other_lists(batch: list[str]) -> None: ...


@plexus.on(reading, batch=True)  # type: ignore[arg-type]
def of_none() -> None: ...


assert_type(in_lists, Callable[[list[Reading]], Coroutine[Any, Any, None]])
assert_type(in_columns, Callable[[dict[str, Any]], int])
assert_type(in_arrays, Callable[[np.ndarray[Any, Any]], None])
assert_type(in_lists_with_neuron, Callable[[list[Reading], Neuron[Reading]], None])
plexus.on(reading, max_batch=3)  # type: ignore[call-overload]
assert_type(plexus.collect(samples, 100), Collector)
assert_type(plexus.collect(samples).drain(), NDArray[Any])


async def through_a_collector(collector: Collector) -> None:
    assert_type(collector.last(3), NDArray[Any])
    assert_type(await collector.arrived(10, timeout_s=1), NDArray[Any])
    with collector as same:
        assert_type(same, Collector)
    async with collector as other:
        assert_type(other, Collector)


# -- functions ---------------------------------------------------------------------------------------------


def of_text(line: str) -> None: ...


def prefixed(prefix: str, r: Reading) -> None: ...


plexus.on(reading)(partial(prefixed, "tank"))


# -- a plexus ----------------------------------------------------------------------------------------------


async def through_a_plexus() -> None:
    async with Plexus(ganglia=[GanglionZmqTcpPubSub(bind_interface="127.0.0.1", port_pub=0)]) as inside:
        assert_type(inside, Plexus)

    assert_type(plexus.stream(reading), Stream[Reading])
    async for r in plexus.stream(reading):
        assert_type(r, Reading)
    async with plexus.stream(text) as stream:
        async for line in stream:
            assert_type(line, str)

    await plexus.transmit(Reading("tank-1", 21.5))
    await plexus.transmit(Reading("tank-1", 21.5), reading)
    await plexus.transmit(Calibrated("tank-1", 21.5, 0.1), reading)
    await plexus.transmit("x", reading)  # type: ignore[misc]
    plexus.transmit_nowait(Reading("tank-1", 21.5))
    plexus.transmit_nowait(Reading("tank-1", 21.5), reading)
    plexus.transmit_nowait("x", reading)  # type: ignore[misc]
    assert_type(await plexus.transmit_many([Reading("tank-1", 21.5)]), int)
    await plexus.transmit_many((Reading("tank-1", 21.5) for _ in range(3)), reading)
    await plexus.transmit_many([Calibrated("tank-1", 21.5, 0.1)], reading)
    await plexus.transmit_many(numbers, number)
    await plexus.transmit_many(["x"], reading)  # type: ignore[misc]
    await plexus.transmit_many(Reading("tank-1", 21.5), reading)  # type: ignore[arg-type]
    coroutine: Coroutine[Any, Any, int] = plexus.transmit(Reading("tank-1", 21.5))
    await coroutine

    await plexus.adapt(reading)
    await plexus.adapt(reading, [log])
    await plexus.react(reading, [log, plain, with_neuron, with_all, of_anything, partial(prefixed, "tank")])
    await plexus.react(text, [log])  # type: ignore[list-item]
    await plexus.unreact(reading, [log])
    await plexus.infuse_ganglion(GanglionInproc())


# -- axons and ganglia -------------------------------------------------------------------------------------


async def through_an_axon() -> None:
    axon = Axon(reading, plexus)
    assert_type(axon, Axon[Reading])
    await axon.react([log, plain])
    await axon.react([lambda r: r.celsius])
    await axon.react([of_text])  # type: ignore[list-item]
    await axon.transmit(Reading("tank-1", 21.5))
    await axon.transmit("x")  # type: ignore[arg-type]
    assert_type(await axon.transmit_many([Reading("tank-1", 21.5)]), int)
    await axon.transmit_many(["x"])  # type: ignore[list-item]
    assert_type(axon.neuron, Neuron[Reading])


async def through_ganglia() -> None:
    pair = GanglionZmqTcpPair(peer=(IPv4Address("127.0.0.1"), 5580))
    ganglia: list[Ganglion] = [plexus, pair, GanglionInproc(), GanglionZmqTcpPubSub()]
    external: list[GanglionExternal] = [pair, GanglionZmqTcpPubSub()]
    assert ganglia and external

    await pair.adapt(reading, [log], [raw])
    await pair.react_raw(reading, [raw])
    await pair.transmit(Reading("tank-1", 21.5), reading)
    await pair.transmit("x", reading)  # type: ignore[misc]
    assert_type(await pair.transmit_many([Reading("tank-1", 21.5)], reading), int)
    await GanglionInproc().transmit_many(iter([Reading("tank-1", 21.5)]), reading)
    await pair.transmit_many(["x"], reading)  # type: ignore[misc]
    await pair.transmit_encoded(reading.encode(Reading("tank-1", 21.5)), reading)
    assert_type(pair.stats(), GanglionStats)


async def raw(payload: bytes | bytearray | memoryview | str, neuron: Neuron[Reading]) -> None:
    await gather_one(plexus.transmit(neuron.decode(payload), neuron))


async def gather_one(awaitable: Awaitable[int]) -> None:
    await awaitable


@plexus.respond(text, reading)
async def read_aloud(line: str) -> Reading:
    return Reading(line, 20.0)


@plexus.respond(reading, text)
def describe(r: Reading, neuron: Neuron[Reading]) -> str:
    return r.sensor


assert_type(read_aloud, Callable[[str], Coroutine[Any, Any, Reading]])
assert_type(describe, Callable[[Reading, Neuron[Reading]], str])


@plexus.respond(text, reading)  # type: ignore[arg-type]
async def answers_with_text(line: str) -> str:
    return line


async def through_requests(pair: GanglionZmqTcpPair) -> None:
    assert_type(await plexus.request("tank-1", Reading), Reading)
    assert_type(await plexus.request("tank-1", reading, text, timeout_s=1), Reading)
    assert_type(await pair.request(Reading("tank-1", 21.5), text, reading), str)
    await pair.request("tank-1", text, reading)  # type: ignore[misc]
    await plexus.transmit(Reading("tank-1", 21.5), acked=True, timeout_s=1)
    await pair.transmit(Reading("tank-1", 21.5), reading, acked=True)
    assert_type(pair.stats().acked, Book)
