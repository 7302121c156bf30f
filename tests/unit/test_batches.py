# SPDX-License-Identifier: Apache-2.0
"""What `on(batch=True)` and `collect` take, what they refuse, and what becomes of each kind of value."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Annotated, Any, Optional, Union

import msgspec
import numpy as np
import pytest

from plexo import Cause, Closed, Neuron, NumpyCodec, Plexus, Queue
from plexo._fast.slabs import Slab
from plexo.batches import BatchPlan, columns_of, record_codec
from plexo.collector import MOST_RING_BYTES
from plexo.exceptions import NeuronNotAvailable
from tests.support import Reading, Tick, namespace, reading, run, tick, until

DTYPE = np.dtype([("n", "<i8"), ("x", "<f8")])
sample: Neuron[Any] = Neuron(np.ndarray, namespace, NumpyCodec(DTYPE, ()), type_name_alias="Sample")
track: Neuron[Any] = Neuron(np.ndarray, namespace, NumpyCodec("<f4", (None, 2)), type_name_alias="Track")


class Everything(msgspec.Struct, rename="camel"):
    whole_number: int
    real: float
    on: bool
    gap: float | None
    old_gap: Optional[float]  # noqa: UP045
    other_gap: Union[float, None]  # noqa: UP007
    bounded: Annotated[int, msgspec.Meta(ge=0)]
    twice: Annotated[Annotated[float, "a"], "b"]
    inside: Annotated[float, "a"] | None
    # None of these is a column.
    text: str = ""
    maybe_int: int | None = None
    mixed: int | float = 0
    many: list[int] = []
    nested: Reading | None = None


everything = Neuron(Everything, namespace)


# -- arguments ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"max_batch": 0}, ValueError, "max_batch: expected at least 1, got 0"),
        ({"max_batch": True}, TypeError, "max_batch: expected an int or None, got True"),
        ({"max_batch": 1.5}, TypeError, "max_batch: expected an int"),
        ({"max_batch": 1 << 40}, ValueError, "max_batch: expected at most"),
        ({"max_wait_s": -1}, ValueError, "max_wait_s: expected 0 or more"),
        ({"max_wait_s": float("nan")}, ValueError, "max_wait_s: expected 0 or more"),
        ({"max_wait_s": float("inf")}, ValueError, "max_wait_s: expected 0 or more"),
        ({"max_wait_s": "1"}, TypeError, "max_wait_s: expected seconds"),
        ({"max_wait_s": None}, TypeError, "max_wait_s: expected seconds"),
        ({"queue": "latest"}, ValueError, "queue: 'latest' keeps single messages"),
        ({"queue": Queue("latest")}, ValueError, "queue: 'latest' keeps single messages"),
        ({"queue": 5}, TypeError, "queue: expected a Queue"),
        ({"queue": "newest"}, ValueError, "queue: expected a Queue or one of"),
        ({"columns": True}, TypeError, "columns: expected a neuron of a msgspec.Struct, got"),
    ],
    ids=repr,
)
def test_bad_arguments_are_refused_at_the_call(
    arguments: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with Plexus() as plexus:
        with pytest.raises(kind, match=message):
            plexus.on(sample, batch=True, **arguments)
        # Nothing was taken up for it.
        assert plexus.stats().neurons == {}


def test_arguments_of_batches_without_batch() -> None:
    with Plexus() as plexus:
        given: dict[str, Any]
        for given in ({"max_batch": 3}, {"max_wait_s": 0.1}, {"columns": True}):
            with pytest.raises(ValueError, match="only with batch=True"):
                plexus.on(tick, **given)


def test_functions_that_cannot_react() -> None:
    with Plexus() as plexus:
        for wrong in (lambda: None, 5, lambda a, b, c, d: None):
            with pytest.raises(TypeError):
                plexus.on(tick, batch=True)(wrong)  # type: ignore[type-var]
        assert plexus.stats().neurons == {}


@pytest.mark.parametrize(
    ("neuron", "capacity", "kind", "message"),
    [
        (tick, 10, TypeError, "neuron: expected one with a NumpyCodec of a fixed shape"),
        (track, 10, TypeError, "neuron: expected one with a NumpyCodec of a fixed shape"),
        (sample, 0, ValueError, "capacity: expected at least 1, got 0"),
        (sample, True, TypeError, "capacity: expected an int, got True"),
        (sample, 1e6, TypeError, "capacity: expected an int"),
        (sample, sys.maxsize, ValueError, "capacity: .* more than any memory holds"),
        (sample, MOST_RING_BYTES // 16 + 1, ValueError, "capacity: .* more than any memory holds"),
    ],
)
def test_bad_arguments_of_collect(neuron: Any, capacity: Any, kind: type[Exception], message: str) -> None:
    with Plexus() as plexus:
        with pytest.raises(kind, match=message):
            plexus.collect(neuron, capacity)
        assert plexus.stats().neurons == {}


def test_bad_arguments_of_a_collector() -> None:
    with Plexus() as plexus, plexus.collect(sample, 10) as ring:
        for count in (0, -1, 11, True, 1.0, None):
            with pytest.raises(ValueError, match="count: expected 1 to 10"):
                ring.wait(count)  # type: ignore[arg-type]
        for count in (-1, True, 1.0, None):
            with pytest.raises(ValueError, match="count: expected an int of 0 or more"):
                ring.last(count)  # type: ignore[arg-type]
        assert len(ring.last(1 << 80)) == 0
        assert repr(ring) == "<Collector of 10 records, 0 not drained>"

        async def arrives() -> None:
            with pytest.raises(ValueError, match="count: expected 1 to 10"):
                await ring.arrived(11)

        run(arrives())


def test_filters_and_the_end() -> None:
    plexus = Plexus(ignored_neurons=[sample])
    with pytest.raises(NeuronNotAvailable):
        plexus.collect(sample)
    # As with other reactants: logged, and nothing comes.
    plexus.on(sample, batch=True)(print)
    assert plexus.stats().neurons == {}
    plexus.close()
    with pytest.raises(Closed):
        plexus.on(tick, batch=True)(print)
    with Plexus() as open_plexus:
        ring = open_plexus.collect(sample)
    with pytest.raises(Closed):
        ring.wait()
    with pytest.raises(Closed):
        open_plexus.collect(sample)


def test_a_reactant_is_there_once() -> None:
    async def main() -> None:
        async with Plexus() as plexus:
            got: list[Any] = []
            for _ in range(2):
                assert plexus.on(tick, batch=True)(got.append) == got.append
            plexus.on(tick)(got.append)
            await plexus.transmit(Tick(1))
            await until(lambda: got)
            assert got == [[Tick(1)]]

    run(main())


def test_of_two_neurons_of_one_name_the_first_ones_codec_counts() -> None:
    """Else records of one size would be read as if they had the other."""
    wide: Neuron[Any] = Neuron(np.ndarray, namespace, NumpyCodec("<f8", (1000,)), type_name_alias="Sample")
    assert wide == sample

    async def main() -> None:
        async with Plexus() as plexus:
            await plexus.adapt(sample)
            got: list[Any] = []
            plexus.on(wide, batch=True)(got.append)
            ring = plexus.collect(wide, 4)
            await plexus.transmit(np.zeros((), DTYPE), sample)
            await until(lambda: got)
            assert got[0].dtype == ring.drain().dtype == DTYPE
            ring.close()

    run(main())


def test_numpy_is_loaded_for_those_who_need_it() -> None:
    program = (
        "import sys, plexo, msgspec\n"
        "plexus = plexo.Plexus()\n"
        "plexus.on(plexo.Neuron(int, 'a.b'), batch=True)(lambda batch: print(batch))\n"
        "plexus.transmit_nowait(3)\n"
        "assert 'numpy' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30)
    assert (done.stdout, done.stderr) == ("[3]\n", "")


# -- how long a batch is -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("neuron", "most"),
    [
        (tick, 1024),
        (sample, 4096),
        (track, 1024),
        (Neuron(np.ndarray, namespace, NumpyCodec("u1", (64,)), type_name_alias="A"), 4096),
        (Neuron(np.ndarray, namespace, NumpyCodec("u1", (1024,)), type_name_alias="B"), 256),
        (Neuron(np.ndarray, namespace, NumpyCodec("u1", (1 << 20,)), type_name_alias="C"), 1),
    ],
)
def test_the_usual_length(neuron: Any, most: int) -> None:
    plan = BatchPlan(neuron, Queue("block", 5), None, 0, False)
    assert plan.most == most and plan.queue == Queue("block", 5)
    from plexo._fast.dispatch import DEFAULT_QUEUE

    assert BatchPlan(neuron, DEFAULT_QUEUE, None, 0, False).queue == Queue(
        "block", 4 * most, DEFAULT_QUEUE.bytes
    )


def test_what_has_records() -> None:
    class Own(NumpyCodec):
        def encode(self, data: Any) -> bytes:
            return b"x" + NumpyCodec("<f8", ()).encode(data)

        def decode(self, data: Any) -> Any:
            return NumpyCodec("<f8", ()).decode(bytes(data)[1:])

    def codec_of(codec: Any) -> Any:
        return record_codec(Neuron(np.ndarray, namespace, codec, type_name_alias="X"))

    fixed = NumpyCodec(">i4", (2, 2))
    assert codec_of(fixed) is fixed and fixed.record_bytes == 16
    for none in (NumpyCodec("<f8"), NumpyCodec("<f8", (None, 2)), NumpyCodec("<f8", (0,)), Own("<f8", ())):
        assert codec_of(none) is None
    assert record_codec(tick) is None


def test_from_records() -> None:
    codec = NumpyCodec(">i2", (2,))
    slab = Slab(40)
    view = memoryview(slab)
    view[:] = np.arange(20, dtype="<i2").tobytes()
    view.release()
    array = codec.from_records(slab, 2, 3)
    assert array.tolist() == [[4, 5], [6, 7], [8, 9]] and array.dtype == np.dtype("<i2")
    assert slab.exports == 1
    rows = array[1]
    del array
    assert slab.exports == 1
    del rows
    assert slab.exports == 0
    assert codec.from_records(b"", 0, 0).shape == (0, 2)


def test_a_slab_counts_who_looks_at_it() -> None:
    slab = Slab(16)
    assert (slab.size, slab.exports) == (16, 0)
    views = [memoryview(slab), np.frombuffer(slab, "u1")]
    assert slab.exports == 2
    # Enough for every numpy dtype.
    assert views[1].ctypes.data % np.dtype(np.clongdouble).alignment == 0  # type: ignore[union-attr]
    views.clear()
    assert slab.exports == 0
    with pytest.raises(MemoryError):
        Slab(sys.maxsize)
    assert memoryview(Slab(0)).nbytes == 0


# -- columns -----------------------------------------------------------------------------------------------


def test_which_fields_are_columns() -> None:
    assert columns_of(everything) == (
        ("whole_number", "q"),
        ("real", "d"),
        ("on", "?"),
        ("gap", "d"),
        ("old_gap", "d"),
        ("other_gap", "d"),
        ("bounded", "q"),
        ("twice", "d"),
        ("inside", "d"),
    )


def test_what_has_no_columns() -> None:
    class Words(msgspec.Struct):
        text: str

    with pytest.raises(TypeError, match="columns: Words has no field that is int, float or bool"):
        columns_of(Neuron(Words, namespace))
    for neuron in (Neuron(int, namespace), Neuron(dict, namespace), sample):
        with pytest.raises(TypeError, match=r"columns: expected a neuron of a msgspec\.Struct"):
            columns_of(neuron)


def test_columns_hold_what_the_fields_do() -> None:
    class Child(Everything):
        more: int = 1

    async def main() -> None:
        got: list[Any] = []
        async with Plexus() as plexus:
            plexus.on(everything, batch=True, columns=True)(got.append)
            for n, kind in enumerate((Everything, Child, Everything)):
                await plexus.transmit(
                    kind(-n, n / 2, n == 1, None, 1.0, None, 1 << 62, n, None if n else 2.5), everything
                )
            # A float field may hold an int, and an int field a bool: msgspec takes both for what they are.
            await plexus.transmit(
                Everything(True, 7, False, 3, np.float64(2), 1.0, np.int64(5), 0.0, 1.0), everything
            )
            await until(lambda: got)
        (batch,) = got
        assert batch["whole_number"].tolist() == [0, -1, -2, 1]
        assert batch["real"].tolist() == [0.0, 0.5, 1.0, 7.0]
        assert batch["on"].tolist() == [False, True, False, False]
        assert np.isnan(batch["gap"]).tolist() == [True, True, True, False] and batch["gap"][3] == 3.0
        assert batch["old_gap"].tolist() == [1.0, 1.0, 1.0, 2.0]
        assert batch["bounded"].tolist() == [1 << 62, 1 << 62, 1 << 62, 5]
        assert batch["twice"].tolist() == [0.0, 1.0, 2.0, 0.0]
        assert batch["inside"][0] == 2.5 and np.isnan(batch["inside"][1:3]).all()

    run(main())


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (Everything(1 << 63, 0.0, True, None, None, None, 0, 0.0, None), OverflowError),
        (Everything("1", 0.0, True, None, None, None, 0, 0.0, None), TypeError),  # type: ignore[arg-type]
        (Everything(1, "0", True, None, None, None, 0, 0.0, None), TypeError),  # type: ignore[arg-type]
        (Everything(1, 1 << 5000, True, None, None, None, 0, 0.0, None), OverflowError),
        (Everything(None, 0.0, True, None, None, None, 0, 0.0, None), TypeError),  # type: ignore[arg-type]
    ],
    ids=["too large", "no int", "no float", "too large a float", "None"],
)
def test_a_value_that_is_no_number_of_64_bits(bad: Everything, error: type[Exception]) -> None:
    """A local sender is told; what came over a link is counted and buried. The others go on."""
    good = Everything(5, 0.5, True, None, None, None, 0, 0.0, None)

    async def main() -> None:
        got: list[Any] = []
        failures: list[Any] = []
        async with Plexus(on_error=failures.append) as plexus:
            plexus.on(everything, batch=True, columns=True)(got.append)
            await plexus.transmit(good)
            with pytest.raises(error):
                await plexus.transmit(bad)
            with pytest.raises(error):
                plexus.transmit_nowait(bad)
            route: Any = plexus._get_route(everything)
            # As a link does.
            route.local.receive(bad)
            await plexus.transmit(good)
            await until(lambda: got)
            assert got[0]["whole_number"].tolist() == [5, 5]
            assert [type(failure.error) for failure in failures] == [error]
            assert failures[0].data is bad
            counted = plexus.stats().neurons[everything.name].receiving
            assert counted.dropped == {Cause.REACTANT_ERROR: 1}
            assert (counted.accepted, counted.delivered) == (3, 2)

    run(main())


def test_a_field_that_was_deleted() -> None:
    async def main() -> None:
        got: list[Any] = []
        async with Plexus() as plexus:
            plexus.on(everything, batch=True, columns=True)(got.append)
            value = Everything(5, 0.5, True, None, None, None, 0, 0.0, None)
            del value.real
            with pytest.raises(AttributeError):
                await plexus.transmit(value)

    run(main())


# -- calls -------------------------------------------------------------------------------------------------


def test_it_may_take_the_neuron_and_a_reaction_id() -> None:
    async def main() -> None:
        got: list[Any] = []
        async with Plexus() as plexus:

            @plexus.on(tick, batch=True)
            def one(batch: list[Tick]) -> None:
                got.append(("one", batch))

            @plexus.on(tick, batch=True)
            async def two(batch: list[Tick], neuron: Neuron[Tick]) -> None:
                got.append(("two", batch, neuron))

            @plexus.on(tick, batch=True)
            def three(batch: Any, neuron: Any, reaction_id: Any) -> None:
                got.append(("three", batch, neuron, reaction_id))

            await plexus.transmit(Tick(1))
            await until(lambda: len(got) == 3)
            # Each has a list of its own.
            got[0][1].append("mine")
        assert got == [
            ("one", [Tick(1), "mine"]),
            ("two", [Tick(1)], tick),
            ("three", [Tick(1)], tick, None),
        ]

    run(main())


def test_arrays_of_any_length_and_other_codecs_come_in_lists() -> None:
    async def main() -> None:
        got: list[Any] = []
        async with Plexus() as plexus:
            plexus.on(track, batch=True)(got.append)
            plexus.on(reading, batch=True)(got.append)
            await plexus.transmit(np.zeros((3, 2), "<f4"), track)
            await plexus.transmit(np.zeros((1, 2), "<f4"), track)
            await plexus.transmit(Reading("tank-1", 1.0))
            await until(lambda: len(got) == 2)
        assert [len(each) for each in got[0]] == [3, 1]
        assert got[1] == [Reading("tank-1", 1.0)]

    run(main())


def test_elements_of_an_array_of_records_can_be_transmitted() -> None:
    """`array[i]` is no array, but a numpy.void; a codec says so by `value_types`."""

    async def main() -> None:
        got: list[Any] = []
        async with Plexus() as plexus:
            plexus.on(sample, batch=True)(got.append)
            array = np.zeros(3, DTYPE)
            array["n"] = [1, 2, 3]
            for record in array:
                await plexus.transmit(record, sample)
            await plexus.transmit(array[0:1].reshape(()), sample)
            await until(lambda: got)
        assert got[0]["n"].tolist() == [1, 2, 3, 1]

    run(main())


def test_one_that_raises_what_ends_a_program_is_not_stuck_for_ever() -> None:
    async def main() -> None:
        got: list[int] = []
        async with Plexus() as plexus:

            @plexus.on(tick, batch=True, max_batch=2)
            async def quits(batch: list[Tick]) -> None:
                got.append(batch[0].n)
                if len(got) == 1:
                    raise KeyboardInterrupt

            await plexus.transmit(Tick(0))
            with pytest.raises(KeyboardInterrupt):
                await plexus.transmit(Tick(1))
            for n in (2, 3):
                await plexus.transmit(Tick(n))
            assert got == [0, 2]
            counted = plexus.stats().neurons[tick.name].receiving
            assert (counted.accepted, counted.delivered) == (4, 2)
            assert counted.dropped == {Cause.REACTANT_ERROR: 2}

    run(main())


def test_several_loops_and_threads_are_told_apart() -> None:
    """A reactant that is suspended in the event loop of another thread takes nothing from here."""

    async def main() -> None:
        gate = asyncio.Event()
        begun: list[Any] = []
        async with Plexus() as plexus:

            @plexus.on(tick, batch=True)
            async def stuck(batch: list[Tick]) -> None:
                begun.append(batch)
                await gate.wait()

            await plexus.transmit(Tick(0))
            await until(lambda: begun)

            async def elsewhere() -> None:
                with pytest.raises(RuntimeError, match="another thread"):
                    await plexus.transmit(Tick(1))

            await asyncio.get_running_loop().run_in_executor(None, lambda: asyncio.run(elsewhere()))
            gate.set()
            await until(lambda: plexus.stats().neurons[tick.name].receiving.delivered == 1)

    run(main())
