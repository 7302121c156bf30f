# SPDX-License-Identifier: Apache-2.0
"""GanglionPlexoMulticast over the loopback with a TTL of 0: groups, agreement, events, who is there."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from ipaddress import IPv4Address, IPv4Network, ip_network
from typing import Any

import pytest

from plexo import (
    Cause,
    Closed,
    GanglionPlexoMulticast,
    LinkEvent,
    LinkEventKind,
    Neuron,
    Plexus,
    TransmitterNotFound,
)
from plexo._proto.paxos.homes import probes
from plexo._proto.paxos.messages import Inquiry, encode
from plexo.exceptions import ConsensusNotReached, IpAddressIsNotMulticast, IpsExhausted
from plexo.ganglion.multicast_sockets import resolve_interface, send_socket
from plexo.ganglion.plexo_multicast import Group
from tests.support import Reading, Tick, namespace, reading, run, tick, until

HOST = "127.0.0.1"
# 32 reserved addresses, and 32 for topics.
SMALL = "239.255.0.0/26"


@pytest.fixture
def port() -> int:
    """One that nobody uses now."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def made(port: int, **arguments: Any) -> GanglionPlexoMulticast:
    return GanglionPlexoMulticast(HOST, port=port, **{"heartbeat_interval_seconds": 0.05, **arguments})


@contextlib.asynccontextmanager
async def several(port: int, count: int = 2, **arguments: Any) -> AsyncIterator[list[GanglionPlexoMulticast]]:
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(made(port, **arguments)) for _ in range(count)]


def neuron(name: str) -> Neuron[str]:
    return Neuron(str, namespace, type_name_alias=name)


def sharing(count: int, slots: int) -> list[Neuron[str]]:
    """Neurons that all look for a home at the same slot first."""
    by_slot: dict[int, list[Neuron[str]]] = {}
    number = 0
    while True:
        each = neuron(f"N{number}")
        found = by_slot.setdefault(next(probes(each.name, slots)), [])
        found.append(each)
        if len(found) == count:
            return found
        number += 1


def test_the_first_message_needs_no_agreement(port: int) -> None:
    async def main() -> None:
        heard: list[Reading] = []
        async with several(port, heartbeat_interval_seconds=1000) as (one, other):
            await other.react(reading, [heard.append])
            await one.adapt(reading)
            await one.transmit(Reading("tank", 20.5), reading)
            await until(lambda: heard)
            group = one.groups()[reading.name]
            assert not group.agreed
            assert group == other.groups()[reading.name]
            assert IPv4Address(group.address) == IPv4Address("239.255.0.0") + next(
                probes(reading.name, 65536)
            )

    run(main())


def test_all_agree_and_each_topic_has_a_group_of_its_own(port: int) -> None:
    async def main() -> None:
        names = [neuron(f"N{n}") for n in range(20)]
        async with several(port, 4) as ganglia:
            for each in ganglia:
                for name in names:
                    await each.adapt(name)
            for name in names:
                groups = {await each.agreed(name) for each in ganglia}
                assert len(groups) == 1
            maps = [dict(each.groups()) for each in ganglia]
            assert all(isinstance(group, Group) and group.agreed for group in maps[0].values())
            assert len({group.address for group in maps[0].values()}) == len(names)
            addresses = {name: group.address for name, group in maps[0].items()}
            assert all({name: group.address for name, group in each.items()} == addresses for each in maps)

    run(main())


def test_topics_with_one_candidate_move_apart_and_nothing_is_lost(port: int) -> None:
    first, second = sharing(2, 64)

    async def main() -> None:
        heard: dict[str, list[str]] = {"first": [], "second": []}
        events: list[LinkEvent] = []
        async with several(port, 2, multicast_cidr=SMALL) as (one, other):
            other.on_link_event(events.append)
            await other.react(first, [heard["first"].append])
            await other.react(second, [heard["second"].append])
            await one.adapt(first)
            await one.adapt(second)
            assert one.groups()[first.name].address == one.groups()[second.name].address
            for n in range(200):
                await one.transmit(f"{n}", first)
                await one.transmit(f"{n}", second)
                await asyncio.sleep(0.005)
            groups = {await each.agreed(name) for each in (one, other) for name in (first, second)}
            assert len(groups) == 2
            await until(lambda: all(len(each) == 200 for each in heard.values()))
            assert heard["first"] == heard["second"] == [f"{n}" for n in range(200)]
            moved = [event for event in events if event.kind is LinkEventKind.MOVED]
            assert [event.reason in (first.name, second.name) for event in moved] == [True]
            assert moved[0].peer == other.groups()[moved[0].reason].address
            for each in (one, other):
                assert each.stats().balanced
                assert not each.stats().fault_count(Cause.LOST)

    run(main())


