# SPDX-License-Identifier: Apache-2.0
"""Routes: from type to neuron, internal ganglia, plexuses in plexuses, reaction ids, streams, axons."""

from __future__ import annotations

import asyncio
import gc
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest

from plexo import (
    AmbiguousNeuron,
    Axon,
    Closed,
    EncodeError,
    GanglionInproc,
    JsonCodec,
    Namespace,
    Neuron,
    Plexus,
    Queue,
    TransmitterNotFound,
    WrongType,
)
from plexo.exceptions import NeuronNotAvailable
from plexo.reaction import ReactionId
from plexo.synapse.inproc import SynapseInproc
from plexo.transmitter import (
    create_external_encoder_transmitter,
    create_external_transmitter,
    create_transmitter,
)
from tests.support import Reading, Tick, namespace, reading, run, tick, until


class Animal(msgspec.Struct):
    legs: int


class Dog(Animal):
    name: str = "dog"


animal = Neuron(Animal, namespace)


# -- from type to neuron -------------------------------------------------------------------------------------------


def test_the_neuron_follows_from_the_type_and_from_its_bases() -> None:
    async def main() -> None:
        plexus = Plexus()
        got: list[Any] = []
        plexus.on(animal)(got.append)
        await plexus.transmit(Animal(4))
        await plexus.transmit(Dog(4))
        assert got == [Animal(4), Dog(4)]
        dog = Neuron(Dog, namespace)
        dogs: list[Any] = []
        plexus.on(dog)(dogs.append)
        await plexus.transmit(Dog(3))
        assert dogs == [Dog(3)]
        assert len(got) == 2

    run(main())


def test_two_neurons_for_one_type_must_be_told_apart() -> None:
    async def main() -> None:
        plexus = Plexus()
        as_json = Neuron(Tick, namespace, JsonCodec(Tick))
        got: list[str] = []
        plexus.on(tick)(lambda data, neuron: got.append(neuron.codec.name))
        plexus.on(as_json)(lambda data, neuron: got.append(neuron.codec.name))
        with pytest.raises(AmbiguousNeuron, match=r"Tick\.json.*Tick\.msgpack"):
            await plexus.transmit(Tick(1))
        with pytest.raises(AmbiguousNeuron):
            plexus.transmit_nowait(Tick(1))
        await plexus.transmit(Tick(1), as_json)
        plexus.transmit_nowait(Tick(1), tick)
        assert got == ["json", "msgpack"]

    run(main())


def test_an_unknown_type_or_neuron_says_what_to_call() -> None:
    async def main() -> None:
        plexus = Plexus()
        await plexus.adapt(tick)
        for call in (plexus.transmit(Reading("a", 1)), plexus.transmit(Reading("a", 1), reading)):
            with pytest.raises(TransmitterNotFound, match="adapt"):
                await call
        with pytest.raises(KeyError):  # 1.0's base
            plexus.transmit_nowait(Reading("a", 1))
        with pytest.raises(WrongType, match="Tick"):
            await plexus.transmit(Reading("a", 1), tick)
        with pytest.raises(TypeError, match="Neuron"):
            await plexus.adapt(Reading)  # type: ignore[arg-type]

    run(main())


def test_equal_neurons_are_one() -> None:
    async def main() -> None:
        plexus = Plexus()
        got: list[Tick] = []
        plexus.on(Neuron(Tick, Namespace("org.brewery.sake")))(got.append)
        await plexus.transmit(Tick(1), Neuron(Tick, "org.brewery.sake"))
        assert got == [Tick(1)]

    run(main())


# -- internal ganglia ----------------------------------------------------------------------------------------------


def test_a_shared_inproc_ganglion_joins_plexuses_and_each_message_comes_once() -> None:
    async def main() -> None:
        bus = GanglionInproc()
        plexuses = [Plexus([bus]) for _ in range(3)]
        got: list[list[Tick]] = [[] for _ in range(4)]
        for plexus, seen in zip(plexuses, got, strict=False):
            plexus.on(tick)(seen.append)
        await bus.react(tick, [got[3].append])
        sent = Tick(1)
        await plexuses[0].transmit(sent)
        assert all(len(seen) == 1 and seen[0] is sent for seen in got)
        await bus.transmit(Tick(2), tick)
        assert all(seen == [Tick(1), Tick(2)] for seen in got)
        plexuses[1].transmit_nowait(Tick(3))
        assert all(seen[-1] == Tick(3) and len(seen) == 3 for seen in got)

    run(main())


