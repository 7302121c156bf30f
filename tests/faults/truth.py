# SPDX-License-Identifier: Apache-2.0
"""What a scenario knows by itself, without a counter of the library: what was said, and what was heard.

A `Speaker` is one sequence of transmissions; a `Listener` is one reactant. Every message carries its speaker and its
number, so a listener can tell at once what was never said, what it has had before and what comes out of order.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Protocol

import msgspec

from plexo import Closed, Namespace, Neuron, Queue, QueueFull


class Item(msgspec.Struct, frozen=True, array_like=True):
    speaker: int
    n: int
    padding: bytes


# Each direction has neurons of its own: a plexus gives what it sends to its own reactants too, and waits for them.
SAID_BY = {
    "left": (
        Neuron(Item, Namespace("org.brewery.mash")),
        Neuron(Item, Namespace("org.brewery.moto")),
    ),
    "right": (
        Neuron(Item, Namespace("org.brewery.press")),
        Neuron(Item, Namespace("org.brewery.rinse")),
    ),
}
HEARD_BY = {"left": SAID_BY["right"], "right": SAID_BY["left"], "bridge": ()}
NEURONS = SAID_BY["left"] + SAID_BY["right"]


class Deliberate(Exception):
    """Raised by a listener that was told to."""


class Untrue(AssertionError):
    """The library did something that the scenario knows to be wrong."""


def padding_of(speaker: int, n: int, size: int) -> bytes:
    return bytes([(speaker * 31 + n) & 255]) * size


class Transmits(Protocol):
    def __call__(self, data: Item, neuron: Neuron[Item]) -> Awaitable[Any]: ...


class TransmitsMany(Protocol):
    def __call__(self, values: Sequence[Item], neuron: Neuron[Item]) -> Awaitable[Any]: ...


class Speaker:
    """Says items 0, 1, 2, … on one neuron. Each ends in exactly one of the sets below; a `withdrawn` one may have been
    accepted at the moment in which it was given up."""

    def __init__(self, number: int, neuron: Neuron[Item], sizes: Callable[[], int]) -> None:
        self.number = number
        self.neuron = neuron
        self._sizes = sizes
        self.sizes: list[int] = []
        self.accepted: set[int] = set()
        self.handed_to = 0
        self.rejected: set[int] = set()
        self.withdrawn: set[int] = set()
        self.refused: set[int] = set()

    def next(self) -> Item:
        self.sizes.append(self._sizes())
        n = len(self.sizes) - 1
        return Item(self.number, n, padding_of(self.number, n, self.sizes[n]))

    async def say(self, transmit: Transmits) -> bool:
        """Transmit one more; False where nothing more is taken for good."""
        item = self.next()
        try:
            handed_to = await transmit(item, self.neuron)
        except QueueFull:
            self.rejected.add(item.n)
        except Closed:
            self.refused.add(item.n)
            return False
        except asyncio.CancelledError:
            self.withdrawn.add(item.n)
            raise
        else:
            self.accepted.add(item.n)
            self.handed_to += handed_to or 0
        return True

    async def say_all(self, transmit: Transmits, count: int) -> None:
        for _ in range(count):
            if not await self.say(transmit):
                return

    async def say_many(self, transmit_many: TransmitsMany, count: int) -> None:
        """One batch. What comes behind the item at which it ends was never begun."""
        items = [self.next() for _ in range(count)]
        numbers = [item.n for item in items]
        try:
            handed_to = await transmit_many(items, self.neuron)
        except (QueueFull, Closed, asyncio.CancelledError) as error:
            sent = vars(error).get("plexo_sent", 0)  # closed before, or never begun: it has none
            self.accepted.update(numbers[:sent])
            if isinstance(error, QueueFull):
                self.rejected.update(numbers[sent:])
            elif isinstance(error, Closed):
                self.refused.update(numbers[sent:])
            else:
                self.withdrawn.update(numbers[sent:])
                raise
        else:
            self.accepted.update(numbers)
            self.handed_to += handed_to or 0

    async def say_at_once(self, transmit: Transmits, count: int) -> None:
        """Several transmissions that wait side by side; they are accepted in the order in which they were begun."""
        tasks = [asyncio.ensure_future(self.say(transmit)) for _ in range(count)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def decided(self) -> int:
        """How many transmissions have ended, in whatever way."""
        return len(self.accepted) + len(self.rejected) + len(self.withdrawn) + len(self.refused)

    def never_sent(self, n: int) -> bool:
        return n in self.rejected


class Listener:
    """A reactant that checks each item as it comes; it can be paused, and told to raise."""

    def __init__(
        self,
        name: str,
        neuron: Neuron[Item],
        speakers: dict[int, Speaker],
        is_plain: bool,
        max_batch: int | None = None,
    ) -> None:
        self.name = name
        # None: one at a time.
        self.max_batch = max_batch
        self.neuron = neuron
        self._speakers = speakers
        self._last: dict[int, int] = {}
        self.heard: dict[int, list[int]] = {}
        self.begun = 0
        self.finished = 0
        self.raised = 0
        self.interrupted = 0
        self.failures_to_come = 0
        # Its own queue, or what the place gives it; whether it came before the first message.
        self.queue: Queue | None = None
        self.from_the_start = False
        # Messages that had been offered to reactants of the neuron before this one came.
        self.offered_before = 0
        self.untrue: list[str] = []
        self._gate: asyncio.Event | None = None
        # A plain function cannot wait, so it cannot be paused.
        self.reactant: Callable[[Any], Any] = self.take if is_plain else self._waiting
        if max_batch is not None:
            self.reactant = self._take_batch if is_plain else self._waiting_batch
        self.is_plain = is_plain

    def pause(self) -> None:
        if not self.is_plain and self._gate is None:
            self._gate = asyncio.Event()

    def resume(self) -> None:
        gate, self._gate = self._gate, None
        if gate is not None:
            gate.set()

    @property
    def paused(self) -> bool:
        return self._gate is not None

    def take(self, data: Item) -> None:
        """React at once."""
        self._begin(data)
        self._end()

    async def _waiting(self, data: Item) -> None:
        self._begin(data)
        try:
            while self._gate is not None:
                await self._gate.wait()
        except BaseException:
            self.interrupted += 1
            raise
        self._end()

    def _take_batch(self, batch: list[Item]) -> None:
        self._begin_batch(batch)
        self._end(len(batch))

    async def _waiting_batch(self, batch: list[Item]) -> None:
        self._begin_batch(batch)
        try:
            while self._gate is not None:
                await self._gate.wait()
        except BaseException:
            self.interrupted += len(batch)
            raise
        self._end(len(batch))

    def _begin_batch(self, batch: list[Item]) -> None:
        assert self.max_batch is not None
        if not 1 <= len(batch) <= self.max_batch:
            self._complain(f"gets {len(batch)} items at once, and wants at most {self.max_batch}")
        for data in batch:
            self._begin(data)

    def _begin(self, data: Item) -> None:
        self.begun += 1
        speaker = self._speakers.get(data.speaker)
        if speaker is None or speaker.neuron != self.neuron or data.n >= len(speaker.sizes):
            self._complain(f"hears item {data.n} of speaker {data.speaker}, which nobody said")
            return
        if data.padding != padding_of(data.speaker, data.n, speaker.sizes[data.n]):
            self._complain(f"hears item {data.n} of speaker {data.speaker} with other contents")
        if speaker.never_sent(data.n):
            self._complain(f"hears item {data.n} of speaker {data.speaker}, which was rejected")
        last = self._last.get(data.speaker, -1)
        if data.n <= last:
            self._complain(f"hears item {data.n} of speaker {data.speaker} after {last}")
        self._last[data.speaker] = data.n
        self.heard.setdefault(data.speaker, []).append(data.n)

    def _end(self, count: int = 1) -> None:
        if self.failures_to_come:
            self.failures_to_come -= 1
            self.raised += count
            raise Deliberate
        self.finished += count

    def _complain(self, what: str) -> None:
        self.untrue.append(f"{self.name} {what}")

    def check(self) -> None:
        """Raises Untrue for what was heard and should not have been."""
        if self.untrue:
            raise Untrue("; ".join(self.untrue[:5]))
        if self.begun != self.finished + self.raised + self.interrupted and self.is_plain:
            raise Untrue(f"{self.name} began {self.begun} and ended {self.finished + self.raised}")

    def heard_of(self, speaker: Speaker) -> list[int]:
        return self.heard.get(speaker.number, [])


def sizes_from(rng: random.Random, usual: Iterable[int], rare: Iterable[int]) -> Callable[[], int]:
    """Sizes of payloads: mostly `usual`, one in forty `rare`."""
    many, few = tuple(usual), tuple(rare)
    return lambda: rng.choice(few) if few and rng.random() < 0.025 else rng.choice(many)
