# SPDX-License-Identifier: Apache-2.0
"""Links that come and go: as events, as callbacks, and as something to wait for.

A ganglion is given a `Watchers` and tells it what happens; users' callbacks are called from the event loop, never from
inside the sending, receiving or closing that an event came from: they may transmit, and close the ganglion. What a
ganglion tells reaches the watchers of every plexus around it too.

Of every connection there is told: CONNECTED and later one DISCONNECTED; or one REJECTED or HANDSHAKE_FAILED, where it
never became a link. Attempts to connect that nobody answered are not told (a peer may be away for a week); `ready`
names them when it gives up.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import math
from collections import deque
from collections.abc import Callable, Iterable
from enum import Enum, unique
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

from plexo._fast.wake import wake
from plexo.exceptions import Closed, NeuronNotAvailable
from plexo.ganglion.life import logger, running_elsewhere
from plexo.neuron.neuron import Neuron

# Events that wait for the reader of one iterator; above it the oldest are dropped. Room for every link of a large
# publisher (zmtp.MAX_LINKS) to go at once, and little memory.
MAX_EVENTS = 4096
# Names in the message of a TimeoutError: it is read by a person.
MAX_NAMED = 8


@unique
class LinkEventKind(str, Enum):
    """What happened to a link. The values stay the same between releases."""

    CONNECTED = "connected"
    DISCONNECTED = "disconnected"
    REJECTED = "rejected"
    SLOW = "slow"
    HANDSHAKE_FAILED = "handshake-failed"
    LOST = "lost"
    AGREED = "agreed"
    MOVED = "moved"
    LINEAGE_CHANGED = "lineage-changed"
    MEMBER_JOINED = "member-joined"
    MEMBER_LEFT = "member-left"


class LinkEvent(NamedTuple):
    """What happened, to the link with `peer` (as in `peers_connected`; "" where none is known) of `ganglion`.

    `reason` is for people, and empty for CONNECTED.

    CONNECTED          the link is up; a subscriber's subscriptions are still to come (see `ready`)
    DISCONNECTED       a link that was up is gone; closing the ganglion ends its links so too
    REJECTED           a connection was turned away, by us or by the peer
    HANDSHAKE_FAILED   a connection ended before both sides had introduced themselves
    SLOW               the peer does not keep up: its queue is full, from now on the queue's policy rules

    Over multicast CONNECTED and DISCONNECTED tell of sources that are heard, by their host, and these are told beside:

    LOST               packets of a source cannot be repaired any more; what was in them is lost
    AGREED             all know now which group a topic has: `peer` is the group, `reason` the topic
    MOVED              a topic has another group from now on: `peer` is that group, `reason` the topic
    LINEAGE_CHANGED    agreement goes on under another founder's register of groups
    MEMBER_JOINED, MEMBER_LEFT   another program came or went: `peer` is its instance, as in `peers()`
    """

    kind: LinkEventKind
    peer: str
    reason: str = ""
    ganglion: Any = None


class Watchers:
    """Who wants to know of the links of one ganglion, or of all the ganglia of one plexus."""

    def __init__(self) -> None:
        # By a token of its own: the same function may be given twice, and is then called twice.
        self._callbacks: dict[object, Callable[[LinkEvent], object]] = {}
        self._buffers: list[EventBuffer] = []
        self._waiting: set[asyncio.Future[None]] = set()
        self._outer: list[Watchers] = []
        # Told, and not yet to the callbacks.
        self._pending: deque[LinkEvent] = deque()
        self._scheduled_on: asyncio.AbstractEventLoop | None = None
        self._delivering = False
        self._ended = False

    # -- for ganglia -------------------------------------------------------------------------------------------

    def tell(self, event: LinkEvent) -> None:
        """Something happened."""
        for each in self._reached():
            each._take(event)

    def tell_change(self) -> None:
        """More links may count for `ready` now."""
        for each in self._reached():
            each._wake_all()

    def lead_to(self, outer: Watchers) -> None:
        """`outer` is told everything too, once."""
        self._outer.append(outer)

    def resume(self) -> None:
        """Served by another event loop now: events that the one before did not live to deliver are delivered by it."""
        for each in self._reached():
            each._schedule()

    def end(self) -> None:
        """The ganglion is closed: what waits is delivered, iterators end, `ready` raises Closed."""
        if self._ended:
            return
        self._ended = True
        if running_elsewhere(() if self._scheduled_on is None else (self._scheduled_on,)) is None:
            self._deliver()
        # Else it is on its way, in that loop: a callback runs in no other thread.
        for buffer in self._buffers:
            buffer.end()
        self._buffers.clear()
        self._wake_all()

    def forsake(self) -> None:
        """In a forked child: callbacks stay, for what is made there; who waits or reads is the parent's."""
        self._waiting.clear()
        self._pending.clear()
        self._scheduled_on = None
        for buffer in self._buffers:
            buffer.events.clear()
            buffer.arrived = None

    def _reached(self) -> list[Watchers]:
        """These and all outer ones; each once, however many ways lead to it."""
        found = [self]
        for each in found:
            found.extend(outer for outer in each._outer if outer not in found)
        return found

    def _take(self, event: LinkEvent) -> None:
        if self._ended:
            return
        for buffer in self._buffers:
            buffer.put(event)
        if self._callbacks:
            self._pending.append(event)
            self._schedule()
        self._wake_all()

    # -- callbacks ---------------------------------------------------------------------------------------------

    def add(self, callback: Callable[[LinkEvent], object]) -> Callable[[], None]:
        token = object()
        self._callbacks[token] = callback

        def remove() -> None:
            self._callbacks.pop(token, None)

        return remove

    def _schedule(self) -> None:
        loop = asyncio._get_running_loop()
        # Without a loop there is nobody to deliver but `end`, or the next loop.
        if self._pending and loop is not None and loop is not self._scheduled_on:
            self._scheduled_on = loop
            loop.call_soon(self._deliver)

    def _deliver(self) -> None:
        if self._delivering:  # a callback closed the ganglion; the call that is under way goes on
            return
        self._scheduled_on = None
        self._delivering = True
        try:
            while self._pending:
                event = self._pending.popleft()
                for token, callback in list(self._callbacks.items()):
                    if token not in self._callbacks:  # removed by the one before
                        continue
                    try:
                        callback(event)
                    except Exception:
                        logger.exception(
                            "callback %r of %s %s failed", callback, event.kind.value, event.peer
                        )
        finally:
            self._delivering = False
            if self._ended:
                self._callbacks.clear()

    # -- iterators and waiting ---------------------------------------------------------------------------------

    def add_buffer(self, buffer: EventBuffer) -> None:
        self._buffers.append(buffer)

    def remove_buffer(self, buffer: EventBuffer) -> None:
        if buffer in self._buffers:
            self._buffers.remove(buffer)

    async def change(self, deadline: float | None) -> None:
        """Until something changes, these watchers end, or the loop's clock shows `deadline`."""
        loop = asyncio.get_running_loop()
        changed = loop.create_future()
        timer = None if deadline is None else loop.call_at(deadline, wake, changed)
        self._waiting.add(changed)
        try:
            if not self._ended:  # by another thread meanwhile
                await changed
        finally:
            self._waiting.discard(changed)
            if timer is not None:
                timer.cancel()

    def _wake_all(self) -> None:
        for future in list(self._waiting):
            wake(future)


