# SPDX-License-Identifier: Apache-2.0
"""What every ganglion that leaves the process has: synapses by neuron, encoding, and counting what goes wrong.

A transport derives from it and says how a synapse is made (`_make_synapse`) and what to do when interest in a topic
begins or ends (`_interest_changed`); receiving means giving payloads to synapses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar
from uuid import UUID

from plexo._fast.dispatch import DEFAULT_QUEUE, Fanout
from plexo._fast.outgoing import Outgoing, send_outgoing
from plexo._fast.queues import Queue, as_queue
from plexo._fast.synapse import Synapse
from plexo._fast.topics import TopicTable
from plexo._proto.errors import printable
from plexo.dendrite import add_all
from plexo.exceptions import AckNotSupported, MessageTooLarge, TransmitterNotFound
from plexo.failure import DeadLetter, OnError
from plexo.ganglion.base import GanglionBase, logger
from plexo.neuron.neuron import Neuron
from plexo.statistics import EMPTY_BOOK, NO_LINK, Book, Cause, GanglionStats, LinkStats
from plexo.typing import EncodedType
from plexo.typing.reactant import RawReactant, Reactant
from plexo.typing.values import Values

if TYPE_CHECKING:
    from typing_extensions import Self

T = TypeVar("T")

# Neurons and peers whose undecodable messages were logged; hosts are chosen by strangers.
MAX_SAID = 1024


class GanglionExternalBase(GanglionBase):
    """receive_queue: what may wait for one reactant, and what happens then; a Queue or the name of a policy.

    Other arguments: see GanglionBase.
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
        self._buriers: list[Callable[[DeadLetter], None]] = []
        self._said_undecodable: set[tuple[Neuron[Any], str]] = set()
        self._said_unforwarded: set[Neuron[Any]] = set()
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

    def _fanouts(self) -> list[tuple[Neuron[Any], Fanout[Any]]]:
        return [
            *(
                (neuron, fanout)
                for neuron, synapse in list(self._synapses.items())
                for fanout in (synapse.typed, synapse.raw)
            ),
            *super()._fanouts(),
        ]

    def _forsake(self) -> bool:
        """In a forked child; a transport closes the child's copies of its descriptors here, and does nothing else."""
        super()._forsake()
        return True

    # -- neurons -----------------------------------------------------------------------------------------------

    def _adapt(self, neuron: Neuron[T]) -> Synapse[T] | None:
        synapse = self._synapses.get(neuron)
        if synapse is None and self._accepts(neuron):
            synapse = self._synapses[neuron] = self._make_synapse(neuron)
            synapse.typed.keeps_payload = synapse.raw.keeps_payload = self._keeps_payloads
            self._topics.insert(synapse.topic, synapse)
        return synapse

    def _find(self, neuron: Neuron[T]) -> Synapse[T]:
        self._require_open()
        synapse = self._synapses.get(neuron)
        if synapse is None:
            raise TransmitterNotFound(f"no transmitter for {neuron} here; call `await adapt(neuron)` first")
        return synapse

    def _add_reactants(
        self,
        synapse: Synapse[T],
        reactants: Iterable[Any],
        raw_reactants: Iterable[Any],
        queue: Queue | str | None = None,
    ) -> None:
        wanted = synapse.wanted
        bounds = as_queue(queue, "queue", self._receive_queue)
        add_all(synapse.typed, reactants, bounds)
        add_all(synapse.raw, raw_reactants, bounds)
        if synapse.wanted != wanted:
            self._interest_changed(synapse)

    async def adapt(
        self,
        neuron: Neuron[T],
        reactants: Iterable[Reactant[T]] | None = None,
        raw_reactants: Iterable[RawReactant[T]] | None = None,
        *,
        queue: Queue | str | None = None,
    ) -> None:
        """Take up `neuron`, and add reactants of both kinds to it. Ignored (and logged) where the filters say no.

        Each reactant gets a queue such as `queue` (default: the ganglion's receive_queue).
        """
        self._use_running_loop()
        synapse = self._adapt(neuron)
        if synapse is not None:
            self._add_reactants(synapse, reactants or (), raw_reactants or (), queue)

    async def react(
        self, neuron: Neuron[T], reactants: Iterable[Reactant[T]], *, queue: Queue | str | None = None
    ) -> None:
        """Add reactants, taking up `neuron` where that has not happened yet."""
        await self.adapt(neuron, reactants, queue=queue)

    async def react_raw(
        self, neuron: Neuron[T], raw_reactants: Iterable[RawReactant[T]], *, queue: Queue | str | None = None
    ) -> None:
        """Add reactants that get the bytes as they came, undecoded."""
        await self.adapt(neuron, None, raw_reactants, queue=queue)

    async def unreact(
        self,
        neuron: Neuron[T],
        reactants: Iterable[Reactant[T]] = (),
        raw_reactants: Iterable[RawReactant[T]] = (),
    ) -> None:
        """Remove reactants; when the last of a neuron goes, so does the subscription."""
        self._use_running_loop()
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

    async def transmit(
        self,
        data: T,
        neuron: Neuron[T],
        reaction_id: UUID | None = None,
        acked: bool = False,
        timeout_s: float | None = None,
    ) -> int:
        """Encode and send `data`; ends when the transport has accepted it. Returns how many peers it was handed to.

        WrongType: nothing was sent. TransmitterNotFound: `neuron` was never adapted. MessageTooLarge: over the
        transport's limit. What the codec raises, it raises.

        acked=True (pairs): ends when the other side's reactants have finished; within `timeout_s` seconds, by default
        the ganglion's `ack_timeout_s`. AckNotSupported: this is no pair, or the peer does not acknowledge. RemoteError:
        a reactant over there raised. NotDelivered: refused, or the time was over, or this was closed. JournalError: the
        journal could not store it. Cancelling withdraws it.
        """
        synapse = self._find(neuron)
        neuron.check(data)
        if acked:
            return await self._transmit_acked(synapse, neuron.encode(data), timeout_s)
        view = None if neuron._view_of is None else neuron._view_of(data)
        pending = synapse.send(neuron.encode(data), data) if view is None else synapse.lend(view, data)
        handed = synapse.handed
        if pending is not None:
            await pending
        return handed

    async def transmit_many(self, values: Values[T], neuron: Neuron[T]) -> int:
        """Encode and send every one of `values`, in order; see `Plexus.transmit_many`."""
        synapse = self._find(neuron)
        return await send_outgoing(Outgoing(values, neuron), None, synapse, None)

    async def transmit_encoded(
        self, data: EncodedType, neuron: Neuron[Any], reaction_id: UUID | None = None
    ) -> int:
        """Send what the codec of `neuron` has encoded already. Returns how many peers it was handed to."""
        synapse = self._find(neuron)
        pending = synapse.send(data)
        handed = synapse.handed
        if pending is not None:
            await pending
        return handed

    def _require_acks(self) -> None:
        """AckNotSupported where it is known that nothing sent here would be acknowledged."""
        raise AckNotSupported(f"{self!r} has no acknowledgements: a pair has")

    async def _transmit_acked(self, synapse: Synapse[Any], payload: Any, timeout_s: float | None) -> int:
        self._require_acks()
        return 0

    # -- what goes wrong ---------------------------------------------------------------------------------------

    def _undecodable(self, error: Exception, payload: bytes, synapse: Synapse[Any], peer: str) -> None:
        """Told of each; counted by the synapse. Logged once for each neuron and peer."""
        if (synapse.neuron, peer) not in self._said_undecodable and len(self._said_undecodable) < MAX_SAID:
            self._said_undecodable.add((synapse.neuron, peer))
            # Codecs quote what came, and a log line must stay one.
            why = printable(f"{type(error).__name__}: {error}".encode(errors="replace"), 400)
            logger.warning(
                "%r: %d bytes from %s for %s do not decode (%s); dropped, as others like it will be",
                self, len(payload), peer or "here", synapse.neuron, why,
            )  # fmt: skip
        if self._keeps_payloads or self._buriers:
            letter = DeadLetter(synapse.neuron, bytes(payload), Cause.UNDECODABLE, error, peer)
            for bury in (self._bury, *self._buriers):
                bury(letter)

    def _forward_dead_letters(self, bury: Callable[[DeadLetter], None]) -> None:
        """A plexus wants to know of what does not decode here, too."""
        if bury not in self._buriers:
            self._buriers.append(bury)

    def _keep_payloads(self) -> None:
        for synapse in self._synapses.values():
            synapse.typed.keeps_payload = synapse.raw.keeps_payload = True

    def _not_forwarded(self, synapse: Synapse[Any], error: Exception) -> None:
        """A message of another ganglion cannot be sent here, and nobody is there to be told: counted; logged once."""
        synapse.count_sent(0, 1)
        synapse.drop_sent(Cause.REJECTED)
        if synapse.neuron not in self._said_unforwarded:
            self._said_unforwarded.add(synapse.neuron)
            logger.warning("%r: a message is not passed on: %s; counted from now on", self, error)

    def _too_large(self, synapse: Synapse[Any], size: int, limit: int) -> NoReturn:
        raise MessageTooLarge(f"{synapse.neuron}: {size} bytes encoded, {self!r} carries at most {limit}")

    def _link_stats(self) -> tuple[LinkStats, ...]:
        return ()

    def _queued_by_topic(self) -> dict[bytes, int]:
        """Messages accepted and not yet sent, for `stats`."""
        return {}

    def _ended_links(self) -> LinkStats:
        return NO_LINK

    def _waiting(self) -> int:
        """Messages whose senders wait."""
        return 0

    def _acked_book(self) -> Book:
        return EMPTY_BOOK

    def stats(self) -> GanglionStats:
        """A snapshot of the books; see GanglionStats. Safe from any thread."""
        self._require_own()
        queued = self._queued_by_topic()
        neurons = {
            neuron.name: synapse.stats(queued.get(synapse.topic, 0))
            for neuron, synapse in list(self._synapses.items())
        }
        return GanglionStats(
            MappingProxyType(neurons),
            self._link_stats(),
            self._ended_links(),
            self._waiting(),
            self._tally.snapshot(),
            self._acked_book(),
        )
