# SPDX-License-Identifier: Apache-2.0
"""The hot paths of one process, each driven alone: for counting instructions and for profilers.

    python bench/paths.py PATH COUNT
    python bench/paths.py counted PATH:COUNT ...     for instructions.py, under callgrind

Those that receive, send and publish have a plain socket at the other end that speaks just enough ZMTP, so that
only one side is ours. What that socket costs is a system call for many messages.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import json
import os
import random
import socket
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from plexo import GanglionZmqTcpPair, GanglionZmqTcpPubSub, Neuron, NumpyCodec, Plexus, Queue
from plexo._fast.deframer import Probe
from plexo._fast.envelope import build_envelope
from plexo._fast.frames import build_frame
from plexo._fast.pgm import data_packet
from plexo._fast.reception import CountingReception
from plexo._proto.pgm.packets import PacketType, Tsi
from plexo._proto.pgm.receiver import Receiver
from plexo._proto.pgm.timing import Timing

# The board's drivers are scripts: their neighbours are modules to them.
sys.path.insert(0, str(Path(__file__).resolve().parent / "compare" / "drivers"))

from common import MODULUS, check, main, run
from plexo_samples import DIFFERENT, fanout_neurons, reading, sequence_of, values
from samples import Reading, expected, expected_samples, sample_bytes, sample_dtype

readings = values(64)
HOST = "127.0.0.1"
# ZMTP 3.1, mechanism NULL (RFC 37): signature, version, mechanism, as-server, filler; then READY, or SUBSCRIBE.
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"NULL".ljust(20, b"\0") + bytes(32)
MORE, COMMAND = 1, 4


def ready_as(kind: bytes) -> bytes:
    return build_frame(COMMAND, b"\x05READY\x0bSocket-Type" + len(kind).to_bytes(4, "big") + kind)


# Children of `counted` at a time.
JOBS = 2


def mark() -> None:
    """Where a part begins or ends that is counted. A profiler sees it: instructions.MARK, which nobody else calls."""
    os.getppid()


def rounds(count: int) -> Iterator[int]:
    """How many rounds of DIFFERENT messages there have been with this one. A quarter of them warms up; then marks."""
    total = count // DIFFERENT
    warm = max(1, total // 4)
    for number in range(1, total + 1):
        yield number
        if number in (warm, total):
            mark()


@contextlib.asynccontextmanager
async def stranger(ganglion: GanglionZmqTcpPair | GanglionZmqTcpPubSub) -> AsyncIterator[socket.socket]:
    """A connected socket that has shaken hands with `ganglion` by hand, and subscribed to all that it publishes."""
    loop = asyncio.get_running_loop()
    if isinstance(ganglion, GanglionZmqTcpPair):
        port, hello = ganglion.port, GREETING + ready_as(b"PAIR")
    else:
        port, hello = ganglion.port_pub, GREETING + ready_as(b"SUB") + build_frame(COMMAND, b"\x09SUBSCRIBE")
    with socket.socket() as link:
        link.setblocking(False)
        await loop.sock_connect(link, (HOST, port))
        await loop.sock_sendall(link, hello)
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


sample = Neuron(np.ndarray, "bench", NumpyCodec(sample_dtype(), ()), "Sample")


def samples() -> np.ndarray[Any, Any]:
    """DIFFERENT records of 64 bytes."""
    return np.frombuffer(b"".join(sample_bytes(0)), sample_dtype())


def wire_of_samples() -> bytes:
    """`samples`, once, as a peer would send them."""
    return b"".join(build_frame(0, build_envelope(sample.topic, each)) for each in sample_bytes(0))


async def feed(link: socket.socket, chunk: bytes, count: int, seen: Callable[[], int]) -> None:
    """Send `chunk`, DIFFERENT messages, until `count` were sent; each time wait until all are `seen`."""
    loop = asyncio.get_running_loop()
    for number in rounds(count):
        await loop.sock_sendall(link, chunk)
        while seen() < number * DIFFERENT:
            await asyncio.sleep(0)


class Drain:
    """The reading end: counts bytes."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._room = bytearray(1 << 20)
        self._received = 0

    async def reach(self, expected: int) -> None:
        """Read until it were so many bytes in all, to the byte; what they say is the tests' business."""
        while self._received < expected:
            await asyncio.sleep(0)
            with contextlib.suppress(BlockingIOError):
                self._received += self._link.recv_into(self._room)
        if self._received != expected:
            raise AssertionError(f"{self._received} bytes were sent, expected {expected}")


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
            await feed(link, wire(), count, lambda: seen_count)
    check("the reactant", (seen_count, checksum % MODULUS), expected(count))


