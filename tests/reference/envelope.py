# SPDX-License-Identifier: Apache-2.0
"""The envelope, slowly: a reader of one Cap'n Proto struct, and a writer as awkward as the specification allows.

struct PlexoMessage @0xeed5242d4faed181 { typeName @0 :Text; payload @1 :Data; }
"""

from __future__ import annotations

import random

MAX_SEGMENTS = 512
STRUCT, LIST, FAR = 0, 1, 2


# -- reading ----------------------------------------------------------------------------------------------------------


def split_segments(data: bytes) -> list[list[int]]:
    """The segments as lists of 64-bit words."""
    words = [int.from_bytes(data[i : i + 8], "little") for i in range(0, len(data) - len(data) % 8, 8)]
    halves = [half for word in words for half in (word & 0xFFFFFFFF, word >> 32)]
    if not words:
        raise ValueError("empty")
    count = halves[0] + 1
    if count > MAX_SEGMENTS:
        raise ValueError("too many segments")
    at = count // 2 + 1
    if at > len(words):
        raise ValueError("truncated table")
    segments = []
    for size in halves[1 : count + 1]:
        if at + size > len(words):
            raise ValueError("truncated segment")
        segments.append(words[at : at + size])
        at += size
    return segments


def follow(segments: list[list[int]], number: int, at: int) -> tuple[int, int, int]:
    """What the pointer at a word of a segment leads to: (segment, word, the pointer that describes the object)."""
    pointer = segments[number][at]
    if pointer % 4 == FAR:
        number, at = pointer >> 32, pointer % 2**32 >> 3
        if number >= len(segments) or not segments[number]:
            raise ValueError("unknown segment")
        if pointer >> 2 & 1:
            if at + 2 > len(segments[number]):
                raise ValueError("landing pad out of bounds")
            pad, tag = segments[number][at : at + 2]
            if pad % 4 != FAR:
                raise ValueError("double-far without a far pointer")
            if pad >> 32 >= len(segments) or not segments[pad >> 32]:
                raise ValueError("unknown segment")
            return pad >> 32, pad % 2**32 >> 3, tag
        if at + 1 > len(segments[number]):
            raise ValueError("landing pad out of bounds")
        pointer = segments[number][at]
    offset = pointer % 2**32 >> 2
    if offset >= 2**29:
        offset -= 2**30
    return number, at + 1 + offset, pointer


def take(segments: list[list[int]], number: int, at: int, words: int) -> list[int]:
    if words == 0:
        return []
    if at < 0 or at + words > len(segments[number]):
        raise ValueError("out of bounds")
    return segments[number][at : at + words]


