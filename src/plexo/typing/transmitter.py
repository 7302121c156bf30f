# SPDX-License-Identifier: Apache-2.0
"""What a transmitter is: the way to send one neuron, without naming it again."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Protocol

from plexo.typing import EncodedType

if TYPE_CHECKING:
    from uuid import UUID


class ExternalTransmitter(Protocol):
    """Sends encoded data."""

    def __call__(self, data: EncodedType, reaction_id: UUID | None = None) -> Coroutine[Any, Any, Any]: ...


class Transmitter(Protocol):
    """Sends values."""

    def __call__(self, data: Any, reaction_id: UUID | None = None) -> Coroutine[Any, Any, Any]: ...
