# SPDX-License-Identifier: Apache-2.0
"""Measures LCM (udpm, its Python module): Struct to MessagePack, publish, handler, Struct. It repairs nothing."""

from __future__ import annotations

import sys
from time import perf_counter

import lcm
import msgspec
import samples
from common import check, main, quantiles, report, warm_up
from multicast_common import Commands, arrived, one_way, round_trips
from samples import DIFFERENT

NOTES = {
    "multicast": "what it loses is not counted as messages; it has no rate and no way to wait for the receiver"
}

CHANNEL, ANSWERS = "bench", "answers"
# The most that the system gives without a privilege is less; LCM says so and goes on.
URL = "udpm://239.255.76.67:7667?ttl=1&recv_buf_size=8388608"
TURN_MS = 5
LOST_MS = 1000


def multicast(count: int, size: int, percent: float) -> None:
    ends = [[sys.executable, __file__, end, str(size)] for end in ("multicast-send", "multicast-receive")]
    one_way(*ends, count, size, percent, loses=True)  # type: ignore[misc]


def send(size: int, _address: str) -> None:
    link = lcm.LCM(URL)
    encode = msgspec.msgpack.Encoder().encode
    values = samples.values(size)
    for count in Commands():
        for index in range(count):
            link.publish(CHANNEL, encode(values[index % DIFFERENT]))
        print("sent", flush=True)


def receive(size: int, _address: str) -> None:
    link = lcm.LCM(URL)
    decode = msgspec.msgpack.Decoder(samples.TYPES[size]).decode
    count = checksum = 0

    def handle(_channel: str, data: bytes) -> None:
        nonlocal count, checksum
        checksum += decode(data).sequence
        count += 1

    link.subscribe(CHANNEL, handle).set_queue_capacity(0)

    def turn() -> None:
        # One call is one message.
        for _ in range(1000):
            if not link.handle_timeout(TURN_MS):
                return

    def peek() -> tuple[int, int]:
        return count, checksum % samples.MODULUS

    for wanted in Commands():
        count = checksum = 0
        arrived(peek, turn, wanted)


def multicast_rtt(count: int) -> None:
    ends = [[sys.executable, __file__, end] for end in ("multicast-ask", "multicast-answer")]
    round_trips(ends[0], ends[1], count)


def ask(_address: str) -> None:
    link = lcm.LCM(URL)
    encode, decode = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(samples.Echo).decode
    values = samples.values()
    checksum = 0

    def handle(_channel: str, data: bytes) -> None:
        nonlocal checksum
        checksum += decode(data).sequence

    link.subscribe(ANSWERS, handle)
    for count in Commands():
        for messages in (warm_up(count), count):
            times: list[float] = []
            checksum = 0
            for index in range(messages):
                begin = perf_counter()
                link.publish(CHANNEL, encode(values[index % DIFFERENT]))
                if not link.handle_timeout(LOST_MS):
                    raise TimeoutError("a message was lost")
                times.append(perf_counter() - begin)
        check("the asking end", (len(times), checksum), samples.expected(count))
        report(**quantiles(times), count=len(times), checksum=checksum)


def answer(_address: str) -> None:
    link = lcm.LCM(URL)
    encode, decode = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(samples.Reading).decode

    def handle(_channel: str, data: bytes) -> None:
        link.publish(ANSWERS, encode(samples.echo_of(decode(data))))

    link.subscribe(CHANNEL, handle)
    print("ready", flush=True)
    # Until it is ended.
    while True:
        link.handle()


if __name__ == "__main__":
    main(
        {
            "multicast": multicast,
            "multicast-send": send,
            "multicast-receive": receive,
            "multicast-rtt": multicast_rtt,
            "multicast-ask": ask,
            "multicast-answer": answer,
        }
    )
