# SPDX-License-Identifier: Apache-2.0
"""The decided registers: which slot belongs to which topic, with digests by which nodes see that they know the same."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from types import MappingProxyType

from plexo._proto.paxos.messages import BUCKETS

_BUCKET_BITS = 0xFFFFFFFF


def _mixed(slot: int, epoch: int, owner: bytes) -> int:
    hashed = blake2b(struct.pack(">IQ", slot, epoch) + owner, digest_size=8)
    return int.from_bytes(hashed.digest(), "big")


class RegisterMap:
    """Write once: slot to (owner, the epoch that decided it)."""

    def __init__(self) -> None:
        self._owners: dict[int, bytes] = {}
        self._epochs: dict[int, int] = {}
        self._slots: dict[bytes, int] = {}
        # Of each epoch: how many, and the exclusive or of their hashes. Of each bucket of slots the latter.
        self._sums: dict[int, tuple[int, int]] = {}
        self._buckets = [0] * BUCKETS
        self.digest = 0

    def __len__(self) -> int:
        return len(self._owners)

    @property
    def owners(self) -> Mapping[int, bytes]:
        return MappingProxyType(self._owners)

    def owner(self, slot: int) -> bytes | None:
        return self._owners.get(slot)

    def entry(self, slot: int) -> tuple[int, int, bytes]:
        """(slot, epoch, owner) of one that is decided."""
        return slot, self._epochs[slot], self._owners[slot]

    def slot_of(self, owner: bytes) -> int | None:
        return self._slots.get(owner)

    def learn(self, slot: int, epoch: int, owner: bytes) -> bool:
        """It is decided. False: that was known (what is decided once stays, whatever is said later)."""
        if slot in self._owners:
            return False
        self._owners[slot] = owner
        self._epochs[slot] = epoch
        self._slots[owner] = slot
        mixed = _mixed(slot, epoch, owner)
        count, total = self._sums.get(epoch, (0, 0))
        self._sums[epoch] = count + 1, total ^ mixed
        self._buckets[slot % BUCKETS] ^= mixed
        self.digest ^= mixed
        return True

    def before(self, epoch: int) -> tuple[int, int]:
        """Count and digest of what earlier epochs decided."""
        count = digest = 0
        for each, (number, total) in self._sums.items():
            if each < epoch:
                count += number
                digest ^= total
        return count, digest

    def buckets(self) -> bytes:
        return struct.pack(f">{BUCKETS}I", *(each & _BUCKET_BITS for each in self._buckets))

    def differing(self, buckets: bytes) -> Iterator[tuple[int, int, bytes]]:
        """The registers (slot, epoch, owner) of the buckets that are not like these."""
        ours = self.buckets()
        different = {
            number
            for number in range(BUCKETS)
            if ours[4 * number : 4 * number + 4] != buckets[4 * number : 4 * number + 4]
        }
        for slot, owner in self._owners.items():
            if slot % BUCKETS in different:
                yield slot, self._epochs[slot], owner

    def sum_with(self, more: Mapping[int, bytes], epoch: int) -> tuple[int, int]:
        """Count and digest of these and of more that an epoch decided."""
        digest = self.digest
        for slot, owner in more.items():
            digest ^= _mixed(slot, epoch, owner)
        return len(self) + len(more), digest

    def renewed(self) -> RegisterMap:
        """The same, as what was there before the first epoch of a lineage."""
        fresh = RegisterMap()
        for slot, owner in self._owners.items():
            fresh.learn(slot, 0, owner)
        return fresh
