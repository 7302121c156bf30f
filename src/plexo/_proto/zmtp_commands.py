# SPDX-License-Identifier: Apache-2.0
"""ZMTP commands: frames out, frozen events in (RFC 37: "Commands", "Publish-Subscribe", "Heartbeating").

What libzmq 4.3.5 does with them, read in its source and checked on sockets
(``tests/interop/test_zmtp_pyzmq.py``):

* A SUB sends the forms that *we* announce: SUBSCRIBE and CANCEL commands when our greeting says minor 1 or
  more, messages ``01 topic`` and ``00 topic`` when it says minor 0.
* An XSUB whose user writes ``b"\\x01topic"`` sends just that message, at minor 1 too; and what does not
  begin with 00 or 01 goes upstream as a user's message. So a publisher must read both forms on every
  connection.
* PUB and XPUB accept both forms from any peer, at both minors.
* PING is sent to minor 0 peers as well, and is answered at both minors; a context over 16 bytes is cut to 16.
* Commands that it does not know, and ERROR after the handshake, are ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import IntFlag
from typing import TYPE_CHECKING, Final

from plexo._proto.errors import Reason, WireError, printable

MAX_PING_CONTEXT: Final = 16  # RFC 37: ping-context = 0*16OCTET
MAX_TTL_DS: Final = 0xFFFF  # RFC 37: ping-ttl is two octets, in tenths of a second
MAX_ERROR_REASON: Final = 255  # RFC 37: error-reason has a one-octet size
MAX_PROPERTY_NAME: Final = 255  # RFC 37: name has a one-octet size

Version = tuple[int, int]


class Flag(IntFlag):
    """First octet of a frame (RFC 37, "Framing"); all other bits are reserved."""

    MORE = 1
    LONG = 2
    COMMAND = 4


class Record:
    """Frozen value, equal only to its own type (a ``NamedTuple`` is not: Subscribe would equal Cancel)."""

    __slots__ = ()
    __match_args__: tuple[str, ...] = ()

    def _fill(self, *values: object) -> None:
        for name, value in zip(self.__match_args__, values, strict=True):
            object.__setattr__(self, name, value)

    def _values(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in self.__match_args__)

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._values() == other._values()

    def __hash__(self) -> int:
        return hash((type(self), *self._values()))

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__match_args__)
        return f"{type(self).__name__}({fields})"

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), self._values())

    if not TYPE_CHECKING:  # a type checker that sees this would accept any attribute

        def __setattr__(self, name: str, value: object) -> None:
            raise AttributeError(f"{type(self).__name__} is frozen")

        def __delattr__(self, name: str) -> None:
            raise AttributeError(f"{type(self).__name__} is frozen")


class Ping(Record):
    """Answer with ``encode_pong(context)``; after ``ttl_ds`` (0.1 s; 0: none) of silence the peer is dead."""

    __slots__ = __match_args__ = ("ttl_ds", "context")
    ttl_ds: int
    context: bytes

    def __init__(self, ttl_ds: int, context: bytes) -> None:
        self._fill(ttl_ds, context)


class Pong(Record):
    """Answer to our PING, with its context."""

    __slots__ = __match_args__ = ("context",)
    context: bytes

    def __init__(self, context: bytes) -> None:
        self._fill(context)


class Subscribe(Record):
    """The peer wants messages that begin with ``topic`` (empty: all)."""

    __slots__ = __match_args__ = ("topic",)
    topic: bytes

    def __init__(self, topic: bytes) -> None:
        self._fill(topic)


class Cancel(Record):
    """The peer takes one ``Subscribe(topic)`` back."""

    __slots__ = __match_args__ = ("topic",)
    topic: bytes

    def __init__(self, topic: bytes) -> None:
        self._fill(topic)


class Error(Record):
    """The peer refuses us; ``reason`` is the peer's text, made printable. Fatal in a handshake."""

    __slots__ = __match_args__ = ("reason",)
    reason: str

    def __init__(self, reason: str) -> None:
        self._fill(reason)


class Ready(Record):
    """The peer's metadata; names in lower case, as RFC 37 gives their case no meaning."""

    __slots__ = __match_args__ = ("properties",)
    properties: dict[str, bytes]

    def __init__(self, properties: dict[str, bytes]) -> None:
        self._fill(properties)

    __hash__ = None  # type: ignore[assignment]


class UnknownCommand(Record):
    """A well-formed command that this version does not know (JOIN, LEAVE, ...): ignore it, as libzmq does."""

    __slots__ = __match_args__ = ("name", "data")
    name: str
    data: bytes

    def __init__(self, name: str, data: bytes) -> None:
        self._fill(name, data)


