# SPDX-License-Identifier: Apache-2.0
"""What nodes say: bounds, malformed bytes, and that nothing that arrives makes a node raise."""

from __future__ import annotations

import random
from collections.abc import Iterable

import msgspec
import pytest

from plexo._proto.paxos.homes import probes
from plexo._proto.paxos.members import MAX_MEMBERS
from plexo._proto.paxos.messages import (
    MAX_ACCEPTED,
    MAX_CARRIED,
    MAX_DATAGRAM_BYTES,
    MAX_HEARD,
    MAX_SLOTS,
    MAX_VALUES,
    VERSION,
    Approval,
    Change,
    Heartbeat,
    Message,
    Offers,
    Preparation,
    Promise,
    Proposal,
    Registers,
    Rejection,
    View,
    decode,
    encode,
)
from plexo._proto.paxos.node import Node
from plexo._proto.paxos.registers import RegisterMap
from tests.fuzz import allocation
from tests.paxos.network import TIMING

MOST = (1 << 64) - 1
SLOT, ROUND, EPOCH = (1 << 28) - 1, (1 << 48) - 1, (1 << 32) - 1
OWNER = b"\xff" * 16
COUNCIL = tuple(MOST - n for n in range(7))
VIEW = View(MOST, EPOCH, COUNCIL, MOST, MOST)
CHANGE = Change(VIEW, ((SLOT, OWNER),) * MAX_CARRIED)
BALLOT = (ROUND, MOST)
SLOTS = (SLOT,) * MAX_SLOTS

LARGEST: dict[str, Message] = {
    "heartbeat": Heartbeat(MOST, VIEW, 1 << 22, MOST, MOST, MOST, (), MOST, True),
    "heartbeat-alone": Heartbeat(MOST, None, 1 << 22, MOST, MOST, MOST, (MOST,) * MAX_HEARD, MOST, True),
    "preparation": Preparation(MOST, MOST, EPOCH, ROUND, SLOTS),
    "promise": Promise(
        MOST, MOST, EPOCH, BALLOT, (), ((SLOT, ROUND, MOST, OWNER),) * MAX_VALUES, False, None, None, 0, 0
    ),
    "promise-of-change": Promise(
        MOST, MOST, EPOCH, BALLOT, (), ((SLOT, ROUND, MOST, OWNER),) * MAX_ACCEPTED, True, None, None, MOST, MOST
    ),
    "rejection": Rejection(MOST, MOST, EPOCH, BALLOT, SLOTS, ROUND),
    "proposal": Proposal(MOST, MOST, EPOCH, ROUND, ((SLOT, OWNER),) * MAX_VALUES, None),
    "proposal-of-change": Proposal(MOST, MOST, EPOCH, ROUND, (), CHANGE),
    "promise-with-change": Promise(
        MOST, MOST, EPOCH, BALLOT, (), (), True, BALLOT, CHANGE, MOST, MOST
    ),
    "approval": Approval(MOST, MOST, EPOCH, BALLOT, SLOTS, False),
    "registers": Registers(MOST, MOST, ((SLOT, EPOCH, OWNER),) * MAX_VALUES),
}  # fmt: skip


@pytest.mark.parametrize("name", LARGEST)
def test_the_largest_fit_and_are_read_again(name: str) -> None:
    datagram = encode(LARGEST[name])
    assert len(datagram) < MAX_DATAGRAM_BYTES
    assert decode(datagram) == LARGEST[name]


def test_malformed_datagrams_have_tokens() -> None:
    good = encode(LARGEST["heartbeat"])
    assert decode(b"") == "empty"
    assert decode(good + bytes(MAX_DATAGRAM_BYTES)) == "too-large"
    assert decode(b"\x09" + good[1:]) == "unknown-version"
    assert {decode(good[:size]) for size in range(1, len(good))} == {"malformed"}
    assert decode(good + b"\0") == "malformed"
    pack = msgspec.msgpack.encode
    for wrong in (
        [0, 0],
        [99, 1],
        [1, 1, 1, -1, 1, []],
        [1, 0, 1, 1, 1, []],
        [6, 1, 1, [[1, 1, b"short"]]],
        {},
        None,
    ):
        assert decode(bytes((VERSION,)) + pack(wrong)) == "malformed"


def test_no_bytes_make_a_node_raise(rng: random.Random) -> None:
    seeds = list(allocation.seeds())
    for _ in range(3000):
        data = bytearray(rng.choice(seeds))
        for _ in range(rng.randrange(4)):
            if data:
                data[rng.randrange(len(data))] = rng.randrange(256)
        allocation.run(bytes(data))


