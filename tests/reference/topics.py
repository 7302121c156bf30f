# SPDX-License-Identifier: Apache-2.0
"""FNV-1a, 64 bits (RFC 9923), slowly."""


def fnv1a_64(data: bytes) -> int:
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return value
