# SPDX-License-Identifier: Apache-2.0
"""Measures zenoh, two peers without a router: Struct to MessagePack, put, subscriber, Struct.

Everything blocks, as its Python API does, and it goes over TCP to the loopback address alone: no scouting, no
shared memory. Congestion control is BLOCK, so that nothing is dropped. Subscribers have channels, which in
zenoh's Python are faster than callbacks, and long ones, which are faster than short ones.
"""

from __future__ import annotations

import json
import queue
from time import perf_counter, sleep
from typing import Any

import msgspec
import samples
import zenoh
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
    used,
    wanted_topics,
    warm_up,
    warm_up_in,
)
from samples import DIFFERENT, Echo, Reading, Seen, check_fanout, echo_of

NOTES = {
    "large": "no shared memory, which zenoh has; NumPy arrays must become bytes first",
    "ingest": "zenoh does not speak the sensors' wire",
}

QUEUE = 100_000
LARGE_QUEUE = 4
START = "bench/start"
# A session that closes does not wait for what was put last.
LEAVING_S = 0.1

encode = msgspec.msgpack.Encoder().encode
decode_reading = msgspec.msgpack.Decoder(Reading).decode
decode_echo = msgspec.msgpack.Decoder(Echo).decode
decode_seen = msgspec.msgpack.Decoder(Seen).decode


def _session(port: int, listen: bool = False) -> Any:
    endpoints = [f"tcp/{HOST}:{port}"]
    config = zenoh.Config()
    for key, value in {
        "mode": "peer",
        "listen/endpoints": endpoints if listen else [],
        "connect/endpoints": [] if listen else endpoints,
        "scouting/multicast/enabled": False,
        "scouting/gossip/enabled": False,
        "transport/shared_memory/enabled": False,
    }.items():
        config.insert_json5(key, json.dumps(value))
    return zenoh.open(config)


def _key(topic: str) -> str:
    return topic.replace(".", "/")


def _publisher(session: Any, topic: str) -> Any:
    return session.declare_publisher(_key(topic), congestion_control=zenoh.CongestionControl.BLOCK)


def _subscriber(session: Any, topic: str, waiting: int = QUEUE) -> Any:
    return session.declare_subscriber(_key(topic), zenoh.handlers.FifoChannel(waiting))


def _matched(publisher: Any) -> Any:
    """Its put, once somebody subscribes to it; the watchdog bounds the wait."""
    while not publisher.matching_status.matching:
        sleep(0.002)
    return publisher.put


class _Ends:
    """A session that publishes one topic and subscribes to another one: what a pair is here."""

    def __init__(self, port: int, sends: str, takes: str, listen: bool = False, waiting: int = QUEUE) -> None:
        self.session = _session(port, listen)
        self._publisher = _publisher(self.session, sends)
        if not listen:
            # The main end sends when it sees our subscription, hence that comes when we can answer.
            self.put = _matched(self._publisher)
        self._subscriber = _subscriber(self.session, takes, waiting)
        self.recv, self.try_recv = self._subscriber.recv, self._subscriber.try_recv

    def matched(self) -> Any:
        return _matched(self._publisher)

    def __enter__(self) -> _Ends:
        return self

    def __exit__(self, *_: object) -> None:
        sleep(LEAVING_S)
        self.session.close()


READING, ECHO, SEEN = map(samples.topic, (Reading, Echo, Seen))


# -- pair ----------------------------------------------------------------------------------------------------


def pair(count: int, size: int = 64) -> None:
    values = samples.values(size)
    port = free_port()
    with _Ends(port, samples.topic(samples.TYPES[size]), SEEN, listen=True) as ends:
        far = Far(__file__, "pair-peer", port, warm_up(count), count, size)
        put = ends.matched()
        for messages in (warm_up(count), count):
            with Phase() as phase:
                for index in range(messages):
                    put(encode(values[index % DIFFERENT]))
                got = decode_seen(ends.recv().payload.to_bytes())
            check("the peer", (got.count, got.checksum), samples.expected(messages))
        theirs = far.finish()
    report(**rate(count, size, phase), count=got.count, checksum=got.checksum, **used(phase, theirs))


def pair_peer(port: int, warm: int, count: int, size: int) -> None:
    kind = samples.TYPES[size]
    decode = msgspec.msgpack.Decoder(kind).decode
    with _Ends(port, SEEN, samples.topic(kind)) as ends:
        recv = ends.recv
        for messages in (warm, count):
            seen = checksum = 0
            with Phase() as phase:
                while seen < messages:
                    checksum += decode(recv().payload.to_bytes()).sequence
                    seen += 1
                ends.put(encode(Seen(seen, checksum % samples.MODULUS)))
    far_report(phase)


# -- rtt, rttload --------------------------------------------------------------------------------------------


