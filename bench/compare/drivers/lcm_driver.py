# SPDX-License-Identifier: Apache-2.0
"""Measures LCM (udpm, its Python module): Struct to MessagePack, publish, handler, Struct. It repairs nothing."""

from __future__ import annotations

import sys

import lcm
import msgspec
import samples
from common import main
from multicast_common import Commands, arrived, one_way
from samples import DIFFERENT

NOTES = {
    "multicast": "what it loses is not counted as messages; it has no rate and no way to wait for the receiver"
}

CHANNEL = "bench"
# The most that the system gives without a privilege is less; LCM says so and goes on.
URL = "udpm://239.255.76.67:7667?ttl=1&recv_buf_size=8388608"
TURN_MS = 5


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


if __name__ == "__main__":
    main({"multicast": multicast, "multicast-send": send, "multicast-receive": receive})
