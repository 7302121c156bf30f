# SPDX-License-Identifier: Apache-2.0
"""Datagrams that only those who share a key can make: behind each is a MAC, keyed BLAKE2b (RFC 7693)."""

from __future__ import annotations

import hmac
from hashlib import blake2b

MAC_BYTES = 16
MIN_KEY_BYTES = 16
MAX_KEY_BYTES = 64


class Key:
    """A key of 16 to 64 bytes. Raises ValueError for another length, TypeError for anything but bytes."""

    mac_size = MAC_BYTES

    def __init__(self, key: bytes) -> None:
        if not isinstance(key, bytes):
            raise TypeError(f"key: expected bytes, got {type(key).__name__}")
        if not MIN_KEY_BYTES <= len(key) <= MAX_KEY_BYTES:
            raise ValueError(f"key: expected {MIN_KEY_BYTES} to {MAX_KEY_BYTES} bytes, got {len(key)}")
        # Hashing the key itself is done once; each datagram goes on from a copy.
        self._begun = blake2b(digest_size=MAC_BYTES, key=key)

    def mac(self, datagram: bytes | memoryview) -> bytes:
        """What goes behind it."""
        state = self._begun.copy()
        state.update(datagram)
        return state.digest()

    def sign(self, datagram: bytes) -> bytes:
        """The datagram with its MAC."""
        return datagram + self.mac(datagram)

    def verified(self, datagram: bytes | memoryview) -> memoryview | None:
        """The datagram without its MAC; None where that is missing or wrong."""
        view = memoryview(datagram)
        if len(view) < MAC_BYTES or not hmac.compare_digest(self.mac(view[:-MAC_BYTES]), view[-MAC_BYTES:]):
            return None
        return view[:-MAC_BYTES]
