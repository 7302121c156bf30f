# SPDX-License-Identifier: Apache-2.0
"""The books: what was accepted, delivered, is queued and was dropped, by neuron, peer and cause.

Every queue keeps one book, and every book balances whenever it is looked at. What a book calls delivered differs with
the place: a reactant has finished with the message; the operating system has taken all of it; a neuron with reactants
was found for it.
"""

from __future__ import annotations

from enum import Enum, unique
from types import MappingProxyType
from typing import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


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
    IGNORED = "nobody-reacts"
    SUPERSEDED = "superseded"
    WITHDRAWN = "withdrawn-by-sender"
    CANCELLED = "reactant-cancelled"
    REMOVED = "reactant-removed"
    SLOW_CONSUMER = "slow-consumer"
    REPEATED = "repeated"
    NOT_ACKNOWLEDGED = "not-acknowledged"
    LOST = "lost"
    UNAUTHENTIC = "unauthentic"


class Book(NamedTuple):
    """Messages at one queue: accepted == delivered + queued + sum(dropped.values()), at every instant.

    What was refused with an exception was never accepted. `queued` includes the message that a reactant is busy with.
    """

    accepted: int
    delivered: int
    queued: int
    dropped: Mapping[Cause, int]

    @property
    def lost(self) -> int:
        """Everything that was dropped, whatever the cause."""
        return sum(self.dropped.values())

    @property
    def balanced(self) -> bool:
        return self.accepted == self.delivered + self.queued + self.lost


EMPTY_BOOK = Book(0, 0, 0, MappingProxyType({}))


def sum_of(books: Iterable[Book]) -> Book:
    """One book over several."""
    accepted = delivered = queued = 0
    dropped: dict[Cause, int] = {}
    for book in books:
        accepted += book.accepted
        delivered += book.delivered
        queued += book.queued
        for cause, count in book.dropped.items():
            dropped[cause] = dropped.get(cause, 0) + count
    return Book(accepted, delivered, queued, MappingProxyType(dropped))


class ReactantStats(NamedTuple):
    """One reactant: delivered are the messages it has finished with. `reactant` is None for a stream."""

    reactant: object
    book: Book


class NeuronStats(NamedTuple):
    """Messages of one neuron at one ganglion or plexus.

    `received` counts messages that links brought. `receiving` counts a copy for each reactant (or one where it was
    dropped before any: nobody reacts, it does not decode), local transmissions included. `sending` counts a copy for
    each peer.
    """

    received: int
    receiving: Book
    sending: Book
    reactants: tuple[ReactantStats, ...]


class LinkStats(NamedTuple):
    """One established link.

    Delivered are, receiving, the messages that decoded and that somebody here reacts to; sending, those wholly with the
    operating system. `queued_bytes` are not with it yet.
    """

    peer: str
    receiving: Book
    sending: Book
    received_bytes: int
    sent_bytes: int
    queued_bytes: int


class GanglionStats(NamedTuple):
    """A snapshot that nothing changes any more.

    neurons   by the neuron's name
    links     those that are up
    ended     the sum over all that were; its peer is ""
    waiting   messages not accepted yet: their senders wait for a peer or for room
    faults    counts by (cause, the neuron's name or "", the peer's host or "")
    acked     messages sent to be acknowledged: delivered when the other side's reactants have finished, queued while
              their outcome is not known; in no other book here
    """

    neurons: Mapping[str, NeuronStats]
    links: tuple[LinkStats, ...]
    ended: LinkStats
    waiting: int
    faults: Mapping[tuple[Cause, str, str], int]
    acked: Book = EMPTY_BOOK

    @property
    def received(self) -> int:
        """Messages of all neurons that links brought."""
        return sum(each.received for each in self.neurons.values())

    @property
    def balanced(self) -> bool:
        """Whether every book in here balances; False would be a fault of this library."""
        books = [book for each in self.neurons.values() for book in (each.receiving, each.sending)]
        books += [each.book for neuron in self.neurons.values() for each in neuron.reactants]
        books += [book for link in (*self.links, self.ended) for book in (link.receiving, link.sending)]
        return all(book.balanced for book in (*books, self.acked))

    def fault_count(self, cause: Cause) -> int:
        """All faults of one cause together."""
        return sum(count for (kind, _, _), count in self.faults.items() if kind is cause)


NO_LINK = LinkStats("", EMPTY_BOOK, EMPTY_BOOK, 0, 0, 0)


def sum_of_links(links: Iterable[LinkStats]) -> LinkStats:
    """One entry over several; its peer is ""."""
    known = tuple(links)
    return LinkStats(
        "",
        sum_of(link.receiving for link in known),
        sum_of(link.sending for link in known),
        sum(link.received_bytes for link in known),
        sum(link.sent_bytes for link in known),
        sum(link.queued_bytes for link in known),
    )
