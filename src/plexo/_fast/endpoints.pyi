# SPDX-License-Identifier: Apache-2.0
from collections.abc import Iterable
from typing import Any, TypeVar

from typing_extensions import disjoint_base

from plexo._fast.hub import Hub
from plexo._fast.queues import Queue
from plexo._fast.sending import Outlet
from plexo._fast.synapse import Synapse
from plexo._fast.turns import Turns, Waiters
from plexo.neuron.neuron import Neuron

_T = TypeVar("_T")

@disjoint_base
class WireSynapse(Synapse[_T]):
    def __init__(
        self, neuron: Neuron[_T], owner: Any, hub: Turns, receive_queue: Queue, waiting: Waiters
    ) -> None: ...
    @property
    def hub(self) -> Turns: ...

class PairSynapse(WireSynapse[_T]):
    def __init__(self, neuron: Neuron[_T], owner: Any, hub: Hub, receive_queue: Queue) -> None: ...

@disjoint_base
class PubSynapse(WireSynapse[_T]):
    def __init__(
        self, neuron: Neuron[_T], owner: Any, hub: Turns, receive_queue: Queue, waiting: Waiters
    ) -> None: ...
    @property
    def subscriber_count(self) -> int: ...
    def set_subscribers(self, links: Iterable[Outlet]) -> None: ...
