# SPDX-License-Identifier: Apache-2.0
"""Many values in one call, without sockets: what is taken, what is refused, and local reactants."""

from __future__ import annotations

import asyncio
import itertools
import pickle
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from plexo import (
    AmbiguousNeuron,
    Axon,
    Closed,
    EncodeError,
    GanglionInproc,
    JsonCodec,
    MsgpackCodec,
    Neuron,
    NumpyCodec,
    Plexus,
    Queue,
    StringCodec,
    TransmitterNotFound,
    WrongType,
)
from tests.support import Reading, Tick, namespace, reading, run, tick, until

# Python 3.10 has no groups of exceptions.
GROUPS = sys.version_info >= (3, 11)
text = Neuron(str, namespace, StringCodec())


def test_every_reactant_gets_each_value_in_order_one_at_a_time() -> None:
    async def main() -> None:
        async with Plexus() as plexus:
            plain: list[Tick] = []
            slow: list[Tick] = []
            busy = False

            @plexus.on(tick)
            async def one(value: Tick) -> None:
                nonlocal busy
                assert not busy
                busy = True
                if value.n % 100 == 0:
                    await asyncio.sleep(0)
                slow.append(value)
                busy = False

            plexus.on(tick)(plain.append)
            values = [Tick(n) for n in range(2500)]
            assert await plexus.transmit_many(values) == 5000
            assert slow == plain == values
            assert plain[7] is values[7]
            assert await plexus.transmit_many(iter(values[:3]), tick) == 6
            assert await plexus.transmit_many(tuple(values[:1])) == 2
            assert await plexus.transmit_many({Tick(1): None}) == 2
            assert await plexus.transmit_many([]) == 0
            assert await plexus.transmit_many(iter(()), tick) == 0
            book = plexus.stats().neurons[tick.name].receiving
            assert book.accepted == book.delivered == 5010

    run(main())


def test_what_is_no_batch_is_refused() -> None:
    async def main() -> None:
        async with Plexus() as plexus:
            await plexus.adapt(text)
            await plexus.adapt(tick)
            for one in ("abc", b"abc", bytearray(b"abc"), memoryview(b"abc")):
                for neuron in (None, text):
                    with pytest.raises(
                        TypeError, match="values: expected an iterable of values, or an array"
                    ):
                        await plexus.transmit_many(one, neuron)
            with pytest.raises(TypeError, match="not iterable"):
                await plexus.transmit_many(Tick(1))
            with pytest.raises(TransmitterNotFound):
                await plexus.transmit_many([Tick(1)], reading)
            with pytest.raises(TransmitterNotFound):
                await plexus.transmit_many([Reading("tank", 1.0)])
            await plexus.adapt(Neuron(Tick, namespace, JsonCodec()))
            with pytest.raises(AmbiguousNeuron):
                await plexus.transmit_many([Tick(1)])
        with pytest.raises(Closed):
            await plexus.transmit_many([Tick(1)], tick)
        with pytest.raises(Closed):
            await plexus.transmit_many([])

    run(main())


def test_an_endless_iterable_is_looked_at_one_chunk_ahead() -> None:
    async def main() -> None:
        async with Plexus() as plexus:
            got: list[int] = []
            taken = 0

            def endless() -> Iterator[Tick]:
                nonlocal taken
                for taken in itertools.count(1):
                    yield Tick(taken)

            reached = asyncio.Event()

            @plexus.on(tick)
            def react(value: Tick) -> None:
                got.append(value.n)
                assert taken - value.n <= 1024
                if value.n == 3000:
                    reached.set()

            task = asyncio.create_task(plexus.transmit_many(endless()))
            await asyncio.wait_for(reached.wait(), 10)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert got == list(range(1, len(got) + 1))

    run(main())


def test_an_iterable_that_raises_says_how_far_it_came() -> None:
    async def main() -> None:
        async with Plexus() as plexus:
            got: list[int] = []
            plexus.on(tick)(lambda value: got.append(value.n))

            def failing() -> Iterator[Tick]:
                for n in range(1500):
                    yield Tick(n)
                raise LookupError("no more")

            with pytest.raises(LookupError) as caught:
                await plexus.transmit_many(failing())
            assert vars(caught.value) == {"plexo_sent": 1024}
            assert got == list(range(1024))

    run(main())


