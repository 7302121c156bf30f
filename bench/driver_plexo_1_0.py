# SPDX-License-Identifier: Apache-2.0
"""Measures plexo 1.0.0, in its own environment (see plexo_1_0.py); see driver.py.

There is no msgspec there, so a str of 64 bytes is sent. Through a Plexus on both sides, as its users do.
"""

from __future__ import annotations

import asyncio
import time
from ipaddress import IPv4Address

from driver import finish, main, other_end, quantiles, report, run

from plexo.codec.string_codec import StringCodec
from plexo.ganglion.tcp_pair import GanglionZmqTcpPair
from plexo.namespace.namespace import Namespace
from plexo.neuron.neuron import Neuron
from plexo.plexus import Plexus

namespace = Namespace(["bench"])
reading = Neuron(str, namespace, StringCodec(), "Reading")
echo = Neuron(str, namespace, StringCodec(), "Echo")
HOST = IPv4Address("127.0.0.1")


def text(index: int) -> str:
    return f"{index:064d}"


def require(got: list[int], count: int) -> None:
    if len(got) != count or sum(got) != count * (count - 1) // 2:
        raise AssertionError(f"the reactants saw {len(got)} messages, expected {count}, or other ones")


def inproc(count: int) -> None:
    run(_inproc(count))


async def _inproc(count: int) -> None:
    got: list[int] = []

    async def react(value: str, _neuron: object, _reaction_id: object) -> None:
        got.append(int(value))

    plexus = Plexus()
    await plexus.adapt(reading, [react])
    messages = [text(index) for index in range(count)]
    begin = time.perf_counter()
    for message in messages:
        await plexus.transmit(message, reading)
    seconds = time.perf_counter() - begin
    require(got, count)
    report(per_second=count / seconds)


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind((str(HOST), 0))
        return int(probe.getsockname()[1])


def pair(count: int) -> None:
    run(_pair(count))


async def _pair(count: int) -> None:
    port = _free_port()
    done = asyncio.Event()
    sums: list[str] = []

    async def react(value: str, _neuron: object, _reaction_id: object) -> None:
        sums.append(value)
        done.set()

    plexus = Plexus([GanglionZmqTcpPair(bind_interface=str(HOST), port=port)])
    await plexus.adapt(echo, [react])
    await plexus.adapt(reading)
    peer = other_end(__file__, "pair-peer", port, count)
    await done.wait()
    done.clear()
    await plexus.transmit(text(0), reading)
    await done.wait()
    done.clear()
    messages = [text(index) for index in range(count)]
    begin = time.perf_counter()
    for message in messages:
        await plexus.transmit(message, reading)
    await done.wait()
    seconds = time.perf_counter() - begin
    if int(sums[-1]) != count * (count - 1) // 2:
        raise AssertionError(f"the reactant saw the sum {int(sums[-1])}")
    plexus.close()
    await asyncio.to_thread(finish, peer)
    report(per_second=count / seconds)


def pair_peer(port: int, count: int) -> None:
    run(_peer(port, [count, 1], False))


def roundtrip(count: int) -> None:
    run(_roundtrip(count))


async def _roundtrip(count: int) -> None:
    port = _free_port()
    running = asyncio.get_running_loop()
    answered: asyncio.Future[int] = running.create_future()

    async def react(value: str, _neuron: object, _reaction_id: object) -> None:
        answered.set_result(int(value))

    plexus = Plexus([GanglionZmqTcpPair(bind_interface=str(HOST), port=port)])
    await plexus.adapt(echo, [react])
    await plexus.adapt(reading)
    peer = other_end(__file__, "roundtrip-peer", port, count + 100)
    await answered
    times = []
    for index in range(count + 100):
        answered = running.create_future()
        message = text(index)
        begin = time.perf_counter()
        await plexus.transmit(message, reading)
        if await answered != index:
            raise AssertionError("another message came back")
        times.append(time.perf_counter() - begin)
    plexus.close()
    await asyncio.to_thread(finish, peer)
    report(**quantiles(times[100:]))


def roundtrip_peer(port: int, count: int) -> None:
    run(_peer(port, [1] * count, True))


async def _peer(port: int, phases: list[int], answer: bool) -> None:
    """After each phase's number of messages send their sum, or (answer) the message, back.

    Says first that it is there: 1.0.0 throws away what arrives while neurons are still being adapted.
    """
    got: list[int] = []
    done = asyncio.Event()
    plexus = Plexus([GanglionZmqTcpPair(peer=(HOST, port))])

    async def react(value: str, _neuron: object, _reaction_id: object) -> None:
        got.append(int(value))
        if len(got) == phases[-1]:
            await plexus.transmit(value if answer else text(sum(got)), echo)
            got.clear()
            phases.pop()
            if not phases:
                done.set()

    await plexus.adapt(echo)
    await plexus.adapt(reading, [react])
    await plexus.transmit(text(0), echo)
    await done.wait()
    # It has no flush: give its I/O thread the moment that the last answer takes.
    await asyncio.sleep(0.2)
    plexus.close()


if __name__ == "__main__":
    main(
        {
            "inproc": inproc,
            "pair": pair,
            "pair-peer": pair_peer,
            "roundtrip": roundtrip,
            "roundtrip-peer": roundtrip_peer,
        }
    )
