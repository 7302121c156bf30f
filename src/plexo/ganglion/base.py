# SPDX-License-Identifier: Apache-2.0
"""What every ganglion has: filters, a life cycle, and somebody to tell when a reactant fails."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from plexo._fast.books import Tally
from plexo._fast.dispatch import Fanout
from plexo._fast.queues import Queue
from plexo.dendrite import add_all
from plexo.failure import DeadLetter, DeadLetterReactant, Failure, OnError
from plexo.ganglion.events import WatchedLinks, Watchers
from plexo.ganglion.life import LifeCycle, Lingering, logger
from plexo.neuron.neuron import Neuron
from plexo.statistics import Cause

__all__ = ["GanglionBase", "checked_neurons", "logger"]

# How long the answer to a request may take, where the asker does not say.
DEFAULT_REQUEST_TIMEOUT_S = 30.0

# What a flood of poison may leave waiting.
DEAD_LETTER_QUEUE = Queue("drop_oldest", messages=1000)


class _DeadLetters:
    """In the place of a neuron, for the books and the log."""

    name = "dead letters"

    def __str__(self) -> str:
        return self.name


DEAD_LETTERS: Any = _DeadLetters()


def _who(reactant: object) -> str:
    return "a stream or collector" if reactant is None else repr(reactant)


class GanglionBase(WatchedLinks, LifeCycle):
    """Filters decide which neurons it carries: relevant_neurons (if any are given, only those), ignored_neurons, and
    allowed_codecs (classes; if any are given, only neurons whose codec is of such a class).

    on_error(failure) is called for every error of a reactant that no sender gets, with a Failure. It is a plain
    function, called where the error happened; what it raises is logged.
    """

    _reactants_cancelled = False

    def __init__(
        self,
        relevant_neurons: Iterable[Neuron[Any]] = (),
        ignored_neurons: Iterable[Neuron[Any]] = (),
        allowed_codecs: Iterable[type] = (),
        on_error: OnError | None = None,
    ) -> None:
        if on_error is not None and not callable(on_error):
            raise TypeError(f"on_error: expected a function of a Failure, got {on_error!r}")
        self._on_error = on_error
        self._dead_letters: Fanout[Any] | None = None
        self._keeps_payloads = False
        self._relevant_neurons = frozenset(checked_neurons(relevant_neurons, "relevant_neurons"))
        self._ignored_neurons = frozenset(checked_neurons(ignored_neurons, "ignored_neurons"))
        self._allowed_codecs = frozenset(allowed_codecs)
        self._tally = Tally()
        self._watchers = Watchers()
        super().__init__()

    def capable(self, neuron: Neuron[Any]) -> bool:
        """Whether the filters let this ganglion carry `neuron`."""
        if self._relevant_neurons and neuron not in self._relevant_neurons:
            return False
        if neuron in self._ignored_neurons:
            return False
        return not self._allowed_codecs or type(neuron.codec) in self._allowed_codecs

    def _accepts(self, neuron: Neuron[Any]) -> bool:
        """Checks of every call that takes up a neuron; False (logged) where the filters say no."""
        if not isinstance(neuron, Neuron):
            raise TypeError(f"neuron: expected a Neuron, got {type(neuron).__name__}")
        self._require_open()
        if self.capable(neuron):
            return True
        logger.warning("%r is not capable of neuron %s (its filters leave it out); ignored", self, neuron)
        return False

    # -- what goes wrong, told by the compiled side (Place) ------------------------------------------------------

    def _reactant_failed(
        self,
        error: BaseException,
        reactant: object,
        neuron: Neuron[Any],
        peer: str,
        data: object,
        payload: bytes | None,
    ) -> None:
        logger.error("reactant %r of %s failed", reactant, neuron, exc_info=error)
        self._tell_error(Failure(error, neuron, reactant, peer, data))
        if payload is not None:
            self._bury(DeadLetter(neuron, bytes(payload), Cause.REACTANT_ERROR, error, peer))

    def _tell_error(self, failure: Failure) -> None:
        if self._on_error is not None:
            try:
                self._on_error(failure)
            except Exception:
                logger.exception("on_error %r failed", self._on_error)

    async def react_dead_letters(self, reactants: Iterable[DeadLetterReactant]) -> None:
        """Add reactants for received messages that could not be used: they do not decode, or a reactant raised.

        Each is called with a DeadLetter, one after another as every reactant; a plain function or a coroutine function.
        From now on the bytes of a message are kept until its reactants have finished. Where more than 1000 wait, the
        oldest are dropped and counted. What a reactant for dead letters raises is logged.
        """
        self._require_open()
        self._require_here()
        if self._dead_letters is None:
            self._dead_letters = Fanout(DEAD_LETTERS, self, DEAD_LETTER_QUEUE)
        add_all(self._dead_letters, reactants)
        self._keeps_payloads = True
        self._keep_payloads()

    def _keep_payloads(self) -> None:
        """There are reactants for dead letters now."""

    def _bury(self, letter: DeadLetter) -> None:
        if self._dead_letters is not None and not self._reactants_cancelled:
            self._dead_letters.receive(letter)

    def _dropping(self, neuron: Neuron[Any], reactant: object, policy: str) -> None:
        logger.warning(
            "%r: the queue of %s for %s is full; dropping (%s)", self, _who(reactant), neuron, policy
        )

    def _stopped_dropping(self, neuron: Neuron[Any], reactant: object, count: int) -> None:
        logger.warning(
            "%r: dropped %d messages of %s before %s; no more now", self, count, neuron, _who(reactant)
        )

    def _log_dropped(self, neuron: Neuron[Any], count: int) -> None:
        """Received messages that still waited for a reactant when this was closed; they are counted."""
        if count:
            logger.warning("%r: closed with %d messages of %s waiting for a reactant", self, count, neuron)

    # -- life cycle --------------------------------------------------------------------------------------------

    def _fanouts(self) -> list[tuple[Neuron[Any], Fanout[Any]]]:
        """Where its reactants are; those for dead letters last."""
        return [] if self._dead_letters is None else [(DEAD_LETTERS, self._dead_letters)]

    def _begin_close(self) -> Sequence[Lingering]:
        """Cancel suspended reactants; what still waits for one is counted."""
        if not self._reactants_cancelled:
            for neuron, fanout in self._fanouts():
                self._log_dropped(neuron, fanout.cancel())
            # Once: a second cancellation would break off what a reactant does about the first.
            self._reactants_cancelled = True
        return ()

    def _end_close(self) -> None:
        GanglionBase._begin_close(self)
        # What one read had brought behind the message whose reactant closes this.
        for neuron, fanout in self._fanouts():
            self._log_dropped(neuron, fanout.drop_waiting())
        self._watchers.end()

    def _forsake(self) -> bool:
        """Without sockets nothing is shared with the parent: begin anew, with the same reactants and empty books.

        What a reactant there has in hand or before it stays there.
        """
        for _, fanout in self._fanouts():
            fanout.forsake()
        self._tally.clear()
        self._watchers.forsake()
        return False


def checked_neurons(neurons: Iterable[Neuron[Any]], argument: str) -> tuple[Neuron[Any], ...]:
    """The neurons as a tuple; TypeError naming `argument` where one is none."""
    checked = tuple(neurons)
    for neuron in checked:
        if not isinstance(neuron, Neuron):
            raise TypeError(f"{argument}: expected Neurons, got {neuron!r}")
    return checked
