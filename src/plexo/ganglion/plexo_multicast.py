# SPDX-License-Identifier: Apache-2.0
"""Multicast with a group for every topic, on which the nodes of the network agree: docs/allocation.md."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Network
from types import MappingProxyType
from typing import Any, NamedTuple

from plexo._fast.wake import clock
from plexo._proto.keyed import MAC_BYTES
from plexo._proto.paxos import events as told
from plexo._proto.paxos.messages import MAX_DATAGRAM_BYTES
from plexo._proto.paxos.node import Node
from plexo._proto.paxos.timing import Timing as PaxosTiming
from plexo.exceptions import ConsensusNotReached, IpsExhausted
from plexo.ganglion.events import LinkEventKind
from plexo.ganglion.farewell import Farewell
from plexo.ganglion.multicast import DEFAULT_PORT, GanglionMulticast
from plexo.ganglion.multicast_sockets import receive_socket, resolve_block
from plexo.neuron.neuron import Neuron
from plexo.statistics import Cause
from plexo.synapse.multicast import SynapseMulticast

DEFAULT_BLOCK = IPv4Network("239.255.0.0/16")
DEFAULT_HEARTBEAT_S = 0.2
DEFAULT_AGREEMENT_TIMEOUT_S = 5.0
# Slots of the block that are no topic's: 0 to 5 were 1.0's.
CONTROL_SLOT = 6
REPAIR_SLOT = 7
# Larger than any datagram that is taken of the control group.
CONTROL_READ_BYTES = MAX_DATAGRAM_BYTES + MAC_BYTES + 1
# Control datagrams that are read before the event loop's other business gets its turn.
CONTROL_READS_PER_TURN = 64


class Group(NamedTuple):
    """Where a topic is at home: `address`, whether it is agreed upon (else it is provisional), and the lineage and
    epoch of those who vote now (0: none yet)."""

    address: str
    agreed: bool
    lineage: int
    epoch: int


class Peer(NamedTuple):
    """Another program on this network: its instance (16 hexadecimal digits, new with every start), its address, and the
    names of the neurons that it publishes."""

    instance: str
    host: str
    publishes: tuple[str, ...]


class _Clock:
    """When the allocation has something to do."""

    def __init__(self, ganglion: GanglionPlexoMulticast) -> None:
        self.alarm_at = float("inf")
        self._ganglion = ganglion

    def on_alarm(self, now: float) -> float:
        return self._ganglion._advance(now)


class GanglionPlexoMulticast(GanglionMulticast):
    """Every neuron has a multicast group of its own, with no address anywhere: what is transmitted reaches whoever
    reacts to it on the network of `bind_interface` (an address or an interface's name; default: the primary one).

    Groups are those of `multicast_cidr`, on UDP port `port`. A neuron can be used at once: until all nodes agree on
    its group, messages go to the one that follows from its name (see `groups` and `agreed`).
    `heartbeat_interval_seconds` is how often nodes say that they are there; they are missed after five.
    `proposal_timeout_seconds` is how long `agreed` waits by default.

    IpAddressIsNotMulticast, ValueError: what `multicast_cidr` must be. OSError: a socket cannot be had. Other keyword
    arguments: see GanglionMulticast.
    """

    # Whether others may hear of this node, and whether it has said goodbye.
    _awake = False
    _left = False

    def __init__(
        self,
        bind_interface: object = None,
        multicast_cidr: IPv4Network | str = DEFAULT_BLOCK,
        port: int = DEFAULT_PORT,
        heartbeat_interval_seconds: float = DEFAULT_HEARTBEAT_S,
        proposal_timeout_seconds: float = DEFAULT_AGREEMENT_TIMEOUT_S,
        relevant_neurons: Iterable[Neuron[Any]] = (),
        ignored_neurons: Iterable[Neuron[Any]] = (),
        allowed_codecs: Iterable[type] = (),
        **limits: Any,
    ) -> None:
        self.multicast_cidr = resolve_block(multicast_cidr)
        for argument, value in (
            ("heartbeat_interval_seconds", heartbeat_interval_seconds),
            ("proposal_timeout_seconds", proposal_timeout_seconds),
        ):
            if not value > 0:
                raise ValueError(f"{argument}: expected more than 0 seconds, got {value}")
        self.heartbeat_interval_seconds = heartbeat_interval_seconds
        self.proposal_timeout_seconds = proposal_timeout_seconds
        super().__init__(bind_interface, port, relevant_neurons, ignored_neurons, allowed_codecs, **limits)
        self._repair_group = self._address(REPAIR_SLOT)
        self._repair_groups = frozenset((self._repair_group,))
        self._control_address = int(self.multicast_cidr.network_address) + CONTROL_SLOT
        self._control_socket = self._keep(receive_socket(self._address(CONTROL_SLOT), port, self.interface))
        self._node = Node(
            self._rng.randrange(1, 1 << 64),
            self.multicast_cidr.num_addresses,
            self._rng,
            PaxosTiming(heartbeat_s=heartbeat_interval_seconds),
            clock(),
        )
        self._clock = _Clock(self)
        self._hosts: dict[int, str] = {}
        self._exhausted: set[str] = set()

    def _address(self, slot: int) -> str:
        return str(self.multicast_cidr.network_address + slot)

    # -- event loop --------------------------------------------------------------------------------------------

    def _start_on(self, loop: asyncio.AbstractEventLoop) -> None:
        super()._start_on(loop)
        loop.add_reader(self._control_socket.fileno(), self._hear_control)
        # Others may send as soon as they hear of this one: first it joins what is adapted in this turn.
        loop.call_soon(self._wake, loop)

    def _wake(self, loop: asyncio.AbstractEventLoop) -> None:
        if loop is self.hub.loop:
            self._awake = True
            self._advance(clock())

    def _leave_loop(self) -> None:
        loop = self.hub.loop
        self._awake = False
        if loop is not None and not loop.is_closed():
            loop.remove_reader(self._control_socket.fileno())
        super()._leave_loop()

    async def startup(self) -> None:
        """Be there from now on. Never needed: every call that uses the network does it."""
        self._require_open()
        self._use_running_loop()

    # -- the allocation ----------------------------------------------------------------------------------------

    def _hear_control(self) -> None:
        now = clock()
        for _ in range(CONTROL_READS_PER_TURN):
            try:
                datagram, (host, _port) = self._control_socket.recvfrom(CONTROL_READ_BYTES)
            except (BlockingIOError, InterruptedError):
                break
            except OSError as error:
                self._cannot_receive(error)
                break
            if self._key is not None:
                verified = self._key.verified(datagram)
                if verified is None:
                    if self._tally.add(Cause.UNAUTHENTIC, "", host):
                        self._refused(Cause.UNAUTHENTIC, host, "no-mac")
                    continue
                datagram = bytes(verified)
            fault = self._node.receive(datagram, now)
            if fault is not None:
                if self._tally.add(Cause.MALFORMED, "", host):
                    self._refused(Cause.MALFORMED, host, f"control, {fault}")
            elif (sender := self._node.last_sender) is not None and sender in self._node.members:
                self._hosts[sender] = host
        self._advance(now)

    def _advance(self, now: float) -> float:
        """Let the allocation do what is due, and do what it says; returns when it is due again."""
        if self._closed or self.hub.loop is None or not self._awake:
            return float("inf")
        node = self._node
        node.advance(now)
        self._speak()
        for event in node.take_events():
            self._happened(event)
        due = node.due()
        self._alarms.set(self._clock, due)
        return due

    def _speak(self) -> None:
        for datagram in self._node.take_datagrams():
            self.hub.send_control(self._control_address, self.port, datagram)

    def _happened(self, event: object) -> None:
        if isinstance(event, told.RouteChanged):
            self._route(event.topic)
        elif isinstance(event, told.Agreed):
            self._exhausted.discard(event.topic)
            self.tell(LinkEventKind.AGREED, self._address(event.slot), event.topic)
        elif isinstance(event, told.Moved):
            self.tell(LinkEventKind.MOVED, self._address(event.after), event.topic)
        elif isinstance(event, told.LineageChanged):
            self.tell(LinkEventKind.LINEAGE_CHANGED, "", f"{event.before:016x} to {event.after:016x}")
        elif isinstance(event, told.MemberJoined):
            self.tell(
                LinkEventKind.MEMBER_JOINED, f"{event.instance:016x}", self._hosts.get(event.instance, "")
            )
        elif isinstance(event, told.MemberLeft):
            self.tell(
                LinkEventKind.MEMBER_LEFT, f"{event.instance:016x}", self._hosts.pop(event.instance, "")
            )
        elif isinstance(event, told.Exhausted):
            self._exhausted.add(event.topic)
            self._watchers.tell_change()

    def _route(self, topic: str) -> None:
        """Send and listen where the topic is at home now."""
        synapse = self._topics.get(topic.encode())
        if isinstance(synapse, SynapseMulticast):
            self._listen_again(synapse.topic)
            self._send_to(synapse, self._group_to_send(topic))

    def _group_to_send(self, topic: str) -> str:
        return self._address(self._node.sends(topic))

    def _groups_to_hear(self, topic: str) -> frozenset[str]:
        return frozenset(self._address(slot) for slot in self._node.listens(topic))

    def _make_synapse(self, neuron: Neuron[Any]) -> SynapseMulticast[Any]:
        synapse = super()._make_synapse(neuron)
        now = clock()
        self._node.want(neuron.name, now)
        self._advance(now)
        return synapse

    def _source_begun(self, synapse: SynapseMulticast[Any]) -> None:
        assert self._repair_group is not None
        if self._repair_group not in self._joined:
            # Where NAKs come that were sent to this host's address, and given to another program.
            self._join(self._repair_group)
        now = clock()
        self._node.offer([each.synapse.name for each in self._groups.transmissions.values()], now)
        self._advance(now)

    def groups(self) -> Mapping[str, Group]:
        """Of every neuron that is adapted here, by its name: where it is at home. Safe from any thread."""
        self._require_own()
        view = self._node.view
        found = {}
        for neuron in list(self._synapses):
            slot, agreed = self._node.allocation(neuron.name)
            lineage, epoch = (0, 0) if view is None else (view.lineage, view.epoch)
            found[neuron.name] = Group(self._address(slot), agreed, lineage, epoch)
        return MappingProxyType(found)

    async def agreed(self, neuron: Neuron[Any], timeout_s: float | None = None) -> str:
        """Wait until the group of `neuron` is agreed upon; returns its address.

        Not needed to send or receive. TransmitterNotFound: it was never adapted. ConsensusNotReached: not within
        `timeout_s` seconds (default: proposal_timeout_seconds). IpsExhausted: every group of multicast_cidr is another
        topic's. Closed: this was closed meanwhile.
        """
        self._use_running_loop()
        self._find(neuron)
        timeout_s = self.proposal_timeout_seconds if timeout_s is None else timeout_s
        if not timeout_s >= 0:
            raise ValueError(f"timeout_s: expected at least 0 seconds, got {timeout_s}")
        loop_clock = asyncio.get_running_loop().time
        deadline = loop_clock() + timeout_s
        while True:
            slot, agreed = self._node.allocation(neuron.name)
            if agreed:
                return self._address(slot)
            if neuron.name in self._exhausted:
                raise IpsExhausted(
                    f"all groups of {self.multicast_cidr} are taken; none is left for {neuron}"
                )
            if loop_clock() >= deadline:
                raise ConsensusNotReached(
                    f"{self!r}: no agreement on the group of {neuron} within {timeout_s:g} s; "
                    f"{len(self._node.members)} other nodes are heard"
                )
            await self._watchers.change(deadline)
            self._require_open()

    def peers(self) -> tuple[Peer, ...]:
        """The other programs of this network, and what each of them publishes. Safe from any thread."""
        self._require_own()
        return tuple(
            Peer(f"{instance:016x}", self._hosts.get(instance, ""), tuple(member.published))
            for instance, member in sorted(self._node.members.items())
        )

    def _ready_peers(self, neuron: Neuron[Any] | None) -> list[str]:
        return [f"{instance:016x}" for instance in self._node.members]

    def _check_ready(self, peers: int, neuron: Neuron[Any] | None) -> None:
        if peers and neuron is not None:
            raise ValueError("neuron: who listens to a multicast group is not known; ask for peers alone")

    # -- end ---------------------------------------------------------------------------------------------------

    def _begin_close(self) -> list[Farewell]:
        if "_clock" in self.__dict__ and not self._left:
            self._left = True
            self._node.leave(clock())
            self._speak()
        return super()._begin_close()

    def __repr__(self) -> str:
        return f"<GanglionPlexoMulticast {self.multicast_cidr}:{self.port} by {self.interface.name}>"
