# SPDX-License-Identifier: Apache-2.0
"""The process that `plexo demo` is: starts the sensor process, receives, shows, and says whether all came."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.text import Text

from plexo import GanglionPlexoMulticast, GanglionZmqTcpPair, Plexus
from plexo.demo.child import ChildProcess
from plexo.demo.display import print_summary, show_lines, show_table, wants_table
from plexo.demo.ledger import Ledger
from plexo.demo.messages import MEASURED, Heard, RateChanged, heard, rate_changed, sampling_rate
from plexo.demo.transport import GRACE_S, DemoGanglion, of_viewer

# The rates asked for, each for an equal part of the time.
RATES_HZ = (10.0, 50.0, 20.0)
# How long the sensor process may take to start and answer for the first time.
START_S = 15.0
# Where a request may get lost: how long until it is sent again.
ASK_AGAIN_S = 1.0
# How long the answer to the last request, to stop, is waited for; interrupted, all ends within a second.
STOP_S = 2.0
STOP_INTERRUPTED_S = 0.25

EXIT_OK = 0
EXIT_PROBLEM = 1
EXIT_SIGNAL = 128  # plus the signal's number, as shells have it


class Viewer:
    def __init__(self, plexus: Plexus, ganglion: DemoGanglion, seconds: float) -> None:
        self.plexus = plexus
        self.ganglion = ganglion
        self.seconds = seconds
        self.ledger = Ledger(neuron.type.__name__ for neuron in MEASURED)
        self._answered = asyncio.Event()
        # What the second listener tells, over multicast.
        self.audience: Heard | None = None
        self._told = asyncio.Event()

    @property
    def is_multicast(self) -> bool:
        return isinstance(self.ganglion, GanglionPlexoMulticast)

    async def subscribe(self) -> None:
        """React to what the sensor process sends."""
        plexus, ledger = self.plexus, self.ledger
        for neuron in MEASURED:
            plexus.on(neuron)(ledger.take)

        @plexus.on(rate_changed)
        async def rate_has_changed(answer: RateChanged) -> None:
            if self.is_multicast:
                await asyncio.sleep(GRACE_S)
            ledger.answer(answer)
            if ledger.answered == len(ledger.requested):
                self._answered.set()

        await plexus.adapt(sampling_rate)
        if self.is_multicast:

            @plexus.on(heard)
            def audience_has_heard(told: Heard) -> None:
                self.audience = told
                if told.stamp.sequence == len(ledger.requested) - 1:
                    self._told.set()

    async def ask_for(self, hz: float) -> None:
        """Another sampling rate, and the answer to it. (On a pair the first request waits for the link.)"""
        self._answered.clear()
        self._told.clear()
        request = self.ledger.next_request(hz)
        while not self._answered.is_set():
            await self.plexus.transmit(request)
            # Over multicast nobody knows whether it was heard.
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._answered.wait(), ASK_AGAIN_S if self.is_multicast else None)

    async def run(self) -> None:
        """The whole run. TimeoutError: no answer to the first request."""
        if isinstance(self.ganglion, GanglionPlexoMulticast):
            # Nobody waits for who is not there: the first messages are for both of them.
            await self.ganglion.ready(peers=2, timeout_s=START_S)
        await asyncio.wait_for(self.ask_for(RATES_HZ[0]), START_S)
        self.ledger.begin()
        for part, hz in enumerate(RATES_HZ):
            if part:
                await self.ask_for(hz)
            await asyncio.sleep(max(0.0, self.seconds * (part + 1) / len(RATES_HZ) - self.ledger.elapsed_s))

    async def stop(self, timeout_s: float) -> bool:
        """Ask for no more, and see whether the answer, and with it all that was sent before, comes."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self.ask_for(0.0), timeout_s)
            if self.is_multicast:
                await asyncio.wait_for(self._told.wait(), timeout_s)
        return self._answered.is_set()

    def audience_problems(self) -> list[str]:
        """What the second listener missed."""
        if not self.is_multicast:
            return []
        if self.audience is None or not self._told.is_set():
            return ["the second listener did not tell what it heard"]
        counts = self.audience.counts
        return [
            f"the second listener heard {counts.get(name, 0)} of {entry.sent} {name}"
            for name, entry in self.ledger.entries.items()
            if counts.get(name, 0) != entry.sent
        ]


