# SPDX-License-Identifier: Apache-2.0
"""One neuron on one multicast group, with no ganglion around it: also towards programs that use libzmq's epgm."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Generic
from uuid import UUID

from plexo.ganglion.multicast import DEFAULT_PORT, GanglionMulticast
from plexo.ganglion.multicast_sockets import resolve_group
from plexo.neuron.neuron import Neuron
from plexo.statistics import GanglionStats
from plexo.synapse.multicast import SynapseMulticast
from plexo.typing import EncodedType, IPAddress, UnencodedType
from plexo.typing.reactant import RawReactant, Reactant


class _OneGroup(GanglionMulticast):
    """A ganglion whose neurons are all at home in one group, which it is in also where it only sends: a source of
    libzmq is asked for repairs there, and so are we."""

    def __init__(self, group: str, bind_interface: object, port: int, **limits: Any) -> None:
        self.group = group
        super().__init__(bind_interface, port, (), (), (), **limits)
        self._repair_groups = frozenset((group,))

    def _group_to_send(self, topic: str) -> str:
        return self.group

    def _groups_to_hear(self, topic: str) -> frozenset[str]:
        return frozenset((self.group,))

    def _source_begun(self, synapse: SynapseMulticast[Any]) -> None:
        self._join(self.group)

    def __repr__(self) -> str:
        return f"<SynapseZmqPlexoPubSubEPGM {self.group}:{self.port} by {self.interface.name}>"


class SynapseZmqPlexoPubSubEPGM(Generic[UnencodedType]):
    """Sends `neuron` to `multicast_address`, and gives what comes there to the reactants.

    A message is two frames, topic and payload, on libzmq's `epgm://interface;multicast_address:port`: PUB and SUB
    sockets there are on a par with it. `bind_interface` is an address or an interface's name; default: the primary
    one. Can be made outside of an event loop; served by the one that runs when it is used. Other keyword arguments:
    see GanglionMulticast.

    IpAddressIsNotMulticast: `multicast_address` is none. OSError: a socket cannot be had.
    """

    def __init__(
        self,
        neuron: Neuron[UnencodedType],
        multicast_address: IPAddress | str,
        bind_interface: object = None,
        port: int = DEFAULT_PORT,
        reactants: Iterable[Reactant[UnencodedType]] = (),
        raw_reactants: Iterable[RawReactant[UnencodedType]] = (),
        **limits: Any,
    ) -> None:
        self.neuron = neuron
        self._ganglion = _OneGroup(resolve_group(multicast_address), bind_interface, port, **limits)
        try:
            synapse = self._ganglion._adapt(neuron)
            assert synapse is not None  # it has no filters
            self._synapse = synapse
            self._ganglion._add_reactants(synapse, reactants, raw_reactants)
            if asyncio._get_running_loop() is not None:
                self._ganglion._use_running_loop()
        except BaseException:
            self._ganglion.close()
            raise

    async def add_reactants(self, reactants: Iterable[Reactant[UnencodedType]]) -> None:
        """Add reactants, which get decoded values."""
        await self._ganglion.adapt(self.neuron, reactants)

    async def add_raw_reactants(self, raw_reactants: Iterable[RawReactant[UnencodedType]]) -> None:
        """Add reactants that get the bytes."""
        await self._ganglion.adapt(self.neuron, None, raw_reactants)

    async def remove_reactants(
        self,
        reactants: Iterable[Reactant[UnencodedType]] = (),
        raw_reactants: Iterable[RawReactant[UnencodedType]] = (),
    ) -> None:
        await self._ganglion.unreact(self.neuron, reactants, raw_reactants)

    async def transduce(self, data: EncodedType, reaction_id: UUID | None = None) -> None:
        """As if `data` had arrived: raw reactants get it, the others its decoded value."""
        self._ganglion._require_open()
        self._synapse.receive_payload(data)

    async def transmit(self, data: EncodedType, reaction_id: UUID | None = None) -> None:
        """Send encoded data; ends when the transport has accepted it."""
        self._ganglion._use_running_loop()
        await self._ganglion.transmit_encoded(data, self.neuron)

    def stats(self) -> GanglionStats:
        """The books of this one neuron; see GanglionStats."""
        return self._ganglion.stats()

    def close(self) -> None:
        """As a ganglion's `close`."""
        self._ganglion.close()

    async def aclose(self) -> None:
        """As a ganglion's `aclose`."""
        await self._ganglion.aclose()

    async def __aenter__(self) -> SynapseZmqPlexoPubSubEPGM[UnencodedType]:
        await self._ganglion.__aenter__()
        return self

    async def __aexit__(self, *failure: object) -> None:
        await self.aclose()
