# SPDX-License-Identifier: Apache-2.0
"""A second listener of the demo over multicast: `python -m plexo.demo.audience multicast:PORT`.

It hears what the viewer hears, from groups that both of them found by the types alone, and tells at the end how much
that was. It ends as the sensor process does.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections import Counter

from plexo import Plexus
from plexo.demo.messages import MEASURED, Heard, Measurement, RateChanged, Stamp, heard, rate_changed
from plexo.demo.transport import GRACE_S, of_other, until_alone


async def listen(viewer: str) -> None:
    ganglion = of_other(viewer)
    async with Plexus(ganglia=[ganglion]) as plexus:
        counts: Counter[str] = Counter()

        def count(measurement: Measurement) -> None:
            counts[type(measurement).__name__] += 1

        for neuron in MEASURED:
            plexus.on(neuron)(count)
        await plexus.adapt(heard)

        @plexus.on(rate_changed)
        async def tell(answer: RateChanged) -> None:
            if answer.hz == 0:
                await asyncio.sleep(GRACE_S)
            await plexus.transmit(Heard(Stamp(answer.request, answer.stamp.sent_ns), dict(counts)))

        await until_alone(ganglion)


def main() -> None:
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m plexo.demo.audience multicast:PORT   (started by `plexo demo`)")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(listen(sys.argv[1]))


if __name__ == "__main__":
    main()
