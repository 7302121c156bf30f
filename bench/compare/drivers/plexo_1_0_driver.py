# SPDX-License-Identifier: Apache-2.0
"""Measures plexo 1.0.0, in its own environment. Through a Plexus on both sides, as its users do.

A message is a str of the size that is asked for, with its sequence in front, by 1.0.0's own codec for str: it
has none for MessagePack, and with those that it has (JSON, pickle, Cap'n Proto) a message would be of another
size than everybody else's. What the reactants see is checked all the same.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Coroutine
from ipaddress import IPv4Address
from time import perf_counter
from typing import Any, NamedTuple

import zmq
from common import (
    DIFFERENT,
    FIRST_SEQUENCE,
    HOST,
    MODULUS,
    SUBSCRIBERS,
    TOPICS,
    Far,
    Load,
    Phase,
    check,
    check_fanout,
    expected,
    far_report,
    free_port,
    import_ms,
    main,
    quantiles,
    rate,
    report,
    run,
    used,
    wanted_topics,
    warm_up,
    warm_up_in,
)

from plexo.codec.string_codec import StringCodec
from plexo.ganglion.tcp_pair import GanglionZmqTcpPair
from plexo.ganglion.tcp_pubsub import GanglionZmqTcpPubSub
from plexo.namespace.namespace import Namespace
from plexo.neuron.neuron import Neuron
from plexo.plexus import Plexus

NOTES = {
    "all": "messages are str of the same size: 1.0.0 has no codec for MessagePack",
    "fanout": "1.0.0 subscribes to everything; its warnings about messages without a neuron are turned off",
    "ingest": "1.0.0 has no arrays, and publishes every sample through a queue of 1000 that drops",
    "large": "1.0.0 has no arrays",
}

NAMESPACE = Namespace(["bench"])
READING = Neuron(str, NAMESPACE, StringCodec(), "Reading")
ECHO = Neuron(str, NAMESPACE, StringCodec(), "Echo")
SEEN = Neuron(str, NAMESPACE, StringCodec(), "Seen")
START = Neuron(str, NAMESPACE, StringCodec(), "Start")
ADDRESS = IPv4Address(HOST)

DIGITS = 8
READY = "ready"
# It has no flush: its I/O thread needs a moment for the last message.
LEAVING_S = 0.2


class Text(NamedTuple):
    sequence: int
    text: str


def _text(sequence: int, size: int = 64) -> str:
    return f"{sequence:0{DIGITS}d}".ljust(size, "x")


def _texts(size: int = 64) -> list[Text]:
    sequences = range(FIRST_SEQUENCE, FIRST_SEQUENCE + DIFFERENT)
    return [Text(sequence, _text(sequence, size)) for sequence in sequences]


def _sequence(text: str) -> int:
    return int(text[:DIGITS])


def _seen(text: str) -> tuple[int, int]:
    count, checksum = text.split()
    return int(count), int(checksum)


def _fanout_neurons() -> list[Any]:
    return [
        Neuron(str, Namespace(["bench", f"t{number:02d}"]), StringCodec(), "Reading")
        for number in range(TOPICS)
    ]


def _run(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run and leave: close() of 1.0.0 waits ten seconds for itself within a loop, and fails without one."""
    run(coroutine)
    sys.stdout.flush()
    os._exit(0)


# -- in process ----------------------------------------------------------------------------------------------


def inproc(count: int, reactants: int = 1, neurons: int = 1) -> None:
    _run(_inproc(count, reactants, neurons))


async def _inproc(count: int, reactants: int, neurons: int) -> None:
    counts = [0] * reactants
    sums = [0] * reactants

    def reactant(which: int) -> Any:
        async def react(value: str, _neuron: object, _reaction_id: object) -> None:
            counts[which] += 1
            sums[which] += _sequence(value)

        return react

    texts = _texts()
    plexus = Plexus()
    for index in range(neurons - 1):
        await plexus.adapt(Neuron(str, NAMESPACE, StringCodec(), f"n{index}"))
    await plexus.adapt(READING, [reactant(which) for which in range(reactants)])
    for messages in (warm_up(count), count):
        counts[:] = sums[:] = [0] * reactants
        with Phase() as phase:
            for index in range(messages):
                await plexus.transmit(texts[index % DIFFERENT].text, READING)
        for each in zip(counts, sums, strict=True):
            check("a reactant", each, expected(messages))
    report(**rate(count, 64, phase), count=sum(counts), checksum=sum(sums) % MODULUS, **used(phase))