def test_two_buses_between_two_plexuses_are_no_circle() -> None:
    async def main() -> None:
        first, second = GanglionInproc(), GanglionInproc()
        a, b = Plexus([first, second]), Plexus([first, second])
        got_a: list[Tick] = []
        got_b: list[Tick] = []
        a.on(tick)(got_a.append)
        b.on(tick)(got_b.append)
        await a.transmit(Tick(1))
        await b.transmit(Tick(2))
        assert got_a == [Tick(1), Tick(2)]
        assert got_b == [Tick(1), Tick(2)]

    run(main())


def test_a_plexus_in_a_plexus() -> None:
    async def main() -> None:
        inner = Plexus()
        outer = Plexus([inner])
        got_inner: list[Tick] = []
        got_outer: list[Tick] = []
        inner.on(tick)(got_inner.append)

        @outer.on(tick)
        async def react(data: Tick) -> None:
            await asyncio.sleep(0)
            got_outer.append(data)

        await outer.transmit(Tick(1))
        assert got_inner == [Tick(1)]
        await inner.transmit(Tick(2))
        assert got_inner == [Tick(1), Tick(2)]
        assert got_outer == [Tick(1), Tick(2)]

    run(main())


def test_errors_pass_through_internal_ganglia_to_the_sender() -> None:
    async def main() -> None:
        bus = GanglionInproc()
        a, b = Plexus([bus]), Plexus([bus])

        @b.on(tick)
        async def bad(data: Tick) -> None:
            await asyncio.sleep(0)
            raise ZeroDivisionError

        await a.adapt(tick)
        with pytest.raises(ZeroDivisionError):
            await a.transmit(Tick(1))

    run(main())


@pytest.mark.parametrize("late", [False, True])
def test_an_error_in_one_place_lets_reactants_in_the_others_finish(late: bool) -> None:
    async def main() -> None:
        first, second = GanglionInproc(), GanglionInproc()
        plexus = Plexus([first, second])
        finished: list[str] = []

        async def bad(data: Tick) -> None:
            if late:
                await asyncio.sleep(0)
            raise ZeroDivisionError

        async def worse(data: Tick) -> None:
            raise KeyError

        async def good(data: Tick) -> None:
            await asyncio.sleep(0.002)
            finished.append("good")

        await first.react(tick, [bad])
        await second.react(tick, [good])
        await plexus.react(tick, [worse])
        with pytest.raises(Exception) as caught:
            await plexus.transmit(Tick(1))
        errors = getattr(caught.value, "exceptions", None) or (
            caught.value,
            *caught.value.plexo_other_errors,  # type: ignore[attr-defined]
        )
        assert {type(error) for error in errors} == {ZeroDivisionError, KeyError}
        assert finished == ["good"]

    run(main())


def test_a_ganglion_joined_later_takes_up_what_is_adapted() -> None:
    async def main() -> None:
        bus = GanglionInproc()
        a, b = Plexus(), Plexus([bus])
        got: list[Tick] = []
        b.on(tick)(got.append)
        await a.adapt(tick)
        await a.transmit(Tick(1))
        await a.infuse_ganglion(bus)
        await a.infuse_ganglion(bus)
        await a.transmit(Tick(2))
        assert got == [Tick(2)]

    run(main())


def test_what_is_no_ganglion_is_refused() -> None:
    plexus = Plexus()
    with pytest.raises(TypeError, match="ganglia"):
        Plexus([object()])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="itself"):
        run(plexus.infuse_ganglion(plexus))


