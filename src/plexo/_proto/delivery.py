# SPDX-License-Identifier: Apache-2.0
"""Acknowledged delivery, and request and reply, between two of ours on a pair: the commands.

Neither ZMTP nor 1.0's wire has an acknowledgement, so this is an extension that both sides announce in READY
(`X-Plexo-Delivery`); to a peer that does not announce it none of these commands is sent.

    DELIVER id floor envelope     a message to be acknowledged
    SETTLE id outcome             what became of it: Done, Failed, Refused
    ASK id envelope               a question
    ANSWER id outcome             Reply, Failed, Refused

A sender numbers its messages 1, 2, 3, ... within a *session*, 16 bytes that it draws once (with a journal: once in the
journal's life). It says DELIVER again on every new link until it has seen SETTLE. *floor* is the lowest number that it
may ever say again, so the receiver can forget what lies below; a number is less than WINDOW_IDS above its floor, which
bounds the memory of both. Questions are said once, on one link: they need neither session nor floor.

Rejected: acknowledging all up to a number at once, as TCP does. Reactants finish in any order, and each message has an
outcome of its own. The window and the filter of repeats are in `delivery_window`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum, unique
from typing import Final

from plexo._proto.errors import Reason, WireError, printable
from plexo._proto.zmtp_commands import Record, encode_frame

PROPERTY: Final = "X-Plexo-Delivery"
VERSION: Final = 1
SESSION_BYTES: Final = 16
# Numbers that one sender may have between its floor and its newest message, and that a receiver remembers: enough to
# fill a link whose round trip, the reactant's work included, takes a tenth of a second, at ten thousand a second.
WINDOW_IDS: Final = 1024
# Encoded bytes that one sender keeps until they are settled (at least one message, whatever its size), and that a
# receiver has in hand for one link.
WINDOW_BYTES: Final = 64 << 20
# Sessions whose numbers a receiver remembers. A pair has one peer, and a restarted peer has a session of its own.
MAX_SESSIONS: Final = 8
# Questions on their way on one link, and handlers at work for one link.
MAX_REQUESTS: Final = 256
# SQLite's integers end here.
MAX_ID: Final = (1 << 63) - 1
# What an error of the other side may say, in bytes of UTF-8. A receiver keeps outcomes: 8 * 1024 * 1.1 KB at most.
MAX_KIND_BYTES: Final = 100
MAX_TEXT_BYTES: Final = 1000
MAX_REASON_BYTES: Final = 64

_DELIVER: Final = b"\x0cPLEXODELIVER"
_SETTLE: Final = b"\x0bPLEXOSETTLE"
_ASK: Final = b"\x08PLEXOASK"
_ANSWER: Final = b"\x0bPLEXOANSWER"
_ID_BYTES: Final = 8
_REASON_CHARS: Final = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789-")


@unique
class Status(IntEnum):
    """First byte of an outcome."""

    DONE = 1
    FAILED = 2
    REFUSED = 3
    REPLY = 4


class Done(Record):
    """Every reactant over there has finished."""

    __slots__ = __match_args__ = ()


class Failed(Record):
    """A reactant or handler over there raised; `kind` is the name of the exception's type, never resolved."""

    __slots__ = __match_args__ = ("kind", "text")
    kind: str
    text: str

    def __init__(self, kind: str, text: str) -> None:
        self._fill(kind, text)


class Refused(Record):
    """Nobody over there worked on it; `reason` is a short token of a-z, 0-9 and `-`."""

    __slots__ = __match_args__ = ("reason",)
    reason: str

    def __init__(self, reason: str) -> None:
        self._fill(reason)


class Reply(Record):
    """The answer to a question, as an envelope."""

    __slots__ = __match_args__ = ("envelope",)
    envelope: bytes

    def __init__(self, envelope: bytes) -> None:
        self._fill(envelope)


Settled = Done | Failed | Refused
Answered = Reply | Failed | Refused


class Deliver(Record):
    """A message to be settled; 1 <= floor <= id < floor + WINDOW_IDS."""

    __slots__ = __match_args__ = ("id", "floor", "envelope")
    id: int
    floor: int
    envelope: bytes

    def __init__(self, id: int, floor: int, envelope: bytes) -> None:
        self._fill(id, floor, envelope)


class Settle(Record):
    """What became of the message with this number."""

    __slots__ = __match_args__ = ("id", "outcome")
    id: int
    outcome: Settled

    def __init__(self, id: int, outcome: Settled) -> None:
        self._fill(id, outcome)