def test_floods_of_forged_instances_stay_bounded() -> None:
    node = Node(1, 64, random.Random(1), TIMING, 0.0)
    for instance in range(2, MAX_MEMBERS + 1000):
        node.receive(encode(Heartbeat(instance, None, 200, 1, 0, 0, (), 0, False)), 0.0)
        node.take_datagrams()
        node.take_events()
    assert len(node.members) == MAX_MEMBERS


def test_offers_of_all_members_stay_within_their_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plexo._proto.paxos.members.MAX_OFFERED_BYTES", 100_000)
    node = Node(1, 64, random.Random(1), TIMING, 0.0)
    members = node._members
    page = tuple(f"{n:0500}" for n in range(2))
    for instance in range(2, 60):
        for version in (1, 2):
            beat = Heartbeat(instance, None, 200, version, 0, 0, (), version, False)
            assert node.receive(encode(beat), 0.0) is None
            for number in range(3):
                assert node.receive(encode(Offers(instance, version, number, 3, page)), 0.0) is None
    assert 50_000 < members.offered_bytes <= 100_000
    known = [each for each in members if each.published]
    assert 5 < len(known) < 58
    assert all(each.published == 3 * page for each in known)
    for instance in range(2, 60):
        node.receive(encode(Heartbeat(instance, None, 200, 3, 0, 0, (), 3, True)), 0.0)
    assert (len(members), members.offered_bytes) == (0, 0)


def test_slots_outside_of_the_block_are_refused() -> None:
    node = Node(1, 64, random.Random(1), TIMING, 0.0)
    view = View(1, 1, (2,), 0, 0)
    assert node.receive(encode(Heartbeat(2, view, 200, 1, 0, 0, (), 0, False)), 0.0) is None
    change = Change(view, ((64, OWNER),))
    ballot = (1, 2)
    for slot in (0, 31, 64, SLOT):
        for message in (
            Registers(2, 1, ((40, 1, OWNER), (slot, 1, OWNER))),
            Preparation(2, 1, 1, 1, (slot,)),
            Rejection(2, 1, 1, ballot, (slot,), 1),
            Approval(2, 1, 1, ballot, (slot,), False),
            Proposal(2, 1, 1, 1, ((slot, OWNER),), None),
            Promise(2, 1, 1, ballot, (slot,), (), False, None, None, 0, 0),
            Promise(2, 1, 1, ballot, (), ((slot, 1, 2, OWNER),), False, None, None, 0, 0),
        ):
            assert node.receive(encode(message), 0.0) == "foreign-slot"
    assert node.receive(encode(Proposal(2, 1, 1, 1, (), change)), 0.0) == "foreign-slot"
    assert (
        node.receive(encode(Promise(2, 1, 1, ballot, (), (), True, ballot, change, 0, 0)), 0.0)
        == "foreign-slot"
    )
    assert not node.registers
    assert node.receive(encode(Registers(2, 1, ((40, 1, OWNER),))), 0.0) is None
    assert dict(node.registers) == {40: OWNER}


def registers(values: Iterable[tuple[int, int, bytes]]) -> RegisterMap:
    result = RegisterMap()
    for value in values:
        result.learn(*value)
    return result


def test_digests_depend_on_contents_and_not_on_their_order(rng: random.Random) -> None:
    values = [(slot, slot % 3, rng.randbytes(16)) for slot in range(32, 200)]
    other = rng.sample(values, len(values))
    assert registers(values).digest == registers(other).digest
    assert registers(values).buckets() == registers(other).buckets()
    assert registers(values[1:]).digest != registers(values).digest
    assert next(iter(registers(values).differing(registers(values[1:]).buckets()))) == values[0]
    assert registers(values).before(1) == (56, registers([each for each in values if not each[1]]).digest)
    once = registers(values)
    assert not once.learn(32, 7, bytes(16)) and once.owner(32) == values[0][2]


def test_probes() -> None:
    # The hashes are those of RFC 9923.
    assert next(probes("a", 32 + (1 << 20))) == 32 + 0xAF63DC4C8601EC8C % (1 << 20)
    assert list(probes("a", 36)) == [32, 33, 34, 35]
    assert list(probes("foobar", 132))[:2] == [
        32 + 0x85944171F73967E8 % 100,
        32 + (0x85944171F73967E8 + 1) % 100,
    ]
    assert sorted(probes("foobar", 132)) == list(range(32, 132))
