# SPDX-License-Identifier: Apache-2.0
"""Joins ganglia: what arrives on one reaches the local reactants and the other ganglia."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, NamedTuple, TypeVar, Union
from uuid import UUID

from plexo._fast.completion import Target
from plexo._fast.dispatch import DEFAULT_QUEUE_MESSAGES
from plexo._fast.route import Exchange, Route
from plexo._fast.synapse import Synapse
from plexo.dendrite import add_all
from plexo.exceptions import AmbiguousNeuron, NeuronNotAvailable, TransmitterNotFound
from plexo.ganglion.base import GanglionBase
from plexo.ganglion.external import GanglionExternalBase
from plexo.ganglion.inproc import GanglionInproc
from plexo.neuron.neuron import Neuron
from plexo.stream import DEFAULT_STREAM_MESSAGES, Buffer, Stream
from plexo.typing.reactant import Reactant, ReactantDecorator

T = TypeVar("T")
R = TypeVar("R", bound=Callable[..., Any])

AnyGanglion = Union[GanglionExternalBase, GanglionInproc, "Plexus"]


class _Ports(NamedTuple):
    """Where an external ganglion's synapse meets a route."""

    ganglion: GanglionExternalBase
    synapse: Synapse[Any]
    arrival: Target
    relay: Target