class EventBuffer:
    """What an iterator has not read yet; knows nothing of the iterator, so that dropping that ends it."""

    __slots__ = ("arrived", "dropped", "ended", "events", "limit")

    def __init__(self, limit: int) -> None:
        self.events: deque[LinkEvent] = deque()
        self.limit = limit
        self.dropped = 0
        self.ended = False
        self.arrived: asyncio.Future[None] | None = None

    def put(self, event: LinkEvent) -> None:
        if len(self.events) == self.limit:
            self.events.popleft()
            self.dropped += 1
        self.events.append(event)
        self._wake_reader()

    def end(self) -> None:
        self.ended = True
        self._wake_reader()

    def _wake_reader(self) -> None:
        arrived, self.arrived = self.arrived, None
        if arrived is not None:
            wake(arrived)


class LinkEvents:
    """The events of a ganglion's or plexus's links from its making on, in order, for one reader.

    It ends when the ganglion is closed, by `close()`, and with `async with`; what has arrived can still be read.
    `limit` events wait for a reader who is busy; above it the oldest are dropped, and `dropped` counts them.
    """

    def __init__(self, watchers: Watchers, serve: Callable[[], None], limit: int) -> None:
        if limit < 1:
            raise ValueError(f"limit: expected at least 1 event, got {limit}")
        self._watchers = watchers
        self._serve = serve
        self._buffer = EventBuffer(limit)
        watchers.add_buffer(self._buffer)

    @property
    def dropped(self) -> int:
        """Events that came while `limit` others waited."""
        return self._buffer.dropped

    def __aiter__(self) -> LinkEvents:
        return self

    async def __anext__(self) -> LinkEvent:
        buffer = self._buffer
        while not buffer.events:
            if buffer.ended:
                raise StopAsyncIteration
            if buffer.arrived is not None and not buffer.arrived.done():
                raise RuntimeError("an iterator of link events has one reader at a time")
            with contextlib.suppress(Closed):  # closing: the last events are on their way
                self._serve()
            if buffer.events or buffer.ended:  # that brought some
                continue
            arrived = buffer.arrived = asyncio.get_running_loop().create_future()
            if buffer.events or buffer.ended:  # another thread was at it
                buffer.arrived = None
                continue
            await arrived
        return buffer.events.popleft()

    def close(self) -> None:
        """No more events from now on."""
        self._watchers.remove_buffer(self._buffer)
        self._buffer.end()

    def __del__(self) -> None:
        if hasattr(self, "_buffer"):
            self._watchers.remove_buffer(self._buffer)

    async def __aenter__(self) -> LinkEvents:
        if self._buffer.ended:
            raise Closed("these link events have ended")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class WatchedLinks:
    """The part of every ganglion that users watch its links by.

    A transport tells `_watchers` what happens, and says which links count (`_ready_peers`). The last two methods need
    nothing of it.
    """

    _watchers: Watchers

    # -- for the transport -------------------------------------------------------------------------------------

    def _ready_peers(self, neuron: Neuron[Any] | None) -> list[str]:
        """The peer of every link that counts for `ready`."""
        return []

    def _absent_peers(self) -> list[str]:
        """Who is dialled and not there, with the reason."""
        return []

    def _check_ready(self, peers: int, neuron: Neuron[Any] | None) -> None:
        """Raise for what can never be."""

    def _use_running_loop(self) -> None:
        """Serve the sockets, if there are any, from the loop that runs now."""

    if TYPE_CHECKING:

        def _require_open(self) -> None: ...
        def capable(self, neuron: Neuron[Any]) -> bool: ...

    # -- for users ---------------------------------------------------------------------------------------------

    async def ready(
        self, peers: int = 1, neuron: Neuron[Any] | None = None, timeout_s: float | None = None
    ) -> None:
        """Wait until at least `peers` links are up; returns at once where they are.

        A subscriber's link counts when it has subscribed to something. With `neuron`, only links count on which that
        neuron would be sent now: to its subscribers, and to a pair's peer. What is transmitted next reaches them all.
        (With a peer that publishes to us and subscribes to us there are two links.)

        TimeoutError: not within `timeout_s` seconds; says who is there, and who is not. Closed: this was closed
        meanwhile. ValueError, NeuronNotAvailable: that can never be. Cancelling leaves nothing behind.
        """
        self._require_open()
        if isinstance(peers, bool) or not isinstance(peers, int):
            raise TypeError(f"peers: expected an int, got {peers!r}")
        if peers < 0:
            raise ValueError(f"peers: expected at least 0, got {peers}")
        if timeout_s is not None and not timeout_s >= 0:
            raise ValueError(f"timeout_s: expected at least 0 seconds or None, got {timeout_s}")
        if neuron is not None:
            if not isinstance(neuron, Neuron):
                raise TypeError(f"neuron: expected a Neuron, got {type(neuron).__name__}")
            if not self.capable(neuron):
                raise NeuronNotAvailable(f"{self!r} leaves out {neuron} by its filters")
        self._check_ready(peers, neuron)
        self._use_running_loop()
        clock = asyncio.get_running_loop().time
        deadline = None if timeout_s is None or timeout_s == math.inf else clock() + timeout_s
        while len(there := self._ready_peers(neuron)) < peers:
            if deadline is not None and clock() >= deadline:
                raise TimeoutError(
                    f"{self!r}: expected {peers} peers{'' if neuron is None else f' for {neuron}'} within "
                    f"{timeout_s:g} s; {len(there)} are there{_listed(there)}"
                    f"{_listed(self._absent_peers(), '; not there')}"
                )
            await self._watchers.change(deadline)
            self._require_open()

    def link_events(self, limit: int = MAX_EVENTS) -> LinkEvents:
        """The events of links from now on, for `async for`; see LinkEvents. Closed: this is closed."""
        self._require_open()
        if asyncio._get_running_loop() is not None:
            self._use_running_loop()
        return LinkEvents(self._watchers, self._use_running_loop, limit)

    def on_link_event(self, callback: Callable[[LinkEvent], object]) -> Callable[[], None]:
        """Call the plain function `callback(event)` at every event from now on; returns a function that ends that.

        It is called by the event loop (by `close()` where none runs). What it raises is logged. TypeError: it cannot be
        called, or is an `async def`. Closed: this is closed.
        """
        self._require_open()
        if not callable(callback):
            raise TypeError(f"callback: expected a function, got {callback!r}")
        if inspect.iscoroutinefunction(callback) or inspect.iscoroutinefunction(
            getattr(callback, "__call__", None)  # noqa: B004
        ):
            raise TypeError(
                f"callback: expected a plain function, got {callback!r}, whose calls would wait for nobody"
            )
        if asyncio._get_running_loop() is not None:
            self._use_running_loop()
        return self._watchers.add(callback)


def _listed(names: Iterable[str], before: str = "") -> str:
    """`: a, b and 3 more`, or nothing."""
    names = list(names)
    if not names:
        return ""
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return f"{before}: {', '.join(names[:MAX_NAMED])}{more}"
