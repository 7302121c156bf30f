# SPDX-License-Identifier: Apache-2.0
"""Measures pyzmq doing the work by hand: Struct to MessagePack, socket, Struct.

Limits on queues are off (high-water marks 0) as far as the run could lose messages by them. One frame holds
the payload alone on PAIR, and topic and payload are two frames on PUB/SUB, which is what its users do. Styles:
"blocking" (the fastest it has), "asyncio", and "uvloop", which is asyncio on that loop.
"""

from __future__ import annotations

import asyncio
from time import perf_counter, sleep
from typing import Any

import msgspec
import samples
import zmq
import zmq.asyncio
from common import (
    HOST,
    SAMPLE_TOPIC,
    SUBSCRIBERS,
    TIMEOUT_S,
    TOPICS,
    Far,
    Load,
    Phase,
    check,
    far_report,
    import_ms,
    ingest_peer,
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

NOTES = {
    "ingest": "the collector blocks; one call per frame is all that libzmq has",
    "large": "arrays are sent without metadata, since both ends know what they are",
}

ENDPOINT = f"tcp://{HOST}"
# Samples that the collector takes at most before it makes an array of them.
BATCH = 1000
START = b"start"

encode = msgspec.msgpack.Encoder().encode
decode_reading = msgspec.msgpack.Decoder(Reading).decode
decode_echo = msgspec.msgpack.Decoder(Echo).decode
decode_seen = msgspec.msgpack.Decoder(Seen).decode


def _socket(context: Any, kind: int) -> Any:
    made: Any = context.socket(kind)
    made.setsockopt(zmq.SNDHWM, 0)
    made.setsockopt(zmq.RCVHWM, 0)
    # Enough for the last report to leave.
    made.setsockopt(zmq.LINGER, 1000)
    made.setsockopt(zmq.RCVTIMEO, int(1000 * TIMEOUT_S))
    return made


def _loop(style: str) -> str:
    return "uvloop" if style == "uvloop" else "asyncio"


def _seen(payload: bytes) -> tuple[int, int]:
    got = decode_seen(payload)
    return got.count, got.checksum


# -- pair ----------------------------------------------------------------------------------------------------


def pair(count: int, size: int = 64, style: str = "blocking") -> None:
    if style == "blocking":
        _pair_blocking(count, size)
    else:
        run(_pair_asyncio(count, size, style), _loop(style))


def _pair_blocking(count: int, size: int) -> None:
    values = samples.values(size)
    with zmq.Context() as context, _socket(context, zmq.PAIR) as link:
        port = link.bind_to_random_port(ENDPOINT)
        far = Far(__file__, "pair-peer", port, warm_up(count), count, size, "blocking")
        for messages in (warm_up(count), count):
            with Phase() as phase:
                for index in range(messages):
                    link.send(encode(values[index % DIFFERENT]))
                seen = _seen(link.recv())
            check("the peer", seen, samples.expected(messages))
        theirs = far.finish()
    report(**rate(count, size, phase), count=seen[0], checksum=seen[1], **used(phase, theirs))


async def _pair_asyncio(count: int, size: int, style: str) -> None:
    values = samples.values(size)
    with zmq.asyncio.Context() as context, _socket(context, zmq.PAIR) as link:
        port = link.bind_to_random_port(ENDPOINT)
        far = Far(__file__, "pair-peer", port, warm_up(count), count, size, style)
        for messages in (warm_up(count), count):
            with Phase() as phase:
                for index in range(messages):
                    await link.send(encode(values[index % DIFFERENT]))
                seen = _seen(await link.recv())
            check("the peer", seen, samples.expected(messages))
        theirs = await asyncio.to_thread(far.finish)
    report(**rate(count, size, phase), count=seen[0], checksum=seen[1], **used(phase, theirs))


def pair_peer(port: int, warm: int, count: int, size: int, style: str = "blocking") -> None:
    if style == "blocking":
        _pair_peer_blocking(port, warm, count, size)
    else:
        run(_pair_peer_asyncio(port, warm, count, size), _loop(style))


def _pair_peer_blocking(port: int, warm: int, count: int, size: int) -> None:
    decode = msgspec.msgpack.Decoder(samples.TYPES[size]).decode
    with zmq.Context() as context, _socket(context, zmq.PAIR) as link:
        link.connect(f"{ENDPOINT}:{port}")
        for messages in (warm, count):
            seen = checksum = 0
            with Phase() as phase:
                while seen < messages:
                    checksum += decode(link.recv()).sequence
                    seen += 1
                link.send(encode(Seen(seen, checksum % samples.MODULUS)))
    far_report(phase)


async def _pair_peer_asyncio(port: int, warm: int, count: int, size: int) -> None:
    decode = msgspec.msgpack.Decoder(samples.TYPES[size]).decode
    with zmq.asyncio.Context() as context, _socket(context, zmq.PAIR) as link:
        link.connect(f"{ENDPOINT}:{port}")
        for messages in (warm, count):
            seen = checksum = 0
            with Phase() as phase:
                while seen < messages:
                    checksum += decode(await link.recv()).sequence
                    seen += 1
                await link.send(encode(Seen(seen, checksum % samples.MODULUS)))
    far_report(phase)


# -- rtt -----------------------------------------------------------------------------------------------------


def rtt(count: int, style: str = "blocking") -> None:
    if style == "blocking":
        _rtt_blocking(count)
    else:
        run(_rtt_asyncio(count, style), _loop(style))


def _rtt_blocking(count: int) -> None:
    values = samples.values()
    with zmq.Context() as context, _socket(context, zmq.PAIR) as link:
        port = link.bind_to_random_port(ENDPOINT)
        far = Far(__file__, "rtt-peer", port, warm_up(count) + count, "blocking")
        for messages in (warm_up(count), count):
            times: list[float] = []
            checksum = 0
            with Phase() as phase:
                for index in range(messages):
                    begin = perf_counter()
                    link.send(encode(values[index % DIFFERENT]))
                    checksum += decode_echo(link.recv()).sequence
                    times.append(perf_counter() - begin)
            check("the sender", (len(times), checksum), samples.expected(messages))
        theirs = far.finish()
    report(**quantiles(times), count=len(times), checksum=checksum, **used(phase, theirs))


async def _rtt_asyncio(count: int, style: str) -> None:
    values = samples.values()
    with zmq.asyncio.Context() as context, _socket(context, zmq.PAIR) as link:
        port = link.bind_to_random_port(ENDPOINT)
        far = Far(__file__, "rtt-peer", port, warm_up(count) + count, style)
        for messages in (warm_up(count), count):
            times: list[float] = []
            checksum = 0
            with Phase() as phase:
                for index in range(messages):
                    begin = perf_counter()
                    await link.send(encode(values[index % DIFFERENT]))
                    checksum += decode_echo(await link.recv()).sequence
                    times.append(perf_counter() - begin)
            check("the sender", (len(times), checksum), samples.expected(messages))
        theirs = await asyncio.to_thread(far.finish)
    report(**quantiles(times), count=len(times), checksum=checksum, **used(phase, theirs))


def rtt_peer(port: int, count: int, style: str = "blocking") -> None:
    if style == "blocking":
        _rtt_peer_blocking(port, count)
    else:
        run(_rtt_peer_asyncio(port, count), _loop(style))


def _rtt_peer_blocking(port: int, count: int) -> None:
    warm = warm_up_in(count)
    with zmq.Context() as context, _socket(context, zmq.PAIR) as link:
        link.connect(f"{ENDPOINT}:{port}")
        for messages in (warm, count - warm):
            with Phase() as phase:
                for _ in range(messages):
                    link.send(encode(echo_of(decode_reading(link.recv()))))
    far_report(phase)


async def _rtt_peer_asyncio(port: int, count: int) -> None:
    warm = warm_up_in(count)
    with zmq.asyncio.Context() as context, _socket(context, zmq.PAIR) as link:
        link.connect(f"{ENDPOINT}:{port}")
        for messages in (warm, count - warm):
            with Phase() as phase:
                for _ in range(messages):
                    await link.send(encode(echo_of(decode_reading(await link.recv()))))
    far_report(phase)


# -- rttload -------------------------------------------------------------------------------------------------


def rttload(seconds: float, style: str = "blocking") -> None:
    if style == "blocking":
        _rttload_blocking(seconds)
    else:
        run(_rttload_asyncio(seconds, style), _loop(style))


def _rttload_blocking(seconds: float) -> None:
    load = Load(seconds, samples.values())
    with zmq.Context() as context, _socket(context, zmq.PAIR) as link:
        far = Far(__file__, "rttload-peer", link.bind_to_random_port(ENDPOINT), "blocking")
        for batch in load.batches():
            for value in batch:
                link.send(encode(value))
            try:
                while True:
                    load.answered(decode_echo(link.recv(zmq.NOBLOCK)).sequence)
            except zmq.Again:
                pass
        link.send(encode(samples.STOP))
        theirs = far.finish()
    report(**load.figures(), peak_bytes=used(Phase(), theirs)["peak_bytes"])


async def _rttload_asyncio(seconds: float, style: str) -> None:
    load = Load(seconds, samples.values())

    async def receive() -> None:
        while True:
            load.answered(decode_echo(await link.recv()).sequence)

    with zmq.asyncio.Context() as context, _socket(context, zmq.PAIR) as link:
        far = Far(__file__, "rttload-peer", link.bind_to_random_port(ENDPOINT), style)
        receiver = asyncio.ensure_future(receive())
        for batch in load.batches():
            for value in batch:
                await link.send(encode(value))
            await asyncio.sleep(0)
            if receiver.done():
                receiver.result()
        await link.send(encode(samples.STOP))
        theirs = await asyncio.to_thread(far.finish)
        receiver.cancel()
        await asyncio.wait([receiver])
    report(**load.figures(), peak_bytes=used(Phase(), theirs)["peak_bytes"])


def rttload_peer(port: int, style: str = "blocking") -> None:
    if style == "blocking":
        _rttload_peer_blocking(port)
    else:
        run(_rttload_peer_asyncio(port), _loop(style))


def _rttload_peer_blocking(port: int) -> None:
    with zmq.Context() as context, _socket(context, zmq.PAIR) as link, Phase() as phase:
        link.connect(f"{ENDPOINT}:{port}")
        while (value := decode_reading(link.recv())).sequence:
            link.send(encode(echo_of(value)))
    far_report(phase)


async def _rttload_peer_asyncio(port: int) -> None:
    with zmq.asyncio.Context() as context, _socket(context, zmq.PAIR) as link, Phase() as phase:
        link.connect(f"{ENDPOINT}:{port}")
        while (value := decode_reading(await link.recv())).sequence:
            await link.send(encode(echo_of(value)))
    far_report(phase)


# -- fanout --------------------------------------------------------------------------------------------------


def fanout(count: int) -> None:
    values = samples.values()
    topics = [samples.fanout_topic(number).encode() for number in range(TOPICS)]
    with zmq.Context() as context, _socket(context, zmq.PUB) as link:
        port = link.bind_to_random_port(ENDPOINT)
        fars = [
            Far(__file__, "fanout-peer", port, warm_up(count), count, number) for number in range(SUBSCRIBERS)
        ]
        for far in fars:
            while not far.has_line():
                link.send_multipart((START, b""))
                sleep(0.005)
            far.line()
        for messages in (warm_up(count), count):
            with Phase() as phase:
                for index in range(messages):
                    topic = topics[index % TOPICS]
                    link.send_multipart((topic, encode(values[index % DIFFERENT])))
                reports = [far.figures() for far in fars]
            seen, checksum = check_fanout(reports, messages)
        theirs = [far.finish() for far in fars]
    report(per_second=count / phase.seconds, count=seen, checksum=checksum, **used(phase, *theirs))


def fanout_peer(port: int, warm: int, count: int, number: int) -> None:
    wanted = wanted_topics(number)
    with zmq.Context() as context, _socket(context, zmq.SUB) as link:
        for each in wanted:
            link.subscribe(samples.fanout_topic(each))
        # Subscribed to last: whoever gets this gets the readings too.
        link.subscribe(START)
        link.connect(f"{ENDPOINT}:{port}")
        link.recv_multipart()
        print("ready", flush=True)
        for messages in (warm, count):
            seen = checksum = 0
            with Phase() as phase:
                while seen < messages // 10:
                    topic, payload = link.recv_multipart()
                    if topic != START:
                        checksum += decode_reading(payload).sequence
                        seen += 1
                report(count=seen, checksum=checksum)
    far_report(phase)


# -- ingest --------------------------------------------------------------------------------------------------


def ingest(count: int, connections: int, style: str = "blocking") -> None:
    if style != "blocking":
        raise SystemExit(f"style: expected blocking, got {style}")
    import numpy as np

    dtype = samples.sample_dtype()
    far = Far(__file__, "ingest-peer", count, connections, stdin=True)
    with zmq.Context() as context, _socket(context, zmq.SUB) as link:
        link.subscribe(SAMPLE_TOPIC)
        for port in far.line().split():
            link.connect(f"{ENDPOINT}:{port}")
        for messages in (warm_up(count), count):
            wanted = samples.expected_samples(messages, connections)
            seen = checksum = 0
            with Phase() as phase:
                if messages == count:
                    far.tell("go")
                while seen < wanted[0]:
                    parts = []
                    # The topic first; what is behind it is there as soon as it is.
                    link.recv()
                    parts.append(link.recv())
                    try:
                        while len(parts) < BATCH:
                            link.recv(zmq.NOBLOCK)
                            parts.append(link.recv())
                    except zmq.Again:
                        pass
                    batch = np.frombuffer(b"".join(parts), dtype)
                    seen += len(batch)
                    checksum += int(batch["seq"].sum(dtype=np.uint64))
            check("the collector", (seen, checksum % samples.MODULUS), wanted)
    report(**rate(count, 64, phase), count=seen, checksum=checksum, **used(phase, far.finish()))


# -- large ---------------------------------------------------------------------------------------------------


def large(count: int, size: int) -> None:
    arrays = samples.large_arrays(size)
    with zmq.Context() as context, _socket(context, zmq.PAIR) as link:
        port = link.bind_to_random_port(ENDPOINT)
        far = Far(__file__, "large-peer", port, warm_up(count), count, size)
        for messages in (warm_up(count), count):
            trackers: list[Any] = [None] * len(arrays)
            with Phase() as phase:
                for index in range(messages):
                    which = index % len(arrays)
                    # Its memory may be written to again only when libzmq has let it go.
                    if trackers[which] is not None:
                        trackers[which].wait(TIMEOUT_S)
                    trackers[which] = link.send(arrays[which], copy=False, track=True)
                seen = _seen(link.recv())
            check("the peer", seen, samples.expected_large(messages, size))
        theirs = far.finish()
    figures = dict(**rate(count, size, phase), count=seen[0], checksum=seen[1], **used(phase, theirs))
    # libzmq writes from the array and reads into the message, but for what goes or comes with its head.
    report(**figures, copies="0 + 0 (but 8 KiB)")


def large_peer(port: int, warm: int, count: int, size: int) -> None:
    import numpy as np

    with zmq.Context() as context, _socket(context, zmq.PAIR) as link:
        link.connect(f"{ENDPOINT}:{port}")
        for messages in (warm, count):
            seen = checksum = 0
            with Phase() as phase:
                while seen < messages:
                    checksum += samples.page_sum(np.frombuffer(link.recv(copy=False), np.uint8))
                    seen += 1
                link.send(encode(Seen(seen, checksum % samples.MODULUS)))
    far_report(phase)


def imports(style: str = "blocking") -> None:
    import_ms("import msgspec, zmq" if style == "blocking" else "import msgspec, zmq.asyncio")


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
            "ingest": ingest,
            "ingest-peer": ingest_peer,
            "large": large,
            "large-peer": large_peer,
            "import": imports,
        }
    )
