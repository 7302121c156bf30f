# SPDX-License-Identifier: Apache-2.0
"""What a ganglion over multicast says of what goes wrong: once each in the log, and as events."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from plexo._fast.group import GroupReception
from plexo._fast.multicast import MulticastHub, Transmission
from plexo._fast.synapse import Synapse
from plexo._proto.errors import printable
from plexo.ganglion.base import logger
from plexo.ganglion.events import LinkEvent, LinkEventKind, Watchers
from plexo.ganglion.multicast_sockets import set_buffers
from plexo.statistics import Cause

if TYPE_CHECKING:
    from plexo.ganglion.multicast_sockets import Interface


class Troubles:
    """A part of GanglionMulticast; most of it is called by the compiled side."""

    if TYPE_CHECKING:
        hub: MulticastHub
        interface: Interface
        buffer_bytes: int
        _watchers: Watchers
        _said_trouble: set[str]

    def _refused(self, cause: Cause, host: str, why: str) -> None:
        logger.warning(
            "%r: a datagram from %s was dropped: %s (%s; counted from now on)", self, host, why, cause.value
        )

    def _lost(self, reception: GroupReception, packets: int, first: bool) -> None:
        """0 packets: nobody knows how many."""
        why = f"{packets or 'some'} packets of source {reception.tsi} cannot be repaired"
        if first:
            logger.warning("%r: %s: %s; counted from now on", self, reception.host, why)
        self.tell(LinkEventKind.LOST, reception.host, why)

    def _malformed(self, reception: GroupReception, why: str) -> None:
        logger.warning(
            "%r: %s: malformed message (%s) of source %s; counted from now on",
            self, reception.host, why, reception.tsi,
        )  # fmt: skip

    def _cannot_send(self, error: OSError) -> None:
        self._say_trouble(f"cannot send by {self.interface.name}: {error.strerror or error}")

    def _cannot_receive(self, error: OSError) -> None:
        self._say_trouble(f"cannot receive: {error.strerror or error}")

    def _say_trouble(self, what: str) -> None:
        """Once each: the network comes and goes."""
        if what not in self._said_trouble:
            self._said_trouble.add(what)
            logger.warning("%r: %s", self, printable(what.encode(errors="replace"), 300))

    def _warn_of_buffers(self, made: socket.socket) -> None:
        warning = set_buffers(made, self.buffer_bytes, self.buffer_bytes)
        if warning:
            self._say_trouble(warning)

    def _queue_full(self, link: Transmission | None, synapse: Synapse[Any]) -> None:
        queue = self.hub.send_queue
        peer = "" if link is None else link.peer
        if queue.policy != "block":
            logger.warning(
                "%r: the queue to %s is full, %r; dropping, first %s", self, peer, queue, synapse.neuron
            )
        self.tell(LinkEventKind.SLOW, peer, f"its queue is full, {queue!r}")

    def _queue_freed(self, link: Transmission, dropped: int) -> None:
        if dropped:
            logger.warning("%r: dropped %d messages to %s; no more now", self, dropped, link.peer)

    def tell(self, kind: LinkEventKind, peer: str, why: str) -> None:
        """An event, to whoever watches."""
        self._watchers.tell(LinkEvent(kind, peer, why, self))
