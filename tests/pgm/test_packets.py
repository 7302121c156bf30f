# SPDX-License-Identifier: Apache-2.0
"""Packets of PGM: read against the slow reader, written and read again, and what hostile or strange ones do."""

from __future__ import annotations

import pickle
import random
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from plexo._fast import pgm as fast
from plexo._proto.errors import Reason, WireError
from plexo._proto.pgm import packets
from plexo._proto.pgm.packets import (
    MAX_SQNS,
    Packet,
    PacketType,
    PgmError,
    Tsi,
    encode_data,
    encode_nak,
    encode_ncf,
    encode_spm,
    encode_spmr,
    parse,
)
from plexo._proto.pgm.serial import advance, before, distance, predecessor, successor
from tests.reference import pgm as slow

TSI = Tsi(bytes.fromhex("b7c6d1bc038a"), 0x4D2A)
PORT = 5561
NLA, GROUP = "10.77.0.1", "239.255.0.1"
DATA = encode_data(PacketType.ODATA, TSI, PORT, 7, 5, b"\0\0payload")

sqns = st.one_of(st.integers(0, 2**32 - 1), st.sampled_from([0, 1, 2**31 - 1, 2**31, 2**32 - 1]))
ports = st.integers(0, 65535)
tsis = st.builds(Tsi, st.binary(min_size=6, max_size=6), ports)
addresses = st.binary(min_size=4, max_size=4).map(lambda each: ".".join(map(str, each)))


def read_slowly(data: bytes) -> Packet | str:
    try:
        found = slow.parse(data)
    except ValueError as error:
        return str(error)
    kind, tsi = PacketType(found.pop("type")), Tsi(*found.pop("tsi"))
    return Packet(kind, tsi, **found)


def read(data: bytes | bytearray | memoryview) -> Packet | str:
    try:
        return parse(data)
    except PgmError as error:
        return error.fault


def option(kind: int, body: bytes = b"", last: bool = False, flags: int = 0, length: int = 0) -> bytes:
    return bytes([kind | last << 7, length or 4 + len(body), flags, 0]) + body


def with_options(packet: bytes, *options: bytes, total: int = 0) -> bytes:
    """A packet without options as one with them, its checksum right."""
    at = {PacketType.ODATA: 24, PacketType.RDATA: 24}.get(PacketType(packet[4]), len(packet))
    block = b"".join(options)
    block = b"\0\4" + (total or 4 + len(block)).to_bytes(2, "big") + block
    return slow.sealed(packet[:5] + bytes([packet[5] | 1]) + packet[6:at] + block + packet[at:])


def flagged(packet: bytes, flags: int) -> bytes:
    return slow.sealed(packet[:5] + bytes([flags]) + packet[6:])


def patched(packet: bytes, at: int, data: bytes) -> bytes:
    return slow.sealed(packet[:at] + data + packet[at + len(data) :])


def unsummed(packet: bytes) -> bytes:
    return packet[:6] + b"\0\0" + packet[8:]


SPM = encode_spm(TSI, PORT, 3, 5, 7, NLA)
NAK = encode_nak(TSI, PORT, [7, 8, 9], NLA, GROUP)
ALL = (
    DATA,
    SPM,
    NAK,
    encode_data(PacketType.RDATA, TSI, PORT, 2, 2**32 - 3, b"\xff\xff"),
    encode_spm(TSI, PORT, 3, 0, 2**32 - 1, NLA, fin=True),
    encode_nak(TSI, PORT, [7], NLA, GROUP),
    encode_ncf(TSI, PORT, list(range(MAX_SQNS)), NLA, GROUP),
    encode_spmr(TSI, PORT),
    with_options(DATA, option(0x0C, b"\1" * 8), option(0x55, last=True)),
    with_options(SPM, option(8, b"\0\0\0\4"), option(14, last=True)),
    # IPv6: family 2, and addresses of 16 bytes.
    slow.sealed(SPM[:28] + b"\0\2\0\0" + bytes(range(16))),
    slow.sealed(NAK[:5] + b"\0" + NAK[6:20] + (b"\0\2\0\0" + bytes(range(16))) * 2),
    slow.sealed(NAK[:5] + b"\0" + NAK[6:28] + b"\0\2\0\0" + bytes(range(16))),
    *(slow.sealed(encode_spmr(TSI, PORT)[:4] + bytes([kind]) + bytes(11)) for kind in (1, 2, 13)),
    slow.sealed(NAK[:4] + b"\x09" + NAK[5:]),
)


