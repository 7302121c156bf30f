# SPDX-License-Identifier: Apache-2.0
"""The base of ganglia that are written elsewhere, in Python: a transport says how one message is written, and tells
what arrives. Queues, books, event loops and closing are here. See docs/writing-a-ganglion.md.
"""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

from plexo._fast.completion import Feed
from plexo._fast.queues import Queue, as_queue
from plexo._fast.sending import MAX_FORWARD_WAITING
from plexo._fast.synapse import Synapse, as_payload
from plexo._proto.errors import printable
from plexo.exceptions import Closed, MessageTooLarge, QueueFull
from plexo.failure import OnError
from plexo.ganglion.base import logger
from plexo.ganglion.external import GanglionExternalBase
from plexo.ganglion.life import Lingering
from plexo.neuron.neuron import Neuron
from plexo.statistics import Cause
from plexo.synapse.base import SynapseExternalFace

T = TypeVar("T")

DEFAULT_SEND_QUEUE = Queue("block", bytes=1 << 20)
# Hosts whose messages are told apart in the books; those of later ones count together. Strangers choose them.
MAX_FEEDS = 1024


class PluginSynapse(SynapseExternalFace[T], Synapse[T]):
    """One neuron on a plug-in; the ganglion has the queue."""

    __slots__ = ()

    def send(self, payload: Any, data: object = None) -> asyncio.Future[None] | None:
        sent: asyncio.Future[None] | None = self.owner._send(self, as_payload(payload), data)
        return sent

    def forward(self, payload: Any, source: object) -> int:
        self.owner._forward(self, as_payload(payload))
        return 0

    def would_wait(self) -> bool:
        return bool(self.owner._would_wait())


class _Waiting(NamedTuple):
    synapse: PluginSynapse[Any]
    payload: bytes


