# SPDX-License-Identifier: Apache-2.0
"""Requests and acknowledged messages through a plexus: which of its ganglia are asked, and in which order."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from plexo._fast.route import settle
from plexo.exceptions import AmbiguousNeuron, NeuronNotAvailable, NoResponder, TransmitterNotFound
from plexo.ganglion.channel import checked_timeout
from plexo.ganglion.external import GanglionExternalBase
from plexo.ganglion.inproc import GanglionInproc
from plexo.ganglion.requests import Responder, answer_here, as_bytes, checked_neuron, make_responder
from plexo.neuron.neuron import Neuron
from plexo.reaction import ReactionId, visited_by

if TYPE_CHECKING:
    from uuid import UUID

    from plexo.plexus import Plexus

A = TypeVar("A")


# -- requests --------------------------------------------------------------------------------------------------


class Asking:
    """The responders of one plexus, and its questions."""

    def __init__(self, plexus: Plexus) -> None:
        self.plexus = plexus
        self.responders: dict[Neuron[Any], Responder] = {}
        # Of plexuses that this one is inside of: for our pairs' peers, and for us.
        self.taken: dict[Neuron[Any], Responder] = {}

    def add(self, ask: Neuron[Any], answer: Neuron[Any], handler: Callable[..., Any]) -> None:
        plexus = self.plexus
        responder = make_responder(ask, answer, handler, plexus)
        if not plexus.capable(ask):
            raise NeuronNotAvailable(f"{plexus!r} leaves out {ask} by its filters; nobody could ever ask")
        if ask in self.responders:
            raise ValueError(f"ask: {ask} is answered by {self.responders[ask].handler!r} here")
        for ganglion in plexus.ganglia:
            self.offer(responder, ganglion)
        self.responders[ask] = responder

    def offer(self, responder: Responder, ganglion: Any) -> None:
        """Let a ganglion's peers ask `responder`; ValueError where they have another one."""
        take = getattr(ganglion, "_take_responder", None)
        if take is not None and ganglion.capable(responder.ask):
            take(responder)

    def take(self, responder: Responder) -> None:
        """A plexus that this one is inside of has a responder."""
        for ganglion in self.plexus.ganglia:
            self.offer(responder, ganglion)
        self.taken.setdefault(responder.ask, responder)

    def join(self, ganglion: Any) -> None:
        """Let the peers of a new ganglion ask every responder."""
        for responder in (*self.responders.values(), *self.taken.values()):
            self.offer(responder, ganglion)

    def find(self, ask: Neuron[Any]) -> Responder | None:
        """Who answers in this process: here, at a plexus around this one, or at one inside."""
        found = self.responders.get(ask) or self.taken.get(ask)
        if found is None:
            for ganglion in self.plexus.ganglia:
                inner = getattr(ganglion, "_asking", None)
                if found is None and inner is not None:
                    found = inner.find(ask)
        return found

    def pairs(self, ask: Neuron[Any]) -> list[Any]:
        """Every pair under this plexus that carries `ask`."""
        found: list[Any] = []
        for ganglion in self.plexus.ganglia:
            if not ganglion.capable(ask):
                continue
            inner = getattr(ganglion, "_asking", None)
            for pair in inner.pairs(ask) if inner is not None else (ganglion,):
                if hasattr(pair, "_requests") and pair not in found and not pair.closed:
                    found.append(pair)
        return found

    def neuron_of(self, question: object) -> Neuron[Any]:
        """The neuron of a question, by its type; raises as `transmit` does."""
        try:
            return self.plexus._route_for(type(question)).neuron
        except TransmitterNotFound:
            known = [ask for ask in self.responders if ask.type is type(question)]
            if len(known) == 1:
                return known[0]
            raise

    def answer_neuron(self, answer: type[A] | Neuron[A], ask: Neuron[Any]) -> Neuron[A]:
        """The neuron of an answer that was named by its type: the one that is known here, or a new one beside `ask`."""
        if isinstance(answer, Neuron):
            return answer
        responder = self.find(ask)
        if responder is not None and responder.answer.type is answer:
            return responder.answer
        known = [route.neuron for route in self.plexus._all_routes() if route.neuron.type is answer]
        if len(known) > 1:
            names = ", ".join(sorted(map(str, known)))
            raise AmbiguousNeuron(f"answer: {answer!r} has several neurons here ({names}); pass one of them")
        return known[0] if known else Neuron(answer, ask.namespace)

    async def request(
        self, question: Any, answer: type[A] | Neuron[A], neuron: Neuron[Any] | None, timeout_s: float
    ) -> A:
        checked_timeout(timeout_s, "timeout_s")
        ask = self.neuron_of(question) if neuron is None else checked_neuron(neuron, "neuron")
        ask.check(question)
        expected = self.answer_neuron(answer, ask)
        responder = self.find(ask)
        if responder is not None:
            return await answer_here(responder, question, expected, timeout_s)
        pairs = self.pairs(ask)
        if not pairs:
            raise NoResponder(f"{self.plexus!r}: nobody here answers {ask}, and no pair carries it")
        # Those whose peers are there and take requests; else the first that has no peer yet is waited for.
        connected = [pair for pair in pairs if pair._requests.channel is not None]
        connected = connected or [pair for pair in pairs if not pair.peers_connected][:1] or pairs[:1]
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        for pair in connected[:-1]:
            left = math.inf if timeout_s == math.inf else max(deadline - loop.time(), 0.001)
            try:
                return await pair.request(question, expected, ask, left)  # type: ignore[no-any-return]
            except NoResponder:
                continue
        left = timeout_s if len(connected) == 1 else max(deadline - loop.time(), 0.001)
        return await connected[-1].request(question, expected, ask, left)  # type: ignore[no-any-return]


