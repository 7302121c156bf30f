# SPDX-License-Identifier: Apache-2.0
"""The 1.0 face of an external ganglion's synapse."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Generic
from uuid import UUID

from plexo.typing import EncodedType, UnencodedType
from plexo.typing.reactant import RawReactant, Reactant

if TYPE_CHECKING:
    from plexo._fast.synapse import Synapse as _Base
else:
    _Base = Generic


class SynapseExternalFace(_Base[UnencodedType]):
    """Coroutine functions over a compiled synapse, which it is mixed into."""

    __slots__ = ()

    async def add_reactants(self, reactants: Iterable[Reactant[UnencodedType]]) -> None:
        self.owner._add_reactants(self, reactants, ())

    async def add_raw_reactants(self, raw_reactants: Iterable[RawReactant[UnencodedType]]) -> None:
        self.owner._add_reactants(self, (), raw_reactants)

    async def transduce(self, data: EncodedType, reaction_id: UUID | None = None) -> None:
        """As if `data` had arrived: raw reactants get it, the others its decoded value."""
        self.receive_payload(data)

    async def transmit(self, data: EncodedType, reaction_id: UUID | None = None) -> None:
        """Send encoded data; ends when the transport has accepted it."""
        pending: Any = self.send(data)
        if pending is not None:
            await pending

    def close(self) -> None:
        """The sockets are the ganglion's."""
