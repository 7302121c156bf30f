# SPDX-License-Identifier: Apache-2.0
"""Request and reply: on a pair, through plexuses, within one process; errors, bounds, and who gives up."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from plexo import (
    AckNotSupported,
    AmbiguousNeuron,
    Cause,
    Closed,
    DecodeError,
    GanglionInproc,
    GanglionZmqTcpPair,
    JsonCodec,
    MessageTooLarge,
    MsgpackCodec,
    Neuron,
    NoResponder,
    NotDelivered,
    Plexus,
    RemoteError,
    RequestTimeout,
    TransmitterNotFound,
    WrongType,
)
from plexo._fast.envelope import build_envelope
from plexo._proto.delivery import PROPERTY, Done, Reply, encode_answer, encode_ask, encode_settle
from plexo.exceptions import NeuronNotAvailable
from plexo.ganglion.endpoint import host_of
from tests.support import GREETING, RawPeer, Tick, frame, in_thread, namespace, run, tick, until, within

HOST = "127.0.0.1"


class Ask(msgspec.Struct, frozen=True):
    number: int


class Square(msgspec.Struct, frozen=True):
    number: int
    square: int


ask = Neuron(Ask, namespace)
square = Neuron(Square, namespace)


def bound(**arguments: Any) -> GanglionZmqTcpPair:
    return GanglionZmqTcpPair(HOST, 0, **arguments)


def connecting(to: GanglionZmqTcpPair, **arguments: Any) -> GanglionZmqTcpPair:
    return GanglionZmqTcpPair(peer=to.endpoint, reconnect_min_s=0.005, reconnect_max_s=0.02, **arguments)


@contextlib.asynccontextmanager
async def asker_and_responder(**arguments: Any) -> AsyncIterator[tuple[Plexus, Plexus]]:
    """`arguments` are the responder's."""
    binding = bound(**arguments)
    async with Plexus([binding]) as responder, Plexus([connecting(binding)]) as asker:
        yield asker, responder


def pair_of(plexus: Plexus) -> GanglionZmqTcpPair:
    ganglion = plexus.ganglia[0]
    assert isinstance(ganglion, GanglionZmqTcpPair)
    return ganglion


def peer_host(plexus: Plexus) -> str:
    return host_of(pair_of(plexus).peers_connected[0])


class RawPlexo(RawPeer):
    """A raw socket that has announced the extension, and has shaken hands."""

    def __init__(self, port: int) -> None:
        super().__init__(port, None)
        ready = b"\x05READY\x0bSocket-Type" + struct.pack(">I", 4) + b"PAIR"
        ready += bytes([len(PROPERTY)]) + PROPERTY.encode() + struct.pack(">I", 17) + b"\x01" + bytes(16)
        self.socket.sendall(GREETING + frame(ready, 4))
        self.read_exactly(64)
        self.read_frame()

    def ask(self, id: int, number: int) -> None:
        self.socket.sendall(encode_ask(id, build_envelope(ask.topic, bytes(ask.encode(Ask(number))))))


# -- answers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["async", "plain", "with the neuron", "an object that is called"])
def test_a_question_is_answered(kind: str) -> None:
    async def main() -> None:
        async with asker_and_responder() as (asker, responder):
            if kind == "async":

                @responder.respond(ask, square)
                async def answer(question: Ask) -> Square:
                    await asyncio.sleep(0)
                    return Square(question.number, question.number**2)

            elif kind == "plain":

                @responder.respond(ask, square)
                def answer_plainly(question: Ask) -> Square:
                    return Square(question.number, question.number**2)

            elif kind == "with the neuron":

                @responder.respond(ask, square)
                async def answer_for(question: Ask, neuron: Neuron[Ask]) -> Square:
                    assert neuron is ask
                    return Square(question.number, question.number**2)

            else:

                class Machine:
                    def __call__(self, question: Ask) -> Square:
                        return Square(question.number, question.number**2)

                responder.respond(ask, square)(Machine())

            answered = await within(asker.request(Ask(7), Square, ask))
            assert answered == Square(7, 49)
            assert await within(asker.request(Ask(8), square, ask)) == Square(8, 64)

    run(main())


def test_without_the_neuron_it_follows_from_the_type() -> None:
    async def main() -> None:
        async with asker_and_responder() as (asker, responder):
            responder.respond(ask, square)(lambda question: Square(question.number, 0))
            with pytest.raises(TransmitterNotFound):
                await asker.request(Ask(1), Square)
            await asker.adapt(ask)
            assert await within(asker.request(Ask(1), Square)) == Square(1, 0)

    run(main())


