# SPDX-License-Identifier: Apache-2.0
"""ZMTP 3.1 greeting and NULL handshake (RFC 37, "Formal Grammar", "The NULL Security Mechanism").

Both sides are alike: each sends its greeting at once, then READY as soon as the other's greeting is right.
Version 1.0 and 2.0 peers are refused by name: no libzmq since 4.0 (2013) needs them. Where libzmq 4.3.5 is
laxer (any odd byte ends its signature, major 2 passes for 3.1, a missing Socket-Type or one given twice
passes, message frames pass for commands in the handshake) this follows the RFC; what libzmq itself sends
always passes.

The verdict on a stream of bytes, its reason and its offset do not depend on how the bytes were cut into
pieces.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum, unique
from typing import Final

from plexo._proto.errors import Reason, WireError, printable
from plexo._proto.zmtp_commands import (
    Error,
    Flag,
    Ready,
    Record,
    Version,
    check_name_size,
    encode_error,
    encode_frame,
    encode_ready,
    parse_command,
)

GREETING_SIZE: Final = 64
OUR_VERSION: Final[Version] = (3, 1)
# READY carries a socket type and a few properties: about 30 bytes from libzmq. 8 KiB leaves room for
# properties of applications, and is all that a stranger can make us hold before it has said who it is.
MAX_HANDSHAKE_COMMAND: Final = 8192

_MECHANISM: Final = b"NULL".ljust(20, b"\0")
# The padding is the one libzmq sends (FF, 64-bit size 1, 7F): a ZMTP 1.0 peer reads it as an empty identity.
_GREETING: Final = b"\xff\0\0\0\0\0\0\0\x01\x7f" + bytes(OUR_VERSION) + _MECHANISM + bytes(32)
_SOCKET_TYPE: Final = "Socket-Type"


@unique
class SocketType(Enum):
    """Socket types that we speak; values as in the Socket-Type property."""

    PAIR = b"PAIR"
    PUB = b"PUB"
    SUB = b"SUB"
    XPUB = b"XPUB"
    XSUB = b"XSUB"


_PUBLISHERS: Final = frozenset((SocketType.PUB, SocketType.XPUB))
_SUBSCRIBERS: Final = frozenset((SocketType.SUB, SocketType.XSUB))
# RFC 37, "The Socket-Type Property": whom each may talk to.
COMPATIBLE: Final[dict[SocketType, frozenset[SocketType]]] = {
    SocketType.PAIR: frozenset((SocketType.PAIR,)),
    SocketType.PUB: _SUBSCRIBERS,
    SocketType.XPUB: _SUBSCRIBERS,
    SocketType.SUB: _PUBLISHERS,
    SocketType.XSUB: _PUBLISHERS,
}


@unique
class State(Enum):
    AWAIT_GREETING = "await-greeting"
    AWAIT_READY = "await-ready"
    ESTABLISHED = "established"
    FAILED = "failed"


@unique
class Event(Enum):
    """What the peer's bytes turned out to be."""

    GREETING = "greeting"
    READY = "ready"
    REFUSAL = "refusal"
    VIOLATION = "violation"
    END = "end"


# Every pair is here (a test counts them); the last two states absorb all, as no input is read there.
TRANSITIONS: Final[dict[tuple[State, Event], State]] = {
    (State.AWAIT_GREETING, Event.GREETING): State.AWAIT_READY,
    (State.AWAIT_GREETING, Event.READY): State.FAILED,
    (State.AWAIT_GREETING, Event.REFUSAL): State.FAILED,
    (State.AWAIT_GREETING, Event.VIOLATION): State.FAILED,
    (State.AWAIT_GREETING, Event.END): State.FAILED,
    (State.AWAIT_READY, Event.GREETING): State.FAILED,
    (State.AWAIT_READY, Event.READY): State.ESTABLISHED,
    (State.AWAIT_READY, Event.REFUSAL): State.FAILED,
    (State.AWAIT_READY, Event.VIOLATION): State.FAILED,
    (State.AWAIT_READY, Event.END): State.FAILED,
    **{(State.ESTABLISHED, event): State.ESTABLISHED for event in Event},
    **{(State.FAILED, event): State.FAILED for event in Event},
}
# Reasons that stand for something else than a violation of the protocol.
_EVENT_OF_REASON: Final = {Reason.PEER_ERROR: Event.REFUSAL, Reason.PEER_CLOSED: Event.END}
# RFC 37 wants the peer told of a wrong socket type, and plain closing otherwise.
_TELL_PEER: Final = frozenset((Reason.INCOMPATIBLE_SOCKET_TYPE,))


