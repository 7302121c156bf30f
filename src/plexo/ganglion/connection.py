# SPDX-License-Identifier: Apache-2.0
"""Sockets around the ZMTP core: listening, dialling with back-off, the hand-shake's bytes, and the life of a link.

None of these belongs to an event loop: `start` puts them on the loop their ganglion uses now, `stop` takes them off,
and nothing of the protocol's state is lost in between.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import random
import socket
import time
from typing import TYPE_CHECKING, Any

from plexo._fast.link import Link
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
from plexo.ganglion.endpoint import Endpoint, describe
from plexo.statistics import Cause

if TYPE_CHECKING:
    from plexo.ganglion.zmtp import GanglionZmtp

# One read of the hand-shake; what comes with it belongs to the link.
HANDSHAKE_READ_BYTES = 8192
# Connections taken from the kernel's queue before the loop gets its turn.
ACCEPTS_PER_TURN = 32
LISTEN_BACKLOG = 128
# A link that lived longer than this was a good one: after its loss dialling begins with the shortest wait again. A peer
# that shakes hands and hangs up (a pair that has its peer already) must not be dialled twenty times a second.
STABLE_S = 1.0
# How long to leave the listening socket alone when the process has no file descriptors left.
OUT_OF_FILES_PAUSE_S = 0.2


class Listener:
    """A bound socket; gives each connection to the ganglion."""

    def __init__(self, ganglion: GanglionZmtp, endpoint: Endpoint, role: SocketType) -> None:
        self.ganglion = ganglion
        self.role = role
        self.socket = _bound_socket(endpoint)
        if endpoint.is_ipc:
            self.endpoint = endpoint
        else:
            self.endpoint = Endpoint(endpoint.host, self.socket.getsockname()[1], "")
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        loop.add_reader(self.socket.fileno(), self._accept)

    def stop(self) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self.socket.fileno())
        self._loop = None

    def close(self) -> None:
        self.stop()
        self.socket.close()
        if self.endpoint.is_ipc and not self.endpoint.path.startswith("@"):
            with contextlib.suppress(OSError):
                os.unlink(self.endpoint.path)

    def _accept(self) -> None:
        for _ in range(ACCEPTS_PER_TURN):
            try:
                accepted, address = self.socket.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM) and self._loop:
                    self.ganglion.report_fault(Cause.REJECTED, "", f"cannot accept: {error.strerror}")
                    loop = self._loop
                    loop.remove_reader(self.socket.fileno())
                    loop.call_later(OUT_OF_FILES_PAUSE_S, self._again, loop)
                    return
                continue  # the peer was gone before we took it
            self.ganglion.opened(accepted, describe(address), self.role, None)

    def _again(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._loop is loop and not loop.is_closed():
            loop.add_reader(self.socket.fileno(), self._accept)


def _bound_socket(endpoint: Endpoint) -> socket.socket:
    bound = socket.socket(endpoint.family, socket.SOCK_STREAM)
    try:
        if endpoint.is_ipc:
            _remove_stale(endpoint)
        elif os.name == "posix":
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind(endpoint.address)
        except OSError as error:
            raise OSError(error.errno, f"cannot bind {endpoint}: {error.strerror}") from None
        bound.listen(LISTEN_BACKLOG)
        bound.setblocking(False)
    except BaseException:
        bound.close()
        raise
    return bound


def _remove_stale(endpoint: Endpoint) -> None:
    """A socket file that nobody listens on was left by a program that crashed."""
    if endpoint.path.startswith("@"):
        return
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    probe.setblocking(False)
    with contextlib.closing(probe), contextlib.suppress(OSError):
        if probe.connect_ex(endpoint.address) == errno.ECONNREFUSED:
            os.unlink(endpoint.path)


class Connector:
    """Dials one endpoint for as long as the ganglion lives; waits longer after each failure, with jitter."""

    def __init__(self, ganglion: GanglionZmtp, endpoint: Endpoint, role: SocketType) -> None:
        self.ganglion = ganglion
        self.endpoint = endpoint
        self.role = role
        self.connected = False
        self._failures = 0
        self._established_at: float | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._socket: socket.socket | None = None
        self._lookup: asyncio.Task[None] | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        if not self.connected:
            self._dial()

    def stop(self) -> None:
        self._abandon()
        self._loop = None

    close = stop

    def lost(self) -> None:
        """The connection, or the attempt at one, has ended."""
        self.connected = False
        since, self._established_at = self._established_at, None
        if since is not None and time.monotonic() - since > STABLE_S:
            self._failures = 0
        if self._loop is not None and not self._loop.is_closed():
            self._retry()

    def established(self) -> None:
        self._established_at = time.monotonic()

    def _abandon(self) -> None:
        loop = self._loop
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._lookup is not None:
            if loop is not None and not loop.is_closed():
                self._lookup.cancel()
            self._lookup = None
        if self._socket is not None:
            if loop is not None and not loop.is_closed():
                loop.remove_writer(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def _retry(self) -> None:
        self._abandon()
        assert self._loop is not None
        ganglion = self.ganglion
        delay = min(ganglion.reconnect_max_s, ganglion.reconnect_min_s * 2.0 ** min(self._failures, 20))
        self._failures += 1
        # Full jitter over the upper half: many nodes that lost one peer do not come back in step.
        self._timer = self._loop.call_later(delay * (0.5 + 0.5 * random.random()), self._dial)

    def _dial(self) -> None:
        self._timer = None
        endpoint = self.endpoint
        if endpoint.is_ipc or _is_numeric(endpoint.host):
            self._connect(endpoint.family, endpoint.address)
        else:
            assert self._loop is not None
            self._lookup = self._loop.create_task(self._resolve())

    async def _resolve(self) -> None:
        assert self._loop is not None
        try:
            found = await self._loop.getaddrinfo(
                self.endpoint.host, self.endpoint.port, type=socket.SOCK_STREAM
            )
        except OSError as error:
            self._lookup = None
            self.ganglion.report_fault(Cause.DISCONNECTED, str(self.endpoint), f"no address: {error}")
            self._retry()
            return
        self._lookup = None
        family, _, _, _, address = found[self._failures % len(found)]
        self._connect(family, address)

    def _connect(self, family: int, address: Any) -> None:
        assert self._loop is not None
        dialling = socket.socket(family, socket.SOCK_STREAM)
        dialling.setblocking(False)
        self._socket = dialling
        outcome = dialling.connect_ex(address)
        if outcome == errno.EINPROGRESS:
            self._loop.add_writer(dialling.fileno(), self._dialled)
            self._timer = self._loop.call_later(self.ganglion.handshake_timeout_s, self._failed, "timed out")
        elif outcome == 0:
            self._succeeded()
        else:
            self._failed(os.strerror(outcome))

    def _dialled(self) -> None:
        assert self._socket is not None and self._loop is not None
        self._loop.remove_writer(self._socket.fileno())
        outcome = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if outcome:
            self._failed(os.strerror(outcome))
        else:
            self._succeeded()

    def _failed(self, why: str) -> None:
        self.ganglion.not_connected(self.endpoint, why, self._failures == 0)
        self._retry()

    def _succeeded(self) -> None:
        dialled, self._socket = self._socket, None
        assert dialled is not None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        with contextlib.suppress(OSError):
            if not self.endpoint.is_ipc and dialled.getsockname() == dialled.getpeername():
                # Nobody listens, and the kernel chose the port we dial as our own: TCP then connects to itself.
                dialled.close()
                self._failed("connected to itself")
                return
        self.connected = True
        self.ganglion.opened(dialled, str(self.endpoint), self.role, self)


def _is_numeric(host: str) -> bool:
    try:
        socket.getaddrinfo(host, None, flags=socket.AI_NUMERICHOST)
    except OSError:
        return False
    return True


class Connection:
    """One socket: first the hand-shake, then a compiled link that calls back for what is rare."""

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
        self.role = role
        self.connector = connector
        self.version = (3, 0)
        self.link: Link | None = None
        # As libzmq keeps them: a SUB sends every SUBSCRIBE of a topic but only the last CANCEL.
        self.subscriptions = Subscriptions(counted=False)
        # For the heartbeat: how much had arrived at the last look, and how many looks ago that changed.
        self.seen_bytes = 0
        self.silent_beats = 0
        self._handshake = Handshake(role)
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
        try:
            data = self.socket.recv(HANDSHAKE_READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self.lost(error, False)
            return
        try:
            if not data:
                self._handshake.receive_eof()
            established = self._handshake.receive_data(data)
        except WireError as error:
            self._outgoing += self._handshake.data_to_send()
            with contextlib.suppress(OSError):
                self.socket.send(self._outgoing)
            cause = Cause.DISCONNECTED if error.reason is Reason.PEER_CLOSED else Cause.HANDSHAKE_FAILED
            self._fail(cause, HandshakeFailed(str(error), self.peer, error.offset))
            return
        answer = self._handshake.data_to_send()
        if established is not None:
            self._establish(established, self._held + answer)
        elif self._holds_ready:
            self._held += answer
        else:
            self._outgoing += answer
            self._push_out()

    def _timed_out(self) -> None:
        self._timer = None
        self._fail(
            Cause.HANDSHAKE_TIMEOUT,
            HandshakeFailed(f"no hand-shake within {self.ganglion.handshake_timeout_s} s", self.peer),
        )

    def _establish(self, established: Established, ready: bytes) -> None:
        if (refusal := self.ganglion.refuses(self)) is not None:
            with contextlib.suppress(OSError):
                self.socket.send(self._outgoing + encode_error(refusal))
            self._end(Cause.REJECTED, refusal)
            return
        loop = self._loop
        self.stop()
        self._loop = loop
        self.version = established.version
        hub = self.ganglion.hub
        link = Link(hub, self, self.socket.fileno(), self.role is not SocketType.PUB, established.trailing)
        link.write(self._outgoing + ready)
        self.ganglion.established(self, link)
        self.link = link
        if self.connector is not None:
            self.connector.established()
        hub.add(link)

    # -- called by the link --------------------------------------------------------------------------------------

    def command(self, body: bytes) -> None:
        link = self.link
        assert link is not None
        try:
            command = parse_command(body, offset=link.received_bytes)
            if isinstance(command, Ping):
                # A peer that asks and never reads must not fill our memory with answers.
                if link.outbox.queued_bytes < self.ganglion.hub.send_queue_bytes:
                    link.write(encode_pong(command.context))
            elif isinstance(command, Subscribe):
                self._subscribe(command.topic)
            elif isinstance(command, Cancel):
                self._cancel(command.topic)
            elif isinstance(command, Error):
                self.violation("traffic", f"ERROR {command.reason!r}", link.received_bytes)
        except WireError as error:
            self.violation(error.expected, error.received, error.offset)

    def subscription(self, body: bytes) -> None:
        """The subscriber sent a message: 3.0's form of a subscription, or something a publisher has no use for."""
        parsed = parse_subscription_message(body)
        try:
            if isinstance(parsed, Subscribe):
                self._subscribe(parsed.topic)
            elif isinstance(parsed, Cancel):
                self._cancel(parsed.topic)
            else:
                self.malformed("a message from a subscriber that is no subscription")
        except WireError as error:
            self.violation(error.expected, error.received, error.offset)

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

    # -- end -----------------------------------------------------------------------------------------------------

    def _fail(self, cause: Cause, error: HandshakeFailed | ProtocolError) -> None:
        self.ganglion.report_fault(cause, self.peer, error.reason)
        self._end(None, error.reason)

    def _end(self, cause: Cause | None, why: str) -> None:
        if self._closed:
            return
        was_up = self.link is not None
        unsent = self.close()
        self.ganglion.ended(self, was_up, unsent, cause, why)
        if self.connector is not None:
            self.connector.lost()

    def fileno(self) -> int:
        return self.socket.fileno()

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
            while True:
                if not self.socket.recv(65536):
                    return True
        except BlockingIOError:
            return False
        except OSError:
            return True

    def close(self) -> list[Any]:
        """Off the loop and gone; what the link had accepted and not sent."""
        if self._closed:
            return []
        self.stop()
        self._closed = True
        unsent = self.link.close() if self.link is not None else []
        self.socket.close()
        return unsent
