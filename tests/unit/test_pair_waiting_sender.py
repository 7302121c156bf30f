# SPDX-License-Identifier: Apache-2.0
"""Senders of a pair that had to wait: once accepted, their messages go out with nobody else's help."""

import asyncio

from plexo import GanglionZmqTcpPair, Namespace, Neuron, Queue

text = Neuron(str, Namespace("org.brewery.sake"))
blob = Neuron(bytes, Namespace("org.brewery.sake"))

# Far below the heartbeat, which flushes whatever lies about.
SOON_S = 2.0


def test_a_message_that_waited_for_the_peer_goes_out_when_the_peer_comes() -> None:
    async def main() -> None:
        arrived = asyncio.Event()
        async with GanglionZmqTcpPair("127.0.0.1", 0, heartbeat_s=0) as binding:
            await binding.adapt(text)
            sending = asyncio.create_task(binding.transmit("early", text))
            await asyncio.sleep(0)
            assert not sending.done()
            async with GanglionZmqTcpPair(peer=binding.endpoint, heartbeat_s=0) as connecting:
                await connecting.react(text, [lambda _: arrived.set()])
                await asyncio.wait_for(sending, SOON_S)
                await asyncio.wait_for(arrived.wait(), SOON_S)

    asyncio.run(main())


def test_messages_that_waited_for_room_go_out_when_there_is_room() -> None:
    payloads = [bytes([number]) * 100_000 for number in range(60)]

    async def main() -> None:
        received: list[bytes] = []
        complete = asyncio.Event()

        def take(payload: bytes) -> None:
            received.append(payload)
            if len(received) == len(payloads):
                complete.set()

        binding = GanglionZmqTcpPair("127.0.0.1", 0, heartbeat_s=0, send_queue=Queue(bytes=150_000))
        connecting = GanglionZmqTcpPair(peer=binding.endpoint, heartbeat_s=0)
        async with binding, connecting:
            await binding.adapt(blob)
            await connecting.react(blob, [take])
            sending = [asyncio.create_task(binding.transmit(payload, blob)) for payload in payloads]
            await asyncio.wait_for(asyncio.gather(*sending), SOON_S)
            await asyncio.wait_for(complete.wait(), SOON_S)
        assert received == payloads

    asyncio.run(main())