# -- what is written is read ----------------------------------------------------------------------------------


@given(tsis, ports, sqns, sqns, st.integers(0, 2**31 - 3), addresses, st.booleans())
def test_spm_round_trip(
    tsi: Tsi, port: int, spm_sqn: int, trail: int, ahead: int, nla: str, fin: bool
) -> None:
    lead = advance(trail, ahead - 1)
    wire = encode_spm(tsi, port, spm_sqn, trail, lead, nla, fin)
    assert len(wire) == (44 if fin else 36)
    assert parse(wire) == Packet(
        PacketType.SPM, tsi, port, spm_sqn, trail, lead, nla=nla, fin=fin, options=int(fin)
    )


@given(tsis, ports, st.lists(sqns, min_size=1, max_size=MAX_SQNS), addresses, addresses)
def test_nak_and_ncf_round_trip(tsi: Tsi, port: int, numbers: list[int], nla: str, group: str) -> None:
    for kind, encode in ((PacketType.NAK, encode_nak), (PacketType.NCF, encode_ncf)):
        wire = encode(tsi, port, numbers, nla, group)
        options = 3 if len(numbers) > 1 else 0
        assert parse(wire) == Packet(
            kind, tsi, port, numbers[0], sqns=tuple(numbers), nla=nla, group=group, options=options
        )


@given(tsis, ports)
def test_spmr_round_trip(tsi: Tsi, port: int) -> None:
    assert parse(encode_spmr(tsi, port)) == Packet(PacketType.SPMR, tsi, port)


@given(
    st.sampled_from([PacketType.ODATA, PacketType.RDATA]),
    tsis,
    ports,
    sqns,
    st.integers(0, 2**31 - 3),
    st.binary(min_size=2, max_size=1500),
)
def test_data_round_trip(kind: PacketType, tsi: Tsi, port: int, sqn: int, ahead: int, tsdu: bytes) -> None:
    trail = advance(sqn, -ahead)
    wire = encode_data(kind, tsi, port, sqn, trail, tsdu)
    assert len(wire) == 24 + len(tsdu)
    assert parse(wire) == Packet(kind, tsi, port, sqn, trail, tsdu=tsdu)


def test_layout_of_an_odata_in_full() -> None:
    assert DATA.hex(" ") == (
        "4d 2a 15 b9 04 00 " + DATA[6:8].hex(" ") + " b7 c6 d1 bc 03 8a 00 09 "
        "00 00 00 07 00 00 00 05 00 00 70 61 79 6c 6f 61 64"
    )
    assert slow.checksum(DATA) == 0


def test_packets_to_the_source_have_their_ports_exchanged() -> None:
    downstream, upstream = encode_ncf(TSI, PORT, [1], NLA, GROUP), encode_nak(TSI, PORT, [1], NLA, GROUP)
    assert downstream[:4].hex() == "4d2a15b9" and upstream[:4].hex() == "15b94d2a"


