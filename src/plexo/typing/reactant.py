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

__all__ = ["BatchDecorator", "RawReactant", "Reactant", "ReactantDecorator"]

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


class BatchDecorator(Protocol[UnencodedType]):
    """What `Plexus.on(..., batch=True)` gives. The function gets a list of values; where the values are arrays of one
    size, one array; with columns=True a dict of arrays."""

    @overload
    def __call__(
        self, reactant: Callable[[list[UnencodedType]], Result], /
    ) -> Callable[[list[UnencodedType]], Result]: ...
    @overload
    def __call__(
        self, reactant: Callable[[UnencodedType], Result], /
    ) -> Callable[[UnencodedType], Result]: ...
    @overload
    def __call__(
        self, reactant: Callable[[dict[str, Any]], Result], /
    ) -> Callable[[dict[str, Any]], Result]: ...
    @overload
    def __call__(
        self, reactant: Callable[[list[UnencodedType], Neuron[UnencodedType]], Result], /
    ) -> Callable[[list[UnencodedType], Neuron[UnencodedType]], Result]: ...
    @overload
    def __call__(
        self, reactant: Callable[[Any, Neuron[UnencodedType]], Result], /
    ) -> Callable[[Any, Neuron[UnencodedType]], Result]: ...
