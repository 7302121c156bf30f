# SPDX-License-Identifier: Apache-2.0
"""The sensor process of the demo: `python -m plexo.demo.sensors HOST:PORT`, or `multicast:PORT`.

It finds the viewer, waits to be told a rate, and then transmits every reading at that rate. It ends when the viewer
has gone, whatever the reason, when whoever started it has gone, and when there is no viewer within CONNECT_S: nothing
is left behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time

from plexo import Plexus
from plexo.demo.messages import MEASURED, RateChanged, SamplingRate, rate_changed, sampling_rate
from plexo.demo.readings import Readings, Stamps
from plexo.demo.transport import of_other, until_alone


async def send_readings(viewer: str) -> None:
    try:
        ganglion = of_other(viewer)
    except ValueError as error:
        raise SystemExit(str(error)) from None
    async with Plexus(ganglia=[ganglion]) as plexus:
        for neuron in (*MEASURED, rate_changed):
            await plexus.adapt(neuron)

        requests: asyncio.Queue[SamplingRate] = asyncio.Queue()

        @plexus.on(sampling_rate)
        async def change_rate(request: SamplingRate) -> None:
            requests.put_nowait(request)

        sending = asyncio.create_task(_send_at_requested_rates(plexus, requests))
        link = asyncio.create_task(until_alone(ganglion))
        try:
            await asyncio.wait({sending, link}, return_when=asyncio.FIRST_COMPLETED)
            for ended in (sending, link):  # a sender never ends but by an error
                if ended.done():
                    ended.result()
        finally:
            sending.cancel()
            link.cancel()
            await asyncio.gather(sending, link, return_exceptions=True)


async def _send_at_requested_rates(plexus: Plexus, requests: asyncio.Queue[SamplingRate]) -> None:
    """One sender, so that a RateChanged comes behind every message it counts."""
    stamps = Stamps()
    readings = Readings(stamps)
    measured = set(stamps.sent)
    hz = 0.0
    due = 0.0
    while True:
        if (request := await _next_request(requests, due if hz else None)) is not None:
            hz = request.hz
            due = time.monotonic()
            sent = {name: count for name, count in stamps.sent.items() if name in measured}
            await plexus.transmit(RateChanged(stamps.next(RateChanged), request.stamp.sequence, hz, sent))
        else:
            for reading in readings.sample():
                await plexus.transmit(reading)
            # Where a sample takes longer than its turn, the rate falls; samples do not pile up.
            due = max(due + 1.0 / hz, time.monotonic())


async def _next_request(requests: asyncio.Queue[SamplingRate], due: float | None) -> SamplingRate | None:
    """The next request, or None when a sample is due before there is one."""
    await asyncio.sleep(0)  # the link gets its turn even where samples take longer than theirs
    if not requests.empty():
        return requests.get_nowait()
    timeout = None if due is None else max(0.0, due - time.monotonic())
    try:
        return await asyncio.wait_for(requests.get(), timeout)
    except asyncio.TimeoutError:
        return None


def main() -> None:
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m plexo.demo.sensors HOST:PORT   (started by `plexo demo`)")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(send_readings(sys.argv[1]))


if __name__ == "__main__":
    main()
