# SPDX-License-Identifier: Apache-2.0
"""Callbacks. They take one, two or three of (data, neuron, reaction_id), and may be `async def` or plain
`def`.

What a plain reactant returns is ignored, what an async one returns is awaited.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar, Union, overload
from uuid import UUID

from plexo.neuron.neuron import Neuron
from plexo.typing import EncodedType, UnencodedType

__all__ = ["RawReactant", "Reactant", "ReactantDecorator"]

Result = TypeVar("Result")

Reactant = Union[  # noqa: UP007
    Callable[[UnencodedType], Any],
    Callable[[UnencodedType, Neuron[UnencodedType]], Any],
    Callable[[UnencodedType, Neuron[UnencodedType], UUID | None], Any],
]
# Gets the encoded bytes; the neuron tells it what they are.
RawReactant = Union[  # noqa: UP007
    Callable[[EncodedType], Any],
    Callable[[EncodedType, Neuron[UnencodedType]], Any],
    Callable[[EncodedType, Neuron[UnencodedType], UUID | None], Any],
]


class ReactantDecorator(Protocol[UnencodedType]):
    """What `Plexus.on` gives: takes a function of one to three arguments and returns it as it is."""

    @overload
    def __call__(
        self, reactant: Callable[[UnencodedType], Result], /
    ) -> Callable[[UnencodedType], Result]: ...
    @overload
    def __call__(
        self, reactant: Callable[[UnencodedType, Neuron[UnencodedType]], Result], /
    ) -> Callable[[UnencodedType, Neuron[UnencodedType]], Result]: ...
    @overload
    def __call__(
        self, reactant: Callable[[UnencodedType, Neuron[UnencodedType], UUID | None], Result], /
    ) -> Callable[[UnencodedType, Neuron[UnencodedType], UUID | None], Result]: ...
