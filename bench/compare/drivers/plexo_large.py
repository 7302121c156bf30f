# SPDX-License-Identifier: Apache-2.0
"""Row large of plexo_driver.py: arrays from process to process, over a pair or by publish/subscribe."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from common import HOST, MODULUS, Far, Phase, check, far_report, rate, report, run, used, warm_up
from plexo_samples import chunks, loop_of, seen
from samples import Seen, expected_large, large_arrays, page_sum

from plexo import GanglionZmqTcpPair, GanglionZmqTcpPubSub, Neuron, NumpyCodec, Plexus, Queue

SCRIPT = str(Path(__file__).with_name("plexo_driver.py"))
READY_S = 30.0
# In user space, by reading the code. A pair sends from where the array lies while its sender waits (and copies only
# what a slow link would hold up), publish/subscribe encodes with tobytes(). Both decode a view of where the frame
# was received.
COPIES = {"pair": "0 + 0", "pubsub": "1 + 0"}


def _array() -> Neuron[Any]:
    import numpy

    return Neuron(numpy.ndarray, "bench", NumpyCodec("uint8"), "Array")


def large(count: int, size: int, style: str = "async") -> None:
    run(_large(count, size, style), loop_of(style))


async def _large(count: int, size: int, style: str) -> None:
    neuron, arrays = _array(), large_arrays(size)
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
            check("the far end", (got.count, got.checksum), expected_large(phase_count, size))
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