def read_bytes(segments: list[list[int]], number: int, at: int) -> bytes | None:
    """None if the pointer is null."""
    if segments[number][at] == 0:
        return None
    number, at, pointer = follow(segments, number, at)
    if pointer % 4 != LIST or pointer >> 32 & 7 != 2:
        raise ValueError("not a list of bytes")
    size = pointer >> 35
    words = take(segments, number, at, (size + 7) // 8)
    return b"".join(word.to_bytes(8, "little") for word in words)[:size]


def parse_envelope(data: bytes) -> tuple[bytes, bytes]:
    segments = split_segments(data)
    if not segments[0]:
        raise ValueError("no root")
    if segments[0][0] == 0:
        return b"", b""
    number, at, pointer = follow(segments, 0, 0)
    if pointer % 4 != STRUCT:
        raise ValueError("not a struct")
    data_words, pointers = pointer >> 32 & 0xFFFF, pointer >> 48
    take(segments, number, at, data_words + pointers)
    name = read_bytes(segments, number, at + data_words) if pointers > 0 else None
    payload = read_bytes(segments, number, at + data_words + 1) if pointers > 1 else None
    if name is not None:
        if not name.endswith(b"\0"):
            raise ValueError("no NUL")
        name = name[:-1]
    return name or b"", payload or b""


# -- writing ----------------------------------------------------------------------------------------------------------


def join_segments(segments: list[list[int]]) -> bytes:
    table = [len(segments) - 1] + [len(segment) for segment in segments]
    table += [0] * (len(table) % 2)
    return b"".join(half.to_bytes(4, "little") for half in table) + b"".join(
        word.to_bytes(8, "little") for segment in segments for word in segment
    )


def build_envelope(name: bytes, payload: bytes) -> bytes:
    """The plain form: one segment of root pointer, struct, name, payload."""
    name_words, payload_words = to_words(name + b"\0"), to_words(payload)
    return join_segments(
        [
            [
                2 << 48,
                1 << 2 | LIST | (2 | len(name) + 1 << 3) << 32,
                len(name_words) << 2 | LIST | (2 | len(payload) << 3) << 32,
                *name_words,
                *payload_words,
            ]
        ]
    )


def to_words(data: bytes) -> list[int]:
    return [int.from_bytes(data[i : i + 8], "little") for i in range(0, len(data), 8)]


def scatter_envelope(name: bytes, payload: bytes, rng: random.Random, segment_count: int) -> bytes:
    """The same message as a writer with many segments may lay it out.

    Objects come in any order in any segment with junk between them, the struct may be of a newer schema (data, more
    pointers) or of an older one (pointers cut off behind the last that is set), empty fields may be null, and each
    pointer is near, far or double-far wherever that form can be used.
    """
    segments: list[list[int]] = [[] for _ in range(segment_count)]
    segments[0].append(0)  # the root pointer

    def place(words: list[int]) -> tuple[int, int]:
        number = rng.randrange(segment_count)
        segments[number] += [rng.getrandbits(64) for _ in range(rng.choice((0, 0, 0, 1, 3)))]
        segments[number] += words
        return number, len(segments[number]) - len(words)

    def point(source: tuple[int, int], target: tuple[int, int], kind: int, upper: int) -> None:
        """Writes a pointer at `source` to the object at `target`."""
        near = source[0] == target[0]
        form = rng.choice(("near", "far", "double") if near else ("far", "double"))
        if form == "near":
            offset = target[1] - source[1] - 1
            if kind == STRUCT and upper == 0:
                offset = -1  # an empty struct must not look like null
            word = offset % 2**30 << 2 | kind | upper << 32
        elif form == "far":
            segments[target[0]].append(0)  # the landing pad, in the segment of the object
            pad = (target[0], len(segments[target[0]]) - 1)
            segments[pad[0]][pad[1]] = (target[1] - pad[1] - 1) % 2**30 << 2 | kind | upper << 32
            word = FAR | pad[1] << 3 | pad[0] << 32
        else:
            if not segments[target[0]]:
                segments[target[0]].append(0)  # a far pointer needs a segment that is there
            pad = place([FAR | target[1] << 3 | target[0] << 32, kind | upper << 32])
            word = FAR | 1 << 2 | pad[1] << 3 | pad[0] << 32
        segments[source[0]][source[1]] = word

    fields = [
        name + b"\0" if name or rng.random() < 0.5 else None,
        payload if payload or rng.random() < 0.5 else None,
    ]
    data_words = rng.choice((0, 0, 1, 5))
    pointers = 2 + rng.choice((0, 0, 1, 4))
    if fields[1] is None and rng.random() < 0.5:
        pointers = 0 if fields[0] is None else 1
    spots: dict[int, tuple[int, int]] = {}
    root = (0, 0)
    for which in rng.sample(range(3), 3):
        if which == 2:
            root = place([rng.getrandbits(64) for _ in range(data_words)] + [0] * pointers)
        elif (field := fields[which]) is not None:
            spots[which] = place(to_words(field))
    for which, spot in spots.items():
        field = fields[which]
        assert field is not None
        point((root[0], root[1] + data_words + which), spot, LIST, 2 | len(field) << 3)
    if pointers > 2 and 0 in spots:  # a field that we do not know: the name again
        point((root[0], root[1] + data_words + 2), spots[0], LIST, 2 | len(name) + 1 << 3)
    point((0, 0), root, STRUCT, data_words | pointers << 16)
    return join_segments(segments)
