# SPDX-License-Identifier: Apache-2.0
"""The targets by name: what each runs, what it starts from, and its share of the time."""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

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
from plexo._proto.pgm import packets as pgm
from plexo._proto.zmtp import encode_cancel, encode_frame, encode_ping, encode_pong, encode_subscribe
from plexo._proto.zmtp_commands import encode_error, encode_ready
from tests.fuzz import allocation, codecs, link, link_seeds, parsers, reception, source
from tests.reference.deframer import frame as pgm_frame
from tests.reference.deframer import message, pack
from tests.reference.envelope import scatter_envelope
from tests.support import GREETING, frame, ready

CORPUS = Path(__file__).with_name("corpus")
MAX_BYTES = 2000


class Target(NamedTuple):
    """run: raises for a finding. seeds: inputs that are right, or nearly. words: what a mutator may put in.

    sanitized: it runs modules of ours that are compiled, or (pickle) may ask for as much memory as it is told, which
    the address sanitizer refuses beyond reason.
    """

    run: Callable[[bytes], None]
    seeds: Callable[[], Iterable[bytes]]
    words: tuple[bytes, ...] = ()
    share: int = 1
    sanitized: bool = False


def _frames() -> Iterable[bytes]:
    yield from (b"", b"\x00\x01a", b"\x01\x00", b"\x04\x05", b"\x05\x00", b"\x08\x00")
    yield from (b"\x02" + size.to_bytes(8, "big") + b"x" for size in (0, 1, 255, 256, 2**63 - 1, 2**63))


def _envelopes() -> Iterable[bytes]:
    rng = random.Random(1)
    yield from (build_envelope(b"org.a.B", b"payload"), build_envelope(b"", b""))
    for count in (1, 1, 2, 3, 5):
        yield scatter_envelope(b"org.a.B", b"p" * 20, rng, count)


def _scans() -> Iterable[bytes]:
    one, other = (
        encode_frame(build_envelope(b"org.a.B", b"payload")),
        encode_frame(build_envelope(b"org.a.C", b"")),
    )
    strange = encode_frame(scatter_envelope(b"org.a.B", b"payload", random.Random(4), 2))
    yield b"\x01\x00" + one * 3 + other + encode_ping(30, b"context") + strange + one * 2
    yield b"\x01\x25" + one + frame(b"part", 1) + encode_frame(b"end") + one * 2 + one[:20]
    yield b"\x00\x00" + (frame(b"org.a.B", 1) + encode_frame(b"payload")) * 3 + encode_frame(b"alone")
    yield b"\x00\x07" + (b"\x03" + bytes(7) + b"\x01a" + b"\x00\x01b") * 2 + b"\x01\x01a\x04\x00"
    yield b"\x13\x00" + b"rest" + encode_frame(b"end") + one * 2 + b"\x02" + bytes(5) + b"\x02\0\0" + one


def _tables() -> Iterable[bytes]:
    yield b"\0\3abc\1\3abd\2\3abc\0\0\2\0"
    yield b"".join(bytes([kind, 4]) + b"%04d" % number for number in range(40) for kind in (0, 3))


def _command_bodies() -> Iterable[bytes]:
    wires = (
        encode_ping(30, b"context"), encode_pong(b"context"), encode_error("no"), encode_subscribe(b"org.", (3, 1)),
        encode_cancel(b"org.", (3, 1)), encode_ready([("Socket-Type", b"SUB"), ("X-Plexo-Delivery", bytes(17))]),
        encode_frame(b"\x04JOINgroup", command=True),
    )  # fmt: skip
    yield from (wire[2:] for wire in wires)
    yield from (b"\x01org.", b"\x00org.", b"")


def _delivery_bodies() -> Iterable[bytes]:
    failed = Failed("ValueError", "no")
    wires = (
        encode_deliver(5, 2, b"envelope"), encode_ask(1, b"envelope"), encode_settle(5, Done()),
        encode_settle(5, failed), encode_settle(1, Refused("nobody-reacts")), encode_answer(1, Reply(b"envelope")),
        encode_answer(2, failed),
    )  # fmt: skip
    yield from (wire[2:] for wire in wires)
    yield b"\x01" + bytes(16)


