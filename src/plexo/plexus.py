# SPDX-License-Identifier: Apache-2.0
"""Joins ganglia: what arrives on one reaches the local reactants and the other ganglia."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, Union
from uuid import UUID

from plexo._fast.completion import Source, Target
from plexo._fast.dispatch import DEFAULT_QUEUE, Fanout
from plexo._fast.outgoing import Outgoing, first_of, send_outgoing
from plexo._fast.queues import Queue, as_queue
from plexo._fast.route import Exchange, Route
from plexo._fast.synapse import Synapse
from plexo.exceptions import AmbiguousNeuron, TransmitterNotFound
from plexo.failure import DeadLetterReactant, OnError
from plexo.ganglion.base import DEFAULT_REQUEST_TIMEOUT_S, GanglionBase
from plexo.ganglion.external import GanglionExternalBase
from plexo.ganglion.inproc import GanglionInproc
from plexo.ganglion.life import forsake
from plexo.neuron.neuron import Neuron
from plexo.receiving import Receiving
from plexo.statistics import EMPTY_BOOK, NO_LINK, GanglionStats, NeuronStats
from plexo.typing.reactant import Reactant
from plexo.typing.values import Values

if TYPE_CHECKING:
    from plexo.asking import Asking
    from plexo.ganglion.requests import Responder
    from plexo.typing.responder import ResponderDecorator

T = TypeVar("T")
Q = TypeVar("Q")
A = TypeVar("A")
H = TypeVar("H", bound=Callable[..., Any])

AnyGanglion = Union[GanglionExternalBase, GanglionInproc, "Plexus"]


class _Ports(NamedTuple):
    """Where an external ganglion's synapse meets a route."""

    ganglion: GanglionExternalBase
    synapse: Synapse[Any]
    arrival: Target
    relay: Target


