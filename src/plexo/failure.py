# SPDX-License-Identifier: Apache-2.0
"""What is told about messages that a reactant, or a codec, could not take."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from plexo.neuron.neuron import Neuron
    from plexo.statistics import Cause


class Failure(NamedTuple):
    """A reactant raised, and no sender gets it: the message came over a link, or was sent without waiting.

    `peer` is the host it came from, "" where it was sent here; `data` the value (None where it was sent here).
    """

    error: BaseException
    neuron: Neuron[Any]
    reactant: object
    peer: str
    data: object


class DeadLetter(NamedTuple):
    """A received message that could not be used, as it came.

    reason: Cause.UNDECODABLE (`error` is what the codec raised) or Cause.REACTANT_ERROR (what a reactant raised).
    """

    neuron: Neuron[Any]
    payload: bytes
    reason: Cause
    error: BaseException
    peer: str


OnError = Callable[[Failure], None]
DeadLetterReactant = Callable[[DeadLetter], Awaitable[None] | None]
