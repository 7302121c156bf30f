# SPDX-License-Identifier: Apache-2.0
"""What every ganglion lets its users call, what it refuses, and when."""

from __future__ import annotations

import inspect
import logging
from typing import Any

import pytest

from plexo import (
    AckNotSupported,
    MessageTooLarge,
    MsgpackCodec,
    Plexus,
    TransmitterNotFound,
    WrongType,
)
from plexo.codec import BytesCodec, JsonCodec
from plexo.exceptions import NeuronNotAvailable
from plexo.typing.ganglion import Ganglion, GanglionExternal
from tests.conformance.rigs import Gate, Rig, encoding, every, raw, sending
from tests.support import Reading, Tick, reading, run, tick, until

# Parameters by name, in their order; those after the star by name alone.
FACE = {
    "adapt": ("neuron", "reactants", "*queue"),
    "react": ("neuron", "reactants", "*queue"),
    "unreact": ("neuron", "reactants"),
    "update_transmitter": ("neuron",),
    "transmit": ("data", "neuron", "reaction_id"),
    "transmit_many": ("values", "neuron"),
    "capable": ("neuron",),
    "ready": ("peers", "neuron", "timeout_s"),
    "react_dead_letters": ("reactants",),
    "link_events": ("limit",),
    "on_link_event": ("callback",),
    "stats": (),
    "close": (),
    "aclose": (),
}
EXTERNAL_FACE = {
    "react_raw": ("neuron", "raw_reactants", "*queue"),
    "transmit_encoded": ("data", "neuron", "reaction_id"),
}


def parameters(function: Any) -> list[str]:
    return [
        "*" + each.name if each.kind is each.KEYWORD_ONLY else each.name
        for each in inspect.signature(function).parameters.values()
    ]


def close_all(*ganglia: Any) -> None:
    for ganglion in ganglia:
        ganglion.close()


@every()
def test_the_methods_and_what_they_take(rig: Rig) -> None:
    one, other = rig.make()
    assert isinstance(one, Ganglion)
    assert not rig.encodes or isinstance(one, GanglionExternal)
    for name, expected in {**FACE, **(EXTERNAL_FACE if rig.encodes else {})}.items():
        has = parameters(getattr(one, name))
        positional = [each for each in expected if not each.startswith("*")]
        assert [each for each in has if each in expected] == list(expected), name
        # What a kind adds comes behind what all have, or has a place that all callers leave out.
        assert has[: min(2, len(positional))] == positional[:2], name
    assert one.closed is False
    assert repr(one).startswith(f"<{type(one).__name__}")
    close_all(one, other)


@every()
def test_filters(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    only, left_out, by_codec = (
        rig.make(relevant_neurons=[tick]),
        rig.make(ignored_neurons=[tick]),
        rig.make(allowed_codecs=[BytesCodec, JsonCodec]),
    )
    assert [only[0].capable(each) for each in (tick, reading, raw)] == [True, False, False]
    assert [left_out[0].capable(each) for each in (tick, reading, raw)] == [False, True, True]
    assert [by_codec[0].capable(each) for each in (tick, reading, raw)] == [False, False, True]

    async def main() -> None:
        await left_out[0].adapt(tick, [lambda data: None])
        with pytest.raises(TransmitterNotFound):
            await left_out[0].transmit(Tick(1), tick)
        with pytest.raises(NeuronNotAvailable):
            await left_out[0].ready(0, tick)
        # A plexus leaves it out, and goes on with the others.
        async with Plexus([left_out[0], only[0]]) as plexus:
            await plexus.adapt(tick)
            assert tick.name not in left_out[0].stats().neurons
            assert tick.name in only[0].stats().neurons

    with caplog.at_level(logging.WARNING, "plexo"):
        run(main())
    assert [each for each in caplog.records if "not capable of neuron" in each.getMessage()]
    close_all(*only, *left_out, *by_codec)


@every()
@pytest.mark.parametrize("argument", ["relevant_neurons", "ignored_neurons"])
def test_filters_of_something_else_are_refused_by_name(rig: Rig, argument: str) -> None:
    with pytest.raises(TypeError, match=argument):
        rig.make(**{argument: ["tick"]})


@every()
@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"receive_queue": "never"}, ValueError),
        ({"receive_queue": 7}, TypeError),
        ({"on_error": 7}, TypeError),
    ],
)
def test_bad_arguments_are_named(rig: Rig, arguments: Any, error: type[Exception]) -> None:
    (name,) = arguments
    with pytest.raises(error, match=name):
        rig.make(**arguments)


@every()
def test_what_was_never_adapted_is_not_transmitted(rig: Rig) -> None:
    async def main() -> None:
        one, other = rig.make()
        async with one, other:
            for refused in (
                one.transmit(Tick(1), tick),
                one.transmit_many([Tick(1)], tick),
                one.unreact(tick, [print]),
                *([one.transmit_encoded(b"", tick)] if rig.encodes else []),
            ):
                with pytest.raises(TransmitterNotFound, match="adapt"):
                    await refused
            with pytest.raises(TypeError, match="neuron"):
                await one.adapt("tick")
            await one.update_transmitter(tick)
            assert not await one.transmit_many([], tick)

    run(main())


@every()
def test_the_wrong_type_is_refused_before_anything_is_sent(rig: Rig) -> None:
    async def main() -> None:
        one, other = rig.make()
        async with one, other:
            gate = Gate()
            gate.open()
            await other.react(tick, [gate])
            await one.adapt(tick)
            await rig.connected(one, tick)
            with pytest.raises(WrongType):
                await one.transmit(Reading("tank", 1), tick)
            with pytest.raises(WrongType):
                await one.transmit_many([Tick(1), Reading("tank", 1), Tick(2)], tick)
            await one.transmit(Tick(3), tick)
            await until(lambda: gate.got)
            assert gate.got == [Tick(3)]
            if rig.encodes:
                assert sending(one, tick).accepted == 1

    run(main())


@every(lambda rig: rig.limit)
def test_what_is_too_large_is_refused_and_the_largest_arrives(rig: Rig) -> None:
    async def main() -> None:
        assert rig.limit is not None
        arguments, carried, refused = rig.limit
        one, other = rig.make(**arguments)
        async with one, other:
            gate = Gate()
            gate.open()
            await other.react(raw, [gate])
            await one.adapt(raw)
            await rig.connected(one, raw)
            with pytest.raises(MessageTooLarge, match=str(refused)):
                await one.transmit(bytes(refused), raw)
            with pytest.raises(MessageTooLarge):
                await one.transmit_encoded(bytes(refused), raw)
            await one.transmit(b"x" * carried, raw)
            await until(lambda: gate.got)
            assert gate.got == [b"x" * carried]
            assert sending(one, raw).accepted == 1

    run(main())


@encoding
def test_acknowledgements_or_a_word_about_them(rig: Rig) -> None:
    async def main() -> None:
        one, other = rig.make()
        async with one, other:
            gate = Gate()
            gate.open()
            await other.react(tick, [gate])
            await one.adapt(tick)
            await rig.connected(one, tick)
            try:
                await one.transmit(Tick(1), tick, acked=True)
            except AckNotSupported:
                assert gate.got == []
            else:
                assert gate.got == [Tick(1)]

    run(main())


def test_codecs_of_these_tests() -> None:
    assert type(tick.codec) is MsgpackCodec
