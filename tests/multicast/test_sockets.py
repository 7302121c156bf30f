# SPDX-License-Identifier: Apache-2.0
"""The sockets of multicast, on the loopback with a TTL of 0; what needs two hosts is in test_hosts.py."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from plexo.exceptions import IpAddressIsNotMulticast
from plexo.ganglion.multicast_sockets import (
    Interface,
    nak_socket,
    receive_socket,
    relay_socket,
    resolve_block,
    resolve_group,
    resolve_interface,
    send_socket,
    set_buffers,
)

LOOPBACK = Interface("127.0.0.1", "127.0.0.1")
PATIENCE_S = 10
linux = pytest.mark.skipif(sys.platform != "linux", reason="about Linux")

Kept = Callable[[socket.socket], socket.socket]


@pytest.fixture
def kept() -> Iterator[Kept]:
    """Closes it in the end."""
    with contextlib.ExitStack() as stack:
        yield stack.enter_context


@pytest.fixture
def port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def heard(one: socket.socket) -> list[bytes]:
    """What waits there; on the loopback it does as soon as it was sent."""
    found = []
    with contextlib.suppress(BlockingIOError):
        while True:
            found.append(one.recv(65536))
    return found


def stranger(port: int, *groups: str) -> socket.socket:
    """As OpenPGM makes it: any address, REUSEPORT alone, all its groups on one socket."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    made.setblocking(False)
    made.bind(("", port))
    for group in groups:
        request = struct.pack("4s4s", socket.inet_aton(group), socket.inet_aton("127.0.0.1"))
        made.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
    return made


# -- what is meant by arguments ------------------------------------------------------------------------------


def test_an_interface_by_address() -> None:
    assert resolve_interface("127.0.0.1") == resolve_interface(IPv4Address("127.0.0.1")) == LOOPBACK


@linux
def test_an_interface_by_name() -> None:
    assert resolve_interface("lo") == Interface("lo", "127.0.0.1")


def test_some_interface_is_always_found() -> None:
    found = resolve_interface(None)
    assert IPv4Address(found.address) != IPv4Address("0.0.0.0")


@pytest.mark.parametrize("given", ["no-such-interface", "0.0.0.0", ""])
def test_no_such_interface(given: str) -> None:
    with pytest.raises(ValueError, match="bind_interface: expected"):
        resolve_interface(given)


@pytest.mark.parametrize("given", [1, b"lo", ["lo"]])
def test_no_interface_at_all(given: object) -> None:
    with pytest.raises(TypeError, match="bind_interface: expected"):
        resolve_interface(given)


@pytest.mark.parametrize("given", ["239.255.0.0/16", IPv4Network("239.255.0.0/16")])
def test_a_block(given: object) -> None:
    assert resolve_block(given) == IPv4Network("239.255.0.0/16")
    assert resolve_block("239.255.0.0/26").num_addresses == 64


@pytest.mark.parametrize("given", ["10.0.0.0/8", "223.255.255.0/24", "0.0.0.0/0"])
def test_a_block_of_other_addresses(given: str) -> None:
    with pytest.raises(IpAddressIsNotMulticast, match=f"224.0.0.0/4, got {given}"):
        resolve_block(given)


@pytest.mark.parametrize("given", ["239.255.0.0/27", "239.255.0.1/16", "ff02::/64", "some", 5, None])
def test_no_block(given: object) -> None:
    with pytest.raises(ValueError, match=r"multicast_cidr: expected .*, got"):
        resolve_block(given)


def test_a_group() -> None:
    assert resolve_group("239.255.0.7") == resolve_group(IPv4Address("239.255.0.7")) == "239.255.0.7"


@pytest.mark.parametrize("given", ["10.0.0.1", "ff02::1", "some", None, 5])
def test_no_group(given: object) -> None:
    with pytest.raises(IpAddressIsNotMulticast, match="multicast_address: expected"):
        resolve_group(given)


# -- sockets -------------------------------------------------------------------------------------------------


def test_none_of_them_blocks(kept: Kept, port: int) -> None:
    for made in (
        kept(receive_socket("239.255.3.1", port, LOOPBACK)),
        kept(nak_socket(LOOPBACK, port)),
        kept(send_socket(LOOPBACK, 0)),
        kept(relay_socket(LOOPBACK)),
    ):
        assert not made.getblocking()
        with pytest.raises(BlockingIOError):
            made.recv(1)


@pytest.mark.parametrize("make", [send_socket, relay_socket, nak_socket, receive_socket])
def test_an_address_that_is_not_ours_leaves_nothing_open(make: Callable[..., socket.socket]) -> None:
    elsewhere = Interface("192.0.2.1", "192.0.2.1")
    arguments = {
        send_socket: (elsewhere, 0),
        relay_socket: (elsewhere,),
        nak_socket: (elsewhere, 9),
        receive_socket: ("239.255.3.1", 9, elsewhere),
    }[make]  # fmt: skip
    with pytest.raises(OSError):
        make(*arguments)


