# SPDX-License-Identifier: Apache-2.0
"""What the ZMTP ganglia share: their hub of links, the event loop they are served by, heartbeats, and how they end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from plexo._fast.hub import Hub, Line
from plexo._fast.intake import Intake
from plexo._fast.link import Link
from plexo._fast.queues import Queue, as_queue
from plexo._fast.synapse import Synapse
from plexo._proto.errors import printable
from plexo._proto.zmtp import SocketType, encode_ping
from plexo.exceptions import Closed
from plexo.failure import OnError
from plexo.ganglion.base import logger
from plexo.ganglion.connection import Connection
from plexo.ganglion.endpoint import Endpoint, host_of
from plexo.ganglion.events import LinkEvent, LinkEventKind
from plexo.ganglion.serving import GanglionServed
from plexo.ganglion.sockets import Connector, Listener
from plexo.neuron.neuron import Neuron
from plexo.statistics import NO_LINK, Cause, LinkStats, sum_of_links

if TYPE_CHECKING:
    from plexo._proto.delivery import DeliveryCommand
    from plexo.ganglion.channel import Channel

# The largest frame accepted from a peer, and the largest message sent. A frame's memory grows as its bytes arrive.
DEFAULT_MAX_FRAME_BYTES = 1 << 30
# Accepted for a pair's peer and not yet taken by the kernel; above it a sender waits.
DEFAULT_PAIR_QUEUE = Queue("block", bytes=1 << 20)
# The same for each subscriber, above which it loses messages: room for a burst, or a large message and what follows.
DEFAULT_PUBLISH_QUEUE = Queue("drop_newest", bytes=16 << 20)
DEFAULT_HANDSHAKE_TIMEOUT_S = 10.0
DEFAULT_HEARTBEAT_S = 5.0
DEFAULT_RECONNECT_MIN_S = 0.05
DEFAULT_RECONNECT_MAX_S = 2.0
# Connections that may be in their hand-shake at once, and links to one publisher: a stranger costs a socket each.
MAX_HANDSHAKES = 128
MAX_LINKS = 4096


class GanglionZmtp(GanglionServed):
    """Keyword arguments of every ZMTP ganglion (seconds, bytes):

    max_frame_bytes       largest frame from a peer; a larger one closes the link
    send_queue            a Queue, or the name of a policy: accepted and not yet sent, per peer. Default: a pair's
                          senders wait above 1 MiB, a subscriber loses the newest messages above 16 MiB
    receive_queue         the same for what waits for one reactant. Default: its links are read no further when 1000
                          messages or 64 MiB wait
    on_error              see GanglionBase
    handshake_timeout_s   a connection that has not introduced itself by then is closed
    heartbeat_s           a peer that was silent for a whole such period is asked for a sign of life (ZMTP PING), and
                          given up after a second silent period: within two to three periods in all; 0 turns it off
    reconnect_min_s, reconnect_max_s   bounds of the wait between two attempts to connect
    busy_poll_s           for so long after a message, in or out, the event loop looks for the next without sleeping. 0:
                          it sleeps at once. Default, None: it stays awake for up to 200 us after a message was sent,
                          where answers have come so quickly
    receive               "thread": a thread reads the sockets and divides what comes into messages, beside the event
                          loop, which calls the reactants. Default: "loop", the event loop does all of it
    """

    hub: Hub
    # A link whose queue has been full for so long is cut; where None, never.
    slow_consumer_cut_s: float | None = None
    # Properties of our READY beside Socket-Type.
    announced: Mapping[str, bytes] = MappingProxyType({})

    def __init__(
        self,
        relevant_neurons: Iterable[Neuron[Any]],
        ignored_neurons: Iterable[Neuron[Any]],
        allowed_codecs: Iterable[type],
        *,
        is_pair: bool,
        max_frame_bytes: int = DEFAULT_MAX_FRAME_BYTES,
        send_queue: Queue | str | None = None,
        receive_queue: Queue | str | None = None,
        on_error: OnError | None = None,
        handshake_timeout_s: float = DEFAULT_HANDSHAKE_TIMEOUT_S,
        heartbeat_s: float = DEFAULT_HEARTBEAT_S,
        reconnect_min_s: float = DEFAULT_RECONNECT_MIN_S,
        reconnect_max_s: float = DEFAULT_RECONNECT_MAX_S,
        busy_poll_s: float | None = None,
        receive: str = "loop",
    ) -> None:
        # First of all, so that __del__ of a half-made object finds what it has to close.
        self._listeners: list[Listener] = []
        self._connectors: list[Connector] = []
        self._connections: set[Connection] = set()
        self._heartbeat_timer: asyncio.TimerHandle | None = None
        # Links whose send queue is full, and what will cut them (None: nothing, or not while no loop runs).
        self._full: dict[Line, asyncio.TimerHandle | None] = {}
        super().__init__(
            relevant_neurons, ignored_neurons, allowed_codecs, receive_queue=receive_queue, on_error=on_error
        )
        default_queue = DEFAULT_PAIR_QUEUE if is_pair else DEFAULT_PUBLISH_QUEUE
        self._ended = NO_LINK
        for argument, value, least in (
            ("max_frame_bytes", max_frame_bytes, 1),
            ("handshake_timeout_s", handshake_timeout_s, 0.001),
            ("heartbeat_s", heartbeat_s, 0),
            ("reconnect_min_s", reconnect_min_s, 0.001),
            ("reconnect_max_s", reconnect_max_s, reconnect_min_s),
            ("busy_poll_s", 0 if busy_poll_s is None else busy_poll_s, 0),
        ):
            if value < least:
                raise ValueError(f"{argument}: expected at least {least}, got {value}")
        if receive not in ("loop", "thread"):
            raise ValueError(f'receive: expected "loop" or "thread", got {receive!r}')
        self.handshake_timeout_s = handshake_timeout_s
        self.heartbeat_s = heartbeat_s
        self.reconnect_min_s = reconnect_min_s
        self.reconnect_max_s = reconnect_max_s
        queue = as_queue(send_queue, "send_queue", default_queue)
        poll_s = -1 if busy_poll_s is None else busy_poll_s
        self.hub = Hub(self, self._topics, is_pair, max_frame_bytes, queue, poll_s)
        if receive == "thread":
            self.hub.intake = Intake(self.hub)

    # -- event loop --------------------------------------------------------------------------------------------

    def _start_on(self, loop: asyncio.AbstractEventLoop) -> None:
        self.hub.attach(loop)
        for listener in self._listeners:
            listener.start(loop)
        for connection in list(self._connections):
            connection.start(loop)
        for connector in self._connectors:
            connector.start(loop)
        if self.heartbeat_s:
            self._heartbeat_timer = loop.call_later(self.heartbeat_s, self._heartbeat)
        for link in self._full:
            self._cut_later(link)

    def _leave_loop(self) -> None:
        if self._heartbeat_timer is not None:
            self._heartbeat_timer.cancel()
            self._heartbeat_timer = None
        for link, timer in self._full.items():
            # Nothing is sent while no loop runs; the time begins anew with the next.
            if timer is not None:
                timer.cancel()
                self._full[link] = None
        for connector in self._connectors:
            connector.stop()
        for listener in self._listeners:
            listener.stop()
        for connection in self._connections:
            connection.stop()
        self.hub.detach()

    def _heartbeat(self) -> None:
        """Ask links that were silent since the last look for a PONG; give up those that were silent twice."""
        loop = self.hub.loop
        if loop is None or self._closed:
            return
        self.hub.spares.forget_unused()
        # TTL: after so many tenths of a second without a sign of life the peer may give us up; libzmq overflows at 656.
        ping = encode_ping(min(655, round(30 * self.heartbeat_s)))
        for connection in list(self._connections):
            link = connection.link
            if link is None or connection.version < (3, 1):
                continue
            if not link.reading_now:
                # Paused by a busy reactant: no PONG can be seen, but the peer must see that we live.
                link.write(ping)
                continue
            if link.arrived_bytes != connection.seen_bytes:
                connection.seen_bytes = link.arrived_bytes
                connection.silent_beats = 0
                continue
            connection.silent_beats += 1
            if connection.silent_beats > 1:
                connection.heartbeat_missed()
            else:
                link.write(ping)
        self._heartbeat_timer = loop.call_later(self.heartbeat_s, self._heartbeat)

    # -- connections -------------------------------------------------------------------------------------------

    def _listen(self, endpoint: Endpoint, role: SocketType) -> Listener:
        listener = Listener(self, endpoint, role)
        self._listeners.append(listener)
        return listener

    def _dial(self, endpoint: Endpoint, role: SocketType) -> None:
        self._connectors.append(Connector(self, endpoint, role))

    def opened(self, opened: socket.socket, peer: str, role: SocketType, connector: Connector | None) -> None:
        """A TCP or ipc connection exists; the hand-shake begins."""
        handshakes = sum(connection.link is None for connection in self._connections)
        if connector is None and (handshakes >= MAX_HANDSHAKES or len(self._connections) >= MAX_LINKS):
            opened.close()
            self.report_fault(Cause.REJECTED, peer, "too many connections")
            self.tell(LinkEventKind.REJECTED, peer, "too many connections")
            return
        try:
            connection = Connection(self, opened, peer, role, connector)
        except OSError as error:  # reset before we got to it
            opened.close()
            self.report_fault(Cause.DISCONNECTED, peer, str(error.strerror))
            self.tell(LinkEventKind.HANDSHAKE_FAILED, peer, str(error.strerror))
            if connector is not None:
                connector.lost(str(error.strerror))
            return
        self._connections.add(connection)
        assert self.hub.loop is not None
        connection.start(self.hub.loop)

    def refuses(self, connection: Connection) -> str | None:
        """The peer has introduced itself: None to take it, or why not."""
        return None

    def established(self, connection: Connection, link: Link) -> None:
        """The hand-shake is done; what is written to `link` now goes first."""
        logger.info("%r: %s to %s", self, connection.role.name, connection.peer)

    def introduced(self, connection: Connection, link: Link, session: bytes | None) -> None:
        """The link is served; `session` is what the peer's READY announces of acknowledged delivery, if anything."""

    def extension_command(self, channel: Channel, command: DeliveryCommand) -> None:
        """The peer of a channel says a command of the extension. WireError: it may not, close the link."""

    def ended(
        self, connection: Connection, was_up: bool, unsent: list[Any], cause: Cause | None, why: str
    ) -> None:
        """A connection is gone, with what was accepted for it and not sent."""
        self._connections.discard(connection)
        if connection.link is not None:
            self._forget_full(connection.link)
        if cause is not None:
            self._tally.add(cause, "", host_of(connection.peer))
        if was_up:
            logger.info("%r: link to %s lost: %s", self, connection.peer, why)

    def not_connected(self, endpoint: Endpoint, why: str, first: bool) -> None:
        """An attempt to connect failed; said once per outage."""
        if first:
            logger.info("%r: no connection to %s yet: %s", self, endpoint, why)

    def subscriptions_changed(self, connection: Connection, topic: bytes) -> None:
        """A subscriber took up or gave up topics that begin so."""

    def report_fault(self, cause: Cause, peer: str, why: str) -> None:
        """Count; log the first of its kind from this host."""
        if self._tally.add(cause, "", host_of(peer)):
            logger.warning("%r: %s: %s (%s; counted from now on)", self, peer or "local", why, cause.value)

    def report_unknown(self, topic: bytes, peer: str) -> None:
        """Counted by the link; called for the first from a host."""
        logger.warning(
            "%r: %s sends %s, which no neuron here has; ignored", self, peer, printable(topic, 200)
        )

    # -- what is told of links ---------------------------------------------------------------------------------

    def tell(self, kind: LinkEventKind, peer: str, why: str) -> None:
        """A link event, to whoever watches."""
        self._watchers.tell(LinkEvent(kind, peer, why, self))

    def _queue_full(self, link: Line | None, synapse: Synapse[Any]) -> None:
        """A link's queue (None: a pair's, without peer) begins to be full; called again only after `_queue_freed`."""
        peer = "a peer that is not there" if link is None else link.connection.peer
        queue = self.hub.send_queue
        if queue.policy != "block":
            logger.warning(
                "%r: the queue to %s is full, %r; dropping, first %s", self, peer, queue, synapse.neuron
            )
        if link is not None:
            self._forget_full(link)
            self._full[link] = None
            self._cut_later(link)
            self.tell(LinkEventKind.SLOW, peer, f"its queue is full, {queue!r}")

    def _queue_freed(self, link: Line, dropped: int) -> None:
        """It is half empty again, or the link is gone; `dropped` messages did not find room meanwhile."""
        self._forget_full(link)
        if dropped:
            logger.warning("%r: dropped %d messages to %s; no more now", self, dropped, link.connection.peer)

    def _cut_later(self, link: Line) -> None:
        if self.slow_consumer_cut_s is not None and self.hub.loop is not None:
            self._full[link] = self.hub.loop.call_later(self.slow_consumer_cut_s, self._cut, link)

    def _cut(self, link: Line) -> None:
        assert self.slow_consumer_cut_s is not None
        self._full.pop(link, None)
        link.connection.too_slow(self.slow_consumer_cut_s)

    def _forget_full(self, link: Line) -> None:
        timer = self._full.pop(link, None)
        if timer is not None:
            timer.cancel()

    def _ready_peers(self, neuron: Neuron[Any] | None) -> list[str]:
        return [each.peer for each in self._connections if each.link is not None and each.counts(neuron)]

    def _absent_peers(self) -> list[str]:
        up = {each.connector for each in self._connections if each.link is not None}
        return [
            f"{each.endpoint} ({each.trouble or 'no answer yet'})"
            for each in self._connectors
            if each not in up
        ]

    @property
    def peers_connected(self) -> tuple[str, ...]:
        """The peers whose links are up. Safe from any thread."""
        self._require_own()
        return tuple(connection.peer for connection in list(self._connections) if connection.link is not None)

    def _link_stats(self) -> tuple[LinkStats, ...]:
        return tuple(
            link.stats(connection.peer)
            for connection in list(self._connections)
            if (link := connection.link) is not None
        )

    def _ended_links(self) -> LinkStats:
        return self._ended

    def _unsent_wires(self) -> list[Any]:
        """What lost links gave back, to be sent on the next one."""
        return []

    def _queued_by_topic(self) -> dict[bytes, int]:
        return self.hub.queued_by_topic(self._unsent_wires())

    def _waiting(self) -> int:
        return self.hub.waiting_messages

    def _write_off(self, connection: Connection, unsent: list[Any], cause: Cause) -> int:
        """A subscriber is gone: what its link had accepted and not sent is lost, and its book is closed."""
        link = connection.link
        if link is None:
            return 0
        lost = self.hub.write_off(unsent, cause, link) + link.drop_backlog(cause)
        self._close_book(connection)
        return lost

    def _close_book(self, connection: Connection) -> None:
        if connection.link is not None and not connection.booked:
            # In one line: closing may be broken off between any two, and repeated.
            self._ended, connection.booked = sum_of_links((self._ended, connection.link.stats(""))), True

    # -- end ---------------------------------------------------------------------------------------------------

    def _begin_close(self) -> list[Connection]:
        super()._begin_close()
        self.hub.close(Closed(f"{self!r} was closed before this message was accepted"))
        self._leave_loop()
        while self._listeners:
            self._listeners[-1].close()
            self._listeners.pop()
        for connector in self._connectors:
            connector.close()
        return [each for each in self._connections if each.link is not None]

    def _end_close(self) -> None:
        self._begin_close()
        while self._connections:
            connection = next(iter(self._connections))
            lost = connection.close_for_good(Cause.CLOSED)
            self._close_book(connection)
            self._connections.discard(connection)
            if lost:
                logger.warning("%r: closed with %d messages not sent to %s", self, lost, connection.peer)
            if connection.link is not None:
                self.tell(LinkEventKind.DISCONNECTED, connection.peer, "this side was closed")
        self._full.clear()
        super()._end_close()

    def _forsake(self) -> bool:
        super()._forsake()
        self._heartbeat_timer = None
        self._full.clear()
        if (hub := self.__dict__.get("hub")) is not None:
            hub.forsake()
        for listener in self._listeners:
            listener.forsake()
        for connector in self._connectors:
            connector.forsake()
        for connection in self._connections:
            connection.forsake()
        return True
