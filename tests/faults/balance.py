# SPDX-License-Identifier: Apache-2.0
"""Whether the books of one ganglion balance and agree with each other, whenever one looks.

What is counted in two places is counted independently there, so that the sums are a proof: of every message sent by the
neuron and by the link, of every message received by the link and by the neuron, of every loss by the queue that lost it
and by the tally of faults.
"""

from __future__ import annotations

from collections.abc import Iterator

from plexo import Book, Cause, GanglionStats
from plexo.statistics import sum_of, sum_of_links

# Losses of messages that reached no neuron: known to the link and to the tally alone.
BEFORE_NEURONS = (Cause.UNKNOWN_TOPIC, Cause.MALFORMED)
# Losses that the link and the neuron both know.
BEFORE_REACTANTS = (Cause.IGNORED, Cause.UNDECODABLE)


def imbalance(stats: GanglionStats, is_pair: bool) -> str | None:
    """None where everything adds up, or what does not. A pair keeps messages that no link has: while none is up."""
    for name, book in _books(stats):
        if not book.balanced or min(book[:3]) < 0:
            return f"{name}: {_shown(book)}"
    return _sending(stats, is_pair) or _receiving(stats) or _faults(stats)


def nothing_waits(stats: GanglionStats) -> str | None:
    """None where nothing is on its way through this ganglion, or what is."""
    if stats.waiting:
        return f"{stats.waiting} senders wait"
    for name, book in _books(stats):
        if book.queued:
            return f"{name}: {book.queued} are queued"
    return None


def _books(stats: GanglionStats) -> Iterator[tuple[str, Book]]:
    for name, neuron in stats.neurons.items():
        yield f"{name}, receiving", neuron.receiving
        yield f"{name}, sending", neuron.sending
        for reactant in neuron.reactants:
            yield f"{name}, {reactant.reactant!r}", reactant.book
    for link in (*stats.links, stats.ended):
        yield f"link to {link.peer or 'those that are gone'}, receiving", link.receiving
        yield f"link to {link.peer or 'those that are gone'}, sending", link.sending


def _sending(stats: GanglionStats, is_pair: bool) -> str | None:
    by_neuron = sum_of(neuron.sending for neuron in stats.neurons.values())
    by_link = sum_of_links((*stats.links, stats.ended)).sending
    agree = (
        by_neuron.delivered == by_link.delivered and by_neuron.queued >= by_link.queued
        if is_pair
        else by_neuron == by_link
    )
    return None if agree else f"sending, by neuron {_shown(by_neuron)}; by link {_shown(by_link)}"


def _receiving(stats: GanglionStats) -> str | None:
    by_link = sum_of_links((*stats.links, stats.ended)).receiving
    lost = by_link.dropped
    reached = by_link.accepted - sum(lost.get(cause, 0) for cause in BEFORE_NEURONS)
    if reached != stats.received:
        return f"receiving: {reached} of the links' messages reached a neuron; neurons got {stats.received}"
    by_neuron = sum_of(neuron.receiving for neuron in stats.neurons.values()).dropped
    for cause in BEFORE_REACTANTS:
        if by_neuron.get(cause, 0) != lost.get(cause, 0):
            return (
                f"receiving, {cause.value}: {by_neuron.get(cause, 0)} by neuron, {lost.get(cause, 0)} by link"
            )
    if set(lost) - {*BEFORE_NEURONS, *BEFORE_REACTANTS} or by_link.queued:
        return f"receiving, by link: {_shown(by_link)}"
    return None


def _faults(stats: GanglionStats) -> str | None:
    """Every loss is in the tally too, with its neuron, as often as in the books."""
    tallied: dict[tuple[str, Cause], int] = {}
    for (cause, name, _), count in stats.faults.items():
        tallied[name, cause] = tallied.get((name, cause), 0) + count
    for name, neuron in stats.neurons.items():
        lost = sum_of((neuron.receiving, neuron.sending)).dropped
        for cause in {*lost, *(cause for known, cause in tallied if known == name)}:
            if lost.get(cause, 0) != tallied.get((name, cause), 0):
                found = f"{lost.get(cause, 0)} in books, {tallied.get((name, cause), 0)} in faults"
                return f"{name}, {cause.value}: {found}"
    lost = sum_of_links((*stats.links, stats.ended)).receiving.dropped
    for cause in BEFORE_NEURONS:
        if lost.get(cause, 0) != tallied.get(("", cause), 0):
            return f"{cause.value}: {lost.get(cause, 0)} in books, {tallied.get(('', cause), 0)} in faults"
    return None


def _shown(book: Book) -> str:
    dropped = ", ".join(f"{cause.value} {count}" for cause, count in book.dropped.items())
    return f"accepted {book.accepted}, delivered {book.delivered}, queued {book.queued}, dropped ({dropped})"