class Ask(Record):
    """A question; its number belongs to this link alone."""

    __slots__ = __match_args__ = ("id", "envelope")
    id: int
    envelope: bytes

    def __init__(self, id: int, envelope: bytes) -> None:
        self._fill(id, envelope)


class Answer(Record):
    """What became of the question with this number."""

    __slots__ = __match_args__ = ("id", "outcome")
    id: int
    outcome: Answered

    def __init__(self, id: int, outcome: Answered) -> None:
        self._fill(id, outcome)


DeliveryCommand = Deliver | Settle | Ask | Answer


# ---- announcing


def announcement(session: bytes) -> dict[str, bytes]:
    """The property of our READY; ValueError unless the session has 16 bytes."""
    if len(session) != SESSION_BYTES:
        raise ValueError(f"session must have {SESSION_BYTES} bytes, not {len(session)}")
    return {PROPERTY: bytes((VERSION,)) + session}


def announced_session(properties: Mapping[str, bytes], *, offset: int = 0) -> bytes | None:
    """The session that the peer's READY announces (names in lower case); None where it does not speak this version.

    WireError(MALFORMED_METADATA): it says that it does, and names no session of 16 bytes.
    """
    value = properties.get(PROPERTY.lower())
    if value is None or value[:1] != bytes((VERSION,)):
        return None
    if len(value) != 1 + SESSION_BYTES:
        raise WireError(
            Reason.MALFORMED_METADATA,
            expected=f"{PROPERTY} with a session of {SESSION_BYTES} bytes",
            received=f"{len(value) - 1} bytes",
            offset=offset,
        )
    return value[1:]


# ---- out: whole frames


def encode_deliver(id: int, floor: int, envelope: bytes) -> bytes:
    """ValueError: not 1 <= floor <= id < floor + WINDOW_IDS, or an empty envelope."""
    if not 1 <= floor <= id < floor + WINDOW_IDS or id > MAX_ID:
        raise ValueError(f"expected 1 <= floor <= id < floor + {WINDOW_IDS}, got id {id}, floor {floor}")
    return _frame(_DELIVER + id.to_bytes(_ID_BYTES, "big") + floor.to_bytes(_ID_BYTES, "big"), envelope)


def encode_ask(id: int, envelope: bytes) -> bytes:
    """ValueError: not 1 <= id <= MAX_ID, or an empty envelope."""
    return _frame(_ASK + _encoded_id(id), envelope)


def encode_settle(id: int, outcome: Settled) -> bytes:
    """Texts that are too long are cut. ValueError: not 1 <= id <= MAX_ID, or a reason that is no token."""
    return encode_frame(_SETTLE + _encoded_id(id) + _encoded_outcome(outcome), command=True)


def encode_answer(id: int, outcome: Answered) -> bytes:
    """As `encode_settle`."""
    if isinstance(outcome, Reply):
        return _frame(_ANSWER + _encoded_id(id) + bytes((Status.REPLY,)), outcome.envelope)
    return encode_frame(_ANSWER + _encoded_id(id) + _encoded_outcome(outcome), command=True)


def cut(text: str, limit: int) -> str:
    """At most `limit` bytes of UTF-8; lone surrogates, which UTF-8 does not have, become `?`."""
    return text[:limit].encode("utf-8", "replace")[:limit].decode("utf-8", "ignore")


def _frame(head: bytes, envelope: bytes) -> bytes:
    if not envelope:
        raise ValueError("envelope must not be empty")
    return encode_frame(head + envelope, command=True)


def _encoded_id(id: int) -> bytes:
    if not 1 <= id <= MAX_ID:
        raise ValueError(f"id must be 1 to {MAX_ID}, not {id}")
    return id.to_bytes(_ID_BYTES, "big")


def _encoded_outcome(outcome: Settled) -> bytes:
    if isinstance(outcome, Done):
        return bytes((Status.DONE,))
    if isinstance(outcome, Failed):
        kind = cut(outcome.kind, MAX_KIND_BYTES).encode() or b"?"
        return bytes((Status.FAILED, len(kind))) + kind + cut(outcome.text, MAX_TEXT_BYTES).encode()
    reason = outcome.reason.encode()
    if not 1 <= len(reason) <= MAX_REASON_BYTES or not _REASON_CHARS.issuperset(reason):
        raise ValueError(f"reason must be 1 to {MAX_REASON_BYTES} of a-z 0-9 -, not {outcome.reason!r}")
    return bytes((Status.REFUSED,)) + reason


# ---- in