def test_the_largest_tsdu_fills_a_datagram() -> None:
    wire = encode_data(PacketType.ODATA, TSI, PORT, 1, 1, bytes(65483))
    assert len(wire) == 65507 and len(parse(wire).tsdu) == 65483
    assert read(wire + b"\0") == "long-packet"


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: encode_nak(TSI, PORT, [], NLA, GROUP), "sqns: expected 1 to 63, got 0"),
        (lambda: encode_nak(TSI, PORT, range(64), NLA, GROUP), "sqns: expected 1 to 63, got 64"),
        (lambda: encode_nak(TSI, PORT, [-1], NLA, GROUP), "sqns: expected 0 to 4294967295, got -1"),
        (lambda: encode_ncf(TSI, PORT, [1], "10.0.0", GROUP), "address: expected IPv4"),
        (lambda: encode_ncf(TSI, PORT, [1], NLA, "239.0.0.256"), "address: expected IPv4"),
        (lambda: encode_spm(TSI, 65536, 0, 0, 0, NLA), "port: expected 0 to 65535, got 65536"),
        (lambda: encode_spm(TSI, PORT, 2**32, 0, 0, NLA), "spm_sqn"),
        (lambda: encode_spmr(Tsi(b"short", 1), PORT), "tsi: expected a gsi of 6 bytes, got 5"),
        (lambda: encode_spmr(Tsi(bytes(6), -1), PORT), "sport"),
        (lambda: encode_data(PacketType.SPM, TSI, PORT, 0, 0, b"\0\0"), "kind: expected ODATA or RDATA"),
        (lambda: encode_data(PacketType.ODATA, TSI, PORT, 0, 0, b"\0"), "tsdu: expected 2 to 65483"),
        (lambda: encode_data(PacketType.ODATA, TSI, PORT, 0, 0, bytes(65484)), "tsdu: expected 2 to 65483"),
        (lambda: encode_data(PacketType.ODATA, TSI, PORT, 0, 2**32, b"\0\0"), "trail"),
        (lambda: fast.seal(bytearray(15)), "packet: expected at least 16 bytes, got 15"),
        (lambda: fast.data_packet(4, b"short", 1, 1, 1, 1, b"\0\0"), "gsi: expected 6 bytes, got 5"),
    ],
)
def test_encoders_name_what_does_not_fit(call: Any, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        call()


def test_names() -> None:
    assert str(TSI) == "b7c6d1bc038a.4d2a"
    assert packets.dotted(packets.undotted(NLA)) == NLA
    with pytest.raises(ValueError):
        packets.undotted("1.2.3.\u0663")


# -- against the slow reader ----------------------------------------------------------------------------------


@st.composite
def strange(draw: st.DrawFn) -> bytes:
    """A packet of ours, with bytes changed, cut or added, mostly with a checksum that fits again."""
    data = bytearray(draw(st.sampled_from(ALL)))
    for _ in range(draw(st.integers(0, 3))):
        if data:
            data[draw(st.integers(0, len(data) - 1))] = draw(
                st.one_of(st.integers(0, 255), st.sampled_from([0, 1, 3, 4, 8, 0x82]))
            )
    end = draw(st.one_of(st.just(len(data)), st.integers(0, len(data))))
    made = bytes(data[:end]) + draw(st.one_of(st.just(b""), st.binary(max_size=6)))
    return slow.sealed(made) if len(made) >= 16 and draw(st.integers(0, 9)) else made


@given(st.one_of(strange(), st.binary(max_size=80), st.binary(min_size=16, max_size=80).map(slow.sealed)))
@example(b"")
def test_reads_as_the_slow_reader(data: bytes) -> None:
    expected = read_slowly(data)
    assert read(data) == expected
    assert read(bytearray(data)) == expected
    assert read(memoryview(b"?" + data + b"?")[1:-1]) == expected


@given(
    st.lists(st.tuples(st.integers(0, 127), st.integers(0, 9)), max_size=18), st.integers(-3, 3), st.data()
)
def test_options_read_as_by_the_slow_reader(
    wanted: list[tuple[int, int]], wrong_by: int, data: st.DataObject
) -> None:
    packet = data.draw(st.sampled_from([DATA, SPM, encode_nak(TSI, PORT, [7], NLA, GROUP)]))
    options = [
        option(kind, bytes(range(size)), last=index == len(wanted) - 1)
        for index, (kind, size) in enumerate(wanted)
    ]
    total = 4 + sum(map(len, options)) + data.draw(st.sampled_from([0, 0, wrong_by]))
    made = with_options(packet, *options, total=max(0, total))
    assert read(made) == read_slowly(made)


@pytest.mark.parametrize("packet", ALL, ids=lambda each: f"{each[4]:02x}-{len(each)}")
def test_every_packet_cut_anywhere_is_a_fault_or_read_alike(packet: bytes) -> None:
    assert isinstance(read(packet), Packet)
    for size in range(len(packet)):
        cut = packet[:size]
        assert read(cut) == read_slowly(cut)
        resealed = slow.sealed(cut) if size >= 16 else cut
        assert read(resealed) == read_slowly(resealed)
        assert isinstance(read(cut), str)


@given(st.binary(max_size=200))
@example(b"\xff" * 200)
@example(bytes(200))
@example(b"\xff\xff\x00\x01" * 40 + b"\x01")
def test_checksum_is_as_the_slow_one(data: bytes) -> None:
    assert fast.checksum(data) == slow.checksum(data)
    # From an odd address, too.
    assert fast.checksum(memoryview(b"?" + data)[1:]) == slow.checksum(data)


def test_checksum_of_every_size_and_of_the_largest(rng: random.Random) -> None:
    data = rng.randbytes(65507)
    for size in (*range(160), 1447, 1448, 1472, 65506, 65507):
        assert fast.checksum(data[:size]) == slow.checksum(data[:size])
    assert fast.checksum(b"\xff" * 65507) == slow.checksum(b"\xff" * 65507)


@given(st.binary(min_size=16, max_size=100))
def test_seal_replaces_whatever_was_there(data: bytes) -> None:
    packet = bytearray(data)
    fast.seal(packet)
    assert packet == slow.sealed(data)
    assert fast.checksum(packet) == 0


def test_seal_takes_only_what_can_be_written() -> None:
    with pytest.raises(BufferError):
        fast.seal(bytes(16))


# -- checksums, versions, types -------------------------------------------------------------------------------


def test_a_sum_of_zero_goes_as_ffff() -> None:
    """On the wire 0 would say that there is no checksum."""
    bare = encode_data(PacketType.ODATA, TSI, PORT, 7, 7, b"\0\0\0\0")
    # Put into the data what makes the sum that of nothing.
    packet = bare[:-2] + bare[6:8]
    sealed = encode_data(PacketType.ODATA, TSI, PORT, 7, 7, packet[24:])
    assert sealed[6:8] == b"\xff\xff"
    assert parse(sealed).tsdu == packet[24:]


def test_data_without_a_checksum_is_refused() -> None:
    assert read(unsummed(DATA)) == "no-checksum"


@pytest.mark.parametrize("packet", [SPM, NAK, encode_spmr(TSI, PORT)])
def test_other_packets_may_have_none(packet: bytes) -> None:
    assert read(unsummed(packet)) == parse(packet)


@pytest.mark.parametrize("packet", ALL, ids=lambda each: f"{each[4]:02x}-{len(each)}")
def test_every_flipped_bit_is_noticed(packet: bytes) -> None:
    for at in range(len(packet)):
        if at in (6, 7):
            continue
        spoilt = packet[:at] + bytes([packet[at] ^ 0x10]) + packet[at + 1 :]
        assert isinstance(read(spoilt), str)


@pytest.mark.parametrize("kind", range(256))
def test_types(kind: int) -> None:
    packet = patched(encode_nak(TSI, PORT, [7], NLA, GROUP), 4, bytes([kind]))
    found = read(packet)
    if kind >= 64:
        assert found == "unknown-version"
    elif kind not in set(PacketType):
        assert found == "unknown-type"
    else:
        assert found == read_slowly(packet)


@pytest.mark.parametrize("kind", [PacketType.POLL, PacketType.POLR, PacketType.ACK])
def test_of_what_we_do_not_use_the_header_is_read(kind: PacketType) -> None:
    for options in (0, 1):
        packet = slow.sealed(encode_spmr(TSI, PORT)[:4] + bytes([kind, options]) + bytes(10))
        found = parse(packet)
        assert found.type is kind and not found.sqns and not found.tsdu and found.nla is None


def test_errors_say_what_was_expected_and_survive_pickling() -> None:
    with pytest.raises(PgmError) as caught:
        parse(unsummed(DATA))
    error = caught.value
    assert (
        isinstance(error, WireError)
        and error.reason is Reason.MALFORMED_PACKET
        and error.fault == "no-checksum"
    )
    assert "a checksum, which data must have" in str(error) and f"{len(DATA)} bytes" in str(error)
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.fault) == (str(error), error.fault)
    assert len(str(read_error(bytes(65507)))) < 300


