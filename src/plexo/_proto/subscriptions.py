# SPDX-License-Identifier: Apache-2.0
"""Which topic prefixes are wanted: by one peer (publisher's side) or by ourselves (subscriber's side).

RFC 37 says that a prefix subscribed twice must be cancelled twice. libzmq 4.3.5 does not agree with that on
the wire (checked, ``tests/interop/test_zmtp_pyzmq.py``): its SUB sends every SUBSCRIBE but only the *last*
CANCEL, and its PUB keeps a set, so that one CANCEL ends it. Hence:

* Counting is the default here, by the RFC. With a libzmq SUB that subscribes a prefix more than once it
  errs on the safe side: after the CANCEL the peer still gets what its own filter drops. Nothing is ever
  lost.
* ``counted=False`` is libzmq's publisher: one CANCEL ends it, however often the prefix was subscribed. With
  a peer that follows the RFC this would lose messages.
* A subscriber that counts for itself, and sends SUBSCRIBE when ``add`` says True and CANCEL when ``remove``
  says True, is understood in the same way by all of them.

Most users want exact topics, many prefixes of few lengths: a dictionary, and one look-up for each distinct
length, costs less than a trie in Python. Worst case: ``max_topic_bytes`` look-ups.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from plexo._proto.errors import Reason, WireError

# A peer chooses how much we must remember, so there is an end to it: some thousand kinds of message are a
# large system, names in dotted namespaces stay well under a kilobyte; both at their limit are 16 MiB for a
# peer.
MAX_TOPICS: Final = 16_384
MAX_TOPIC_BYTES: Final = 1_024


class Subscriptions:
    """Prefixes that are wanted now, each counted (see the module's text for ``counted=False``)."""

    __slots__ = ("_counted", "_counts", "_lengths", "_max_topic_bytes", "_max_topics", "_per_length")

    def __init__(
        self, *, max_topics: int = MAX_TOPICS, max_topic_bytes: int = MAX_TOPIC_BYTES, counted: bool = True
    ) -> None:
        for name, value in (("max_topics", max_topics), ("max_topic_bytes", max_topic_bytes)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        self._max_topics = max_topics
        self._max_topic_bytes = max_topic_bytes
        self._counted = counted
        self._counts: dict[bytes, int] = {}
        self._per_length: dict[int, int] = {}
        self._lengths: tuple[int, ...] = ()

    def add(self, prefix: bytes, *, offset: int = 0) -> bool:
        """Count one subscription. True: newly present. False: was present already.

        WireError (the peer asks too much; nothing was added): SUBSCRIPTION_TOO_LONG, TOO_MANY_SUBSCRIPTIONS.
        ``offset`` is the place in the peer's stream, for the error.
        """
        count = self._counts.get(prefix)
        if count is not None:
            self._counts[prefix] = count + 1 if self._counted else 1
            return False
        size = len(prefix)
        if size > self._max_topic_bytes:
            raise WireError(
                Reason.SUBSCRIPTION_TOO_LONG,
                expected=f"a topic of at most {self._max_topic_bytes} bytes",
                received=f"{size} bytes",
                offset=offset,
            )
        if len(self._counts) >= self._max_topics:
            raise WireError(
                Reason.TOO_MANY_SUBSCRIPTIONS,
                expected=f"at most {self._max_topics} topics",
                received="one more",
                offset=offset,
            )
        self._counts[bytes(prefix)] = 1
        self._per_length[size] = self._per_length.get(size, 0) + 1
        if self._per_length[size] == 1:
            self._lengths = tuple(sorted(self._per_length))
        return True

    def remove(self, prefix: bytes) -> bool:
        """Take one subscription back. True: it is gone now. False: others remain, or there was none."""
        count = self._counts.get(prefix)
        if count is None:
            return False
        if count > 1:
            self._counts[prefix] = count - 1
            return False
        del self._counts[prefix]
        size = len(prefix)
        self._per_length[size] -= 1
        if not self._per_length[size]:
            del self._per_length[size]
            self._lengths = tuple(sorted(self._per_length))
        return True

    def matches(self, topic: bytes) -> bool:
        """Whether any present prefix begins ``topic``; the empty prefix begins all."""
        counts = self._counts
        if topic in counts:
            return True
        size = len(topic)
        for length in self._lengths:
            if length >= size:
                return False
            if topic[:length] in counts:
                return True
        return False

    def clear(self) -> None:
        """Forget everything (the connection ended)."""
        self._counts.clear()
        self._per_length.clear()
        self._lengths = ()

    def __len__(self) -> int:
        return len(self._counts)

    def __contains__(self, prefix: object) -> bool:
        return prefix in self._counts

    def __iter__(self) -> Iterator[bytes]:
        return iter(tuple(self._counts))

    def __repr__(self) -> str:
        return f"Subscriptions({len(self._counts)} topics)"
