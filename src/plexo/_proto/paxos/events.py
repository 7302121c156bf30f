# SPDX-License-Identifier: Apache-2.0
"""What a node tells whoever runs it."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias


class Agreed(NamedTuple):
    """The slot of a topic is decided."""

    topic: str
    slot: int


class Moved(NamedTuple):
    """A topic has another slot than the one that was used or agreed upon; see RouteChanged for what follows when."""

    topic: str
    before: int
    after: int


class RouteChanged(NamedTuple):
    """Look again where to send a topic and where to listen to it."""

    topic: str


class LineageChanged(NamedTuple):
    """0: there was none."""

    before: int
    after: int


class MemberJoined(NamedTuple):
    instance: int


class MemberLeft(NamedTuple):
    instance: int


class Exhausted(NamedTuple):
    """Every slot is decided to be another topic's."""

    topic: str


Event: TypeAlias = Agreed | Moved | RouteChanged | LineageChanged | MemberJoined | MemberLeft | Exhausted
