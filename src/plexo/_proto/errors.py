# SPDX-License-Identifier: Apache-2.0
"""What a peer can do wrong on the wire, and where in its stream of bytes it did."""

from __future__ import annotations

from enum import Enum, unique

# Peers choose the bytes that we quote in messages, so quotes are short and printable: a log line stays a
# line.
MAX_QUOTED = 64


@unique
class Reason(str, Enum):
    """Short tokens that stay the same between releases: for programs, statistics and tests."""

    BAD_SIGNATURE = "bad-signature"
    OLD_VERSION = "old-version"
    MECHANISM_MISMATCH = "mechanism-mismatch"
    BAD_FLAGS = "bad-flags"
    UNEXPECTED_MESSAGE = "unexpected-message"
    UNEXPECTED_COMMAND = "unexpected-command"
    COMMAND_TOO_LARGE = "command-too-large"
    MALFORMED_COMMAND = "malformed-command"
    MALFORMED_METADATA = "malformed-metadata"
    DUPLICATE_PROPERTY = "duplicate-property"
    MISSING_SOCKET_TYPE = "missing-socket-type"
    INCOMPATIBLE_SOCKET_TYPE = "incompatible-socket-type"
    PEER_ERROR = "peer-error"
    PEER_CLOSED = "peer-closed"
    TOO_MANY_SUBSCRIPTIONS = "too-many-subscriptions"
    SUBSCRIPTION_TOO_LONG = "subscription-too-long"
    MALFORMED_PACKET = "malformed-packet"


class WireError(Exception):
    """The peer broke the protocol (or refused us): this connection must be closed.

    ``reason`` is a ``Reason`` (a ``str``); ``expected`` and ``received`` are for humans, one line each;
    ``offset`` counts bytes received on this connection, from 0, up to the byte where it went wrong.
    """

    def __init__(self, reason: Reason, *, expected: str, received: str, offset: int) -> None:
        super().__init__(reason, expected, received, offset)
        self.reason: Reason = reason
        self.expected: str = expected
        self.received: str = received
        self.offset: int = offset

    def __str__(self) -> str:
        where = f"{self.reason.value} at byte {self.offset}"
        return f"{where}: expected {self.expected}, received {self.received}"

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (self.reason, self.expected, self.received, self.offset))


def _rebuild(reason: Reason, expected: str, received: str, offset: int) -> WireError:
    return WireError(reason, expected=expected, received=received, offset=offset)


def printable(data: bytes, limit: int = MAX_QUOTED) -> str:
    """At most ``limit`` bytes as printable ASCII (then ``...``); what is not printable becomes ``?``."""
    text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "?" for byte in data[:limit])
    return text + "..." if len(data) > limit else text
