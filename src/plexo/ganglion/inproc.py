# SPDX-License-Identifier: Apache-2.0
"""Inside one process: reactants get the very object, nothing is encoded."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from typing import Any, TypeVar
from uuid import UUID

from plexo.exceptions import TransmitterNotFound
from plexo.ganglion.base import GanglionBase
from plexo.neuron.neuron import Neuron
from plexo.synapse.inproc import SynapseInproc
from plexo.typing.reactant import Reactant

T = TypeVar("T")


class GanglionInproc(GanglionBase):
    """A bus inside one process. Several plexuses may share one."""

    def __init__(
        self,
        relevant_neurons: Iterable[Neuron[Any]] = (),
        ignored_neurons: Iterable[Neuron[Any]] = (),
        allowed_codecs: Iterable[type] = (),
    ) -> None:
        super().__init__(relevant_neurons, ignored_neurons, allowed_codecs)
        self._synapses: dict[Neuron[Any], SynapseInproc[Any]] = {}

    def _adapt(self, neuron: Neuron[Any]) -> SynapseInproc[Any] | None:
        synapse = self._synapses.get(neuron)
        if synapse is None and self._accepts(neuron):
            synapse = self._synapses[neuron] = SynapseInproc(neuron, report=self._reactant_failed)
        return synapse

    def _find(self, neuron: Neuron[Any]) -> SynapseInproc[Any]:
        self._require_open()
        synapse = self._synapses.get(neuron)
        if synapse is None:
            raise TransmitterNotFound(f"no transmitter for {neuron} here; call `await adapt(neuron)` first")
        return synapse

    async def adapt(self, neuron: Neuron[T], reactants: Iterable[Reactant[T]] | None = None) -> None:
        """Take up `neuron`, and add reactants to it."""
        synapse = self._adapt(neuron)
        if synapse is not None and reactants:
            await synapse.add_reactants(reactants)

    async def react(self, neuron: Neuron[T], reactants: Iterable[Reactant[T]]) -> None:
        """Add reactants, taking up `neuron` where that has not happened yet."""
        await self.adapt(neuron, reactants)

    async def unreact(self, neuron: Neuron[T], reactants: Iterable[Reactant[T]]) -> None:
        """Remove reactants."""
        await self._find(neuron).remove_reactants(reactants)

    async def update_transmitter(self, neuron: Neuron[Any]) -> None:
        self._adapt(neuron)

    async def transmit(self, data: T, neuron: Neuron[T], reaction_id: UUID | None = None) -> None:
        """Give `data` to every reactant and wait for them; raises what they raise (several: an ExceptionGroup).

        TransmitterNotFound: `neuron` was never adapted. WrongType: `data` is not what it carries.
        """
        synapse = self._find(neuron)
        neuron.check(data)
        pending = synapse.fanout.transmit(data, reaction_id)
        if pending is not None:
            await pending

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            for neuron, synapse in self._synapses.items():
                self._count_dropped(neuron, synapse.fanout.cancel())

    def _enter(self, data: object, neuron: Neuron[Any], reaction_id: UUID | None) -> Awaitable[None] | None:
        """A plexus sends through here."""
        return self._find(neuron).fanout.transmit(data, reaction_id)

    def _enter_posted(self, data: object, neuron: Neuron[Any], reaction_id: UUID | None) -> None:
        """A plexus passes on what it received; nobody waits."""
        self._find(neuron).fanout.receive(data, reaction_id)

    def __repr__(self) -> str:
        return f"<GanglionInproc, {len(self._synapses)} neurons>"
