# SPDX-License-Identifier: Apache-2.0
"""Measures pynng (nng) on its Pair0 over TCP: Struct to MessagePack, socket, Struct.

Everything blocks, the faster of its two ways. A full buffer blocks, too, so nothing is dropped.
"""

from __future__ import annotations

from time import perf_counter, sleep
from typing import Any

import msgspec
import pynng
import samples
from common import (
    HOST,
    TIMEOUT_S,
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
    warm_up,
    warm_up_in,
)
from samples import DIFFERENT, Echo, Reading, Seen, echo_of

NOTES = {
    "fanout": "Pub0 drops what exceeds its buffers, which hold 8192 messages at most: loss cannot be excluded",
    "ingest": "nng does not speak the sensors' wire",
    "large": "NumPy arrays must become bytes first",
}

# The most that nng allows.
BUFFERED = 8192
LARGE_BUFFERED = 2
# A socket that closes does not wait for what was sent last.
LEAVING_S = 0.1

encode = msgspec.msgpack.Encoder().encode
decode_reading = msgspec.msgpack.Decoder(Reading).decode
decode_echo = msgspec.msgpack.Decoder(Echo).decode
decode_seen = msgspec.msgpack.Decoder(Seen).decode


class _Link:
    """A Pair0 that listens, or dials; it leaves slowly."""

    def __init__(self, port: int, listen: bool = False, buffered: int = BUFFERED) -> None:
        self._socket: Any = pynng.Pair0(
            recv_timeout=int(1000 * TIMEOUT_S),
            send_timeout=int(1000 * TIMEOUT_S),
            send_buffer_size=buffered,
            recv_buffer_size=buffered,
        )
        # No limit; it would be 1 MiB.
        self._socket.recv_max_size = 0
        address = f"tcp://{HOST}:{port}"
        if listen:
            self._socket.listen(address)
        else:
            self._socket.dial(address, block=True)

    def __enter__(self) -> Any:
        return self._socket

    def __exit__(self, *_: object) -> None:
        sleep(LEAVING_S)
        self._socket.close()


# -- pair ----------------------------------------------------------------------------------------------------


def pair(count: int, size: int = 64) -> None:
    values = samples.values(size)
    port = free_port()
    with _Link(port, listen=True) as link:
        far = Far(__file__, "pair-peer", port, warm_up(count), count, size)
        for messages in (warm_up(count), count):
            with Phase() as phase:
                for index in range(messages):
                    link.send(encode(values[index % DIFFERENT]))
                got = decode_seen(link.recv())
            check("the peer", (got.count, got.checksum), samples.expected(messages))
        theirs = far.finish()
    report(**rate(count, size, phase), count=got.count, checksum=got.checksum, **used(phase, theirs))


def pair_peer(port: int, warm: int, count: int, size: int) -> None:
    decode = msgspec.msgpack.Decoder(samples.TYPES[size]).decode
    with _Link(port) as link:
        for messages in (warm, count):
            seen = checksum = 0
            with Phase() as phase:
                while seen < messages:
                    checksum += decode(link.recv()).sequence
                    seen += 1
                link.send(encode(Seen(seen, checksum % samples.MODULUS)))
    far_report(phase)


# -- rtt, rttload --------------------------------------------------------------------------------------------


def rtt(count: int) -> None:
    values = samples.values()
    port = free_port()
    with _Link(port, listen=True) as link:
        far = Far(__file__, "rtt-peer", port, warm_up(count) + count)
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


def rtt_peer(port: int, count: int) -> None:
    warm = warm_up_in(count)
    with _Link(port) as link:
        for messages in (warm, count - warm):
            with Phase() as phase:
                for _ in range(messages):
                    link.send(encode(echo_of(decode_reading(link.recv()))))
    far_report(phase)


def rttload(seconds: float) -> None:
    load = Load(seconds, samples.values())
    port = free_port()
    with _Link(port, listen=True) as link:
        far = Far(__file__, "rttload-peer", port)
        for batch in load.batches():
            for value in batch:
                link.send(encode(value))
            try:
                while True:
                    load.answered(decode_echo(link.recv(block=False)).sequence)
            except pynng.TryAgain:
                pass
        link.send(encode(samples.STOP))
        theirs = far.finish()
    report(**load.figures(), peak_bytes=used(Phase(), theirs)["peak_bytes"])


def rttload_peer(port: int) -> None:
    with _Link(port) as link, Phase() as phase:
        while (value := decode_reading(link.recv())).sequence:
            link.send(encode(echo_of(value)))
    far_report(phase)


# -- large ---------------------------------------------------------------------------------------------------


def large(count: int, size: int) -> None:
    arrays = samples.large_arrays(size)
    port = free_port()
    with _Link(port, listen=True, buffered=LARGE_BUFFERED) as link:
        far = Far(__file__, "large-peer", port, warm_up(count), count, size)
        for messages in (warm_up(count), count):
            with Phase() as phase:
                for index in range(messages):
                    link.send(arrays[index % len(arrays)].tobytes())
                got = decode_seen(link.recv())
            check("the peer", (got.count, got.checksum), samples.expected_large(messages, size))
        theirs = far.finish()
    figures = dict(**rate(count, size, phase), count=got.count, checksum=got.checksum, **used(phase, theirs))
    # To bytes, into nng's message, from which it writes; out of the message, into which it reads.
    report(**figures, copies="2 + 1")


def large_peer(port: int, warm: int, count: int, size: int) -> None:
    import numpy as np

    with _Link(port, buffered=LARGE_BUFFERED) as link:
        for messages in (warm, count):
            seen = checksum = 0
            with Phase() as phase:
                while seen < messages:
                    checksum += samples.page_sum(np.frombuffer(link.recv_msg().bytes, np.uint8))
                    seen += 1
                link.send(encode(Seen(seen, checksum % samples.MODULUS)))
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
            "large": large,
            "large-peer": large_peer,
            "import": lambda: import_ms("import msgspec, pynng"),
        }
    )
