# SPDX-License-Identifier: Apache-2.0
"""What `transmit_many` takes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol, TypeVar, Union

T = TypeVar("T")


class Array(Protocol):
    """An array of numpy, as far as it matters here: its first axis counts messages."""

    @property
    def dtype(self) -> Any: ...
    @property
    def shape(self) -> Any: ...
    def __len__(self) -> int: ...


# The elements of an array have types of their own to a type checker; whether they fit is seen at the call.
Values = Union[Iterable[T], Array]  # noqa: UP007
