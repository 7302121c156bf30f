# SPDX-License-Identifier: Apache-2.0
"""A program on a host that sends and hears bare datagrams, with the sockets of the ganglion.

{"do": "join", "group"}
{"do": "send", "group", "count", "size", "relay"}: numbered ones in runs; "sent" counts those that the system took
{"do": "heard", "group", "least", "within_s"}: the numbers that came, once there are so many, or not in time
{"do": "unreachable", "host"}: sends to a host that does not answer until the system takes no more
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time

from plexo._fast.datagrams import DatagramReader, DatagramWriter
from plexo.ganglion.multicast_sockets import (
    receive_socket,
    relay_socket,
    resolve_interface,
    send_socket,
    set_buffers,
)
from tests.multicast.child import report

PORT = 7000


def number(host: str) -> int:
    return int.from_bytes(socket.inet_aton(host), "big")


def main() -> None:
    interface = resolve_interface("eth0")
    sending, relaying = send_socket(interface, 1), relay_socket(interface)
    members: dict[str, socket.socket] = {}
    heard: dict[str, set[int]] = {}
    reader, writer = DatagramReader(), DatagramWriter()
    report("ready", default=resolve_interface(None).address)
    for line in sys.stdin:
        command = json.loads(line)
        group = command.get("group", "")
        if command["do"] == "join":
            members[group] = receive_socket(group, PORT, interface)
            set_buffers(members[group], 4 << 20, 65536)
            heard[group] = set()
            report("join")
        elif command["do"] == "send":
            size, fd = command["size"], (relaying if command["relay"] else sending).fileno()
            data = b"".join(n.to_bytes(4, "big") + bytes(size - 4) for n in range(command["count"]))
            taken = 0
            while taken < len(data):
                taken += writer.send(fd, number(group), PORT, data[taken:], size)
            report("send", sent=taken // size, divides=writer.divides)
        elif command["do"] == "heard":
            deadline = time.monotonic() + command["within_s"]
            while len(heard[group]) < command["least"] and time.monotonic() < deadline:
                select.select([members[group]], [], [], max(0, deadline - time.monotonic()))
                for data, segment, *_ in reader.read(members[group].fileno()):
                    heard[group].update(
                        int.from_bytes(data[at : at + 4], "big") for at in range(0, len(data), segment)
                    )
            report("heard", numbers=sorted(heard[group]))
        elif command["do"] == "unreachable":
            set_buffers(sending, 4096, 8192)
            blocked = 0
            for _ in range(1000):
                blocked += (
                    writer.send(sending.fileno(), number(command["host"]), PORT, bytes(1000), 1000) == 0
                )
            report("unreachable", blocked=blocked)


if __name__ == "__main__":
    main()
