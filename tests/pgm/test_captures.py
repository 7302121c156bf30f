# SPDX-License-Identifier: Apache-2.0
"""What libzmq with OpenPGM sent, read by our parser and deframer.

Its messages have one part in all captures but one, so the deframer has to find fault with each of them and nothing
else; the same payloads in two parts, packed alike, must then be delivered.
"""

from __future__ import annotations

import itertools
from collections import Counter
from functools import cache

import pytest

from plexo._fast.deframer import Probe
from plexo._proto.pgm.packets import (
    Packet,
    PacketType,
    Tsi,
    encode_data,
    encode_nak,
    encode_ncf,
    encode_spm,
    parse,
)
from plexo._proto.pgm.serial import successor
from tests.pgm.captures import CAPTURES, NAMES, Datagram, datagrams
from tests.pgm.sources import ADDRESS, reception
from tests.reference import pgm as slow
from tests.reference.deframer import MORE, frame, message, pack, read_head

GSI = bytes.fromhex("b7c6d1bc038a")
# libzmq leaves room for an option that it never sends.
LIBZMQ_TSDU = 1428
# Messages of each capture by the number of their payload bytes.
MESSAGES = {
    "burst20.ns2": {16: 20},
    "clean20.ns2": {16: 20},
    "heartbeat.ns3": {16: 1},
    "large.ns2": {10000: 4},
    "latejoin.ns2": {3000: 40},
    "loss35pct.ns1": {16: 60},
    "mcnak.ns1": {16: 60},
    "multipart.ns2": {16: 12},
}
PORTS = {"heartbeat.ns3": 5571}
PACKETS = {
    "burst20.ns2": {PacketType.SPM: 11, PacketType.ODATA: 1},
    "clean20.ns2": {PacketType.SPM: 12, PacketType.ODATA: 20},
    "heartbeat.ns3": {PacketType.SPM: 18, PacketType.ODATA: 1},
    "large.ns2": {PacketType.SPM: 12, PacketType.ODATA: 32},
    "latejoin.ns2": {PacketType.SPM: 13, PacketType.ODATA: 120, PacketType.SPMR: 2},
    "loss35pct.ns1": {
        PacketType.SPM: 11,
        PacketType.ODATA: 60,
        PacketType.NAK: 25,
        PacketType.NCF: 25,
        PacketType.RDATA: 31,
    },
    "mcnak.ns1": {
        PacketType.SPM: 12,
        PacketType.ODATA: 60,
        PacketType.NAK: 6,
        PacketType.NCF: 6,
        PacketType.RDATA: 6,
    },
    "multipart.ns2": {PacketType.SPM: 11, PacketType.ODATA: 12},
}


@cache
def packets(name: str) -> list[tuple[Datagram, Packet]]:
    return [(each, parse(each.payload)) for each in datagrams(name)]


@cache
def tsdus(name: str) -> list[bytes]:
    """In sequence, without gaps."""
    by_sqn = {packet.sqn: packet.tsdu for _, packet in packets(name) if packet.tsdu}
    assert sorted(by_sqn) == list(range(len(by_sqn)))
    return [by_sqn[sqn] for sqn in sorted(by_sqn)]


@cache
def parts(name: str) -> list[list[bytes]]:
    """The messages, by reading the stream frame by frame without a look at offsets."""
    stream = b"".join(each[2:] for each in tsdus(name))
    found: list[list[bytes]] = [[]]
    while stream:
        size, more, rest = read_head(stream)
        found[-1].append(rest[:size])
        assert len(rest) >= size
        stream = rest[size:]
        if not more:
            found.append([])
    assert found.pop() == []
    return found


def test_all_captures_are_here() -> None:
    assert set(NAMES) == set(MESSAGES) == set(PACKETS)
    assert sum(path.stat().st_size for path in CAPTURES.iterdir()) < 300_000


@pytest.mark.parametrize("name", NAMES)
def test_every_packet_parses_and_its_checksum_is_good(name: str) -> None:
    assert Counter(packet.type for _, packet in packets(name)) == PACKETS[name]
    port = PORTS.get(name, 5561)
    for datagram, packet in packets(name):
        assert slow.sealed(datagram.payload) == datagram.payload
        assert packet.port == datagram.port == port
        assert packet.tsi.gsi == GSI and packet.tsi == packets(name)[0][1].tsi
        if packet.nla is not None:
            assert packet.nla == "10.77.0.1"
        if packet.group is not None:
            assert packet.group == "239.255.0.1"


@pytest.mark.parametrize("name", NAMES)
def test_our_encoders_write_what_libzmq_wrote(name: str) -> None:
    """To the byte."""
    for datagram, packet in packets(name):
        wire = datagram.payload
        if packet.type in (PacketType.ODATA, PacketType.RDATA):
            ours = encode_data(packet.type, packet.tsi, packet.port, packet.sqn, packet.trail, packet.tsdu)
        elif packet.type is PacketType.SPM:
            assert packet.nla is not None
            ours = encode_spm(
                packet.tsi, packet.port, packet.sqn, packet.trail, packet.lead, packet.nla, packet.fin
            )
        elif packet.type in (PacketType.NAK, PacketType.NCF):
            assert packet.nla is not None and packet.group is not None
            encode = encode_nak if packet.type is PacketType.NAK else encode_ncf
            ours = encode(packet.tsi, packet.port, packet.sqns, packet.nla, packet.group)
        else:
            continue
        assert ours == wire


@pytest.mark.parametrize("name", NAMES)
def test_spms_count_up_and_the_last_three_say_that_it_ends(name: str) -> None:
    spms = [packet for _, packet in packets(name) if packet.type is PacketType.SPM]
    assert [each.fin for each in spms] == [False] * (len(spms) - 3) + [True] * 3
    # In the first captured one its number need not be 0: the capture may have begun later.
    for earlier, later in itertools.pairwise(spms):
        assert later.sqn == successor(earlier.sqn)
    assert spms[-1].lead == len(tsdus(name)) - 1


