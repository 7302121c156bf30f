# SPDX-License-Identifier: Apache-2.0
"""GanglionPlexoMulticast on several hosts: they agree on groups, and what is sent arrives whatever the network does."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from tests.multicast.child import PATIENCE_S, Child
from tests.multicast.conftest import MakeNetwork
from tests.multicast.libzmq import trouble as libzmq_trouble
from tests.multicast.network import Host
from tests.multicast.peers import PORT, TOPIC_OF, ganglion_peer, wait_until_joined, zmq_peer
from tests.multicast.truth import perfect

# How long agreement may take at worst; what is usual is measured by the benchmarks.
AGREE_S = 15.0


@contextlib.contextmanager
def ganglia(hosts: Sequence[Host], **options: object) -> Iterator[list[Child]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(ganglion_peer(host, **options)) for host in hosts]


def adapt(children: Sequence[Child], *names: str, listen: bool = True) -> None:
    for child, name in itertools.product(children, names):
        child.tell("adapt", name=name, listen=listen)
    for child, _ in itertools.product(children, names):
        child.expect("adapt")


def agreed(children: Sequence[Child], name: str) -> str:
    """The group on which all of them have agreed."""
    deadline = time.monotonic() + AGREE_S
    while True:
        told = [child.ask("groups")["groups"][TOPIC_OF.format(name)] for child in children]
        addresses = {each["address"] for each in told}
        if all(each["agreed"] for each in told) and len(addresses) == 1:
            return str(addresses.pop())
        assert time.monotonic() < deadline, f"{name}: {told}"
        time.sleep(0.02)


def send(
    child: Child, name: str, sender: int, count: int, *, first: int = 0, size: int = 64, pause_s: float = 0
) -> None:
    child.ask("send", name=name, sender=sender, first=first, count=count, size=size, pause_s=pause_s)


def until(child: Child, name: str, sender: int, last: int, within_s: float = PATIENCE_S) -> dict[str, Any]:
    return child.ask("until", 2 * within_s, name=name, sender=sender, last=last, within_s=within_s)


def finish(children: Sequence[Child], faults: bool = False) -> None:
    """All close; their books balance."""
    for child in children:
        child.tell("finish")
    for child in children:
        told = child.expect("finish")
        assert told["balanced"], repr(told)
        assert faults or not told["faults"], repr(told)


@pytest.mark.parametrize(("hosts", "percent"), [(2, 0), (3, 5), (3, 20), (8, 5)])
def test_hosts_agree_and_all_hear_all(make_network: MakeNetwork, hosts: int, percent: float) -> None:
    network = make_network(hosts)
    network.lose(percent)
    count = 300
    with ganglia(network.hosts, rate_bytes_per_s=5e6) as children:
        adapt(children, "First", "Second")
        groups = [agreed(children, name) for name in ("First", "Second")]
        assert len(set(groups)) == 2
        # The first message of a source may be lost before anybody knows that there is one.
        for sender, child in enumerate(children):
            send(child, "First", sender, 1)
        others = [
            (child, sender)
            for child, sender in itertools.product(children, range(hosts))
            if child is not children[sender]
        ]
        for child, sender in others:
            until(child, "First", sender, 0, 3)
        for sender, child in enumerate(children):
            child.tell("send", name="First", sender=sender, first=1, count=count, size=500, pause_s=0)
        for child in children:
            child.expect("send")
        for child, sender in others:
            found = until(child, "First", sender, count)
            told = found["senders"][str(sender)]
            assert found["spoilt"] == told["missing"] == told["stale"] == 0, repr(found)
            assert told["count"] >= count and told["last"] == count
        assert (network.dropped() > 0) == (percent > 0)
        network.heal()
        finish(children)


def test_a_host_joins_what_it_listens_to_and_nothing_else(make_network: MakeNetwork) -> None:
    first, second = make_network(2).hosts
    names = [f"Busy{n}" for n in range(20)]
    with ganglia([first]) as senders, ganglia([second]) as receivers:
        adapt(senders, *names, listen=False)
        before = second.groups()
        adapt(receivers, names[7])
        group = agreed([*senders, *receivers], names[7])
        wait_until_joined(second, group)
        for name in names:
            send(senders[0], name, 1, 10)
        assert perfect(until(receivers[0], names[7], 1, 9), 1, 0, 10)
        assert second.groups() - before == {group}
        assert receivers[0].ask("books")["received"] == 10
        finish([*senders, *receivers])


def test_what_is_sent_before_the_agreement_is_heard(make_network: MakeNetwork) -> None:
    network = make_network(2)
    with ganglia(network.hosts) as (one, two):
        adapt([two], "Early")
        adapt([one], "Early")
        send(one, "Early", 1, 200, pause_s=0.005)
        found = until(two, "Early", 1, 199)
        assert perfect(found, 1, 0, 200), repr(found)
        agreed([one, two], "Early")
        finish([one, two])


def test_a_cut_network_works_on_both_sides_and_becomes_one_again(make_network: MakeNetwork) -> None:
    network = make_network(5)
    with ganglia(network.hosts) as children:
        large, small = children[:3], children[3:]
        adapt(children, "Common")
        agreed(children, "Common")
        network.cut(network.hosts[:3], network.hosts[3:])
        # Long enough to be missed.
        time.sleep(1.5)
        for side, sender in ((large, 1), (small, 2)):
            send(side[0], "Common", sender, 50)
            for child in side[1:]:
                assert perfect(until(child, "Common", sender, 49), sender, 0, 50)
        adapt(large, "New")
        adapt(small, "Other")
        agreed(large, "New")
        network.heal()
        adapt(large, "Other")
        adapt(small, "New")
        groups = {agreed(children, name) for name in ("Common", "New", "Other")}
        assert len(groups) == 3
        for name, sender in itertools.product(("New", "Other"), (0, 4)):
            send(children[sender], name, sender, 100)
            for child in children[1:4]:
                found = until(child, name, sender, 99)
                assert perfect(found, sender, 0, 100), repr(found)
        finish(children, faults=True)


def test_hosts_that_fail_and_come_back(make_network: MakeNetwork) -> None:
    network = make_network(3)
    with contextlib.ExitStack() as stack:
        children = [stack.enter_context(ganglion_peer(host)) for host in network.hosts]
        adapt(children, "Lasting")
        group = agreed(children, "Lasting")
        for round_number in range(3):
            failing = round_number % 3
            children[failing].kill()
            others = [child for n, child in enumerate(children) if n != failing]
            send(others[0], "Lasting", 10 + round_number, 50)
            assert perfect(until(others[1], "Lasting", 10 + round_number, 49), 10 + round_number, 0, 50)
            children[failing] = stack.enter_context(ganglion_peer(network.hosts[failing]))
            adapt([children[failing]], "Lasting")
            assert agreed(children, "Lasting") == group
            sender = 100 + round_number
            send(children[failing], "Lasting", sender, 50)
            for child in others:
                found = until(child, "Lasting", sender, 49)
                assert perfect(found, sender, 0, 50), repr(found)
        finish(children)


def test_a_cable_that_is_pulled_and_plugged_again(make_network: MakeNetwork) -> None:
    """What is sent meanwhile is kept by its source, and repaired when there is a network again."""
    network = make_network(3)
    with ganglia(network.hosts) as children:
        adapt(children, "Plugged")
        group = agreed(children, "Plugged")
        for sender, child in enumerate(children):
            send(child, "Plugged", sender, 1)
        for hearing, sender in itertools.permutations(range(3), 2):
            until(children[hearing], "Plugged", sender, 0)
        for pulled in range(2):
            network.hosts[pulled].pull_the_cable()
            for sender, child in enumerate(children):
                send(child, "Plugged", sender, 100, first=1 + 100 * pulled, pause_s=0.002)
            network.hosts[pulled].plug_the_cable()
        for sender, child in enumerate(children):
            send(child, "Plugged", sender, 1, first=201)
        for hearing, sender in itertools.permutations(range(3), 2):
            found = until(children[hearing], "Plugged", sender, 201)
            assert perfect(found, sender, 0, 202), repr(found)
        assert agreed(children, "Plugged") == group
        finish(children)


def test_a_key_keeps_strangers_out(make_network: MakeNetwork) -> None:
    network = make_network(3)
    first, second, third = network.hosts
    key, other = "of this network alone", "another that is wrong"
    with ganglia([first, second], key=key) as children, ganglia([third], key=other) as strangers:
        adapt([*children, *strangers], "Secret")
        agreed(children, "Secret")
        send(children[0], "Secret", 1, 100)
        send(strangers[0], "Secret", 2, 100)
        assert perfect(until(children[1], "Secret", 1, 99), 1, 0, 100)
        assert until(strangers[0], "Secret", 1, 0, 0.5)["count"] == 0
        assert set(until(children[1], "Secret", 2, 0, 0.5)["senders"]) == {"1"}
        assert [peer["host"] for peer in children[0].ask("peers")["peers"]] == [second.address]
        faults = children[1].ask("books")["faults"]
        assert set(faults) == {f"unauthentic  {third.address}"}
        network.lose(10)
        send(children[0], "Secret", 1, 500, first=100)
        found = until(children[1], "Secret", 1, 599)
        assert perfect(found, 1, 0, 600), repr(found)
        finish(children, faults=True)


@pytest.mark.time_limit(120)
def test_fifty_programs_on_one_host(make_network: MakeNetwork) -> None:
    """They share one port and one group; what one asks for is repaired though the system gives it to another."""
    members, count = 50, 20
    network = make_network(2)
    crowded, outside = network.hosts
    with Child(crowded, "tests.multicast.crowd", members, PORT) as crowd, ganglia([outside]) as others:
        adapt(others, "Crowd")
        crowd.expect("ready")
        groups = {crowd.expect("agreed", 60)["group"] for _ in range(members)}
        assert groups == {agreed(others, "Crowd")}
        network.lose(5)
        crowd.tell_line(str(count))
        for sender in range(members):
            found = until(others[0], "Crowd", sender, count - 1)
            assert found["senders"][str(sender)]["missing"] == 0
        crowd.tell_line("30")
        crowd.process.stdin.close()  # type: ignore[union-attr]
        told = [crowd.expect("finish", 40) for _ in range(members)]
        assert [each["number"] for each in told if each["missed"]] == [], repr(told)
        assert all(each["balanced"] and not each["faults"] for each in told)
        assert network.dropped() > 0


@pytest.mark.skipif(bool(libzmq_trouble()), reason=libzmq_trouble())
def test_libzmq_takes_part_in_an_agreed_group(make_network: MakeNetwork) -> None:
    network = make_network(3)
    first, second, third = network.hosts
    with ganglia([first, second]) as children:
        adapt(children, "Open")
        group = agreed(children, "Open")
        topic = TOPIC_OF.format("Open")
        with (
            zmq_peer(third, "subscribe", group=group, topic=topic) as subscriber,
            zmq_peer(third, "publish", group=group, topic=topic) as publisher,
        ):
            send(children[0], "Open", 1, 1)
            assert perfect(subscriber.ask("until", sender=1, last=0, within_s=PATIENCE_S), 1, 0, 1)
            publisher.ask("send", sender=2, first=0, count=1, size=64, pause_s=0)
            assert perfect(until(children[1], "Open", 2, 0), 2, 0, 1)
            network.lose(5)
            send(children[0], "Open", 1, 300, first=1)
            found = subscriber.ask("until", 2 * PATIENCE_S, sender=1, last=300, within_s=PATIENCE_S)
            assert perfect(found, 1, 0, 301), repr(found)
            assert perfect(until(children[1], "Open", 1, 300), 1, 0, 301)
            publisher.ask("send", sender=2, first=1, count=300, size=64, pause_s=0)
            for child in children:
                found = until(child, "Open", 2, 300)
                assert perfect(found, 2, 0, 301), repr(found)
            assert network.dropped() > 0
        network.heal()
        finish(children)