def read_error(data: bytes) -> PgmError:
    with pytest.raises(PgmError) as caught:
        parse(data)
    return caught.value


def test_faults_have_names_that_differ() -> None:
    names = [name for name, _ in fast.FAULTS]
    assert len(set(names)) == len(names)


# -- options --------------------------------------------------------------------------------------------------


def test_trap_10_garbage_opx_bits() -> None:
    """OpenPGM leaves there what was in memory (03 and d1 were seen): "discard this packet" is not obeyed."""
    for flags in (0x00, 0x03, 0xD1, 0xFF):
        fin = with_options(SPM, option(14, last=True, flags=flags))
        assert parse(fin).fin
        listed = with_options(
            encode_nak(TSI, PORT, [7], NLA, GROUP), option(2, b"\0\0\0\x09", last=True, flags=flags)
        )
        assert parse(listed).sqns == (7, 9)
        unknown = with_options(DATA, option(0x55, b"?", last=True, flags=flags))
        assert parse(unknown).tsdu == b"\0\0payload"


def test_unknown_options_are_skipped() -> None:
    codes = (4, 5, 7, 8, 9, 10, 11, 12, 13, 15, 16, 17, 0x55)
    for packet in (DATA, SPM):
        made = with_options(packet, *(option(code, bytes(code % 5), last=code == 0x55) for code in codes))
        found = parse(made)
        assert found == parse(packet)._replace(options=1)


