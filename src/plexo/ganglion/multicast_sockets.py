# SPDX-License-Identifier: Apache-2.0
"""The sockets of multicast: which interface, which group, and what differs between systems. None of them blocks.

Receiving, a socket is bound to its group, so that it gets nothing of another group that somebody on this host has
joined; one socket for each group also knows no limit of memberships (Linux: 20 for one socket).
"""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
from ipaddress import IPv4Address, IPv4Network, ip_address, ip_network
from typing import NamedTuple

from plexo.exceptions import IpAddressIsNotMulticast
from plexo.host_information import get_primary_ip, interface_address

# Reserved slots, and at least one group for a topic.
MIN_BLOCK_ADDRESSES = 33

# Linux numbers that Python's socket module does not have everywhere.
_IP_MULTICAST_ALL = 49
_SOL_UDP = 17
_UDP_GRO = 104
_SO_RCVBUFFORCE = 33
_SO_SNDBUFFORCE = 32
# What limits the sizes of buffers: receiving, sending.
_LINUX_LIMITS = ("net.core.rmem_max", "net.core.wmem_max")
_OTHER_LIMITS = ("kern.ipc.maxsockbuf", "kern.ipc.maxsockbuf")
# Administratively scoped (RFC 2365), as the groups of topics are: which way would it go?
_PROBED_GROUP = "239.255.0.0"
# Expedited forwarding: switches that know queues put it first; and as libzmq sends it.
_TOS = 0xB8


class Interface(NamedTuple):
    """A network interface: its name (or address, where the name is not known) and its IPv4 address."""

    name: str
    address: str


def resolve_interface(bind_interface: object) -> Interface:
    """Of an IPv4 address, an interface's name, or None: the one that groups are routed to, without such a route the
    primary one, without a network the loopback. Raises ValueError, TypeError."""
    if bind_interface is None:
        address = _routed_address() or get_primary_ip()
    elif isinstance(bind_interface, IPv4Address):
        address = str(bind_interface)
    elif isinstance(bind_interface, str):
        try:
            address = str(IPv4Address(bind_interface))
        except ValueError:
            return Interface(bind_interface, interface_address(bind_interface))
    else:
        raise TypeError(
            f"bind_interface: expected an IPv4 address or the name of an interface, got {bind_interface!r}"
        )
    if address == "0.0.0.0":
        raise ValueError("bind_interface: expected one interface for multicast, got 0.0.0.0 (all of them)")
    return Interface(address, address)


def _routed_address() -> str:
    """Our address towards groups; empty where there is no route. Connecting sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((_PROBED_GROUP, 1))
            address = str(probe.getsockname()[0])
        except OSError:
            return ""
    return "" if address == "0.0.0.0" else address


def resolve_block(multicast_cidr: object) -> IPv4Network:
    """The groups that topics share. IpAddressIsNotMulticast, ValueError: what it must be."""
    try:
        block = ip_network(multicast_cidr) if isinstance(multicast_cidr, str) else multicast_cidr
    except ValueError as error:
        raise ValueError(
            f"multicast_cidr: expected a network such as 239.255.0.0/16, got {multicast_cidr!r}: {error}"
        ) from None
    if not isinstance(block, IPv4Network):
        raise ValueError(
            f"multicast_cidr: expected an IPv4 network such as 239.255.0.0/16, got {multicast_cidr!r}"
        )
    if not block.is_multicast:
        raise IpAddressIsNotMulticast(f"multicast_cidr: expected a part of 224.0.0.0/4, got {block}")
    if block.num_addresses < MIN_BLOCK_ADDRESSES:
        raise ValueError(
            f"multicast_cidr: expected at least {MIN_BLOCK_ADDRESSES} addresses (32 are reserved), got {block}"
        )
    return block


def resolve_group(multicast_address: object) -> str:
    """One group. IpAddressIsNotMulticast: it is none."""
    try:
        address: object = ip_address(multicast_address)  # type: ignore[arg-type]
    except ValueError:
        address = None
    if not isinstance(address, IPv4Address) or not address.is_multicast:
        raise IpAddressIsNotMulticast(
            f"multicast_address: expected an IPv4 address in 224.0.0.0/4, got {multicast_address!r}"
        )
    return str(address)


def _udp(*, share: bool) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setblocking(False)
    if share:
        # Linux: all that share a group's port hear what comes; libzmq sets REUSEPORT, so both are needed beside it.
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "SO_REUSEPORT"):
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    return made


def _linux_options(made: socket.socket) -> None:
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError):
        made.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
    with contextlib.suppress(OSError):  # before Linux 5.0
        made.setsockopt(_SOL_UDP, _UDP_GRO, 1)


def receive_socket(group: str, port: int, interface: Interface) -> socket.socket:
    """Joined to `group` on one interface, and bound to it. Raises OSError."""
    made = _udp(share=True)
    try:
        _linux_options(made)
        # Windows binds no group; there a socket may hear other groups of this host, and the topic tells.
        made.bind(("" if sys.platform == "win32" else group, port))
        request = struct.pack("4s4s", socket.inet_aton(group), socket.inet_aton(interface.address))
        made.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
    except BaseException:
        made.close()
        raise
    return made


def nak_socket(interface: Interface, port: int) -> socket.socket:
    """For what is sent to this host alone: more specific than those of libzmq, bound to any address. Raises OSError."""
    made = _udp(share=True)
    try:
        _linux_options(made)
        made.bind((interface.address, port))
    except BaseException:
        made.close()
        raise
    return made


def send_socket(interface: Interface, ttl: int) -> socket.socket:
    """For groups and addresses by one interface; other programs of this host hear it too. Raises OSError."""
    made = _udp(share=False)
    try:
        made.bind((interface.address, 0))
        made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(interface.address))
        made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, ttl)
        made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
        with contextlib.suppress(OSError):
            made.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, _TOS)
    except BaseException:
        made.close()
        raise
    return made


def relay_socket(interface: Interface) -> socket.socket:
    """For other programs on this host alone: a TTL of 0. Raises OSError."""
    return send_socket(interface, 0)


def set_buffers(made: socket.socket, receive_bytes: int, send_bytes: int) -> str | None:
    """Ask for buffers of such sizes; where the system gives less, a text that says what would help."""
    linux = sys.platform == "linux"
    limits = _LINUX_LIMITS if linux else _OTHER_LIMITS
    short = []
    for name, option, force, limit, wanted in (
        ("receive", socket.SO_RCVBUF, _SO_RCVBUFFORCE, limits[0], receive_bytes),
        ("send", socket.SO_SNDBUF, _SO_SNDBUFFORCE, limits[1], send_bytes),
    ):
        with contextlib.suppress(OSError):  # above the limit, in the BSDs
            made.setsockopt(socket.SOL_SOCKET, option, wanted)
        given = _buffer_bytes(made, option)
        if linux and given < wanted:
            with contextlib.suppress(OSError):  # takes a privilege
                made.setsockopt(socket.SOL_SOCKET, force, wanted)
            given = _buffer_bytes(made, option)
        if given < wanted:
            short.append(f"the {name} buffer has {given} of {wanted} bytes: raise {limit}")
    return "; ".join(short) or None


def _buffer_bytes(made: socket.socket, option: int) -> int:
    # Linux says the double of what it gives.
    return made.getsockopt(socket.SOL_SOCKET, option) // (2 if sys.platform == "linux" else 1)
