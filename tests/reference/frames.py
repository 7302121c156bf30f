# SPDX-License-Identifier: Apache-2.0
"""ZMTP 3.x frame headers (RFC 37), slowly."""

from __future__ import annotations

MORE, LONG, COMMAND = 1, 2, 4


def parse_frame_header(data: bytes) -> tuple[int, int, int] | None:
    """(flags without LONG, body size, header size); None for "need more"; ValueError if it is no frame."""
    if not data:
        return None
    flags = data[0]
    if flags > 7:
        raise ValueError("reserved flag")
    if flags & COMMAND and flags & MORE:
        raise ValueError("COMMAND with MORE")
    header_size = 9 if flags & LONG else 2
    if len(data) < header_size:
        return None
    body_size = int.from_bytes(data[1:header_size], "big")
    if body_size >= 2**63:
        raise ValueError("size")
    return flags & ~LONG, body_size, header_size


def build_frame(flags: int, body: bytes) -> bytes:
    if len(body) <= 255:
        return bytes([flags, len(body)]) + body
    return bytes([flags | LONG]) + len(body).to_bytes(8, "big") + body
