# SPDX-License-Identifier: Apache-2.0
"""What a mutator starts from, for the attacks of tests/fuzz/link.py: proper traffic, whole and in pieces."""

from __future__ import annotations

from collections.abc import Iterable

from plexo._fast.envelope import build_envelope
from plexo._proto.delivery import (
    Done,
    Failed,
    Refused,
    Reply,
    encode_answer,
    encode_ask,
    encode_deliver,
    encode_settle,
)
from plexo._proto.zmtp import encode_cancel, encode_frame, encode_ping, encode_subscribe
from tests.fuzz.link import PAIR_BOUND, PEER_TYPES, PUBLISHER, SUBSCRIBER, longer, pickled, sample
from tests.support import GREETING, Blob, Reading, Tick, blob, frame, reading, ready, tick

_TICK = build_envelope(tick.topic, tick.encode(Tick(5)))
DELIVERY_WORDS = (
    b"\x0cPLEXODELIVER", b"\x0bPLEXOSETTLE", b"\x08PLEXOASK", b"\x0bPLEXOANSWER",
    bytes(7) + b"\x01", bytes(7) + b"\x02", (1024).to_bytes(8, "big"), b"\x7f" + b"\xff" * 7,
)  # fmt: skip
WORDS = (
    *DELIVERY_WORDS,
    encode_deliver(1, 1, _TICK), encode_ask(1, _TICK), encode_settle(1, Done()), encode_settle(1, Refused("full")),
    GREETING, ready(b"PAIR"), ready(b"SUB"), ready(b"PUB"), b"\x04\x09\x05ERROR", b"\x04\x06\x04PING\0",
    tick.topic, blob.topic, reading.topic, pickled.topic, sample.topic, longer.topic,
    frame(tick.topic, 1), frame(_TICK),
    b"\x02\0\0\0\0\0\x01", b"\x02\0\0\0\0\0\0", b"\x01", b"\x01\x01\x00",
    encode_subscribe(b"", (3, 1)), encode_cancel(b"", (3, 1)),
)  # fmt: skip

PAYLOADS = (
    (tick, tick.encode(Tick(5))), (blob, blob.encode(Blob(b"b" * 40))), (reading, reading.encode(Reading("s", 2))),
    (pickled, b"}."), (tick, b"\xc1"), (pickled, b"cos\nsys\ntem\n."),
)  # fmt: skip
BODIES = [build_envelope(neuron.topic, payload) for neuron, payload in PAYLOADS]
RECORDS = ((sample, bytes(range(12))), (longer, b"1234"), (sample, bytes(11)))
RUNS = [
    [build(neuron, payload) for neuron, payload in RECORDS for _ in range(7)]
    for build in (
        lambda neuron, payload: frame(build_envelope(neuron.topic, payload)),
        lambda neuron, payload: frame(neuron.topic, 1) + frame(payload),
    )
]
ASKING = encode_ping(10, b"c") + encode_frame(b"\x04JOINx", command=True)
WANTING = b"".join(
    (
        encode_subscribe(tick.topic, (3, 1)), encode_subscribe(blob.topic, (3, 1)), encode_cancel(tick.topic, (3, 1)),
        encode_subscribe(b"org", (3, 0)), encode_subscribe(b"", (3, 0)),
    )
)  # fmt: skip
ENVELOPES = b"".join(map(frame, BODIES))
PUBLISHED = b"".join(frame(neuron.topic, 1) + frame(payload) for neuron, payload in PAYLOADS)
DELIVERED = b"".join(
    (
        *(encode_deliver(number, 1, body) for number, body in enumerate((*BODIES, BODIES[0]), 1)),
        encode_deliver(2, 2, BODIES[1]),
        *(encode_ask(number, body) for number, body in enumerate(BODIES[:3], 1)),
    )
)
SETTLED = b"".join(
    (
        encode_settle(1, Done()), encode_settle(2, Failed("OSError", "no")), encode_settle(3, Refused("full")),
        encode_answer(1, Reply(BODIES[0])), encode_answer(2, Reply(BODIES[1])), encode_answer(3, Refused("full")),
    )
)  # fmt: skip


def _header(kind: int, proper: bool, behaviours: int, plan: bytes, more: int = 0) -> bytes:
    return bytes([kind | proper << 2 | more, behaviours]) + plan.ljust(6, b"\x3f")


def seeds() -> Iterable[bytes]:
    """To every kind of ganglion, and to every kind of reactant."""
    streams = (ENVELOPES + ASKING, ENVELOPES, WANTING + ASKING, PUBLISHED + ASKING)
    for kind in range(4):
        yield _header(kind, False, 9, b"") + GREETING + ready(PEER_TYPES[kind]) + streams[kind]
        yield _header(kind, False, 9, b"\x23\x24\x25\x26\x27\x28") + GREETING + ready(PEER_TYPES[kind])
        for behaviour in range(8):
            more = 32 | (behaviour & 1) << 4
            yield _header(kind, True, behaviour * 9, b"\xf4\x4a\x68\xe0\x2a", more) + streams[kind]
        yield _header(kind, True, 12, b"\x4a\x4a\x4a\xac\x84\xc3", 32 | 8) + streams[kind]
    # Behind pieces of such sizes we send an acknowledged message, a question, one more of each. The first two are empty
    # messages, so that what is settled comes when it is awaited.
    plan = bytes(2 << 5 | size for size in (2, 3, 2, 3, 4, 9))
    for behaviour in range(8):
        header = _header(behaviour & 1, True, behaviour * 9, plan, 16 * (behaviour >> 1 & 1))
        yield header + DELIVERED[:900]
        yield header + b"\0\x02aa\0\x07bbbbbbb\0\x02cc\0\x07ddddddd" + SETTLED
    for behaviour in range(8):
        for kind, run in ((PAIR_BOUND, RUNS[0]), (SUBSCRIBER, RUNS[1])):
            # In a plexus, where there are batches; whole, in pieces, and many times.
            stream = b"".join([*run[:7], ASKING, *run[7:]])
            yield (
                _header(kind, True, behaviour * 9, b"\xff\x5f\x6a\xf4\x2a", 16 | (behaviour & 1) << 5)
                + stream
            )
    big = b"\x02" + (70_000).to_bytes(8, "big")
    yield _header(PAIR_BOUND, True, 36, b"\xf0\xf0", 32) + big + bytes(400)
    yield _header(SUBSCRIBER, True, 36, b"\xff\xff", 32) + frame(blob.topic, 1) + big + bytes(900)
    yield _header(PUBLISHER, True, 0, b"\x5f\x5f\x5f\x5f\x5f\xdf", 32) + encode_subscribe(b"", (3, 1)) * 40
