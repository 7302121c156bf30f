# SPDX-License-Identifier: Apache-2.0
"""Acknowledged delivery at a pair: what waits for its outcome, who waits for it, and what the peer wants acknowledged.

Sending: a message waits for room in the window, is written to the journal where there is one, is said on the link, and
said again on every next link, until its outcome comes or its time is over. Receiving: a repeat filter for each session
of a sender; the outcome is said on the link that the session has when the reactants finish, whichever that is by then.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from plexo._fast.envelope import build_envelope
from plexo._fast.synapse import Synapse
from plexo._proto.delivery import (
    PROPERTY,
    WINDOW_BYTES,
    WINDOW_IDS,
    Deliver,
    Done,
    Failed,
    Refused,
    Settle,
    Settled,
    encode_settle,
)
from plexo._proto.delivery_window import RepeatFilter, Seen, Sessions, Window
from plexo._proto.errors import printable
from plexo.exceptions import AckNotSupported, JournalError, NotDelivered, RemoteError
from plexo.ganglion.base import logger
from plexo.ganglion.channel import (
    COMMAND_HEAD_BYTES,
    Channel,
    InHand,
    call_after,
    checked_timeout,
    outcome_of,
)
from plexo.ganglion.endpoint import host_of
from plexo.statistics import Book, Cause

if TYPE_CHECKING:
    from plexo.ganglion.journal import Journal
    from plexo.ganglion.tcp_pair import GanglionZmqTcpPair

DEFAULT_ACK_TIMEOUT_S = 30.0
# A message from the journal that nobody over there reacts to yet is offered again so often, for as long as an
# acknowledgement may take: programs take up their neurons after they have connected.
OFFER_AGAIN_S = 0.25
# A plexus cancels its reactants before its ganglia close. What is cut short so must not be refused: its sender is to
# say it again.
CUT_SHORT_PAUSE_S = 0.1
# Refusals of that kind: nobody has worked on the message, so a repeat may be tried.
_NOBODY = frozenset((Cause.UNKNOWN_TOPIC.value, Cause.IGNORED.value))
_CAUSES = {cause.value: cause for cause in Cause}
BELOW_FLOOR = "below-floor"


class _Message:
    """One message whose outcome is awaited; of an earlier life nobody waits (no future)."""

    __slots__ = ("envelope", "future", "id", "offered_since", "payload", "said", "topic")

    def __init__(self, topic: bytes, payload: bytes, future: asyncio.Future[None] | None) -> None:
        self.topic = topic
        self.payload = payload
        self.envelope = build_envelope(topic, payload)
        self.future = future
        self.id = 0
        self.said = False
        self.offered_since: float | None = None


class Delivery:
    """The acknowledged messages of one pair. ValueError, TypeError, JournalError: for its arguments."""

    def __init__(
        self, ganglion: GanglionZmqTcpPair, journal: Journal | None, session: bytes, ack_timeout_s: float
    ) -> None:
        self.ganglion = ganglion
        self.journal = journal
        self.session = session
        self.ack_timeout_s = checked_timeout(ack_timeout_s, "ack_timeout_s")
        self.channel: Channel | None = None
        # Sending.
        self._window = Window()
        self._under_way: dict[int, _Message] = {}
        self._waiting: dict[_Message, None] = {}
        self._accepted = 0
        self._delivered = 0
        self._dropped: dict[Cause, int] = {}
        self._offer_again: dict[int, None] = {}
        self._cancel_offer: Callable[[], None] | None = None
        # What the journal's thread reports, for the event loop.
        self._reports: deque[tuple[Callable[[int, JournalError | None], None], int, JournalError | None]] = (
            deque()
        )
        self._woken = False
        # Receiving.
        self._sessions = Sessions()
        self._in_hand = InHand(WINDOW_IDS, WINDOW_BYTES)
        # Their reactants were cancelled: we are about to close, or somebody has cancelled a reactant's task.
        self._cut_short: list[tuple[bytes, RepeatFilter, int]] = []
        self._cancel_refusal: Callable[[], None] | None = None
        if journal is not None:
            self._restore(journal)

    def _restore(self, journal: Journal) -> None:
        for row in journal.restored:
            message = _Message(row.topic, row.payload, None)
            message.payload = b""
            self._window.restore(row.id, message.envelope)
            message.id = row.id
            self._under_way[row.id] = message
            self._accepted += 1
        self._window.skip_to(journal.next_id)
        if journal.restored:
            logger.info(
                "%r: %d unacknowledged messages in %s", self.ganglion, len(journal.restored), journal.path
            )
        journal.restored.clear()

    def book(self) -> Book:
        dropped = MappingProxyType(dict(self._dropped))
        return Book(self._accepted, self._delivered, self._window.unsettled, dropped)

    # -- sending -----------------------------------------------------------------------------------------------

    def require_support(self) -> None:
        """AckNotSupported where a peer is connected that does not announce the extension."""
        if self.channel is None and self.ganglion.hub.links:
            raise AckNotSupported(self._not_supported())

    def _not_supported(self) -> str:
        peers = ", ".join(self.ganglion.peers_connected)
        return f"{self.ganglion!r}: peer {peers} does not acknowledge messages (its READY has no {PROPERTY})"

    async def transmit(self, synapse: Synapse[Any], payload: bytes, timeout_s: float | None) -> None:
        """Send one encoded message and wait for its outcome; see the ganglion's `transmit`."""
        timeout_s = self.ack_timeout_s if timeout_s is None else checked_timeout(timeout_s, "timeout_s")
        limit = self.ganglion.hub.max_frame_bytes
        if len(synapse.topic) + len(payload) + COMMAND_HEAD_BYTES > limit:
            self.ganglion._too_large(synapse, len(payload), limit)
        self.require_support()
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        message = _Message(synapse.topic, payload, future)
        if len(message.envelope) + COMMAND_HEAD_BYTES > limit:
            self.ganglion._too_large(synapse, len(payload), limit)
        cancel_timer = call_after(timeout_s, self._expire, message, timeout_s)
        self._waiting[message] = None
        try:
            self._admit()
            if message in self._waiting and self.journal is not None:
                self.journal.retry()
            await future
        except asyncio.CancelledError:
            if not self._withdraw(message, Cause.WITHDRAWN) and not future.cancelled():
                future.exception()  # seen: it came with the cancellation
            raise
        finally:
            cancel_timer()

    def _has_room(self, message: _Message) -> bool:
        if not self._window.has_room(len(message.envelope)):
            return False
        return self.journal is None or self.journal.has_room(len(message.topic) + len(message.payload))

    def _admit(self) -> None:
        """Take in what waits, in order, while there is room."""
        while self._waiting:
            message = next(iter(self._waiting))
            if not self._has_room(message):
                return
            del self._waiting[message]
            self._accept(message)

    def _accept(self, message: _Message) -> None:
        journal = self.journal
        id = message.id = self._window.add(message.envelope, sendable=journal is None)
        self._under_way[id] = message
        self._accepted += 1
        if journal is None:
            self._say(message)
        else:
            journal.store(id, message.topic, message.payload, partial(self._report, self._stored, id))
            # It has a copy, and the link gets the envelope.
            message.payload = b""

    def _say(self, message: _Message) -> None:
        if self.channel is not None:
            message.said = True
            self.channel.say(self._window.command(message.id))

    def _expire(self, message: _Message, timeout_s: float) -> None:
        if self._withdraw(message, Cause.NOT_ACKNOWLEDGED):
            where = "no peer is connected" if self.channel is None else f"from {self.channel.peer}"
            _fail(message, NotDelivered(f"not acknowledged within {timeout_s:g} s ({where})"))

    def _withdraw(self, message: _Message, cause: Cause) -> bool:
        """Never say it again; False where its outcome is known already."""
        if message in self._waiting:
            del self._waiting[message]
            return True
        if self._under_way.pop(message.id, None) is None:
            return False
        self._finish(message, cause)
        return True

    def _finish(self, message: _Message, cause: Cause | None) -> None:
        """Its outcome is known: into the books, out of window and journal."""
        id = message.id
        self._window.settle(id)
        if cause is None:
            self._delivered += 1
        else:
            self._dropped[cause] = self._dropped.get(cause, 0) + 1
        if self.journal is None:
            self._window.forget(id)
            self._admit()
        elif not self.ganglion.closed:
            self.journal.delete(id, partial(self._report, self._deleted, id))

    def settled(self, channel: Channel, command: Settle) -> None:
        """The peer says what became of a message."""
        outcome = command.outcome
        message = self._under_way.get(command.id)
        if message is None:
            self.ganglion._tally.add(Cause.WITHDRAWN, "", host_of(channel.peer))
            return
        if message.future is None and isinstance(outcome, Refused) and self._keep_offering(message, outcome):
            return
        del self._under_way[command.id]
        if isinstance(outcome, Refused):
            self._finish(message, _CAUSES.get(outcome.reason, Cause.REJECTED))
            _fail(message, NotDelivered(f"{channel.peer} refuses it: {outcome.reason}"))
        elif isinstance(outcome, Failed):
            self._finish(message, Cause.REACTANT_ERROR)
            _fail(message, RemoteError(outcome.kind, outcome.text, channel.peer))
        else:
            self._finish(message, None)
            if message.future is not None and not message.future.done():
                message.future.set_result(None)
        if message.future is None and not isinstance(outcome, Done):
            logger.error(
                "%r: %s on a message of %s from the journal: %r",
                self.ganglion, channel.peer, printable(message.topic, 200), outcome,
            )  # fmt: skip

    # -- the journal's reports ---------------------------------------------------------------------------------

    def _report(
        self, what: Callable[[int, JournalError | None], None], id: int, error: JournalError | None
    ) -> None:
        """On the journal's thread."""
        self._reports.append((what, id, error))
        if not self._woken:
            self._woken = True
            loop = self.ganglion.hub.loop
            try:
                if loop is not None:
                    loop.call_soon_threadsafe(self._hear_reports)
                    return
            except RuntimeError:  # closed meanwhile; the next one hears it
                pass
            self._woken = False

    def _hear_reports(self) -> None:
        self._woken = False
        while self._reports:
            what, id, error = self._reports.popleft()
            what(id, error)

    def _stored(self, id: int, error: JournalError | None) -> None:
        message = self._under_way.get(id)
        if error is None:
            if self._window.allow(id) and message is not None:
                self._say(message)
            return
        if message is not None:
            del self._under_way[id]
            self._window.settle(id)
            # It is not in the file, and was never said: as if it had never been accepted.
            self._accepted -= 1
            self._window.forget(id)
            _fail(message, error)
            self._admit()

    def _deleted(self, id: int, error: JournalError | None) -> None:
        self._window.forget(id)
        self._admit()

    # -- links -------------------------------------------------------------------------------------------------

    def linked(self, channel: Channel) -> None:
        """A link to a peer that acknowledges is up: say everything that is under way."""
        self.channel = channel
        self._offer_again.clear()
        for id in self._window.to_send():
            if self.channel is not channel:  # it broke under our hands
                return
            self._say(self._under_way[id])

    def unlinked(self, channel: Channel) -> None:
        if self.channel is channel:
            self.channel = None

    def linked_without_support(self) -> None:
        """A link to a peer that does not acknowledge is up; it gets the plain wire, and who waits is told."""
        reason = self._not_supported()
        for message in [*self._waiting, *self._under_way.values()]:
            if message.future is None:
                continue
            if not message.said:
                self._withdraw(message, Cause.NOT_ACKNOWLEDGED)
                _fail(message, AckNotSupported(reason))
            elif self.journal is None:
                self._withdraw(message, Cause.NOT_ACKNOWLEDGED)
                _fail(message, NotDelivered(reason))
            else:
                _fail(message, NotDelivered(reason, will_retry=True))
                message.future = None

    def _keep_offering(self, message: _Message, outcome: Refused) -> bool:
        """Whether a message from the journal, which nobody over there reacts to, is offered once more."""
        now = time.monotonic()
        if message.offered_since is None:
            message.offered_since = now
        if outcome.reason not in _NOBODY or now - message.offered_since >= self.ack_timeout_s:
            return False
        self._offer_again[message.id] = None
        if self._cancel_offer is None:
            self._cancel_offer = call_after(OFFER_AGAIN_S, self._offer)
        return True

    def _offer(self) -> None:
        self._cancel_offer = None
        ids, self._offer_again = self._offer_again, {}
        for id in ids:
            message = self._under_way.get(id)
            if message is not None:
                self._say(message)

    def loop_changed(self) -> None:
        """The ganglion is served by another loop: those who waited under the one before are gone."""
        self._cancel_offer = None
        here = asyncio.get_running_loop()
        for message in [*self._waiting, *self._under_way.values()]:
            if message.future is not None and message.future.get_loop() is not here:
                self._withdraw(message, Cause.CANCELLED)
        self._cancel_refusal = (
            call_after(CUT_SHORT_PAUSE_S, self._refuse_cut_short) if self._cut_short else None
        )
        if self.channel is not None:
            self.channel.go_on()
        self._hear_reports()
        self._offer()

    # -- receiving ---------------------------------------------------------------------------------------------

    def delivered(self, channel: Channel, command: Deliver) -> None:
        """The peer wants a message acknowledged."""
        id = command.id
        known = self._sessions.of(channel.session)
        seen, outcome = known.receive(id, command.floor)
        if seen is not Seen.NEW:
            self.ganglion._tally.add(Cause.REPEATED, "", host_of(channel.peer))
            if outcome is not None:
                channel.say_outcome(encode_settle(id, outcome))
            elif seen is Seen.BELOW_FLOOR:
                channel.say_outcome(encode_settle(id, Refused(BELOW_FLOOR)))
            return
        size = len(command.envelope)
        if not self._in_hand.take(size):
            known.forget(id)
            self.ganglion.report_fault(
                Cause.QUEUE_FULL, channel.peer, "more to acknowledge than we keep in hand"
            )
            channel.say_outcome(encode_settle(id, Refused(Cause.QUEUE_FULL.value)))
            return
        channel.link.receive_asked(
            command.envelope, partial(self._worked_on, channel.session, known, id, size)
        )

    def _worked_on(
        self,
        session: bytes,
        known: RepeatFilter,
        id: int,
        size: int,
        cause: Cause | None,
        errors: list[BaseException] | None,
    ) -> None:
        self._in_hand.release(size)
        if cause is Cause.CLOSED:
            # It still waited for a reactant: nobody has worked on it, and its sender says it again to our successor.
            known.forget(id)
        elif cause is Cause.CANCELLED:
            self._cut_short.append((session, known, id))
            if self._cancel_refusal is None and asyncio._get_running_loop() is not None:
                self._cancel_refusal = call_after(CUT_SHORT_PAUSE_S, self._refuse_cut_short)
        else:
            self._say_outcome(session, known, id, outcome_of(cause, errors))

    def _refuse_cut_short(self) -> None:
        """Reactants were cancelled, and we live on."""
        self._cancel_refusal = None
        cut_short, self._cut_short = self._cut_short, []
        for session, known, id in cut_short:
            self._say_outcome(session, known, id, Refused(Cause.CANCELLED.value))

    def _say_outcome(self, session: bytes, known: RepeatFilter, id: int, outcome: Settled) -> None:
        if isinstance(outcome, Refused) and outcome.reason in _NOBODY:
            known.forget(id)
        else:
            known.settle(id, outcome)
        if self.channel is not None and self.channel.session == session:
            self.channel.say_outcome(encode_settle(id, outcome))

    # -- end ---------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Tell who waits; what is in the journal stays there. May be called again where it was broken off."""
        for cancel in (self._cancel_offer, self._cancel_refusal):
            if cancel is not None:
                cancel()
        self._cancel_offer = self._cancel_refusal = None
        reason = f"{self.ganglion!r} was closed"
        for message in self._waiting:
            _fail(message, NotDelivered(f"{reason} before this message was accepted"))
        self._waiting.clear()
        journal = self.journal
        if journal is not None:
            journal.close()
            # What could not be stored is told so, not that it will be sent again.
            self._hear_reports()
        for message in self._under_way.values():
            _fail(
                message, NotDelivered(f"{reason} before this message was acknowledged", journal is not None)
            )
        left = len(self._under_way)
        if journal is None and left:
            dropped = {**self._dropped, Cause.CLOSED: self._dropped.get(Cause.CLOSED, 0) + left}
            # In one line: what is counted twice, or not at all, unbalances the book.
            self._window, self._under_way, self._dropped = Window(), {}, dropped
            logger.warning("%r: closed with %d unacknowledged messages", self.ganglion, left)
        elif journal is not None and left:
            self._under_way = {}
            logger.info("%r: %d unacknowledged messages stay in %s", self.ganglion, left, journal.path)


def _fail(message: _Message, error: Exception) -> None:
    future = message.future
    if future is not None and not future.done() and not future.get_loop().is_closed():
        future.set_exception(error)