async def watch(seconds: float, port: int, plain: bool, transport: str = "pair") -> int:
    """Run the demo; the exit code."""
    console = Console(highlight=False, emoji=False)
    with _interruption() as interrupted:
        try:
            ganglion, where = of_viewer(transport, port)
        except OSError as error:
            print(f"plexo demo: {error.strerror or error}", file=sys.stderr)
            return EXIT_PROBLEM
        async with Plexus(ganglia=[ganglion]) as plexus:
            viewer = Viewer(plexus, ganglion, seconds)
            await viewer.subscribe()
            try:
                child = await ChildProcess.start("sensors", where)
                audience = await ChildProcess.start("audience", where) if viewer.is_multicast else None
            except OSError as error:
                print(f"plexo demo: the sensor process cannot be started: {error}", file=sys.stderr)
                return EXIT_PROBLEM
            try:
                trouble = await _show(viewer, child, interrupted, console, wants_table(plain))
            except BaseException:
                for each in (child, audience):
                    if each is not None:
                        each.kill()
                raise
            groups = _groups(ganglion)
            if isinstance(ganglion, GanglionZmqTcpPair) and not ganglion.peers_connected:
                child.kill()
        await child.end()
        if audience is not None:
            await audience.end()

        print_summary(console, viewer.ledger)
        if viewer.is_multicast:
            count = 0 if viewer.audience is None else sum(viewer.audience.counts.values())
            console.print(Text(f"A second process heard {count:,} messages. {groups}"))
        if interrupted.done():
            console.print("Interrupted.")
            return EXIT_SIGNAL + interrupted.result()
        problems = trouble or [*viewer.ledger.problems(), *viewer.audience_problems()]
        if child.stderr:
            console.print(Text(f"The sensor process wrote:\n{child.stderr}"))
        if problems:
            console.print(Text("Not all went well: " + "; ".join(problems) + "."))
            return EXIT_PROBLEM
        console.print("All messages arrived.")
        return EXIT_OK


def _groups(ganglion: DemoGanglion) -> str:
    """Where the types are at home, for people."""
    if not isinstance(ganglion, GanglionPlexoMulticast):
        return ""
    groups = ganglion.groups()
    addresses = {group.address for group in groups.values()}
    agreed = sum(group.agreed for group in groups.values())
    return f"{len(groups)} types in {len(addresses)} multicast groups, {agreed} of them agreed upon."


async def _show(
    viewer: Viewer, child: ChildProcess, interrupted: asyncio.Future[int], console: Console, table: bool
) -> list[str]:
    """Until the run is over, is interrupted, or the sensor process has died; what went wrong, if anything."""
    ledger = viewer.ledger
    run = asyncio.create_task(viewer.run())
    drawing = show_table(console, ledger, viewer.seconds) if table else show_lines(ledger)
    show = asyncio.create_task(drawing)
    trouble: list[str] = []
    over: set[asyncio.Future[Any]] = {run, show, child.ended, interrupted}
    try:
        await asyncio.wait(over, return_when=asyncio.FIRST_COMPLETED)
        ledger.end()
        if child.ended.done():
            trouble.append(f"the sensor process {child.describe_end()} after {ledger.elapsed_s:.1f} s")
        elif interrupted.done():
            pass
        elif run.done() and isinstance(run.exception(), asyncio.TimeoutError):
            trouble.append(f"the sensor process did not answer within {START_S:g} s")
        elif run.done():
            run.result()
    finally:
        run.cancel()
        show.cancel()
        outcomes = await asyncio.gather(run, show, return_exceptions=True)
    if isinstance(outcomes[1], Exception):  # nowhere to show it: the reader of a pipe has gone
        raise outcomes[1]
    limit_s = STOP_INTERRUPTED_S if interrupted.done() else STOP_S
    if trouble or ledger.available is None or not await viewer.stop(limit_s):
        child.kill()
    return trouble


@contextlib.contextmanager
def _interruption() -> Iterator[asyncio.Future[int]]:
    """A future that becomes the number of the signal that asks this process to end."""
    loop = asyncio.get_running_loop()
    interrupted: asyncio.Future[int] = loop.create_future()

    def interrupt(number: int) -> None:
        if not interrupted.done():
            interrupted.set_result(number)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, interrupt, number.value)
    try:
        yield interrupted
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