@pytest.mark.parametrize("where", ["plexus", "plexus with a bus", "bus"])
def test_errors_of_reactants_come_when_their_chunk_is_done(where: str) -> None:
    async def main() -> None:
        got: list[int] = []

        async def picky(value: Tick) -> None:
            await asyncio.sleep(0)
            if value.n in (3, 5):
                raise ValueError(value.n)
            got.append(value.n)

        bus = GanglionInproc()
        async with bus, Plexus([bus] if where == "plexus with a bus" else []) as plexus:
            place: Any = bus if where == "bus" else plexus
            await place.react(tick, [picky])
            with pytest.raises(Exception, match="2 reactants failed" if GROUPS else "3") as caught:
                await place.transmit_many((Tick(n) for n in range(2000)), tick)
            assert vars(caught.value)["plexo_sent"] == 1024
            assert len(got) == 1022

    run(main())


def test_a_reactant_that_is_cancelled_ends_the_batch() -> None:
    async def main() -> None:
        async with Plexus() as plexus:
            got: list[int] = []

            @plexus.on(tick)
            async def react(value: Tick) -> None:
                if value.n == 7:
                    await asyncio.sleep(10)
                got.append(value.n)

            task = asyncio.create_task(plexus.transmit_many([Tick(n) for n in range(10)]))
            while len(got) < 7:
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert got == list(range(7))
            assert await plexus.transmit_many([Tick(8)]) == 1
            assert got[-1] == 8
            book = plexus.stats().neurons[tick.name].receiving
            assert (book.accepted, book.delivered, book.queued) == (9, 8, 0)

    run(main())


def test_the_event_loop_has_its_turns() -> None:
    async def main() -> None:
        async with Plexus() as plexus:
            turns = 0

            @plexus.on(tick)
            def react(value: Tick) -> None:
                pass

            async def count() -> None:
                nonlocal turns
                while True:
                    turns += 1
                    await asyncio.sleep(0)

            counting = asyncio.create_task(count())
            await plexus.transmit_many([Tick(1)] * 200_000)
            counting.cancel()
            assert turns > 5

    run(main())


@pytest.mark.parametrize("kind", [GanglionInproc, Plexus])
def test_an_axon(kind: Any) -> None:
    async def main() -> None:
        got: list[int] = []
        async with kind() as ganglion:
            axon = Axon(tick, ganglion)
            await axon.react([lambda value: got.append(value.n)])
            assert await axon.transmit_many(Tick(n) for n in range(5)) == 5
            assert got == list(range(5))
            wrong: Any = [Tick(1), "x"]
            with pytest.raises(WrongType, match="at index 1"):
                await axon.transmit_many(wrong)

    run(main())


def test_an_axon_on_a_ganglion_that_knows_no_batches() -> None:
    class Plain:
        sent: list[int] = []  # noqa: RUF012

        async def adapt(self, neuron: Any) -> None: ...

        async def transmit(self, value: Tick, neuron: Any, reaction_id: Any = None) -> int:
            self.sent.append(value.n)
            return 2

    async def main() -> None:
        ganglion: Any = Plain()
        axon = Axon(tick, ganglion)
        assert await axon.transmit_many(Tick(n) for n in range(3)) == 6
        assert ganglion.sent == [0, 1, 2]

    run(main())


def test_a_reactant_that_sends_on_its_own_neuron() -> None:
    async def main() -> None:
        async with Plexus(receive_queue=Queue(messages=5000)) as plexus:
            got: list[int] = []

            @plexus.on(tick)
            async def react(value: Tick) -> None:
                got.append(value.n)
                if value.n == 0:
                    await plexus.transmit_many([Tick(n) for n in range(1, 2000)])

            await plexus.transmit(Tick(0))
            # At once, or where the batch has let the event loop have a turn, by a task of the reactant's own.
            await until(lambda: len(got) == 2000)
            assert got == list(range(2000))

    run(main())


def test_wrong_type_with_its_index_pickles() -> None:
    error = WrongType(Tick, str, "a.Tick.msgpack", 5)
    again = pickle.loads(pickle.dumps(error))
    assert (again.index, str(again)) == (5, str(error))
    assert str(error).endswith("got str at index 5; nothing of its chunk was sent")
    assert WrongType(Tick, str, "a.Tick.msgpack").index is None


# -- arrays ------------------------------------------------------------------------------------------------


