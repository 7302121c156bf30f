# SPDX-License-Identifier: Apache-2.0
"""What ganglia over multicast share: sockets, memberships, sources and what is heard of others', and how they end.

A subclass says where a topic is at home: the group that its messages are sent to, and those to listen to.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
import sys
from collections.abc import Iterable
from typing import Any, NamedTuple, TypeVar

from plexo._fast.group import GroupReader, GroupReception, Groups
from plexo._fast.multicast import MulticastHub, Transmission
from plexo._fast.queues import Queue, as_queue
from plexo._fast.synapse import Synapse
from plexo._fast.transmit_window import TransmitWindow
from plexo._fast.wake import clock
from plexo._proto.keyed import Key
from plexo._proto.pgm.packets import Tsi, dotted, undotted
from plexo._proto.pgm.receiver import Receiver
from plexo._proto.pgm.source import Source
from plexo._proto.pgm.timing import Timing
from plexo.exceptions import Closed, NeuronNotAvailable
from plexo.failure import OnError
from plexo.ganglion.alarms import Alarms
from plexo.ganglion.base import logger
from plexo.ganglion.events import LinkEventKind
from plexo.ganglion.farewell import Farewell
from plexo.ganglion.multicast_sockets import (
    Interface,
    nak_socket,
    receive_socket,
    relay_socket,
    resolve_interface,
    send_socket,
)
from plexo.ganglion.multicast_troubles import Troubles
from plexo.ganglion.serving import GanglionServed
from plexo.neuron.neuron import Neuron
from plexo.statistics import NO_LINK, Cause, LinkStats, sum_of_links
from plexo.synapse.multicast import SynapseMulticast

T = TypeVar("T")

DEFAULT_PORT = 5560
# UDP payload that fits into a frame of Ethernet.
DEFAULT_MAX_TPDU = 1472
MIN_MAX_TPDU = 256
MAX_MAX_TPDU = 65507
# What a source keeps for repairs: at 250 MB/s a quarter of a second, for which what was asked for is held. Memory is
# used as packets are sent.
DEFAULT_WINDOW_BYTES = 64 << 20
# What is kept of one source: out of order, or while a reactant's queue is full.
DEFAULT_RECEIVE_WINDOW_BYTES = 64 << 20
DEFAULT_MAX_MESSAGE_BYTES = 16 << 20
DEFAULT_SEND_QUEUE = Queue("block", bytes=1 << 20)
DEFAULT_RATE_BYTES_PER_S = 100e6
DEFAULT_BUFFER_BYTES = 8 << 20
# Of any of them: far above what is of use, and so that sizes and their sums fit where they have 32 bits.
MOST_BYTES = min(1 << 40, sys.maxsize // 2)
# Of others; what a stranger forges costs no more than so many receptions.
MAX_SOURCES = 4096
# Own ones: each needs a port number of PGM of its own.
MAX_TRANSMISSIONS = 16384
# What a message that is received may have for its topic, beside max_message_bytes for its payload.
TOPIC_ROOM_BYTES = 1 << 16
# Between two looks at which sources are silent.
SWEEP_S = 1.0


class SourceStats(NamedTuple):
    """One source that is heard: `packets` that came, each counted once, how many of them were `repaired`, how many were
    `repeated` (dropped), how many are `lost` for good, and how many times a repair was asked for (`naks`)."""

    host: str
    tsi: str
    group: str
    packets: int
    repaired: int
    repeated: int
    lost: int
    naks: int
    received_bytes: int


class _Membership:
    """A joined group's socket, and how many topics need it."""

    def __init__(self, ganglion: GanglionMulticast, group: str) -> None:
        self.socket = receive_socket(group, ganglion.port, ganglion.interface)
        self.users = 0
        try:
            ganglion._warn_of_buffers(self.socket)
            self.reader = GroupReader(ganglion._groups, self.socket.fileno(), undotted(group))
        except BaseException:
            self.socket.close()
            raise

    def close(self) -> None:
        self.reader.stop()
        self.socket.close()


