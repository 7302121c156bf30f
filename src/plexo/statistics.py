# SPDX-License-Identifier: Apache-2.0
"""What was received, sent and not delivered, by neuron, peer and cause."""

from __future__ import annotations

from enum import Enum, unique
from typing import NamedTuple

# Different (cause, topic, peer) triples kept apart by one ganglion; strangers choose their own addresses, so what
# comes after that many is counted under the peer "other".
MAX_TALLIES = 4096
OTHER = "other"


@unique
class Cause(str, Enum):
    """Why something was not delivered, or a link not kept. The values stay the same between releases."""

    UNKNOWN_TOPIC = "unknown-topic"
    MALFORMED = "malformed-message"
    UNDECODABLE = "undecodable"
    REACTANT_ERROR = "reactant-error"
    QUEUE_FULL = "queue-full"
    DISCONNECTED = "disconnected"
    TRUNCATED = "truncated"
    HANDSHAKE_FAILED = "handshake-failed"
    HANDSHAKE_TIMEOUT = "handshake-timeout"
    REJECTED = "rejected"
    PROTOCOL_ERROR = "protocol-error"
    HEARTBEAT_TIMEOUT = "heartbeat-timeout"
    UNSENT = "unsent-at-disconnect"
    CLOSED = "closed"


class NeuronStats(NamedTuple):
    """Messages of one neuron at one ganglion.

    received = ignored (nobody reacts) + undecodable + handed to reactants; `sent` counts each peer's copy, `dropped`
    those that found a queue full.
    """

    received: int
    ignored: int
    undecodable: int
    sent: int
    dropped: int
    queued: int


class LinkStats(NamedTuple):
    """One established link. `queued` messages and bytes are not with the kernel yet."""

    peer: str
    received: int
    received_bytes: int
    sent: int
    sent_bytes: int
    queued: int
    queued_bytes: int


class GanglionStats(NamedTuple):
    """A snapshot. `faults` counts by (cause, topic or "", peer or "")."""

    received: int
    neurons: dict[str, NeuronStats]
    links: tuple[LinkStats, ...]
    faults: dict[tuple[Cause, str, str], int]

    def fault_count(self, cause: Cause) -> int:
        """All faults of one cause together."""
        return sum(count for (kind, _, _), count in self.faults.items() if kind is cause)


class Tally:
    """Counts faults; says of each whether it is the first of its kind, so that a log says it once."""

    def __init__(self) -> None:
        self._counts: dict[tuple[Cause, str, str], int] = {}

    def add(self, cause: Cause, topic: str = "", peer: str = "", count: int = 1) -> bool:
        """Count; True for the first of this cause, topic and peer."""
        key = (cause, topic, peer)
        known = self._counts.get(key)
        if known is None and len(self._counts) >= MAX_TALLIES:
            key = (cause, topic, OTHER)
            known = self._counts.get(key)
        self._counts[key] = (known or 0) + count
        return known is None

    def snapshot(self) -> dict[tuple[Cause, str, str], int]:
        return dict(self._counts)