def test_filters_of_plexus_and_inproc(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        plexus = Plexus(relevant_neurons=[tick])
        assert plexus.capable(tick)
        assert not plexus.capable(reading)
        got: list[Any] = []
        await plexus.react(reading, [got.append])
        assert "not capable" in caplog.text
        with pytest.raises(TransmitterNotFound):
            await plexus.transmit(Reading("a", 1), reading)
        ganglion = GanglionInproc(ignored_neurons=[tick], allowed_codecs=[JsonCodec])
        assert not ganglion.capable(tick)
        assert not ganglion.capable(reading)
        assert ganglion.capable(Neuron(Reading, namespace, JsonCodec(Reading)))
        with pytest.raises(TransmitterNotFound, match="adapt"):
            await ganglion.transmit(Tick(1), tick)

    run(main())


def test_a_closed_plexus_refuses() -> None:
    async def main() -> None:
        plexus = Plexus()
        await plexus.adapt(tick)
        await plexus.transmit(Tick(1))
        async with plexus:
            pass
        for call in (plexus.transmit(Tick(1)), plexus.transmit(Tick(1), tick), plexus.adapt(tick)):
            with pytest.raises(Closed):
                await call
        with pytest.raises(Closed):
            async with plexus:
                pass

    run(main())


# -- reaction ids --------------------------------------------------------------------------------------------------


def test_a_reaction_id_is_made_at_the_first_look_and_stays() -> None:
    one, other = ReactionId.begin(), ReactionId.begin()
    assert isinstance(one, UUID)
    assert one == one
    assert one != other
    assert one.version == 4
    assert hash(one) == hash(UUID(str(one)))
    assert UUID(str(one)) == one
    assert str(one.is_safe)
    assert len({one, other, UUID(str(one))}) == 2


def test_a_given_reaction_id_is_passed_on() -> None:
    async def main() -> None:
        plexus = Plexus()
        got: list[Any] = []
        plexus.on(tick)(lambda data, neuron, reaction_id: got.append(reaction_id))
        mine = uuid4()
        await plexus.transmit(Tick(1), tick, mine)
        await plexus.transmit(Tick(1), tick)
        assert got == [mine, None]

    run(main())


# -- streams -------------------------------------------------------------------------------------------------------


def test_a_stream_gives_messages_in_order_from_its_making_to_its_closing() -> None:
    async def main() -> None:
        plexus = Plexus()
        stream = plexus.stream(tick)
        for n in range(10):
            await plexus.transmit(Tick(n))
        got = []
        async for data in stream:
            got.append(data.n)
            if data.n == 9:
                break
        assert got == list(range(10))
        stream.close()
        await plexus.transmit(Tick(10))
        with pytest.raises(StopAsyncIteration):
            await anext(stream)

    run(main())


def test_leaving_the_loop_ends_the_subscription() -> None:
    async def main() -> None:
        plexus = Plexus()
        await plexus.adapt(tick)

        async def send() -> None:
            await asyncio.sleep(0)
            await plexus.transmit(Tick(11))

        sender = asyncio.create_task(send())
        async for data in plexus.stream(tick):
            assert data == Tick(11)
            break
        await sender
        assert len(plexus._get_route(tick).local) == 0  # type: ignore[union-attr]

    run(main())


def test_a_stream_waits_for_messages_and_wakes_up() -> None:
    async def main() -> None:
        plexus = Plexus()
        got: list[int] = []

        async def read() -> None:
            async with plexus.stream(tick) as stream:
                async for data in stream:
                    got.append(data.n)
                    if data.n == 4:
                        return

        reader = asyncio.create_task(read())
        await asyncio.sleep(0)
        for n in range(5):
            await plexus.transmit(Tick(n))
            await asyncio.sleep(0)
        await reader
        assert got == [0, 1, 2, 3, 4]
        assert len(plexus._get_route(tick).local) == 0  # type: ignore[union-attr]

    run(main())


def test_a_full_stream_holds_the_sender_up() -> None:
    async def main() -> None:
        plexus = Plexus()
        async with plexus.stream(tick, Queue(messages=2)) as stream:
            await plexus.transmit(Tick(0))
            await plexus.transmit(Tick(1))
            held_up = asyncio.create_task(plexus.transmit(Tick(2)))
            behind = asyncio.create_task(plexus.transmit(Tick(3)))
            for _ in range(5):
                await asyncio.sleep(0)
            assert not held_up.done()
            assert await anext(stream) == Tick(0)
            await held_up
            assert not behind.done()
            assert [await anext(stream), await anext(stream)] == [Tick(1), Tick(2)]
            await behind
            assert await anext(stream) == Tick(3)
            assert plexus.stats().balanced

    run(main())


def test_closing_a_stream_releases_its_reader_and_its_sender() -> None:
    async def main() -> None:
        plexus = Plexus()
        stream = plexus.stream(tick, Queue(messages=1))
        await plexus.transmit(Tick(0))
        sender = asyncio.create_task(plexus.transmit(Tick(1)))
        await asyncio.sleep(0)
        assert not sender.done()
        stream.close()
        await sender
        assert [data async for data in stream] == [Tick(0), Tick(1)]
        stream = plexus.stream(tick)

        async def read() -> list[Tick]:
            return [data async for data in stream]

        reader = asyncio.create_task(read())
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="one reader"):
            await anext(stream)
        stream.close()
        assert await reader == []
        with pytest.raises(Closed):
            async with stream:
                pass
        with pytest.raises(ValueError, match="messages"):
            plexus.stream(tick, Queue(messages=0))

    run(main())