def test_more_topics_than_groups(port: int) -> None:
    async def main() -> None:
        names = [neuron(f"N{n}") for n in range(33)]
        async with several(port, 1, multicast_cidr=SMALL) as (one,):
            for name in names:
                await one.adapt(name)
            outcomes = await asyncio.gather(*(one.agreed(name, 5) for name in names), return_exceptions=True)
            exhausted = [each for each in outcomes if isinstance(each, IpsExhausted)]
            assert len(exhausted) == 1
            assert "all groups of 239.255.0.0/26 are taken" in str(exhausted[0])
            assert len({each for each in outcomes if isinstance(each, str)}) == 32

    run(main())


def test_agreement_that_does_not_come(port: int) -> None:
    async def main() -> None:
        async with several(port, 1, heartbeat_interval_seconds=1000) as (one,):
            with pytest.raises(TransmitterNotFound):
                await one.agreed(tick)
            await one.adapt(tick)
            with pytest.raises(
                ConsensusNotReached, match=r"no agreement on the group of .* within 0\.05 s; 0 other"
            ):
                await one.agreed(tick, 0.05)
            with pytest.raises(ValueError, match="timeout_s: expected at least 0"):
                await one.agreed(tick, -1)
            waiting = asyncio.ensure_future(one.agreed(tick, 30))
            await asyncio.sleep(0)
            await one.aclose()
            with pytest.raises(Closed):
                await waiting

    run(main())


def test_who_is_there_and_what_they_publish(port: int) -> None:
    async def main() -> None:
        events: list[LinkEvent] = []
        async with several(port, 2) as (one, other):
            one.on_link_event(events.append)
            await one.ready(1, timeout_s=10)
            await other.adapt(tick)
            await other.adapt(reading)
            assert [each.publishes for each in one.peers()] == [()]
            await other.transmit(Tick(1), tick)
            await other.transmit(Reading("tank", 20.5), reading)
            await until(
                lambda: [each.publishes for each in one.peers()] == [tuple(sorted((tick.name, reading.name)))]
            )
            assert [each.host for each in one.peers()] == [HOST]
            await other.aclose()
            # It has said goodbye: nobody waits for its silence.
            await until(lambda: not one.peers())
            await until(lambda: LinkEventKind.MEMBER_LEFT in [event.kind for event in events])
            kinds = [event.kind for event in events]
            assert LinkEventKind.MEMBER_JOINED in kinds
            with pytest.raises(TimeoutError):
                await one.ready(1, timeout_s=0.05)
            with pytest.raises(ValueError, match="who listens to a multicast group is not known"):
                await one.ready(1, tick)

    run(main())


def test_a_node_is_heard_of_when_it_has_joined_what_it_adapts_at_first(port: int) -> None:
    async def main() -> None:
        joined: list[int] = []
        one = made(port)
        wake = one._wake

        def note(loop: asyncio.AbstractEventLoop) -> None:
            joined.append(len(one._joined))
            wake(loop)

        one._wake = note  # type: ignore[method-assign]
        async with one:
            for n in range(5):
                await one.react(neuron(f"N{n}"), [lambda text: None])
            assert joined == []
            await one.agreed(neuron("N0"))
            assert joined == [5]

    run(main())


def test_a_late_node_learns_what_is_agreed(port: int) -> None:
    async def main() -> None:
        names = [neuron(f"N{n}") for n in range(200)]
        async with several(port, 1) as (one,):
            for name in names:
                await one.adapt(name)
            for name in names:
                await one.agreed(name)
            async with made(port) as late:
                for name in names:
                    await late.adapt(name)
                assert [await late.agreed(name) for name in names] == [
                    await one.agreed(name) for name in names
                ]
                assert late.groups()[names[0].name] == one.groups()[names[0].name]

    run(main())


def test_another_key_is_another_network(port: int) -> None:
    async def main() -> None:
        heard: list[Tick] = []
        async with made(port, key=b"k" * 16) as one, made(port, key=b"l" * 16) as other, made(port) as third:
            for each in (one, other, third):
                await each.react(tick, [heard.append])
                await each.agreed(tick)
            assert not one.peers() and not other.peers()
            for each in (one, other, third):
                await each.transmit(Tick(1), tick)
            await until(lambda: one.stats().fault_count(Cause.UNAUTHENTIC) >= 2)
            assert heard == []

    run(main())


def test_hostile_control_datagrams_cost_one_count_each(port: int) -> None:
    async def main() -> None:
        async with several(port, 1) as (one,):
            await one.adapt(tick)
            hostile = [b"", b"\x01\x90", b"\x02", b"\x02\xff\xff", b"\x02" + bytes(1400), bytes(3000)]
            with send_socket(resolve_interface(HOST), 0) as sending:
                for datagram in hostile:
                    sending.sendto(datagram, ("239.255.0.6", port))
            await until(lambda: one.stats().fault_count(Cause.MALFORMED) == len(hostile))
            assert await one.agreed(tick)

    run(main())