# -- over a pair ---------------------------------------------------------------------------------------------


async def _bound(neuron: Any, far_arguments: tuple[object, ...], react: Any) -> tuple[Plexus, Far]:
    """A Plexus with a bound pair and its peer, which has said that it is there."""
    port = free_port()
    there = asyncio.Event()

    async def first(value: str, *context: object) -> None:
        if value == READY:
            there.set()
        else:
            await react(value)

    plexus = Plexus([GanglionZmqTcpPair(bind_interface=HOST, port=port)])
    await plexus.adapt(neuron, [first])
    await plexus.adapt(READING)
    far = Far(__file__, far_arguments[0], port, *far_arguments[1:])
    await there.wait()
    return plexus, far


async def _dialled(port: int, neuron: Any, react: Any) -> Plexus:
    """The peer says first that it is there: 1.0.0 throws away what arrives while neurons are being adapted."""
    plexus = Plexus([GanglionZmqTcpPair(peer=(ADDRESS, port))])

    async def only(value: str, _neuron: object, _reaction_id: object) -> None:
        await react(plexus, value)

    await plexus.adapt(neuron)
    await plexus.adapt(READING, [only])
    await plexus.transmit(READY, neuron)
    return plexus


def pair(count: int, size: int = 64) -> None:
    _run(_pair(count, size))


async def _pair(count: int, size: int) -> None:
    reports: asyncio.Queue[str] = asyncio.Queue()
    texts = _texts(size)
    plexus, far = await _bound(SEEN, ("pair-peer", warm_up(count), count, size), reports.put)
    for messages in (warm_up(count), count):
        with Phase() as phase:
            for index in range(messages):
                await plexus.transmit(texts[index % DIFFERENT].text, READING)
            seen = _seen(await reports.get())
        check("the peer", seen, expected(messages))
    theirs = await asyncio.to_thread(far.finish)
    report(**rate(count, size, phase), count=seen[0], checksum=seen[1], **used(phase, theirs))


def pair_peer(port: int, warm: int, count: int, _size: int) -> None:
    _run(_pair_peer(port, [warm, count]))


async def _pair_peer(port: int, phases: list[int]) -> None:
    seen = checksum = 0
    over = asyncio.Event()
    phase = Phase()
    phase.__enter__()

    async def react(plexus: Plexus, value: str) -> None:
        nonlocal seen, checksum, phase
        seen += 1
        checksum += _sequence(value)
        if seen == phases[0]:
            await plexus.transmit(f"{seen} {checksum % MODULUS}", SEEN)
            seen = checksum = 0
            del phases[0]
            phase.__exit__()
            if phases:
                phase.__enter__()
            else:
                over.set()

    _plexus = await _dialled(port, SEEN, react)
    await over.wait()
    await asyncio.sleep(LEAVING_S)
    far_report(phase)


def rtt(count: int) -> None:
    _run(_rtt(count))


async def _rtt(count: int) -> None:
    loop = asyncio.get_running_loop()
    answered: asyncio.Future[int] = loop.create_future()

    async def react(value: str) -> None:
        answered.set_result(_sequence(value))

    texts = _texts()
    plexus, far = await _bound(ECHO, ("rtt-peer", warm_up(count) + count), react)
    for messages in (warm_up(count), count):
        times: list[float] = []
        checksum = 0
        with Phase() as phase:
            for index in range(messages):
                answered = loop.create_future()
                begin = perf_counter()
                await plexus.transmit(texts[index % DIFFERENT].text, READING)
                checksum += await answered
                times.append(perf_counter() - begin)
        check("the sender", (len(times), checksum), expected(messages))
    theirs = await asyncio.to_thread(far.finish)
    report(**quantiles(times), count=len(times), checksum=checksum, **used(phase, theirs))


def rtt_peer(port: int, count: int) -> None:
    _run(_rtt_peer(port, count))


async def _rtt_peer(port: int, count: int) -> None:
    answered = 0
    warm = warm_up_in(count)
    over = asyncio.Event()
    phase = Phase()
    phase.__enter__()

    async def react(plexus: Plexus, value: str) -> None:
        nonlocal answered
        await plexus.transmit(value, ECHO)
        answered += 1
        if answered == warm:
            phase.__enter__()
        elif answered == count:
            phase.__exit__()
            over.set()

    _plexus = await _dialled(port, ECHO, react)
    await over.wait()
    await asyncio.sleep(LEAVING_S)
    far_report(phase)