def test_trap_5_opt_fragment_is_refused() -> None:
    """It makes a libzmq subscriber abort; here the packet is dropped."""
    fragment = option(1, bytes(12), last=True)
    assert read(with_options(DATA, fragment)) == "fragment"
    assert read(with_options(DATA, option(0x55), fragment)) == "fragment"


def test_parity_is_refused() -> None:
    assert read(flagged(DATA, 0x80)) == "parity"
    assert read(flagged(NAK, 0x83)) == "parity"


def test_a_nak_list_elsewhere_means_nothing() -> None:
    listed = option(2, b"\0\0\0\x09", last=True)
    assert parse(with_options(SPM, listed)).sqns == ()
    assert parse(with_options(DATA, listed)).sqns == ()


def test_a_fin_elsewhere_means_nothing() -> None:
    assert not parse(with_options(DATA, option(14, last=True))).fin


@pytest.mark.parametrize(
    ("options", "total", "fault"),
    [
        ((option(2, b"\0\0\0", last=True),), 0, "malformed-nak-list"),
        ((option(2, bytes(4)), option(2, bytes(4), last=True)), 0, "malformed-nak-list"),
        # A length of 0 would go on for ever, less than 4 is no header.
        ((option(14, length=1),), 0, "malformed-options"),
        ((b"\x8e\x00\0\0",), 0, "malformed-options"),
        ((b"\x8e\x03\0\0",), 0, "malformed-options"),
        ((option(14, length=8),), 0, "malformed-options"),
        ((option(14),), 0, "malformed-options"),
        ((), 0, "malformed-options"),
        ((option(14, last=True),), 7, "malformed-options"),
        ((option(14, last=True),), 3, "malformed-options"),
        ((option(14, last=True),), 9, "malformed-options"),
        ((option(14, last=True),), 65535, "malformed-options"),
        ((option(0x55),) * 16 + (option(0x55, last=True),), 0, "too-many-options"),
    ],
)
def test_malformed_options(options: tuple[bytes, ...], total: int, fault: str) -> None:
    packet = with_options(encode_nak(TSI, PORT, [7], NLA, GROUP), *options, total=total)
    assert read(packet) == fault
    assert read_slowly(packet) == fault


def test_sixteen_options_and_an_empty_nak_list_are_read() -> None:
    single = encode_nak(TSI, PORT, [7], NLA, GROUP)
    assert parse(with_options(single, *[option(0x55)] * 15, option(2, last=True))).sqns == (7,)