def test_forged_senders_leave_nothing_behind(port: int) -> None:
    async def main() -> None:
        async with several(port, 2) as (one, other):
            await one.adapt(tick)
            await other.adapt(tick)
            await one.ready(1, timeout_s=10)
            with send_socket(resolve_interface(HOST), 0) as sending:
                for sender in range(1000, 1500):
                    sending.sendto(encode(Inquiry(sender, 1, 0, b"")), ("239.255.0.6", port))
                    await asyncio.sleep(0)
            await one.agreed(tick)
            assert [each.host for each in one.peers()] == [HOST]
            assert len(one._hosts) == 1

    run(main())


def test_a_ganglion_that_is_run_long_after_it_was_made_joins_those_that_are_there(port: int) -> None:
    late = made(port)

    async def main() -> None:
        async with several(port, 1) as (one,):
            await one.adapt(tick)
            await one.agreed(tick)
            before = one.groups()[tick.name]
            await asyncio.sleep(0.5)  # ten heartbeats
            async with late:
                await late.adapt(tick)
                await late.agreed(tick)
                await asyncio.sleep(0.3)
                # Epochs go on, with the newcomer; the lineage stays.
                assert one.groups()[tick.name].lineage == late.groups()[tick.name].lineage == before.lineage

    run(main())


def test_several_loops_keep_the_agreement(port: int) -> None:
    one = made(port)

    async def once() -> str:
        await one.startup()
        await one.adapt(tick)
        return await one.agreed(tick)

    assert run(once()) == run(once())
    one.close()


def test_a_bridge_between_two_networks(port: int) -> None:
    async def main() -> None:
        heard: list[Tick] = []
        async with (
            made(port) as sender,
            made(port + 1) as receiver,
            Plexus([made(port), made(port + 1)]) as bridge,
        ):
            await bridge.adapt(tick)
            await receiver.react(tick, [heard.append])
            await sender.adapt(tick)
            for n in range(100):
                await sender.transmit(Tick(n), tick)
            await until(lambda: len(heard) == 100)
            assert heard == [Tick(n) for n in range(100)]

    run(main())


def test_what_a_bridge_cannot_pass_on_is_counted_and_harms_nothing_else(
    port: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One network takes larger messages, and more of them, than the other."""
    monkeypatch.setattr("plexo.ganglion.multicast.MAX_TRANSMISSIONS", 1)
    one, other = neuron("One"), neuron("Other")

    async def main() -> None:
        here: list[str] = []
        there: list[str] = []
        beyond = made(port + 1, max_message_bytes=1000)
        async with (
            made(port) as sender,
            made(port) as second_sender,
            made(port + 1) as receiver,
            Plexus([made(port), beyond]) as bridge,
        ):
            for each in (one, other):
                await bridge.react(each, [here.append])
                await receiver.react(each, [there.append])
            await sender.adapt(one)
            await second_sender.adapt(other)
            for n in range(3):
                await sender.transmit(f"{n}", one)
                await sender.transmit(f"{n} {'x' * 1000}", one)
                # `other` would be a second source.
                await until(lambda n=n: len(there) == n + 1)  # type: ignore[misc]
                await second_sender.transmit(f"other {n}", other)
            await sender.transmit("last", one)
            await until(lambda: len(here) == 10 and there[-1:] == ["last"])
            assert there == ["0", "1", "2", "last"]
            books = beyond.stats().neurons
            assert [books[each.name].sending.dropped for each in (one, other)] == [{Cause.REJECTED: 3}] * 2
            assert beyond.stats().balanced
        told = [record.getMessage() for record in caplog.records if "is not passed on" in record.getMessage()]
        assert len(told) == 2
        assert "carries at most 1000" in told[0]
        assert "publishes 1 neurons already" in told[1]
        assert not [record for record in caplog.records if record.levelname == "ERROR"]

    run(main())


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        (
            {"multicast_cidr": "10.0.0.0/16"},
            IpAddressIsNotMulticast,
            "multicast_cidr: expected a part of 224",
        ),
        ({"multicast_cidr": "239.255.0.0/28"}, ValueError, "multicast_cidr: expected at least"),
        ({"multicast_cidr": ip_network("ff00::/64")}, ValueError, "multicast_cidr: expected an IPv4 network"),
        ({"heartbeat_interval_seconds": 0}, ValueError, "heartbeat_interval_seconds: expected more than 0"),
        ({"proposal_timeout_seconds": -1}, ValueError, "proposal_timeout_seconds: expected more than 0"),
        ({"bind_interface": 7}, TypeError, "bind_interface: expected"),
        ({"nonsense": 7}, TypeError, "nonsense"),
    ],
)
def test_bad_arguments(port: int, arguments: dict[str, Any], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        GanglionPlexoMulticast(**{"bind_interface": HOST, "port": port, **arguments})


def test_defaults() -> None:
    ganglion = GanglionPlexoMulticast(HOST)
    try:
        assert ganglion.multicast_cidr == IPv4Network("239.255.0.0/16")
        assert (ganglion.port, ganglion.ttl, ganglion.hub.rate) == (5560, 0, 0.0)
        assert repr(ganglion) == "<GanglionPlexoMulticast 239.255.0.0/16:5560 by lo>" or "127.0.0.1" in repr(
            ganglion
        )
    finally:
        ganglion.close()