class Established(Record):
    """The handshake is done.

    ``version`` is the lower of both sides', ``(3, 0)`` or ``(3, 1)``; ``properties`` are the peer's, names
    in lower case, ``socket-type`` among them; ``trailing`` are the bytes after READY: the beginning of
    traffic.
    """

    __slots__ = __match_args__ = ("peer_socket_type", "version", "properties", "trailing")
    peer_socket_type: SocketType
    version: Version
    properties: dict[str, bytes]
    trailing: bytes

    def __init__(
        self, peer_socket_type: SocketType, version: Version, properties: dict[str, bytes], trailing: bytes
    ) -> None:
        self._fill(peer_socket_type, version, properties, trailing)

    __hash__ = None  # type: ignore[assignment]


class Handshake:
    """One side of a ZMTP 3.1 NULL handshake on one connection; the caller moves the bytes and keeps the time.

    Loop: write ``data_to_send()``, read, ``receive_data()``, until ``Established``; then write
    ``data_to_send()`` once more, before any traffic. ``properties`` go into our READY beside Socket-Type.
    Never holds more than ``max(64, 9 + max_command_bytes)`` bytes between calls.

    ValueError: a property is not allowed, or our READY would exceed ``MAX_HANDSHAKE_COMMAND``.
    """

    __slots__ = (
        "_buffer",
        "_consumed",
        "_max_command_bytes",
        "_outgoing",
        "_peer_version",
        "_ready",
        "_result",
        "_socket_type",
        "_state",
    )

    def __init__(
        self,
        socket_type: SocketType,
        *,
        properties: Mapping[str, bytes] = {},
        max_command_bytes: int = MAX_HANDSHAKE_COMMAND,
    ) -> None:
        if max_command_bytes < 1:
            raise ValueError(f"max_command_bytes must be at least 1, not {max_command_bytes}")
        self._ready = _our_ready(socket_type, properties)
        self._socket_type = socket_type
        self._max_command_bytes = max_command_bytes
        self._state = State.AWAIT_GREETING
        self._buffer = bytearray()
        self._consumed = 0  # bytes of the peer's stream before the buffer
        self._outgoing = [_GREETING]
        self._peer_version = OUR_VERSION
        self._result: Established | None = None

    @property
    def state(self) -> State:
        return self._state

    @property
    def buffered_bytes(self) -> int:
        """How much of an unfinished greeting or command is held."""
        return len(self._buffer)

    def data_to_send(self) -> bytes:
        """What must be written now; empties itself. Call it after an error too: ERROR may be in it."""
        data = b"".join(self._outgoing)
        self._outgoing.clear()
        return data

    def receive_data(self, data: bytes | bytearray | memoryview) -> Established | None:
        """Take what was read, in pieces of any size.

        None: write ``data_to_send()``, read on. Established: done, ``trailing`` is not ours; write
        ``data_to_send()``. WireError: the peer broke the protocol, or refused us (PEER_ERROR): write
        ``data_to_send()`` if possible, then close. RuntimeError: the caller's mistake, the handshake was
        over already.
        """
        self._require_running("receive_data")
        self._buffer += data
        try:
            while (reader := _READERS.get(self._state)) is not None:
                event = reader(self)
                if event is None:
                    return None
                self._advance(event)
        except WireError as error:
            self._fail(error)
            raise
        return self._result

    def receive_eof(self) -> None:
        """The peer closed: raises WireError(PEER_CLOSED), or RuntimeError if the handshake was over.

        libzmq with another mechanism than NULL closes so too, mostly before it has sent a whole greeting.
        """
        self._require_running("receive_eof")
        error = WireError(
            Reason.PEER_CLOSED,
            expected=_AWAITED[self._state],
            received="end of stream",
            offset=self._consumed + len(self._buffer),
        )
        self._fail(error)
        raise error

    def _require_running(self, method: str) -> None:
        if self._state not in _READERS:
            raise RuntimeError(f"{method}() on a handshake that is {self._state.value}")

    def _advance(self, event: Event) -> None:
        self._state = TRANSITIONS[self._state, event]
        if self._state is State.AWAIT_READY:
            self._outgoing.append(self._ready)

    def _fail(self, error: WireError) -> None:
        self._advance(_EVENT_OF_REASON.get(error.reason, Event.VIOLATION))
        self._buffer.clear()
        if error.reason in _TELL_PEER:
            # RFC 37 has READY *or* ERROR. A READY that is out already cannot be taken back; ERROR then
            # comes as a command in traffic, which libzmq ignores.
            if self._ready in self._outgoing:
                self._outgoing.remove(self._ready)
            self._outgoing.append(encode_error(f"{error.reason.value}:{error.received}"))

    def _consume(self, size: int) -> None:
        del self._buffer[:size]
        self._consumed += size

    def _read_greeting(self) -> Event | None:
        seen = self._buffer
        for start, end, check in _GREETING_CHECKS:
            if len(seen) > start:
                check(bytes(seen[start:end]), self._consumed + start)
        if len(seen) < GREETING_SIZE:
            return None
        # A higher peer speaks our version to us (RFC 37, "Version Negotiation").
        self._peer_version = (seen[10], seen[11])
        self._consume(GREETING_SIZE)
        return Event.GREETING

    def _read_command(self) -> Event | None:
        seen = self._buffer
        if not seen:
            return None
        size_bytes = _SIZE_BYTES.get(seen[0])
        if size_bytes is None:
            raise _flags_error(seen[0], self._consumed)
        start = 1 + size_bytes
        size_seen = bytes(seen[1:start])
        # Bytes of the size still to come count as zero, so that a size is refused at the first byte that
        # makes it so.
        size = int.from_bytes(size_seen.ljust(size_bytes, b"\0"), "big")
        if size > self._max_command_bytes:
            raise WireError(
                Reason.COMMAND_TOO_LARGE,
                expected=f"a handshake command of at most {self._max_command_bytes} bytes",
                received=f"size 0x{size_seen.hex()}{'..' if len(size_seen) < size_bytes else ''}",
                offset=self._consumed + 1,
            )
        if len(size_seen) < size_bytes:
            return None
        self._check_command_name(start, size)
        if len(seen) < start + size:
            return None
        body = bytes(seen[start : start + size])
        command = parse_command(body, offset=self._consumed + start)
        if isinstance(command, Error):
            raise WireError(
                Reason.PEER_ERROR,
                expected="READY",
                received=f"ERROR {command.reason!r}",
                offset=self._consumed,
            )
        assert isinstance(command, Ready)
        peer_socket_type = self._checked_socket_type(command.properties, self._consumed + start)
        self._consume(start + size)
        version = min(OUR_VERSION, self._peer_version)
        self._result = Established(peer_socket_type, version, command.properties, bytes(self._buffer))
        self._buffer.clear()
        return Event.READY

    def _check_command_name(self, start: int, size: int) -> None:
        """Judge the command's name when it is complete, without waiting for the data behind it."""
        body = self._buffer[start : start + size]
        if size and not body:
            return
        check_name_size(bytes(body[:1]), size, self._consumed + start)
        name = bytes(body[1 : 1 + body[0]])
        if len(name) == body[0] and name not in _HANDSHAKE_COMMANDS:
            raise WireError(
                Reason.UNEXPECTED_COMMAND,
                expected="READY or ERROR",
                received=repr(printable(name)),
                offset=self._consumed + start,
            )

    def _checked_socket_type(self, properties: dict[str, bytes], offset: int) -> SocketType:
        allowed = COMPATIBLE[self._socket_type]
        expected = " or ".join(sorted(socket_type.name for socket_type in allowed))
        value = properties.get(_SOCKET_TYPE.lower())
        if value is None:
            raise WireError(
                Reason.MISSING_SOCKET_TYPE,
                expected=f"Socket-Type {expected}",
                received="none",
                offset=offset,
            )
        for socket_type in allowed:
            if socket_type.value == value:
                return socket_type
        raise WireError(
            Reason.INCOMPATIBLE_SOCKET_TYPE,
            expected=f"Socket-Type {expected} for our {self._socket_type.name}",
            received=printable(value),
            offset=offset,
        )


