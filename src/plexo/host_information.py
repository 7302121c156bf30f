# SPDX-License-Identifier: Apache-2.0
"""What this host is called by others."""

from __future__ import annotations

import socket

_FALLBACK = "127.0.0.1"


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
