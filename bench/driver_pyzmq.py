# SPDX-License-Identifier: Apache-2.0
"""Measures pyzmq doing the same work by hand: Struct to MessagePack, socket, Struct, coroutine.

Limits on queues are off (high-water marks 0) as far as the run could lose messages by them. One frame holds
the payload alone on PAIR, and topic and payload are two frames on PUB/SUB, which is what its users do.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import zmq
import zmq.asyncio
from driver import TIMEOUT_S, finish, main, other_end, quantiles, report, run
from samples import DIFFERENT, Echo, Reading, Seen, reading, readings, require

ENDPOINT = "tcp://127.0.0.1"
encode = msgspec.msgpack.Encoder().encode
decode_reading = msgspec.msgpack.Decoder(Reading).decode
decode_echo = msgspec.msgpack.Decoder(Echo).decode
decode_seen = msgspec.msgpack.Decoder(Seen).decode


def _socket(context: zmq.Context[Any], kind: int) -> Any:
    made: Any = context.socket(kind)
    made.setsockopt(zmq.SNDHWM, 0)
    made.setsockopt(zmq.RCVHWM, 0)
    made.setsockopt(zmq.LINGER, 1000)
    made.setsockopt(zmq.RCVTIMEO, int(1000 * TIMEOUT_S))
    return made


def _phases(count: int) -> tuple[int, int]:
    return max(DIFFERENT, count // 10 // DIFFERENT * DIFFERENT), count


# -- pair, one way -------------------------------------------------------------------------------------------


def pair(count: int, style: str) -> None:
    if style == "asyncio":
        run(_pair_asyncio(count))
    else:
        _pair_blocking(count)


async def _pair_asyncio(count: int) -> None:
    with zmq.asyncio.Context() as context, _socket(context, zmq.PAIR) as link:
        peer = other_end(__file__, "pair-peer", link.bind_to_random_port(ENDPOINT), count, "asyncio")
        for messages in _phases(count):
            begin = time.perf_counter()
            for _ in range(messages // DIFFERENT):
                for value in readings:
                    await link.send(encode(value))
            got = decode_seen(await link.recv())
            seconds = time.perf_counter() - begin
            require(got.count, got.checksum, messages)
        await asyncio.to_thread(finish, peer)
    report(per_second=count / seconds)


def _pair_blocking(count: int) -> None:
    with zmq.Context() as context, _socket(context, zmq.PAIR) as link:
        peer = other_end(__file__, "pair-peer", link.bind_to_random_port(ENDPOINT), count, "blocking")
        for messages in _phases(count):
            begin = time.perf_counter()
            for _ in range(messages // DIFFERENT):
                for value in readings:
                    link.send(encode(value))
            got = decode_seen(link.recv())
            seconds = time.perf_counter() - begin
            require(got.count, got.checksum, messages)
        finish(peer)
    report(per_second=count / seconds)


def pair_peer(port: int, count: int, style: str) -> None:
    if style == "asyncio":
        run(_pair_peer_asyncio(port, count))
    else:
        _pair_peer_blocking(port, count)


async def _pair_peer_asyncio(port: int, count: int) -> None:
    seen_count = checksum = 0

    async def react(value: Reading) -> None:
        nonlocal seen_count, checksum
        seen_count += 1
        checksum += value.sequence

    with zmq.asyncio.Context() as context, _socket(context, zmq.PAIR) as link:
        link.connect(f"{ENDPOINT}:{port}")
        for messages in _phases(count):
            for _ in range(messages):
                await react(decode_reading(await link.recv()))
            await link.send(encode(Seen(seen_count, checksum)))
            seen_count = checksum = 0


def _pair_peer_blocking(port: int, count: int) -> None:
    seen_count = checksum = 0

    def react(value: Reading) -> None:
        nonlocal seen_count, checksum
        seen_count += 1
        checksum += value.sequence

    with zmq.Context() as context, _socket(context, zmq.PAIR) as link:
        link.connect(f"{ENDPOINT}:{port}")
        for messages in _phases(count):
            for _ in range(messages):
                react(decode_reading(link.recv()))
            link.send(encode(Seen(seen_count, checksum)))
            seen_count = checksum = 0


# -- pair, there and back ------------------------------------------------------------------------------------


def _rounds(count: int) -> Iterator[Reading]:
    for _ in range((DIFFERENT + count) // DIFFERENT):
        yield from readings


def roundtrip(count: int, style: str) -> None:
    if style == "asyncio":
        run(_roundtrip_asyncio(count))
    else:
        _roundtrip_blocking(count)


async def _roundtrip_asyncio(count: int) -> None:
    times: list[float] = []
    checksum = 0
    with zmq.asyncio.Context() as context, _socket(context, zmq.PAIR) as link:
        peer = other_end(__file__, "roundtrip-peer", link.bind_to_random_port(ENDPOINT), count, "asyncio")
        for value in _rounds(count):
            begin = time.perf_counter()
            await link.send(encode(value))
            checksum += decode_echo(await link.recv()).sequence
            times.append(time.perf_counter() - begin)
        await asyncio.to_thread(finish, peer)
    require(len(times), checksum, DIFFERENT + count)
    report(**quantiles(times[DIFFERENT:]))


def _roundtrip_blocking(count: int) -> None:
    times: list[float] = []
    checksum = 0
    with zmq.Context() as context, _socket(context, zmq.PAIR) as link:
        peer = other_end(__file__, "roundtrip-peer", link.bind_to_random_port(ENDPOINT), count, "blocking")
        for value in _rounds(count):
            begin = time.perf_counter()
            link.send(encode(value))
            checksum += decode_echo(link.recv()).sequence
            times.append(time.perf_counter() - begin)
        finish(peer)
    require(len(times), checksum, DIFFERENT + count)
    report(**quantiles(times[DIFFERENT:]))


def roundtrip_peer(port: int, count: int, style: str) -> None:
    if style == "asyncio":
        run(_roundtrip_peer_asyncio(port, count))
    else:
        _roundtrip_peer_blocking(port, count)


def _answer(received: bytes) -> bytes:
    value = decode_reading(received)
    return encode(Echo(value.sensor, value.time, value.value, value.sequence))


async def _roundtrip_peer_asyncio(port: int, count: int) -> None:
    with zmq.asyncio.Context() as context, _socket(context, zmq.PAIR) as link:
        link.connect(f"{ENDPOINT}:{port}")
        for _ in range(DIFFERENT + count):
            await link.send(_answer(await link.recv()))


def _roundtrip_peer_blocking(port: int, count: int) -> None:
    with zmq.Context() as context, _socket(context, zmq.PAIR) as link:
        link.connect(f"{ENDPOINT}:{port}")
        for _ in range(DIFFERENT + count):
            link.send(_answer(link.recv()))


# -- publish/subscribe, blocking -----------------------------------------------------------------------------


def pubsub(count: int, subscribers: int) -> None:
    with (
        zmq.Context() as context,
        _socket(context, zmq.PUB) as link,
        _socket(context, zmq.PULL) as reports,
    ):
        port = link.bind_to_random_port(ENDPOINT)
        back = reports.bind_to_random_port(ENDPOINT)
        peers = [other_end(__file__, "pubsub-peer", port, back, count) for _ in range(subscribers)]
        ready = 0
        while ready < subscribers:
            link.send_multipart((b"start", b""))
            ready += reports.poll(10) and bool(reports.recv() == b"ready")
        for messages in _phases(count):
            begin = time.perf_counter()
            for _ in range(messages // DIFFERENT):
                for value in readings:
                    link.send_multipart((reading.topic, encode(value)))
            for _ in range(subscribers):
                got = decode_seen(reports.recv())
                require(got.count, got.checksum, messages)
            seconds = time.perf_counter() - begin
        for peer in peers:
            finish(peer)
    report(per_second=count / seconds)


def pubsub_peer(port: int, back: int, count: int) -> None:
    with (
        zmq.Context() as context,
        _socket(context, zmq.SUB) as link,
        _socket(context, zmq.PUSH) as reports,
    ):
        reports.connect(f"{ENDPOINT}:{back}")
        link.subscribe(reading.topic)
        link.subscribe(b"start")
        link.connect(f"{ENDPOINT}:{port}")
        link.recv_multipart()
        reports.send(b"ready")
        for messages in _phases(count):
            seen_count = checksum = 0
            while seen_count < messages:
                topic, payload = link.recv_multipart()
                if topic == reading.topic:
                    seen_count += 1
                    checksum += decode_reading(payload).sequence
            reports.send(encode(Seen(seen_count, checksum)))


if __name__ == "__main__":
    main(
        {
            "pair": pair,
            "pair-peer": pair_peer,
            "roundtrip": roundtrip,
            "roundtrip-peer": roundtrip_peer,
            "pubsub": pubsub,
            "pubsub-peer": pubsub_peer,
        }
    )
