# SPDX-License-Identifier: Apache-2.0
"""Decoding what a stranger sent: a value of the neuron's type, or one of the errors that the codecs document.

Two things are watched beside that. The interpreter's audit events: decoding opens no file, starts nothing, imports
nothing (names of time zones excepted, which zoneinfo looks up in its own directories). And the process: the types that
a pickle may name are afterwards what they were before.
"""

from __future__ import annotations

import datetime
import decimal
import enum
import fractions
import math
import sys
import types
import uuid
import zoneinfo
from collections import Counter, OrderedDict, defaultdict, deque
from dataclasses import dataclass, field
from functools import cache
from pathlib import PurePosixPath
from pickle import dumps
from typing import Any, NamedTuple

import msgspec

from plexo import Namespace, Neuron
from plexo.codec import BytesCodec, JsonCodec, MsgpackCodec, PickleCodec, StringCodec
from plexo.exceptions import DecodeError


class Mood(enum.Enum):
    CALM = "calm"
    BUSY = "busy"


class Flags(enum.IntFlag):
    A = 1
    B = 2


class Point(NamedTuple):
    x: float
    y: float


ORIGIN = Point(0, 0)


class Inner(msgspec.Struct, frozen=True):
    name: str
    blob: bytes = b""
    mood: Mood = Mood.CALM


class Left(msgspec.Struct, tag="l", array_like=True):
    size: int


class Right(msgspec.Struct, tag="r", array_like=True):
    size: int
    inner: Inner | None = None


class Order(msgspec.Struct):
    """Something of every kind that msgspec knows."""

    number: int
    ratio: float
    text: str
    inner: Inner
    items: list[Inner] = []
    by_name: dict[str, int] = {}
    choice: Left | Right | None = None
    when: datetime.datetime | None = None
    day: datetime.date | None = None
    span: datetime.timedelta | None = None
    ident: uuid.UUID | None = None
    price: decimal.Decimal | None = None
    point: Point | None = None
    pair: tuple[int, str] | None = None
    seen: frozenset[int] = frozenset()
    either: int | str | None = None


@dataclass
class Parcel:
    """What a restricted pickle builds."""

    number: int
    mood: Mood = Mood.CALM
    flags: Flags = Flags.A
    point: Point = ORIGIN
    when: datetime.datetime | None = None
    zone: zoneinfo.ZoneInfo | None = None
    path: PurePosixPath | None = None
    parts: list[Any] = field(default_factory=list)
    inner: Inner | None = None
    order: OrderedDict[str, Parcel] | None = None


class Guarded:
    """One whose state is set by its own method."""

    def __init__(self, limit: int = 3) -> None:
        self.limit = limit

    def __setstate__(self, state: Any) -> None:
        self.limit = int(state["limit"])


namespace = Namespace("org.fuzz")
order_msgpack = Neuron(Order, namespace, MsgpackCodec())
order_json = Neuron(Order, namespace, JsonCodec())
parcel = Neuron(Parcel, namespace, PickleCodec(allow=[Guarded]))

# -- what decoding does beside its result ----------------------------------------------------------------------------

_watching = False
_events: list[str] = []
# Events of pure computation; what is not here is a finding.
_HARMLESS = frozenset(
    {"builtins.id", "object.__getattr__", "object.__setattr__", "object.__delattr__", "sys._getframe"}
)


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if not _watching or event in _HARMLESS:
        return
    if event == "open" and str(arguments[0]).startswith(zoneinfo.TZPATH) and arguments[1] == "r":
        return
    frame: Any = sys._getframe(1)
    while frame is not None:
        # Names that are in none of the directories are looked for in the package tzdata.
        if frame.f_globals.get("__name__", "").startswith("zoneinfo"):
            return
        frame = frame.f_back
    _events.append(f"{event} {arguments!r:.200}")


_audit_installed = False


def watched(decode: Any, data: Any) -> Any:
    """decode(data), as long as it only computes."""
    global _watching, _audit_installed
    if not _audit_installed:
        # Hooks stay for the life of the process; between two calls this one does nothing.
        sys.addaudithook(_audit)
        _audit_installed = True
    _events.clear()
    _watching = True
    try:
        return decode(data)
    finally:
        _watching = False
        assert not _events, f"decoding did more than decode: {_events}"