Command = Ping | Pong | Subscribe | Cancel | Error | Ready | UnknownCommand


# ---- out


def encode_frame(body: bytes, *, command: bool = False) -> bytes:
    """One complete frame without MORE: a short one up to 255 bytes of body, else a long one."""
    flags = Flag.COMMAND if command else Flag(0)
    if len(body) > 0xFF:
        return bytes((flags | Flag.LONG,)) + len(body).to_bytes(8, "big") + body
    return bytes((flags, len(body))) + body


def encode_ping(ttl_ds: int, context: bytes = b"") -> bytes:
    """PING frame. ``ttl_ds``: tenths of a second after which we may be given up, 0 to 65535 (0 = never).

    libzmq multiplies it by 100 in 16 bits, so values over 655 come out shorter there: prefer up to 655
    (65.5 s). ValueError: ``ttl_ds`` out of range, or more than 16 bytes of ``context``.
    """
    if not 0 <= ttl_ds <= MAX_TTL_DS:
        raise ValueError(f"ttl_ds must be 0 to {MAX_TTL_DS} tenths of a second, not {ttl_ds}")
    return encode_frame(b"\x04PING" + ttl_ds.to_bytes(2, "big") + _checked_context(context), command=True)


def encode_pong(context: bytes = b"") -> bytes:
    """PONG frame; ``context`` is that of the PING it answers. ValueError: more than 16 bytes."""
    return encode_frame(b"\x04PONG" + _checked_context(context), command=True)


def encode_subscribe(topic: bytes, version: Version) -> bytes:
    """Frame that asks for messages beginning with ``topic``, in the form of ``Established.version``."""
    return _encode_interest(b"\x09SUBSCRIBE", b"\x01", topic, version)


def encode_cancel(topic: bytes, version: Version) -> bytes:
    """Frame that takes one subscription back, in the form of ``Established.version``."""
    return _encode_interest(b"\x06CANCEL", b"\x00", topic, version)


def encode_error(reason: str) -> bytes:
    """ERROR frame; RFC 37 allows 255 visible characters: blanks and others become ``_``, the rest is cut."""
    text = bytes(ord(char) if "!" <= char <= "~" else 0x5F for char in reason[:MAX_ERROR_REASON])
    return encode_frame(b"\x05ERROR" + bytes((len(text),)) + text, command=True)


def encode_ready(properties: Iterable[tuple[str, bytes]]) -> bytes:
    """READY frame with these properties in this order; ValueError on a name that RFC 37 does not allow."""
    body = bytearray(b"\x05READY")
    for name, value in properties:
        raw = name.encode("utf-8")
        if not 1 <= len(raw) <= MAX_PROPERTY_NAME or _bad_name_char(raw) is not None:
            raise ValueError(f"property name must be 1 to 255 of A-Z a-z 0-9 - _ . +, not {name!r}")
        body.append(len(raw))
        body += raw
        body += len(value).to_bytes(4, "big")
        body += value
    return encode_frame(bytes(body), command=True)


def _checked_context(context: bytes) -> bytes:
    if len(context) > MAX_PING_CONTEXT:
        raise ValueError(f"context must be at most {MAX_PING_CONTEXT} bytes, not {len(context)}")
    return context


def _encode_interest(command: bytes, message: bytes, topic: bytes, version: Version) -> bytes:
    if version >= (3, 1):
        return encode_frame(command + topic, command=True)
    return encode_frame(message + topic)


# ---- in


def parse_command(body: bytes, *, offset: int = 0) -> Command:
    """The event in a complete command frame's body; ``offset`` is where the body began in the peer's stream.

    Returns ``UnknownCommand`` for names not known here. Raises WireError (the peer's fault, close the link):
    MALFORMED_COMMAND for what breaks the grammar, MALFORMED_METADATA or DUPLICATE_PROPERTY inside READY.
    """
    check_name_size(body, len(body), offset)
    end = 1 + body[0]
    name, data = body[1:end], body[end:]
    if not name.isalpha():  # bytes.isalpha knows ASCII letters only: RFC 37 command-name-char = ALPHA
        raise WireError(
            Reason.MALFORMED_COMMAND,
            expected="letters in the command name",
            received=repr(printable(name)),
            offset=offset + 1,
        )
    parser = _PARSERS.get(name)
    if parser is None:
        return UnknownCommand(name.decode("ascii"), data)
    return parser(data, offset + end)


