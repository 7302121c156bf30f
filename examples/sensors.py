# SPDX-License-Identifier: Apache-2.0
"""A probe on a serial line that says a number a line, and a panel that is slower than the probe.

    python examples/sensors.py imitate              (prints the device that it imitates a probe at)
    python examples/sensors.py probe /dev/pts/7     (that device, or a real one)
    python examples/sensors.py panel

Each in a terminal of its own.
"""

import asyncio
import contextlib
import io
import os
import pty
import random
import sys
import time
import tty

import msgspec

from plexo import GanglionZmqTcpPubSub, LinkEvent, Neuron, Plexus, Queue

PORT = 5570


class Reading(msgspec.Struct, frozen=True):
    sensor: str
    time: float  # when it was measured, in seconds since 1970
    celsius: float


reading = Neuron(Reading, "org.brewery.sake")


def report(event: LinkEvent) -> None:
    print(f"{event.kind.value} {event.peer} {event.reason}".rstrip(), flush=True)


async def probe(device: str, port: int = PORT) -> None:
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader()
    serial = io.FileIO(device)
    line, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), serial)
    ganglion = GanglionZmqTcpPubSub("127.0.0.1", int(port), send_queue=Queue("drop_oldest", messages=100))
    async with Plexus([ganglion]) as plexus:
        await plexus.adapt(reading)
        plexus.on_link_event(report)
        print(f"{device} is published at {ganglion.endpoint}", flush=True)
        with contextlib.closing(line):  # and serial with it
            async for text in lines:
                with contextlib.suppress(ValueError):  # noise on the line
                    await plexus.transmit(Reading("tank-1", time.time(), float(text)))


async def panel(port: int = PORT, count: int = 10) -> None:
    ganglion = GanglionZmqTcpPubSub(port_pub=None, peers=[("127.0.0.1", int(port))])
    newest = Queue("latest", key=lambda r: r.sensor)
    async with Plexus([ganglion]) as plexus, plexus.stream(reading, newest) as readings:
        for _ in range(int(count)):
            r = await anext(readings)
            print(f"{r.sensor}: {r.celsius} degrees, {time.time() - r.time:.2f} s ago", flush=True)
            await asyncio.sleep(0.3)  # drawing takes its time
        book = plexus.stats().neurons[reading.name].receiving
        print(f"{book.accepted} came, {book.delivered} shown, {book.lost} replaced by newer ones")


async def imitate() -> None:
    here, there = pty.openpty()
    tty.setraw(there)
    print(os.ttyname(there), flush=True)
    while True:
        os.write(here, b"\xff?\n" if random.random() < 0.02 else b"%.1f\n" % random.gauss(20, 1))
        await asyncio.sleep(0.01)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run({"imitate": imitate, "probe": probe, "panel": panel}[sys.argv[1]](*sys.argv[2:]))