@pytest.mark.skipif(sys.platform == "win32", reason="no socket can be bound to a group there")
def test_trap_6_nothing_of_a_group_that_another_program_has_joined(kept: Kept, port: int) -> None:
    first, second = "239.255.3.1", "239.255.3.2"
    other = kept(stranger(port, first, second, "239.255.3.3"))
    mine = kept(receive_socket(first, port, LOOPBACK))
    also = kept(receive_socket(second, port, LOOPBACK))
    sending = kept(send_socket(LOOPBACK, 0))
    for group in (first, second, "239.255.3.3", first):
        sending.sendto(group.encode(), (group, port))
    sending.sendto(b"unicast", ("127.0.0.1", port))
    assert len(heard(other)) == 5  # else this test has shown nothing
    assert heard(mine) == [first.encode(), first.encode()]
    assert heard(also) == [second.encode()]


def test_more_than_twenty_memberships(kept: Kept, port: int) -> None:
    groups = [f"239.255.4.{n}" for n in range(1, 101)]
    joined = [kept(receive_socket(group, port, LOOPBACK)) for group in groups]
    sending = kept(send_socket(LOOPBACK, 0))
    for group in groups:
        sending.sendto(group.encode(), (group, port))
    assert [heard(one) for one in joined] == [[group.encode()] for group in groups]


def test_programs_of_one_host_share_a_group(kept: Kept, port: int) -> None:
    members = [kept(receive_socket("239.255.3.1", port, LOOPBACK)) for _ in range(5)]
    members.append(kept(stranger(port, "239.255.3.1")))
    kept(send_socket(LOOPBACK, 0)).sendto(b"all", ("239.255.3.1", port))
    assert [heard(one) for one in members] == [[b"all"]] * 6


def test_a_group_that_was_left_is_not_heard(kept: Kept, port: int) -> None:
    sending = kept(send_socket(LOOPBACK, 0))
    receive_socket("239.255.3.1", port, LOOPBACK).close()
    again = kept(receive_socket("239.255.3.1", port, LOOPBACK))
    sending.sendto(b"once", ("239.255.3.1", port))
    assert heard(again) == [b"once"]


def test_trap_1_naks_come_to_us_beside_sockets_of_libzmq(kept: Kept, port: int) -> None:
    """Whichever port they come from: the more specific address wins, whoever was there first."""
    before = kept(stranger(port))
    mine = kept(nak_socket(LOOPBACK, port))
    after = [kept(stranger(port)) for _ in range(3)]
    for _ in range(50):
        kept(send_socket(LOOPBACK, 0)).sendto(b"nak", ("127.0.0.1", port))
    assert heard(mine) == [b"nak"] * 50
    assert heard(before) == heard(after[0]) == heard(after[1]) == heard(after[2]) == []


def test_trap_1_what_is_relayed_reaches_the_others_of_this_host(kept: Kept, port: int) -> None:
    libzmq = kept(stranger(port, "239.255.3.1"))
    ours = kept(receive_socket("239.255.3.1", port, LOOPBACK))
    kept(nak_socket(LOOPBACK, port))
    kept(relay_socket(LOOPBACK)).sendto(b"nak", ("239.255.3.1", port))
    assert heard(libzmq) == heard(ours) == [b"nak"]


def test_a_relayed_datagram_stays_on_this_host(kept: Kept) -> None:
    relaying = kept(relay_socket(LOOPBACK))
    assert relaying.getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL) == 0
    assert relaying.getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP) == 1


@pytest.mark.parametrize("ttl", [0, 1, 5])
def test_what_is_sent_has_the_ttl_and_the_address_asked_for(kept: Kept, port: int, ttl: int) -> None:
    sending = kept(send_socket(LOOPBACK, ttl))
    assert sending.getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL) == ttl
    member = kept(receive_socket("239.255.3.1", port, LOOPBACK))
    sending.sendto(b"a", ("239.255.3.1", port))
    assert select.select([member], [], [], PATIENCE_S)[0]
    assert member.recvfrom(10) == (b"a", sending.getsockname())
    assert sending.getsockname()[0] == "127.0.0.1"


# -- buffers -------------------------------------------------------------------------------------------------


def test_buffers_that_are_to_be_had(kept: Kept, port: int) -> None:
    made = kept(receive_socket("239.255.3.1", port, LOOPBACK))
    assert set_buffers(made, 65536, 32768) is None
    assert made.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) >= 65536
    assert made.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) >= 32768


@linux
def test_buffers_that_are_not_say_what_limits_them(kept: Kept, port: int) -> None:
    made = kept(receive_socket("239.255.3.1", port, LOOPBACK))
    # More than there can be, for a program that may have more than the limits (CAP_NET_ADMIN), too.
    wanted = (1 << 31) - 1
    told = set_buffers(made, wanted, 4096)
    assert told is not None and "net.core.rmem_max" in told and f"of {wanted} bytes" in told
    assert "net.core.wmem_max" not in told
    told = set_buffers(made, 4096, wanted)
    assert told is not None and "net.core.wmem_max" in told and "rmem_max" not in told
    told = set_buffers(made, wanted, wanted)
    assert told is not None and "rmem_max" in told and "wmem_max" in told
    assert Path("/proc/sys/net/core/rmem_max").exists()
