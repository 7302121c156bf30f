# SPDX-License-Identifier: Apache-2.0
"""What this host is called by others."""

from __future__ import annotations

import socket

_FALLBACK = "127.0.0.1"
_SIOCGIFADDR = 0x8915  # netdevice(7)


def get_primary_ip() -> str:
    """The IPv4 address this host uses towards others, as text; `127.0.0.1` if it has none.

    Connecting a UDP socket chooses the route and with it the local address; no packet is sent, and the
    private address asked for need not exist.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("10.255.255.255", 1))
            address = str(probe.getsockname()[0])
        except OSError:
            return _FALLBACK
    return _FALLBACK if address == "0.0.0.0" else address


def interface_address(name: str) -> str:
    """The IPv4 address of the network interface `name` (such as eth0); ValueError where there is none."""
    expected = "expected an IP address, '*', or the name of an interface that has an IPv4 address"
    try:
        import fcntl
    except ImportError:
        raise ValueError(f"bind_interface: {expected}, got {name!r}") from None
    request = name.encode()[:15].ljust(256, b"\0")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            answer = fcntl.ioctl(probe.fileno(), _SIOCGIFADDR, request)
        except OSError:
            raise ValueError(f"bind_interface: {expected}, got {name!r}") from None
    return socket.inet_ntoa(answer[20:24])