def test_closing_the_plexus_ends_its_streams_and_a_stream_of_nothing_is_refused() -> None:
    async def main() -> None:
        plexus = Plexus(ignored_neurons=[reading])
        stream = plexus.stream(tick)
        reader = asyncio.create_task(anext(stream))
        await asyncio.sleep(0)
        await plexus.aclose()
        with pytest.raises(StopAsyncIteration):
            await reader
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        with pytest.raises(NeuronNotAvailable, match="filters"):
            Plexus(ignored_neurons=[reading]).stream(reading)

    run(main())


def test_a_ring_of_plexuses_is_refused() -> None:
    inner = Plexus()
    middle = Plexus([inner])
    with pytest.raises(ValueError, match="itself"):
        run(inner.infuse_ganglion(Plexus([middle])))


def test_a_codec_that_looks_closer_is_asked_before_anything_is_sent() -> None:
    np = pytest.importorskip("numpy", reason="numpy is not installed")

    async def main() -> None:
        from plexo import NumpyCodec

        pixels = Neuron(np.ndarray, namespace, NumpyCodec("u1", (2,)), "Pixels")
        bus = GanglionInproc()
        plexus = Plexus([bus])
        got: list[Any] = []
        plexus.on(pixels)(got.append)
        for call in (plexus.transmit(np.zeros(9), pixels), bus.transmit(np.zeros((2, 2), "u1"), pixels)):
            with pytest.raises(EncodeError, match="expected"):
                await call
        with pytest.raises(EncodeError, match="dtype"):
            plexus.transmit_nowait(np.zeros(9))
        assert got == []
        await plexus.transmit(np.zeros(2, "u1"))
        assert len(got) == 1

    run(main())


# -- 1.0's smaller parts -------------------------------------------------------------------------------------------


def test_an_axon_adapts_by_itself() -> None:
    plexus = Plexus()
    axon = Axon(tick, plexus)
    got: list[Tick] = []
    run(axon.react([got.append]))
    run(axon.transmit(Tick(1)))
    run(Axon(tick, Plexus()).transmit(Tick(2)))
    assert got == [Tick(1)]
    with pytest.raises(TypeError, match="neuron"):
        Axon(Tick, plexus)  # type: ignore[arg-type]

    async def as_task() -> None:
        await asyncio.create_task(axon.transmit(Tick(3)))

    run(as_task())
    assert got == [Tick(1), Tick(3)]


def test_transmitters_and_synapses() -> None:
    class Wire:
        def __init__(self) -> None:
            self.sent: list[Any] = []

        async def transmit(self, data: Any, reaction_id: UUID | None = None) -> None:
            self.sent.append((data, reaction_id))

    async def main() -> None:
        got: list[Tick] = []
        synapse = SynapseInproc(tick, [got.append])
        transmit = create_transmitter(synapse)
        await transmit(Tick(1))
        await synapse.add_reactants([lambda data: got.append(data)])
        await synapse.transmit(Tick(2))
        await synapse.transduce(Tick(3))
        assert got == [Tick(1), Tick(2), Tick(2), Tick(3), Tick(3)]
        synapse.close()
        wire: Any = Wire()
        mine = uuid4()
        await create_external_transmitter(wire)(b"raw", mine)
        await create_external_encoder_transmitter(wire, str.encode)("text")
        assert wire.sent == [(b"raw", mine), (b"text", None)]

    run(main())


def test_dropping_a_plexus_frees_it() -> None:
    import weakref

    async def main() -> weakref.ref[Plexus]:
        plexus = Plexus([GanglionInproc()])
        plexus.on(tick)(lambda data: None)
        await plexus.transmit(Tick(1))
        await until(lambda: True)
        return weakref.ref(plexus)

    gone = run(main())
    gc.collect()
    assert gone() is None