class GanglionPlugin(GanglionExternalBase):
    """send_queue: what may wait for the transport, and what happens then; a Queue or the name of a policy.

    Other arguments: see GanglionExternalBase. A transport fills in `_read_on`, `_hold`, `_write`, `_await_room`,
    `_leave` and `_shut`, and calls `_arrived`, `_malformed` and `_room`, all in the event loop that serves it, `_loop`.
    """

    # The largest payload that `_write` takes; None: any.
    max_payload_bytes: int | None = None

    def __init__(
        self,
        relevant_neurons: Iterable[Neuron[Any]] = (),
        ignored_neurons: Iterable[Neuron[Any]] = (),
        allowed_codecs: Iterable[type] = (),
        *,
        send_queue: Queue | str | None = None,
        receive_queue: Queue | str | None = None,
        on_error: OnError | None = None,
    ) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        # The transport has said that it has no room, and not yet that it has. Nothing waits where it has some.
        self._is_full = False
        # Accepted, in order. The key is the queue's, under `latest`, and otherwise an object of its own.
        self._backlog: OrderedDict[object, _Waiting] = OrderedDict()
        self._backlog_bytes = 0
        # Senders whose message is not accepted yet.
        self._senders: dict[asyncio.Future[None], _Waiting] = {}
        # Dropped since the queue began to be full.
        self._dropped = 0
        self._feeds: dict[str, Feed] = {}
        super().__init__(
            relevant_neurons, ignored_neurons, allowed_codecs, receive_queue=receive_queue, on_error=on_error
        )
        self._send_queue = as_queue(send_queue, "send_queue", DEFAULT_SEND_QUEUE)

    # -- for the transport to fill in --------------------------------------------------------------------------

    def _read_on(self) -> None:
        """Read, from `_loop`, which runs, and call `_arrived` with what comes. At the beginning, and after `_hold`."""
        raise NotImplementedError(f"{type(self).__name__} must say how it reads")

    def _hold(self) -> None:
        """Read no further for a while: the queue of a reactant is full."""
        raise NotImplementedError(f"{type(self).__name__} must say how it stops reading")

    def _write(self, topic: bytes, payload: bytes) -> int | None:
        """Hand one message to the transport without waiting: how many peers get it. None: it has no room now.

        What goes wrong at a peer is not raised here. It is called while the ganglion is being closed, too, when no loop
        serves it any more.
        """
        raise NotImplementedError(f"{type(self).__name__} must say how it writes a message")

    def _await_room(self) -> None:
        """`_write` has returned None: call `_room`, once, from `_loop`, when there is room again."""
        raise NotImplementedError(f"{type(self).__name__} must say how it learns that there is room")

    def _fileno(self) -> int:
        """A descriptor that is writable when there is room: closing waits for it. -1: then it does not wait."""
        return -1

    def _leave(self, loop: asyncio.AbstractEventLoop) -> None:
        """Neither read nor wait for room in `loop` any more; another may follow. Not called for one that is closed."""
        raise NotImplementedError(f"{type(self).__name__} must say how it leaves an event loop")

    def _shut(self) -> None:
        """Close descriptors, and do nothing else: a forked child does it, too. May be called again."""
        raise NotImplementedError(f"{type(self).__name__} must say what it closes")

    # -- for the transport to call -----------------------------------------------------------------------------

    def _arrived(self, topic: bytes, payload: bytes, host: str = "") -> bool:
        """A message came from a peer on `host`. False: no more now, since `_hold` was called or this was closed."""
        synapse = self._topics.get(topic)
        if synapse is None:
            if self._tally.add(Cause.UNKNOWN_TOPIC, "", host):
                logger.warning(
                    "%r: %s sends %s, which no neuron here has; ignored", self, host or "a peer", printable(topic, 200)
                )  # fmt: skip
            return True
        feed = self._feeds.get(host)
        if feed is None:
            host = host if len(self._feeds) < MAX_FEEDS else ""
            feed = self._feeds.setdefault(host, Feed(host, self._resumed))
        synapse.receive_payload(payload, feed)
        if self._loop is None:
            return False
        if feed.stopped:
            self._hold()
        return not feed.stopped

    def _malformed(self, why: str, host: str = "") -> None:
        """What came from a peer on `host` is no message; `why` is for people, and must quote nothing that came."""
        if self._tally.add(Cause.MALFORMED, "", host):
            logger.warning("%r: %s: %s (counted from now on)", self, host or "a peer", why)

    def _room(self) -> None:
        """There is room again: what waits is written, the oldest first."""
        self._is_full = False
        self._flush()
        if self._dropped and self._is_half_empty():
            dropped, self._dropped = self._dropped, 0
            logger.warning("%r: dropped %d messages; no more now", self, dropped)
        while self._senders and not self._has_no_room():
            future, (synapse, payload) = next(iter(self._senders.items()))
            del self._senders[future]
            if not future.done():
                if not self._written(synapse, payload):
                    self._keep(object(), synapse, payload)
                future.set_result(None)

    # -- sending -----------------------------------------------------------------------------------------------

    def _make_synapse(self, neuron: Neuron[T]) -> PluginSynapse[T]:
        return PluginSynapse(neuron, self, self._receive_queue)

    def _try(self, synapse: PluginSynapse[Any], payload: bytes) -> int | None:
        handed = self._write(synapse.topic, payload)
        self._is_full = handed is None
        if handed is None and self._loop is not None:
            self._await_room()
        return handed

    def _flush(self) -> bool:
        """Write what is accepted; whether all of it is."""
        while self._backlog:
            key, (synapse, payload) = next(iter(self._backlog.items()))
            handed = self._try(synapse, payload)
            if handed is None:
                return False
            self._forget(key)
            if not handed:
                synapse.drop_sent(Cause.UNSENT)
        return True

    def _check_size(self, synapse: PluginSynapse[Any], payload: bytes) -> None:
        if self.max_payload_bytes is not None and len(payload) > self.max_payload_bytes:
            self._too_large(synapse, len(payload), self.max_payload_bytes)

    def _send(self, synapse: PluginSynapse[Any], payload: bytes, data: object) -> asyncio.Future[None] | None:
        """See `Synapse.send`. Of a message that has to wait nobody can say yet who gets it: it is handed to one."""
        self._use_running_loop()
        self._check_size(synapse, payload)
        if self._written(synapse, payload):
            return None
        policy = self._send_queue.policy
        if policy == "block" and self._has_no_room():
            assert self._loop is not None
            future = self._loop.create_future()
            future.add_done_callback(self._forget_sender)
            self._senders[future] = _Waiting(synapse, payload)
            synapse.count_sent(1, 0)
            return future
        if policy == "reject" and self._has_no_room():
            synapse.count_sent(0, 0)
            raise QueueFull(f"{synapse.neuron}: the queue is full ({self._send_queue!r}); nothing was sent")
        key = self._key_of(synapse, payload, data)
        if policy == "drop_newest" and self._has_no_room():
            self._turn_away(synapse)
        else:
            self._keep(key, synapse, payload)
        return None

    def _forward(self, synapse: PluginSynapse[Any], payload: bytes) -> None:
        """Nobody is there who could wait or be told."""
        self._use_running_loop()
        try:
            self._check_size(synapse, payload)
        except MessageTooLarge as error:
            self._not_forwarded(synapse, error)
            return
        if self._written(synapse, payload):
            return
        try:
            key = self._key_of(synapse, payload, None)
        except Exception as error:
            synapse.count_sent(0, 1)
            synapse.drop_sent(Cause.UNDECODABLE)
            self._undecodable(error, payload, synapse, "")
            return
        policy = self._send_queue.policy
        if policy == "block":
            full = len(self._backlog) >= MAX_FORWARD_WAITING
        else:
            full = policy in ("reject", "drop_newest") and self._has_no_room()
        if full:
            self._turn_away(synapse)
        else:
            self._keep(key, synapse, payload)

    def _written(self, synapse: PluginSynapse[Any], payload: bytes) -> bool:
        if self._is_full:
            return False
        handed = self._try(synapse, payload)
        if handed is None:
            return False
        synapse.count_sent(handed, handed)
        return True

    def _key_of(self, synapse: PluginSynapse[Any], payload: bytes, data: object) -> object:
        if self._send_queue.policy != "latest":
            return object()
        if self._send_queue.key is None:
            return synapse
        return synapse, self._send_queue.key(synapse.neuron.decode(payload) if data is None else data)

    def _keep(self, key: object, synapse: PluginSynapse[Any], payload: bytes) -> None:
        """Into the backlog; others make room, where the policy says so."""
        synapse.count_sent(1, 1)
        if key in self._backlog:  # under `latest`: the new one has its place
            before = self._backlog[key]
            before.synapse.drop_sent(Cause.SUPERSEDED)
            self._backlog_bytes += len(payload) - len(before.payload)
            self._backlog[key] = _Waiting(synapse, payload)
            return
        while self._backlog and self._send_queue.policy in ("drop_oldest", "latest") and self._has_no_room():
            self._drop_for_room(self._forget(next(iter(self._backlog))).synapse)
        self._backlog[key] = _Waiting(synapse, payload)
        self._backlog_bytes += len(payload)

    def _forget(self, key: object) -> _Waiting:
        forgotten = self._backlog.pop(key)
        self._backlog_bytes -= len(forgotten.payload)
        return forgotten

    def _turn_away(self, synapse: PluginSynapse[Any]) -> None:
        synapse.count_sent(0, 1)
        self._drop_for_room(synapse)

    def _drop_for_room(self, synapse: PluginSynapse[Any]) -> None:
        synapse.drop_sent(Cause.QUEUE_FULL)
        if not self._dropped:
            logger.warning(
                "%r: its queue is full, %r; dropping, first %s", self, self._send_queue, synapse.neuron
            )
        self._dropped += 1

    def _forget_sender(self, future: asyncio.Future[None]) -> None:
        self._senders.pop(future, None)

    def _has_no_room(self) -> bool:
        queue = self._send_queue
        return len(self._backlog) >= (queue.messages or math.inf) or self._backlog_bytes >= (
            queue.bytes or math.inf
        )

    def _is_half_empty(self) -> bool:
        queue = self._send_queue
        return 2 * len(self._backlog) <= (queue.messages or math.inf) and 2 * self._backlog_bytes <= (
            queue.bytes or math.inf
        )

    def _would_wait(self) -> bool:
        self._use_running_loop()
        return self._send_queue.policy in ("block", "reject") and self._has_no_room()

    def _waiting(self) -> int:
        return sum(not future.done() for future in list(self._senders))

    def _queued_by_topic(self) -> dict[bytes, int]:
        counts: dict[bytes, int] = {}
        for synapse, _ in list(self._backlog.values()):
            counts[synapse.topic] = counts.get(synapse.topic, 0) + 1
        return counts

    # -- event loop and end ------------------------------------------------------------------------------------

    def _use_running_loop(self) -> None:
        loop = asyncio.get_running_loop()
        if loop is self._loop and not self._closed:
            return
        self._require_open()
        if self._loop is not None and self._loop.is_running():
            raise RuntimeError(f"{self!r} is served by another event loop, which is still running")
        self._leave_loop()
        self._end_senders(None)
        for _, fanout in self._fanouts():
            fanout.revive()
        self._loop = loop
        self._read_on()
        self._room()
        self._watchers.resume()

    def _leave_loop(self) -> None:
        loop, self._loop = self._loop, None
        if loop is not None and not loop.is_closed():
            self._leave(loop)

    def _end_senders(self, error: Exception | None) -> None:
        senders, self._senders = self._senders, {}
        for future in senders:
            if not future.done() and not future.get_loop().is_closed():
                if error is None:
                    future.cancel()
                else:
                    future.set_exception(error)

    def _resumed(self) -> None:
        if self._loop is not None and not any(feed.stopped for feed in self._feeds.values()):
            self._read_on()

    def _serving(self) -> list[asyncio.AbstractEventLoop]:
        return [] if self._loop is None else [self._loop]

    def _begin_close(self) -> Sequence[Lingering]:
        super()._begin_close()
        self._end_senders(Closed(f"{self!r} was closed before this message was accepted"))
        self._leave_loop()
        return (_Leaving(self),) if self._backlog and self._fileno() >= 0 else ()

    def _end_close(self) -> None:
        self._begin_close()
        self._flush()
        lost = len(self._backlog)
        while self._backlog:
            self._forget(next(iter(self._backlog))).synapse.drop_sent(Cause.CLOSED)
        if lost:
            logger.warning("%r: closed with %d messages not sent", self, lost)
        self._shut()
        super()._end_close()

    def _forsake(self) -> bool:
        super()._forsake()
        self._loop = None
        self._shut()
        return True

    def __repr__(self) -> str:
        return f"<{type(self).__name__}, {len(self._synapses)} neurons>"


class _Leaving:
    """A plug-in that is being closed with messages that its transport has not taken."""

    goes_by_time = False

    def __init__(self, ganglion: GanglionPlugin) -> None:
        self._ganglion = ganglion

    def fileno(self) -> int:
        return self._ganglion._fileno()

    def is_sending(self) -> bool:
        return True

    def finish_sending(self) -> bool:
        return self._ganglion._flush()