_READERS: Final[dict[State, Callable[[Handshake], Event | None]]] = {
    State.AWAIT_GREETING: Handshake._read_greeting,
    State.AWAIT_READY: Handshake._read_command,
}
_AWAITED: Final = {
    State.AWAIT_GREETING: "a greeting of 64 bytes (is the peer ZMTP 3 with mechanism NULL?)",
    State.AWAIT_READY: "READY",
}
_HANDSHAKE_COMMANDS: Final = frozenset((b"READY", b"ERROR"))
_SIZE_BYTES: Final[dict[int, int]] = {int(Flag.COMMAND): 1, int(Flag.COMMAND | Flag.LONG): 8}


def _our_ready(socket_type: SocketType, properties: Mapping[str, bytes]) -> bytes:
    names = [_SOCKET_TYPE, *properties]
    if len({name.lower() for name in names}) != len(names):
        raise ValueError(
            f"properties must be unique without case, and not {_SOCKET_TYPE}: {list(properties)}"
        )
    ready = encode_ready([(_SOCKET_TYPE, socket_type.value), *properties.items()])
    if len(ready) > len(encode_frame(bytes(MAX_HANDSHAKE_COMMAND))):
        raise ValueError(f"properties must fit a command of {MAX_HANDSHAKE_COMMAND} bytes, not {len(ready)}")
    return ready


