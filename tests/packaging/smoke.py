# SPDX-License-Identifier: Apache-2.0
"""What an installed plexo must do with nothing but its own dependencies. Argument: the checkout, to stay out of."""

import asyncio
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import msgspec

import plexo
from plexo import GanglionZmqTcpPair, Namespace, Neuron, Plexus


class Reading(msgspec.Struct, frozen=True):
    sensor: str
    celsius: float


reading = Neuron(Reading, Namespace("org.brewery.sake"))


async def in_process() -> None:
    async with Plexus() as plexus:
        seen = []
        plexus.on(reading)(seen.append)
        await plexus.transmit(Reading("tank-1", 21.5))
        assert seen == [Reading("tank-1", 21.5)], seen


async def over_tcp() -> None:
    arrived = asyncio.get_running_loop().create_future()
    bound = GanglionZmqTcpPair(bind_interface="127.0.0.1", port=0)
    dialling = GanglionZmqTcpPair(peer=bound.endpoint)
    async with Plexus([bound]) as one, Plexus([dialling]) as other:
        other.on(reading)(arrived.set_result)
        await one.adapt(reading)
        await one.transmit(Reading("tank-2", 4.0))
        assert await arrived == Reading("tank-2", 4.0)


def command_line() -> None:
    """Without the `demo` extra it works, or says in a sentence what to install."""
    program = Path(sys.executable).with_name("plexo")
    done = subprocess.run([program, "--help"], capture_output=True, text=True, timeout=30)
    said = done.stdout + done.stderr
    assert said.strip() and "Traceback" not in said and done.returncode in (0, 1, 2), said


def main() -> None:
    checkout = Path(sys.argv[1])
    home = Path(plexo.__file__).resolve()
    assert checkout not in home.parents, f"imported from the checkout: {home}"
    assert version("pyplexo") == plexo.__version__, version("pyplexo")
    asyncio.run(asyncio.wait_for(in_process(), 20))
    asyncio.run(asyncio.wait_for(over_tcp(), 20))
    assert "numpy" not in sys.modules
    command_line()
    print(f"plexo {plexo.__version__} works in an empty environment")


if __name__ == "__main__":
    main()