def rtt(count: int) -> None:
    values = samples.values()
    port = free_port()
    with _Ends(port, READING, ECHO, listen=True) as ends:
        far = Far(__file__, "rtt-peer", port, warm_up(count) + count)
        put, recv = ends.matched(), ends.recv
        for messages in (warm_up(count), count):
            times: list[float] = []
            checksum = 0
            with Phase() as phase:
                for index in range(messages):
                    begin = perf_counter()
                    put(encode(values[index % DIFFERENT]))
                    checksum += decode_echo(recv().payload.to_bytes()).sequence
                    times.append(perf_counter() - begin)
            check("the sender", (len(times), checksum), samples.expected(messages))
        theirs = far.finish()
    report(**quantiles(times), count=len(times), checksum=checksum, **used(phase, theirs))


def rtt_peer(port: int, count: int) -> None:
    warm = warm_up_in(count)
    with _Ends(port, ECHO, READING) as ends:
        put, recv = ends.put, ends.recv
        for messages in (warm, count - warm):
            with Phase() as phase:
                for _ in range(messages):
                    put(encode(echo_of(decode_reading(recv().payload.to_bytes()))))
    far_report(phase)


def rttload(seconds: float) -> None:
    load = Load(seconds, samples.values())
    port = free_port()
    with _Ends(port, READING, ECHO, listen=True) as ends:
        far = Far(__file__, "rttload-peer", port)
        put, try_recv = ends.matched(), ends.try_recv
        for batch in load.batches():
            for value in batch:
                put(encode(value))
            while (sample := try_recv()) is not None:
                load.answered(decode_echo(sample.payload.to_bytes()).sequence)
        put(encode(samples.STOP))
        theirs = far.finish()
    report(**load.figures(), peak_bytes=used(Phase(), theirs)["peak_bytes"])


def rttload_peer(port: int) -> None:
    with _Ends(port, ECHO, READING) as ends, Phase() as phase:
        put, recv = ends.put, ends.recv
        while (value := decode_reading(recv().payload.to_bytes())).sequence:
            put(encode(echo_of(value)))
    far_report(phase)


# -- fanout --------------------------------------------------------------------------------------------------


def fanout(count: int) -> None:
    values = samples.values()
    port = free_port()
    with _session(port, listen=True) as session:
        puts = [_publisher(session, samples.fanout_topic(number)).put for number in range(TOPICS)]
        fars = [
            Far(__file__, "fanout-peer", port, warm_up(count), count, number) for number in range(SUBSCRIBERS)
        ]
        for far in fars:
            while not far.has_line():
                session.put(START, b"", congestion_control=zenoh.CongestionControl.BLOCK)
                sleep(0.005)
            far.line()
        for messages in (warm_up(count), count):
            with Phase() as phase:
                for index in range(messages):
                    puts[index % TOPICS](encode(values[index % DIFFERENT]))
                reports = [far.figures() for far in fars]
            seen, checksum = check_fanout(reports, messages)
        theirs = [far.finish() for far in fars]
    report(per_second=count / phase.seconds, count=seen, checksum=checksum, **used(phase, *theirs))


def fanout_peer(port: int, warm: int, count: int, number: int) -> None:
    # Channels cannot be shared by subscribers, and callbacks come in threads of their own.
    incoming: queue.SimpleQueue[Any] = queue.SimpleQueue()
    with _session(port) as session:
        _kept = [
            session.declare_subscriber(_key(samples.fanout_topic(each)), incoming.put)
            for each in wanted_topics(number)
        ]
        # Subscribed to last: whoever gets this gets the readings too.
        started = _subscriber(session, START)
        started.recv()
        started.undeclare()
        print("ready", flush=True)
        for messages in (warm, count):
            seen = checksum = 0
            with Phase() as phase:
                while seen < messages // 10:
                    checksum += decode_reading(incoming.get().payload.to_bytes()).sequence
                    seen += 1
                report(count=seen, checksum=checksum)
    far_report(phase)


# -- large ---------------------------------------------------------------------------------------------------


def large(count: int, size: int) -> None:
    arrays = samples.large_arrays(size)
    port = free_port()
    with _Ends(port, "bench.Array", SEEN, listen=True) as ends:
        far = Far(__file__, "large-peer", port, warm_up(count), count, size)
        put = ends.matched()
        for messages in (warm_up(count), count):
            with Phase() as phase:
                for index in range(messages):
                    put(arrays[index % len(arrays)].tobytes())
                got = decode_seen(ends.recv().payload.to_bytes())
            check("the peer", (got.count, got.checksum), samples.expected_large(messages, size))
        theirs = far.finish()
    figures = dict(**rate(count, size, phase), count=got.count, checksum=got.checksum, **used(phase, theirs))
    # To bytes, to ZBytes, into batches of the transport; out of the fragments that were received.
    report(**figures, copies="3 + 1")


def large_peer(port: int, warm: int, count: int, size: int) -> None:
    import numpy as np

    with _Ends(port, SEEN, "bench.Array", waiting=LARGE_QUEUE) as ends:
        for messages in (warm, count):
            seen = checksum = 0
            with Phase() as phase:
                while seen < messages:
                    array = np.frombuffer(ends.recv().payload.to_bytes(), np.uint8)
                    checksum += samples.page_sum(array)
                    seen += 1
                ends.put(encode(Seen(seen, checksum % samples.MODULUS)))
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
            "import": lambda: import_ms("import msgspec, zenoh"),
        }
    )