def _flags_error(flags: int, offset: int) -> WireError:
    message = flags <= Flag.MORE | Flag.LONG
    return WireError(
        Reason.UNEXPECTED_MESSAGE if message else Reason.BAD_FLAGS,
        expected="a command frame (flags 04 or 06)",
        received=f"flags {flags:02x}",
        offset=offset,
    )


# ---- the greeting: (start, end, check of what has come of that field)


def _check_signature_start(seen: bytes, offset: int) -> None:
    if seen == b"\xff":
        return
    # 01 00 is an empty identity, the first thing a ZMTP 1.0 peer (libzmq 2.x) says.
    reason = Reason.OLD_VERSION if seen == b"\x01" else Reason.BAD_SIGNATURE
    old = " (ZMTP 1.0)" if reason is Reason.OLD_VERSION else ""
    raise WireError(
        reason,
        expected="a ZMTP 3 signature beginning with ff",
        received=f"{seen.hex()} {printable(seen)!r}{old}",
        offset=offset,
    )


def _check_signature_end(seen: bytes, offset: int) -> None:
    if seen == b"\x7f":
        return
    # ff, a 64-bit size and even flags are a ZMTP 1.0 identity with a long size (RFC 37, "Backwards
    # Interoperability").
    reason = Reason.OLD_VERSION if not seen[0] & 1 else Reason.BAD_SIGNATURE
    old = " (ZMTP 1.0)" if reason is Reason.OLD_VERSION else ""
    raise WireError(
        reason, expected="a ZMTP 3 signature ending with 7f", received=f"{seen.hex()}{old}", offset=offset
    )


_OLD_REVISIONS: Final = {0: "ZMTP 1.0", 1: "ZMTP 2.0"}


def _check_major(seen: bytes, offset: int) -> None:
    if seen[0] < OUR_VERSION[0]:
        raise WireError(
            Reason.OLD_VERSION,
            expected="ZMTP 3.0 or later",
            received=f"revision {seen[0]} ({_OLD_REVISIONS.get(seen[0], 'no known version')})",
            offset=offset,
        )


def _check_mechanism(seen: bytes, offset: int) -> None:
    if not _MECHANISM.startswith(seen):
        wrong = next(index for index, byte in enumerate(seen) if byte != _MECHANISM[index])
        raise WireError(
            Reason.MECHANISM_MISMATCH,
            expected="mechanism NULL",
            received=repr(printable(seen.rstrip(b"\0"))),
            offset=offset + wrong,
        )


# Padding (1-8) must not be looked at, as-server (32) means nothing to NULL, and the filler (33-63) is for
# the future.
_GREETING_CHECKS: Final[tuple[tuple[int, int, Callable[[bytes, int], None]], ...]] = (
    (0, 1, _check_signature_start),
    (9, 10, _check_signature_end),
    (10, 11, _check_major),
    (12, 32, _check_mechanism),
)