async def batch(count: int) -> None:
    """Bytes on a socket to a plain function that takes lists."""
    seen_count = checksum = 0
    ganglion = GanglionZmqTcpPair(HOST, 0, heartbeat_s=0)
    async with Plexus([ganglion]) as plexus:

        @plexus.on(reading, batch=True)
        def react(values: list[Reading]) -> None:
            nonlocal seen_count, checksum
            seen_count += len(values)
            checksum += sum(map(sequence_of, values))

        async with stranger(ganglion) as link:
            await feed(link, wire(), count, lambda: seen_count)
    check("the reactant", (seen_count, checksum % MODULUS), expected(count))


async def records(count: int) -> None:
    """Bytes on a socket to a plain function that takes arrays of 64-byte records."""
    seen_count = checksum = 0
    ganglion = GanglionZmqTcpPair(HOST, 0, heartbeat_s=0)
    async with Plexus([ganglion]) as plexus:

        @plexus.on(sample, batch=True)
        def react(array: np.ndarray[Any, Any]) -> None:
            nonlocal seen_count, checksum
            seen_count += len(array)
            checksum += int(array["seq"].sum(dtype="u8"))

        async with stranger(ganglion) as link:
            await feed(link, wire_of_samples(), count, lambda: seen_count)
    check("the reactant", (seen_count, checksum % MODULUS), expected_samples(count, 1))


async def send(count: int) -> None:
    """`await plexus.transmit` to bytes on a socket."""
    ganglion = GanglionZmqTcpPair(HOST, 0, heartbeat_s=0)
    async with Plexus([ganglion]) as plexus:
        await plexus.adapt(reading)
        async with stranger(ganglion) as link:
            drain, size = Drain(link), len(wire())
            for number in rounds(count):
                for value in readings:
                    await plexus.transmit(value)
                await drain.reach(number * size)


async def send_many(count: int) -> None:
    """`await plexus.transmit_many` of a list to bytes on a socket."""
    await _in_batches(count, reading, readings, len(wire()))


async def send_records(count: int) -> None:
    """`await plexus.transmit_many` of an array of 64-byte records to bytes on a socket."""
    await _in_batches(count, sample, samples(), len(wire_of_samples()))


async def _in_batches(count: int, neuron: Neuron[Any], values: Any, size: int) -> None:
    ganglion = GanglionZmqTcpPair(HOST, 0, heartbeat_s=0)
    async with Plexus([ganglion]) as plexus:
        await plexus.adapt(neuron)
        async with stranger(ganglion) as link:
            drain = Drain(link)
            for number in rounds(count):
                await plexus.transmit_many(values, neuron)
                await drain.reach(number * size)