class _Sweep:
    """Looks for sources that are gone."""

    def __init__(self, ganglion: GanglionMulticast) -> None:
        self.alarm_at = float("inf")
        self._ganglion = ganglion

    def on_alarm(self, now: float) -> float:
        self._ganglion._sweep(now)
        return now + SWEEP_S


class GanglionMulticast(Troubles, GanglionServed):
    """Keyword arguments of every ganglion over multicast (seconds, bytes):

    ttl                    hops that datagrams go; default 1, and 0 where the interface is the loopback
    rate_bytes_per_s       of datagrams that are sent, headers included; 0: unlimited. Default: 100 MB/s, and unlimited
                           on the loopback
    max_tpdu               largest UDP payload that is sent; default 1,472
    window_bytes           what each source keeps for repairs; default 64 MiB, of which what was sent takes memory
    receive_window_bytes   what is kept of each source that is heard, out of order or while a reactant's queue is full
    max_message_bytes      largest payload that is sent, or taken; sending, half of window_bytes is another limit
    send_queue             a Queue, or the name of a policy: accepted and not yet sent, per topic. Default: senders wait
                           above 1 MiB
    receive_queue          the same for what waits for one reactant
    key                    16 to 64 bytes that all share: datagrams without a valid MAC are dropped, and libzmq cannot
                           take part any more
    buffer_bytes           wanted of the system for each socket
    on_error               see GanglionBase
    """

    hub: MulticastHub

    def __init__(
        self,
        bind_interface: object,
        port: int,
        relevant_neurons: Iterable[Neuron[Any]],
        ignored_neurons: Iterable[Neuron[Any]],
        allowed_codecs: Iterable[type],
        *,
        ttl: int | None = None,
        rate_bytes_per_s: float | None = None,
        max_tpdu: int = DEFAULT_MAX_TPDU,
        window_bytes: int = DEFAULT_WINDOW_BYTES,
        receive_window_bytes: int = DEFAULT_RECEIVE_WINDOW_BYTES,
        max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES,
        send_queue: Queue | str | None = None,
        receive_queue: Queue | str | None = None,
        key: bytes | None = None,
        buffer_bytes: int = DEFAULT_BUFFER_BYTES,
        busy_poll_s: float | None = None,
        on_error: OnError | None = None,
    ) -> None:
        # First of all, so that __del__ of a half-made object finds what it has to close.
        self._sockets: list[socket.socket] = []
        self._joined: dict[str, _Membership] = {}
        self._listening: dict[bytes, frozenset[str]] = {}
        # Topics of which a group could not be joined.
        self._unheard: set[bytes] = set()
        self._said_trouble: set[str] = set()
        if isinstance(port, bool) or not isinstance(port, int) or not 0 < port < 65536:
            raise ValueError(f"port: expected 1 to 65535, got {port!r}")
        self.interface: Interface = resolve_interface(bind_interface)
        self.port = port
        loopback = self.interface.address.startswith("127.")
        self.ttl = (0 if loopback else 1) if ttl is None else ttl
        rate = (
            (0.0 if loopback else DEFAULT_RATE_BYTES_PER_S) if rate_bytes_per_s is None else rate_bytes_per_s
        )
        for argument, value, least, most in (
            ("ttl", self.ttl, 0, 255),
            ("rate_bytes_per_s", rate, 0, float("inf")),
            ("max_tpdu", max_tpdu, MIN_MAX_TPDU, MAX_MAX_TPDU),
            ("window_bytes", window_bytes, 16 * max_tpdu, MOST_BYTES),
            ("receive_window_bytes", receive_window_bytes, 1 << 16, MOST_BYTES),
            ("max_message_bytes", max_message_bytes, 1, MOST_BYTES),
            ("buffer_bytes", buffer_bytes, 1, MOST_BYTES),
            ("busy_poll_s", 0 if busy_poll_s is None else busy_poll_s, 0, float("inf")),
        ):
            if not least <= value <= most:
                raise ValueError(f"{argument}: expected {least} to {most}, got {value}")
        self.max_tpdu = max_tpdu
        self.window_bytes = window_bytes
        self.receive_window_bytes = receive_window_bytes
        self.max_message_bytes = max_message_bytes
        self.buffer_bytes = buffer_bytes
        self._key = None if key is None else Key(key)
        queue = as_queue(send_queue, "send_queue", DEFAULT_SEND_QUEUE)
        self._timing = Timing()
        self._rng = random.Random(os.urandom(16))
        self._alarms = Alarms()
        self._sending_socket = self._keep(send_socket(self.interface, self.ttl))
        self._relay_socket = self._keep(relay_socket(self.interface))
        self._nak_socket = self._keep(nak_socket(self.interface, port))
        self._warn_of_buffers(self._sending_socket)
        super().__init__(
            relevant_neurons, ignored_neurons, allowed_codecs, receive_queue=receive_queue, on_error=on_error
        )
        self._ended = NO_LINK
        self._farewell: Farewell | None = None
        self.hub = MulticastHub(
            self, self._topics, max_message_bytes, queue, self._sending_socket.fileno(), port, float(rate),
            self._alarms, self._key, -1 if busy_poll_s is None else busy_poll_s,
        )  # fmt: skip
        self._groups = Groups(self.hub, os.urandom(6), self._key)
        self._nak_reader = GroupReader(self._groups, self._nak_socket.fileno(), 0)
        self._sweep_alarm = _Sweep(self)

    def _keep(self, made: socket.socket) -> socket.socket:
        self._sockets.append(made)
        return made

    # -- for the subclass --------------------------------------------------------------------------------------

    # Where what came by unicast for another program of this host is sent, beside the group that it names.
    _repair_group: str | None = None
    # The groups where own sources are asked for repairs.
    _repair_groups: frozenset[str] = frozenset()

    def _group_to_send(self, topic: str) -> str:
        raise NotImplementedError(f"{type(self).__name__} must say where a topic is sent to")

    def _groups_to_hear(self, topic: str) -> frozenset[str]:
        raise NotImplementedError(f"{type(self).__name__} must say where a topic is heard")

    def _source_begun(self, synapse: SynapseMulticast[Any]) -> None:
        """A topic is published from now on."""

    # -- event loop --------------------------------------------------------------------------------------------

    def _start_on(self, loop: asyncio.AbstractEventLoop) -> None:
        self.hub.attach(loop)
        for membership in self._joined.values():
            membership.reader.start(loop)
        self._nak_reader.start(loop)
        self._alarms.start(loop)
        self._alarms.set(self._sweep_alarm, clock() + SWEEP_S)
        for reception in list(self._groups.receptions.values()):
            loop.call_soon(reception.on_resume)

    def _leave_loop(self) -> None:
        for membership in self._joined.values():
            membership.reader.stop()
        self._nak_reader.stop()
        self._alarms.stop()
        self.hub.detach()

    # -- neurons -----------------------------------------------------------------------------------------------

    def _make_synapse(self, neuron: Neuron[T]) -> SynapseMulticast[T]:
        return SynapseMulticast(neuron, self, self.hub, self._receive_queue)

    def _interest_changed(self, synapse: Synapse[Any]) -> None:
        """OSError: a group cannot be joined now; it is tried again."""
        try:
            self._listen(synapse)
        except OSError:
            self._unheard.add(synapse.topic)
            raise

    def _listen_again(self, topic: bytes) -> None:
        """As `_listen`, where nobody is there to be told that it fails."""
        synapse = self._topics.get(topic)
        assert synapse is not None  # topics stay
        try:
            self._listen(synapse)
            self._unheard.discard(topic)
        except OSError as error:
            self._unheard.add(topic)
            self._say_trouble(
                f"cannot join a group of {synapse.neuron}: {error.strerror or error}; trying again"
            )

    def _listen(self, synapse: Synapse[Any]) -> None:
        """Join and leave what has to be for what is wanted now."""
        before = self._listening.get(synapse.topic, frozenset())
        wanted = self._groups_to_hear(synapse.name) if synapse.wanted else frozenset()
        for group in wanted - before:
            self._join(group)
            self._listening[synapse.topic] = before = before | {group}
        for group in before - wanted:
            self._listening[synapse.topic] = before = before - {group}
            self._leave(group)
        if not before:
            self._listening.pop(synapse.topic, None)

    def _join(self, group: str) -> None:
        membership = self._joined.get(group)
        if membership is None:
            membership = self._joined[group] = _Membership(self, group)
            if self.hub.loop is not None:
                membership.reader.start(self.hub.loop)
        membership.users += 1

    def _leave(self, group: str) -> None:
        membership = self._joined[group]
        membership.users -= 1
        if not membership.users:
            del self._joined[group]
            membership.close()
            address = undotted(group)
            for reception in list(self._groups.receptions.values()):
                if reception.group == address:
                    self._forget(reception, "its group was left")

    def _begin_source(self, synapse: SynapseMulticast[Any]) -> None:
        """The first message of a neuron: it gets a source of its own."""
        if self._closed:
            return
        transmissions = self._groups.transmissions
        if len(transmissions) >= MAX_TRANSMISSIONS:
            raise NeuronNotAvailable(
                f"{self!r} publishes {MAX_TRANSMISSIONS} neurons already, the most that it may; "
                f"{synapse.neuron} would be one more"
            )
        sport = self.port
        while sport == self.port or sport in transmissions:
            sport = self._rng.randrange(1, 1 << 16)
        tsi = Tsi(self._groups.gsi, sport)
        group = self._group_to_send(synapse.name)
        window = TransmitWindow(
            tsi, self.port, max_tpdu=self.max_tpdu, most_bytes=self.window_bytes, key=self._key
        )
        now = clock()
        policy = Source(window, tsi, self.port, self.interface.address, group, self._timing, now)
        transmission = Transmission(
            self.hub, synapse, window, policy, tsi, undotted(group), f"{group}:{self.port}"
        )
        transmissions[sport] = transmission
        synapse.set_subscribers((transmission,))
        transmission.begin(now)
        self._source_begun(synapse)

    def _send_to(self, synapse: SynapseMulticast[Any], group: str) -> None:
        """From now on messages of this neuron go to `group`."""
        transmission = synapse.transmission
        if transmission is not None and transmission.group != undotted(group):
            transmission.push_out()
            transmission.move(undotted(group), group, f"{group}:{self.port}", clock())

    # -- sources of others -------------------------------------------------------------------------------------

    def _new_source(
        self, groups: Groups, gsi: bytes, sport: int, address: int, host: str
    ) -> GroupReception | None:
        if len(groups.receptions) >= MAX_SOURCES:
            return None
        tsi = Tsi(gsi, sport)
        policy = Receiver(tsi, self.port, address, self._rng, self._timing)
        reception = GroupReception(
            groups,
            policy,
            tsi,
            address,
            host,
            self.max_message_bytes + TOPIC_ROOM_BYTES,
            most_bytes=self.receive_window_bytes,
        )
        self.tell(LinkEventKind.CONNECTED, host, f"source {tsi}")
        return reception

    def _sweep(self, now: float) -> None:
        """Forget sources that said goodbye or fell silent; not while a reactant has yet to take what they sent."""
        timing = self._timing
        for reception in list(self._groups.receptions.values()):
            silent = now - reception.heard_at
            if reception.finished and silent > timing.fin_expiry_s:
                self._forget(reception, "it was closed")
            elif silent > timing.peer_expiry_s:
                reception.give_up()
                if not reception.stored_packets and not reception.has_rest:
                    self._forget(reception, f"silent for {timing.peer_expiry_s:g} s")
        for topic in list(self._unheard):
            self._listen_again(topic)

    def _forget(self, reception: GroupReception, why: str) -> None:
        if reception.stored_packets:
            self._tally.add(Cause.LOST, "", reception.host, reception.stored_packets)
        reception.end()
        self._ended = sum_of_links((self._ended, reception.stats()))
        self._alarms.forget(reception)
        self.tell(LinkEventKind.DISCONNECTED, reception.host, f"source {reception.tsi}: {why}")

    def sources(self) -> tuple[SourceStats, ...]:
        """The sources that are heard now. Safe from any thread."""
        self._require_own()
        return tuple(
            SourceStats(
                each.host, str(each.tsi), dotted(each.group), each.received, each.repaired, each.repeated,
                each.lost_packets, each.naks, each.received_bytes,
            )
            for each in list(self._groups.receptions.values())
        )  # fmt: skip

    def _hear_naks(self) -> None:
        """Off the event loop, for the end: what receivers still ask for."""
        self._groups.drain(self._nak_reader)
        for group in self._repair_groups & self._joined.keys():
            self._groups.drain(self._joined[group].reader)

    # -- told by the compiled side -----------------------------------------------------------------------------

    def _upstream(self, reception: GroupReception, datagram: bytes, now: float) -> None:
        """To the source, and to its group: others hear then that they need not ask, and so does a source of libzmq."""
        self.hub.send_control(reception.nla or reception.address, self.port, datagram)
        if reception.group:
            self.hub.send_control(reception.group, self.port, datagram)

    def _relay(self, datagram: bytes, group: int) -> None:
        """For another program on this host, which is in that group, or, if it is one of ours, in the repair group."""
        wanted = {dotted(group)} if group >> 28 == 0xE else set()
        if self._repair_group is not None:
            wanted.add(self._repair_group)
        for each in wanted:
            # It is asked for again if this one goes astray.
            with contextlib.suppress(OSError):
                self._relay_socket.sendto(datagram, (each, self.port))

    # -- books -------------------------------------------------------------------------------------------------

    def _link_stats(self) -> tuple[LinkStats, ...]:
        return (
            *(each.stats() for each in list(self._groups.transmissions.values()) if each.open),
            *(each.stats() for each in list(self._groups.receptions.values())),
        )

    def _ended_links(self) -> LinkStats:
        return self._ended

    def _queued_by_topic(self) -> dict[bytes, int]:
        return self.hub.queued_by_topic([])

    def _waiting(self) -> int:
        return self.hub.waiting_messages

    # -- end ---------------------------------------------------------------------------------------------------

    def _begin_close(self) -> list[Farewell]:
        super()._begin_close()
        self.hub.close(Closed(f"{self!r} was closed before this message was accepted"))
        self._leave_loop()
        if self._farewell is None:
            self._farewell = Farewell(self)
        return [self._farewell] if self._groups.transmissions else []

    def _end_close(self) -> None:
        if "_sweep_alarm" in self.__dict__:  # it was made as a whole
            self._begin_close()
            transmissions = self._groups.transmissions
            while transmissions:
                sport = next(iter(transmissions))
                transmission = transmissions[sport]
                lost = transmission.end(Cause.CLOSED)
                if lost:
                    logger.warning(
                        "%r: closed with %d messages not sent to %s", self, lost, transmission.peer
                    )
                del transmissions[sport]
                self._ended = sum_of_links((self._ended, transmission.stats()))
            for reception in list(self._groups.receptions.values()):
                self._forget(reception, "this side was closed")
            self._alarms.clear()
        while self._joined:
            self._joined.popitem()[1].close()
        self._listening.clear()
        while self._sockets:
            self._sockets.pop().close()
        super()._end_close()

    def _forsake(self) -> bool:
        super()._forsake()
        for name in ("hub", "_alarms", "_nak_reader"):
            if name in self.__dict__:
                getattr(self, name).forsake()
        for membership in self._joined.values():
            membership.reader.forsake()
            membership.socket.close()
        for each in self._sockets:
            each.close()
        return True
