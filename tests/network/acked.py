# SPDX-License-Identifier: Apache-2.0
"""What the tests of acknowledged delivery share."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import AsyncIterator
from typing import Any

from plexo import (
    Cause,
    GanglionZmqTcpPair,
    Plexus,
)
from plexo._fast.envelope import build_envelope
from plexo._proto.delivery import PROPERTY, encode_deliver
from plexo.ganglion.delivery import Delivery
from tests.support import (
    GREETING,
    RawPeer,
    Tick,
    frame,
    tick,
)

HOST = "127.0.0.1"
SESSION = bytes(range(16))


def bound(**arguments: Any) -> GanglionZmqTcpPair:
    return GanglionZmqTcpPair(HOST, 0, **arguments)


def connecting(to: GanglionZmqTcpPair, **arguments: Any) -> GanglionZmqTcpPair:
    return GanglionZmqTcpPair(peer=to.endpoint, reconnect_min_s=0.005, reconnect_max_s=0.02, **arguments)


def delivery_of(plexus: Plexus) -> Delivery:
    ganglion = plexus.ganglia[0]
    assert isinstance(ganglion, GanglionZmqTcpPair)
    return ganglion._delivery


@contextlib.asynccontextmanager
async def sender_and_receiver(**arguments: Any) -> AsyncIterator[tuple[Plexus, Plexus]]:
    """The receiver binds; `arguments` are the sender's."""
    binding = bound()
    async with Plexus([binding]) as receiver, Plexus([connecting(binding, **arguments)]) as sender:
        await sender.adapt(tick)
        yield sender, receiver


def break_link(plexus: Plexus) -> None:
    """As if the network had reset it."""
    ganglion = plexus.ganglia[0]
    assert isinstance(ganglion, GanglionZmqTcpPair)
    for connection in list(ganglion._connections):
        connection.lost(ConnectionResetError(104, "reset by the test"), False)


def acked(plexus: Plexus) -> Any:
    ganglion = plexus.ganglia[0]
    assert isinstance(ganglion, GanglionZmqTcpPair)
    book = ganglion.stats().acked
    assert book.balanced
    return book


def faults(plexus: Plexus, cause: Cause) -> int:
    ganglion = plexus.ganglia[0]
    assert isinstance(ganglion, GanglionZmqTcpPair)
    return ganglion.stats().fault_count(cause)


class RawDelivering(RawPeer):
    """A raw socket that has announced acknowledged delivery."""

    def __init__(self, port: int, session: bytes = SESSION, value: bytes | None = None) -> None:
        super().__init__(port, None)
        announced = b"\x01" + session if value is None else value
        self.socket.sendall(
            GREETING
            + frame(
                b"\x05READY\x0bSocket-Type" + struct.pack(">I", 4) + b"PAIR"
                + bytes([len(PROPERTY)]) + PROPERTY.encode() + struct.pack(">I", len(announced)) + announced,
                4,
            )
        )  # fmt: skip

    def shake(self) -> None:
        self.read_exactly(64)
        flags, body = self.read_frame()
        assert flags == 4
        assert PROPERTY.encode() in body

    def deliver(self, id: int, floor: int, value: Tick) -> None:
        self.socket.sendall(encode_deliver(id, floor, build_envelope(tick.topic, bytes(tick.encode(value)))))
