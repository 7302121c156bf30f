# SPDX-License-Identifier: Apache-2.0
from ipaddress import IPv4Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plexo.exceptions import IpLeaseExists, IpNotFound, IpNotLeased, IpsExhausted
from plexo.ip_lease import IpLeaseManager


def test_lowest_free_first_and_every_address_counts() -> None:
    manager = IpLeaseManager(ip_network("239.255.0.0/30"))
    assert [str(manager.get_address()) for _ in range(4)] == [f"239.255.0.{n}" for n in range(4)]
    with pytest.raises(IpsExhausted, match=r"all 4 addresses of 239\.255\.0\.0/30 are leased"):
        manager.get_address()


def test_leased_by_name_is_skipped_and_returned_comes_first() -> None:
    manager = IpLeaseManager(ip_network("10.0.0.0/29"))
    taken = manager.lease_address(IPv4Address("10.0.0.1"))
    assert str(manager.get_address()) == "10.0.0.0"
    assert str(manager.get_address()) == "10.0.0.2"
    assert manager.release_address(taken) == taken
    assert manager.get_address() == taken


def test_errors() -> None:
    manager = IpLeaseManager(ip_network("10.0.0.0/24"))
    address = manager.get_address()
    assert manager.address_is_leased(address)
    with pytest.raises(IpLeaseExists, match=r"10\.0\.0\.0 is already leased"):
        manager.lease_address(address)
    manager.release_address(address)
    assert not manager.address_is_leased(address)
    with pytest.raises(IpNotLeased):
        manager.release_address(address)
    for method in (manager.lease_address, manager.release_address, manager.address_is_leased):
        with pytest.raises(IpNotFound) as caught:
            method(IPv4Address("10.0.1.0"))
        assert str(caught.value) == "ip_address 10.0.1.0 is not in 10.0.0.0/24"
    with pytest.raises(IpNotFound):
        manager.lease_address(ip_address("::1"))


def test_a_huge_network_costs_nothing() -> None:
    manager = IpLeaseManager(ip_network("ff00::/8"))
    assert str(manager.get_address()) == "ff00::"
    manager.lease_address(ip_address("ff00::ffff:ffff:ffff"))


def test_returning_one_address_often_leaves_nothing_behind() -> None:
    manager = IpLeaseManager(ip_network("10.0.0.0/30"))
    address = manager.get_address()
    for _ in range(1000):
        manager.release_address(address)
        manager.lease_address(address)
    assert len(manager._returned) <= 4


@given(st.lists(st.tuples(st.sampled_from(["get", "lease", "release"]), st.integers(0, 7)), max_size=60))
def test_same_as_a_plain_set(steps: list[tuple[str, int]]) -> None:
    network = ip_network("10.0.0.0/29")
    addresses = list(network)
    manager, leased = IpLeaseManager(network), set()
    for step, index in steps:
        free = [address for address in addresses if address not in leased]
        if step == "get":
            if free:
                assert manager.get_address() == free[0]
                leased.add(free[0])
            else:
                with pytest.raises(IpsExhausted):
                    manager.get_address()
        elif step == "lease" and addresses[index] not in leased:
            manager.lease_address(addresses[index])
            leased.add(addresses[index])
        elif step == "release" and addresses[index] in leased:
            manager.release_address(addresses[index])
            leased.discard(addresses[index])
        assert all(manager.address_is_leased(address) == (address in leased) for address in addresses)
