# SPDX-License-Identifier: Apache-2.0
"""One neuron inside one process."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic
from uuid import UUID

from plexo.dendrite import Dendrite
from plexo.neuron.neuron import Neuron
from plexo.typing import UnencodedType
from plexo.typing.reactant import Reactant


class SynapseInproc(Generic[UnencodedType]):
    """Reactants of `neuron`; what is transmitted reaches them as it is."""

    def __init__(
        self,
        neuron: Neuron[UnencodedType],
        reactants: Iterable[Reactant[UnencodedType]] = (),
        owner: object = None,
    ) -> None:
        self.neuron = neuron
        self._dendrite = Dendrite(neuron, reactants, owner)
        self.fanout = self._dendrite.fanout

    async def add_reactants(self, reactants: Iterable[Reactant[UnencodedType]]) -> None:
        await self._dendrite.add_reactants(reactants)

    async def remove_reactants(self, reactants: Iterable[Reactant[UnencodedType]]) -> None:
        await self._dendrite.remove_reactants(reactants)

    async def transduce(self, data: UnencodedType, reaction_id: UUID | None = None) -> None:
        """Give `data` to every reactant and wait for them."""
        await self._dendrite.transduce(data, reaction_id)

    async def transmit(self, data: UnencodedType, reaction_id: UUID | None = None) -> None:
        """In process, sending is being received."""
        await self._dendrite.transduce(data, reaction_id)

    def close(self) -> None:
        """Nothing is held open."""
