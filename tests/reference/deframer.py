# SPDX-License-Identifier: Apache-2.0
"""The stream of libzmq in TSDUs, slowly: taken apart, and packed as libzmq packs it."""

from __future__ import annotations

from collections.abc import Sequence

Message = tuple[bytes, bytes]
NO_MESSAGE = 0xFFFF
MORE = 1
# A misread head cannot be passed over, wrong parts and sizes can.
PASSABLE = ("one-part", "too-many-parts", "too-large")


def frame(body: bytes, flags: int = 0) -> bytes:
    length = len(body) + 1
    return (bytes([length]) if length < 255 else b"\xff" + length.to_bytes(8, "big")) + bytes([flags]) + body


def long_frame(body: bytes, flags: int = 0) -> bytes:
    """With a length in 8 bytes, though it may not need them."""
    return b"\xff" + (len(body) + 1).to_bytes(8, "big") + bytes([flags]) + body


def message(topic: bytes, payload: bytes) -> bytes:
    return frame(topic, MORE) + frame(payload)


def pack(messages: Sequence[bytes], size: int) -> list[bytes]:
    """The messages, which are encoded already, in TSDUs of at most `size` bytes (3 or more)."""
    stream = b"".join(messages)
    starts, at = set(), 0
    for each in messages:
        starts.add(at)
        at += len(each)
    tsdus = []
    for begin in range(0, len(stream), size - 2):
        data = stream[begin : begin + size - 2]
        here = [at - begin for at in starts if begin <= at < begin + len(data)]
        if not here and len(data) < size - 2 and begin + len(data) == len(stream):
            # The end of a message, and room for another.
            here = [len(data)]
        tsdus.append(min(here, default=NO_MESSAGE).to_bytes(2, "big") + data)
    return tsdus


class MoreNeededError(Exception):
    pass


def read_head(stream: bytes) -> tuple[int, bool, bytes]:
    """Size of the body, whether there is more, and what comes behind the head."""
    size = 10 if stream[:1] == b"\xff" else 2
    if len(stream) < size:
        raise MoreNeededError
    length = stream[0] if size == 2 else int.from_bytes(stream[1:9], "big")
    flags = stream[size - 1]
    if length == 0:
        raise ValueError("length-zero")
    if flags not in (0, MORE):
        raise ValueError("reserved-flags")
    return length - 1, flags == MORE, stream[size:]


def read_message(stream: bytes, most: int) -> tuple[Message, bytes]:
    """The first message and what comes behind it. Raises MoreNeededError, or ValueError with a reason."""
    topic_size, more, stream = read_head(stream)
    if not more:
        raise ValueError("one-part")
    if topic_size > most:
        raise ValueError("too-large")
    topic, stream = stream[:topic_size], stream[topic_size:]
    if len(topic) < topic_size:
        raise MoreNeededError
    size, more, stream = read_head(stream)
    if more:
        raise ValueError("too-many-parts")
    if topic_size + size > most:
        raise ValueError("too-large")
    if len(stream) < size:
        raise MoreNeededError
    return (topic, stream[:size]), stream[size:]


def pass_over(stream: bytes) -> bytes | None:
    """What comes behind the first message, of whatever parts; None if it does not end here."""
    more = True
    while more:
        try:
            size, more, stream = read_head(stream)
        except (MoreNeededError, ValueError):
            return None
        if size > len(stream):
            return None
        stream = stream[size:]
    return stream


class Deframer:
    def __init__(self, most: int) -> None:
        self.most = most
        self.found: list[Message] = []
        self.faults: list[str] = []
        self.truncated = self.skipped = 0
        self._synced = False
        self._part = b""

    def gap(self) -> None:
        self.truncated += self._part != b""
        self._part, self._synced = b"", False

    def push(self, tsdu: bytes) -> None:
        offset, data = int.from_bytes(tsdu[:2], "big"), tsdu[2:]
        announced = offset != NO_MESSAGE
        if not announced:
            offset = len(data)
        if len(tsdu) < 2 or offset > len(data):
            self._fail("short-tsdu" if len(tsdu) < 2 else "offset-beyond-end", False)
            return
        begun, data = data[:offset], data[offset:]
        if self._part:
            self._finish(begun, announced)
        elif self._synced:
            if begun:
                self._fail("misplaced-message", announced)
        elif announced:
            self._synced = True
        else:
            self.skipped += 1
        while data:
            try:
                message, data = read_message(data, self.most)
                self.found.append(message)
            except MoreNeededError:
                self._part, data = data, b""
            except ValueError as error:
                rest = pass_over(data) if str(error) in PASSABLE else None
                self._fail(str(error), rest is not None)
                data = rest or b""

    def _finish(self, begun: bytes, announced: bool) -> None:
        try:
            message, rest = read_message(self._part + begun, self.most)
        except MoreNeededError:
            if announced:
                self._fail("misplaced-message", announced)
            else:
                self._part += begun
        except ValueError as error:
            self._fail(str(error), announced)
        else:
            if rest:
                self._fail("misplaced-message", announced)
            else:
                self.found.append(message)
                self._part = b""

    def _fail(self, reason: str, synced: bool) -> None:
        self.faults.append(reason)
        self._part, self._synced = b"", synced
