# SPDX-License-Identifier: Apache-2.0
"""What every ganglion has: filters, a life cycle, and somebody to tell when a reactant fails."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from plexo.exceptions import Closed
from plexo.neuron.neuron import Neuron
from plexo.statistics import Cause, Tally

if TYPE_CHECKING:
    from typing_extensions import Self

logger = logging.getLogger("plexo")


class GanglionBase:
    """Filters decide which neurons it carries: relevant_neurons (if any are given, only those), ignored_neurons, and
    allowed_codecs (classes; if any are given, only neurons whose codec is of such a class)."""

    # Also of a half-made object, whose __init__ raised.
    _closed = False

    def __init__(
        self,
        relevant_neurons: Iterable[Neuron[Any]] = (),
        ignored_neurons: Iterable[Neuron[Any]] = (),
        allowed_codecs: Iterable[type] = (),
    ) -> None:
        self._relevant_neurons = frozenset(checked_neurons(relevant_neurons, "relevant_neurons"))
        self._ignored_neurons = frozenset(checked_neurons(ignored_neurons, "ignored_neurons"))
        self._allowed_codecs = frozenset(allowed_codecs)
        self._tally = Tally()

    @property
    def closed(self) -> bool:
        return self._closed

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

    def _require_open(self) -> None:
        if self._closed:
            raise Closed(f"{self!r} is closed")

    def _reactant_failed(self, error: BaseException, reactant: object, neuron: Neuron[Any]) -> None:
        self._tally.add(Cause.REACTANT_ERROR, neuron.name)
        logger.error("reactant %r of %s failed", reactant, neuron, exc_info=error)

    def _count_dropped(self, neuron: Neuron[Any], count: int) -> None:
        """Received messages that still waited for a reactant when this was closed."""
        if count:
            self._tally.add(Cause.CLOSED, neuron.name, "", count)
            logger.warning("%r: closed with %d messages of %s waiting for a reactant", self, count, neuron)

    def close(self) -> None:
        """End everything this runs; may be called twice."""
        self._closed = True

    async def aclose(self) -> None:
        """`close`, giving the event loop its turns meanwhile."""
        self.close()

    def __enter__(self) -> Self:
        self._require_open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        self._require_open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()


def checked_neurons(neurons: Iterable[Neuron[Any]], argument: str) -> tuple[Neuron[Any], ...]:
    """The neurons as a tuple; TypeError naming `argument` where one is none."""
    checked = tuple(neurons)
    for neuron in checked:
        if not isinstance(neuron, Neuron):
            raise TypeError(f"{argument}: expected Neurons, got {neuron!r}")
    return checked
