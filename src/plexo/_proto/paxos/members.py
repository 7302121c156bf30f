# SPDX-License-Identifier: Apache-2.0
"""The other nodes of the network, as their heartbeats tell."""

from __future__ import annotations

from collections.abc import Sequence

from plexo._proto.paxos.messages import (
    MAX_DATAGRAM_BYTES,
    MAX_PAGES,
    MAX_TOPICS,
    Heartbeat,
    Offers,
    View,
)

# More are not known of; a node costs about a kilobyte, with what it offers.
MAX_MEMBERS = 4096
MAX_OFFERED_TOPICS = 65536
# Room of a page of topics, beside what else is in its datagram; what a topic needs beside its bytes.
_PAGE_BYTES = MAX_DATAGRAM_BYTES - 64
_TOPIC_BYTES = 3


class Member:
    """``published``: the topics that it offers, as far as they are known."""

    __slots__ = (
        "beats", "count", "digest", "heard_at", "hears", "instance", "interval_s", "offers", "pages",
        "published", "since", "version", "view",
    )  # fmt: skip

    def __init__(self, instance: int, now: float) -> None:
        self.instance = instance
        self.since = now
        self.heard_at = now
        self.interval_s = 0.0
        self.view: View | None = None
        self.beats = 0
        self.count = self.digest = 0
        self.hears: tuple[int, ...] = ()
        # The version that it has, and the one that is known here, whole.
        self.offers = 0
        self.version = 0
        self.pages: dict[int, tuple[str, ...]] = {}
        self.published: tuple[str, ...] = ()

    def heard(self, beat: Heartbeat, now: float) -> bool:
        """False: it is older than one that was heard."""
        if beat.beats < self.beats:
            return False
        self.heard_at = now
        self.beats = beat.beats
        self.interval_s = beat.interval_ms / 1000
        self.view = beat.view
        self.count, self.digest = beat.count, beat.digest
        self.hears = beat.hears
        if beat.offers != self.offers:
            self.offers = beat.offers
            self.pages = {}
            if not beat.offers:
                self.version, self.published = 0, ()
        return True

    def offered(self, page: Offers) -> bool:
        """A page of what it publishes; True where that is whole now."""
        if page.version == self.version or page.version != self.offers or page.page >= page.pages:
            return False
        self.pages[page.page] = page.topics
        if len(self.pages) < page.pages:
            return False
        topics = [topic for number in sorted(self.pages) for topic in self.pages[number]]
        self.published = tuple(topics[:MAX_OFFERED_TOPICS])
        self.version = page.version
        self.pages = {}
        return True

    def silent(self, now: float, beats: float, least_s: float) -> bool:
        """Whether it was not heard for so many of its heartbeats."""
        return now - self.heard_at > beats * max(self.interval_s, least_s)


def pages_of(topics: Sequence[str]) -> list[tuple[str, ...]]:
    """What is offered, divided into datagrams; what there is no page for is left out."""
    pages: list[list[str]] = []
    room = 0
    for topic in topics:
        size = len(topic.encode()) + _TOPIC_BYTES
        if not pages or size > room or len(pages[-1]) == MAX_TOPICS:
            pages.append([])
            room = _PAGE_BYTES
        pages[-1].append(topic)
        room -= size
    return [tuple(page) for page in pages[:MAX_PAGES]]