class Plexus(Exchange, Receiving):
    """A ganglion of ganglia, with reactants of its own.

    Local reactants get the very object that was transmitted; for the network it is encoded once. What arrives on one
    ganglion is passed on to the others, undecoded, and never back. Filters and on_error as on every ganglion;
    receive_queue: what may wait for one local reactant, and what happens then; a Queue or the name of a policy.
    Default: senders wait, and links are read no further, when 1000 messages or 64 MiB wait.
    """

    def __init__(
        self,
        ganglia: Iterable[AnyGanglion] = (),
        relevant_neurons: Iterable[Neuron[Any]] = (),
        ignored_neurons: Iterable[Neuron[Any]] = (),
        *,
        receive_queue: Queue | str | None = None,
        on_error: OnError | None = None,
    ) -> None:
        GanglionBase.__init__(self, relevant_neurons, ignored_neurons, on_error=on_error)
        self._receive_queue = as_queue(receive_queue, "receive_queue", DEFAULT_QUEUE)
        # Kept for the books when the routes are gone.
        self._ended_routes: list[Route[Any]] = []
        self._ganglia: list[AnyGanglion] = []
        self._ports: dict[Neuron[Any], list[_Ports]] = {}
        for ganglion in ganglia:
            self._infuse(ganglion)

    # -- ganglia and routes ------------------------------------------------------------------------------------

    @property
    def ganglia(self) -> tuple[AnyGanglion, ...]:
        """The ganglia joined here, in the order they were added."""
        return tuple(self._ganglia)

    async def infuse_ganglion(self, ganglion: AnyGanglion) -> None:
        """Join one more ganglion; every neuron adapted here is adapted there."""
        self._require_open()
        self._require_here()
        self._infuse(ganglion)
        self._use_running_loop()

    def _infuse(self, ganglion: AnyGanglion) -> None:
        if not isinstance(ganglion, (GanglionExternalBase, GanglionInproc, Plexus)):
            raise TypeError(f"ganglia: expected ganglia of plexo, got {ganglion!r}")
        if isinstance(ganglion, Plexus) and ganglion._contains(self):
            raise ValueError("ganglia: a plexus cannot be a ganglion of itself, nor of one inside it")
        if ganglion in self._ganglia:
            return
        routes = self._all_routes()
        if routes:
            ganglion._require_here()
        self._ganglia.append(ganglion)
        self._keep_payloads()
        ganglion._watchers.lead_to(self._watchers)
        self._watchers.tell_change()
        for route in routes:
            self._join(route, ganglion)
            self._update_interest(route)
        if "_asking" in self.__dict__:
            self._asking.join(ganglion)

    def _contains(self, plexus: Plexus) -> bool:
        return self is plexus or any(
            isinstance(ganglion, Plexus) and ganglion._contains(plexus) for ganglion in self._ganglia
        )

    def _adapt(self, neuron: Neuron[T]) -> Route[T] | None:
        route = self._get_route(neuron)
        if route is None and self._accepts(neuron):
            route = Route(self, neuron, self._receive_queue)
            route.local.keeps_payload = self._keeps_payloads
            self._ports[neuron] = []
            for ganglion in self._ganglia:
                self._join(route, ganglion)
            self._add_route(route)
            self._update_interest(route)
        return route

    def _join(self, route: Route[Any], ganglion: AnyGanglion) -> None:
        neuron = route.neuron
        if not ganglion.capable(neuron):
            return
        if isinstance(ganglion, GanglionExternalBase):
            synapse = ganglion._adapt(neuron)
            if synapse is not None:
                self._ports[neuron].append(_Ports(ganglion, synapse, *route.add_outside(synapse)))
        elif isinstance(ganglion, GanglionInproc):
            inside = ganglion._adapt(neuron)
            if inside is not None:
                route.add_inside(ganglion, inside.fanout)
        else:
            other = ganglion._adapt(neuron)
            if other is not None:
                route.add_inside(ganglion, other.local)
                ganglion._update_interest(other)

    def _update_interest(self, route: Route[Any]) -> None:
        """Let external ganglia subscribe to what is wanted here, and only to that."""
        ports = self._ports[route.neuron]
        decoded = len(route.local) > 0 or bool(route.inside)
        relayed = len(ports) > 1
        for ganglion, synapse, arrival, relay in ports:
            wanted = synapse.wanted
            synapse.typed.attach(arrival, decoded)
            synapse.raw.attach(relay, relayed)
            synapse.set_takers(arrival, None if route.inside else route.local.takers())
            if synapse.wanted != wanted and not ganglion.closed:
                ganglion._interest_changed(synapse)

    def _use_running_loop(self) -> None:
        self._require_own()
        for ganglion in self._ganglia:
            if isinstance(ganglion, (GanglionExternalBase, Plexus)) and not ganglion.closed:
                ganglion._use_running_loop()

    def _leaves(self, neuron: Neuron[Any] | None) -> dict[AnyGanglion, None]:
        """The ganglia here and in plexuses here, each once; with `neuron`, those that would carry it."""
        found: dict[AnyGanglion, None] = {}
        for ganglion in self._ganglia:
            if neuron is not None and not ganglion.capable(neuron):
                continue
            found.update(ganglion._leaves(neuron) if isinstance(ganglion, Plexus) else {ganglion: None})
        return found

    def _ready_peers(self, neuron: Neuron[Any] | None) -> list[str]:
        return [peer for ganglion in self._leaves(neuron) for peer in ganglion._ready_peers(neuron)]

    def _absent_peers(self) -> list[str]:
        return [peer for ganglion in self._leaves(None) for peer in ganglion._absent_peers()]

    def _route_for(self, kind: type) -> Route[Any]:
        """The route of values of this exact type; called once for each type until neurons change."""
        self._require_open()
        routes = self._all_routes()
        for base in kind.__mro__:
            if base is object and kind is not object:
                break
            matching = [route for route in routes if route.neuron.type is base]
            if len(matching) > 1:
                names = ", ".join(sorted(str(route.neuron) for route in matching))
                raise AmbiguousNeuron(
                    f"{kind.__name__} has several neurons here ({names}); pass one: transmit(data, neuron)"
                )
            if matching:
                return matching[0]
        raise TransmitterNotFound(
            f"no neuron here carries {kind.__name__}; call `await adapt(neuron)` first, or pass the neuron: "
            "transmit(data, neuron)"
        )

    # -- neurons -----------------------------------------------------------------------------------------------

    async def adapt(
        self,
        neuron: Neuron[T],
        reactants: Iterable[Reactant[T]] | None = None,
        *,
        queue: Queue | str | None = None,
    ) -> None:
        """Take up `neuron` here and on every capable ganglion, and add reactants to it.

        Each reactant gets a queue such as `queue` (default: receive_queue). Ignored (and logged) where the filters say
        no.
        """
        self._react(neuron, reactants or (), queue)
        self._use_running_loop()

    async def react(
        self, neuron: Neuron[T], reactants: Iterable[Reactant[T]], *, queue: Queue | str | None = None
    ) -> None:
        """Add reactants, taking up `neuron` where that has not happened yet."""
        await self.adapt(neuron, reactants, queue=queue)

    async def unreact(self, neuron: Neuron[T], reactants: Iterable[Reactant[T]]) -> None:
        """Remove reactants; when the last of a neuron goes, so do the subscriptions."""
        self._require_open()
        self._require_here()
        self._unreact(neuron, reactants)

    async def update_transmitter(self, neuron: Neuron[Any]) -> None:
        """Make `neuron` transmittable."""
        await self.adapt(neuron)

    # -- messages ----------------------------------------------------------------------------------------------

    async def transmit(
        self,
        data: T,
        neuron: Neuron[T] | None = None,
        reaction_id: UUID | None = None,
        # Not keyword-only: CPython does not specialise calls of functions that have such parameters.
        acked: bool = False,
        timeout_s: float | None = None,
    ) -> int:
        """Send `data` to the local reactants and to every ganglion; without `neuron` it follows from the type.

        Ends when the local reactants are done and the ganglia have accepted it (a pair without a peer waits for one).
        Raises what a local reactant raises, after the others have run (several: an ExceptionGroup). Before anything is
        sent: WrongType (not the neuron's type), TransmitterNotFound (never adapted), AmbiguousNeuron (two neurons for
        this type), MessageTooLarge, and what the codec raises.

        A reactant that transmits its own neuron does not wait for itself: that message is queued behind the present
        one. Cancelling withdraws the message from reactants and peers that have not had it yet.

        Returns to how many it was handed: reactants of this plexus and of its internal ganglia, and peers (on
        publish/subscribe, those that subscribed to the neuron and had room).

        acked=True: ends when the reactants at the peers of all pairs have finished too, within `timeout_s` seconds (by
        default each pair's `ack_timeout_s`). AckNotSupported, before anything is sent: an external ganglion here
        carries `neuron` and is no pair, or its peer does not acknowledge. Otherwise as a pair's `transmit`.
        """
        if acked:
            if neuron is None:
                neuron = self._route_for(type(data)).neuron
            elif self._get_route(neuron) is None:
                self._require_open()
                raise TransmitterNotFound(
                    f"no transmitter for {neuron} here; call `await adapt(neuron)` first"
                )
            neuron.check(data)
            from plexo.asking import require_acks, transmit_acked

            require_acks(self, neuron, set())
            return await transmit_acked(self, data, neuron, timeout_s, reaction_id)
        handed = self._send(data, neuron, reaction_id)
        if handed is None:
            pending, handed = self._take_pending()
            await pending
        return handed

    async def transmit_many(self, values: Values[T], neuron: Neuron[T] | None = None) -> int:
        """Send every one of `values`, in order, as `transmit` sends one; returns the sum of what that would return.

        All are of one neuron, which without `neuron` follows from the first value's type. `values` is an iterable, or,
        where the codec lays out records of one size (NumpyCodec with a fixed shape), an array whose first axis counts
        messages; an array must not be changed before this ends.

        A list, tuple or array is checked as a whole before anything is sent; any other iterable, and what its codec and
        the ganglia have against a value, chunk by chunk: 1024 values, fewer where these are more than 1 MiB. Nothing
        of a chunk is sent in which a value is wrong. What local reactants raise is raised at the end of their chunk.
        Every exception, CancelledError too, has an attribute `plexo_sent`: how many values were sent, from the first
        on (where it has none, this was not begun); and where it is about one value, `plexo_index`.

        Raises what `transmit` raises, and TypeError where `values` is text or bytes.
        """
        first: Any = None
        if neuron is None:
            first, some = first_of(values)
            if some is None:
                self._require_open()
                return 0
            values = some
        route = self._find_route(first, neuron)
        return await send_outgoing(Outgoing(values, route.neuron), route, None, None)

    def _enter(self, data: object, neuron: Neuron[Any], reaction_id: UUID | None) -> Awaitable[None] | None:
        """Another plexus sends through here."""
        return self._take_pending()[0] if self._send(data, neuron, reaction_id) is None else None

    def _enter_posted(
        self, data: object, neuron: Neuron[Any], reaction_id: UUID, source: Source | None
    ) -> None:
        """Another plexus passes on what it received; nobody waits."""
        route = self._get_route(neuron)
        if route is not None:
            route.pass_on(data, reaction_id, source)

    def _receivers(self, neuron: Neuron[Any]) -> int:
        route = self._get_route(neuron)
        return 0 if route is None else len(route.local.reactants)

    # -- books and dead letters --------------------------------------------------------------------------------

    def stats(self) -> GanglionStats:
        """The books of the local reactants, by neuron. The ganglia keep their own: `plexus.ganglia[0].stats()`.

        Safe from any thread.
        """
        self._require_own()
        neurons = {
            route.neuron.name: NeuronStats(0, route.local.book, EMPTY_BOOK, route.local.reactant_stats())
            for route in (*self._ended_routes, *self._all_routes())
        }
        return GanglionStats(MappingProxyType(neurons), (), NO_LINK, 0, self._tally.snapshot())

    async def react_dead_letters(self, reactants: Iterable[DeadLetterReactant]) -> None:
        """Also for what its ganglia could not decode; see GanglionBase."""
        await super().react_dead_letters(reactants)

    def _keep_payloads(self) -> None:
        if self._keeps_payloads:
            for route in self._all_routes():
                route.local.keeps_payload = True
            for ganglion in self._ganglia:
                if isinstance(ganglion, GanglionExternalBase):
                    ganglion._forward_dead_letters(self._bury)

    # -- requests ----------------------------------------------------------------------------------------------

    @cached_property
    def _asking(self) -> Asking:
        from plexo.asking import Asking  # for those who ask or answer

        return Asking(self)

    def respond(self, ask: Neuron[Q], answer: Neuron[A]) -> ResponderDecorator[Q, A]:
        """A decorator: the function answers questions of `ask` from now on with values of `answer`.

        Asked by `request` here, and by the peers of every pair joined here now or later. It takes (question[, neuron]),
        `async def` or plain. What it raises, the asker gets as RemoteError. ValueError: `ask` has a responder here.
        """

        def decorate(handler: H) -> H:
            self._require_open()
            self._asking.add(ask, answer, handler)
            return handler

        return decorate

    def _take_responder(self, responder: Responder) -> None:
        self._asking.take(responder)

    async def request(
        self,
        question: Q,
        answer: type[A] | Neuron[A],
        neuron: Neuron[Q] | None = None,
        timeout_s: float = DEFAULT_REQUEST_TIMEOUT_S,
    ) -> A:
        """Ask `question` and return the answer of a responder here, else of the first pair's peer that has one.

        Without `neuron` it follows from the question's type, as for `transmit`. `answer`: the neuron of the answer or
        its type. Raises what a pair's `request` raises; NoResponder also where no pair carries the question. With no
        peer connected it waits for that of the first pair.
        """
        self._require_open()
        self._use_running_loop()
        return await self._asking.request(question, answer, neuron, timeout_s)

    # -- end ---------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Plexus:
        self._require_open()
        self._use_running_loop()
        return self

    def _fanouts(self) -> list[tuple[Neuron[Any], Fanout[Any]]]:
        return [*((route.neuron, route.local) for route in self._all_routes()), *super()._fanouts()]

    def _serving(self) -> list[asyncio.AbstractEventLoop]:
        return [loop for ganglion in self._ganglia for loop in ganglion._serving()]

    def _parts(self) -> tuple[AnyGanglion, ...]:
        return self.ganglia

    def _end_close(self) -> None:
        super()._end_close()
        self._ended_routes = self._all_routes() or self._ended_routes
        self._drop_routes()

    def _forsake(self) -> bool:
        # A plexus of sockets goes with them. Without any it begins anew, except for its streams: their readers are the
        # parent's.
        super()._forsake()
        if any([forsake(ganglion) for ganglion in self._ganglia]):
            self._drop_routes()
            return True
        return False

    def __repr__(self) -> str:
        return f"<Plexus of {len(self._ganglia)} ganglia, {len(self._ports)} neurons>"
