# SPDX-License-Identifier: Apache-2.0
"""Floors without a library: what Python and the kernel take by themselves; see driver.py."""

from __future__ import annotations

import asyncio
import socket
import time

from driver import finish, main, other_end, quantiles, report, run
from samples import DIFFERENT, Reading, readings, require

# What one message of 64 bytes is, at least, with a frame header.
WIRE_BYTES = 72
HOST = "127.0.0.1"


def direct_await(count: int) -> None:
    run(_direct_await(count))


async def _direct_await(count: int) -> None:
    """Awaiting the reactant by hand."""
    seen_count = checksum = 0

    async def react(value: Reading) -> None:
        nonlocal seen_count, checksum
        seen_count += 1
        checksum += value.sequence

    begin = time.perf_counter()
    for _ in range(count // DIFFERENT):
        for value in readings:
            await react(value)
    seconds = time.perf_counter() - begin
    require(seen_count, checksum, count)
    report(per_second=count / seconds)


def direct_call(count: int) -> None:
    """Calling the reactant by hand."""
    seen_count = checksum = 0

    def react(value: Reading) -> None:
        nonlocal seen_count, checksum
        seen_count += 1
        checksum += value.sequence

    begin = time.perf_counter()
    for _ in range(count // DIFFERENT):
        for value in readings:
            react(value)
    seconds = time.perf_counter() - begin
    require(seen_count, checksum, count)
    report(per_second=count / seconds)


def roundtrip(count: int, loop: str = "asyncio") -> None:
    run(_roundtrip(count, loop), loop)


async def _roundtrip(count: int, loop: str) -> None:
    """WIRE_BYTES there and back over TCP, add_reader on both sides, nothing parsed."""
    running = asyncio.get_running_loop()
    answered: asyncio.Future[int] = running.create_future()
    with socket.create_server((HOST, 0)) as server:
        peer = other_end(__file__, "roundtrip-peer", server.getsockname()[1], loop)
        server.settimeout(10)
        link, _ = server.accept()
    with link:
        link.setblocking(False)
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        running.add_reader(link, lambda: answered.set_result(len(link.recv(4096))))
        message = bytes(WIRE_BYTES)
        times: list[float] = []
        for _ in range(DIFFERENT + count):
            answered = running.create_future()
            begin = time.perf_counter()
            link.send(message)
            if await answered != WIRE_BYTES:
                raise AssertionError("the answer came in pieces")
            times.append(time.perf_counter() - begin)
        running.remove_reader(link)
    await asyncio.to_thread(finish, peer)
    report(**quantiles(times[DIFFERENT:]))


def roundtrip_peer(port: int, loop: str) -> None:
    run(_roundtrip_peer(port), loop)


async def _roundtrip_peer(port: int) -> None:
    running = asyncio.get_running_loop()
    ended: asyncio.Future[None] = running.create_future()
    with socket.create_connection((HOST, port)) as link:
        link.setblocking(False)
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def answer() -> None:
            received = link.recv(4096)
            if received:
                link.send(received)
            else:
                running.remove_reader(link)
                ended.set_result(None)

        running.add_reader(link, answer)
        await ended


if __name__ == "__main__":
    main(
        {
            "direct-await": direct_await,
            "direct-call": direct_call,
            "roundtrip": roundtrip,
            "roundtrip-peer": roundtrip_peer,
        }
    )
