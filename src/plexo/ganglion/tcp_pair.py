# SPDX-License-Identifier: Apache-2.0
"""Two peers, one link: ZMTP PAIR. One side binds, the other connects; either may start first."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from plexo._fast.link import Link
from plexo._fast.synapse import Synapse
from plexo._proto.delivery import (
    SESSION_BYTES,
    Ask,
    Deliver,
    DeliveryCommand,
    Settle,
    announcement,
)
from plexo._proto.zmtp import SocketType
from plexo.ganglion.base import DEFAULT_REQUEST_TIMEOUT_S, logger
from plexo.ganglion.channel import Channel, Tasks, without_commands
from plexo.ganglion.connection import Connection
from plexo.ganglion.delivery import DEFAULT_ACK_TIMEOUT_S, Delivery
from plexo.ganglion.endpoint import EndpointLike, bind_endpoint, parse_endpoint
from plexo.ganglion.requests import (
    Requests,
    Responder,
    as_bytes,
    checked_neuron,
    make_responder,
)
from plexo.ganglion.zmtp import GanglionZmtp
from plexo.host_information import get_primary_ip
from plexo.neuron.neuron import Neuron
from plexo.statistics import Book, Cause
from plexo.synapse.zeromq_basic import SynapseZmqBasic
from plexo.typing import IPAddress
from plexo.typing.responder import ResponderDecorator

T = TypeVar("T")
Q = TypeVar("Q")
A = TypeVar("A")
H = TypeVar("H", bound=Callable[..., Any])


class GanglionZmqTcpPair(GanglionZmtp):
    """Exactly one peer. Sending waits until the peer is there and has room; what was accepted is dropped by no queue of
    ours (what the kernel had taken when a link broke may be lost with it).

    With `peer` (an (address, port), `tcp://host:port` or `ipc://path`) it connects; otherwise it binds `port` of
    `bind_interface` (an address, an interface's name, or `*`; default: the primary address), or the endpoint `bind`.
    Port 0 takes a free one; see `port` and `endpoint`. What was accepted and not sent when the link broke is sent
    first on the next one. A second peer is refused while the first is connected.

    ack_timeout_s: how long an acknowledgement may take, where `transmit` is not told otherwise. journal: the path of a
    file in which acknowledged messages are kept until they are acknowledged, so that they survive the death of this
    process; see plexo.ganglion.journal.

    OSError: the address cannot be bound. JournalError: the journal cannot be used. Other keyword arguments: see
    GanglionZmtp.
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
        journal: str | os.PathLike[str] | None = None,
        ack_timeout_s: float = DEFAULT_ACK_TIMEOUT_S,
        **limits: Any,
    ) -> None:
        super().__init__(relevant_neurons, ignored_neurons, allowed_codecs, is_pair=True, **limits)
        if peer is not None and (bind is not None or bind_interface is not None):
            raise ValueError("peer: a pair either connects (peer) or binds (bind, bind_interface), not both")
        self._unsent: list[Any] = []
        self._tasks = Tasks()
        opened = None
        if journal is not None:
            from plexo.ganglion.journal import Journal  # and with it sqlite3, for those who want it

            opened = Journal(journal)
        session = os.urandom(SESSION_BYTES) if opened is None else opened.session
        self._requests = Requests(self)
        try:
            self._delivery = Delivery(self, opened, session, ack_timeout_s)
            self.announced = announcement(session)
            self._open(bind_interface, port, peer, bind)
        except BaseException:
            if opened is not None:
                opened.close()
            raise

    def _open(
        self, bind_interface: str | IPAddress | None, port: int, peer: EndpointLike | None, bind: str | None
    ) -> None:
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

    def introduced(self, connection: Connection, link: Link, session: bytes | None) -> None:
        if session is None:
            self._delivery.linked_without_support()
            self._requests.linked_without_support()
            return
        channel = connection.channel = Channel(connection, link, session)
        self._delivery.linked(channel)
        self._requests.linked(channel)

    def extension_command(self, channel: Channel, command: DeliveryCommand) -> None:
        if isinstance(command, Deliver):
            self._delivery.delivered(channel, command)
        elif isinstance(command, Settle):
            self._delivery.settled(channel, command)
        elif isinstance(command, Ask):
            self._requests.asked(channel, command)
        else:
            self._requests.answered(channel, command)

    def ended(
        self, connection: Connection, was_up: bool, unsent: list[Any], cause: Cause | None, why: str
    ) -> None:
        channel = connection.channel
        if channel is not None:
            unsent = without_commands(unsent)
            self._delivery.unlinked(channel)
            self._requests.unlinked(channel)
        # What ends no message is our side of the hand-shake, to a peer that was gone before it could be sent.
        self._unsent.extend(each for each in unsent if each[1])
        self._close_book(connection)
        super().ended(connection, was_up, unsent, cause, why)

    def _unsent_wires(self) -> list[Any]:
        return self._unsent

    def _use_loop(self, loop: asyncio.AbstractEventLoop | None) -> None:
        super()._use_loop(loop)
        self._delivery.loop_changed()
        self._requests.loop_changed()

    # -- acknowledged messages, requests -----------------------------------------------------------------------

    def _require_acks(self) -> None:
        self._delivery.require_support()

    async def _transmit_acked(self, synapse: Synapse[Any], payload: Any, timeout_s: float | None) -> int:
        self._use_running_loop()
        await self._delivery.transmit(synapse, as_bytes(payload), timeout_s)
        return 1

    def _acked_book(self) -> Book:
        return self._delivery.book()

    def respond(self, ask: Neuron[Q], answer: Neuron[A]) -> ResponderDecorator[Q, A]:
        """A decorator: the function answers the peer's questions of `ask` from now on with values of `answer`.

        It takes (question[, neuron]), `async def` or plain. What it raises, the asker gets as RemoteError; here it is
        logged and counted as an error of a reactant. ValueError: `ask` has a responder here.
        """

        def decorate(handler: H) -> H:
            self._require_open()
            self._requests.add(make_responder(ask, answer, handler, self))
            return handler

        return decorate

    def _take_responder(self, responder: Responder) -> None:
        """A plexus that this pair is joined to lets the peer ask its responder."""
        self._requests.add(responder)

    async def request(
        self,
        question: Q,
        answer: type[A] | Neuron[A],
        neuron: Neuron[Q],
        timeout_s: float = DEFAULT_REQUEST_TIMEOUT_S,
    ) -> A:
        """Ask the peer `question`, of `neuron`, and return its answer; waits for a peer where none is connected.

        `answer`: the neuron of the answer, or its type (then in the question's namespace, with the type's own codec).
        WrongType, MessageTooLarge: nothing was asked. AckNotSupported: the peer takes no requests. NoResponder: nobody
        there answers this neuron. RemoteError: its responder raised. DecodeError: the answer is none. NotDelivered: the
        link broke, or the peer is too busy, or this was closed; a question is never repeated. RequestTimeout, also a
        TimeoutError: nothing came within `timeout_s` seconds.
        """
        self._require_open()
        self._use_running_loop()
        expected = answer if isinstance(answer, Neuron) else Neuron(answer, neuron.namespace)
        return await self._requests.request(question, checked_neuron(neuron, "neuron"), expected, timeout_s)

    # -- end ---------------------------------------------------------------------------------------------------

    def _suspended(self) -> list[tuple[object, asyncio.Task[None] | None, asyncio.AbstractEventLoop]]:
        return [*super()._suspended(), *self._tasks.suspended()]

    def _begin_close(self) -> list[Connection]:
        lingering = super()._begin_close()
        # Again at the end: a link may be lost while it lingers.
        lost = self.hub.write_off(self._unsent, Cause.CLOSED, None)
        if lost:
            logger.warning("%r: closed with %d messages that no peer was there to take", self, lost)
        self._delivery.close()
        self._requests.close()
        self._tasks.cancel()
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
