# SPDX-License-Identifier: Apache-2.0
"""A codec of your own: three members.

    python examples/own_codec.py

Two ends of a pair in one process show it on a real socket.
"""

import asyncio
import logging
import struct
from typing import NamedTuple

from plexo import Cause, GanglionZmqTcpPair, Neuron, Plexus


class Point(NamedTuple):
    x: float
    y: float
    z: float


class PointCodec:
    """A point as three little-endian floats: 12 bytes, whatever the values."""

    name = "point3f"  # ends the topic, so that peers with another codec use another topic

    def encode(self, data: Point) -> bytes:
        return struct.pack("<3f", *data)

    # Raises for a wrong size; such a message is dropped and counted.
    def decode(self, data: bytes) -> Point:
        return Point(*struct.unpack("<3f", data))


point = Neuron(Point, "org.brewery.robot", PointCodec())


async def main() -> None:
    here = GanglionZmqTcpPair(bind_interface="127.0.0.1", port=0)
    there = GanglionZmqTcpPair(peer=here.endpoint)
    async with Plexus(ganglia=[here]) as arm, Plexus(ganglia=[there]) as camera:
        await camera.adapt(point)
        points = arm.stream(point)

        await there.transmit_encoded(b"not a point", point)
        await camera.transmit(Point(1.0, 2.5, -3.0))
        print(f"{point.name}: {await anext(points)}")
        print("undecodable messages:", here.stats().fault_count(Cause.UNDECODABLE))


if __name__ == "__main__":
    logging.basicConfig(format="%(levelname)s %(message)s")
    asyncio.run(main())
