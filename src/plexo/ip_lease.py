# SPDX-License-Identifier: Apache-2.0
"""Who holds which address of a network.

A /8 has sixteen million addresses, so nothing is written down for those that were never leased: `_next` is
the lowest address that was never handed out in order, and returned addresses below it wait in a heap.
"""

from __future__ import annotations

import heapq

from plexo.exceptions import IpLeaseExists, IpNotFound, IpNotLeased, IpsExhausted
from plexo.typing import IPAddress, IPNetwork


class IpLeaseManager:
    """Leases the addresses of `ip_cidr`, all of them: first and last are addresses like any other.

    Memory is proportional to the leases, whatever the size of the network.
    """

    def __init__(self, ip_cidr: IPNetwork) -> None:
        self._network = ip_cidr
        self._first = ip_cidr.network_address
        self._size = ip_cidr.num_addresses
        self._leased: set[int] = set()
        self._next = 0
        self._returned: list[int] = []  # a heap; an index leased by name stays in it and is skipped later
        self._in_heap: set[int] = set()

    def lease_address(self, ip_address: IPAddress) -> IPAddress:
        """Leases this address and returns it. Raises IpLeaseExists, or IpNotFound outside the network."""
        index = self._index(ip_address)
        if index in self._leased:
            raise IpLeaseExists(f"ip_address {ip_address} is already leased")
        self._leased.add(index)
        return ip_address

    def release_address(self, ip_address: IPAddress) -> IPAddress:
        """Takes the address back and returns it. Raises IpNotLeased, or IpNotFound outside the network."""
        index = self._index(ip_address)
        if index not in self._leased:
            raise IpNotLeased(f"ip_address {ip_address} is not leased")
        self._leased.discard(index)
        if index < self._next and index not in self._in_heap:
            heapq.heappush(self._returned, index)
            self._in_heap.add(index)
        return ip_address

    def address_is_leased(self, ip_address: IPAddress) -> bool:
        """Whether the address is leased. Raises IpNotFound outside the network."""
        return self._index(ip_address) in self._leased

    def get_address(self) -> IPAddress:
        """Leases the lowest free address. Raises IpsExhausted if there is none."""
        while self._returned:
            index = heapq.heappop(self._returned)
            self._in_heap.discard(index)
            if index not in self._leased:
                return self._lease_index(index)
        while self._next < self._size:
            index = self._next
            self._next += 1
            if index not in self._leased:
                return self._lease_index(index)
        raise IpsExhausted(f"all {self._size} addresses of {self._network} are leased")

    def _lease_index(self, index: int) -> IPAddress:
        self._leased.add(index)
        return self._first + index

    def _index(self, ip_address: IPAddress) -> int:
        if ip_address not in self._network:
            raise IpNotFound(f"ip_address {ip_address} is not in {self._network}")
        return int(ip_address) - int(self._first)