class Plexus(Exchange, GanglionBase):
    """A ganglion of ganglia, with reactants of its own.

    Local reactants get the very object that was transmitted; for the network it is encoded once. What arrives on one
    ganglion is passed on to the others, undecoded, and never back. Filters as on every ganglion; receive_queue:
    messages that may wait for one reactant before the link they come on is read no further.
    """

    def __init__(
        self,
        ganglia: Iterable[AnyGanglion] = (),
        relevant_neurons: Iterable[Neuron[Any]] = (),
        ignored_neurons: Iterable[Neuron[Any]] = (),
        *,
        receive_queue: int = DEFAULT_QUEUE_MESSAGES,
    ) -> None:
        GanglionBase.__init__(self, relevant_neurons, ignored_neurons)
        if receive_queue < 1:
            raise ValueError(f"receive_queue: expected at least 1 message, got {receive_queue}")
        self._receive_queue = receive_queue
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
        self._infuse(ganglion)
        self._use_running_loop()

    def _infuse(self, ganglion: AnyGanglion) -> None:
        if not isinstance(ganglion, (GanglionExternalBase, GanglionInproc, Plexus)):
            raise TypeError(f"ganglia: expected ganglia of plexo, got {ganglion!r}")
        if isinstance(ganglion, Plexus) and ganglion._contains(self):
            raise ValueError("ganglia: a plexus cannot be a ganglion of itself, nor of one inside it")
        if ganglion in self._ganglia:
            return
        self._ganglia.append(ganglion)
        for route in self._all_routes():
            self._join(route, ganglion)
            self._update_interest(route)

    def _contains(self, plexus: Plexus) -> bool:
        return self is plexus or any(
            isinstance(ganglion, Plexus) and ganglion._contains(plexus) for ganglion in self._ganglia
        )

    def _adapt(self, neuron: Neuron[T]) -> Route[T] | None:
        route = self._get_route(neuron)
        if route is None and self._accepts(neuron):
            route = Route(self, neuron, self._receive_queue)
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
            if synapse.wanted != wanted and not ganglion.closed:
                ganglion._interest_changed(synapse)

    def _use_running_loop(self) -> None:
        for ganglion in self._ganglia:
            if isinstance(ganglion, (GanglionExternalBase, Plexus)) and not ganglion.closed:
                ganglion._use_running_loop()

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

    async def adapt(self, neuron: Neuron[T], reactants: Iterable[Reactant[T]] | None = None) -> None:
        """Take up `neuron` here and on every capable ganglion, and add reactants to it.

        Ignored (and logged) where the filters say no.
        """
        self._react(neuron, reactants or ())
        self._use_running_loop()

    async def react(self, neuron: Neuron[T], reactants: Iterable[Reactant[T]]) -> None:
        """Add reactants, taking up `neuron` where that has not happened yet."""
        await self.adapt(neuron, reactants)

    async def unreact(self, neuron: Neuron[T], reactants: Iterable[Reactant[T]]) -> None:
        """Remove reactants; when the last of a neuron goes, so do the subscriptions."""
        self._unreact(neuron, reactants)

    async def update_transmitter(self, neuron: Neuron[Any]) -> None:
        """Make `neuron` transmittable."""
        await self.adapt(neuron)

    def on(self, neuron: Neuron[T]) -> ReactantDecorator[T]:
        """A decorator: the function reacts to `neuron` from now on. It takes (data[, neuron[, reaction_id]])."""

        def decorate(reactant: R) -> R:
            self._react(neuron, (reactant,))
            return reactant

        return decorate

    def stream(self, neuron: Neuron[T], limit: int = DEFAULT_STREAM_MESSAGES) -> Stream[T]:
        """The messages of `neuron` from now on, for `async for`; see Stream. `limit` messages may wait."""

        def subscribe(reactant: Any) -> Callable[[], None]:
            if not self.capable(neuron):
                raise NeuronNotAvailable(
                    f"{self!r} leaves out {neuron} by its filters; nothing would ever come"
                )
            self._react(neuron, (reactant,))
            return lambda: self._unreact(neuron, (reactant,))

        return Stream(subscribe, limit)

    def _react(self, neuron: Neuron[T], reactants: Iterable[Any]) -> None:
        route = self._adapt(neuron)
        if route is not None:
            add_all(route.local, reactants)
            self._update_interest(route)
        if asyncio._get_running_loop() is not None:
            self._use_running_loop()

    def _unreact(self, neuron: Neuron[Any], reactants: Iterable[Any]) -> None:
        route = self._get_route(neuron)
        if route is not None:
            for reactant in reactants:
                route.local.remove(reactant)
            self._update_interest(route)

    # -- messages ----------------------------------------------------------------------------------------------

    async def transmit(
        self, data: T, neuron: Neuron[T] | None = None, reaction_id: UUID | None = None
    ) -> None:
        """Send `data` to the local reactants and to every ganglion; without `neuron` it follows from the type.

        Ends when the local reactants are done and the ganglia have accepted it (a pair without a peer waits for one).
        Raises what a local reactant raises, after the others have run (several: an ExceptionGroup). Before anything is
        sent: WrongType (not the neuron's type), TransmitterNotFound (never adapted), AmbiguousNeuron (two neurons for
        this type), MessageTooLarge, and what the codec raises.

        A reactant that transmits its own neuron does not wait for itself: that message is queued behind the present
        one. Cancelling withdraws the message from reactants and peers that have not had it yet.
        """
        pending = self._send(data, neuron, reaction_id)
        if pending is not None:
            await pending

    def _enter(self, data: object, neuron: Neuron[Any], reaction_id: UUID | None) -> Awaitable[None] | None:
        """Another plexus sends through here."""
        return self._send(data, neuron, reaction_id)

    def _enter_posted(self, data: object, neuron: Neuron[Any], reaction_id: UUID) -> None:
        """Another plexus passes on what it received; nobody waits."""
        route = self._get_route(neuron)
        if route is not None:
            route.pass_on(data, reaction_id)

    # -- end ---------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Plexus:
        self._require_open()
        self._use_running_loop()
        return self

    def close(self) -> None:
        """Close this plexus and its ganglia; see their `close`."""
        if not self._closed:
            self._end_reactants()
            for ganglion in self._ganglia:
                ganglion.close()

    async def aclose(self) -> None:
        """`close`, giving the event loop its turns meanwhile."""
        if not self._closed:
            self._end_reactants()
            await asyncio.gather(*(ganglion.aclose() for ganglion in self._ganglia))

    def _end_reactants(self) -> None:
        self._closed = True
        for route in self._all_routes():
            for reactant in route.local.reactants:
                if isinstance(reactant, Buffer):
                    reactant.end()
            self._count_dropped(route.neuron, route.local.cancel())
        self._drop_routes()

    def __repr__(self) -> str:
        return f"<Plexus of {len(self._ganglia)} ganglia, {len(self._ports)} neurons>"
