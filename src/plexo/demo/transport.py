# SPDX-License-Identifier: Apache-2.0
"""How the processes of the demo reach each other: by a TCP pair, or by multicast on the loopback, without any
address."""

from __future__ import annotations

import asyncio
import os
import socket
import time

from plexo import GanglionPlexoMulticast, GanglionZmqTcpPair
from plexo.demo.messages import sampling_rate

HOST = "127.0.0.1"
TRANSPORTS = ("pair", "multicast")
# Over multicast an answer may overtake what it counts, since each type has a group of its own: how long that may take.
GRACE_S = 0.2
CONNECT_S = 10.0
# How soon it is noticed that the viewer has gone, or whoever started this.
PARENT_CHECK_S = 0.1

DemoGanglion = GanglionZmqTcpPair | GanglionPlexoMulticast


def of_viewer(transport: str, port: int) -> tuple[DemoGanglion, str]:
    """The viewer's ganglion, and what another process is told to find it by. OSError: the port is in use."""
    if transport == "pair":
        pair = GanglionZmqTcpPair(bind_interface=HOST, port=port)
        return pair, pair.endpoint
    port = port or _free_port()
    return GanglionPlexoMulticast(HOST, port=port), f"multicast:{port}"


def of_other(where: str) -> DemoGanglion:
    """Another process's ganglion. ValueError: `where` is nothing of that kind."""
    kind, _, port = where.partition(":")
    if kind == "multicast":
        if not port.isdigit():
            raise ValueError(f"multicast: expected a port, got {port!r}")
        return GanglionPlexoMulticast(HOST, port=int(port))
    return GanglionZmqTcpPair(peer=f"tcp://{where.removeprefix('tcp://')}")


async def until_alone(ganglion: DemoGanglion) -> None:
    """Until the viewer has been there and has gone, or whoever started this has. SystemExit: it never came."""
    give_up = time.monotonic() + CONNECT_S
    parent = os.getppid()
    seen = False
    while os.getppid() == parent:
        here = _sees_viewer(ganglion)
        if seen and not here:
            return
        seen = seen or here
        if not seen and time.monotonic() > give_up:
            raise SystemExit(f"no viewer at {_where(ganglion)} within {CONNECT_S:g} s")
        await asyncio.sleep(PARENT_CHECK_S)


def _sees_viewer(ganglion: DemoGanglion) -> bool:
    """On multicast it is the one that asks for rates."""
    if isinstance(ganglion, GanglionZmqTcpPair):
        return bool(ganglion.peers_connected)
    return any(sampling_rate.name in peer.publishes for peer in ganglion.peers())


def _where(ganglion: DemoGanglion) -> str:
    return ganglion.endpoint if isinstance(ganglion, GanglionZmqTcpPair) else f"multicast:{ganglion.port}"


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
