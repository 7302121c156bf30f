# SPDX-License-Identifier: Apache-2.0
"""What scenarios found, in the smallest form that shows it."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from plexo import Cause, GanglionZmqTcpPair, GanglionZmqTcpPubSub, Queue
from tests.faults.proxy import HOST, Proxy
from tests.support import Blob, blob, run, tick, until, within

SIZE = 20_000


@pytest.mark.parametrize("policy", ["drop_oldest", "latest"])
@pytest.mark.parametrize("kind", ["pair", "pubsub"])
def test_closing_sends_what_waits_behind_a_full_connection(kind: str, policy: str) -> None:
    """Under these policies it waits in a backlog, from which closing has to fetch it, no longer on any loop."""

    async def main() -> None:
        number = iter(range(1_000_000))
        queue = Queue(policy, messages=1000, key=(lambda data: next(number)) if policy == "latest" else None)
        sender: Any
        receiver: Any
        async with Proxy(random.Random(0), narrow=True) as proxy:
            if kind == "pair":
                sender = GanglionZmqTcpPair(HOST, 0, send_queue=queue)
                proxy.target = sender.port
                receiver = GanglionZmqTcpPair(peer=proxy.endpoint)
            else:
                sender = GanglionZmqTcpPubSub(HOST, 0, send_queue=queue)
                proxy.target = sender.port_pub
                receiver = GanglionZmqTcpPubSub(port_pub=None, peers=[proxy.endpoint])
            got: list[int] = []
            async with receiver:
                async with sender:
                    await sender.adapt(blob)
                    await receiver.react(
                        blob, [lambda data: got.append(int.from_bytes(data.data[:4], "big"))]
                    )
                    await within(sender.ready(neuron=blob))
                    wire = proxy.wires[0]
                    wire.down.stall()
                    for n in range(50):
                        await within(sender.transmit(Blob(n.to_bytes(4, "big") + bytes(SIZE)), blob))
                    assert sender.stats().neurons[blob.name].sending.queued > 10
                    closing = asyncio.create_task(sender.aclose())
                    await asyncio.sleep(0)
                    wire.down.resume()
                    await within(closing)
                await until(lambda: len(got) == 50)
                book = sender.stats().neurons[blob.name].sending
                assert (book.accepted, book.delivered, book.dropped.get(Cause.CLOSED, 0)) == (50, 50, 0)
            assert got == list(range(50))

    run(main())


def test_reacting_while_a_publisher_is_gone_unnoticed() -> None:
    """Writing the subscription finds that out, and ends the connection in the middle of the round."""

    async def main() -> None:
        publisher = GanglionZmqTcpPubSub(HOST, 0)
        async with Proxy(random.Random(0), publisher.port_pub or 0) as proxy, publisher:
            arguments: dict[str, Any] = {"reconnect_min_s": 0.002, "reconnect_max_s": 0.02}
            async with GanglionZmqTcpPubSub(
                port_pub=None, peers=[proxy.endpoint] * 3, **arguments
            ) as subscriber:
                await publisher.adapt(blob)
                await subscriber.react(tick, [lambda data: None])
                await within(subscriber.ready(3))
                proxy.cut()
                await subscriber.react(blob, [lambda data: None])
                await within(publisher.ready(3, blob))

    run(main())