def parse_delivery_command(body: bytes, *, offset: int = 0) -> DeliveryCommand | None:
    """The event in a complete command's body, or None where it is no command of this extension.

    `offset` is where the body began in the peer's stream. WireError(MALFORMED_COMMAND): the peer's fault; close the
    link.
    """
    # A name ends where its length says, so no name is the beginning of another.
    if body.startswith(_DELIVER):
        at = len(_DELIVER)
        id = _parsed_id(body, at, offset)
        floor = _parsed_id(body, at + _ID_BYTES, offset)
        if not floor <= id < floor + WINDOW_IDS:
            raise _malformed(
                f"a number from its floor to {WINDOW_IDS - 1} above", f"{id}, floor {floor}", offset + at
            )
        return Deliver(id, floor, _parsed_envelope(body, at + 2 * _ID_BYTES, offset))
    if body.startswith(_SETTLE):
        at = len(_SETTLE)
        id = _parsed_id(body, at, offset)
        settled = _parsed_outcome(body, at + _ID_BYTES, offset, _SETTLED)
        assert not isinstance(settled, Reply)
        return Settle(id, settled)
    if body.startswith(_ASK):
        at = len(_ASK)
        return Ask(_parsed_id(body, at, offset), _parsed_envelope(body, at + _ID_BYTES, offset))
    if body.startswith(_ANSWER):
        at = len(_ANSWER)
        id = _parsed_id(body, at, offset)
        answered = _parsed_outcome(body, at + _ID_BYTES, offset, _ANSWERED)
        assert not isinstance(answered, Done)
        return Answer(id, answered)
    return None


_SETTLED: Final = frozenset((Status.DONE, Status.FAILED, Status.REFUSED))
_ANSWERED: Final = frozenset((Status.REPLY, Status.FAILED, Status.REFUSED))


def _malformed(expected: str, received: str, offset: int) -> WireError:
    return WireError(Reason.MALFORMED_COMMAND, expected=expected, received=received, offset=offset)


def _parsed_id(body: bytes, at: int, offset: int) -> int:
    if len(body) < at + _ID_BYTES:
        raise _malformed(f"a number of {_ID_BYTES} bytes", f"{max(len(body) - at, 0)} bytes", offset + at)
    id = int.from_bytes(body[at : at + _ID_BYTES], "big")
    if not 1 <= id <= MAX_ID:
        raise _malformed(f"a number from 1 to {MAX_ID}", str(id), offset + at)
    return id


def _parsed_envelope(body: bytes, at: int, offset: int) -> bytes:
    if len(body) <= at:
        raise _malformed("an envelope", "nothing", offset + at)
    return body[at:]


def _parsed_outcome(
    body: bytes, at: int, offset: int, allowed: frozenset[Status]
) -> Done | Failed | Refused | Reply:
    if len(body) <= at or body[at] not in allowed:
        received = f"byte 0x{body[at]:02x}" if len(body) > at else "nothing"
        raise _malformed(
            "a status of " + ", ".join(str(status.value) for status in sorted(allowed)), received, offset + at
        )
    status = body[at]
    if status == Status.REPLY:
        return Reply(_parsed_envelope(body, at + 1, offset))
    rest = body[at + 1 :]
    if status == Status.FAILED:
        return _parsed_failure(rest, offset + at + 1)
    if status == Status.REFUSED:
        if not 1 <= len(rest) <= MAX_REASON_BYTES or not _REASON_CHARS.issuperset(rest):
            raise _malformed(
                f"a reason of 1 to {MAX_REASON_BYTES} of a-z 0-9 -", repr(printable(rest)), offset + at + 1
            )
        return Refused(rest.decode("ascii"))
    if rest:
        raise _malformed("nothing behind status 1", f"{len(rest)} bytes", offset + at + 1)
    return Done()


def _parsed_failure(rest: bytes, offset: int) -> Failed:
    size = rest[0] if rest else 0
    if not 1 <= size <= MAX_KIND_BYTES or len(rest) < 1 + size:
        raise _malformed(
            f"the name of an error, sized 1 to {MAX_KIND_BYTES}", f"size {size} in {len(rest)} bytes", offset
        )
    if len(rest) > 1 + size + MAX_TEXT_BYTES:
        raise _malformed(
            f"a text of at most {MAX_TEXT_BYTES} bytes", f"{len(rest) - 1 - size} bytes", offset + 1 + size
        )
    try:
        return Failed(rest[1 : 1 + size].decode(), rest[1 + size :].decode())
    except UnicodeDecodeError as error:
        raise _malformed("UTF-8", f"bytes that are none ({error.reason})", offset + 1) from None
