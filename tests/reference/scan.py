# SPDX-License-Identifier: Apache-2.0
"""The division of a stream into runs and slow regions, slowly: first every message, then those that look alike.

What a message is, the slow readers of frames and envelopes say.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from tests.reference.envelope import parse_envelope
from tests.reference.frames import COMMAND, MORE, parse_frame_header

BIG_FRAME = 65536

# (start, count, stride, prefix, payload, name_at, name); a slow region has count 0
Entry = tuple[int, int, int, int, int, int, int]


class Message(NamedTuple):
    start: int
    end: int
    payload_at: int
    payload: int
    name_at: int
    name_end: int


def plain(body: bytes) -> tuple[int, int] | None:
    """Sizes of name and payload of an envelope that is laid out as ours are; what pads the name may be anything."""
    try:
        name, payload = parse_envelope(body)
    except ValueError:
        return None
    name_words = len(name) // 8 + 1
    words = 3 + name_words + (len(payload) + 7) // 8
    head = struct.pack(
        "<IIQIIII", 0, words, 2 << 48, 5, (len(name) + 1) << 3 | 2, name_words << 2 | 1, len(payload) << 3 | 2
    )
    if body[:32] != head or len(body) != 8 + 8 * words:
        return None
    return len(name), len(payload)


class Divider:
    """Like plexo._fast.scan.Divider, with any number of entries."""

    def __init__(self, is_pair: bool, max_frame_bytes: int, opaque: int = 0, inside: bool = False) -> None:
        self.is_pair = is_pair
        self.max_frame_bytes = max_frame_bytes
        self.opaque = opaque
        self.inside = inside
        self.raw = False

    def divide(self, data: bytes) -> tuple[int, list[Entry]]:
        regions: list[Message | tuple[int, int]] = []
        at = min(self.opaque, len(data))
        self.opaque -= at
        regions.append((0, at))
        while (found := self._next(data, at)) is not None:
            regions.append(found)
            at = found[1]
        return at, _entries(data, [each for each in regions if each[1] > each[0]])

    def _header(self, data: bytes, at: int) -> tuple[int, int, int] | None:
        """(flags, where the body begins, where it ends); None for "need more"; ValueError for a fault."""
        found = parse_frame_header(data[at : at + 9])
        if found is None:
            return None
        flags, size, header = found
        if size > self.max_frame_bytes:
            raise ValueError("too large")
        return flags, at + header, at + header + size

    def _next(self, data: bytes, at: int) -> Message | tuple[int, int] | None:
        if at == len(data):
            return None
        try:
            if self.raw:
                raise ValueError("a fault before")
            return self._sound(data, at)
        except ValueError:
            self.raw = True
            return at, len(data)

    def _sound(self, data: bytes, at: int) -> Message | tuple[int, int] | None:
        first = self._header(data, at)
        if first is None:
            return None
        flags, body, end = first
        if flags & COMMAND and self.inside:
            raise ValueError("a command inside of a message")
        if end - body >= BIG_FRAME:
            if not flags & COMMAND:
                self.inside = bool(flags & MORE)
            self.opaque = max(0, end - len(data))
            return at, min(end, len(data))
        if end > len(data):
            return None
        if flags & COMMAND:
            return at, end
        if not self.inside and not flags & MORE and self.is_pair:
            sizes = plain(data[body:end])
            if sizes is not None:
                name, payload = sizes
                return Message(at, end, end - payload - -payload % 8, payload, body + 32, body + 32 + name)
        if not self.inside and flags & MORE and not self.is_pair:
            second = self._header(data, end)
            if second is None:
                return None
            more, payload_at, payload_end = second
            if more & COMMAND:
                raise ValueError("a command inside of a message")
            if not more & MORE and payload_end - payload_at < BIG_FRAME:
                if payload_end > len(data):
                    return None
                return Message(at, payload_end, payload_at, payload_end - payload_at, body, end)
        self.inside = bool(flags & MORE)
        return at, end


def _entries(data: bytes, regions: list[Message | tuple[int, int]]) -> list[Entry]:
    entries: list[Entry] = []
    head = b""
    for region in regions:
        last = entries[-1] if entries else None
        start, end = region[0], region[1]
        if not isinstance(region, Message):
            if last is not None and last[1] == 0:
                entries[-1] = (last[0], 0, last[2] + end - start, 0, 0, 0, 0)
            else:
                entries.append((start, 0, end - start, 0, 0, 0, 0))
            continue
        prefix = data[start : region.payload_at]
        if last is not None and last[1] and prefix == head:
            entries[-1] = (last[0], last[1] + 1, *last[2:])  # type: ignore[assignment]
        else:
            head = prefix
            name = region.name_end - region.name_at
            entries.append((start, 1, end - start, len(prefix), region.payload, region.name_at - start, name))
    return entries
