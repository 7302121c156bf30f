# SPDX-License-Identifier: Apache-2.0
"""What the commands of plexo_driver.py share: the neurons of the samples, styles, and sending and seeing them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter
from typing import Any

from common import MODULUS, TOPICS
from samples import BLOCK_HEAD_BYTES, FIRST_SEQUENCE, TYPES, Block, Echo, Reading, Seen
from samples import DIFFERENT as DIFFERENT
from samples import values as _values

from plexo import Namespace, Neuron, Plexus

NAMESPACE = Namespace("bench")
neurons: dict[type, Neuron[Any]] = {kind: Neuron(kind, NAMESPACE) for kind in {*TYPES.values(), Echo, Seen}}
reading = neurons[Reading]
echo = neurons[Echo]
seen = neurons[Seen]
# How far beyond 64 KiB the head of a Block is longer.
_LONG_HEAD_BYTES = 2

sequence_of = attrgetter("sequence")


def fanout_neurons() -> list[Neuron[Reading]]:
    return [Neuron(Reading, f"bench.t{number:02d}") for number in range(TOPICS)]


def values(size: int) -> Sequence[Any]:
    """The messages of this size; of any size from 1024 bytes, for the curves."""
    if size in TYPES:
        return _values(size)
    data = bytes(size - BLOCK_HEAD_BYTES - (_LONG_HEAD_BYTES if size > 65536 else 0))
    return [Block(FIRST_SEQUENCE + index, data) for index in range(DIFFERENT)]


def kind_of(size: int) -> type:
    kind: type = TYPES.get(size, Block)
    return kind


def chunks(messages: Sequence[Any], count: int) -> Iterator[Sequence[Any]]:
    """`count` messages, cycling through `messages`."""
    rounds, rest = divmod(count, len(messages))
    for _ in range(rounds):
        yield messages
    if rest:
        yield messages[:rest]


def loop_of(style: str) -> str:
    return "uvloop" if style in ("uvloop", "busy") else "asyncio"


def polling(style: str) -> dict[str, float]:
    """Arguments of ganglia: in style `busy` their loops do not sleep between messages."""
    return {"busy_poll_s": 0.001} if style == "busy" else {}


def need(there: bool) -> None:
    """End where the library measured does not have what is to be measured; the board shows that."""
    if not there:
        raise SystemExit("missing: not in this version")


def need_batches() -> None:
    need("batch" in inspect.signature(Plexus.on).parameters and hasattr(Plexus, "transmit_many"))


class Receiver:
    """Reactants that count, and say when as many have come as were wanted.

    The coroutine is what a user would write, a closure over numbers; so no attribute is looked up for a message.
    """

    def __init__(self, wanted: int, enough: Callable[[int, int], int]) -> None:
        """`enough(count, checksum)` is called then, and returns how many are wanted next."""
        self._wanted = wanted
        self._enough = enough

    def coroutine(self) -> Callable[[Any], Any]:
        wanted, enough = self._wanted, self._enough
        count = checksum = 0

        async def react(value: Any) -> None:
            nonlocal count, checksum, wanted
            count += 1
            checksum += value.sequence
            if count == wanted:
                wanted = enough(count, checksum % MODULUS)
                count = checksum = 0

        return react

    def batches(self) -> Callable[[Any], None]:
        wanted, enough = self._wanted, self._enough
        count = checksum = 0

        def react(batch: Sequence[Any]) -> None:
            nonlocal count, checksum, wanted
            count += len(batch)
            checksum += sum(map(sequence_of, batch))
            if count >= wanted:
                wanted = enough(count, checksum % MODULUS)
                count = checksum = 0

        return react
