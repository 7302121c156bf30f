# SPDX-License-Identifier: Apache-2.0
"""Messages that say what they are, and a log that holds what arrives against what was sent."""

from __future__ import annotations

from typing import Any

HEAD_BYTES = 12


def message(sender: int, number: int, size: int) -> bytes:
    """`size` bytes (at least HEAD_BYTES), which only this message has."""
    head = sender.to_bytes(4, "big") + number.to_bytes(8, "big")
    return head + bytes([number * 31 & 0xFF]) * (size - HEAD_BYTES)


class Log:
    """What came of each sender: how many, what was left out, came again or too late, or spoilt."""

    def __init__(self) -> None:
        self.senders: dict[int, dict[str, int]] = {}
        self.spoilt = 0
        self.count = 0

    def note(self, payload: bytes) -> None:
        sender, number = int.from_bytes(payload[:4], "big"), int.from_bytes(payload[4:12], "big")
        if len(payload) < HEAD_BYTES or payload != message(sender, number, len(payload)):
            self.spoilt += 1
            return
        self.count += 1
        found = self.senders.get(sender)
        if found is None:
            self.senders[sender] = {"count": 1, "first": number, "last": number, "missing": 0, "stale": 0}
            return
        found["count"] += 1
        if number <= found["last"]:
            found["stale"] += 1
            return
        found["missing"] += number - found["last"] - 1
        found["last"] = number

    def summary(self) -> dict[str, Any]:
        """For a report; JSON has no integers as keys."""
        senders = {str(sender): dict(found) for sender, found in self.senders.items()}
        return {"count": self.count, "spoilt": self.spoilt, "senders": senders}

    def has(self, sender: int, last: int) -> bool:
        """Whether this message, or a later one, has come."""
        return sender in self.senders and self.senders[sender]["last"] >= last


def perfect(summary: dict[str, Any], sender: int, first: int, count: int) -> bool:
    """Everything that `sender` sent has come, once and in order, and nothing was spoilt."""
    expected = {"count": count, "first": first, "last": first + count - 1, "missing": 0, "stale": 0}
    return bool(summary["spoilt"] == 0 and summary["senders"].get(str(sender)) == expected)
