# SPDX-License-Identifier: Apache-2.0
"""The pull form of receiving: the newest records of a neuron, as arrays, whenever the reader wants them."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any

from plexo._fast.queues import Queue
from plexo._fast.ring import Ring
from plexo._fast.wake import wake
from plexo.batches import record_codec
from plexo.exceptions import Closed

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

    from plexo._fast.dispatch import Fanout
    from plexo.neuron.neuron import Neuron

# So that sizes cannot overflow; memory ends before. On 32-bit systems sizes end there.
MOST_RING_BYTES = min(1 << 48, sys.maxsize)


def check_ring(neuron: Neuron[Any], capacity: int) -> None:
    """TypeError, ValueError name the argument."""
    codec = record_codec(neuron)
    if codec is None:
        raise TypeError(
            f"neuron: expected one with a NumpyCodec of a fixed shape, such as NumpyCodec(dtype, ()), got {neuron}"
        )
    if isinstance(capacity, bool) or not isinstance(capacity, int):
        raise TypeError(f"capacity: expected an int, got {capacity!r}")
    if capacity < 1:
        raise ValueError(f"capacity: expected at least 1, got {capacity}")
    if capacity > MOST_RING_BYTES // codec.record_bytes:
        raise ValueError(
            f"capacity: {capacity} records of {codec.record_bytes} bytes are more than any memory holds"
        )


def make_ring(fanout: Fanout[Any], capacity: int) -> Ring:
    """A ring for the neuron at `fanout`, not yet attached."""
    check_ring(fanout.neuron, capacity)
    return Ring(fanout, None, Queue("drop_oldest", capacity), record_codec(fanout.neuron))


class Collector:
    """A ring of the newest `capacity` records of one neuron, filled by the receive loop without an object for each.

    Every array it gives is one-dimensional over the records (more axes where a record has a shape), in the order of
    arrival, read-only, and never changes afterwards. It is a view of the ring where the records lie together, which is
    the usual case, else a copy.

    What is not drained before `capacity` newer records have come is overwritten; `overwritten` counts those, as the
    plexus' statistics do. Methods may be called from any thread, while the event loop runs in another.

    Subscribed from its making until it is closed or dropped.
    """

    def __init__(self, ring: Ring, leave: Callable[[], None]) -> None:
        self._ring = ring
        self._leave: Callable[[], None] | None = leave

    def drain(self) -> NDArray[Any]:
        """What has come since the last call, oldest first; without waiting, and maybe empty."""
        drained: numpy.ndarray[Any, Any] = self._ring.drain()
        return drained

    def last(self, count: int) -> NDArray[Any]:
        """The newest `count` records, fewer where there are fewer; drained before or not. They stay in the ring."""
        if isinstance(count, bool) or not isinstance(count, int) or count < 0:
            raise ValueError(f"count: expected an int of 0 or more, got {count!r}")
        newest: numpy.ndarray[Any, Any] = self._ring.last(min(count, self.capacity))
        return newest

    def wait(self, count: int = 1, timeout_s: float | None = None) -> NDArray[Any]:
        """Block this thread until `count` records are there, then drain: at least so many.

        For threads beside the one of the event loop; there it would wait for itself, and RuntimeError says so. In
        coroutines use `await arrived(count)`. TimeoutError: not within `timeout_s`; what has come stays in the ring.
        Closed: nothing more will come, and there is less.
        """
        self._check_count(count)
        if asyncio._get_running_loop() is not None:
            raise RuntimeError(
                "wait() blocks, and an event loop runs in this thread: use `await arrived(count)`"
            )
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while (drained := self._drained(count)) is None:
            come = threading.Event()
            call = come.set
            self._ring.call_at(count, call)
            try:
                if not come.wait(None if deadline is None else max(0.0, deadline - time.monotonic())):
                    raise self._late(count, timeout_s)
            finally:
                self._ring.forget(call)
        return drained

    async def arrived(self, count: int = 1, timeout_s: float | None = None) -> NDArray[Any]:
        """As `wait`, for coroutines."""
        self._check_count(count)
        loop = asyncio.get_running_loop()
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while (drained := self._drained(count)) is None:
            come: asyncio.Future[None] = loop.create_future()
            call = partial(wake, come)
            self._ring.call_at(count, call)
            try:
                left_s = None if deadline is None else max(0.0, deadline - time.monotonic())
                await asyncio.wait_for(come, left_s)
            except asyncio.TimeoutError:
                raise self._late(count, timeout_s) from None
            finally:
                self._ring.forget(call)
        return drained

    def _check_count(self, count: int) -> None:
        if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= self.capacity:
            raise ValueError(f"count: expected 1 to {self.capacity}, the ring's capacity, got {count!r}")

    def _late(self, count: int, timeout_s: float | None) -> TimeoutError:
        return TimeoutError(f"expected {count} records within {timeout_s} s; {len(self)} have come")

    def _drained(self, count: int) -> NDArray[Any] | None:
        """None where less has come, or another reader was faster."""
        ended = self._ring.ended
        drained: numpy.ndarray[Any, Any] | None = self._ring.drain(count)
        if drained is None and ended:
            raise Closed(f"expected {count} records; {len(self)} are here, and nothing more will come")
        return drained

    def __len__(self) -> int:
        """Records that `drain` would give."""
        return len(self._ring)

    @property
    def capacity(self) -> int:
        """The most records that are kept."""
        return self._ring.capacity

    @property
    def overwritten(self) -> int:
        """Records that were lost since nobody drained them in time."""
        return self._ring.overwritten

    def close(self) -> None:
        """End the subscription; what has arrived can still be read. From any thread, also twice."""
        self._ring.end()
        if self._leave is not None:
            self._leave()
            self._leave = None

    def __del__(self) -> None:
        if hasattr(self, "_leave"):
            self._ring.discard()
            self.close()

    def __enter__(self) -> Collector:
        if self._leave is None:
            raise Closed("this collector is closed")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Collector:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Collector of {self._ring.capacity} records, {len(self)} not drained>"
