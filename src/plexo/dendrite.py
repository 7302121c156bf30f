# SPDX-License-Identifier: Apache-2.0
"""The reactants of one neuron at one place."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Generic
from uuid import UUID

from plexo._fast.dispatch import Fanout
from plexo._fast.queues import Queue
from plexo.arity import reactant_arity
from plexo.neuron.neuron import Neuron
from plexo.typing import EncodedType, UnencodedType
from plexo.typing.reactant import RawReactant, Reactant


class Dendrite(Generic[UnencodedType]):
    """A set of reactants, in the order they were added.

    owner, where it is given, is a ganglion: it counts, and is told of errors that nobody awaits.
    """

    def __init__(
        self,
        neuron: Neuron[UnencodedType],
        reactants: Iterable[Reactant[UnencodedType]] = (),
        owner: object = None,
    ) -> None:
        self.neuron = neuron
        self.fanout = Fanout(neuron, owner)
        add_all(self.fanout, reactants)

    @property
    def reactants(self) -> tuple[Reactant[UnencodedType], ...]:
        return self.fanout.reactants

    async def add_reactants(self, reactants: Iterable[Reactant[UnencodedType]]) -> None:
        """Add; one that is there already is not added again."""
        add_all(self.fanout, reactants)

    async def remove_reactants(self, reactants: Iterable[Reactant[UnencodedType]]) -> None:
        """Remove; one that is not there is ignored."""
        for reactant in reactants:
            self.fanout.remove(reactant)

    async def transduce(self, data: UnencodedType, reaction_id: UUID | None = None) -> None:
        """Give `data` to every reactant and wait for them; raises what they raise (several: an ExceptionGroup)."""
        pending = self.fanout.transmit(data, reaction_id)
        if pending is not None:
            await pending


class DecoderDendrite(Dendrite[UnencodedType]):
    """As Dendrite, for encoded data: raw reactants get the bytes, the others the decoded value."""

    def __init__(
        self,
        neuron: Neuron[UnencodedType],
        reactants: Iterable[Reactant[UnencodedType]] = (),
        raw_reactants: Iterable[RawReactant[UnencodedType]] = (),
        owner: object = None,
    ) -> None:
        super().__init__(neuron, reactants, owner)
        self.raw_fanout: Fanout[Any] = Fanout(neuron, owner)
        add_all(self.raw_fanout, raw_reactants)

    @property
    def raw_reactants(self) -> tuple[RawReactant[UnencodedType], ...]:
        return self.raw_fanout.reactants

    async def add_raw_reactants(self, raw_reactants: Iterable[RawReactant[UnencodedType]]) -> None:
        add_all(self.raw_fanout, raw_reactants)

    async def remove_raw_reactants(self, raw_reactants: Iterable[RawReactant[UnencodedType]]) -> None:
        for reactant in raw_reactants:
            self.raw_fanout.remove(reactant)

    async def transduce(self, data: EncodedType, reaction_id: UUID | None = None) -> None:  # type: ignore[override]
        """Give `data` to every raw reactant and, decoded, to every other; waits for them and raises their errors.

        It is decoded only if somebody gets it decoded; raises what the codec raises where it does not decode.
        """
        raw = self.raw_fanout.transmit(data, reaction_id)
        if len(self.fanout):
            await super().transduce(self.neuron.decode(data), reaction_id)
        if raw is not None:
            await raw


def add_all(fanout: Fanout[Any], reactants: Iterable[Any], queue: Queue | None = None) -> None:
    """Add every reactant, or none: all are checked before the first is added. Each gets a queue such as `queue`."""
    if callable(reactants) and not isinstance(reactants, Iterable):
        raise TypeError(f"reactants: expected an iterable of callables, got the callable {reactants!r}")
    checked = list(reactants)
    for reactant in checked:
        reactant_arity(reactant)
    for reactant in checked:
        fanout.add(reactant, queue)
