# SPDX-License-Identifier: Apache-2.0
"""Serial arithmetic over 32 bits (RFC 1982): sequence numbers go round, so only near ones have an order.

Numbers that are 2**31 apart have none: each is then before the other.
"""

from __future__ import annotations

MODULUS = 1 << 32
HALF = 1 << 31


def before(a: int, b: int) -> bool:
    """Whether ``b`` lies ahead of ``a``, by at most 2**31."""
    return (a - b) & HALF != 0


def distance(a: int, b: int) -> int:
    """How far it is from ``a`` forward to ``b``, from -2**31 to 2**31 - 1; negative if ``b`` is before."""
    return ((b - a + HALF) % MODULUS) - HALF


def advance(a: int, count: int) -> int:
    """The number ``count`` behind ``a``; ``count`` may be negative."""
    return (a + count) % MODULUS


def successor(a: int) -> int:
    return (a + 1) % MODULUS


def predecessor(a: int) -> int:
    return (a - 1) % MODULUS
