# SPDX-License-Identifier: Apache-2.0
"""`busy_poll_s`: the event loop does not sleep for a while after a message, and sleeps again afterwards."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from plexo import GanglionZmqTcpPair, GanglionZmqTcpPubSub, Plexus
from tests.support import Tick, run, tick, until

HOST = "127.0.0.1"


class Selections:
    """The time-outs that the running loop gives to its selector: 0 where it does not sleep."""

    def __init__(self) -> None:
        self.timeouts: list[float | None] = []
        selector: Any = asyncio.get_running_loop()._selector  # type: ignore[attr-defined]
        self._select: Callable[..., Any] = selector.select
        selector.select = self.select

    def select(self, timeout: float | None = None) -> Any:
        self.timeouts.append(timeout)
        return self._select(timeout)


def test_the_loop_stays_awake_for_so_long_after_a_message_and_then_sleeps() -> None:
    async def main() -> None:
        got: list[int] = []
        bound = GanglionZmqTcpPair(HOST, 0, heartbeat_s=0, busy_poll_s=0.05)
        async with (
            Plexus([bound]) as one,
            Plexus([GanglionZmqTcpPair(peer=(HOST, bound.port), heartbeat_s=0)]) as other,
        ):
            one.on(tick)(lambda value: got.append(value.n))
            await other.adapt(tick)
            await other.ready(1)
            await asyncio.sleep(0.2)
            selections = Selections()
            begin = time.monotonic()
            await other.transmit(Tick(1))
            await until(lambda: got)
            selections.timeouts.clear()
            await asyncio.sleep(0.3)
            slept = time.monotonic() - begin
            awake = [timeout for timeout in selections.timeouts if timeout == 0]
            asleep = [timeout for timeout in selections.timeouts if timeout != 0]
            # Without it there would be two or three turns in all this time.
            assert len(awake) > 20
            assert asleep and asleep[-1] is not None and asleep[-1] > 0.1, (slept, asleep)

    run(main())


def test_it_does_not_outlive_its_loop() -> None:
    bound = GanglionZmqTcpPair(HOST, 0, busy_poll_s=60)
    dialling = GanglionZmqTcpPair(peer=(HOST, bound.port), busy_poll_s=60)
    got: list[int] = []

    def note(value: Tick) -> None:
        got.append(value.n)

    async def send(n: int) -> None:
        await dialling.adapt(tick)
        await bound.react(tick, [note])
        await dialling.transmit(Tick(n), tick)
        await until(lambda: got and got[-1] == n)

    for n in (1, 2):
        run(send(n))
    bound.close()
    dialling.close()
    assert got == [1, 2]


@pytest.mark.parametrize("make", [GanglionZmqTcpPair, GanglionZmqTcpPubSub])
def test_negative_is_refused(make: Any) -> None:
    with pytest.raises(ValueError, match="busy_poll_s: expected at least 0, got -1"):
        make(HOST, 0, busy_poll_s=-1)