def check_name_size(body: bytes, size: int, offset: int) -> None:
    """MALFORMED_COMMAND unless a name fits a body of ``size`` bytes; ``body`` is its beginning."""
    if not 1 <= (body[0] if size else 0) < size:
        raise WireError(
            Reason.MALFORMED_COMMAND,
            expected="a command name of at least 1 byte, inside the body",
            received=f"name length {body[0]} in a body of {size} bytes" if size else "an empty body",
            offset=offset,
        )


def parse_subscription_message(body: bytes) -> Subscribe | Cancel | None:
    """What a SUB or XSUB asks for by a message: ``01 topic`` or ``00 topic``; None is any other message.

    Only for the first frame of a message (libzmq reads later parts so too, unless ZMQ_ONLY_FIRST_SUBSCRIBE
    is set).
    """
    kind = _MESSAGE_KINDS.get(body[:1])
    return None if kind is None else kind(body[1:])


def parse_metadata(data: bytes, *, offset: int = 0) -> dict[str, bytes]:
    """READY's properties by lower-case name (RFC 37: short-size 1*255name-char 4OCTET *OCTET).

    Raises WireError: MALFORMED_METADATA (truncated, empty name, character not allowed), DUPLICATE_PROPERTY.
    """
    properties: dict[str, bytes] = {}
    at, size = 0, len(data)
    while at < size:
        start, name_end = at, at + 1 + data[at]
        if name_end == at + 1:
            raise _metadata_error("a property name of 1 to 255 bytes", "an empty name", offset + at)
        if name_end + 4 > size:
            raise _metadata_error(
                f"a name of {data[at]} bytes and a 4-byte value size", f"{size - at - 1} bytes", offset + at
            )
        raw = data[at + 1 : name_end]
        bad = _bad_name_char(raw)
        if bad is not None:
            raise _metadata_error(
                "name characters A-Z a-z 0-9 - _ . +", f"byte 0x{raw[bad]:02x}", offset + at + 1 + bad
            )
        value_start = name_end + 4
        value_size = int.from_bytes(data[name_end:value_start], "big")
        if value_size > size - value_start:
            raise _metadata_error(
                f"a value of {value_size} bytes", f"{size - value_start} bytes", offset + name_end
            )
        at = value_start + value_size
        name = raw.decode("ascii").lower()
        if name in properties:
            raise WireError(
                Reason.DUPLICATE_PROPERTY,
                expected="each property once",
                received=f"{printable(raw)} twice",
                offset=offset + start,
            )
        properties[name] = data[value_start:at]
    return properties


_NAME_CHARS: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.+")


def _bad_name_char(raw: bytes) -> int | None:
    return next((index for index, byte in enumerate(raw) if byte not in _NAME_CHARS), None)


def _metadata_error(expected: str, received: str, offset: int) -> WireError:
    return WireError(Reason.MALFORMED_METADATA, expected=expected, received=received, offset=offset)


def _parse_ping(data: bytes, offset: int) -> Ping:
    if len(data) < 2:
        raise WireError(
            Reason.MALFORMED_COMMAND,
            expected="PING with a 2-byte time to live",
            received=f"{len(data)} bytes",
            offset=offset,
        )
    return Ping(int.from_bytes(data[:2], "big"), _parsed_context(data[2:], offset + 2))


def _parse_pong(data: bytes, offset: int) -> Pong:
    return Pong(_parsed_context(data, offset))


def _parsed_context(context: bytes, offset: int) -> bytes:
    if len(context) > MAX_PING_CONTEXT:
        raise WireError(
            Reason.MALFORMED_COMMAND,
            expected=f"a context of at most {MAX_PING_CONTEXT} bytes",
            received=f"{len(context)} bytes",
            offset=offset,
        )
    return context


def _parse_error(data: bytes, offset: int) -> Error:
    if not data or len(data) != 1 + data[0]:
        raise WireError(
            Reason.MALFORMED_COMMAND,
            expected=f"ERROR with a reason of {data[0]} bytes" if data else "ERROR with a sized reason",
            received=f"{max(len(data) - 1, 0)} bytes",
            offset=offset,
        )
    return Error(printable(data[1:], MAX_ERROR_REASON))


_PARSERS: Final[dict[bytes, Callable[[bytes, int], Command]]] = {
    b"PING": _parse_ping,
    b"PONG": _parse_pong,
    b"SUBSCRIBE": lambda data, offset: Subscribe(data),
    b"CANCEL": lambda data, offset: Cancel(data),
    b"ERROR": _parse_error,
    b"READY": lambda data, offset: Ready(parse_metadata(data, offset=offset)),
}
_MESSAGE_KINDS: Final[dict[bytes, type[Subscribe] | type[Cancel]]] = {b"\x01": Subscribe, b"\x00": Cancel}
