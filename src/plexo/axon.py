# SPDX-License-Identifier: Apache-2.0
"""One neuron on one ganglion or plexus."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, cast
from uuid import UUID

from plexo.neuron.neuron import Neuron
from plexo.typing import UnencodedType
from plexo.typing.ganglion import Ganglion
from plexo.typing.reactant import Reactant
from plexo.typing.values import Values


class Axon(Generic[UnencodedType]):
    """`react` and `transmit` without repeating the neuron; adapts by itself on first use."""

    def __init__(self, neuron: Neuron[UnencodedType], ganglion: Ganglion) -> None:
        if not isinstance(neuron, Neuron):
            raise TypeError(f"neuron: expected a Neuron, got {type(neuron).__name__}")
        self.neuron = neuron
        self.ganglion = ganglion
        self._adapted = False

    async def adapt(self) -> None:
        """Take up the neuron; happens by itself before the first `react` or `transmit`."""
        await self.ganglion.adapt(self.neuron)
        self._adapted = True

    async def react(self, reactants: Iterable[Reactant[UnencodedType]]) -> None:
        """Add reactants."""
        if not self._adapted:
            await self.adapt()
        await self.ganglion.react(self.neuron, reactants)

    async def transmit(self, data: UnencodedType, reaction_id: UUID | None = None) -> int:
        """Send `data`; see the ganglion's or plexus's `transmit`."""
        if not self._adapted:
            await self.adapt()
        handed: int = await self.ganglion.transmit(data, self.neuron, reaction_id)
        return handed

    async def transmit_many(self, values: Values[UnencodedType]) -> int:
        """Send every one of `values`, in order; see the ganglion's or plexus's `transmit_many`.

        To a ganglion that has none, one by one.
        """
        if not self._adapted:
            await self.adapt()
        transmit_many = getattr(self.ganglion, "transmit_many", None)
        if transmit_many is not None:
            handed: int = await transmit_many(values, self.neuron)
            return handed
        return sum([await self.transmit(value) for value in cast(Iterable[UnencodedType], values)])

    def __repr__(self) -> str:
        return f"<Axon {self.neuron} on {self.ganglion!r}>"