def test_local_reactants_get_each_element_of_an_array() -> None:
    np = pytest.importorskip("numpy")
    dtype = np.dtype([("a", "<i4"), ("b", "<f4", (2,))])

    async def main() -> None:
        cases: list[tuple[Any, Any, Any]] = [
            (np.ndarray, NumpyCodec(dtype, ()), np.zeros(3000, dtype)),
            (np.void, NumpyCodec(dtype, ()), np.zeros(3000, dtype)),
            (np.float64, NumpyCodec("f8", ()), np.arange(3000.0)),
            (np.ndarray, NumpyCodec("f8", ()), np.arange(3000.0)),
            (np.ndarray, NumpyCodec("M8[s]", ()), np.arange(30).astype("M8[s]")),
            (np.ndarray, NumpyCodec("f8", (3,)), np.arange(3000.0).reshape(-1, 3)),
            (np.ndarray, NumpyCodec("f8", (3,)), np.arange(3000.0).reshape(3, -1).T),
            (np.ndarray, NumpyCodec("f8", (2, 2)), np.arange(32, dtype=">f8").reshape(-1, 2, 2)),
            (np.ndarray, NumpyCodec("f8", (3,)), np.zeros((0, 3))),
            # Codecs without a fixed size take an array as any other iterable.
            (np.ndarray, NumpyCodec("f8", (None, 3)), np.zeros((5, 4, 3))),
            (np.ndarray, NumpyCodec("f8", (0,)), np.zeros((5, 0))),
        ]
        for number, (kind, codec, array) in enumerate(cases):
            neuron = Neuron(kind, namespace, codec, type_name_alias=f"Case{number}")
            async with Plexus() as plexus:
                got: list[Any] = []
                plexus.on(neuron)(got.append)
                assert await plexus.transmit_many(array, neuron) == len(array)
                assert len(got) == len(array)
                for index, value in enumerate(got):
                    assert neuron.accepts(value), (number, type(value))
                    assert np.array_equal(value, array[index])

    run(main())


def test_arrays_that_do_not_fit() -> None:
    np = pytest.importorskip("numpy")

    async def main() -> None:
        vector = Neuron(np.ndarray, namespace, NumpyCodec("f8", (3,)), type_name_alias="Vector")
        number = Neuron(np.float64, namespace, NumpyCodec("f8", ()), type_name_alias="Number")
        integer = Neuron(int, namespace, NumpyCodec("f8", ()), type_name_alias="Integer")
        async with Plexus() as plexus:
            for neuron in (vector, number, integer):
                await plexus.adapt(neuron)
            for array in (
                np.zeros((2, 3), "f4"),
                np.zeros(3),
                np.zeros((2, 2)),
                np.zeros((2, 2, 3)),
                np.float64(1),
            ):
                with pytest.raises((EncodeError, TypeError)):
                    await plexus.transmit_many(array, vector)
            with pytest.raises(EncodeError, match="first axis counts messages: no axes"):
                await plexus.transmit_many(np.array(1.0), number)
            with pytest.raises(EncodeError, match="expected dtype float64, got int64"):
                await plexus.transmit_many(np.arange(3), number)
            with pytest.raises(WrongType):
                await plexus.transmit_many(np.zeros(3), integer)
            with pytest.raises(EncodeError) as caught:
                await plexus.transmit_many([np.zeros(3), np.zeros(2)], vector)
            assert vars(caught.value)["plexo_index"] == 1

    run(main())


# -- codecs ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", [MsgpackCodec, JsonCodec])
def test_a_codec_that_encodes_otherwise_is_not_passed_by(base: Any) -> None:
    class Louder(base):
        def encode(self, data: Any) -> Any:
            return super().encode(data) + b" "

    assert Neuron(Tick, namespace, base())._encode_into is not None
    assert Neuron(Tick, namespace, Louder())._encode_into is None


def test_the_blocks_of_the_numpy_codec_are_the_encodings() -> None:
    np = pytest.importorskip("numpy")

    class Scaled(NumpyCodec):
        def encode(self, data: Any) -> Any:
            return super().encode(data * 2)

    codec = NumpyCodec("<u2", (2,))
    array = np.arange(12, dtype=">u2").reshape(-1, 2)
    read_only = array.copy()
    read_only.flags.writeable = False
    for values in (array, read_only, array[::2], array[::-1], np.asfortranarray(array)):
        blocks: Iterable[Any] = codec.encode_many(values)
        assert b"".join(map(bytes, blocks)) == b"".join(codec.encode(each) for each in values)
    assert codec.record_bytes == 4
    # What lies there as the wire has it is not copied.
    plain = array.astype("<u2")
    (block,) = codec.encode_many(plain)
    assert np.shares_memory(block, plain)
    assert codec.encode_many([1]) is None
    assert NumpyCodec("<u2").encode_many(array) is None
    assert Neuron(np.ndarray, namespace, Scaled("<u2", (2,)), type_name_alias="S")._encode_many is None