def test_a_nak_names_at_most_63() -> None:
    """Its length is one byte: 62 numbers are all that an option can have."""
    full = with_options(encode_nak(TSI, PORT, [0], NLA, GROUP), option(2, bytes(248), last=True))
    assert len(parse(full).sqns) == MAX_SQNS == 63
    over = with_options(encode_nak(TSI, PORT, [0], NLA, GROUP), option(2, bytes(251), last=True))
    assert over[39 + 2] == 255 and read(over) == "malformed-nak-list"


# -- fields ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [PacketType.ODATA, PacketType.RDATA])
def test_trap_5_a_tsdu_of_one_byte(kind: PacketType) -> None:
    """It makes a libzmq subscriber abort."""
    for size, fault in ((0, "short-tsdu"), (1, "short-tsdu"), (2, None)):
        packet = slow.sealed(
            DATA[:4] + bytes([kind]) + DATA[5:14] + bytes([0, size]) + DATA[16:24] + bytes(size)
        )
        found = read(packet)
        assert found == fault if fault else isinstance(found, Packet) and found.tsdu == b"\0\0"


def test_the_tsdu_ends_with_the_packet() -> None:
    for size in (8, 10, 65535):
        assert read(patched(DATA, 14, size.to_bytes(2, "big"))) == "tsdu-length"
    assert read(slow.sealed(DATA + b"\0")) == "tsdu-length"


def test_trap_10_an_spm_of_a_number_above_2_31_is_read() -> None:
    assert parse(encode_spm(TSI, PORT, 2**32 - 1, 0, 0, NLA)).sqn == 2**32 - 1


def test_data_older_than_its_own_trail_is_refused() -> None:
    for sqn, trail in ((5, 6), (2**31 - 2, 0), (0, 1), (2**31, 0)):
        assert read(encode_data(PacketType.ODATA, TSI, PORT, sqn, trail, b"\0\0")) == "impossible-window"
    for sqn, trail in ((5, 5), (2**31 - 3, 0), (1, 2**32 - 1)):
        assert parse(encode_data(PacketType.ODATA, TSI, PORT, sqn, trail, b"\0\0")).trail == trail


def test_an_spm_whose_lead_is_before_its_trail_is_refused() -> None:
    assert parse(encode_spm(TSI, PORT, 0, 0, 2**32 - 1, NLA)).lead == 2**32 - 1
    assert parse(encode_spm(TSI, PORT, 0, 9, 8, NLA)).lead == 8
    assert read(encode_spm(TSI, PORT, 0, 9, 7, NLA)) == "impossible-window"


def test_ipv6_addresses_are_skipped_and_others_refused() -> None:
    six = b"\0\2\0\0" + bytes(range(16))
    assert parse(slow.sealed(SPM[:28] + six)).nla is None
    fin = with_options(slow.sealed(SPM[:28] + six), option(14, last=True))
    assert parse(fin).fin and parse(fin).nla is None
    mixed = parse(slow.sealed(NAK[:5] + b"\0" + NAK[6:28] + six))
    assert (mixed.nla, mixed.group, mixed.sqns) == (None, None, (7,))
    assert read(patched(SPM, 28, b"\0\3")) == "unknown-address-family"
    assert read(patched(NAK, 20, b"\0\0")) == "unknown-address-family"
    assert read(patched(NAK, 28, b"\1\1")) == "unknown-address-family"


# -- serial arithmetic ----------------------------------------------------------------------------------------


@given(sqns, st.integers(1, 2**31 - 1))
def test_what_is_ahead_is_ahead_across_the_wrap(a: int, by: int) -> None:
    b = advance(a, by)
    assert before(a, b) and not before(b, a) and not before(a, a)
    assert distance(a, b) == by and distance(b, a) == -by and distance(a, a) == 0
    assert advance(b, -by) == a
    assert predecessor(successor(a)) == a and successor(a) == advance(a, 1)


def test_numbers_that_are_half_the_circle_apart_have_no_order() -> None:
    assert before(0, 2**31) and before(2**31, 0)
    assert distance(0, 2**31) == distance(2**31, 0) == -(2**31)