# -- acknowledged messages -------------------------------------------------------------------------------------


def require_acks(plexus: Plexus, neuron: Neuron[Any], seen: set[object]) -> None:
    """AckNotSupported, naming the ganglion, unless every external one that carries `neuron` can acknowledge."""
    seen.add(plexus)
    for ganglion in plexus.ganglia:
        if ganglion in seen or not ganglion.capable(neuron):
            continue
        if isinstance(ganglion, GanglionExternalBase):
            ganglion._require_acks()
        elif not isinstance(ganglion, GanglionInproc):
            require_acks(ganglion, neuron, seen)


async def transmit_acked(
    plexus: Plexus, data: Any, neuron: Neuron[Any], timeout_s: float | None, reaction_id: UUID | None
) -> int:
    """To the local reactants and every ganglion not visited yet; the caller has checked value and ganglia.

    Returns how many reactants here and peers it was.
    """
    route = plexus._get_route(neuron)
    assert route is not None
    given = reaction_id
    if reaction_id is None:
        reaction_id = ReactionId.begin()
    visited = visited_by(reaction_id)
    visited.add(plexus)
    outside = [synapse for synapse in route.outside if synapse.owner not in visited]
    payload = as_bytes(neuron.encode(data)) if outside else b""
    visited.update(synapse.owner for synapse in outside)
    begun: list[Any] = [
        asyncio.ensure_future(synapse.owner._transmit_acked(synapse, payload, timeout_s))
        for synapse in outside
    ]
    errors: list[Exception] = []
    handed = len(outside) + len(route.local)
    for ganglion in route.inside:
        if ganglion not in visited:
            visited.add(ganglion)
            handed += ganglion._receivers(neuron)
            if isinstance(ganglion, GanglionInproc):
                _begin(begun, errors, ganglion._enter, data, neuron, reaction_id)
            else:
                inner = transmit_acked(ganglion, data, neuron, timeout_s, reaction_id)
                begun.append(asyncio.ensure_future(inner))
    if len(route.local):
        _begin(begun, errors, route.local.transmit, data, given)
    results: Iterable[Any] = await asyncio.gather(*begun, return_exceptions=True)
    errors += [result for result in results if isinstance(result, BaseException)]  # type: ignore[misc]
    await settle([], errors)
    return handed


def _begin(begun: list[Any], errors: list[Exception], call: Callable[..., Any], *arguments: Any) -> None:
    try:
        pending = call(*arguments)
    except Exception as error:
        errors.append(error)
    else:
        if pending is not None:
            begun.append(asyncio.ensure_future(pending))
