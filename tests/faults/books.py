# SPDX-License-Identifier: Apache-2.0
"""Holds the library's books against each other (balance.py) and against what the scenario knows by itself."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from plexo import Book, Cause, GanglionZmqTcpPair, Neuron
from plexo.statistics import EMPTY_BOOK, LinkStats, NeuronStats
from tests.faults.balance import imbalance, nothing_waits
from tests.faults.sides import AnyGanglion, Life, Side, may_lose
from tests.faults.truth import NEURONS, Item, Listener, Speaker, Untrue

if TYPE_CHECKING:
    from tests.faults.scenario import Scenario

NOTHING = NeuronStats(0, EMPTY_BOOK, EMPTY_BOOK, ())


def missing_peers(ganglion: AnyGanglion, wanted: Iterable[Neuron[Item]]) -> str | None:
    """None where this ganglion has its peer, which has subscribed to `wanted`; or what is missing."""
    if isinstance(ganglion, GanglionZmqTcpPair):
        return None if ganglion.peers_connected else "no peer"
    if sum(peer.startswith("tcp:") for peer in ganglion.peers_connected) != 1:
        return "no publisher"
    for neuron in wanted:
        if (count := ganglion.subscriber_count(neuron)) != 1:
            return f"{count} subscribers to {neuron}"
    return None


# -- at any instant ------------------------------------------------------------------------------------------


def audit(life: Life) -> None:
    """Raises Untrue where the books of one life do not balance, or say other than its speakers and listeners."""
    if life.is_stranger:
        return
    for ganglion in life.ganglia:
        wrong = imbalance(ganglion.stats(), isinstance(ganglion, GanglionZmqTcpPair))
        if wrong is not None:
            raise Untrue(f"{life.side.name}, {ganglion!r}: {wrong}")
    if life.plexus is not None and (wrong := imbalance(life.plexus.stats(), False)) is not None:
        raise Untrue(f"{life.side.name}, {life.plexus!r}: {wrong}")
    for listener in life.listeners:
        _compare_listener(life, listener)
    for neuron in {speaker.neuron for speaker in life.speakers}:
        _compare_speakers(life, neuron, [speaker for speaker in life.speakers if speaker.neuron == neuron])


def book_of(life: Life, listener: Listener) -> Book:
    neuron = life.place.stats().neurons.get(listener.neuron.name, NOTHING)
    for reactant in neuron.reactants:
        if reactant.reactant == listener.reactant:
            book: Book = reactant.book
            return book
    raise Untrue(f"{listener.name} has no book")


def handed_to_reactants(life: Life, neuron: Neuron[Item]) -> int:
    """Messages of `neuron` that links brought to this life and that somebody there could react to."""
    total = 0
    for ganglion in life.ganglia:
        stats = ganglion.stats().neurons.get(neuron.name, NOTHING)
        unwanted = stats.receiving.dropped
        total += stats.received - unwanted.get(Cause.IGNORED, 0) - unwanted.get(Cause.UNDECODABLE, 0)
    return total


def _compare_listener(life: Life, listener: Listener) -> None:
    """Every reactant's book against what that reactant has seen with its own eyes."""
    book = book_of(life, listener)
    seen = (listener.finished, listener.raised, listener.interrupted)
    counted = (
        book.delivered,
        book.dropped.get(Cause.REACTANT_ERROR, 0),
        book.dropped.get(Cause.CANCELLED, 0),
    )
    busy = listener.begun - sum(seen)
    offered = handed_to_reactants(life, listener.neuron) - listener.offered_before
    if seen != counted or book.queued < busy or book.accepted != offered:
        raise Untrue(
            f"{listener.name} finished, raised, was interrupted {seen}, is busy with {busy}, of {offered} that links "
            f"brought; its book says {book}"
        )


