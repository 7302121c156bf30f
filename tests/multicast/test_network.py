# SPDX-License-Identifier: Apache-2.0
"""The network of the tests does what they rely on: it carries, loses, is cut, and goes away; strangers work in it."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.multicast.child import PATIENCE_S, Child
from tests.multicast.conftest import MakeNetwork
from tests.multicast.libzmq import trouble as libzmq_trouble
from tests.multicast.network import Host, run
from tests.multicast.peers import GROUP, send, until, wait_until_joined, zmq_peer
from tests.multicast.truth import Log, message, perfect

libzmq = pytest.mark.skipif(bool(libzmq_trouble()), reason=libzmq_trouble())
# For what must not come: so long is waited for it.
SILENCE_S = 0.3


@contextlib.contextmanager
def datagram_peer(host: Host, *groups: str) -> Iterator[Child]:
    with Child(host, "tests.multicast.datagram_peer") as child:
        assert child.expect("ready")["default"] == host.address
        for group in groups:
            child.ask("join", group=group)
        wait_until_joined(host, *groups)
        yield child


def send_datagrams(
    child: Child, count: int, *, size: int = 100, relay: bool = False, group: str = GROUP
) -> None:
    assert child.ask("send", group=group, count=count, size=size, relay=relay)["sent"] == count


def heard(child: Child, least: int, patience_s: float = PATIENCE_S, group: str = GROUP) -> list[int]:
    found = child.ask("heard", 2 * patience_s + 5, group=group, least=least, within_s=patience_s)["numbers"]
    assert isinstance(found, list)
    return found


# -- the log -------------------------------------------------------------------------------------------------


def test_the_log_sees_what_is_wrong() -> None:
    log = Log()
    for number in (5, 6, 7):
        log.note(message(1, number, 20))
    assert perfect(log.summary(), 1, 5, 3)
    assert log.has(1, 7) and not log.has(1, 8) and not log.has(2, 0)
    assert not perfect(log.summary(), 1, 5, 4) and not perfect(log.summary(), 2, 5, 3)
    log.note(message(1, 9, 20))
    log.note(message(1, 7, 20))
    assert log.summary()["senders"]["1"] == {"count": 5, "first": 5, "last": 9, "missing": 1, "stale": 1}
    for spoilt in (b"", b"short", message(1, 10, 20)[:-1] + b"!", message(1, 10, 20) + b"!"):
        log.note(spoilt)
    assert log.summary()["spoilt"] == 4


# -- the network, and the sockets in it ------------------------------------------------------------------------


def test_every_host_hears_a_group_and_no_other(make_network: MakeNetwork) -> None:
    network = make_network(3)
    first, second, third = network.hosts
    with (
        datagram_peer(first) as one,
        datagram_peer(second, GROUP) as two,
        datagram_peer(third, GROUP, "239.255.7.2") as three,
    ):
        send_datagrams(one, 200)
        assert heard(two, 200) == heard(three, 200) == list(range(200))
        assert heard(three, 1, SILENCE_S, "239.255.7.2") == []


def test_losses_meet_single_datagrams_on_the_way_that_was_said(make_network: MakeNetwork) -> None:
    network = make_network(2)
    first, second = network.hosts
    with datagram_peer(first, GROUP) as one, datagram_peer(second, GROUP) as two:
        network.lose(20, into=[second])
        send_datagrams(one, 2000, size=1400)
        found = heard(two, 2000, SILENCE_S)
        assert network.dropped() == 2000 - len(found)
        # Ten standard deviations.
        assert 220 < network.dropped() < 580
        gaps = sum(b - a > 1 for a, b in itertools.pairwise(found))
        assert gaps > 150  # not as many at once as the sender has put together
        send_datagrams(two, 2000)
        assert heard(one, 2000) == list(range(2000))
        network.heal()
        send_datagrams(one, 2000)
        assert heard(two, 2000) == list(range(2000))


def test_a_cut_network_is_silent_until_it_is_healed(make_network: MakeNetwork) -> None:
    network = make_network(3)
    first, second, third = network.hosts
    with (
        datagram_peer(first, GROUP) as one,
        datagram_peer(second, GROUP) as two,
        datagram_peer(third, GROUP) as three,
    ):
        network.cut([first, second], [third])
        send_datagrams(one, 10)
        assert heard(two, 10) == list(range(10))
        assert heard(three, 1, SILENCE_S) == []
        send_datagrams(three, 20)
        assert heard(two, 11, SILENCE_S) == list(range(10))
        assert network.dropped() >= 30
        network.heal()
        send_datagrams(one, 30)
        assert heard(two, 30) == heard(three, 30) == list(range(30))


def test_what_is_relayed_stays_on_its_host(make_network: MakeNetwork) -> None:
    """Trap 1."""
    first, second = make_network(2).hosts
    with (
        datagram_peer(first, GROUP) as one,
        datagram_peer(first, GROUP) as beside,
        datagram_peer(second, GROUP) as two,
    ):
        send_datagrams(one, 10, relay=True)
        assert heard(beside, 10) == list(range(10))
        assert heard(two, 1, SILENCE_S) == []


def test_datagrams_above_the_mtu_are_not_divided_but_arrive(make_network: MakeNetwork) -> None:
    first, second = make_network(2).hosts
    with datagram_peer(first) as one, datagram_peer(second, GROUP) as two:
        assert one.ask("send", group=GROUP, count=20, size=1000, relay=False)["divides"]
        assert not one.ask("send", group=GROUP, count=20, size=4000, relay=False)["divides"]
        assert heard(two, 20) == list(range(20))


def test_a_full_socket_takes_nothing_and_raises_nothing(make_network: MakeNetwork) -> None:
    (first,) = make_network(1).hosts
    with datagram_peer(first) as one:
        # Nobody answers there: what is sent waits for that host's hardware address.
        assert one.ask("unreachable", host="10.77.0.99")["blocked"] > 0


def test_networks_do_not_meet(make_network: MakeNetwork) -> None:
    first, second = make_network(1), make_network(1)
    assert first.hosts[0].address == second.hosts[0].address
    with datagram_peer(first.hosts[0]) as one, datagram_peer(second.hosts[0], GROUP) as two:
        send_datagrams(one, 10)
        assert heard(two, 1, SILENCE_S) == []


MAKE = """
import os, sys
from tests.multicast.network import Network
network = Network(2).__enter__()
network.hosts[0].start("sleep", "60")
print(network.switch, flush=True)
sys.stdin.read()
"""


def test_what_a_killed_run_leaves_is_removed_by_the_next(make_network: MakeNetwork) -> None:
    make_network(1)  # or skip
    maker = subprocess.Popen(
        [sys.executable, "-c", MAKE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        text=True,
    )
    with maker:
        assert maker.stdout is not None
        name = maker.stdout.readline().strip()
        assert name in run("ip", "netns", "list")
        maker.send_signal(signal.SIGKILL)
    assert name in run("ip", "netns", "list")
    make_network(1)
    left = run("ip", "netns", "list")
    assert f"-{maker.pid}-" not in left
    assert f"-{os.getpid()}-" in left


# -- the stranger ----------------------------------------------------------------------------------------------


@libzmq
def test_libzmq_sends_to_libzmq(make_network: MakeNetwork) -> None:
    network = make_network(2)
    first, second = network.hosts
    with zmq_peer(second, "subscribe") as subscriber, zmq_peer(first, "publish") as publisher:
        time.sleep(0.2)  # trap 3: an SPM has to be there before the first loss
        send(publisher, 1, 2000, size=200)
        assert perfect(until(subscriber, 1, 1999), 1, 0, 2000)


@libzmq
def test_libzmq_repairs_for_libzmq(make_network: MakeNetwork) -> None:
    network = make_network(2)
    first, second = network.hosts
    with zmq_peer(second, "subscribe") as subscriber, zmq_peer(first, "publish") as publisher:
        send(publisher, 1, 1)
        until(subscriber, 1, 0)
        network.lose(5)
        send(publisher, 1, 500, first=1, size=1000, pause_s=0.0005)
        found = until(subscriber, 1, 500)
        assert network.dropped() > 5
        assert perfect(found, 1, 0, 501)
