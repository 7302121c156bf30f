# SPDX-License-Identifier: Apache-2.0
"""The hot paths of one process, each driven alone: for counting instructions and for profilers.

    python bench/paths.py PATH COUNT

`receive` and `send` have a plain socket at the other end that speaks just enough ZMTP, so that only one side
of the pair is ours. What that socket costs is a system call for many messages.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec

from plexo import GanglionZmqTcpPair, Plexus
from plexo._fast.envelope import build_envelope
from plexo._fast.frames import build_frame

# The board's drivers are scripts: their neighbours are modules to them.
sys.path.insert(0, str(Path(__file__).resolve().parent / "compare" / "drivers"))

from common import MODULUS, check, main, run
from plexo_samples import DIFFERENT, reading, values
from samples import Reading, expected

readings = values(64)
HOST = "127.0.0.1"
# ZMTP 3.1, mechanism NULL (RFC 37): signature, version, mechanism, as-server, filler; then READY of a PAIR.
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"NULL".ljust(20, b"\0") + bytes(32)
READY = b"\x05READY\x0bSocket-Type\x00\x00\x00\x04PAIR"
READY = b"\x04" + bytes([len(READY)]) + READY


@contextlib.asynccontextmanager
async def stranger(ganglion: GanglionZmqTcpPair) -> AsyncIterator[socket.socket]:
    """A connected socket that has shaken hands with `ganglion` by hand."""
    loop = asyncio.get_running_loop()
    with socket.socket() as link:
        link.setblocking(False)
        await loop.sock_connect(link, (HOST, ganglion.port))
        await loop.sock_sendall(link, GREETING + READY)
        received = b""
        # The greeting, and READY with whatever properties it has: a short command frame.
        while len(received) < 66 or len(received) < 66 + received[65]:
            received += await loop.sock_recv(link, 4096)
        await ganglion.ready()
        yield link


def wire() -> bytes:
    """`readings`, once, as a peer would send them."""
    encode = msgspec.msgpack.Encoder().encode
    return b"".join(build_frame(0, build_envelope(reading.topic, encode(each))) for each in readings)


async def receive(count: int) -> None:
    """Bytes on a socket to an async def reactant, through a Plexus."""
    seen_count = checksum = 0
    ganglion = GanglionZmqTcpPair(HOST, 0, heartbeat_s=0)
    async with Plexus([ganglion]) as plexus:

        @plexus.on(reading)
        async def react(value: Reading) -> None:
            nonlocal seen_count, checksum
            seen_count += 1
            checksum += value.sequence

        async with stranger(ganglion) as link:
            loop = asyncio.get_running_loop()
            chunk = wire()
            for done in range(DIFFERENT, count + 1, DIFFERENT):
                await loop.sock_sendall(link, chunk)
                while seen_count < done:
                    await asyncio.sleep(0)
    check("the reactant", (seen_count, checksum % MODULUS), expected(count))


async def send(count: int) -> None:
    """`await plexus.transmit` to bytes on a socket."""
    ganglion = GanglionZmqTcpPair(HOST, 0, heartbeat_s=0)
    received = 0
    room = bytearray(1 << 20)
    async with Plexus([ganglion]) as plexus:
        await plexus.adapt(reading)
        async with stranger(ganglion) as link:
            size = len(wire())
            for done in range(DIFFERENT, count + 1, DIFFERENT):
                for value in readings:
                    await plexus.transmit(value)
                while received < done // DIFFERENT * size:
                    await asyncio.sleep(0)
                    with contextlib.suppress(BlockingIOError):
                        received += link.recv_into(room)
    # All of it, to the byte; what the bytes say is the tests' business.
    if received != count // DIFFERENT * size:
        raise AssertionError(f"{received} bytes were sent")


async def inproc(count: int) -> None:
    """`await plexus.transmit` to one async def reactant."""
    seen_count = checksum = 0
    async with Plexus() as plexus:

        @plexus.on(reading)
        async def react(value: Reading) -> None:
            nonlocal seen_count, checksum
            seen_count += 1
            checksum += value.sequence

        for _ in range(count // DIFFERENT):
            for value in readings:
                await plexus.transmit(value)
    check("the reactant", (seen_count, checksum % MODULUS), expected(count))


async def nowait(count: int) -> None:
    """`plexus.transmit_nowait` to one plain function."""
    seen_count = checksum = 0
    async with Plexus() as plexus:

        @plexus.on(reading)
        def react(value: Reading) -> None:
            nonlocal seen_count, checksum
            seen_count += 1
            checksum += value.sequence

        for _ in range(count // DIFFERENT):
            for value in readings:
                plexus.transmit_nowait(value)
    check("the reactant", (seen_count, checksum % MODULUS), expected(count))


PATHS: dict[str, Callable[[int], Coroutine[Any, Any, None]]] = {
    "inproc": inproc,
    "nowait": nowait,
    "receive": receive,
    "send": send,
}


def _command(path: Callable[[int], Coroutine[Any, Any, None]]) -> Callable[..., None]:
    return lambda count: run(path(count))


if __name__ == "__main__":
    main({name: _command(path) for name, path in PATHS.items()})