@pytest.mark.parametrize("name", NAMES)
def test_the_streams_are_what_was_sent(name: str) -> None:
    found = parts(name)
    assert Counter(len(each[-1]) for each in found) == MESSAGES[name]
    for number, message_parts in enumerate(found):
        if name == "multipart.ns2":
            assert message_parts[0] == b"topic%d" % (number % 3)
        else:
            assert len(message_parts) == 1
        body = message_parts[-1]
        assert body == b"%08d" % number + b"x" * (len(body) - 8)


@pytest.mark.parametrize("name", NAMES)
def test_the_deframer_sees_every_message(name: str) -> None:
    probe = Probe()
    for each in tsdus(name):
        probe.push(each)
    assert not probe.has_part
    found = parts(name)
    if name == "multipart.ns2":
        assert not probe.faults and probe.found == [tuple(each) for each in found]
    else:
        assert not probe.found and probe.faults == ["one-part"] * len(found)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_in_two_parts_is_delivered(name: str) -> None:
    """First that our packer makes the very TSDUs that libzmq made, then what the deframer makes of two parts."""
    found = parts(name)
    turns = [found] if name == "burst20.ns2" else [[each] for each in found]
    encoded = [
        [b"".join([*(frame(part, MORE) for part in each[:-1]), frame(each[-1])]) for each in turn]
        for turn in turns
    ]
    assert [each for turn in encoded for each in pack(turn, LIBZMQ_TSDU)] == tsdus(name)
    probe = Probe()
    for turn in turns:
        for each in pack([message(b"topic", one[-1]) for one in turn], LIBZMQ_TSDU):
            probe.push(each)
    assert not probe.faults and probe.found == [(b"topic", each[-1]) for each in found]


def test_large_offsets() -> None:
    """Eight TSDUs for a message: it begins in the first, and the last ends with it, with room behind: 28 bytes."""
    offsets = [each[:2].hex() for each in tsdus("large.ns2")]
    assert offsets == ["0000", *["ffff"] * 6, "001c"] * 4
    assert len(tsdus("large.ns2")[7]) == 2 + 0x1C


def test_burst_is_one_packet() -> None:
    (packet,) = (each for _, each in packets("burst20.ns2") if each.tsdu)
    assert len(packet.tsdu) == 362


def test_trap_10_two_udp_ports_of_one_source() -> None:
    ports: dict[PacketType, set[int]] = {}
    for datagram, packet in packets("loss35pct.ns1"):
        ports.setdefault(packet.type, set()).add(datagram.source_port)
    assert len(ports[PacketType.ODATA]) == len(ports[PacketType.RDATA]) == 1
    assert ports[PacketType.ODATA] != ports[PacketType.RDATA] == ports[PacketType.NCF]


def test_loss35pct_repairs_what_was_asked_for() -> None:
    asked: list[int] = []
    confirmed: list[int] = []
    for datagram, packet in packets("loss35pct.ns1"):
        if packet.type is PacketType.NAK:
            assert datagram.destination == "10.77.0.1"
            asked += packet.sqns
        elif packet.type is PacketType.NCF:
            assert datagram.destination == "239.255.0.1"
            confirmed += packet.sqns
    assert asked == confirmed
    repaired = {packet.sqn for _, packet in packets("loss35pct.ns1") if packet.type is PacketType.RDATA}
    assert repaired == set(asked)
    assert any(len(packet.sqns) > 1 for _, packet in packets("loss35pct.ns1"))


def test_latejoin_asks_for_an_spm_twice() -> None:
    found = packets("latejoin.ns2")
    asked = [index for index, (_, packet) in enumerate(found) if packet.type is PacketType.SPMR]
    assert {found[index][0].destination for index in asked} == {"239.255.0.1", "10.77.0.1"}
    assert all(found[index][0].source == "10.77.0.2" for index in asked)
    answers = [packet for _, packet in found[asked[0] : asked[0] + 6] if packet.type is PacketType.SPM]
    assert len(answers) == 2


def test_mcnak_asks_by_multicast() -> None:
    naks = [datagram for datagram, packet in packets("mcnak.ns1") if packet.type is PacketType.NAK]
    assert {each.destination for each in naks} == {"239.255.0.1"}


def test_a_tsi_says_itself_like_the_captures() -> None:
    assert str(packets("multipart.ns2")[0][1].tsi) == str(Tsi(GSI, 0x143D)) == "b7c6d1bc038a.143d"


@pytest.mark.parametrize("name", NAMES)
def test_a_reception_takes_all_that_libzmq_sent(name: str) -> None:
    """With the losses that there were: what was repaired had not arrived. It asks for nothing else."""
    repaired = {packet.sqn for _, packet in packets(name) if packet.type is PacketType.RDATA}
    target, begin = reception(), packets(name)[0][0].time_s
    asked: set[int] = set()
    for datagram, packet in packets(name):
        now = datagram.time_s - begin
        while target.next_due < now:
            asked.update(*(parse(each).sqns for each in target.turn(target.next_due)))
        if packet.type is not PacketType.ODATA or packet.sqn not in repaired:
            assert target.push(datagram.payload, now)
    assert target.received == len(tsdus(name)) and target.repaired == len(repaired)
    assert target.lost_packets == target.stored_packets == 0
    assert len(target.events) == sum(MESSAGES[name].values())
    assert set(target.events) == {"one-part"} or name == "multipart.ns2"
    assert asked <= repaired
    assert target.nla == ADDRESS
    assert target.fin == any(packet.fin for _, packet in packets(name)) == target.finished