def test_the_answers_neuron_is_the_one_known_here() -> None:
    async def main() -> None:
        json = Neuron(Square, namespace, JsonCodec())
        async with asker_and_responder() as (asker, responder):
            responder.respond(ask, json)(lambda question: Square(question.number, 1))
            with pytest.raises(DecodeError, match=r"Square\.json, expected .*Square\.msgpack"):
                await within(asker.request(Ask(1), Square, ask))
            await asker.adapt(json)
            assert await within(asker.request(Ask(1), Square, ask)) == Square(1, 1)
            await asker.adapt(Neuron(Square, namespace, MsgpackCodec()))
            with pytest.raises(AmbiguousNeuron, match="several neurons"):
                await asker.request(Ask(1), Square, ask)

    run(main())


def test_many_at_a_time_in_both_directions() -> None:
    async def main() -> None:
        async with asker_and_responder() as (left, right):
            for plexus in (left, right):

                @plexus.respond(ask, square)
                async def answer(question: Ask) -> Square:
                    await asyncio.sleep(0.001 * (question.number % 7))
                    return Square(question.number, question.number**2)

            # A local responder would answer: ask the ganglia themselves.
            asked = [
                pair_of(plexus).request(Ask(n), square, ask) for plexus in (left, right) for n in range(600)
            ]
            answers = await within(asyncio.gather(*asked))
            assert answers == [Square(n, n * n) for n in range(600)] * 2

    run(main())


def test_a_pair_alone_asks_and_answers() -> None:
    async def main() -> None:
        async with bound() as responder, connecting(responder) as asker:

            @responder.respond(ask, square)
            async def answer(question: Ask) -> Square:
                return Square(question.number, 0)

            assert await within(asker.request(Ask(1), Square, ask)) == Square(1, 0)
            with pytest.raises(ValueError, match="is answered by"):
                responder.respond(ask, square)(lambda question: Square(0, 0))

    run(main())


# -- within one process ------------------------------------------------------------------------------------


def test_a_responder_here_answers_without_the_network() -> None:
    async def main() -> None:
        async with Plexus() as plexus:

            @plexus.respond(ask, square)
            async def answer(question: Ask) -> Square:
                if question.number < 0:
                    raise ValueError("negative")
                if question.number > 9:
                    await asyncio.Event().wait()
                return Square(question.number, question.number**2)

            assert await within(plexus.request(Ask(3), Square)) == Square(3, 9)
            with pytest.raises(RemoteError, match="ValueError: negative") as caught:
                await within(plexus.request(Ask(-3), Square))
            assert caught.value.peer == ""
            assert isinstance(caught.value.__cause__, ValueError)
            with pytest.raises(RequestTimeout):
                await within(plexus.request(Ask(10), Square, timeout_s=0.02))
            with pytest.raises(DecodeError, match="expected"):
                await within(plexus.request(Ask(3), Tick))
            asking = asyncio.create_task(plexus.request(Ask(10), Square))
            await asyncio.sleep(0)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking

    run(main())


def test_plexuses_inside_each_other_share_responders_and_pairs() -> None:
    async def main() -> None:
        binding = bound()
        dialling = connecting(binding)
        async with (
            Plexus([binding]) as far,
            Plexus([dialling]) as inner,
            Plexus([inner, GanglionInproc()]) as outer,
        ):
            # From outside through the inner one's pair, and from the pair's peer to a responder outside.
            far.respond(ask, square)(lambda question: Square(question.number, 1))
            assert await within(outer.request(Ask(1), square, ask)) == Square(1, 1)
            question, reply = Neuron(Tick, namespace), Neuron(Tick, namespace, None, "Tock")
            outer.respond(question, reply)(lambda data: Tick(data.n + 1))
            assert await within(far.request(Tick(1), reply, question)) == Tick(2)
            # A responder of the inner one answers the outer one.
            # One that joins the inner one later brings its peer to the responder outside.
            late = bound()
            async with Plexus([connecting(late)]) as last:
                await inner.infuse_ganglion(late)
                assert await within(last.request(Tick(4), reply, question)) == Tick(5)
                assert await within(inner.request(Tick(6), reply, question)) == Tick(7)
            inner.respond(Neuron(Tick, namespace, None, "Own"), tick)(lambda data: Tick(0))
            assert await within(outer.request(Tick(9), tick, Neuron(Tick, namespace, None, "Own"))) == Tick(0)

    run(main())


