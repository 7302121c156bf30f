# SPDX-License-Identifier: Apache-2.0
"""Publish/subscribe: one PUB socket bound, one SUB connection to every peer, a subscription for every neuron that
somebody here reacts to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from plexo._fast.link import Link
from plexo._fast.synapse import Synapse
from plexo._proto.zmtp import MAX_TOPIC_BYTES, SocketType, encode_cancel, encode_subscribe
from plexo.ganglion.base import logger
from plexo.ganglion.connection import Connection
from plexo.ganglion.endpoint import Endpoint, EndpointLike, bind_endpoint, parse_endpoint
from plexo.ganglion.zmtp import GanglionZmtp
from plexo.host_information import get_primary_ip
from plexo.neuron.neuron import Neuron
from plexo.statistics import Cause
from plexo.synapse.zeromq_basic_pub import SynapseZmqBasicPub
from plexo.typing import IPAddress

T = TypeVar("T")


class GanglionZmqTcpPubSub(GanglionZmtp):
    """Publishes to whoever subscribed, and receives from `peers` what is reacted to here.

    Binds `port_pub` of `bind_interface` (an address, an interface's name, or `*`; default: the primary address), or the
    endpoint `bind`. `peers` are (address, port), `tcp://host:port` or `ipc://path`. A message that nobody subscribed to
    is neither encoded nor sent. With `port_pub=None` (and no `bind`) it binds nothing and only receives. A subscriber
    that does not keep up loses messages once its `send_queue` is full; they are counted, and the others do not notice.
    One whose queue has been full for `slow_consumer_cut_s` seconds without a break is disconnected
    (`Cause.SLOW_CONSUMER`); None, the default: never.

    OSError: the address cannot be bound. Other keyword arguments: see GanglionZmtp.
    """

    def __init__(
        self,
        bind_interface: str | IPAddress | None = None,
        port_pub: int | None = 5570,
        peers: Iterable[EndpointLike] = (),
        relevant_neurons: Iterable[Neuron[Any]] = (),
        ignored_neurons: Iterable[Neuron[Any]] = (),
        allowed_codecs: Iterable[type] = (),
        *,
        bind: str | None = None,
        slow_consumer_cut_s: float | None = None,
        **limits: Any,
    ) -> None:
        super().__init__(relevant_neurons, ignored_neurons, allowed_codecs, is_pair=False, **limits)
        if slow_consumer_cut_s is not None and not slow_consumer_cut_s > 0:
            raise ValueError(
                f"slow_consumer_cut_s: expected more than 0 seconds or None, got {slow_consumer_cut_s}"
            )
        self.slow_consumer_cut_s = slow_consumer_cut_s
        if bind is not None and bind_interface is not None:
            raise ValueError("bind: give either bind or bind_interface, not both")
        if isinstance(peers, str):
            raise TypeError(f"peers: expected an iterable of endpoints, got the str {peers!r}")
        self.peers = tuple(parse_endpoint(peer, "peers") for peer in peers)
        wanted: Endpoint | None = None
        if bind is not None:
            wanted = parse_endpoint(bind, "bind")
            if not wanted.is_ipc:
                wanted = bind_endpoint(wanted.host, wanted.port)
        elif port_pub is not None:
            wanted = bind_endpoint(get_primary_ip() if bind_interface is None else bind_interface, port_pub)
        self.endpoint: str | None = None
        self.port_pub: int | None = None
        self.bind_interface: str | None = None
        if wanted is not None:
            bound = self._listen(wanted, SocketType.PUB).endpoint
            self.endpoint = str(bound)
            if not bound.is_ipc:
                self.port_pub, self.bind_interface = bound.port, bound.host
        for peer in self.peers:
            self._dial(peer, SocketType.SUB)

    def _make_synapse(self, neuron: Neuron[T]) -> SynapseZmqBasicPub[T]:
        synapse = SynapseZmqBasicPub(neuron, self, self.hub, self._receive_queue, self.hub.waiting)
        synapse.set_subscribers(self._subscribers_of(synapse.topic))
        return synapse

    def _subscribers_of(self, topic: bytes) -> list[Link]:
        return [
            connection.link
            for connection in self._connections
            if connection.link is not None and connection.subscriptions.matches(topic)
        ]

    def subscriptions_changed(self, connection: Connection, topic: bytes) -> None:
        for synapse in self._synapses.values():
            if synapse.topic.startswith(topic):
                assert isinstance(synapse, SynapseZmqBasicPub)
                synapse.set_subscribers(self._subscribers_of(synapse.topic))
        self._watchers.tell_change()

    def _check_ready(self, peers: int, neuron: Neuron[Any] | None) -> None:
        if peers and neuron is not None and self.endpoint is None:
            raise ValueError("neuron: this ganglion binds nothing, so nobody can subscribe to it here")

    def _interest_changed(self, synapse: Synapse[Any]) -> None:
        # A copy: writing may find that a connection is gone, which ends it.
        for connection in list(self._connections):
            if connection.role is SocketType.SUB and connection.link is not None:
                encode = encode_subscribe if synapse.wanted else encode_cancel
                connection.link.write(encode(_subscription(synapse), connection.version))

    def established(self, connection: Connection, link: Link) -> None:
        super().established(connection, link)
        if connection.role is SocketType.SUB:
            for synapse in self._synapses.values():
                if synapse.wanted:
                    link.write(encode_subscribe(_subscription(synapse), connection.version))

    def ended(
        self, connection: Connection, was_up: bool, unsent: list[Any], cause: Cause | None, why: str
    ) -> None:
        super().ended(connection, was_up, unsent, cause, why)
        lost = self._write_off(connection, unsent, Cause.UNSENT)
        if lost:
            logger.warning("%r: %s left before taking its last %d messages", self, connection.peer, lost)
        if len(connection.subscriptions):
            connection.subscriptions.clear()
            for synapse in self._synapses.values():
                assert isinstance(synapse, SynapseZmqBasicPub)
                synapse.set_subscribers(self._subscribers_of(synapse.topic))

    def subscriber_count(self, neuron: Neuron[Any]) -> int:
        """How many connected peers subscribed to `neuron` now; TransmitterNotFound where it was never adapted."""
        synapse = self._find(neuron)
        assert isinstance(synapse, SynapseZmqBasicPub)
        return synapse.subscriber_count

    def __repr__(self) -> str:
        where = f"bound to {self.endpoint}" if self.endpoint else "bound to nothing"
        return f"<GanglionZmqTcpPubSub {where}, {len(self.peers)} peers>"


def _subscription(synapse: Synapse[Any]) -> bytes:
    """A subscription is a prefix: of a very long topic its beginning is enough, exact matching is the receiver's."""
    return synapse.topic[:MAX_TOPIC_BYTES]
