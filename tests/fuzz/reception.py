# SPDX-License-Identifier: Apache-2.0
"""A multicast source's packets in any order and with anything in them, to the one who receives it."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from plexo._proto.pgm.packets import MAX_SQNS, encode_ncf
from tests.pgm.sources import GROUP, NLA, PORT, TIMING, TSI, nak, ncf, odata, rdata, reception, spm, spmr
from tests.pgm.twins import MIDDLE, Twins
from tests.reference import pgm as slow_pgm

MOST_PACKETS, MOST_BYTES = 16, 500
STEP = 3
# From here on the first byte of a step is the size of a datagram behind it.
RAW = 128


def sequences(data: bytes) -> None:
    """Steps of three bytes (what, place, how much) to a reception and to the slow one."""
    first = data[:1] or b"\0"
    twins = Twins(1 + first[0] % 12, 60 << (first[0] >> 6), 2**32 - MIDDLE - 5 if first[0] & 32 else 0)
    for at in range(1, len(data) - STEP + 1, STEP):
        what, place, much = data[at], data[at + 1] - 128 + MIDDLE, data[at + 2]
        if what & 64:
            place = twins.slow.lead + 1 + (place - MIDDLE) % 4
        if what & 32:
            place -= 70_000
        match what & 7:
            case 0 | 1 | 2:
                twins.data(place, much * 8, repair=what & 7 == 2)
            case 3:
                twins.spm(place, much * 8)
            case 4:
                twins.ncf(place, 1 + much % MAX_SQNS)
            case 5:
                twins.give_up(place, 1 + much % 20)
            case 6:
                twins.stop(much % 4)
            case _:
                twins.resume()


def datagrams(data: bytes) -> None:
    """Datagrams behind their size, with a checksum that fits, and time that goes on: all of it has its limits."""
    target = reception(MOST_PACKETS, MOST_BYTES)
    policy = target.policy
    now, at = 0.0, 0
    while at < len(data):
        what = data[at]
        at += 1
        if what >= RAW:
            size = what - RAW
            datagram = data[at : at + size]
            at += size
            target.push(slow_pgm.sealed(datagram) if size >= 16 else datagram, now)
        elif what & 1:
            target.stop_after = target.messages + (what >> 1) % 4
        elif what & 2:
            target.stop_after = -1
            target.go_on(now)
        else:
            now += (what >> 2) / 1000
            if target.next_due <= now:
                sent = target.turn(now)
                assert len(sent) <= TIMING.naks_per_turn + 1
                assert now < target.next_due
        expected, trail, lead = target.position
        assert (trail - expected) % 2**32 < 2**31 and (lead + 1 - trail) % 2**32 < 2**31
        assert target.stored_packets <= MOST_PACKETS and target.ring_marks <= MOST_PACKETS
        # The next in sequence is taken whatever there is.
        assert target.stored_bytes <= MOST_BYTES + RAW
        spans = policy.spans  # type: ignore[attr-defined]
        # The ring's, and what is behind it; cut once more by each number of a list.
        assert len(spans) <= 2 * len(data)
        assert all(one.last < other.first for one, other in pairwise(spans))
        assert all(span.first <= span.last for span in spans)


def sequence_seeds() -> Iterable[bytes]:
    middle = 128
    in_sequence = b"".join(bytes([0, middle + number, 125]) for number in range(8))
    yield b"\x0b" + in_sequence
    yield b"\x2b" + in_sequence[:6] + in_sequence[9:] + bytes([2, middle + 2, 125])
    yield b"\xcb" + in_sequence[:6] + bytes([3, middle + 6, 125, 5, middle + 3, 2]) + in_sequence[15:]
    yield b"\x4b" + in_sequence[:3] + b"\6\0\2" + in_sequence[3:] + bytes([32, middle, 125]) + b"\7\0\0"
    yield b"\xe5" + in_sequence[:3] + bytes([64, middle + 2, 1, 4, middle + 9, 3]) + in_sequence[6:]


def datagram_seeds() -> Iterable[bytes]:
    def raw(*packets: bytes) -> bytes:
        return b"".join(bytes([RAW + len(each)]) + each for each in packets)

    yield (
        raw(spm(1, 0, -1), odata(0), odata(1), odata(4))
        + b"\4\4"
        + raw(ncf(2, 3), rdata(2), rdata(3))
        + b"\x50"
    )
    yield (
        raw(odata(0))
        + b"\x05"
        + raw(odata(1), odata(3), nak(2))
        + b"\x7c" * 30
        + b"\2"
        + raw(odata(9, trail=9))
    )
    yield raw(odata(0), odata(2), spm(2, 0, 5, fin=True)) + b"\x7c" * 60 + raw(spmr())
    yield raw(odata(2**31), odata(5), odata(2**30), spm(3, 7, 2**31 - 1), ncf(*range(9))) + b"\x7c\x7c"
    yield raw(odata(7), encode_ncf(TSI, PORT, range(8, 26), NLA, GROUP)) + b"\x7c" * 9
