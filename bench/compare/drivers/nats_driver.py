# SPDX-License-Identifier: Apache-2.0
"""Measures NATS: nats-py on both sides of a nats-server that the driver starts and ends; Struct to MessagePack.

Subscribers have callbacks, as nats-py has them: coroutines. Its limits are off, and the server's are far away,
as both drop messages, or who is slow, above them; subjects are not validated. The server's CPU time and memory
count. Styles: "asyncio" and "uvloop".
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, perf_counter, sleep
from typing import Any

import msgspec
import nats
import samples
from common import (
    HOST,
    SUBSCRIBERS,
    TOPICS,
    Far,
    Load,
    Phase,
    check,
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
from samples import DIFFERENT, Echo, Reading, Seen, check_fanout, echo_of

sys.path.append(str(Path(__file__).resolve().parent.parent))

from environments import nats_server

NOTES = {
    "all": "through a broker, which the others do without; its CPU time and memory are in the figures",
    "ingest": "NATS does not speak the sensors' wire",
}

# The server's own limit on a message is 64 MiB.
CONFIGURATION = """
host: "{host}"
port: {port}
max_payload: 67108864
max_pending: 17179869184
write_deadline: "60s"
"""
STARTED_S = 10.0

encode = msgspec.msgpack.Encoder().encode
decode_reading = msgspec.msgpack.Decoder(Reading).decode
decode_echo = msgspec.msgpack.Decoder(Echo).decode
decode_seen = msgspec.msgpack.Decoder(Seen).decode

READING, ECHO, SEEN, ARRAY = *map(samples.topic, (Reading, Echo, Seen)), "bench.Array"


def _die_with_parent() -> None:
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


@contextlib.contextmanager
def _server() -> Iterator[tuple[int, int]]:
    """Port and process id of a server."""
    port = free_port()
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as configuration:
        configuration.write(CONFIGURATION.format(host=HOST, port=port))
        configuration.flush()
        process = subprocess.Popen(
            [nats_server(), "--config", configuration.name],
            stderr=subprocess.DEVNULL,
            # It has no bound of its own, and the watchdog of this process lets nothing else be done.
            preexec_fn=_die_with_parent,
        )
        try:
            _wait_for(port)
            yield port, process.pid
        finally:
            process.terminate()
            process.wait(timeout=10)


def _wait_for(port: int) -> None:
    end = monotonic() + STARTED_S
    while True:
        try:
            socket.create_connection((HOST, port), timeout=1).close()
            return
        except OSError:
            if monotonic() > end:
                raise TimeoutError(f"nats-server does not listen after {STARTED_S} s") from None
            sleep(0.01)


async def _failed(error: Exception) -> None:
    print(f"nats: {error!r}", file=sys.stderr)


def _connected(port: int) -> Any:
    return nats.connect(f"nats://{HOST}:{port}", error_cb=_failed, skip_subject_validation=True)


async def _subscribe(client: Any, topic: str, callback: Any) -> None:
    await client.subscribe(topic, cb=callback, pending_msgs_limit=0, pending_bytes_limit=0)


async def _ready(client: Any) -> None:
    """The server knows our subscriptions: what is published from now on comes."""
    await client.flush()
    print("ready", flush=True)


class _Counter:
    """Counts in phases, and says when one is over."""

    def __init__(self, *phases: int) -> None:
        self._phases = list(phases)
        self.seen = self.checksum = 0
        self.wanted = phases[0]
        self.over = asyncio.Event()
        if not self.wanted:
            self.over.set()

    async def phase(self) -> Seen:
        await self.over.wait()
        self.over.clear()
        found = Seen(self.seen, self.checksum % samples.MODULUS)
        self.seen = self.checksum = 0
        del self._phases[0]
        if self._phases:
            self.wanted = self._phases[0]
        return found

    def take(self, sequence: int) -> None:
        self.checksum += sequence
        self.seen += 1
        if self.seen == self.wanted:
            self.over.set()


# -- pair, large ---------------------------------------------------------------------------------------------


def pair(count: int, size: int = 64, style: str = "asyncio") -> None:
    with _server() as (port, server):
        run(_pair(count, size, style, port, server), style)


async def _pair(count: int, size: int, style: str, port: int, server: int) -> None:
    values, topic = samples.values(size), samples.topic(samples.TYPES[size])
    reports: asyncio.Queue[Seen] = asyncio.Queue()

    async def react(message: Any) -> None:
        reports.put_nowait(decode_seen(message.data))

    async with await _connected(port) as client:
        await _subscribe(client, SEEN, react)
        far = Far(__file__, "pair-peer", port, warm_up(count), count, size, style)
        await asyncio.to_thread(far.line)
        publish = client.publish
        for messages in (warm_up(count), count):
            with Phase(server) as phase:
                for index in range(messages):
                    await publish(topic, encode(values[index % DIFFERENT]))
                got = await reports.get()
            check("the peer", (got.count, got.checksum), samples.expected(messages))
        theirs = await asyncio.to_thread(far.finish)
    figures = used(phase, theirs, pids=[server])
    report(**rate(count, size, phase), count=got.count, checksum=got.checksum, **figures)


def pair_peer(port: int, warm: int, count: int, size: int, style: str = "asyncio") -> None:
    kind = samples.TYPES[size]
    decode = msgspec.msgpack.Decoder(kind).decode
    run(_peer(port, warm, count, samples.topic(kind), lambda data: decode(data).sequence), style)


async def _peer(port: int, warm: int, count: int, topic: str, sequence_of: Any) -> None:
    counter = _Counter(warm, count)

    async def react(message: Any) -> None:
        counter.take(sequence_of(message.data))

    async with await _connected(port) as client:
        await _subscribe(client, topic, react)
        await _ready(client)
        for _ in range(2):
            with Phase() as phase:
                await client.publish(SEEN, encode(await counter.phase()))
                await client.flush()
    far_report(phase)


def large(count: int, size: int, style: str = "asyncio") -> None:
    with _server() as (port, server):
        run(_large(count, size, style, port, server), style)


async def _large(count: int, size: int, style: str, port: int, server: int) -> None:
    arrays = samples.large_arrays(size)
    reports: asyncio.Queue[Seen] = asyncio.Queue()

    async def react(message: Any) -> None:
        reports.put_nowait(decode_seen(message.data))

    async with await _connected(port) as client:
        await _subscribe(client, SEEN, react)
        far = Far(__file__, "large-peer", port, warm_up(count), count, size, style)
        await asyncio.to_thread(far.line)
        for messages in (warm_up(count), count):
            with Phase(server) as phase:
                for index in range(messages):
                    await client.publish(ARRAY, arrays[index % len(arrays)].tobytes())
                got = await reports.get()
            check("the peer", (got.count, got.checksum), samples.expected_large(messages, size))
        theirs = await asyncio.to_thread(far.finish)
    figures = dict(rate(count, size, phase), count=got.count, checksum=got.checksum)
    figures |= used(phase, theirs, pids=[server])
    # To bytes, behind the head, before the end, commands joined, what the socket does not take; the stream's buffer,
    # out of that, the parser's buffer, a slice of that, to bytes.
    report(**figures, copies="5 + 5, and the server's")


def large_peer(port: int, warm: int, count: int, size: int, style: str = "asyncio") -> None:
    import numpy as np

    run(_peer(port, warm, count, ARRAY, lambda data: samples.page_sum(np.frombuffer(data, np.uint8))), style)


# -- rtt, rttload --------------------------------------------------------------------------------------------


def rtt(count: int, style: str = "asyncio") -> None:
    with _server() as (port, server):
        run(_rtt(count, style, port, server), style)


async def _rtt(count: int, style: str, port: int, server: int) -> None:
    values = samples.values()
    loop = asyncio.get_running_loop()
    answered: asyncio.Future[int] = loop.create_future()

    async def react(message: Any) -> None:
        answered.set_result(decode_echo(message.data).sequence)

    async with await _connected(port) as client:
        await _subscribe(client, ECHO, react)
        far = Far(__file__, "rtt-peer", port, warm_up(count) + count, style)
        await asyncio.to_thread(far.line)
        for messages in (warm_up(count), count):
            times: list[float] = []
            checksum = 0
            with Phase(server) as phase:
                for index in range(messages):
                    answered = loop.create_future()
                    begin = perf_counter()
                    await client.publish(READING, encode(values[index % DIFFERENT]))
                    checksum += await answered
                    times.append(perf_counter() - begin)
            check("the sender", (len(times), checksum), samples.expected(messages))
        theirs = await asyncio.to_thread(far.finish)
    figures = used(phase, theirs, pids=[server])
    report(**quantiles(times), count=len(times), checksum=checksum, **figures)


def rtt_peer(port: int, count: int, style: str = "asyncio") -> None:
    run(_rtt_peer(port, count), style)


async def _rtt_peer(port: int, count: int) -> None:
    warm = warm_up_in(count)
    counter = _Counter(warm, count - warm)

    async with await _connected(port) as client:

        async def react(message: Any) -> None:
            value = decode_reading(message.data)
            await client.publish(ECHO, encode(echo_of(value)))
            counter.take(value.sequence)

        await _subscribe(client, READING, react)
        await _ready(client)
        for _ in range(2):
            with Phase() as phase:
                await counter.phase()
        await client.flush()
    far_report(phase)


def rttload(seconds: float, style: str = "asyncio") -> None:
    with _server() as (port, server):
        run(_rttload(seconds, style, port, server), style)


async def _rttload(seconds: float, style: str, port: int, server: int) -> None:
    load = Load(seconds, samples.values())

    async def react(message: Any) -> None:
        load.answered(decode_echo(message.data).sequence)

    async with await _connected(port) as client:
        await _subscribe(client, ECHO, react)
        far = Far(__file__, "rttload-peer", port, style)
        await asyncio.to_thread(far.line)
        for batch in load.batches():
            for value in batch:
                await client.publish(READING, encode(value))
            await asyncio.sleep(0)
        await client.publish(READING, encode(samples.STOP))
        theirs = await asyncio.to_thread(far.finish)
    report(**load.figures(), peak_bytes=used(Phase(), theirs, pids=[server])["peak_bytes"])


def rttload_peer(port: int, style: str = "asyncio") -> None:
    run(_rttload_peer(port), style)


async def _rttload_peer(port: int) -> None:
    over = asyncio.Event()
    async with await _connected(port) as client:

        async def react(message: Any) -> None:
            value = decode_reading(message.data)
            if value.sequence:
                await client.publish(ECHO, encode(echo_of(value)))
            else:
                over.set()

        await _subscribe(client, READING, react)
        await _ready(client)
        with Phase() as phase:
            await over.wait()
    far_report(phase)


# -- fanout --------------------------------------------------------------------------------------------------


def fanout(count: int, style: str = "asyncio") -> None:
    with _server() as (port, server):
        run(_fanout(count, style, port, server), style)


async def _fanout(count: int, style: str, port: int, server: int) -> None:
    values = samples.values()
    topics = [samples.fanout_topic(number) for number in range(TOPICS)]
    async with await _connected(port) as client:
        fars = [
            Far(__file__, "fanout-peer", port, warm_up(count), count, number, style)
            for number in range(SUBSCRIBERS)
        ]
        await asyncio.to_thread(lambda: [far.line() for far in fars])
        for messages in (warm_up(count), count):
            with Phase(server) as phase:
                for index in range(messages):
                    await client.publish(topics[index % TOPICS], encode(values[index % DIFFERENT]))
                reports = await asyncio.to_thread(lambda: [far.figures() for far in fars])
            seen, checksum = check_fanout(reports, messages)
        theirs = await asyncio.to_thread(lambda: [far.finish() for far in fars])
    figures = used(phase, *theirs, pids=[server])
    report(per_second=count / phase.seconds, count=seen, checksum=checksum, **figures)


def fanout_peer(port: int, warm: int, count: int, number: int, style: str = "asyncio") -> None:
    run(_fanout_peer(port, warm, count, number), style)


async def _fanout_peer(port: int, warm: int, count: int, number: int) -> None:
    counter = _Counter(warm // 10, count // 10)

    async def react(message: Any) -> None:
        counter.take(decode_reading(message.data).sequence)

    async with await _connected(port) as client:
        for each in wanted_topics(number):
            await _subscribe(client, samples.fanout_topic(each), react)
        await _ready(client)
        for _ in range(2):
            with Phase() as phase:
                got = await counter.phase()
                report(count=got.count, checksum=got.checksum)
    far_report(phase)


if __name__ == "__main__":
    main(
        {
            "pair": pair,
            "pair-peer": pair_peer,
            "rtt": rtt,
            "rtt-peer": rtt_peer,
            "rttload": rttload,
            "rttload-peer": rttload_peer,
            "fanout": fanout,
            "fanout-peer": fanout_peer,
            "large": large,
            "large-peer": large_peer,
            "import": lambda: import_ms("import msgspec, nats"),
        }
    )
