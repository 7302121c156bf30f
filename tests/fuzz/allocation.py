# SPDX-License-Identifier: Apache-2.0
"""Control datagrams of the allocation, to a node alone in its council and to one without a lineage."""

from __future__ import annotations

import random
from collections.abc import Iterable

from plexo._proto.paxos import messages
from plexo._proto.paxos.messages import (
    Approval,
    Change,
    Heartbeat,
    Inquiry,
    Offers,
    Preparation,
    Promise,
    Proposal,
    Registers,
    Rejection,
    View,
    owner_of,
)
from plexo._proto.paxos.node import Node
from plexo._proto.paxos.timing import Timing


def _member() -> Node:
    node = Node(7, 64, random.Random(1), Timing(), 0.0)
    for now in (0.0, 0.7, 1.4):
        node.advance(now)
    node.take_datagrams()
    assert node.view is not None
    return node


_LINEAGE = (_member().view or View(1, 1, (7,), 0, 0)).lineage


def run(data: bytes) -> None:
    """Raises where a node does, or where it says more than fits."""
    for node in (_member(), Node(7, 64, random.Random(1), Timing(), 0.0)):
        node.want("org.a.B", 1.5)
        for now in (1.5, 1.6):
            node.receive(data, now)
        node.advance(2.0)
        for datagram in node.take_datagrams():
            assert len(datagram) <= messages.MAX_DATAGRAM_BYTES
            assert not isinstance(messages.decode(datagram), str), "a node says what it does not read"


def seeds() -> Iterable[bytes]:
    view, owner, ballot = View(_LINEAGE, 1, (7,), 0, 0), owner_of("org.a.B"), (3, 9)
    next_view = View(_LINEAGE, 2, (7, 9), 0, 0)
    for message in (
        Heartbeat(9, view, 200, 1, 0, 0, (), 1, False),
        Heartbeat(9, None, 200, 1, 0, 0, (7,), 0, False),
        Heartbeat(9, next_view, 200, 2, 1, 5, (), 0, True),
        Preparation(9, _LINEAGE, 1, 3, (32, 40)),
        Preparation(9, _LINEAGE, 1, 3, ()),
        Promise(7 + 2, _LINEAGE, 1, ballot, (33,), ((32, 2, 9, owner),), False, None, None, 0, 0),
        Promise(9, _LINEAGE, 1, (1, 7), (), (), True, ballot, Change(next_view, ((32, owner),)), 0, 0),
        Rejection(9, _LINEAGE, 1, (1, 7), (32,), 8),
        Proposal(9, _LINEAGE, 1, 3, ((32, owner),), None),
        Proposal(9, _LINEAGE, 1, 3, (), Change(next_view, ((32, owner),))),
        Approval(9, _LINEAGE, 1, (1, 7), (32,), False),
        Registers(9, _LINEAGE, ((32, 1, owner), (33, 0, owner_of("b")))),
        Inquiry(9, 7, _LINEAGE, bytes(4 * messages.BUCKETS)),
        Inquiry(9, 7, 0, b""),
        Offers(9, 1, 0, 1, ("org.a.B",)),
    ):
        yield messages.encode(message)
