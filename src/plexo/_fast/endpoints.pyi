# SPDX-License-Identifier: Apache-2.0
from collections.abc import Generator, Iterable
from typing import Any, TypeVar

from typing_extensions import Self, disjoint_base

from plexo._fast.hub import Hub, Line
from plexo._fast.queues import Queue
from plexo._fast.synapse import Synapse
from plexo.neuron.neuron import Neuron

_T = TypeVar("_T")

@disjoint_base
class Breath:
    def __await__(self) -> Generator[None]: ...
    def __iter__(self) -> Self: ...
    def __next__(self) -> None: ...

@disjoint_base
class PairSynapse(Synapse[_T]):
    def __init__(self, neuron: Neuron[_T], owner: Any, hub: Hub, receive_queue: Queue) -> None: ...
    @property
    def hub(self) -> Hub: ...

@disjoint_base
class PubSynapse(Synapse[_T]):
    def __init__(self, neuron: Neuron[_T], owner: Any, hub: Hub, receive_queue: Queue) -> None: ...
    @property
    def hub(self) -> Hub: ...
    @property
    def subscriber_count(self) -> int: ...
    def set_subscribers(self, links: Iterable[Line]) -> None: ...