def _compare_speakers(life: Life, neuron: Neuron[Item], speakers: list[Speaker]) -> None:
    """What was accepted is what the senders were told. Of a publisher nobody knows, unless it had its one subscriber
    all the time: there may have been strangers, or nobody.
    """
    accepted = sum(len(speaker.accepted) for speaker in speakers)
    undecided = sum(len(speaker.sizes) - speaker.decided for speaker in speakers)
    maybe = sum(len(speaker.withdrawn) for speaker in speakers) + undecided
    for ganglion in life.ganglia:
        sending = ganglion.stats().neurons.get(neuron.name, NOTHING).sending
        is_pair = isinstance(ganglion, GanglionZmqTcpPair)
        if (is_pair or neuron in life.always_wanted) and not accepted <= sending.accepted <= accepted + maybe:
            raise Untrue(
                f"{life.side.name} had {accepted} items of {neuron} accepted (and perhaps {maybe} more); "
                f"the book says {sending}"
            )
        if ganglion.stats().waiting > sum(len(speaker.sizes) - speaker.decided for speaker in life.speakers):
            raise Untrue(f"{life.side.name}: more senders wait than there are")


# -- at rest -------------------------------------------------------------------------------------------------


def not_at_rest(life: Life) -> str | None:
    """None where nothing waits in this life any more, or what does."""
    for each in (*life.ganglia, *([life.plexus] if life.plexus is not None else [])):
        if (what := nothing_waits(each.stats())) is not None:
            return what
    return None


def unequal_ends(scenario: Scenario) -> str | None:
    """None where of every connection one end delivered to the system what the other end received."""
    if scenario.stranger is not None:
        return None
    for joint in scenario.joints:
        ends = [ganglion for life in scenario.living() for ganglion in life.ganglia_of(joint)]
        if len(ends) != 2:
            continue
        for here, there in (ends, ends[::-1]):
            sender, receiver = _link(here, sends=True), _link(there, sends=False)
            if sender is None or receiver is None:
                return f"{here!r} or {there!r} has not one peer"
            if sender.sending.delivered != receiver.receiving.accepted:
                return f"{here!r} delivered {sender.sending.delivered}, {there!r} got {receiver.receiving.accepted}"
    return None


def _link(ganglion: AnyGanglion, sends: bool) -> LinkStats | None:
    """The one link that this ganglion sends on, or receives from."""
    links = ganglion.stats().links
    if not isinstance(ganglion, GanglionZmqTcpPair):
        # A publisher's subscribers dial it; what it subscribed to, it dialled.
        links = tuple(link for link in links if link.peer.startswith("tcp:") != sends)
    return links[0] if len(links) == 1 else None


def settle_accounts(scenario: Scenario) -> None:
    """At rest, where no connection ever broke: raises Untrue where a message is lost or made up on its way."""
    if not scenario.unbroken or scenario.stranger is not None:
        return
    for joint in scenario.joints:
        ends = [(life, ganglion) for life in scenario.living() for ganglion in life.ganglia_of(joint)]
        for (sender, here), (receiver, there) in (ends, ends[::-1]):
            for neuron in NEURONS:
                sent = here.stats().neurons[neuron.name].sending.delivered
                received = there.stats().neurons[neuron.name].received
                if sent != received:
                    raise Untrue(
                        f"of {neuron}, {sender.side.name} delivered {sent} and {receiver.side.name} received {received}"
                    )
    if len(scenario.joints) == 1:
        _all_were_heard(scenario.left, scenario.right)
        _all_were_heard(scenario.right, scenario.left)


def _all_were_heard(here: Side, there: Side) -> None:
    """Where no queue drops anything, without a look at any book."""
    assert here.life is not None and there.life is not None
    if any(may_lose(arguments["send_queue"]) for arguments in here.life.arguments):
        return
    for listener in there.life.listeners:
        if (
            may_lose(listener.queue)
            or not listener.from_the_start
            or listener.neuron not in here.life.always_wanted
        ):
            continue
        for speaker in here.life.speakers:
            if speaker.neuron == listener.neuron:
                heard = set(listener.heard_of(speaker))
                if not speaker.accepted <= heard <= speaker.accepted | speaker.withdrawn:
                    missing = sorted(speaker.accepted - heard)[:9]
                    raise Untrue(f"{listener.name} has not heard {missing} of speaker {speaker.number}")


def closed(life: Life) -> None:
    """After closing nothing is queued, and the books balance still."""
    for each in (*life.ganglia, *([life.plexus] if life.plexus is not None else [])):
        if (what := nothing_waits(each.stats())) is not None:
            raise Untrue(f"{life.side.name}, closed: {what}")
