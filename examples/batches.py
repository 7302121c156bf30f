# SPDX-License-Identifier: Apache-2.0
"""Many messages at once: arrays of records, columns of structs, lists of anything.

    pip install numpy
    python examples/batches.py

Two ends of a pair in one process. Records go from the network into one array, without an object for each.
"""

import asyncio
from typing import Any

import msgspec
import numpy as np

from plexo import GanglionZmqTcpPair, Neuron, NumpyCodec, Plexus

COUNT = 50_000
SAMPLE = np.dtype([("n", "i8"), ("volt", "f8")])


class Event(msgspec.Struct):
    n: int
    volt: float
    what: str


sample = Neuron(np.ndarray, "org.brewery.lab", NumpyCodec(SAMPLE, ()), type_name_alias="Sample")
event = Neuron(Event, "org.brewery.lab")


async def main() -> None:
    here = GanglionZmqTcpPair(bind_interface="127.0.0.1", port=0)
    there = GanglionZmqTcpPair(peer=here.endpoint)
    done = asyncio.Event()
    async with Plexus([here]) as viewer, Plexus([there]) as sensor:
        calls, total, highest = 0, 0, 0.0
        events: list[Event] = []

        @viewer.on(sample, batch=True)
        def sum_up(batch: np.ndarray[Any, Any]) -> None:
            nonlocal calls, total, highest
            calls += 1
            total += len(batch)
            highest = max(highest, float(batch["volt"].max()))

        @viewer.on(event, batch=True)
        async def note(batch: list[Event]) -> None:
            events.extend(batch)
            if batch[-1].what == "end":
                done.set()

        # Up to a thousand events, or what came within five seconds.
        @viewer.on(event, batch=True, columns=True, max_batch=1000, max_wait_s=5)
        def average(batch: dict[str, Any]) -> None:
            print(f"columns {', '.join(batch)}: {batch['volt'].mean():.1f} V on average of {len(batch['n'])}")

        await sensor.adapt(sample)
        await sensor.adapt(event)
        samples = np.zeros(COUNT, SAMPLE)
        samples["n"] = np.arange(COUNT)
        samples["volt"] = np.sin(samples["n"] / 1000)
        for one in samples:
            await sensor.transmit(one, sample)
        for n in range(1000):
            await sensor.transmit(Event(n, n / 10, "end" if n == 999 else "tick"))
        await done.wait()
        print(
            f"{total} samples, at most {highest:.3f} V, in fewer than {total // 10} calls: {calls < total // 10}"
        )
        print(f"{len(events)} events, the last is {events[-1].what!r}")


if __name__ == "__main__":
    asyncio.run(main())
