# SPDX-License-Identifier: Apache-2.0
"""Large payloads: received into memory that is used again, and decoded from where they lie."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from plexo import DeadLetter, GanglionZmqTcpPair, GanglionZmqTcpPubSub, Neuron, NumpyCodec, Plexus
from plexo._fast.slabs import MAX_SPARE_BYTES
from tests.support import namespace, run, until

HOST = "127.0.0.1"
WORDS = 1 << 17
vector = Neuron(np.ndarray, namespace, NumpyCodec("<u8"), "Vector")


def two(kind: str) -> tuple[Any, Any]:
    if kind == "pair":
        one = GanglionZmqTcpPair(HOST, 0)
        return one, GanglionZmqTcpPair(peer=(HOST, one.port))
    publisher = GanglionZmqTcpPubSub(HOST, 0)
    return publisher, GanglionZmqTcpPubSub(HOST, 0, peers=[(HOST, publisher.port_pub)])


kinds = pytest.mark.parametrize("kind", ["pair", "pubsub"])


@kinds
def test_what_is_kept_never_changes(kind: str) -> None:
    """Every other array is kept, and a slice of every third, while later ones come into the same memory."""

    async def main() -> None:
        sending, receiving = two(kind)
        kept: list[tuple[int, Any]] = []
        seen = 0

        def react(array: Any) -> None:
            nonlocal seen
            if seen % 2 == 0:
                kept.append((seen, array))
            elif seen % 3 == 0:
                kept.append((seen, array[10:20]))
            seen += 1

        async with Plexus([sending]) as one, Plexus([receiving]) as other:
            other.on(vector)(react)
            await one.adapt(vector)
            await one.ready(1, vector)
            for n in range(24):
                await one.transmit(np.full(WORDS + n % 5, n, "<u8"), vector)
                await until(lambda n=n: seen == n + 1)  # type: ignore[misc]
        assert len(kept) == 16
        for n, array in kept:
            assert (array == n).all()
            with pytest.raises(ValueError):
                array[0] = 1

    run(main())


@kinds
def test_memory_that_nobody_has_any_more_is_used_again(kind: str) -> None:
    async def main() -> None:
        sending, receiving = two(kind)
        addresses: list[int] = []
        async with Plexus([sending]) as one, Plexus([receiving]) as other:
            other.on(vector)(lambda array: addresses.append(array.ctypes.data))
            await one.adapt(vector)
            await one.ready(1, vector)
            for n in range(8):
                await one.transmit(np.zeros(WORDS, "<u8"), vector)
                await until(lambda n=n: len(addresses) == n + 1)  # type: ignore[misc]
        assert len(set(addresses[1:])) <= 2

    run(main())


def test_what_is_too_large_to_be_kept_and_what_is_not_needed_is_given_back() -> None:
    async def main() -> None:
        sending, receiving = two("pair")
        seen: list[int] = []
        async with Plexus([sending]) as one, Plexus([receiving]) as other:
            other.on(vector)(lambda array: seen.append(len(array)))
            await one.adapt(vector)
            for size in (WORDS, MAX_SPARE_BYTES // 8 + 1):
                await one.transmit(np.zeros(size, "<u8"), vector)
            await until(lambda: len(seen) == 2)
            spares = receiving.hub.spares
            # The first was kept for the second, and is too small.
            assert spares.sizes == (WORDS * 8 + len(vector.topic) // 8 * 8 + 40,)
            spares.forget_unused()
            assert spares.sizes
            spares.forget_unused()
            assert not spares.sizes

    run(main())


def test_raw_reactants_structs_and_dead_letters_get_what_they_always_got() -> None:
    class Picture(msgspec.Struct):
        data: bytes

    picture = Neuron(Picture, namespace)

    async def main() -> None:
        sending, receiving = two("pair")
        raw: list[Any] = []
        letters: list[DeadLetter] = []
        pictures: list[Picture] = []

        def react(value: Picture) -> None:
            pictures.append(value)
            raise LookupError("no wall to hang it on")

        async with Plexus([sending]) as one, Plexus([receiving]) as other:
            await other.react_dead_letters([letters.append])
            other.on(picture)(react)
            await one.adapt(picture)
            await one.adapt(vector)
            await receiving.react_raw(vector, [raw.append])
            data = bytes(range(256)) * 1000
            await one.transmit(Picture(data))
            await one.transmit(np.arange(WORDS, dtype="<u8"), vector)
            await until(lambda: letters and raw)
        assert pictures[0].data == data
        assert letters[0].payload == picture.encode(Picture(data)) and type(letters[0].payload) is bytes
        assert type(raw[0]) is bytes and raw[0] == np.arange(WORDS, dtype="<u8").tobytes()

    run(main())