def _repeats() -> Iterable[bytes]:
    yield b"".join(bytes([101, lag, then]) for lag in (0, 3, 200) for then in (0, 1, 2, 1))
    yield bytes([101, 0, 1, 100, 0, 1, 98, 0, 1, 255, 255, 0, 255, 0, 1])


def _packets() -> Iterable[bytes]:
    tsi, nla, group = pgm.Tsi(bytes.fromhex("b7c6d1bc038a"), 0x4D2A), "10.77.0.1", "239.255.0.1"
    data = pgm.encode_data(pgm.PacketType.ODATA, tsi, 5561, 7, 5, b"\0\0payload")
    spm = pgm.encode_spm(tsi, 5561, 3, 5, 7, nla, fin=True)
    yield from (data, spm, spm[:5] + b"\0" + spm[6:36], pgm.encode_spmr(tsi, 5561))
    yield pgm.encode_nak(tsi, 5561, [7, 8, 9], nla, group)
    yield pgm.encode_ncf(tsi, 5561, range(63), nla, group)
    yield data[:5] + b"\1" + data[6:24] + b"\0\4\0\x0c\x0c\4\0\0\x8d\4\0\0" + data[24:]
    yield spm[:28] + b"\0\2\0\0" + bytes(16) + spm[36:]


def _streams() -> Iterable[bytes]:
    one, long = message(b"org.a.B", b"payload"), message(b"long", b"x" * 300)
    odd = pgm_frame(b"alone") + pgm_frame(b"t", 1) + pgm_frame(b"1", 1) + pgm_frame(b"2")
    huge = b"\xff" + (2**63).to_bytes(8, "big") + b"\1"
    for messages, size in (([one] * 4, 200), ([one, long, one], 60), ([odd, one], 30), ([one, huge], 100)):
        tsdus = [bytes([len(each)]) + each for each in pack(messages, size)]
        yield b"".join(tsdus)
        yield b"".join(tsdus[:1]) + b"\xff" + b"".join(tsdus[2:])


def _handshakes() -> Iterable[bytes]:
    for role, peer in enumerate((b"PAIR", b"SUB", b"PUB", b"XSUB", b"XPUB")):
        stream = GREETING + ready(peer)
        yield bytes([role]) + stream + b"trailing"
        yield bytes([role + 35]) + stream[:70]
    yield b"\0" + GREETING + encode_error("go away")
    yield (
        b"\0"
        + GREETING.replace(b"\x03\x01", b"\x03\0", 1)
        + encode_ready([("Socket-Type", b"PAIR"), ("Identity", b"x" * 300)])
    )


def _subscription_moves() -> Iterable[bytes]:
    for mode in (b"\0", b"\x80"):
        yield mode + b"\2ab\1\3abc\2\2ab\2\0\2\1a\0\xffabcd"
    yield b"".join(bytes([kind, 2]) + b"%02d" % number for number in range(12) for kind in (0, 1, 2))


def _endpoints() -> Iterable[bytes]:
    yield from (
        b"tcp://127.0.0.1:5580",
        b"tcp://[::1]:0",
        b"ipc:///tmp/a",
        b"ipc://@name",
        b"tcp://host:65536",
        b"x://",
    )


def _segment_tables() -> Iterable[bytes]:
    rng = random.Random(2)
    for count in (1, 2, 3):
        yield scatter_envelope(b"a", b"b", rng, count)


def _arrays() -> Iterable[bytes]:
    yield from (bytes([choice]) + bytes(24) for choice in range(0, 48, 5))


def _pickles() -> Iterable[bytes]:
    for value in codecs.PARCELS:
        yield from (pickle.dumps(value, protocol) for protocol in range(6))
    yield b"cos\nsystem\n(S'true'\ntR."
    yield b"c" + codecs.__name__.encode() + b"\nMood\n}S'CALM'\nI2\nsb."


