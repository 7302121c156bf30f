# SPDX-License-Identifier: Apache-2.0
"""What tests share: bounded runs, waiting for a condition, message types, raw sockets that speak just enough ZMTP."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import msgspec

from plexo import Namespace, Neuron
from plexo._fast.books import Tally

T = TypeVar("T")

TIMEOUT_S = 20.0


class Reading(msgspec.Struct, frozen=True):
    sensor: str
    celsius: float


class Tick(msgspec.Struct, frozen=True):
    n: int


class Blob(msgspec.Struct, frozen=True):
    data: bytes


namespace = Namespace("org.brewery.sake")
reading = Neuron(Reading, namespace)
tick = Neuron(Tick, namespace)
blob = Neuron(Blob, namespace)


def run(main: Coroutine[Any, Any, T], timeout_s: float = TIMEOUT_S) -> T:
    """asyncio.run with a limit."""

    async def limited() -> T:
        return await asyncio.wait_for(main, timeout_s)

    return asyncio.run(limited())


async def until(condition: Callable[[], object], timeout_s: float = TIMEOUT_S) -> None:
    """Wait for a condition that no event announces."""
    deadline = time.monotonic() + timeout_s
    pause = 0.0
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s} s: {condition}")
        await asyncio.sleep(pause)
        pause = 0.002


async def within(awaitable: Awaitable[T], timeout_s: float = TIMEOUT_S) -> T:
    return await asyncio.wait_for(awaitable, timeout_s)


class Keeper:
    """What a Fanout wants of its owner: counts, and notes what it is told."""

    def __init__(self) -> None:
        self._tally = Tally()
        self.errors: list[BaseException] = []
        self.episodes: list[tuple[str, object]] = []

    def _reactant_failed(
        self, error: BaseException, reactant: object, neuron: object, peer: str, data: object, payload: object
    ) -> None:
        self.errors.append(error)

    def _dropping(self, neuron: object, reactant: object, policy: str) -> None:
        self.episodes.append(("dropping", policy))

    def _stopped_dropping(self, neuron: object, reactant: object, count: int) -> None:
        self.episodes.append(("stopped", count))


GREETING = b"\xff\0\0\0\0\0\0\0\x01\x7f\x03\x01" + b"NULL".ljust(20, b"\0") + bytes(32)


def frame(body: bytes, flags: int = 0) -> bytes:
    if len(body) > 255:
        return bytes([flags | 2]) + struct.pack(">Q", len(body)) + body
    return bytes([flags, len(body)]) + body


def ready(socket_type: bytes) -> bytes:
    return frame(b"\x05READY\x0bSocket-Type" + struct.pack(">I", len(socket_type)) + socket_type, 4)


class RawPeer:
    """A blocking socket that has shaken hands as `socket_type`, for sending what no correct peer would."""

    def __init__(self, port: int, socket_type: bytes | None = b"PAIR", host: str = "127.0.0.1") -> None:
        self.socket = socket.create_connection((host, port), 10)
        self.socket.settimeout(10)
        if socket_type is not None:
            self.socket.sendall(GREETING + ready(socket_type))
            self.received = self.read_exactly(64)
            header = self.read_exactly(2)
            self.received += header + self.read_exactly(header[1])

    def read_exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self.socket.recv(size - len(data))
            if not more:
                raise EOFError(f"closed after {len(data)} of {size} bytes")
            data += more
        return data

    def read_frame(self) -> tuple[int, bytes]:
        flags = self.read_exactly(1)[0]
        size = struct.unpack(">Q", self.read_exactly(8))[0] if flags & 2 else self.read_exactly(1)[0]
        return flags, self.read_exactly(size)

    def closed_by_peer(self) -> bool:
        """Read to the end; True for an end of the stream, also an abrupt one."""
        try:
            while self.socket.recv(65536):
                pass
        except TimeoutError:
            return False
        except OSError:
            pass
        return True

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> RawPeer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


async def in_thread(function: Callable[[], T]) -> T:
    """Blocking socket work beside the loop under test."""
    return await asyncio.get_running_loop().run_in_executor(None, function)
