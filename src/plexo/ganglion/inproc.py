# SPDX-License-Identifier: Apache-2.0
"""Inside one process: reactants get the very object, nothing is encoded."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from types import MappingProxyType
from typing import Any, TypeVar
from uuid import UUID

from plexo._fast.completion import Source
from plexo._fast.dispatch import DEFAULT_QUEUE, Fanout
from plexo._fast.outgoing import Outgoing, send_outgoing
from plexo._fast.queues import Queue, as_queue
from plexo.dendrite import add_all
from plexo.exceptions import TransmitterNotFound
from plexo.failure import OnError
from plexo.ganglion.base import GanglionBase
from plexo.neuron.neuron import Neuron
from plexo.statistics import EMPTY_BOOK, NO_LINK, GanglionStats, NeuronStats
from plexo.synapse.inproc import SynapseInproc
from plexo.typing.reactant import Reactant
from plexo.typing.values import Values

T = TypeVar("T")


class GanglionInproc(GanglionBase):
    """A bus inside one process. Several plexuses may share one.

    receive_queue: what may wait for one reactant, a Queue or the name of a policy; on_error: see GanglionBase.
    """

    def __init__(
        self,
        relevant_neurons: Iterable[Neuron[Any]] = (),
        ignored_neurons: Iterable[Neuron[Any]] = (),
        allowed_codecs: Iterable[type] = (),
        *,
        receive_queue: Queue | str | None = None,
        on_error: OnError | None = None,
    ) -> None:
        super().__init__(relevant_neurons, ignored_neurons, allowed_codecs, on_error)
        self._receive_queue = as_queue(receive_queue, "receive_queue", DEFAULT_QUEUE)
        self._synapses: dict[Neuron[Any], SynapseInproc[Any]] = {}

    def _adapt(self, neuron: Neuron[Any]) -> SynapseInproc[Any] | None:
        self._require_open()
        synapse = self._synapses.get(neuron)
        if synapse is None and self._accepts(neuron):
            synapse = self._synapses[neuron] = SynapseInproc(neuron, owner=self)
        return synapse

    def _find(self, neuron: Neuron[Any]) -> SynapseInproc[Any]:
        self._require_open()
        synapse = self._synapses.get(neuron)
        if synapse is None:
            raise TransmitterNotFound(f"no transmitter for {neuron} here; call `await adapt(neuron)` first")
        return synapse

    async def adapt(
        self,
        neuron: Neuron[T],
        reactants: Iterable[Reactant[T]] | None = None,
        *,
        queue: Queue | str | None = None,
    ) -> None:
        """Take up `neuron`, and add reactants to it; each gets a queue such as `queue` (default: receive_queue)."""
        synapse = self._adapt(neuron)
        if synapse is not None and reactants:
            add_all(synapse.fanout, reactants, as_queue(queue, "queue", self._receive_queue))

    async def react(
        self, neuron: Neuron[T], reactants: Iterable[Reactant[T]], *, queue: Queue | str | None = None
    ) -> None:
        """Add reactants, taking up `neuron` where that has not happened yet."""
        await self.adapt(neuron, reactants, queue=queue)

    async def unreact(self, neuron: Neuron[T], reactants: Iterable[Reactant[T]]) -> None:
        """Remove reactants."""
        await self._find(neuron).remove_reactants(reactants)

    async def update_transmitter(self, neuron: Neuron[Any]) -> None:
        self._adapt(neuron)

    async def transmit(self, data: T, neuron: Neuron[T], reaction_id: UUID | None = None) -> int:
        """Give `data` to every reactant and wait for them; raises what they raise (several: an ExceptionGroup).

        Returns to how many reactants it went. TransmitterNotFound: `neuron` was never adapted. WrongType: `data` is
        not what it carries.
        """
        synapse = self._find(neuron)
        neuron.check(data)
        handed = len(synapse.fanout)
        pending = synapse.fanout.transmit(data, reaction_id)
        if pending is not None:
            await pending
        return handed

    async def transmit_many(self, values: Values[T], neuron: Neuron[T]) -> int:
        """Give every one of `values`, in order, to every reactant; see `Plexus.transmit_many`."""
        synapse = self._find(neuron)
        return await send_outgoing(Outgoing(values, neuron), None, None, synapse.fanout)

    def stats(self) -> GanglionStats:
        """A snapshot of the books; see GanglionStats. Safe from any thread."""
        neurons = {
            neuron.name: NeuronStats(0, synapse.fanout.book, EMPTY_BOOK, synapse.fanout.reactant_stats())
            for neuron, synapse in list(self._synapses.items())
        }
        return GanglionStats(MappingProxyType(neurons), (), NO_LINK, 0, self._tally.snapshot())

    async def ready(
        self, peers: int = 0, neuron: Neuron[Any] | None = None, timeout_s: float | None = None
    ) -> None:
        """Returns at once: there are no links to wait for. ValueError: `peers` is not 0."""
        await super().ready(peers, neuron, timeout_s)

    def _check_ready(self, peers: int, neuron: Neuron[Any] | None) -> None:
        if peers:
            raise ValueError(f"peers: an in-process ganglion has no links; expected 0, got {peers}")

    def _fanouts(self) -> list[tuple[Neuron[Any], Fanout[Any]]]:
        return [
            *((neuron, synapse.fanout) for neuron, synapse in list(self._synapses.items())),
            *super()._fanouts(),
        ]

    def _receivers(self, neuron: Neuron[Any]) -> int:
        return len(self._find(neuron).fanout.reactants)

    def _enter(self, data: object, neuron: Neuron[Any], reaction_id: UUID | None) -> Awaitable[None] | None:
        """A plexus sends through here."""
        return self._find(neuron).fanout.transmit(data, reaction_id)

    def _enter_posted(
        self, data: object, neuron: Neuron[Any], reaction_id: UUID | None, source: Source | None
    ) -> None:
        """A plexus passes on what it received; nobody waits, and a full reactant stops the link (`source`)."""
        self._find(neuron).fanout.receive(data, reaction_id, source)

    def __repr__(self) -> str:
        return f"<GanglionInproc, {len(self._synapses)} neurons>"