def rttload(seconds: float) -> None:
    _run(_rttload(seconds))


async def _rttload(seconds: float) -> None:
    load = Load(seconds, _texts())

    async def react(value: str) -> None:
        load.answered(_sequence(value))

    plexus, far = await _bound(ECHO, ("rttload-peer",), react)
    for batch in load.batches():
        for value in batch:
            await plexus.transmit(value.text, READING)
        await asyncio.sleep(0)
    await plexus.transmit(_text(0), READING)
    theirs = await asyncio.to_thread(far.finish)
    report(**load.figures(), peak_bytes=used(Phase(), theirs)["peak_bytes"])


def rttload_peer(port: int) -> None:
    _run(_rttload_peer(port))


async def _rttload_peer(port: int) -> None:
    over = asyncio.Event()

    async def react(plexus: Plexus, value: str) -> None:
        if _sequence(value):
            await plexus.transmit(value, ECHO)
        else:
            over.set()

    with Phase() as phase:
        _plexus = await _dialled(port, ECHO, react)
        await over.wait()
    far_report(phase)


# -- fanout --------------------------------------------------------------------------------------------------


def fanout(count: int) -> None:
    _run(_fanout(count))


async def _fanout(count: int) -> None:
    texts, neurons = _texts(), _fanout_neurons()
    port = free_port()
    ganglion = GanglionZmqTcpPubSub(bind_interface=HOST, port_pub=port)
    plexus = Plexus([ganglion])
    for neuron in (START, *neurons):
        await plexus.adapt(neuron)
    fars = [
        Far(__file__, "fanout-peer", port, warm_up(count), count, number) for number in range(SUBSCRIBERS)
    ]
    for far in fars:
        while not far.has_line():
            await plexus.transmit(READY, START)
            await asyncio.sleep(0.02)
        far.line()
    # Its queue for each subscriber drops from 1000 messages on, and no parameter says otherwise.
    ganglion._socket_pub.setsockopt(zmq.SNDHWM, 0)
    for messages in (warm_up(count), count):
        with Phase() as phase:
            for index in range(messages):
                await plexus.transmit(texts[index % DIFFERENT].text, neurons[index % TOPICS])
            reports = await asyncio.to_thread(lambda: [far.figures() for far in fars])
        seen, checksum = check_fanout(reports, messages)
    theirs = await asyncio.to_thread(lambda: [far.finish() for far in fars])
    report(per_second=count / phase.seconds, count=seen, checksum=checksum, **used(phase, *theirs))


def fanout_peer(port: int, warm: int, count: int, number: int) -> None:
    # For each message that has no neuron here; printing them would be the most of the work.
    logging.disable(logging.WARNING)
    _run(_fanout_peer(port, [warm // 10, count // 10], number))


async def _fanout_peer(port: int, phases: list[int], number: int) -> None:
    seen = checksum = 0
    there, over = asyncio.Event(), asyncio.Event()
    phase = Phase()
    phase.__enter__()

    async def react(value: str, _neuron: object, _reaction_id: object) -> None:
        nonlocal seen, checksum
        seen += 1
        checksum += _sequence(value)
        if seen == phases[0]:
            phase.__exit__()
            report(count=seen, checksum=checksum % MODULUS)
            seen = checksum = 0
            del phases[0]
            if phases:
                phase.__enter__()
            else:
                over.set()

    async def start(_value: str, _neuron: object, _reaction_id: object) -> None:
        if not there.is_set():
            there.set()
            print("ready", flush=True)

    neurons = _fanout_neurons()
    ganglion = GanglionZmqTcpPubSub(bind_interface=HOST, port_pub=free_port(), peers=[(ADDRESS, port)])
    plexus = Plexus([ganglion])
    for each in wanted_topics(number):
        await plexus.adapt(neurons[each], [react])
    await plexus.adapt(START, [start])
    await over.wait()
    far_report(phase)


if __name__ == "__main__":
    main(
        {
            "inproc": inproc,
            "pair": pair,
            "pair-peer": pair_peer,
            "rtt": rtt,
            "rtt-peer": rtt_peer,
            "rttload": rttload,
            "rttload-peer": rttload_peer,
            "fanout": fanout,
            "fanout-peer": fanout_peer,
            "import": lambda: import_ms("import plexo.plexus, plexo.neuron.neuron, plexo.ganglion.tcp_pair"),
        }
    )
