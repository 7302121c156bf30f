# SPDX-License-Identifier: Apache-2.0
"""What every ganglion that leaves the process has: synapses by neuron, encoding, and counting what goes wrong.

A transport derives from it and says how a synapse is made (`_make_synapse`) and what to do when interest in a topic
begins or ends (`_interest_changed`); receiving means giving payloads to synapses.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar
from uuid import UUID

from plexo._fast.dispatch import DEFAULT_QUEUE_MESSAGES
from plexo._fast.synapse import Synapse
from plexo._fast.topics import TopicTable
from plexo.dendrite import add_all
from plexo.exceptions import MessageTooLarge, TransmitterNotFound
from plexo.ganglion.base import GanglionBase, logger
from plexo.neuron.neuron import Neuron
from plexo.statistics import Cause, GanglionStats, LinkStats, NeuronStats
from plexo.typing import EncodedType
from plexo.typing.reactant import RawReactant, Reactant

if TYPE_CHECKING:
    from typing_extensions import Self

T = TypeVar("T")


class GanglionExternalBase(GanglionBase):
    """receive_queue: messages that may wait for one reactant before the link they come on is read no further."""

    def __init__(
        self,
        relevant_neurons: Iterable[Neuron[Any]] = (),
        ignored_neurons: Iterable[Neuron[Any]] = (),
        allowed_codecs: Iterable[type] = (),
        *,
        receive_queue: int = DEFAULT_QUEUE_MESSAGES,
    ) -> None:
        super().__init__(relevant_neurons, ignored_neurons, allowed_codecs)
        if receive_queue < 1:
            raise ValueError(f"receive_queue: expected at least 1 message, got {receive_queue}")
        self._receive_queue = receive_queue
        self._synapses: dict[Neuron[Any], Synapse[Any]] = {}
        self._topics: TopicTable[Synapse[Any]] = TopicTable()

    # -- for the transport -------------------------------------------------------------------------------------

    def _make_synapse(self, neuron: Neuron[T]) -> Synapse[T]:
        raise NotImplementedError(f"{type(self).__name__} must make a synapse")

    def _interest_changed(self, synapse: Synapse[Any]) -> None:
        """Somebody began (`synapse.wanted`) or ceased to react to a neuron."""

    def _use_running_loop(self) -> None:
        """Called by every coroutine function: serve the sockets from the loop that runs now."""

    async def __aenter__(self) -> Self:
        self._require_open()
        self._use_running_loop()
        return self

    def _end_reactants(self) -> None:
        """The end: cancel suspended reactants; what still waits for one is counted."""
        for neuron, synapse in self._synapses.items():
            self._count_dropped(neuron, synapse.typed.cancel() + synapse.raw.cancel())

    # -- neurons -----------------------------------------------------------------------------------------------

    def _adapt(self, neuron: Neuron[T]) -> Synapse[T] | None:
        synapse = self._synapses.get(neuron)
        if synapse is None and self._accepts(neuron):
            synapse = self._synapses[neuron] = self._make_synapse(neuron)
            self._topics.insert(synapse.topic, synapse)
        return synapse

    def _find(self, neuron: Neuron[T]) -> Synapse[T]:
        self._require_open()
        synapse = self._synapses.get(neuron)
        if synapse is None:
            raise TransmitterNotFound(f"no transmitter for {neuron} here; call `await adapt(neuron)` first")
        return synapse

    def _add_reactants(
        self, synapse: Synapse[T], reactants: Iterable[Any], raw_reactants: Iterable[Any]
    ) -> None:
        wanted = synapse.wanted
        add_all(synapse.typed, reactants)
        add_all(synapse.raw, raw_reactants)
        if synapse.wanted != wanted:
            self._interest_changed(synapse)

    async def adapt(
        self,
        neuron: Neuron[T],
        reactants: Iterable[Reactant[T]] | None = None,
        raw_reactants: Iterable[RawReactant[T]] | None = None,
    ) -> None:
        """Take up `neuron`, and add reactants of both kinds to it. Ignored (and logged) where the filters say no."""
        self._use_running_loop()
        synapse = self._adapt(neuron)
        if synapse is not None:
            self._add_reactants(synapse, reactants or (), raw_reactants or ())

    async def react(self, neuron: Neuron[T], reactants: Iterable[Reactant[T]]) -> None:
        """Add reactants, taking up `neuron` where that has not happened yet."""
        await self.adapt(neuron, reactants)

    async def react_raw(self, neuron: Neuron[T], raw_reactants: Iterable[RawReactant[T]]) -> None:
        """Add reactants that get the bytes as they came, undecoded."""
        await self.adapt(neuron, None, raw_reactants)

    async def unreact(
        self,
        neuron: Neuron[T],
        reactants: Iterable[Reactant[T]] = (),
        raw_reactants: Iterable[RawReactant[T]] = (),
    ) -> None:
        """Remove reactants; when the last of a neuron goes, so does the subscription."""
        synapse = self._find(neuron)
        wanted = synapse.wanted
        for reactant in reactants:
            synapse.typed.remove(reactant)
        for raw_reactant in raw_reactants:
            synapse.raw.remove(raw_reactant)
        if synapse.wanted != wanted:
            self._interest_changed(synapse)

    async def update_transmitter(self, neuron: Neuron[Any]) -> None:
        """Make `neuron` transmittable."""
        await self.adapt(neuron)

    async def transmit(self, data: T, neuron: Neuron[T], reaction_id: UUID | None = None) -> None:
        """Encode and send `data`; ends when the transport has accepted it.

        WrongType: nothing was sent. TransmitterNotFound: `neuron` was never adapted. MessageTooLarge: over the
        transport's limit. What the codec raises, it raises.
        """
        synapse = self._find(neuron)
        neuron.check(data)
        pending = synapse.send(neuron.encode(data))
        if pending is not None:
            await pending

    async def transmit_encoded(
        self, data: EncodedType, neuron: Neuron[Any], reaction_id: UUID | None = None
    ) -> None:
        """Send what the codec of `neuron` has encoded already."""
        pending = self._find(neuron).send(data)
        if pending is not None:
            await pending

    # -- what goes wrong ---------------------------------------------------------------------------------------

    def _undecodable(self, error: Exception, payload: bytes, synapse: Synapse[Any]) -> None:
        if self._tally.add(Cause.UNDECODABLE, synapse.neuron.name):
            logger.warning(
                "%r: %d bytes for %s do not decode (%s: %s); dropped, as others like it will be",
                self, len(payload), synapse.neuron, type(error).__name__, error,
            )  # fmt: skip

    def _dropped(self, synapse: Synapse[Any], peer: str) -> None:
        if self._tally.add(Cause.QUEUE_FULL, synapse.neuron.name, peer):
            logger.warning("%r: queue to %s full; dropping messages of %s", self, peer, synapse.neuron)

    def _too_large(self, synapse: Synapse[Any], size: int, limit: int) -> NoReturn:
        raise MessageTooLarge(f"{synapse.neuron}: {size} bytes encoded, {self!r} carries at most {limit}")

    def _link_stats(self) -> tuple[LinkStats, ...]:
        return ()

    def stats(self) -> GanglionStats:
        """A snapshot of what was received, sent and dropped."""
        neurons = {
            neuron.name: NeuronStats(
                synapse.received,
                synapse.ignored,
                synapse.undecodable,
                synapse.sent,
                synapse.dropped,
                synapse.typed.queued + synapse.raw.queued,
            )
            for neuron, synapse in self._synapses.items()
        }
        received = sum(each.received for each in neurons.values())
        return GanglionStats(received, neurons, self._link_stats(), self._tally.snapshot())
