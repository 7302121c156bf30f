# SPDX-License-Identifier: Apache-2.0
"""Acknowledged delivery and requests with peers that know neither: they are told so, and plain traffic goes on."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from plexo import AckNotSupported, GanglionZmqTcpPair
from tests.interop.peer import HOST, Ours, Peer, Texts, free_port, run_on_free_ports
from tests.reference.envelope import build_envelope, parse_envelope
from tests.support import run, until, within

we_bind = pytest.mark.parametrize("we_bind", [True, False], ids=["ours-binds", "theirs-binds"])


@we_bind
def test_pyzmq(we_bind: bool, tmp_path: Path) -> None:
    zmq = pytest.importorskip("zmq")
    from tests.interop.test_pyzmq import Inbox, malt, pair_with, stranger

    async def main() -> None:
        with stranger(zmq.PAIR) as peer:
            async with pair_with(peer, we_bind, "tcp", tmp_path) as ganglion:
                inbox = Inbox()
                await ganglion.adapt(malt, [inbox])
                # Asked for before anybody was there, and while somebody is.
                for _ in range(2):
                    with pytest.raises(AckNotSupported, match="does not acknowledge"):
                        await within(ganglion.transmit(b"acked", malt, acked=True))
                    with pytest.raises(AckNotSupported, match="does not take requests"):
                        await within(ganglion.request(b"question", malt, malt))
                    await within(ganglion.transmit(b"plain", malt))
                    assert parse_envelope((await peer.receive())[0]) == (malt.topic, b"plain")
                    await peer.send(build_envelope(malt.topic, b"answer"))
                    assert await inbox.get() == b"answer"
                assert await peer.silent()
                assert ganglion.stats().acked.balanced

    run(main())


@we_bind
def test_plexo_1_0(plexo_1_0: Path, we_bind: bool) -> None:
    async def main() -> None:
        messages, port = Texts(), free_port()
        ganglion = (
            GanglionZmqTcpPair(HOST, port)
            if we_bind
            else GanglionZmqTcpPair(peer=(HOST, port), reconnect_max_s=0.2)
        )
        role = "--connect" if we_bind else "--bind"
        async with Ours(messages, ganglion) as us:
            early = asyncio.create_task(us.plexus.transmit("0 early", messages.request, acked=True))
            async with await Peer.start(plexo_1_0, "pair", messages.peer_codec, role, port) as peer:
                with pytest.raises(AckNotSupported, match="does not acknowledge"):
                    await within(early)
                await until(lambda: ganglion.peers_connected)
                with pytest.raises(AckNotSupported, match="does not acknowledge"):
                    await within(us.plexus.transmit("1 acked", messages.request, acked=True))
                with pytest.raises(AckNotSupported, match="does not take requests"):
                    await within(us.plexus.request("1 asked", messages.reply, messages.request))
                await us.exchange(peer, range(10))

    run_on_free_ports(main)
