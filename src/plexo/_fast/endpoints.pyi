# SPDX-License-Identifier: Apache-2.0
from collections.abc import Iterable
from typing import Any, TypeVar

from typing_extensions import disjoint_base

from plexo._fast.hub import Hub, Line
from plexo._fast.queues import Queue
from plexo._fast.synapse import Synapse
from plexo.neuron.neuron import Neuron

_T = TypeVar("_T")

@disjoint_base
class WireSynapse(Synapse[_T]):
    def __init__(self, neuron: Neuron[_T], owner: Any, hub: Hub, receive_queue: Queue) -> None: ...
    @property
    def hub(self) -> Hub: ...

class PairSynapse(WireSynapse[_T]): ...

@disjoint_base
class PubSynapse(WireSynapse[_T]):
    def __init__(self, neuron: Neuron[_T], owner: Any, hub: Hub, receive_queue: Queue) -> None: ...
    @property
    def subscriber_count(self) -> int: ...
    def set_subscribers(self, links: Iterable[Line]) -> None: ...