def _state() -> list[tuple[str, str]]:
    """The attributes of every type that a pickle may name here."""
    kinds: tuple[Any, ...] = (Mood, Flags, Point, Inner, Parcel, Guarded, *Mood, *Flags)
    # enum keeps each combination of flags that was ever asked for; how many of them is the codec's to limit.
    return [
        (
            repr(kind),
            repr(
                sorted(
                    (name, repr(value)) for name, value in vars(kind).items() if name != "_value2member_map_"
                )
            ),
        )
        for kind in kinds
    ]


def _same(one: Any, other: Any) -> bool:
    """Equal, also where a number that is none is inside."""
    if one == other:
        return True
    if isinstance(one, float) and isinstance(other, float):
        return math.isnan(one) and math.isnan(other)
    return repr(one) == repr(other)


# -- targets ---------------------------------------------------------------------------------------------------------


# What MsgpackCodec and JsonCodec document.
_MSGSPEC = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def _typed(neuron: Neuron[Any], data: bytes) -> None:
    for form in (data, memoryview(data)):
        try:
            value = watched(neuron.decode, form)
        except _MSGSPEC:
            continue
        assert isinstance(value, neuron.type), type(value)
        again = neuron.decode(neuron.encode(value))
        assert _same(again, value), (again, value)


def msgpack(data: bytes) -> None:
    _typed(order_msgpack, data)


def json(data: bytes) -> None:
    _typed(order_json, data)


def untyped(data: bytes) -> None:
    """Codecs without a type, or whose type is bytes: text, bytes, and whatever MessagePack and JSON hold."""
    assert BytesCodec().decode(data) == data
    try:
        text = StringCodec().decode(data)
    except UnicodeDecodeError:
        pass
    else:
        assert StringCodec().encode(text) == data
    for codec in (MsgpackCodec(Any), JsonCodec(Any)):
        try:
            watched(codec.decode, data)
        except _MSGSPEC:
            continue


def numpy(data: bytes) -> None:
    """The first byte chooses dtype and shape."""
    from plexo.codec import NumpyCodec

    if not data:
        return
    dtypes = ("u1", "<f8", ">i4", "S3", [("t", "<u8"), ("v", "<f4", (2,))], "M8[ns]", "?", "c16")
    shapes: tuple[Any, ...] = (None, (), (2, 3), (None, 3), 4, (0,))
    codec = NumpyCodec(dtypes[data[0] % 8], shapes[data[0] // 8 % 6])
    body = data[1:]
    for form in (body, memoryview(body), bytearray(body)):
        try:
            array = watched(codec.decode, form)
        except DecodeError:
            continue
        assert not array.flags.writeable and codec.accepts(array)
        assert codec.encode(array) == body


@cache
def _warm_up() -> None:
    """What only the first message does: the table of names, and the modules of the text codecs that pickles use."""
    for value in PARCELS:
        for protocol in range(6):
            parcel.decode(dumps(value, protocol))


def pickle(data: bytes) -> None:
    _warm_up()
    before = _state()
    try:
        value = watched(parcel.decode, data)
    except DecodeError as error:
        assert str(error)
    else:
        assert type(value) is Parcel
    after = _state()
    assert after == before, [pair for pair in zip(before, after, strict=True) if pair[0] != pair[1]]


SAMPLES: tuple[Any, ...] = (
    Order(1, 0.5, "a", Inner("b", b"c")),
    Order(
        -(2**63),
        math.inf,
        "é",
        Inner("x", b"\0" * 9, Mood.BUSY),
        [Inner("y")],
        {"k": 2**63},
        Right(3, Inner("z")),
        datetime.datetime(2024, 2, 29, tzinfo=datetime.timezone.utc),
        datetime.date(1, 1, 1),
        datetime.timedelta(days=-1, microseconds=1),
        uuid.UUID(int=7),
        decimal.Decimal("1.50"),
        Point(1, 2),
        (1, "t"),
        frozenset({1, 2}),
        "either",
    ),
)
PARCELS: tuple[Any, ...] = (
    Parcel(1),
    Parcel(
        2,
        Mood.BUSY,
        Flags.A | Flags.B,
        Point(1.5, -2.0),
        datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc),
        zoneinfo.ZoneInfo("UTC"),
        PurePosixPath("/a/b"),
        [
            {1, "two"}, deque([3]), defaultdict(list, a=[1]), Counter("aab"), bytearray(b"x"), fractions.Fraction(1, 3),
            decimal.Decimal("1E+2"), uuid.UUID(int=1), types.SimpleNamespace(a=1), 1j, range(3), Guarded(4), b"raw",
        ],
        Inner("i"),
        OrderedDict(k=Parcel(3)),
    ),
)  # fmt: skip