_POINTERS = tuple(
    value.to_bytes(4, "little") for value in (1, 2, 6, 511, 512, 2**29, 2**31, 2**32 - 4, 2**32 - 1)
)
_PICKLE_WORDS = tuple(
    f"c{module}\n{name}\n".encode()
    for module, name in (
        ("os", "system"), ("builtins", "getattr"), ("builtins", "eval"), ("copyreg", "_reconstructor"),
        ("copyreg", "__newobj__"), ("builtins", "object"), ("builtins", "dict"), ("builtins", "type"),
        ("zoneinfo", "ZoneInfo"), ("collections", "defaultdict"), ("types", "SimpleNamespace"),
        ("msgspec._utils", "rebuild"), ("_codecs", "encode"),
        *((codecs.__name__, name) for name in ("Parcel", "Mood", "Flags", "Point", "Inner", "Guarded")),
    )
)  # fmt: skip

_PICKLE_CODES = tuple(bytes([code]) for code in (*b"(.0123FIJKMNRSTVXcdhijloqstuab}]e)", *range(0x80, 0x98)))

TARGETS: dict[str, Target] = {
    "allocation": Target(allocation.run, allocation.seeds, (b"\x02", b"\x90", b"\xc0", b"\xcf", b"\xc4\x10")),
    "commands": Target(parsers.commands, _command_bodies, (b"\x05READY", b"\x04PING", b"\x09SUBSCRIBE", b"\x05ERROR")),
    "datagrams": Target(
        reception.datagrams, reception.datagram_seeds, (b"\0\4\0", b"\x7c", b"\xff\xff"), 2, sanitized=True
    ),
    "deframer": Target(
        parsers.deframer, _streams, (b"\xff\xff", b"\0\0", b"\0\1", b"\1\1", b"\xff" + bytes(7)), 2, sanitized=True
    ),
    "delivery": Target(parsers.delivery, _delivery_bodies, link_seeds.DELIVERY_WORDS),
    "endpoints": Target(parsers.endpoints, _endpoints, (b"tcp://", b"ipc://", b"@", b"[::", b"]:", b":0", b"65535")),
    "envelope": Target(parsers.envelope, _envelopes, _POINTERS, 2, sanitized=True),
    "frames": Target(parsers.frames, _frames, sanitized=True),
    "handshake": Target(parsers.handshake, _handshakes, (b"\x05READY", b"\x0bSocket-Type\0\0\0\x04", b"\x06", b"PAIR")),
    "json": Target(
        codecs.json,
        lambda: [codecs.order_json.encode(each) for each in codecs.SAMPLES],
        (b"null", b"1e999", b"\\ud800", *(f'"{name}":'.encode() for name in codecs.Order.__struct_fields__)),
    ),
    "link": Target(link.run, link_seeds.seeds, link_seeds.WORDS, 6, sanitized=True),
    "msgpack": Target(
        codecs.msgpack,
        lambda: [codecs.order_msgpack.encode(each) for each in codecs.SAMPLES],
        (b"\xc0", b"\xdf", *(bytes([0xA0 + len(name)]) + name.encode() for name in codecs.Order.__struct_fields__)),
    ),
    "numpy": Target(codecs.numpy, _arrays),
    "packets": Target(
        parsers.packets, _packets, (b"\0\4\0", b"\x82", b"\x8e\4", b"\0\1\0\0", b"\0\2\0\0"), 2, sanitized=True
    ),
    "pickle": Target(codecs.pickle, _pickles, (*_PICKLE_WORDS, *_PICKLE_CODES), 3, sanitized=True),
    "reception": Target(reception.sequences, reception.sequence_seeds, share=2, sanitized=True),
    "repeats": Target(parsers.repeats, _repeats),
    "scan": Target(parsers.scan, _scans, (*_POINTERS, b"\x00", b"\x01", b"\x04\x02", b"\x02\0\0"), 2, sanitized=True),
    "segments": Target(parsers.segments, _segment_tables, _POINTERS),
    "source": Target(source.steps, source.seeds, (b"\0\4\0", b"\x82", b"\0\1\0\0"), 2, sanitized=True),
    "subscriptions": Target(parsers.subscriptions, _subscription_moves),
    "topics": Target(parsers.topics, _tables, sanitized=True),
    "untyped": Target(codecs.untyped, lambda: [b"text", b"\xc3\xa9", b"[1,{}]", b"\x92\x01\x80"]),
}  # fmt: skip


def corpus(name: str) -> list[Path]:
    """The inputs that are kept for a target, in a fixed order."""
    return sorted(path for path in (CORPUS / name).glob("*") if path.is_file())
