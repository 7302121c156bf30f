# SPDX-License-Identifier: Apache-2.0
"""Row large of plexo_driver.py: arrays from process to process, over a pair or by publish/subscribe."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from common import HOST, MODULUS, Far, Phase, check, far_report, rate, report, run, used, warm_up
from plexo_samples import chunks, loop_of, seen
from samples import Seen

from plexo import GanglionZmqTcpPair, GanglionZmqTcpPubSub, Neuron, NumpyCodec, Plexus, Queue

SCRIPT = str(Path(__file__).with_name("plexo_driver.py"))
PAGE_BYTES = 4096
READY_S = 30.0
# So many different arrays that no cache of a processor holds them all.
ARRAYS_BYTES = 64_000_000
# In user space, by reading the code. Both encode with tobytes(); large frames are received in their place, and
# there the payload of a pair is taken out of its envelope.
COPIES = {"pair": "1 + 1", "pubsub": "1 + 0"}


def _array() -> Neuron[Any]:
    import numpy

    return Neuron(numpy.ndarray, "bench", NumpyCodec("uint8"), "Array")


def _arrays(size: int) -> list[Any]:
    """Arrays whose pages begin with known numbers."""
    import numpy

    made = []
    for index in range(max(1, ARRAYS_BYTES // size)):
        array = numpy.zeros(size, "u1")
        pages = array[::PAGE_BYTES]
        pages[:] = (numpy.arange(len(pages)) + index) % 251
        made.append(array)
    return made


def page_sum(array: Any) -> int:
    return int(array[::PAGE_BYTES].sum(dtype="u8"))


def large(count: int, size: int, style: str = "async") -> None:
    run(_large(count, size, style), loop_of(style))


async def _large(count: int, size: int, style: str) -> None:
    neuron, arrays = _array(), _arrays(size)
    sums = [page_sum(array) for array in arrays]
    # The defaults hold little more than one of these.
    queue = Queue("block", bytes=4 * size)
    back = GanglionZmqTcpPair(HOST, 0, send_queue=queue)
    published = GanglionZmqTcpPubSub(HOST, 0, send_queue=queue)
    by_pubsub = style == "pubsub"
    async with Plexus([back, published] if by_pubsub else [back]) as plexus:
        published_port = published.port_pub if by_pubsub else 0
        peer = Far(SCRIPT, "large-peer", back.port, warm_up(count), count, style, published_port)
        reports: asyncio.Queue[Seen] = asyncio.Queue()
        plexus.on(seen)(reports.put_nowait)
        outside: Any = published if by_pubsub else back
        await outside.adapt(neuron)
        await outside.ready(1, neuron, READY_S)
        for phase_count in (warm_up(count), count):
            with Phase() as phase:
                for chunk in chunks(arrays, phase_count):
                    for array in chunk:
                        await outside.transmit(array, neuron)
                got = await reports.get()
            wanted = sum(sum(chunk) for chunk in chunks(sums, phase_count)) % MODULUS
            check("the far end", (got.count, got.checksum), (phase_count, wanted))
        far = await asyncio.to_thread(peer.finish)
    published.close()
    copies = COPIES["pubsub" if by_pubsub else "pair"]
    report(
        **rate(count, size, phase), **used(phase, far), count=got.count, checksum=got.checksum, copies=copies
    )


def large_peer(port: int, warm: int, count: int, style: str, published_port: int) -> None:
    run(_large_peer(port, warm, count, published_port), loop_of(style))


async def _large_peer(port: int, warm: int, count: int, published_port: int) -> None:
    done = asyncio.Event()
    phase = Phase()
    got = checksum = 0
    wanted, phases = warm, [count]
    ganglia: list[Any] = [GanglionZmqTcpPair(peer=(HOST, port))]
    if published_port:
        ganglia.append(GanglionZmqTcpPubSub(port_pub=None, peers=[(HOST, published_port)]))
    async with Plexus(ganglia):
        await ganglia[0].adapt(seen)

        async def react(array: Any) -> None:
            nonlocal got, checksum, wanted
            got += 1
            checksum += page_sum(array)
            if got == wanted:
                await ganglia[0].transmit(Seen(got, checksum % MODULUS), seen)
                got = checksum = 0
                if phases:
                    wanted = phases.pop()
                    phase.__enter__()
                else:
                    phase.__exit__()
                    done.set()

        await ganglia[-1].react(_array(), [react])
        await done.wait()
    far_report(phase)
