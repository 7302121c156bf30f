# SPDX-License-Identifier: Apache-2.0
"""Functions that answer questions. They take (question) or (question, neuron), and may be `async def` or plain."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol, TypeVar, Union, overload

from plexo.neuron.neuron import Neuron

__all__ = ["Responder", "ResponderDecorator"]

Question = TypeVar("Question")
Reply = TypeVar("Reply")

Responder = Union[  # noqa: UP007
    Callable[[Question], "Reply | Awaitable[Reply]"],
    Callable[[Question, Neuron[Question]], "Reply | Awaitable[Reply]"],
]


class ResponderDecorator(Protocol[Question, Reply]):
    """What `respond` gives: takes a function of one or two arguments and returns it as it is."""

    @overload
    def __call__(
        self, responder: Callable[[Question], Coroutine[Any, Any, Reply]], /
    ) -> Callable[[Question], Coroutine[Any, Any, Reply]]: ...
    @overload
    def __call__(
        self, responder: Callable[[Question, Neuron[Question]], Coroutine[Any, Any, Reply]], /
    ) -> Callable[[Question, Neuron[Question]], Coroutine[Any, Any, Reply]]: ...
    @overload
    def __call__(self, responder: Callable[[Question], Reply], /) -> Callable[[Question], Reply]: ...
    @overload
    def __call__(
        self, responder: Callable[[Question, Neuron[Question]], Reply], /
    ) -> Callable[[Question, Neuron[Question]], Reply]: ...