async def publish(count: int) -> None:
    """`await plexus.transmit` to one subscriber, a hundred topics in turn."""
    ganglion = GanglionZmqTcpPubSub(HOST, 0, heartbeat_s=0, send_queue=Queue("block", bytes=1 << 20))
    neurons = fanout_neurons()
    encode = msgspec.msgpack.Encoder().encode
    cycle = list(zip(readings, neurons * (DIFFERENT // len(neurons)), strict=True))
    async with Plexus([ganglion]) as plexus:
        for neuron in neurons:
            await plexus.adapt(neuron)
        async with stranger(ganglion) as link:
            drain = Drain(link)
            size = sum(
                len(build_frame(MORE, neuron.topic) + build_frame(0, encode(value)))
                for value, neuron in cycle
            )
            for number in rounds(count):
                for value, neuron in cycle:
                    await plexus.transmit(value, neuron)
                await drain.reach(number * size)


async def inproc(count: int) -> None:
    """`await plexus.transmit` to one async def reactant."""
    seen_count = checksum = 0
    async with Plexus() as plexus:

        @plexus.on(reading)
        async def react(value: Reading) -> None:
            nonlocal seen_count, checksum
            seen_count += 1
            checksum += value.sequence

        for _ in rounds(count):
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

        for _ in rounds(count):
            for value in readings:
                plexus.transmit_nowait(value)
    check("the reactant", (seen_count, checksum % MODULUS), expected(count))


def filled_tsdus() -> list[bytes]:
    """The readings as a multicast source packs them: an offset of 0, then whole messages, as many as fit."""
    encode = msgspec.msgpack.Encoder().encode
    topic = bytes([len(reading.topic) + 1, MORE]) + reading.topic
    wires = [topic + bytes([len(each) + 1, 0]) + each for each in map(encode, readings)]
    most = 1446 // max(map(len, wires))
    return [b"\0\0" + b"".join(wires[at : at + most]) for at in range(0, len(wires), most)]


async def deframe(count: int) -> None:
    """Packets of a multicast source, several messages in each, to messages that nobody takes."""
    tsdus = filled_tsdus()
    stream = Probe(collects=False)
    for number in rounds(count):
        stream.push_many(tsdus, 1)
        check("messages", stream.messages, number * DIFFERENT)


async def reception(count: int) -> None:
    """As `deframe`, from whole packets in sequence; each is parsed, and its checksum verified."""
    tsi, tsdus = Tsi(bytes(6), 1), filled_tsdus()
    stream = CountingReception(Receiver(tsi, 5561, 0, random.Random(1), Timing()), 1 << 20)
    sqns = itertools.count()
    # Made before the marks: every round has numbers of its own.
    packets = [
        [data_packet(PacketType.ODATA, tsi.gsi, tsi.sport, 5561, next(sqns), 0, each) for each in tsdus]
        for _ in range(count // DIFFERENT)
    ]
    for number in rounds(count):
        stream.push_many(packets[number - 1], 0.0)
        check("messages", stream.messages, number * DIFFERENT)


PATHS: dict[str, Callable[[int], Coroutine[Any, Any, None]]] = {
    each.__name__: each
    for each in (
        inproc,
        nowait,
        receive,
        batch,
        records,
        send,
        send_many,
        send_records,
        publish,
        deframe,
        reception,
    )
}


def drive(path: str, count: int) -> None:
    # A full collection goes through all that was imported, as dear as a thousand messages: whether one falls into
    # a run is not to depend on what was allocated before it.
    gc.collect()
    gc.freeze()
    run(PATHS[path](count))


def counted(wanted: list[tuple[str, int]]) -> dict[str, int]:
    """Each path in a fork of its own, for one start of the interpreter is the dearest part; who ran what, by path."""
    readings[0], sample_dtype()
    pids: dict[str, int] = {}
    running = 0
    for path, count in wanted:
        if running == JOBS:
            _wait()
            running -= 1
        pid = os.fork()
        if not pid:
            try:
                drive(path, count)
            except BaseException:
                sys.excepthook(*sys.exc_info())
                os._exit(1)
            os._exit(0)
        pids[path] = pid
        running += 1
    for _ in range(running):
        _wait()
    return pids


def _wait() -> None:
    _, status = os.wait()
    if status:
        raise SystemExit(f"a path failed, status {os.waitstatus_to_exitcode(status)}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["counted"]:
        asked = (each.partition(":") for each in sys.argv[2:])
        print(json.dumps(counted([(name, int(number)) for name, _, number in asked])), flush=True)
    else:
        main({name: partial(drive, name) for name in PATHS})