def test_a_ganglion_that_joins_later_brings_its_peer_to_the_responders() -> None:
    async def main() -> None:
        async with Plexus() as responder:
            responder.respond(ask, square)(lambda question: Square(question.number, 2))
            binding = bound()
            async with Plexus([connecting(binding)]) as asker:
                await responder.infuse_ganglion(binding)
                assert await within(asker.request(Ask(1), Square, ask)) == Square(1, 2)

    run(main())


def test_the_first_pair_with_a_responder_answers() -> None:
    async def main() -> None:
        one, other = bound(), bound()
        async with (
            Plexus([one]) as without,
            Plexus([other]) as responder,
            Plexus([connecting(one), connecting(other), GanglionZmqTcpPair(peer=(HOST, 1))]) as asker,
        ):
            responder.respond(ask, square)(lambda question: Square(question.number, 3))
            await until(lambda: len(pair_of(without).peers_connected) == 1)
            await until(lambda: asker.ganglia[1].peers_connected)  # type: ignore[union-attr]
            assert await within(asker.request(Ask(1), Square, ask)) == Square(1, 3)

    run(main())


# -- errors ------------------------------------------------------------------------------------------------


class Secret(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even a text")


@pytest.mark.parametrize("is_async", [True, False])
def test_what_a_responder_raises_comes_as_name_and_text(is_async: bool) -> None:
    async def main() -> None:
        async with asker_and_responder() as (asker, responder):

            def fail(question: Ask) -> Square:
                raise Secret if question.number else LookupError("é" * 900)

            async def fail_later(question: Ask) -> Square:
                await asyncio.sleep(0)
                return fail(question)

            responder.respond(ask, square)(fail_later if is_async else fail)
            with pytest.raises(RemoteError) as caught:
                await within(asker.request(Ask(0), Square, ask))
            assert (caught.value.kind, caught.value.text) == ("LookupError", "é" * 500)
            with pytest.raises(RemoteError) as caught:
                await within(asker.request(Ask(1), Square, ask))
            assert (caught.value.kind, caught.value.text) == ("Secret", "")
            assert responder.stats().faults[Cause.REACTANT_ERROR, ask.name, peer_host(responder)] == 2

    run(main())


def test_a_responder_that_answers_with_something_else() -> None:
    async def main() -> None:
        async with asker_and_responder() as (asker, responder):
            responder.respond(ask, square)(lambda question: "forty-nine")  # type: ignore[arg-type,return-value]
            with pytest.raises(RemoteError, match="WrongType"):
                await within(asker.request(Ask(7), Square, ask))

    run(main())


def test_nobody_answers() -> None:
    async def main() -> None:
        async with asker_and_responder() as (asker, responder):
            with pytest.raises(NoResponder, match="nobody who answers"):
                await within(asker.request(Ask(7), Square, ask))
            assert pair_of(responder).stats().fault_count(Cause.UNKNOWN_TOPIC) == 1
        async with Plexus([GanglionInproc()]) as alone:
            with pytest.raises(NoResponder, match="no pair carries it"):
                await alone.request(Ask(7), Square, ask)

    run(main())


def test_no_answer_in_time() -> None:
    async def main() -> None:
        async with asker_and_responder() as (asker, responder):
            gate = asyncio.Event()

            @responder.respond(ask, square)
            async def answer(question: Ask) -> Square:
                await gate.wait()
                return Square(question.number, 0)

            with pytest.raises(RequestTimeout, match="no answer to") as caught:
                await within(asker.request(Ask(1), Square, ask, timeout_s=0.05))
            assert isinstance(caught.value, TimeoutError)
            asking = asyncio.create_task(asker.request(Ask(2), Square, ask))
            await until(lambda: len(pair_of(asker)._requests._asked) == 1)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            # Late answers are nobody's, and counted.
            gate.set()
            await until(lambda: pair_of(asker).stats().fault_count(Cause.WITHDRAWN) == 2)
            assert await within(asker.request(Ask(3), Square, ask)) == Square(3, 0)

    run(main())


def test_no_peer_in_time_and_one_that_comes_late() -> None:
    async def main() -> None:
        binding = bound()
        async with Plexus([binding]) as asker:
            with pytest.raises(RequestTimeout, match="no peer is connected"):
                await within(asker.request(Ask(1), Square, ask, timeout_s=0.05))
            asking = asyncio.create_task(asker.request(Ask(1), Square, ask))
            async with Plexus([connecting(binding)]) as responder:
                responder.respond(ask, square)(lambda question: Square(1, 1))
                assert await within(asking) == Square(1, 1)

    run(main())


def test_a_broken_link_is_told_at_once_and_the_question_is_not_repeated() -> None:
    async def main() -> None:
        async with asker_and_responder() as (asker, responder):
            asked: list[Ask] = []

            @responder.respond(ask, square)
            async def answer(question: Ask) -> Square:
                asked.append(question)
                if question.number == 1:
                    await asyncio.Event().wait()
                return Square(question.number, 0)

            asking = asyncio.create_task(asker.request(Ask(1), Square, ask))
            await until(lambda: asked)
            for connection in list(pair_of(responder)._connections):
                connection.lost(ConnectionResetError(104, "reset by the test"), False)
            with pytest.raises(NotDelivered, match="broke before the answer") as caught:
                await within(asking)
            assert not caught.value.will_retry
            assert await within(asker.request(Ask(2), Square, ask)) == Square(2, 0)
            assert asked == [Ask(1), Ask(2)]

    run(main())


def test_closing_ends_handlers_and_askers() -> None:
    async def main() -> None:
        async with asker_and_responder() as (asker, responder):
            ended: list[str] = []

            @responder.respond(ask, square)
            async def answer(question: Ask) -> Square:
                try:
                    await asyncio.Event().wait()
                finally:
                    ended.append("cancelled")
                raise AssertionError

            first = asyncio.create_task(asker.request(Ask(1), Square, ask))
            await until(lambda: len(pair_of(responder)._tasks))
            await responder.aclose()
            assert ended == ["cancelled"]
            with pytest.raises(NotDelivered):
                await within(first)
            second = asyncio.create_task(asker.request(Ask(2), Square, ask))
            await until(lambda: pair_of(asker)._requests._waiting)
            await asker.aclose()
            with pytest.raises(NotDelivered, match="was closed before the answer"):
                await within(second)
            with pytest.raises(Closed):
                await asker.request(Ask(3), Square, ask)
            with pytest.raises(Closed):
                responder.respond(ask, square)(print)

    run(main())


def test_misuse_is_told_at_the_call() -> None:
    async def main() -> None:
        async with asker_and_responder() as (asker, responder):
            responder.respond(ask, square)(lambda question: Square(1, 1))
            with pytest.raises(ValueError, match="is answered by"):
                responder.respond(ask, square)(lambda question: Square(2, 2))
            with pytest.raises(TypeError, match="ask: expected a Neuron"):
                responder.respond(Ask, square)(lambda question: Square(2, 2))  # type: ignore[arg-type]
            with pytest.raises(TypeError, match="answer: expected a Neuron"):
                responder.respond(tick, Square)(lambda question: Square(2, 2))  # type: ignore[arg-type]
            with pytest.raises(TypeError, match="callable"):
                responder.respond(tick, square)(None)  # type: ignore[arg-type]
            with pytest.raises(TypeError, match="question"):
                responder.respond(tick, square)(lambda a, b, c: Square(2, 2))  # type: ignore[arg-type,misc]
            with pytest.raises(WrongType):
                await asker.request(Square(1, 1), Square, ask)  # type: ignore[arg-type]
            with pytest.raises(ValueError, match="timeout_s"):
                await asker.request(Ask(1), Square, ask, timeout_s=0)
            with pytest.raises(TypeError, match="neuron: expected a Neuron"):
                await asker.request(Ask(1), Square, Ask)  # type: ignore[arg-type]
        async with Plexus(ignored_neurons=[ask]) as without:
            with pytest.raises(NeuronNotAvailable):
                without.respond(ask, square)(lambda question: Square(1, 1))

    run(main())


def test_questions_and_answers_have_the_size_of_messages() -> None:
    async def main() -> None:
        text = Neuron(str, namespace)
        async with asker_and_responder(max_frame_bytes=2000) as (asker, responder):
            responder.respond(text, text)(lambda question: "x" * int(question))
            assert await within(asker.request("1000", str, text)) == "x" * 1000
            with pytest.raises(RemoteError, match="MessageTooLarge"):
                await within(asker.request("3000", str, text))
        async with bound(max_frame_bytes=2000) as alone:
            with pytest.raises(MessageTooLarge):
                await alone.request("x" * 3000, str, text)

    run(main())


# -- strangers and cheats ----------------------------------------------------------------------------------


def test_a_peer_that_takes_no_requests() -> None:
    async def main() -> None:
        async with bound() as asker:
            waiting = asyncio.create_task(asker.request(Ask(1), Square, ask))
            await until(lambda: asker._requests._waiting)
            with await in_thread(lambda: RawPeer(asker.port or 0)):
                with pytest.raises(AckNotSupported, match="does not take requests"):
                    await within(waiting)
                with pytest.raises(AckNotSupported):
                    await within(asker.request(Ask(1), Square, ask))

    run(main())


def test_more_questions_than_are_worked_on_at_a_time_are_refused() -> None:
    async def main() -> None:
        async with bound() as responder:
            never = asyncio.Event()

            @responder.respond(ask, square)
            async def answer(question: Ask) -> Square:
                await never.wait()
                return Square(0, 0)

            responder._requests._in_hand.max_messages = 3
            with await in_thread(lambda: RawPlexo(responder.port or 0)) as peer:

                def talk() -> bytes:
                    for id in range(1, 5):
                        peer.ask(id, id)
                    return peer.read_frame()[1]

                assert await in_thread(talk) == b"\x0bPLEXOANSWER" + bytes(7) + b"\x04\x03too-many-requests"
                assert len(responder._tasks) == 3

    run(main())


def test_we_ask_no_more_at_a_time_than_a_peer_works_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plexo.ganglion.requests.MAX_REQUESTS", 4)

    async def main() -> None:
        async with asker_and_responder() as (asker, responder):
            at_work = [0, 0]

            @responder.respond(ask, square)
            async def answer(question: Ask) -> Square:
                at_work[0] += 1
                at_work[1] = max(at_work)
                await asyncio.sleep(0)
                at_work[0] -= 1
                return Square(question.number, 0)

            await within(asyncio.gather(*(asker.request(Ask(n), Square, ask) for n in range(50))))
            assert at_work[1] == 4

    run(main())


@pytest.mark.parametrize("id", [1, 2])
def test_a_number_that_does_not_rise_closes_the_link(id: int) -> None:
    async def main() -> None:
        async with bound() as responder:
            with await in_thread(lambda: RawPlexo(responder.port or 0)) as peer:

                def talk() -> bool:
                    peer.ask(2, 1)
                    peer.read_frame()
                    peer.ask(id, 1)
                    return peer.closed_by_peer()

                assert await in_thread(talk)
                assert responder.stats().fault_count(Cause.PROTOCOL_ERROR) == 1

    run(main())


def test_questions_that_are_none_are_refused() -> None:
    async def main() -> None:
        async with bound() as responder:
            responder.respond(ask, square)(lambda question: Square(1, 1))
            with await in_thread(lambda: RawPlexo(responder.port or 0)) as peer:

                def talk() -> list[bytes]:
                    peer.socket.sendall(encode_ask(1, b"no envelope"))
                    peer.socket.sendall(encode_ask(2, build_envelope(ask.topic, b"\xc1")))
                    peer.ask(3, 1)
                    return [peer.read_frame()[1][20:] for _ in range(3)]

                malformed, undecodable, reply = await in_thread(talk)
                assert (malformed, undecodable) == (b"\x03malformed-message", b"\x03undecodable")
                assert reply[0] == 4
                faults = responder.stats()
                assert faults.fault_count(Cause.MALFORMED) == faults.fault_count(Cause.UNDECODABLE) == 1

    run(main())


@pytest.mark.parametrize(
    ("envelope", "error"),
    [
        (b"no envelope", "malformed envelope"),
        (build_envelope(square.topic, b"\xc1"), "are no"),
        (
            build_envelope(b"org.evil.Square.pickle", b"cos\nsystem\n(S'true'\ntR."),
            "org.evil.Square.pickle, expected",
        ),
    ],
)
def test_answers_that_are_none(envelope: bytes, error: str) -> None:
    async def main() -> None:
        async with bound() as asker:
            with await in_thread(lambda: RawPlexo(asker.port or 0)) as peer:

                def answer() -> None:
                    _, body = peer.read_frame()
                    id = int.from_bytes(body[9:17], "big")
                    # A settlement is no answer, and a number that was never asked is nobody's.
                    peer.socket.sendall(encode_settle(id, Done()) + encode_answer(id + 1, Reply(envelope)))
                    peer.socket.sendall(encode_answer(id, Reply(envelope)))

                answering = asyncio.ensure_future(in_thread(answer))
                with pytest.raises(DecodeError, match=error):
                    await within(asker.request(Ask(1), Square, ask))
                await answering
                assert asker.stats().fault_count(Cause.WITHDRAWN) == 2

    run(main())
