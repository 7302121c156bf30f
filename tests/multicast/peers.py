# SPDX-License-Identifier: Apache-2.0
"""What tests with several hosts share: starting peers, and waiting until they hear a group."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from typing import Any

from tests.multicast.child import PATIENCE_S, Child
from tests.multicast.network import Host

PORT = 5560
GROUP = "239.255.7.1"
TOPIC_OF = "dev.plexo.test.{}.bytes"
TOPIC = TOPIC_OF.format("Sample")


@contextlib.contextmanager
def zmq_peer(
    host: Host, role: str, *, group: str = GROUP, topic: str = TOPIC, **options: int
) -> Iterator[Child]:
    """A program with libzmq that is ready, and in the group."""
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    with Child(
        host, "tests.multicast.zmq_peer", role, group, PORT, topic, f"--interface={host.address}", *flags
    ) as child:
        child.expect("ready")
        wait_until_joined(host, group)
        yield child


def wait_until_joined(host: Host, *groups: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not host.groups() >= set(groups):
        assert time.monotonic() < deadline, f"{host} is in {host.groups()}, not in {groups}"
        time.sleep(0.01)


def send(
    child: Child, sender: int, count: int, *, first: int = 0, size: int = 64, pause_s: float = 0
) -> None:
    """Have a publisher send; returns when its library has taken all."""
    child.ask("send", sender=sender, first=first, count=count, size=size, pause_s=pause_s)


def until(child: Child, sender: int, last: int, patience_s: float = PATIENCE_S) -> dict[str, Any]:
    """The log of a subscriber as soon as it has that message, or has waited so long."""
    return child.ask("until", 2 * patience_s, sender=sender, last=last, within_s=patience_s)


@contextlib.contextmanager
def synapse_peer(host: Host, *, group: str = GROUP, **options: object) -> Iterator[Child]:
    """A program with SynapseZmqPlexoPubSubEPGM that is ready, and in the group."""
    flags = (f"--group={group}", f"--options={json.dumps(options)}")
    with Child(host, "tests.multicast.plexo_peer", "synapse", PORT, *flags) as child:
        child.expect("ready")
        wait_until_joined(host, group)
        yield child


@contextlib.contextmanager
def ganglion_peer(host: Host, **options: object) -> Iterator[Child]:
    """A program with GanglionPlexoMulticast that is ready."""
    with Child(
        host, "tests.multicast.plexo_peer", "ganglion", PORT, f"--options={json.dumps(options)}"
    ) as child:
        child.expect("ready")
        yield child
