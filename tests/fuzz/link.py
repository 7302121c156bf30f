# SPDX-License-Identifier: Apache-2.0
"""A whole link against a hostile peer: whatever it sends and whenever it goes, it harms only itself.

The input is a header of eight bytes and the stream of bytes that the peer sends. The header says which side of which
ganglion is attacked, whether the peer shakes hands properly first, what the reactants do (raise, suspend, close, leave,
answer), how the stream is cut, and what happens between the pieces (we send, reactants go on, the peer closes one half,
reads, comes again, or sends the piece many times). The sockets are Unix ones, on which data arrives as it is sent, so a
run depends on its input alone.

Afterwards a good peer must be served, every queue must have been within its limit, every book must balance, and nothing
may be left: no error in the event loop's handler or in a finalizer, no task, no descriptor, no log line of two lines.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from plexo import (
    Cause,
    GanglionZmqTcpPair,
    GanglionZmqTcpPubSub,
    LinkEvent,
    LinkEventKind,
    Namespace,
    Neuron,
    NumpyCodec,
    Plexus,
    Queue,
)
from plexo._fast.envelope import build_envelope
from plexo._proto.delivery import (
    announcement,
)
from plexo._proto.zmtp import encode_subscribe
from plexo._proto.zmtp_commands import encode_ready
from plexo.codec import PickleCodec
from plexo.exceptions import (
    AckNotSupported,
    Closed,
    DecodeError,
    NoResponder,
    NotDelivered,
    QueueFull,
    RemoteError,
)
from plexo.ganglion import life
from plexo.ganglion.connection import MAX_UNREAD_ANSWER_BYTES
from tests.support import GREETING, Blob, Reading, blob, frame, reading, ready, tick

HEADER_BYTES = 8
PAIR_BOUND, PAIR_CONNECTING, PUBLISHER, SUBSCRIBER = range(4)
PEER_TYPES = (b"PAIR", b"PAIR", b"SUB", b"PUB")
GREETING_3_0 = GREETING.replace(b"\x03\x01", b"\x03\x00", 1)
# Small, so that a few hundred bytes fill them.
RECEIVE_QUEUE = 3
SEND_QUEUE_BYTES = 2_000
MAX_FRAME_BYTES = 300_000
BURST_BYTES = 40_000
BURST_REPEATS = 100
MAX_ANSWERS = 100
MAX_KEPT = 20
# Messages that no neuron counts.
STRANGE = (Cause.UNKNOWN_TOPIC, Cause.MALFORMED)
SESSION = bytes(range(16))
# Of transmit and request to a peer that cheats, and of closing meanwhile.
DOCUMENTED = (
    AckNotSupported, Closed, DecodeError, NoResponder, NotDelivered, RemoteError, asyncio.CancelledError,
)  # fmt: skip
POLICIES = ("block", "drop_oldest", "reject", "latest")
LARGEST_SENT = 20_000
GOOD_PEER_S = 5.0
TURNS = 3
OWN = "a reactant's own"

pickled = Neuron(dict, Namespace("org.brewery.sake"), PickleCodec())
# Small records, so that many are in a burst; a topic that begins as the other does.
sample: Neuron[Any] = Neuron(
    np.ndarray, Namespace("org.brewery.sake"), NumpyCodec("<u4", (3,)), type_name_alias="Sample"
)
longer: Neuron[Any] = Neuron(np.ndarray, Namespace(sample.name), NumpyCodec("<u4", ()), type_name_alias="L")
MAX_BATCH = 5
RING_RECORDS = 7
_numbers = itertools.count()
_secret: dict[str, float] = {"good": 0.0}


class _Watch(logging.Handler):
    """Log lines as they would be written, and whatever the event loop or a finalizer could only report."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.findings: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        line = record.getMessage()
        if not line.isprintable():
            self.findings.append(f"a log line that is none: {line!r}")
        if record.name == "asyncio":
            self.findings.append(f"asyncio logged: {line}")

    def on_loop(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self.findings.append(f"escaped into the event loop: {context.get('message')}: {error!r}")

    def on_finalizer(self, unraisable: Any) -> None:
        self.findings.append(f"raised in a finalizer: {unraisable.exc_value!r} in {unraisable.object!r}")


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


class Attack:
    """One run: the ganglion, its reactants, and the peer's end."""

    def __init__(self, data: bytes) -> None:
        header, self.stream = data[:HEADER_BYTES].ljust(HEADER_BYTES, b"\0"), data[HEADER_BYTES:]
        choice, behaviours, *self.plan = header
        self.kind = choice & 3
        self.shakes_hands = bool(choice & 4)
        self.version_3_0 = bool(choice & 8)
        self.in_plexus = bool(choice & 16)
        self.small_queues = bool(choice & 32)
        self.policies: tuple[Any, Any] = (POLICIES[behaviours >> 6], POLICIES[choice >> 6])
        self.behaviours = (behaviours & 7, behaviours >> 3 & 7)
        self.name = f"@plexo-fuzz-{os.getpid()}-{next(_numbers)}"
        self.gate = asyncio.Event()
        self.sending: list[asyncio.Task[None]] = []
        self.heard: list[Any] = []
        self.closed_by_reactant = False
        self.answers = 0
        self.rings: list[Any] = []
        self.kept: list[tuple[Any, Any]] = []
        self.events: list[LinkEvent] = []
        self.servers: list[socket.socket] = []
        self.peer: socket.socket | None = None
        self.good: socket.socket | None = None

    # -- our side --------------------------------------------------------------------------------------------------

    def make(self) -> None:
        limits: dict[str, Any] = {
            "max_frame_bytes": MAX_FRAME_BYTES,
            "reconnect_min_s": 0.001,
            "reconnect_max_s": 0.001,
        }
        receiving = (
            {"receive_queue": Queue(self.policies[0], messages=RECEIVE_QUEUE)} if self.small_queues else {}
        )
        if self.small_queues:
            limits |= receiving | {"send_queue": Queue(self.policies[1], bytes=SEND_QUEUE_BYTES)}
        if self.kind in (PAIR_CONNECTING, SUBSCRIBER):
            names = (self.name, f"{self.name}-good") if self.kind == SUBSCRIBER else (self.name,)
            self.servers = [_server(name) for name in names]
        where = f"ipc://{self.name}"
        if self.kind == PAIR_BOUND:
            self.ganglion: Any = GanglionZmqTcpPair(bind=where, **limits)
        elif self.kind == PAIR_CONNECTING:
            self.ganglion = GanglionZmqTcpPair(peer=where, **limits)
        elif self.kind == PUBLISHER:
            self.ganglion = GanglionZmqTcpPubSub(bind=where, **limits)
        else:
            self.ganglion = GanglionZmqTcpPubSub(port_pub=None, peers=(where, where + "-good"), **limits)
        self.top: Any = Plexus([self.ganglion], **receiving) if self.in_plexus else self.ganglion
        self.ganglion.on_link_event(self.events.append)

    async def react(self) -> None:
        for neuron in (tick, blob, reading, pickled, sample, longer):
            await self.top.adapt(neuron)
        if self.in_plexus:
            self.react_to_records()
        for neuron, behaviour in zip((tick, blob), self.behaviours, strict=True):
            reactant = self.reactant(neuron, behaviour)
            if reactant is not None:
                await self.top.react(neuron, [reactant])
        await self.top.react(reading, [self.heard.append])
        await self.top.react(pickled, [lambda data: None])
        await self.ganglion.react_raw(blob, [lambda data: None])
        await self.top.react_dead_letters([self.note])
        if self.kind in (PAIR_BOUND, PAIR_CONNECTING):
            self.top.respond(tick, blob)(self.reactant(tick, self.behaviours[1]) or self.note)

    def react_to_records(self) -> None:
        """Both in batches and collected; with every other behaviour decoded for an ordinary reactant beside them."""
        queue = (
            Queue(self.policies[0], RECEIVE_QUEUE)
            if self.small_queues and "latest" not in self.policies
            else None
        )
        for neuron, behaviour in zip((sample, longer), self.behaviours, strict=True):
            reactant = self.reactant(neuron, behaviour, self.kept_batch)
            if reactant is not None:
                self.top.on(
                    neuron, batch=True, max_batch=MAX_BATCH, queue=queue or Queue("block", 4 * MAX_BATCH)
                )(reactant)
            self.rings.append(self.top.collect(neuron, RING_RECORDS))
        if self.behaviours[1] & 1:
            self.top.on(longer)(self.note)

    def kept_batch(self, batch: Any) -> None:
        """Some are kept, and must not change."""
        assert 1 <= len(batch) <= MAX_BATCH, batch
        if len(self.kept) < MAX_KEPT:
            self.kept.append((batch, batch.copy()))

    def check_records(self) -> None:
        for ring in self.rings:
            newest = ring.last(RING_RECORDS)
            if len(self.kept) < MAX_KEPT:
                self.kept.append((newest, newest.copy()))
            waiting = len(ring)
            assert waiting <= RING_RECORDS
            if waiting & 1:
                assert (ring.drain() == newest[len(newest) - waiting :]).all()
        assert all((array == before).all() for array, before in self.kept)

    def reactant(
        self, neuron: Neuron[Any], behaviour: int, note: Callable[[Any], Any] | None = None
    ) -> Callable[[Any], Any] | None:
        async def suspends(data: Any) -> None:
            await self.gate.wait()

        async def suspends_and_raises(data: Any) -> None:
            await asyncio.sleep(0)
            raise OSError(OWN)

        async def leaves(data: Any) -> None:
            await self.top.unreact(neuron, [leaves])

        async def answers(data: Any) -> None:
            # A pair whose peer does not read makes it wait; it ends with the ganglion then. In a plexus it hears
            # itself, and would go on for ever.
            for one in data if note is not None else (data,):
                self.answers += 1
                if self.answers < MAX_ANSWERS:
                    await self.top.transmit(one, neuron)

        def raises(data: Any) -> None:
            raise ValueError(OWN)

        def closes(data: Any) -> None:
            self.closed_by_reactant = True
            self.top.close()

        return (None, note or self.note, raises, suspends_and_raises, suspends, leaves, answers, closes)[
            behaviour
        ]

    def note(self, data: Any) -> Any:
        """As a responder, too: the wrong answer to every other question."""
        return Blob(b"answer") if getattr(data, "n", 0) % 2 else data

    # -- the hostile peer ------------------------------------------------------------------------------------------

    async def arrive(self, proper: bool) -> None:
        """The peer's connection, after the previous one is gone; none where a reactant has closed."""
        self.leave()
        if self.servers:
            self.peer = await self.accepted(self.servers[0])
        elif not self.ganglion.closed:
            self.peer = _client(self.name)
        if proper and self.peer is not None:
            self.give(self.greeting(PEER_TYPES[self.kind]))

    def greeting(self, socket_type: bytes) -> bytes:
        if self.version_3_0:
            return GREETING_3_0 + ready(socket_type)
        # A pair's peer claims to know our extension, too.
        announced = announcement(SESSION).items() if socket_type == b"PAIR" else ()
        return GREETING + encode_ready([("Socket-Type", socket_type), *announced])

    async def accepted(self, server: socket.socket) -> socket.socket | None:
        """The connection that the ganglion dials; None where it was closed and dials no more."""
        deadline = time.monotonic() + GOOD_PEER_S
        while not self.ganglion.closed:
            try:
                opened = server.accept()[0]
            except BlockingIOError:
                assert time.monotonic() < deadline, "the ganglion does not dial any more"
                await asyncio.sleep(0.0005)
                continue
            opened.setblocking(False)
            return opened
        return None

    def give(self, piece: bytes) -> None:
        """As much as the kernel takes: a peer cannot make it take more."""
        if self.peer is not None and piece:
            try:
                self.peer.send(piece)
            except OSError:
                return

    def leave(self) -> None:
        if self.peer is not None:
            self.peer.close()
            self.peer = None

    async def attack(self) -> None:
        await self.arrive(self.shakes_hands)
        at = 0
        for step in self.plan if self.stream else ():
            size = (step & 31) ** 2 or len(self.stream)
            piece = self.stream[at : at + size]
            at += size
            self.give(piece)
            await self.act(step >> 5, piece)
            self.check_limits()
        self.give(self.stream[at:])
        await self.turns(TURNS)
        self.check_limits()

    async def act(self, action: int, piece: bytes) -> None:
        loop = asyncio.get_running_loop()
        if action == 1:
            await self.turns(TURNS)
        elif action == 2 and not self.ganglion.closed:
            self.sending.append(loop.create_task(self.send(len(piece))))
            await self.turns(1)
        elif action == 3:
            self.gate.set()
            await self.turns(1)
            self.gate.clear()
        elif action == 4 and self.peer is not None:
            try:
                self.peer.shutdown(socket.SHUT_WR)
            except OSError:
                return
            await self.turns(1)
        elif action == 5:
            await self.turns(1)
            await self.arrive(True)
        elif action == 6 and self.peer is not None:
            await self.turns(1)
            try:
                self.peer.recv(65536)
            except OSError:
                return
        elif action == 7:
            self.give(piece * min(BURST_REPEATS, BURST_BYTES // max(1, len(piece))))
            await self.turns(1)

    async def send(self, size: int) -> Any:
        message = Blob(bytes(50 * size % LARGEST_SENT))
        how = size // 4 % 3 if self.kind in (PAIR_BOUND, PAIR_CONNECTING) else 0
        if how == 2:
            return await self.top.request(message, tick, blob)
        return await self.top.transmit(message, blob, acked=how == 1)

    async def turns(self, count: int) -> None:
        for _ in range(count):
            await asyncio.sleep(0)

    # -- what must hold --------------------------------------------------------------------------------------------

    def check_books(self) -> None:
        assert self.top.stats().balanced, self.top.stats()
        stats = self.ganglion.stats()
        assert stats.balanced, stats
        links = (*stats.links, stats.ended)
        delivered = sum(each.sending.delivered for each in stats.neurons.values())
        assert sum(link.sending.delivered for link in links) == delivered, stats
        strange = [link.receiving.dropped.get(cause, 0) for link in links for cause in STRANGE]
        assert sum(link.receiving.accepted for link in links) == stats.received + sum(strange), stats

    def check_limits(self) -> None:
        self.check_books()
        self.check_records()
        for stats in (self.ganglion.stats(), self.top.stats()):
            if self.small_queues:
                # One more is with the reactant, and a local sender waits until its reactants have finished.
                most = RECEIVE_QUEUE + 1 + len(self.sending)
                for name, neuron in stats.neurons.items():
                    batches = (
                        MAX_BATCH + RING_RECORDS if "latest" not in self.policies else 5 * MAX_BATCH
                    ) * (name in (sample.name, longer.name))
                    assert all(each.book.queued <= most + batches for each in neuron.reactants), neuron
        if self.small_queues:
            for link in self.ganglion.stats().links:
                assert link.queued_bytes <= SEND_QUEUE_BYTES + LARGEST_SENT + MAX_UNREAD_ANSWER_BYTES, link

    async def serve_good_peer(self) -> None:
        """A correct peer connects (again), is heard and is sent to."""
        self.heard.clear()
        _secret["good"] += 1.0
        message = Reading("good", _secret["good"])
        payload = reading.encode(message)
        if self.kind == PAIR_BOUND or self.kind == PUBLISHER:
            await self.until(lambda: not self.ganglion.hub.links)
            self.good = _client(self.name)
        else:
            self.good = await self.accepted(self.servers[-1])
        assert self.good is not None
        wire = GREETING + ready(PEER_TYPES[self.kind])
        if self.kind == PUBLISHER:
            wire += encode_subscribe(reading.topic, (3, 1))
        elif self.kind == SUBSCRIBER:
            wire += frame(reading.topic, 1) + frame(payload)
        else:
            wire += frame(build_envelope(reading.topic, payload))
        self.good.send(wire)
        if self.kind != PUBLISHER:
            await self.until(lambda: message in self.heard)
        if self.kind != SUBSCRIBER:
            await self.until_sent(self.good, message, payload)

    async def until_sent(self, good: socket.socket, message: Reading, payload: bytes) -> None:
        if self.kind == PUBLISHER:
            await self.until(lambda: self.ganglion.subscriber_count(reading))
        task = asyncio.get_running_loop().create_task(self.top.transmit(message, reading))
        self.sending.append(task)
        got = bytearray()

        def arrived() -> bool:
            try:
                got.extend(good.recv(1 << 20))
            except BlockingIOError:
                return False
            return payload in got

        await self.until(arrived)

    async def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + GOOD_PEER_S
        for turn in itertools.count():
            if condition():
                return
            assert time.monotonic() < deadline, f"not within {GOOD_PEER_S} s: {self.ganglion.stats()}"
            await asyncio.sleep(0 if turn < 50 else 0.0005)

    async def finish(self) -> None:
        self.leave()
        if self.good is not None:
            self.good.close()
        for server in self.servers:
            server.close()
        await self.top.aclose()
        self.gate.set()
        self.check_records()
        for ring in self.rings:
            ring.drain()
            ring.close()
        await self.turns(2)
        for task in self.sending:
            task.cancel()
        for outcome in await asyncio.gather(*self.sending, return_exceptions=True):
            raised = isinstance(outcome, BaseException)
            assert not raised or all(map(self.expected, _leaves(outcome))), outcome
        await self.turns(2)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"tasks are left: {left}"
        self.check_books()
        for stats in (self.ganglion.stats(), self.top.stats()):
            assert not stats.links and not stats.waiting, stats
            for name, neuron in stats.neurons.items():
                assert not neuron.receiving.queued and not neuron.sending.queued, (name, neuron)
        kinds = [event.kind for event in self.events]
        assert kinds.count(LinkEventKind.CONNECTED) >= kinds.count(LinkEventKind.DISCONNECTED), kinds

    def expected(self, error: BaseException) -> bool:
        """What transmit may raise here: through a plexus our own reactants are awaited."""
        if isinstance(error, QueueFull):
            return self.in_plexus or "reject" in self.policies
        return isinstance(error, DOCUMENTED) or (self.in_plexus and OWN in str(error))

    async def main(self) -> None:
        self.make()
        try:
            await self.react()
            await self.attack()
            self.leave()
            self.gate.set()
            if not self.closed_by_reactant:
                # A reactant that closes may still find a message to do it for; then there is nobody to serve.
                await self.until(
                    lambda: self.closed_by_reactant or self.kind == SUBSCRIBER or not self.ganglion.hub.links
                )
            if not self.closed_by_reactant:
                await self.serve_good_peer()
        finally:
            await self.finish()


def _leaves(error: BaseException) -> Iterator[BaseException]:
    inner = getattr(error, "exceptions", None)
    if inner is None:
        yield error
    else:
        for each in inner:
            yield from _leaves(each)


def _server(name: str) -> socket.socket:
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind("\0" + name[1:])
    server.listen(16)
    server.setblocking(False)
    return server


def _client(name: str) -> socket.socket:
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.connect("\0" + name[1:])
    client.setblocking(False)
    return client


def run(data: bytes) -> None:
    """One attack, on an event loop of its own."""
    watch = _Watch()
    loggers = [logging.getLogger(name) for name in ("plexo", "asyncio")]
    before = [(logger.level, logger.propagate) for logger in loggers]
    hook, sys.unraisablehook = sys.unraisablehook, watch.on_finalizer
    linger, life.LINGER_S = life.LINGER_S, 0.002
    descriptors = _descriptors()
    loop = asyncio.new_event_loop()
    try:
        for logger in loggers:
            logger.addHandler(watch)
            logger.setLevel(logging.INFO)
            logger.propagate = False
        loop.set_exception_handler(watch.on_loop)
        loop.run_until_complete(Attack(data).main())
    finally:
        loop.close()
        life.LINGER_S = linger
        sys.unraisablehook = hook
        for logger, (level, propagate) in zip(loggers, before, strict=True):
            logger.removeHandler(watch)
            logger.setLevel(level)
            logger.propagate = propagate
    assert not watch.findings, watch.findings
    assert _descriptors() == descriptors, "descriptors are left"
