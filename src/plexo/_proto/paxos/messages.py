# SPDX-License-Identifier: Apache-2.0
"""What nodes say to each other: MessagePack behind a version byte, in datagrams below 1,400 bytes.

Instances, lineages and digests are numbers of 64 bits. A ballot is (round, instance of its proposer); epochs are not
in it, since nothing of another epoch is acted on. Topics stand in registers as 16 bytes of BLAKE2b.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from typing import Annotated, Any, TypeAlias

import msgspec
from msgspec import Meta

from plexo._proto.paxos.timing import MAX_COUNCIL

VERSION = 2
MAX_DATAGRAM_BYTES = 1400
OWNER_BYTES = 16
# Entries of one message; each kind stays below the size of a datagram with them.
MAX_SLOTS = 100
MAX_VALUES = 32
# What one voter has accepted and does not know to be decided: a change of the council carries over what all of them
# have.
MAX_ACCEPTED = 7
MAX_CARRIED = MAX_ACCEPTED * MAX_COUNCIL
MAX_HEARD = 16
BUCKETS = 64
MAX_TOPICS = 64
MAX_TOPIC_BYTES = 1000
MAX_PAGES = 4096

U64: TypeAlias = Annotated[int, Meta(ge=0)]  # msgspec reads no more than 64 bits unsigned
Instance: TypeAlias = Annotated[int, Meta(ge=1)]
Slot: TypeAlias = Annotated[int, Meta(ge=0, lt=1 << 28)]
Round: TypeAlias = Annotated[int, Meta(ge=0, lt=1 << 48)]
Epoch: TypeAlias = Annotated[int, Meta(ge=0, lt=1 << 32)]
Owner: TypeAlias = Annotated[bytes, Meta(min_length=OWNER_BYTES, max_length=OWNER_BYTES)]
Ballot: TypeAlias = tuple[Round, Instance]
Slots: TypeAlias = Annotated[tuple[Slot, ...], Meta(max_length=MAX_SLOTS)]


def owner_of(topic: str) -> bytes:
    """What stands in a register for a topic."""
    return blake2b(topic.encode(), digest_size=OWNER_BYTES).digest()


class _Message(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    sender: Instance


class View(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Who votes: the council of an epoch of a lineage. ``count`` and ``digest`` are of the registers that earlier
    epochs decided, which a voter has to know."""

    lineage: Instance
    epoch: Epoch
    council: Annotated[tuple[Instance, ...], Meta(min_length=1, max_length=MAX_COUNCIL)]
    count: U64
    digest: U64


class Change(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The next epoch: its view, and what the one before decides by it."""

    view: View
    carried: Annotated[tuple[tuple[Slot, Owner], ...], Meta(max_length=MAX_CARRIED)]


class Heartbeat(_Message, frozen=True, tag=0):
    """``view`` None: it has no lineage yet; then it says whom it hears. ``beats`` it has said so far. ``offers``: the
    version of what it publishes, 0: nothing."""

    view: View | None
    interval_ms: Annotated[int, Meta(ge=1, le=1 << 22)]
    beats: U64
    count: U64
    digest: U64
    hears: Annotated[tuple[Instance, ...], Meta(max_length=MAX_HEARD)]
    offers: U64
    leaving: bool


class Preparation(_Message, frozen=True, tag=1):
    """Asks for promises: of slots, or, where there are none, of the next council."""

    lineage: Instance
    epoch: Epoch
    round: Round
    slots: Slots


class Promise(_Message, frozen=True, tag=2):
    """``free`` slots have nothing accepted. For the next council: what is accepted and not known to be decided, the
    change that is accepted, and count and digest of the decided registers."""

    lineage: Instance
    epoch: Epoch
    ballot: Ballot
    free: Slots
    accepted: Annotated[tuple[tuple[Slot, Round, Instance, Owner], ...], Meta(max_length=MAX_VALUES)]
    of_change: bool
    change_ballot: Ballot | None
    change: Change | None
    count: U64
    digest: U64


class Rejection(_Message, frozen=True, tag=3):
    """A higher round was promised: of these slots, or, where there are none, of the next council."""

    lineage: Instance
    epoch: Epoch
    ballot: Ballot
    slots: Slots
    promised: Round


class Proposal(_Message, frozen=True, tag=4):
    lineage: Instance
    epoch: Epoch
    round: Round
    values: Annotated[tuple[tuple[Slot, Owner], ...], Meta(max_length=MAX_VALUES)]
    change: Change | None


class Approval(_Message, frozen=True, tag=5):
    lineage: Instance
    epoch: Epoch
    ballot: Ballot
    slots: Slots
    of_change: bool


class Registers(_Message, frozen=True, tag=6):
    """Decided: (slot, the epoch that decided it, owner)."""

    lineage: Instance
    values: Annotated[tuple[tuple[Slot, Epoch, Owner], ...], Meta(max_length=MAX_VALUES)]


class Inquiry(_Message, frozen=True, tag=7):
    """Asks one node for the registers in which it differs, by 4 bytes for each bucket of slots, or (none) for its
    offers."""

    to: Instance
    lineage: U64
    buckets: Annotated[bytes, Meta(max_length=4 * BUCKETS)]


class Offers(_Message, frozen=True, tag=8):
    """A page of the topics that a node publishes."""

    version: Instance
    page: Annotated[int, Meta(ge=0, lt=MAX_PAGES)]
    pages: Annotated[int, Meta(ge=1, le=MAX_PAGES)]
    topics: Annotated[
        tuple[Annotated[str, Meta(max_length=MAX_TOPIC_BYTES)], ...], Meta(max_length=MAX_TOPICS)
    ]


Message: TypeAlias = (
    Heartbeat | Preparation | Promise | Rejection | Proposal | Approval | Registers | Inquiry | Offers
)

_decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(Message)
_encoder = msgspec.msgpack.Encoder()


def encode(message: Message) -> bytes:
    return bytes((VERSION,)) + _encoder.encode(message)


def decode(datagram: bytes) -> Message | str:
    """A message, or a short token for what is wrong."""
    if not datagram:
        return "empty"
    if len(datagram) > MAX_DATAGRAM_BYTES:
        return "too-large"
    if datagram[0] != VERSION:
        return "unknown-version"
    try:
        message: Message = _decoder.decode(memoryview(datagram)[1:])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "malformed"
    return message


def slots_of(message: Message) -> Iterator[int]:
    """Every slot that a message names."""
    if isinstance(message, Preparation | Rejection | Approval):
        yield from message.slots
    elif isinstance(message, Registers):
        yield from (slot for slot, _, _ in message.values)
    elif isinstance(message, Proposal):
        yield from (slot for slot, _ in message.values)
        yield from _slots_of_change(message.change)
    elif isinstance(message, Promise):
        yield from message.free
        yield from (slot for slot, _, _, _ in message.accepted)
        yield from _slots_of_change(message.change)


def _slots_of_change(change: Change | None) -> Iterator[int]:
    if change is not None:
        yield from (slot for slot, _ in change.carried)
