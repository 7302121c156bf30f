# SPDX-License-Identifier: Apache-2.0
"""Where connections come from: listening, and dialling with back-off.

None of these belongs to an event loop: `start` puts them on the loop their ganglion uses now, `stop` takes them off.
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

from plexo._proto.zmtp import SocketType
from plexo.ganglion.endpoint import Endpoint, describe
from plexo.ganglion.events import LinkEventKind
from plexo.statistics import Cause

if TYPE_CHECKING:
    from plexo.ganglion.zmtp import GanglionZmtp

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

    def forsake(self) -> None:
        """In a forked child: close its copy of the descriptor; the rest is the parent's."""
        self._loop = None
        self.socket.close()

    def _accept(self) -> None:
        for _ in range(ACCEPTS_PER_TURN):
            try:
                accepted, address = self.socket.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM) and self._loop:
                    self.ganglion.report_fault(Cause.REJECTED, "", f"cannot accept: {error.strerror}")
                    self.ganglion.tell(LinkEventKind.REJECTED, "", f"cannot accept: {error.strerror}")
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
        # Why there is no link; empty until an attempt has failed.
        self.trouble = ""
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

    def forsake(self) -> None:
        """In a forked child: close its copy of the descriptor; the rest is the parent's."""
        self._loop = self._timer = self._lookup = None
        if self._socket is not None:
            self._socket.close()

    def lost(self, why: str) -> None:
        """The connection, or the attempt at one, has ended."""
        self.connected = False
        self.trouble = why
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
            self.trouble = f"no address: {error}"
            self.ganglion.report_fault(Cause.DISCONNECTED, str(self.endpoint), self.trouble)
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
        self.trouble = why
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
