# SPDX-License-Identifier: Apache-2.0
"""What a ganglion is to its users: one transport that carries neurons."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from plexo.typing import EncodedType, UnencodedType

if TYPE_CHECKING:
    from uuid import UUID

    from plexo.neuron.neuron import Neuron
    from plexo.typing.reactant import RawReactant, Reactant


@runtime_checkable
class Ganglion(Protocol):
    """Carries the values of neurons to whoever reacts to them."""

    @abstractmethod
    def capable(self, neuron: Neuron[Any]) -> bool:
        """Whether this ganglion's filters let it carry `neuron`."""

    @abstractmethod
    async def update_transmitter(self, neuron: Neuron[UnencodedType]) -> Any:
        """Makes `neuron` transmittable here."""

    @abstractmethod
    async def react(self, neuron: Neuron[UnencodedType], reactants: Iterable[Reactant[UnencodedType]]) -> Any:
        """Adds reactants to `neuron`."""

    @abstractmethod
    async def transmit(
        self, data: UnencodedType, neuron: Neuron[UnencodedType], reaction_id: UUID | None = None
    ) -> Any:
        """Sends a value. Raises TransmitterNotFound if `neuron` was never adapted."""

    @abstractmethod
    async def adapt(
        self, neuron: Neuron[UnencodedType], reactants: Iterable[Reactant[UnencodedType]] | None = None
    ) -> Any:
        """Takes `neuron` up, and adds reactants to it."""

    @abstractmethod
    def close(self) -> Any:
        """Ends everything the ganglion runs. May be called twice."""


@runtime_checkable
class GanglionExternal(Ganglion, Protocol):
    """A ganglion that leaves the process, and therefore encodes."""

    @abstractmethod
    async def react_raw(
        self, neuron: Neuron[UnencodedType], raw_reactants: Iterable[RawReactant[UnencodedType]]
    ) -> Any:
        """Adds reactants that get the bytes of `neuron` undecoded."""

    @abstractmethod
    async def transmit_encoded(
        self, data: EncodedType, neuron: Neuron[UnencodedType], reaction_id: UUID | None = None
    ) -> Any:
        """Sends what the codec of `neuron` has encoded already."""

    @abstractmethod
    async def adapt(
        self,
        neuron: Neuron[UnencodedType],
        reactants: Iterable[Reactant[UnencodedType]] | None = None,
        raw_reactants: Iterable[RawReactant[UnencodedType]] | None = None,
    ) -> Any:
        """Takes `neuron` up, and adds reactants of both kinds to it."""
