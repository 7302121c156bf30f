# SPDX-License-Identifier: Apache-2.0
"""One connection: the hand-shake's bytes around the ZMTP core, then the life of its link.

It does not belong to an event loop: `start` puts it on the loop its ganglion uses now, `stop` takes it off, and nothing
of the protocol's state is lost in between.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, Any

from plexo._fast.intake import PumpedLink
from plexo._fast.link import Link
from plexo._proto.delivery import announced_session, parse_delivery_command
from plexo._proto.zmtp import (
    Cancel,
    Error,
    Established,
    Handshake,
    Ping,
    Reason,
    SocketType,
    Subscribe,
    Subscriptions,
    WireError,
    encode_error,
    encode_pong,
    parse_command,
    parse_subscription_message,
)
from plexo.exceptions import HandshakeFailed, ProtocolError
from plexo.ganglion.endpoint import host_of
from plexo.ganglion.events import LinkEventKind
from plexo.ganglion.sockets import Connector
from plexo.statistics import Cause

if TYPE_CHECKING:
    from plexo.ganglion.channel import Channel
    from plexo.ganglion.zmtp import GanglionZmtp
    from plexo.neuron.neuron import Neuron

# One read of the hand-shake; what comes with it belongs to the link.
HANDSHAKE_READ_BYTES = 8192
# What may wait for a peer before its PINGs go unanswered; what waits is a sign of life enough.
MAX_UNREAD_ANSWER_BYTES = 1 << 16
# Reads at a closing link before its ganglion looks at the clock again: a peer may send without end.
DRAIN_READS = 16


class Connection:
    """One socket: first the hand-shake, then a compiled link that calls back for what is rare."""

    goes_by_time = False

    def __init__(
        self,
        ganglion: GanglionZmtp,
        opened: socket.socket,
        peer: str,
        role: SocketType,
        connector: Connector | None,
    ) -> None:
        self.ganglion = ganglion
        self.socket = opened
        self.peer = peer
        self.host = host_of(peer)
        self.role = role
        self.connector = connector
        self.version = (3, 0)
        self.link: Link | None = None
        # As libzmq keeps them: a SUB sends every SUBSCRIBE of a topic but only the last CANCEL.
        self.subscriptions = Subscriptions(counted=False)
        # For the heartbeat: how much had arrived at the last look, and how many looks ago that changed.
        self.seen_bytes = 0
        self.silent_beats = 0
        self._handshake = Handshake(role, properties=ganglion.announced)
        # Whatever the ganglion keeps about a peer that has announced an extension of ours.
        self.channel: Channel | None = None
        self._outgoing = self._handshake.data_to_send()
        # A bound pair says READY last, when it knows that it takes this peer: one that is refused must not believe that
        # it is connected, and send.
        self._holds_ready = role is SocketType.PAIR and connector is None
        self._held = b""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._writing = False
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self._shut = False
        # Whether its ganglion has closed its book into the sum of those that ended.
        self.booked = False
        opened.setblocking(False)
        if opened.family != getattr(socket, "AF_UNIX", None):
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    # -- hand-shake ----------------------------------------------------------------------------------------------

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Go on with the hand-shake on `loop`; an established link is started by its hub."""
        self._loop = loop
        if self.link is None:
            loop.add_reader(self.socket.fileno(), self._readable)
            self._timer = loop.call_later(self.ganglion.handshake_timeout_s, self._timed_out)
            self._push_out()

    def stop(self) -> None:
        loop, self._loop = self._loop, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.link is None and loop is not None and not loop.is_closed():
            loop.remove_reader(self.socket.fileno())
            if self._writing:
                loop.remove_writer(self.socket.fileno())
        self._writing = False

    def _push_out(self) -> None:
        """Hand-shake bytes; they nearly always fit the socket at once."""
        while self._outgoing:
            try:
                sent = self.socket.send(self._outgoing)
            except BlockingIOError:
                break
            except OSError as error:
                self.lost(error, False)
                return
            self._outgoing = self._outgoing[sent:]
        if bool(self._outgoing) != self._writing and self._loop is not None:
            self._writing = bool(self._outgoing)
            if self._writing:
                self._loop.add_writer(self.socket.fileno(), self._push_out)
            else:
                self._loop.remove_writer(self.socket.fileno())

    def _readable(self) -> None:
        # To the end: uvloop never calls again where a reset waits behind the last bytes.
        while self.link is None and self._loop is not None and self._read_handshake():
            pass

    def _read_handshake(self) -> bool:
        """Handle what one read brings; False where there was nothing."""
        try:
            data = self.socket.recv(HANDSHAKE_READ_BYTES)
        except BlockingIOError:
            return False
        except OSError as error:
            self.lost(error, False)
            return False
        try:
            if not data:
                self._handshake.receive_eof()
            established = self._handshake.receive_data(data)
            session = None if established is None else announced_session(established.properties)
        except WireError as error:
            self._outgoing += self._handshake.data_to_send()
            with contextlib.suppress(OSError):
                self.socket.send(self._outgoing)
            cause = Cause.DISCONNECTED if error.reason is Reason.PEER_CLOSED else Cause.HANDSHAKE_FAILED
            refused = error.reason is Reason.PEER_ERROR
            self._fail(
                cause,
                HandshakeFailed(str(error), self.peer, error.offset),
                LinkEventKind.REJECTED if refused else LinkEventKind.HANDSHAKE_FAILED,
            )
            return False
        answer = self._handshake.data_to_send()
        if established is not None:
            self._establish(established, session, self._held + answer)
        elif self._holds_ready:
            self._held += answer
        else:
            self._outgoing += answer
            self._push_out()
        return True

    def _timed_out(self) -> None:
        self._timer = None
        self._fail(
            Cause.HANDSHAKE_TIMEOUT,
            HandshakeFailed(f"no hand-shake within {self.ganglion.handshake_timeout_s} s", self.peer),
        )

    def _establish(self, established: Established, session: bytes | None, ready: bytes) -> None:
        if (refusal := self.ganglion.refuses(self)) is not None:
            # libzmq takes an ERROR for good and never dials again, though the peer we have may be dead already. Ours
            # announce themselves, and come back.
            if session is not None:
                with contextlib.suppress(OSError):
                    self.socket.send(self._outgoing + encode_error(refusal))
            self._end(Cause.REJECTED, refusal, LinkEventKind.REJECTED)
            return
        loop = self._loop
        self.stop()
        self._loop = loop
        self.version = established.version
        hub = self.ganglion.hub
        takes_messages = self.role is not SocketType.PUB
        # The few bytes that a subscriber sends are not worth a thread.
        kind = PumpedLink if hub.intake is not None and takes_messages else Link
        link = kind(hub, self, self.socket.fileno(), takes_messages, established.trailing)
        # First of all: the peer may be gone already, and then it is a link that what is written next loses.
        self.link = link
        self.ganglion.tell(LinkEventKind.CONNECTED, self.peer, "")
        link.write(self._outgoing + ready)
        if link.open:
            self.ganglion.established(self, link)
        if link.open:
            if self.connector is not None:
                self.connector.established()
            hub.add(link)
        if link.open:
            self.ganglion.introduced(self, link, session)

    # -- called by the link --------------------------------------------------------------------------------------

    def command(self, body: bytes) -> None:
        link = self.link
        assert link is not None
        try:
            if self.channel is not None:
                extension = parse_delivery_command(body, offset=link.received_bytes)
                if extension is not None:
                    self.ganglion.extension_command(self.channel, extension)
                    return
            command = parse_command(body, offset=link.received_bytes)
            if isinstance(command, Ping):
                # A peer that asks and never reads must not fill our memory with answers.
                if link.outbox.queued_bytes < MAX_UNREAD_ANSWER_BYTES:
                    link.write(encode_pong(command.context))
            elif isinstance(command, Subscribe):
                self._subscribe(command.topic)
            elif isinstance(command, Cancel):
                self._cancel(command.topic)
            elif isinstance(command, Error):
                self.violation("traffic", f"ERROR {command.reason!r}", link.received_bytes)
        except WireError as error:
            self.violation(error.expected, error.received, error.offset)

    def subscription(self, body: bytes) -> bool:
        """The subscriber sent a message: 3.0's form of a subscription; False for what a publisher has no use for."""
        parsed = parse_subscription_message(body)
        try:
            if isinstance(parsed, Subscribe):
                self._subscribe(parsed.topic)
            elif isinstance(parsed, Cancel):
                self._cancel(parsed.topic)
            else:
                return False
        except WireError as error:
            self.violation(error.expected, error.received, error.offset)
        return True

    def _subscribe(self, topic: bytes) -> None:
        if self.subscriptions.add(topic):
            self.ganglion.subscriptions_changed(self, topic)

    def _cancel(self, topic: bytes) -> None:
        if self.subscriptions.remove(topic):
            self.ganglion.subscriptions_changed(self, topic)

    def unknown_topic(self, topic: bytes) -> None:
        self.ganglion.report_unknown(topic, self.peer)

    def malformed(self, reason: str) -> None:
        self.ganglion.report_fault(Cause.MALFORMED, self.peer, f"{reason}; dropped")

    def violation(self, expected: str, received: str, offset: int) -> None:
        self._fail(
            Cause.PROTOCOL_ERROR,
            ProtocolError(f"expected {expected}, received {received}", self.peer, offset),
        )

    def lost(self, error: OSError | None, truncated: bool) -> None:
        if truncated:
            self.ganglion.report_fault(Cause.TRUNCATED, self.peer, "closed in the middle of a message")
        why = "closed by the peer" if error is None else str(error.strerror or error)
        self._end(Cause.DISCONNECTED, why)

    def heartbeat_missed(self) -> None:
        self._end(Cause.HEARTBEAT_TIMEOUT, "no answer to heartbeats")

    def too_slow(self, limit_s: float) -> None:
        why = f"its queue was full for {limit_s:g} s"
        self.ganglion.report_fault(Cause.SLOW_CONSUMER, self.peer, why)
        self._end(None, f"{Cause.SLOW_CONSUMER.value}: {why}")

    def counts(self, neuron: Neuron[Any] | None) -> bool:
        """Whether an established link is one that `ready` waits for."""
        if self.role is SocketType.PUB:
            return len(self.subscriptions) > 0 if neuron is None else self.subscriptions.matches(neuron.topic)
        return neuron is None or self.role is SocketType.PAIR

    # -- end -----------------------------------------------------------------------------------------------------

    def _fail(
        self,
        cause: Cause,
        error: HandshakeFailed | ProtocolError,
        kind: LinkEventKind = LinkEventKind.HANDSHAKE_FAILED,
    ) -> None:
        self.ganglion.report_fault(cause, self.peer, error.reason)
        self._end(None, error.reason, kind)

    def _end(
        self, cause: Cause | None, why: str, kind: LinkEventKind = LinkEventKind.HANDSHAKE_FAILED
    ) -> None:
        """Gone for good. `kind` is what to tell where it never became a link."""
        if self._closed:
            return
        was_up = self.link is not None
        unsent = self.close()
        self.ganglion.ended(self, was_up, unsent, cause, why)
        self.ganglion.tell(LinkEventKind.DISCONNECTED if was_up else kind, self.peer, why)
        if self.connector is not None:
            self.connector.lost(why)

    def fileno(self) -> int:
        return self.socket.fileno()

    def is_sending(self) -> bool:
        return self.link is not None and self.link.outbox.queued_bytes > 0

    def finish_sending(self) -> bool:
        """For the ganglion's end: send what waits, say that nothing follows, and read until the peer has closed too.

        Closing with unread bytes would reset the connection, and what we sent last could be lost with it. True when
        there is nothing more to wait for.
        """
        assert self.link is not None
        try:
            if not self._shut:
                if not self.link.push_out():
                    return not self.link.open
                self.socket.shutdown(socket.SHUT_WR)
                self._shut = True
            # False also where the peer goes on sending: the caller has a deadline.
            return any(not self.socket.recv(65536) for _ in range(DRAIN_READS))
        except BlockingIOError:
            return False
        except OSError:
            return True

    def close(self) -> list[Any]:
        """Off the loop and gone; what the link had accepted and not sent. May be repeated where it was broken off."""
        self.stop()
        self._closed = True
        unsent = self.link.close() if self.link is not None else []
        self.socket.close()
        return unsent

    def close_for_good(self, cause: Cause) -> int:
        """`close`; what the link had accepted and not sent is dropped by `cause`: how many messages those were."""
        self.stop()
        self._closed = True
        # In one compiled step, which no interruption divides: accepted messages do not leave the books.
        lost = self.link.end(cause) if self.link is not None else 0
        self.socket.close()
        return lost

    def forsake(self) -> None:
        """In a forked child: close its copy of the descriptor; the connection and the loop are the parent's."""
        self._closed = True
        self._loop = self._timer = None
        self.socket.close()
