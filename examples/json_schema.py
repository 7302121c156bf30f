# SPDX-License-Identifier: Apache-2.0
"""JSON with a schema: what does not fit it never reaches a reactant. Two ends of a pair in one process.

    python examples/json_schema.py

The schema comes from a Python type here, and is printed for those who write in other languages. If you
have a JSON Schema and no type, `JsonCodec.load_from_schema(schema, "Reading")` makes one (it needs
`pip install 'pyplexo[jsonschema]'`).
"""

import asyncio
import json
import logging
from typing import Annotated

import msgspec

from plexo import Cause, GanglionZmqTcpPair, JsonCodec, Neuron, Plexus

Celsius = Annotated[float, msgspec.Meta(ge=-273.15, description="degrees Celsius")]


class Reading(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    sensor: Annotated[str, msgspec.Meta(min_length=1)]
    celsius: Celsius
    tags: list[str] = []


reading = Neuron(Reading, "org.brewery.sake", JsonCodec())


async def main() -> None:
    print(json.dumps(msgspec.json.schema(Reading), indent=2))
    here = GanglionZmqTcpPair(bind_interface="127.0.0.1", port=0)
    there = GanglionZmqTcpPair(peer=here.endpoint)
    async with Plexus(ganglia=[here]) as receiver, Plexus(ganglia=[there]) as sender:
        await sender.adapt(reading)
        readings = receiver.stream(reading)
        # As a program in another language might send it: wrong once, then right.
        await there.transmit_encoded('{"sensor": "tank-1", "celsius": -300}', reading)
        await there.transmit_encoded('{"sensor": "tank-1", "celsius": 21.5}', reading)
        print("received:", await anext(readings))
        print("did not fit:", here.stats().fault_count(Cause.UNDECODABLE))


if __name__ == "__main__":
    logging.basicConfig(format="%(levelname)s %(message)s")
    asyncio.run(main())
