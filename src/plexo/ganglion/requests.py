# SPDX-License-Identifier: Apache-2.0
"""Request and reply at a pair: questions on their way to the peer, and responders at work on the peer's questions.

A question is said once, on one link, under a number of that link. When the link breaks nobody knows whether it was
worked on, so it is not said again: its asker is told. One question at a time would make a pair as slow as its round
trip, so up to MAX_REQUESTS are on their way, and as many responders at work; more wait, or are refused.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from plexo._fast.envelope import EnvelopeError, build_envelope, parse_envelope
from plexo._proto.delivery import (
    MAX_REQUESTS,
    WINDOW_BYTES,
    Answer,
    Answered,
    Ask,
    Failed,
    Refused,
    Reply,
    encode_answer,
    encode_ask,
)
from plexo._proto.errors import printable
from plexo.arity import reactant_arity
from plexo.exceptions import (
    AckNotSupported,
    DecodeError,
    MessageTooLarge,
    NoResponder,
    NotDelivered,
    RemoteError,
    RequestTimeout,
)
from plexo.ganglion.channel import (
    COMMAND_HEAD_BYTES,
    Channel,
    InHand,
    call_after,
    checked_timeout,
    failure,
    rising,
)
from plexo.ganglion.endpoint import host_of
from plexo.neuron.neuron import Neuron
from plexo.statistics import Cause

if TYPE_CHECKING:
    from plexo.ganglion.base import GanglionBase
    from plexo.ganglion.tcp_pair import GanglionZmqTcpPair

A = TypeVar("A")

# Reasons of refusals beside those that are Causes.
NO_RESPONDER = "no-responder"
TOO_MANY_REQUESTS = "too-many-requests"


class Responder(NamedTuple):
    """Who answers the questions of one neuron; `place`, a ganglion or plexus, is told when it raises for a peer."""

    ask: Neuron[Any]
    answer: Neuron[Any]
    handler: Callable[..., Any]
    arity: int
    place: GanglionBase

    def __call__(self, question: Any) -> Any:
        """What the handler returns: the answer, or an awaitable of it."""
        return self.handler(question) if self.arity == 1 else self.handler(question, self.ask)


def make_responder(
    ask: Neuron[Any],
    answer: Neuron[Any],
    handler: Callable[..., Any],
    place: GanglionBase,
) -> Responder:
    """TypeError naming what is wrong: no neurons, no callable, more than (question[, neuron])."""
    arity = reactant_arity(handler)
    if arity > 2:
        raise TypeError(f"responder {handler!r}: expected (question[, neuron]), got {arity} parameters")
    return Responder(checked_neuron(ask, "ask"), checked_neuron(answer, "answer"), handler, arity, place)


def checked_neuron(neuron: Any, argument: str) -> Neuron[Any]:
    if not isinstance(neuron, Neuron):
        raise TypeError(f"{argument}: expected a Neuron, got {neuron!r}")
    return neuron


async def answer_here(responder: Responder, question: Any, answer: Neuron[A], timeout_s: float) -> A:
    """The answer of a responder of this process; it raises as over the network, with the error itself as the cause."""
    if responder.answer != answer:
        raise DecodeError(f"{responder.ask} is answered with {responder.answer} here, expected {answer}")

    async def work() -> Any:
        found = responder(question)
        if inspect.isawaitable(found):
            found = await found
        answer.check(found)
        return found

    task = asyncio.ensure_future(work())
    try:
        done, _ = await asyncio.wait((task,), timeout=None if timeout_s == float("inf") else timeout_s)
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.wait((task,))
        raise
    if not done:
        task.cancel()
        await asyncio.wait((task,))
        raise RequestTimeout(f"no answer to {responder.ask} within {timeout_s:g} s")
    try:
        return task.result()  # type: ignore[no-any-return]
    except (Exception, asyncio.CancelledError) as error:
        failed = failure(error)
        raise RemoteError(failed.kind, failed.text) from error


def decoded_answer(envelope: bytes, answer: Neuron[A], peer: str) -> A:
    """The value in a reply; DecodeError where it is none of `answer`."""
    try:
        topic, payload = parse_envelope(envelope)
    except EnvelopeError as error:
        raise DecodeError(f"{peer} answers with a malformed envelope: {error}") from error
    if topic != answer.topic:
        raise DecodeError(f"{peer} answers with {printable(topic, 200)}, expected {answer}")
    try:
        value = answer.decode(payload)
    except Exception as error:
        raise DecodeError(
            f"{peer} answers with {len(payload)} bytes that are no {answer}: {error}"
        ) from error
    if not isinstance(value, answer.instance_types):
        raise DecodeError(f"{peer} answers with {type(value).__name__}, expected {answer}")
    return value


def as_bytes(encoded: Any) -> bytes:
    """What a codec made: str as UTF-8, bytes-like things as they are."""
    if isinstance(encoded, str):
        return encoded.encode()
    return encoded if type(encoded) is bytes else bytes(memoryview(encoded))


class _Question:
    """One question; `future` ends with its outcome and who gave it."""

    __slots__ = ("envelope", "future", "id")

    def __init__(self, envelope: bytes) -> None:
        self.envelope = envelope
        self.id = 0
        self.future: asyncio.Future[tuple[Answered, str]] = asyncio.get_running_loop().create_future()


class Requests:
    """The questions of one pair, asked and answered."""

    def __init__(self, ganglion: GanglionZmqTcpPair) -> None:
        self.ganglion = ganglion
        self.channel: Channel | None = None
        self._asked: dict[int, _Question] = {}
        self._waiting: dict[_Question, None] = {}
        self._last_id = 0
        self._responders: dict[bytes, Responder] = {}
        self._in_hand = InHand(MAX_REQUESTS, WINDOW_BYTES)

    # -- asking ------------------------------------------------------------------------------------------------

    async def request(self, question: Any, ask: Neuron[Any], answer: Neuron[A], timeout_s: float) -> A:
        """Ask the peer; see the ganglion's `request`."""
        checked_timeout(timeout_s, "timeout_s")
        ask.check(question)
        envelope = build_envelope(ask.topic, as_bytes(ask.encode(question)))
        limit = self.ganglion.hub.max_frame_bytes
        if len(envelope) + COMMAND_HEAD_BYTES > limit:
            raise MessageTooLarge(f"{ask}: {len(envelope)} bytes, {self.ganglion!r} carries at most {limit}")
        if self.channel is None and self.ganglion.hub.links:
            raise AckNotSupported(self._not_supported())
        outcome, peer = await self._outcome(_Question(envelope), ask, timeout_s)
        if isinstance(outcome, Reply):
            return decoded_answer(outcome.envelope, answer, peer)
        if isinstance(outcome, Failed):
            raise RemoteError(outcome.kind, outcome.text, peer)
        if outcome.reason == NO_RESPONDER:
            raise NoResponder(f"{peer} has nobody who answers {ask}")
        raise NotDelivered(f"{peer} refuses the question: {outcome.reason}")

    async def _outcome(self, question: _Question, ask: Neuron[Any], timeout_s: float) -> tuple[Answered, str]:
        future = question.future
        cancel_timer = call_after(timeout_s, self._expire, question, ask, timeout_s)
        self._waiting[question] = None
        self._admit()
        try:
            return await future
        except asyncio.CancelledError:
            if not self._give_up(question) and not future.cancelled():
                future.exception()  # seen: it came with the cancellation
            raise
        finally:
            cancel_timer()

    def _not_supported(self) -> str:
        peers = ", ".join(self.ganglion.peers_connected)
        return f"{self.ganglion!r}: peer {peers} does not take requests (it is not plexo 2, or no pair of it)"

    def _admit(self) -> None:
        while self._waiting and self.channel is not None and len(self._asked) < MAX_REQUESTS:
            question = next(iter(self._waiting))
            del self._waiting[question]
            self._last_id += 1
            question.id = self._last_id
            self._asked[question.id] = question
            self.channel.say(encode_ask(question.id, question.envelope))

    def _give_up(self, question: _Question) -> bool:
        """Expect nothing any more; False where its outcome is known already."""
        if question in self._waiting:
            del self._waiting[question]
            return True
        if self._asked.pop(question.id, None) is None:
            return False
        self._admit()
        return True

    def _expire(self, question: _Question, ask: Neuron[Any], timeout_s: float) -> None:
        unsaid = question in self._waiting
        if self._give_up(question):
            where = " (no peer is connected)" if unsaid and self.channel is None else ""
            _fail(question, RequestTimeout(f"no answer to {ask} within {timeout_s:g} s{where}"))

    def answered(self, channel: Channel, command: Answer) -> None:
        """The peer answers; a question that was given up is none of ours any more."""
        question = self._asked.pop(command.id, None)
        if question is None:
            self.ganglion._tally.add(Cause.WITHDRAWN, "", host_of(channel.peer))
            return
        if not question.future.done():
            question.future.set_result((command.outcome, channel.peer))
        self._admit()

    # -- links -------------------------------------------------------------------------------------------------

    def linked(self, channel: Channel) -> None:
        self.channel = channel
        self._admit()

    def unlinked(self, channel: Channel) -> None:
        if self.channel is channel:
            self.channel = None
            self._fail_asked(f"the link to {channel.peer} broke before the answer")

    def _fail_asked(self, reason: str) -> None:
        asked, self._asked = self._asked, {}
        for question in asked.values():
            _fail(question, NotDelivered(reason))

    def linked_without_support(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for question in waiting:
            _fail(question, AckNotSupported(self._not_supported()))

    def loop_changed(self) -> None:
        """The ganglion is served by another loop: those who asked under the one before are gone."""
        here = asyncio.get_running_loop()
        for question in [*self._waiting, *self._asked.values()]:
            if question.future.get_loop() is not here:
                self._give_up(question)

    def close(self) -> None:
        # Cleared when all are told: this may be broken off and called again.
        reason = f"{self.ganglion!r} was closed before the answer"
        for question in (*self._waiting, *self._asked.values()):
            _fail(question, NotDelivered(reason))
        self._waiting.clear()
        self._asked.clear()

    # -- answering ---------------------------------------------------------------------------------------------

    def add(self, responder: Responder) -> None:
        """ValueError: another one answers this neuron here."""
        known = self._responders.setdefault(responder.ask.topic, responder)
        if known is not responder:
            raise ValueError(f"ask: {responder.ask} is answered by {known.handler!r} at {self.ganglion!r}")

    def asked(self, channel: Channel, command: Ask) -> None:
        """The peer has a question."""
        id = channel.last_asked = rising(channel.last_asked, command.id, channel.link.received_bytes)
        size = len(command.envelope)
        if not self._in_hand.take(size):
            self.ganglion.report_fault(
                Cause.QUEUE_FULL, channel.peer, "more questions than we work on at a time"
            )
            channel.say_outcome(encode_answer(id, Refused(TOO_MANY_REQUESTS)))
            return
        outcome = self._begin(channel, id, size, command.envelope)
        if outcome is not None:
            self._in_hand.release(size)
            channel.say_outcome(encode_answer(id, outcome))

    def _begin(self, channel: Channel, id: int, size: int, envelope: bytes) -> Answered | None:
        """The outcome, or None where a task will give it."""
        try:
            topic, payload = parse_envelope(envelope)
        except EnvelopeError as error:
            channel.connection.malformed(str(error))
            return Refused(Cause.MALFORMED.value)
        responder = self._responders.get(topic)
        if responder is None:
            self.ganglion.report_fault(
                Cause.UNKNOWN_TOPIC, channel.peer, f"asks {printable(topic, 200)}, which nobody answers here"
            )
            return Refused(NO_RESPONDER)
        ask = responder.ask
        try:
            question = ask.decode(payload)
            if not isinstance(question, ask.instance_types):
                raise TypeError(f"decoded to {type(question).__name__}, expected {ask.type}")
        except Exception as error:
            self.ganglion.report_fault(
                Cause.UNDECODABLE, channel.peer, f"{len(payload)} bytes are no {ask}: {error}"
            )
            return Refused(Cause.UNDECODABLE.value)
        try:
            found = responder(question)
        except Exception as error:
            return self._failed(channel, responder, question, error)
        if not inspect.isawaitable(found):
            return self._reply(channel, responder, question, found)
        self.ganglion._tasks.start(
            self._work(channel, id, size, responder, question, found), responder.handler
        )
        return None

    async def _work(
        self, channel: Channel, id: int, size: int, responder: Responder, question: Any, found: Any
    ) -> None:
        outcome: Answered = Refused(Cause.CANCELLED.value)
        try:
            outcome = self._reply(channel, responder, question, await found)
        except Exception as error:
            outcome = self._failed(channel, responder, question, error)
        finally:
            self._in_hand.release(size)
            # On the link that the question came on, or not at all: its number means nothing on another.
            if not self.ganglion.closed:
                channel.say_outcome(encode_answer(id, outcome))

    def _reply(self, channel: Channel, responder: Responder, question: Any, found: Any) -> Answered:
        answer = responder.answer
        try:
            answer.check(found)
            envelope = build_envelope(answer.topic, as_bytes(answer.encode(found)))
            limit = self.ganglion.hub.max_frame_bytes
            if len(envelope) + COMMAND_HEAD_BYTES > limit:
                raise MessageTooLarge(f"{answer}: {len(envelope)} bytes, at most {limit} are carried")
        except Exception as error:
            return self._failed(channel, responder, question, error)
        return Reply(envelope)

    def _failed(self, channel: Channel, responder: Responder, question: Any, error: BaseException) -> Failed:
        place, ask = responder.place, responder.ask
        place._tally.add(Cause.REACTANT_ERROR, ask.name, host_of(channel.peer))
        place._reactant_failed(error, responder.handler, ask, channel.peer, question, None)
        return failure(error)


def _fail(question: _Question, error: Exception) -> None:
    future = question.future
    if not future.done() and not future.get_loop().is_closed():
        future.set_exception(error)
