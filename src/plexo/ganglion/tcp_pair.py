# SPDX-License-Identifier: Apache-2.0
"""Two peers, one link: ZMTP PAIR. One side binds, the other connects; either may start first."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from plexo._fast.link import Link
from plexo._proto.zmtp import SocketType
from plexo.ganglion.base import logger
from plexo.ganglion.connection import Connection
from plexo.ganglion.endpoint import EndpointLike, bind_endpoint, parse_endpoint
from plexo.ganglion.zmtp import GanglionZmtp
from plexo.host_information import get_primary_ip
from plexo.neuron.neuron import Neuron
from plexo.statistics import Cause
from plexo.synapse.zeromq_basic import SynapseZmqBasic
from plexo.typing import IPAddress

T = TypeVar("T")


class GanglionZmqTcpPair(GanglionZmtp):
    """Exactly one peer. Sending waits until the peer is there and has room; what was accepted is dropped by no queue of
    ours (what the kernel had taken when a link broke may be lost with it).

    With `peer` (an (address, port), `tcp://host:port` or `ipc://path`) it connects; otherwise it binds `port` of
    `bind_interface` (an address, an interface's name, or `*`; default: the primary address), or the endpoint `bind`.
    Port 0 takes a free one; see `port` and `endpoint`. What was accepted and not sent when the link broke is sent
    first on the next one. A second peer is refused while the first is connected.

    OSError: the address cannot be bound. Other keyword arguments: see GanglionZmtp.
    """

    def __init__(
        self,
        bind_interface: str | IPAddress | None = None,
        port: int = 5580,
        peer: EndpointLike | None = None,
        relevant_neurons: Iterable[Neuron[Any]] = (),
        ignored_neurons: Iterable[Neuron[Any]] = (),
        allowed_codecs: Iterable[type] = (),
        *,
        bind: str | None = None,
        **limits: Any,
    ) -> None:
        super().__init__(relevant_neurons, ignored_neurons, allowed_codecs, is_pair=True, **limits)
        if peer is not None and (bind is not None or bind_interface is not None):
            raise ValueError("peer: a pair either connects (peer) or binds (bind, bind_interface), not both")
        self._unsent: list[Any] = []
        self.peer = None if peer is None else parse_endpoint(peer, "peer")
        self.port: int | None = None
        self.bind_interface: str | None = None
        if self.peer is not None:
            self.endpoint = str(self.peer)
            self._dial(self.peer, SocketType.PAIR)
            return
        if bind is not None:
            wanted = parse_endpoint(bind, "bind")
            if not wanted.is_ipc:
                wanted = bind_endpoint(wanted.host, wanted.port)
        else:
            wanted = bind_endpoint(get_primary_ip() if bind_interface is None else bind_interface, port)
        bound = self._listen(wanted, SocketType.PAIR).endpoint
        self.endpoint = str(bound)
        self.port = None if bound.is_ipc else bound.port
        self.bind_interface = None if bound.is_ipc else bound.host

    def _make_synapse(self, neuron: Neuron[T]) -> SynapseZmqBasic[T]:
        return SynapseZmqBasic(neuron, self, self.hub, self._receive_queue)

    def refuses(self, connection: Connection) -> str | None:
        for other in [each for each in self._connections if each.link is not None]:
            # It may have died without our having read that yet: a restarted peer is back at once.
            if other.link is not None:
                other.link.on_readable()
        if not self.hub.links:
            return None
        if connection.connector is None:
            logger.debug("%r refuses %s: its peer is connected", self, connection.peer)
        return "this pair has its peer"

    def established(self, connection: Connection, link: Link) -> None:
        super().established(connection, link)
        if self._unsent:
            unsent, self._unsent = self._unsent, []
            link.inherit(unsent)

    def ended(
        self, connection: Connection, was_up: bool, unsent: list[Any], cause: Cause | None, why: str
    ) -> None:
        # What ends no message is our side of the hand-shake, to a peer that was gone before it could be sent.
        self._unsent.extend(each for each in unsent if each[1])
        self._write_off(connection, [], Cause.UNSENT)
        super().ended(connection, was_up, unsent, cause, why)

    def _unsent_wires(self) -> list[Any]:
        return self._unsent

    def _begin_close(self) -> list[Connection]:
        unsent, self._unsent = self._unsent, []
        lingering = super()._begin_close()
        lost = self.hub.write_off(unsent, Cause.CLOSED, None)
        if lost:
            logger.warning("%r: closed with %d messages that no peer was there to take", self, lost)
        return lingering

    def _end_close(self) -> None:
        super()._end_close()
        lost = self.hub.drop_backlog(Cause.CLOSED)
        if lost:
            logger.warning("%r: closed with %d messages that the peer had no room for", self, lost)

    def _check_ready(self, peers: int, neuron: Neuron[Any] | None) -> None:
        if peers > 1:
            raise ValueError(f"peers: a pair has one peer; expected 0 or 1, got {peers}")

    def __repr__(self) -> str:
        return f"<GanglionZmqTcpPair {'connecting to' if self.peer else 'bound to'} {self.endpoint}>"
