# SPDX-License-Identifier: Apache-2.0
"""Types of the public interface. The protocols are in the submodules."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TypeVar, Union

__all__ = ["Decoder", "EncodedType", "Encoder", "IPAddress", "IPNetwork", "Signal", "UnencodedType"]

# What a codec makes: bytes-like, or text (JSON libraries do that), which is sent as UTF-8.
EncodedType = Union[bytes, bytearray, memoryview, str]  # noqa: UP007
UnencodedType = TypeVar("UnencodedType")
Signal = Union[EncodedType, UnencodedType]  # noqa: UP007
Decoder = Callable[[EncodedType], UnencodedType]
Encoder = Callable[[UnencodedType], EncodedType]
IPAddress = Union[IPv4Address, IPv6Address]  # noqa: UP007
IPNetwork = Union[IPv4Network, IPv6Network]  # noqa: UP007
