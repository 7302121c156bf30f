# SPDX-License-Identifier: Apache-2.0
from typing import Any, Generic, TypeVar

from typing_extensions import disjoint_base

from plexo._fast.dispatch import Fanout
from plexo._fast.load import Load as Load
from plexo._fast.route import Route
from plexo._fast.synapse import Synapse
from plexo.neuron.neuron import Neuron
from plexo.typing.values import Values

_T = TypeVar("_T")

@disjoint_base
class Outgoing(Generic[_T]):
    def __init__(self, values: Values[_T], neuron: Neuron[_T]) -> None: ...
    @property
    def neuron(self) -> Neuron[_T]: ...

@disjoint_base
class Rest:
    def __new__(cls, synapse: Synapse[Any]) -> Rest: ...

def refuse_text(values: object) -> None: ...
def first_of(values: Values[_T]) -> tuple[_T | None, Values[_T] | None]: ...
async def give(batch: Outgoing[_T], local: Fanout[_T]) -> None: ...
async def give_tracked(batch: Outgoing[_T], route: Route[_T], encoded: bool) -> None: ...
async def finish(batch: Outgoing[_T], rests: list[Rest]) -> None: ...
async def send_chunk(
    batch: Outgoing[_T], route: Route[_T] | None, outside: tuple[Synapse[_T], ...], local: Fanout[_T] | None
) -> None: ...
async def send_outgoing(
    batch: Outgoing[_T], route: Route[_T] | None, synapse: Synapse[_T] | None, local: Fanout[_T] | None
) -> int: ...
