# SPDX-License-Identifier: Apache-2.0
"""SynapseZmqPlexoPubSubEPGM and libzmq's epgm, each as the sender and as the receiver, on a network that loses packets.

libzmq itself does not always live through losses (OpenPGM may stop hearing a source for good after a loss that could
not be repaired), so every loss here can be repaired: the first message is there before packets are lost.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from tests.multicast.capture import Capture, dissect
from tests.multicast.capture import trouble as capture_trouble
from tests.multicast.conftest import MakeNetwork
from tests.multicast.libzmq import trouble as libzmq_trouble
from tests.multicast.peers import PORT, send, synapse_peer, until, zmq_peer
from tests.multicast.truth import perfect

pytestmark = pytest.mark.skipif(bool(libzmq_trouble()), reason=libzmq_trouble())
LOSSES = [0, 5, 20]
COUNT = 1500


@pytest.mark.parametrize("percent", LOSSES)
@pytest.mark.parametrize("size", [64, 3000])
def test_we_send_to_libzmq(make_network: MakeNetwork, percent: float, size: int) -> None:
    network = make_network(3)
    first, second, third = network.hosts
    with (
        zmq_peer(second, "subscribe") as one,
        zmq_peer(third, "subscribe") as two,
        synapse_peer(first, rate_bytes_per_s=5e6) as sender,
    ):
        send(sender, 1, 1, size=size)
        assert perfect(until(one, 1, 0), 1, 0, 1) and perfect(until(two, 1, 0), 1, 0, 1)
        network.lose(percent)
        send(sender, 1, COUNT, first=1, size=size)
        for each in (one, two):
            found = until(each, 1, COUNT)
            assert perfect(found, 1, 0, COUNT + 1), repr(found)
            assert found["strange"] == 0
        assert (network.dropped() > 0) == (percent > 0)
        network.heal()
        found = sender.ask("finish")
        assert found["balanced"] and found["sent"] == COUNT + 1 and found["faults"] == {}


@pytest.mark.parametrize("percent", LOSSES)
@pytest.mark.parametrize("size", [64, 3000])
def test_libzmq_sends_to_us(make_network: MakeNetwork, percent: float, size: int) -> None:
    network = make_network(3)
    first, second, third = network.hosts
    with (
        synapse_peer(second) as one,
        synapse_peer(third) as two,
        zmq_peer(first, "publish", rate_kbit=20_000) as sender,
    ):
        send(sender, 1, 1, size=size)
        assert perfect(until(one, 1, 0), 1, 0, 1) and perfect(until(two, 1, 0), 1, 0, 1)
        network.lose(percent)
        send(sender, 1, COUNT, first=1, size=size)
        for each in (one, two):
            found = until(each, 1, COUNT)
            assert perfect(found, 1, 0, COUNT + 1), (found, each.ask("books"))
            told = each.ask("books")
            assert told["balanced"] and told["received"] == COUNT + 1 and told["faults"] == {}
        assert (network.dropped() > 0) == (percent > 0)


def test_trap_1_all_on_the_hosts_of_each_other(make_network: MakeNetwork) -> None:
    """libzmq's publisher and subscribers beside ours on both hosts: NAKs still find their source.

    Messages do not span packets here: libzmq's subscriber mixes the parts of messages of several sources that do.
    """
    network = make_network(2)
    with contextlib.ExitStack() as stack:
        enter = stack.enter_context
        zmq_heard = [enter(zmq_peer(host, "subscribe")) for host in network.hosts]
        ours = [enter(synapse_peer(host, rate_bytes_per_s=5e6)) for host in network.hosts]
        zmq_sends = enter(zmq_peer(network.hosts[0], "publish", rate_kbit=20_000))
        # libzmq does not hear its own host.
        pairs = [(ours[0], 1, [zmq_heard[1], ours[1]]), (zmq_sends, 2, [zmq_heard[1], ours[1]])]
        pairs.append((ours[1], 3, [zmq_heard[0], ours[0]]))
        for sender, number, heard in pairs:
            send(sender, number, 1)
            assert all(perfect(until(each, number, 0), number, 0, 1) for each in heard)
        network.lose(5)
        for sender, number, _ in pairs:
            send(sender, number, 500, first=1, pause_s=0.0005)
        for _, number, heard in pairs:
            for each in heard:
                found = until(each, number, 500)
                assert perfect(found, number, 0, 501), repr(found)
        assert network.dropped() > 0


@pytest.mark.skipif(bool(capture_trouble()), reason=capture_trouble())
def test_wireshark_finds_nothing_wrong_with_what_we_send(make_network: MakeNetwork, tmp_path: Path) -> None:
    """All types of packets: from the source's side repairs, from the receiver's what asks for them."""
    network = make_network(2)
    first, second = network.hosts
    path = tmp_path / "ours.pcap"
    with (
        Capture(first, PORT, path),
        synapse_peer(second) as receiver,
        synapse_peer(first, rate_bytes_per_s=5e6) as sender,
    ):
        network.lose(10)
        for size in (12, 64, 1391, 5000):
            send(sender, size, 300, size=size)
            until(receiver, size, 299)
        # Late: each asks where the source is, unless that happens to say so just then.
        for number in (7, 8, 9):
            with synapse_peer(second) as late:
                send(sender, number, 50, pause_s=0.01)
                until(late, number, 49)
        network.heal()
        receiver.end()
        sender.end()
    packets, faults = dissect(path, PORT)
    assert faults == []
    assert {"SPM", "ODATA", "RDATA", "NAK", "NCF", "SPMR"} <= set(packets), packets
