# SPDX-License-Identifier: Apache-2.0
"""The programs of a scenario: sides that live, die and live again, and the joints between them.

A `Joint` is a transport between two sides, through a proxy for each connection that is dialled. A `Side` has a ganglion
for each of its joints, in a plexus where it has several; each of its `Life`s has new ganglia, speakers and listeners.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Any

from plexo import GanglionZmqTcpPair, GanglionZmqTcpPubSub, Neuron, Plexus, Queue
from tests.faults.proxy import HOST, Proxy
from tests.faults.truth import NEURONS, Item, Listener, Speaker, Untrue

AnyGanglion = GanglionZmqTcpPair | GanglionZmqTcpPubSub
MAX_FRAME_BYTES = 1 << 20
RECONNECT_MIN_S = 0.002
RECONNECT_MAX_S = 0.02
POLICIES: tuple[Any, ...] = ("block", "drop_oldest", "drop_newest", "reject", "latest")


def small_queue(rng: random.Random) -> Queue | None:
    """A queue of any policy with small limits, by messages or bytes or both; often None, for the default."""
    if rng.random() < 0.4:
        return None
    by = rng.choice(("messages", "bytes", "both"))
    return Queue(
        rng.choice(POLICIES),
        messages=rng.choice((1, 2, 5, 30)) if by != "bytes" else None,
        bytes=rng.choice((1, 500, 5000)) if by != "messages" else None,
    )


def ganglion_arguments(rng: random.Random) -> dict[str, Any]:
    return {"send_queue": small_queue(rng), "receive_queue": small_queue(rng)}


def may_lose(queue: Queue | None) -> bool:
    return queue is not None and queue.policy != "block"


class Joint:
    """Two sides and what joins them: `kind` is "pair" or "pubsub". `binder` is dialled by `dialler`; in
    publish/subscribe each dials the other."""

    def __init__(self, kind: str, rng: random.Random) -> None:
        self.kind = kind
        self.sides: tuple[Side, ...] = ()
        self.to_binder = Proxy(rng, narrow=True)
        self.to_dialler = Proxy(rng, narrow=True) if kind == "pubsub" else None

    @property
    def proxies(self) -> list[Proxy]:
        return [self.to_binder] if self.to_dialler is None else [self.to_binder, self.to_dialler]

    def make(self, binds: bool, arguments: dict[str, Any]) -> AnyGanglion:
        """A ganglion for one end; the proxy that leads to it is told its port."""
        arguments = {
            "max_frame_bytes": MAX_FRAME_BYTES,
            "reconnect_min_s": RECONNECT_MIN_S,
            "reconnect_max_s": RECONNECT_MAX_S,
            "heartbeat_s": 0,
            **arguments,
        }
        if self.kind == "pair":
            if not binds:
                return GanglionZmqTcpPair(peer=self.to_binder.endpoint, **arguments)
            pair = GanglionZmqTcpPair(HOST, 0, **arguments)
            assert pair.port is not None
            self.to_binder.target = pair.port
            return pair
        assert self.to_dialler is not None
        here, there = (self.to_binder, self.to_dialler) if binds else (self.to_dialler, self.to_binder)
        publisher = GanglionZmqTcpPubSub(HOST, 0, [there.endpoint], **arguments)
        assert publisher.port_pub is not None
        here.target = publisher.port_pub
        return publisher

    def caller_of(self, proxy: Proxy) -> Side:
        """The side that dials this proxy."""
        dials_binder = proxy is self.to_binder
        return next(side for side in self.sides if (self, not dials_binder) in side.ends)

    def target_of(self, binds: bool) -> Proxy | None:
        """The proxy that leads to this end, if one does."""
        return self.to_binder if binds else self.to_dialler


class Life:
    """One run of a program."""

    is_stranger = False

    def __init__(self, side: Side) -> None:
        self.side = side
        self.arguments = [side.arguments() for _ in side.ends]
        self.ganglia: list[AnyGanglion] = [
            joint.make(binds, arguments)
            for (joint, binds), arguments in zip(side.ends, self.arguments, strict=True)
        ]
        self.receive_queue: Queue | None = (
            side.arguments()["receive_queue"] if side.in_plexus else self.arguments[0]["receive_queue"]
        )
        self.plexus = Plexus(self.ganglia, receive_queue=self.receive_queue) if side.in_plexus else None
        self.place: Any = self.plexus if self.plexus is not None else self.ganglia[0]
        self.speakers: list[Speaker] = []
        self.listeners: list[Listener] = []
        self.removed: list[Listener] = []
        self.speaking: set[asyncio.Task[None]] = set()
        self.over = False
        self.looked_at = False
        # Neurons that the one peer has been subscribed to since before the first message; see Scenario.
        self.always_wanted: set[Neuron[Item]] = set()

    def ganglia_of(self, joint: Joint) -> list[AnyGanglion]:
        return [
            ganglion for ganglion, (its, _) in zip(self.ganglia, self.side.ends, strict=True) if its is joint
        ]

    async def start(self) -> None:
        for neuron in NEURONS:
            await self.place.adapt(neuron)
        await self.place.__aenter__()

    async def listen(self, listener: Listener, queue: Queue | None) -> None:
        listener.queue = self.receive_queue if queue is None else queue
        if listener.max_batch is None:
            await self.place.react(listener.neuron, [listener.reactant], queue=queue)
        else:
            assert self.plexus is not None
            self.plexus.on(listener.neuron, batch=True, max_batch=listener.max_batch, queue=queue)(
                listener.reactant
            )
        self.listeners.append(listener)

    def takes_batches(self, queue: Queue | None) -> bool:
        """Only plexuses have batches, and queues of single messages are not for them."""
        if self.plexus is None:
            return False
        bounds = self.receive_queue if queue is None else queue
        return bounds is None or bounds.policy != "latest"

    async def stop_listening(self, listener: Listener) -> None:
        self.listeners.remove(listener)
        self.removed.append(listener)
        await self.place.unreact(listener.neuron, [listener.reactant])

    async def transmit(self, data: Item, neuron: Neuron[Item]) -> Any:
        return await self.place.transmit(data, neuron)

    async def transmit_many(self, values: Sequence[Item], neuron: Neuron[Item]) -> Any:
        return await self.place.transmit_many(values, neuron)

    def speak(self, speaker: Speaker, count: int, at_once: bool) -> asyncio.Task[None]:
        self.speakers.append(speaker)
        if at_once:
            saying = speaker.say_at_once(self.transmit, count)
        elif speaker.number % 3 or self.is_stranger:
            saying = speaker.say_all(self.transmit, count)
        else:
            saying = speaker.say_many(self.transmit_many, count)
        task = asyncio.ensure_future(saying)
        self.speaking.add(task)
        task.add_done_callback(self._spoken)
        return task

    def _spoken(self, task: asyncio.Task[None]) -> None:
        self.speaking.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.side.failures.append(error)

    async def end(self) -> None:
        """Close, and wait for those who were speaking."""
        self.over = True
        await self.place.aclose()
        for listener in (*self.listeners, *self.removed):
            listener.resume()
        speaking = list(self.speaking)
        if speaking:
            _, left = await asyncio.wait(speaking, timeout=5)
            if left:
                raise Untrue(f"{len(left)} transmissions still wait 5 s after {self.side.name} was closed")


class Side:
    """A program that can be killed and started again."""

    def __init__(self, name: str, in_plexus: bool, arguments: Callable[[], dict[str, Any]]) -> None:
        self.name = name
        self.in_plexus = in_plexus
        self.arguments = arguments
        self.ends: list[tuple[Joint, bool]] = []
        self.kind_of_life: type[Life] = Life
        self.life: Life | None = None
        self.past: list[Life] = []
        self.failures: list[BaseException] = []

    async def begin(self) -> Life:
        life = self.life = self.kind_of_life(self)
        await life.start()
        return life

    async def die(self, abruptly: bool) -> None:
        """The end of this life. Abruptly: connections are reset first, so that nothing accepted gets out any more."""
        life, self.life = self.life, None
        if life is None:
            return
        if abruptly:
            for joint, _ in self.ends:
                for proxy in joint.proxies:
                    proxy.cut()
        for joint, binds in self.ends:
            if (leads_here := joint.target_of(binds)) is not None:
                # The port may be another side's next.
                leads_here.target = 0
        self.past.append(life)
        await life.end()
