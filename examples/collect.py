# SPDX-License-Identifier: Apache-2.0
"""A script that looks at the newest samples when it likes, while an event loop in another thread receives them.

    pip install numpy
    python examples/collect.py

The ring keeps the newest 10,000 samples; what nobody reads in time is overwritten, and counted.
"""

import asyncio
import threading
from typing import Any

import numpy as np

from plexo import Collector, GanglionZmqTcpPair, Neuron, NumpyCodec, Plexus

COUNT = 30_000
SAMPLE = np.dtype([("n", "i8"), ("volt", "f8")])
sample = Neuron(np.ndarray, "org.brewery.lab", NumpyCodec(SAMPLE, ()), type_name_alias="Sample")


class Laboratory(threading.Thread):
    """Receives, in a thread of its own, from a sensor that is here too so that this is one program."""

    def __init__(self) -> None:
        super().__init__()
        self.ring: Collector | None = None
        self.begun = threading.Event()
        self.sent = threading.Event()
        self.over = threading.Event()

    def run(self) -> None:
        asyncio.run(self.receive())

    async def receive(self) -> None:
        here = GanglionZmqTcpPair(bind_interface="127.0.0.1", port=0)
        there = GanglionZmqTcpPair(peer=here.endpoint)
        async with Plexus([here]) as laboratory, Plexus([there]) as sensor:
            self.ring = laboratory.collect(sample, capacity=10_000)
            self.begun.set()
            await sensor.adapt(sample)
            samples = np.zeros(COUNT, SAMPLE)
            samples["n"] = np.arange(COUNT)
            samples["volt"] = samples["n"] % 5
            for one in samples[:1000]:
                await sensor.transmit(one, sample)
            # The script looks at the first thousand before there are more.
            await asyncio.to_thread(self.sent.wait)
            for one in samples[1000:]:
                await sensor.transmit(one, sample)
            await asyncio.to_thread(self.over.wait)


def mean(array: np.ndarray[Any, Any]) -> str:
    return f"{len(array)} samples, {array['volt'].mean():.1f} V on average"


def main() -> None:
    laboratory = Laboratory()
    laboratory.start()
    laboratory.begun.wait()
    ring = laboratory.ring
    assert ring is not None
    print("first:", mean(ring.wait(1000, timeout_s=10)))
    laboratory.sent.set()
    # Nobody drains meanwhile, so the ring laps.
    while len(ring) + ring.overwritten < COUNT - 1000:
        newest = ring.last(100)
        assert (np.diff(newest["n"]) == 1).all()
    print("newest:", ring.last(3)["n"].tolist())
    rest = ring.drain()
    print("rest:", mean(rest))
    print("overwritten:", ring.overwritten)
    laboratory.over.set()
    laboratory.join()


if __name__ == "__main__":
    main()
