# SPDX-License-Identifier: Apache-2.0
"""The receiving side of a plexus: reactants, one message or many at a time, streams and collectors."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from plexo._fast.completion import Target
from plexo._fast.queues import DEFAULT_QUEUE_MESSAGES, Queue, as_queue
from plexo._fast.route import Route
from plexo._fast.tap import Tap
from plexo.arity import reactant_arity
from plexo.dendrite import add_all
from plexo.exceptions import NeuronNotAvailable
from plexo.ganglion.base import GanglionBase
from plexo.ganglion.life import running_elsewhere
from plexo.neuron.neuron import Neuron
from plexo.stream import Stream
from plexo.typing.reactant import BatchDecorator, ReactantDecorator

if TYPE_CHECKING:
    from plexo.batches import BatchPlan
    from plexo.collector import Collector

T = TypeVar("T")
R = TypeVar("R", bound=Callable[..., Any])

# What a collector keeps: with samples of 64 bytes 64 MB, which are there only as far as they were ever filled.
DEFAULT_RING_RECORDS = 1_000_000
DEFAULT_STREAM_QUEUE = Queue("block", DEFAULT_QUEUE_MESSAGES)


class Receiving(GanglionBase):
    """What of a Plexus is for those who receive; the rest of it, as far as it is needed here, is declared first."""

    _receive_queue: Queue

    if TYPE_CHECKING:

        def _get_route(self, neuron: Neuron[T]) -> Route[T] | None: ...
        def _adapt(self, neuron: Neuron[T]) -> Route[T] | None: ...
        def _update_interest(self, route: Route[Any]) -> None: ...
        def _use_running_loop(self) -> None: ...

    @overload
    def on(self, neuron: Neuron[T], *, queue: Queue | str | None = None) -> ReactantDecorator[T]: ...
    @overload
    def on(
        self,
        neuron: Neuron[T],
        *,
        queue: Queue | str | None = None,
        batch: Literal[True],
        max_batch: int | None = None,
        max_wait_s: float = 0.0,
        columns: bool = False,
    ) -> BatchDecorator[T]: ...
    def on(
        self,
        neuron: Neuron[T],
        *,
        queue: Queue | str | None = None,
        batch: bool = False,
        max_batch: int | None = None,
        max_wait_s: float = 0.0,
        columns: bool = False,
    ) -> Any:
        """A decorator: the function reacts to `neuron` from now on. It takes (data[, neuron[, reaction_id]]).

        queue: what may wait for it, see `adapt`.

        batch=True: it is called with many messages at once: all that one turn of the event loop brought, or
        `max_batch` of them (default: 1024 or 1 MiB, for records 4096 or 256 KiB). max_wait_s: where fewer have come,
        wait so long for more, unless its queue is full before. What it gets is a list of values; for a NumpyCodec of
        a fixed shape one array whose first axis counts the messages; with columns=True, for a msgspec Struct, a dict
        of one array for each numeric field. See docs/batches.md.
        """
        plan: BatchPlan | None = None
        if batch:
            from plexo.batches import BatchPlan

            bounds = as_queue(queue, "queue", self._receive_queue)
            plan = BatchPlan(neuron, bounds, max_batch, max_wait_s, columns)
        elif (max_batch, max_wait_s, columns) != (None, 0.0, False):
            raise ValueError("max_batch, max_wait_s, columns: only with batch=True")

        def decorate(reactant: R) -> R:
            if plan is None:
                self._react(neuron, (reactant,), queue)
            else:
                self._react_batch(neuron, reactant, plan)
            return reactant

        return decorate

    def _react_batch(self, neuron: Neuron[Any], reactant: Any, plan: BatchPlan) -> None:
        reactant_arity(reactant)
        self._react(neuron, ())
        route = self._get_route(neuron)
        if route is not None and reactant not in route.local.reactants:
            self._attach(route, plan.lane(route.local, reactant), True)

    def collect(self, neuron: Neuron[Any], capacity: int = DEFAULT_RING_RECORDS) -> Collector:
        """The newest `capacity` messages of `neuron` from now on, to be read as arrays; see Collector.

        For neurons with a NumpyCodec of a fixed shape; TypeError for others.
        """
        from plexo.collector import Collector, check_ring, make_ring

        check_ring(neuron, capacity)
        if not self.capable(neuron):
            raise NeuronNotAvailable(f"{self!r} leaves out {neuron} by its filters; nothing would ever come")
        self._react(neuron, ())
        route = self._get_route(neuron)
        assert route is not None
        ring = make_ring(route.local, capacity)
        self._attach(route, ring, True)
        return Collector(ring, lambda: self._detach_anywhere(route, ring))

    def stream(self, neuron: Neuron[T], queue: Queue | str | None = None) -> Stream[T]:
        """The messages of `neuron` from now on, for `async for`; see Stream.

        queue: what may wait for the reader, and what happens then; default: senders and links wait when 1000 messages
        do.
        """
        if not self.capable(neuron):
            raise NeuronNotAvailable(f"{self!r} leaves out {neuron} by its filters; nothing would ever come")
        bounds = as_queue(queue, "queue", DEFAULT_STREAM_QUEUE)
        self._react(neuron, ())
        route = self._get_route(neuron)
        assert route is not None
        tap = Tap(route.local, None, bounds)
        self._attach(route, tap, True)
        return Stream(tap, lambda: self._detach_anywhere(route, tap))

    def _attach(self, route: Route[Any], target: Target, present: bool) -> None:
        route.local.attach(target, present)
        if not self._closed:
            self._update_interest(route)

    def _react(self, neuron: Neuron[T], reactants: Iterable[Any], queue: Queue | str | None = None) -> None:
        bounds = as_queue(queue, "queue", self._receive_queue)
        self._require_open()
        self._require_here()
        route = self._adapt(neuron)
        if route is not None:
            add_all(route.local, reactants, bounds)
            self._update_interest(route)
        if asyncio._get_running_loop() is not None:
            self._use_running_loop()

    def _unreact(self, neuron: Neuron[Any], reactants: Iterable[Any]) -> None:
        route = self._get_route(neuron)
        if route is not None:
            for reactant in reactants:
                route.local.remove(reactant)
            self._update_interest(route)

    def _detach_anywhere(self, route: Route[Any], target: Target) -> None:
        """Streams and collectors are closed from any thread, and by the garbage collector."""
        home = running_elsewhere([*self._serving(), *(loop for _, _, loop in route.local.suspended)])
        if home is not None:
            # Closed since: then nobody else is at it.
            with contextlib.suppress(RuntimeError):
                home.call_soon_threadsafe(self._attach, route, target, False)
                return
        self._attach(route, target, False)
