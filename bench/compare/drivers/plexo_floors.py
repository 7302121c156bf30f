# SPDX-License-Identifier: Apache-2.0
"""Floors without a library: what Python and the kernel take by themselves."""

from __future__ import annotations

import asyncio
import socket
import time

import common
from common import HOST, MODULUS, Far, Phase, check, far_report, quantiles, rate, report, run, used, warm_up
from samples import Reading, expected, values

# What one message of 64 bytes is, at least, with a frame header.
WIRE_BYTES = 72


def direct_await(count: int) -> None:
    run(_direct_await(count))


async def _direct_await(count: int) -> None:
    """Awaiting the reactant by hand."""
    seen_count = checksum = 0

    async def react(value: Reading) -> None:
        nonlocal seen_count, checksum
        seen_count += 1
        checksum += value.sequence

    messages = values(64)
    with Phase() as phase:
        for _ in range(count // len(messages)):
            for value in messages:
                await react(value)
    check("the reactant", (seen_count, checksum % MODULUS), expected(count))
    report(**rate(count, 64, phase), **used(phase), count=seen_count, checksum=checksum % MODULUS)


def direct_call(count: int) -> None:
    """Calling the reactant by hand."""
    seen_count = checksum = 0

    def react(value: Reading) -> None:
        nonlocal seen_count, checksum
        seen_count += 1
        checksum += value.sequence

    messages = values(64)
    with Phase() as phase:
        for _ in range(count // len(messages)):
            for value in messages:
                react(value)
    check("the reactant", (seen_count, checksum % MODULUS), expected(count))
    report(**rate(count, 64, phase), **used(phase), count=seen_count, checksum=checksum % MODULUS)


def rtt(count: int, style: str = "asyncio") -> None:
    run(_rtt(count, style), style)


async def _rtt(count: int, style: str) -> None:
    """WIRE_BYTES there and back over TCP, add_reader on both sides, nothing parsed."""
    running = asyncio.get_running_loop()
    answered: asyncio.Future[int] = running.create_future()
    with socket.create_server((HOST, 0)) as server:
        peer = Far(__file__, "rtt-peer", server.getsockname()[1], style)
        server.settimeout(10)
        link, _ = server.accept()
    with link:
        link.setblocking(False)
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        running.add_reader(link, lambda: answered.set_result(len(link.recv(4096))))
        message = bytes(WIRE_BYTES)
        times: list[float] = []
        for phase_count in (warm_up(count), count):
            times.clear()
            with Phase() as phase:
                for _ in range(phase_count):
                    answered = running.create_future()
                    begin = time.perf_counter()
                    link.send(message)
                    if await answered != WIRE_BYTES:
                        raise AssertionError("the answer came in pieces")
                    times.append(time.perf_counter() - begin)
        running.remove_reader(link)
    far = await asyncio.to_thread(peer.finish)
    report(**quantiles(times), **used(phase, far), count=count)


def rtt_peer(port: int, style: str) -> None:
    run(_rtt_peer(port), style)


async def _rtt_peer(port: int) -> None:
    running = asyncio.get_running_loop()
    ended: asyncio.Future[None] = running.create_future()
    with socket.create_connection((HOST, port)) as link, Phase() as phase:
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
    far_report(phase)


def import_(module: str) -> None:
    common.import_ms(f"import {module}")


if __name__ == "__main__":
    common.main(
        {
            "direct-await": direct_await,
            "direct-call": direct_call,
            "rtt": rtt,
            "rtt-peer": rtt_peer,
            "import": import_,
        }
    )
