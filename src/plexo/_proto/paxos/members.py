# SPDX-License-Identifier: Apache-2.0
"""The other nodes of the network, as their heartbeats tell."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType

from plexo._proto.paxos.events import Event, MemberJoined, MemberLeft
from plexo._proto.paxos.messages import (
    MAX_DATAGRAM_BYTES,
    MAX_PAGES,
    MAX_TOPICS,
    Heartbeat,
    Offers,
    View,
)

# More are not known of; one costs about a kilobyte, without what it offers.
MAX_MEMBERS = 4096
# Of the topics that all of them offer; pages for which there is no room are not kept.
MAX_OFFERED_BYTES = 16 << 20
# Room of a page of topics, beside what else is in its datagram; what a topic needs beside its bytes.
_PAGE_BYTES = MAX_DATAGRAM_BYTES - 64
_TOPIC_BYTES = 3
# Of a str in a tuple, beside its characters.
_TOPIC_COST = 64


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

    def silent(self, now: float, beats: float, least_s: float) -> bool:
        """Whether it was not heard for so many of its heartbeats."""
        return now - self.heard_at > beats * max(self.interval_s, least_s)


class Members:
    """Those that are heard, by instance. ``tell`` is given who comes and goes."""

    def __init__(self, tell: Callable[[Event], None]) -> None:
        self._tell = tell
        self._known: dict[int, Member] = {}
        self.by_instance: Mapping[int, Member] = MappingProxyType(self._known)
        self.offered_bytes = 0

    def __len__(self) -> int:
        return len(self._known)

    def __iter__(self) -> Iterator[Member]:
        return iter(self._known.values())

    def get(self, instance: int) -> Member | None:
        return self._known.get(instance)

    def hear(self, beat: Heartbeat, now: float) -> Member | None:
        """A heartbeat of somebody who stays; None where it is older than one that was heard, or there is no room."""
        member = self._known.get(beat.sender)
        if member is None:
            if len(self._known) >= MAX_MEMBERS:
                return None
            member = self._known[beat.sender] = Member(beat.sender, now)
            self._tell(MemberJoined(beat.sender))
        if beat.beats < member.beats:
            return None
        member.heard_at = now
        member.beats = beat.beats
        member.interval_s = beat.interval_ms / 1000
        member.view = beat.view
        member.count, member.digest = beat.count, beat.digest
        member.hears = beat.hears
        if beat.offers != member.offers:
            member.offers = beat.offers
            self._forget_pages(member)
            if not beat.offers:
                member.version = 0
                self._publish(member, ())
        return member

    def take_page(self, page: Offers) -> None:
        """A page of what somebody publishes; the last one makes it whole."""
        member = self._known.get(page.sender)
        if (
            member is None
            or page.version == member.version
            or page.version != member.offers
            or page.page >= page.pages
            or page.page in member.pages
            or self.offered_bytes + _bytes_of(page.topics) > MAX_OFFERED_BYTES
        ):
            return
        member.pages[page.page] = page.topics
        self.offered_bytes += _bytes_of(page.topics)
        if len(member.pages) == page.pages:
            member.version = page.version
            topics = tuple(topic for number in sorted(member.pages) for topic in member.pages[number])
            self._forget_pages(member)
            self._publish(member, topics)

    def remove(self, instance: int) -> None:
        member = self._known.pop(instance, None)
        if member is not None:
            self._forget_pages(member)
            self._publish(member, ())
            self._tell(MemberLeft(instance))

    def remove_silent(self, now: float, beats: float, least_s: float) -> None:
        for member in list(self._known.values()):
            if member.silent(now, beats, least_s):
                self.remove(member.instance)

    def listen_anew(self, now: float) -> None:
        """Nobody could be heard for a while: the silence was not theirs."""
        for member in self._known.values():
            member.heard_at = now

    def _forget_pages(self, member: Member) -> None:
        self.offered_bytes -= sum(map(_bytes_of, member.pages.values()))
        member.pages = {}

    def _publish(self, member: Member, topics: tuple[str, ...]) -> None:
        self.offered_bytes += _bytes_of(topics) - _bytes_of(member.published)
        member.published = topics


def _bytes_of(topics: Sequence[str]) -> int:
    return sum(len(topic) for topic in topics) + _TOPIC_COST * len(topics)


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
