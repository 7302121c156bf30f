# SPDX-License-Identifier: Apache-2.0
"""What a synapse is: the endpoint of one neuron inside one ganglion."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol

from plexo.typing import EncodedType, UnencodedType

if TYPE_CHECKING:
    from uuid import UUID

    from plexo.typing.reactant import RawReactant, Reactant


class SynapseInternal(Protocol[UnencodedType]):
    """An endpoint inside the process: values go through as they are."""

    @abstractmethod
    async def add_reactants(self, reactants: Iterable[Reactant[UnencodedType]]) -> Any:
        """Adds reactants."""

    @abstractmethod
    async def transduce(self, data: UnencodedType, reaction_id: UUID | None = None) -> Any:
        """Hands an arrived value to the reactants."""

    @abstractmethod
    async def transmit(self, data: UnencodedType, reaction_id: UUID | None = None) -> Any:
        """Sends a value."""

    @abstractmethod
    def close(self) -> Any:
        """Ends what the synapse runs."""


class SynapseExternal(Protocol[UnencodedType]):
    """An endpoint towards other processes: encoded data goes through."""

    @abstractmethod
    async def add_reactants(self, reactants: Iterable[Reactant[UnencodedType]]) -> Any:
        """Adds reactants, which get decoded values."""

    @abstractmethod
    async def add_raw_reactants(self, raw_reactants: Iterable[RawReactant[UnencodedType]]) -> Any:
        """Adds reactants that get the bytes."""

    @abstractmethod
    async def transduce(self, data: EncodedType, reaction_id: UUID | None = None) -> Any:
        """Hands arrived bytes to the reactants, decoding them for those that want values."""

    @abstractmethod
    async def transmit(self, data: EncodedType, reaction_id: UUID | None = None) -> Any:
        """Sends encoded data."""

    @abstractmethod
    def close(self) -> Any:
        """Ends what the synapse runs."""
