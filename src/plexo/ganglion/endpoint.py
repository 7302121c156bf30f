# SPDX-License-Identifier: Apache-2.0
"""Where sockets are bound and connected: `tcp://address:port`, `ipc://path`, or (address, port)."""

from __future__ import annotations

import os
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, NamedTuple, Union

from plexo.host_information import interface_address

EndpointLike = Union[str, "tuple[str | IPv4Address | IPv6Address, int]"]


class Endpoint(NamedTuple):
    """`host` and `port`, or `path` for ipc (`@name` is Linux's abstract namespace)."""

    host: str
    port: int
    path: str

    @property
    def is_ipc(self) -> bool:
        return bool(self.path)

    @property
    def family(self) -> int:
        if self.path:
            return int(socket.AF_UNIX)
        return int(socket.AF_INET6 if ":" in self.host else socket.AF_INET)

    @property
    def address(self) -> Any:
        """For the socket's bind and connect."""
        if not self.path:
            return (self.host, self.port)
        return "\0" + self.path[1:] if self.path.startswith("@") else self.path

    def __str__(self) -> str:
        if self.path:
            return f"ipc://{self.path}"
        return f"tcp://[{self.host}]:{self.port}" if ":" in self.host else f"tcp://{self.host}:{self.port}"


def parse_endpoint(given: EndpointLike, argument: str) -> Endpoint:
    """An endpoint from what the user gave; ValueError or TypeError naming `argument` and what was expected."""
    expected = "expected (address, port), 'tcp://address:port' or 'ipc://path'"
    if isinstance(given, str):
        scheme, separator, rest = given.partition("://")
        if separator and scheme == "ipc" and rest.strip("@"):
            if not hasattr(socket, "AF_UNIX"):
                raise ValueError(f"{argument}: ipc:// is not available on this system")
            try:
                path = os.fsencode(rest)
            except UnicodeEncodeError:
                raise ValueError(f"{argument}: {given!r} has a path that no file can have") from None
            if len(path) > 100:
                raise ValueError(f"{argument}: {given!r} has a path of more than 100 bytes")
            if b"\0" in path:
                raise ValueError(f"{argument}: {given!r} has a path with a NUL")
            return Endpoint("", 0, rest)
        host, separator, port = rest.rpartition(":")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        is_host = host and not {"[", "]"}.intersection(host)
        if scheme == "tcp" and separator and is_host and port.isascii() and port.isdigit() and len(port) <= 5:
            return tcp_endpoint(host, int(port), argument)
        raise ValueError(f"{argument}: {expected}, got {given!r}")
    if isinstance(given, tuple) and len(given) == 2:
        return tcp_endpoint(given[0], given[1], argument)
    raise TypeError(f"{argument}: {expected}, got {given!r}")


def tcp_endpoint(host: str | IPv4Address | IPv6Address, port: int, argument: str) -> Endpoint:
    """A TCP endpoint; `host` is an address or a name."""
    if isinstance(port, bool) or not isinstance(port, int):
        raise TypeError(f"{argument}: expected the port as an int, got {port!r}")
    if not 0 <= port <= 65535:
        raise ValueError(f"{argument}: expected a port from 0 to 65535, got {port}")
    if isinstance(host, (IPv4Address, IPv6Address)):
        return Endpoint(host.compressed, port, "")
    if not isinstance(host, str) or not host:
        raise TypeError(f"{argument}: expected an address or a host name, got {host!r}")
    return Endpoint(host, port, "")


def bind_endpoint(interface: str | IPv4Address | IPv6Address, port: int) -> Endpoint:
    """Where to bind: `interface` is an address, `*`, or an interface's name such as eth0."""
    if isinstance(interface, str):
        if interface == "*":
            interface = "0.0.0.0"
        else:
            try:
                ip_address(interface)
            except ValueError:
                interface = interface_address(interface)
    return tcp_endpoint(interface, port, "port")


def host_of(peer: str) -> str:
    """The peer without its port: ports change with every connection."""
    return peer.rpartition(":")[0] or peer


def describe(address: Any) -> str:
    """A peer's socket address, for logs and statistics."""
    if isinstance(address, tuple):
        host, port = address[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if isinstance(address, bytes):
        address = address.decode(errors="replace")
    return f"ipc:{address}" if address else "ipc"
