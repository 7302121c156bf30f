# SPDX-License-Identifier: Apache-2.0
"""A link to a peer that has announced acknowledged delivery, and what messages and requests share of it."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from plexo._fast.frames import parse_frame_header
from plexo._proto.delivery import MAX_REQUESTS, WINDOW_IDS, Done, Failed, Refused, Settled
from plexo._proto.errors import Reason, WireError
from plexo._proto.zmtp import Flag
from plexo.statistics import Cause

if TYPE_CHECKING:
    from plexo._fast.link import Link
    from plexo.ganglion.connection import Connection

# Outcomes written to a peer that has not taken them from the socket yet. One that reads never has more open than its
# window and its questions; twice that leaves room for what it has given up meanwhile.
MAX_UNREAD_OUTCOMES = 2 * (WINDOW_IDS + MAX_REQUESTS)
# Beside the envelope, the largest command has a frame's header, a name and two numbers.
COMMAND_HEAD_BYTES = 64


class Channel:
    """What is said to one peer over one link in commands of the extension."""

    def __init__(self, connection: Connection, link: Link, session: bytes) -> None:
        self.connection = connection
        self.link = link
        self.session = session
        # Questions of this peer have rising numbers, so that a number said twice needs no memory.
        self.last_asked = 0
        self._unread: deque[int] = deque()
        self._held: list[bytes] = []

    @property
    def peer(self) -> str:
        return self.connection.peer

    @property
    def is_served(self) -> bool:
        """Whether an event loop serves the link; between two of them nothing can be written."""
        loop = self.link.hub.loop
        return loop is not None and not loop.is_closed()

    def say(self, frame: bytes) -> None:
        """Write one command; where the link is lost nothing happens."""
        if self.is_served:
            self.link.write(frame)

    def say_outcome(self, frame: bytes) -> None:
        """Write what became of a message or question; a peer that asks and never reads is cut off."""
        if not self.link.open:
            return
        if not self.is_served:
            # A reactant was cancelled because its loop ended. No more of them than were in hand.
            self._held.append(frame)
            return
        outbox = self.link.outbox
        while self._unread and self._unread[0] <= outbox.sent_bytes:
            self._unread.popleft()
        if len(self._unread) >= MAX_UNREAD_OUTCOMES:
            self.connection.violation(
                "a peer that reads", f"none of {len(self._unread)} outcomes", self.link.received_bytes
            )
            return
        self.link.write(frame)
        self._unread.append(outbox.sent_bytes + outbox.queued_bytes)

    def go_on(self) -> None:
        """Another loop serves the link."""
        held, self._held = self._held, []
        for frame in held:
            self.say_outcome(frame)


class InHand:
    """What was taken from peers and is being worked on: bounded, whatever they say."""

    def __init__(self, max_messages: int, max_bytes: int) -> None:
        self.max_messages = max_messages
        self.max_bytes = max_bytes
        self.messages = 0
        self.bytes = 0

    def take(self, size: int) -> bool:
        """Count one message in, or say that there is no room."""
        if self.messages >= self.max_messages or (self.messages and self.bytes + size > self.max_bytes):
            return False
        self.messages += 1
        self.bytes += size
        return True

    def release(self, size: int) -> None:
        self.messages -= 1
        self.bytes -= size


def checked_timeout(timeout_s: float, argument: str) -> float:
    """TypeError or ValueError naming the argument unless it is a number above 0 (math.inf: without end)."""
    if isinstance(timeout_s, bool) or not isinstance(timeout_s, (int, float)):
        raise TypeError(f"{argument}: expected seconds, got {timeout_s!r}")
    if math.isnan(timeout_s) or timeout_s <= 0:
        raise ValueError(f"{argument}: expected more than 0 seconds, got {timeout_s}")
    return float(timeout_s)


def call_after(timeout_s: float, callback: Callable[..., None], *arguments: Any) -> Callable[[], None]:
    """`callback(*arguments)` after so long, or never; returns what takes that back."""
    if timeout_s == math.inf:
        return _nothing
    return asyncio.get_running_loop().call_later(timeout_s, callback, *arguments).cancel


def _nothing() -> None:
    pass


def failure(error: BaseException) -> Failed:
    """An error as the other side gets to know it: the name of its type, and its text."""
    try:
        text = str(error)
    except Exception:
        text = ""
    return Failed(type(error).__name__, text)


def rising(last: int, id: int, offset: int) -> int:
    """`id`; WireError(MALFORMED_COMMAND) unless it is above `last`."""
    if id <= last:
        raise WireError(
            Reason.MALFORMED_COMMAND, expected=f"a number above {last}", received=str(id), offset=offset
        )
    return id


def without_commands(unsent: list[Any]) -> list[Any]:
    """What a lost link had not sent, without commands: they were meant for that link."""
    kept: list[Any] = []
    for wire, messages in unsent:
        if isinstance(wire, tuple):
            kept.append((wire, messages))
            continue
        view, frames, at = memoryview(wire), [], 0
        while (header := parse_frame_header(view[at:])) is not None:
            flags, header_size, body_size = header
            end = at + header_size + body_size
            if not flags & Flag.COMMAND:
                frames.append(view[at:end])
            at = end
        if frames:
            kept.append((b"".join(frames), messages))
    return kept


def outcome_of(cause: Cause | None, errors: list[BaseException] | None) -> Settled:
    """What is said of a message that `Link.receive_asked` has settled so."""
    if cause is None:
        return Done()
    if errors:
        return failure(errors[0])
    return Refused(cause.value)


class Tasks:
    """Tasks of a ganglion: strongly held while they run, cancelled when it is closed."""

    def __init__(self) -> None:
        # With the user's function that each works for.
        self._running: dict[asyncio.Task[None], object] = {}
        self._cancelled = False

    def __len__(self) -> int:
        return len(self._running)

    def start(self, coroutine: Any, function: object) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._running[task] = function
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._running[task]

    def suspended(self) -> list[tuple[object, asyncio.Task[None] | None, asyncio.AbstractEventLoop]]:
        """(function, task, event loop) of all whose loop is not closed."""
        return [
            (function, task, task.get_loop())
            for task, function in list(self._running.items())
            if not task.get_loop().is_closed()
        ]

    def cancel(self) -> None:
        """Cancel all, but not the one that this is called from; once, or it would break off their cleaning up."""
        if not self._cancelled:
            here = asyncio._get_running_loop()
            own = None if here is None else asyncio.current_task(here)
            for _, task, _ in self.suspended():
                if task is not None and task is not own:
                    task.cancel()
            self._cancelled = True
