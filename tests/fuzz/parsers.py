# SPDX-License-Identifier: Apache-2.0
"""Everything that reads bytes or text of others without keeping a connection: each target takes any bytes.

A target raises for a finding and returns otherwise. Where a slow twin exists in tests/reference, it says what is right;
elsewhere the same input in another form must give the same result: cut differently, at another address, further down
the stream, written and read again.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from plexo._fast import envelope as fast_envelope
from plexo._fast import frames as fast_frames
from plexo._fast import pgm as fast_pgm
from plexo._fast.deframer import Probe
from plexo._fast.scan import Divider
from plexo._fast.topics import TopicTable, topic_hash
from plexo._proto.delivery import (
    PROPERTY,
    WINDOW_IDS,
    Answer,
    Ask,
    Deliver,
    Done,
    Settle,
    announced_session,
    announcement,
    encode_answer,
    encode_ask,
    encode_deliver,
    encode_settle,
    parse_delivery_command,
)
from plexo._proto.delivery_window import RepeatFilter, Seen
from plexo._proto.errors import Reason, WireError
from plexo._proto.pgm import packets as pgm_packets
from plexo._proto.subscriptions import Subscriptions
from plexo._proto.zmtp import (
    GREETING_SIZE,
    MAX_HANDSHAKE_COMMAND,
    Handshake,
    Ping,
    SocketType,
    Subscribe,
    encode_cancel,
    encode_frame,
    encode_ping,
    encode_pong,
    encode_subscribe,
    parse_command,
    parse_subscription_message,
)
from plexo._proto.zmtp_commands import Cancel, Error, Pong, Ready, encode_error, encode_ready
from plexo.codec.capnp_codec import split_segments
from plexo.exceptions import DecodeError
from plexo.ganglion.endpoint import parse_endpoint
from tests.reference import deframer as slow_deframer
from tests.reference import envelope as slow_envelope
from tests.reference import frames as slow_frames
from tests.reference import pgm as slow_pgm
from tests.reference import scan as slow_scan
from tests.reference.topics import fnv1a_64

# The largest frame of a stream that is divided.
SCAN_LIMIT = 100_000
# The largest message of a stream of multicast.
DEFRAME_LIMIT = 600
# How far down a stream a command may begin.
FAR = 1_000_000_007


def outcome(parse: Callable[[Any], Any], data: Any) -> Any:
    """What `parse` returns, or ValueError where it raises that or one of its kind."""
    try:
        return parse(data)
    except ValueError:
        return ValueError


def _forms(data: bytes) -> tuple[Any, ...]:
    """The same bytes in other places: writable, and at an odd address."""
    return bytearray(data), memoryview(b"\xff" + data)[1:]


def frames(data: bytes) -> None:
    expected = outcome(slow_frames.parse_frame_header, data)
    for form in (data, *_forms(data)):
        assert outcome(fast_frames.parse_frame_header, form) == expected, expected
    if isinstance(expected, tuple):
        flags, size, header_size = expected
        body = data[header_size : header_size + min(size, len(data))]
        wire = fast_frames.build_frame(flags, body)
        assert wire == slow_frames.build_frame(flags, body)
        assert fast_frames.parse_frame_header(wire) == (flags, len(body), len(wire) - len(body))


def envelope(data: bytes) -> None:
    expected = outcome(slow_envelope.parse_envelope, data)
    for form in (data, *_forms(data)):
        found = outcome(fast_envelope.parse_envelope, form)
        assert found == expected, (found, expected)
    if expected is not ValueError:
        wire = fast_envelope.build_envelope(*expected)
        assert wire == slow_envelope.build_envelope(*expected)
        assert fast_envelope.parse_envelope(wire) == expected


def scan(data: bytes) -> None:
    """The first byte chooses the ganglion and where in a stream this begins, the second how the rest is cut."""
    choice, size, stream = *data[:2].ljust(2, b"\0"), data[2:]
    beginning = (bool(choice & 1), SCAN_LIMIT, choice >> 2 & 31, bool(choice & 2))
    fast, slow = Divider(*beginning), slow_scan.Divider(*beginning)
    carry = b""
    for at in range(0, len(stream), size or 1000):
        carry += stream[at : at + (size or 1000)]
        used, entries = fast.divide(carry)
        assert (used, entries) == slow.divide(carry), entries
        assert fast.raw == slow.raw
        assert sum(stride * (count or 1) for _, count, stride, *_ in entries) == used
        carry = carry[used:]


def topics(data: bytes) -> None:
    """Pairs of (operation, length) and topics of that length, on the compiled table and on a dict."""
    table: TopicTable[int] = TopicTable()
    plain: dict[bytes, int] = {}
    at = 0
    while at + 2 <= len(data):
        operation, size = data[at] & 3, data[at + 1] & 31
        # Few different topics, so that they meet again; long ones by repetition.
        topic = data[at + 2 : at + 2 + size] * (1 + (data[at] >> 6) * 40)
        at += 2 + size
        assert topic_hash(topic) == fnv1a_64(topic)
        if operation <= 1:
            table.insert(topic, at)
            plain[topic] = at
        elif operation == 2:
            try:
                table.remove(topic)
            except KeyError:
                assert topic not in plain
            else:
                del plain[topic]
        assert table.get(topic) == plain.get(topic)
        assert (topic in table) == (topic in plain)
        assert len(table) == len(plain)
    assert sorted(table.topics()) == sorted(plain)
    assert all(table.get(topic) == value for topic, value in plain.items())


def _shake(role: SocketType, pieces: list[bytes]) -> tuple[Any, ...]:
    """The verdict on a stream in pieces; what follows an established hand-shake counts as trailing."""
    handshake = Handshake(role, properties={"X-Plexo-Fuzz": b"1"})
    sent = handshake.data_to_send()
    for index, piece in enumerate(pieces):
        try:
            established = handshake.receive_data(piece)
        except WireError as error:
            assert isinstance(error.reason, Reason) and str(error).isprintable(), str(error)
            assert 0 <= error.offset <= sum(map(len, pieces)), error.offset
            # What it quotes of the stream, and whether READY is out already, depends on how much of it was there.
            return "failed", error.reason, error.expected, error.offset
        sent += handshake.data_to_send()
        if established is not None:
            rest = established.trailing + b"".join(pieces[index + 1 :])
            assert established.version in ((3, 0), (3, 1))
            return (
                "established",
                established.peer_socket_type,
                established.version,
                established.properties,
                rest,
                sent,
            )
        assert handshake.buffered_bytes <= max(GREETING_SIZE, 9 + MAX_HANDSHAKE_COMMAND)
    try:
        handshake.receive_eof()
    except WireError as error:
        assert error.reason is Reason.PEER_CLOSED and error.offset == sum(map(len, pieces))
    return "unfinished", handshake.state, sent


def handshake(data: bytes) -> None:
    """The first byte chooses the role and how the stream behind it is cut."""
    if not data:
        return
    role = list(SocketType)[data[0] % len(SocketType)]
    stream = data[1:]
    step = 1 + data[0] // len(SocketType)
    whole = _shake(role, [stream] if stream else [])
    for size in {1, step, 3 * step}:
        pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
        found = _shake(role, pieces)
        assert found == whole, (size, found, whole)


def commands(data: bytes) -> None:
    """A command's body: read here and further down the stream, and what we can write ourselves written again."""
    found: list[Any] = []
    for offset in (0, FAR):
        try:
            found.append(parse_command(data, offset=offset))
        except WireError as error:
            assert str(error).isprintable(), str(error)
            assert 0 <= error.offset - offset <= len(data), error.offset
            found.append((error.reason, error.expected, error.received, error.offset - offset))
    assert found[0] == found[1], found
    command = found[0]
    wire = None
    if isinstance(command, Ping):
        wire = encode_ping(command.ttl_ds, command.context)
    elif isinstance(command, Pong):
        wire = encode_pong(command.context)
    elif isinstance(command, Subscribe):
        wire = encode_subscribe(command.topic, (3, 1))
    elif isinstance(command, Cancel):
        wire = encode_cancel(command.topic, (3, 1))
    elif isinstance(command, Ready):
        again = encode_ready(command.properties.items())
        assert parse_command(_body(again)) == command
    elif isinstance(command, Error):
        encode_error(command.reason)
    if wire is not None:
        assert wire == encode_frame(data, command=True)
    message = parse_subscription_message(data)
    if message is not None:
        encode = encode_subscribe if isinstance(message, Subscribe) else encode_cancel
        assert encode(message.topic, (3, 0)) == encode_frame(data)


def delivery(data: bytes) -> None:
    """A command of our own extension: read at two places, written again; and what a READY announces."""
    found: list[Any] = []
    for offset in (0, FAR):
        try:
            found.append(parse_delivery_command(data, offset=offset))
        except WireError as error:
            assert str(error).isprintable(), str(error)
            assert 0 <= error.offset - offset <= len(data), error.offset
            found.append((error.reason, error.expected, error.received, error.offset - offset))
    assert found[0] == found[1], found
    command = found[0]
    wire = None
    if isinstance(command, Deliver):
        wire = encode_deliver(command.id, command.floor, command.envelope)
    elif isinstance(command, Ask):
        wire = encode_ask(command.id, command.envelope)
    elif isinstance(command, Settle):
        wire = encode_settle(command.id, command.outcome)
    elif isinstance(command, Answer):
        wire = encode_answer(command.id, command.outcome)
    if wire is not None:
        assert wire == encode_frame(data, command=True)
    try:
        session = announced_session({PROPERTY.lower(): data}, offset=FAR)
    except WireError as error:
        assert error.offset == FAR and data[:1] == b"\x01"
    else:
        assert session is None or announcement(session)[PROPERTY] == data


def repeats(data: bytes) -> None:
    """Triples of (id, floor below it, what then) through the receiver's filter: bounded, and each message once."""
    kept = RepeatFilter()
    done: set[int] = set()
    id, highest = 1, 0
    for at in range(0, len(data) - 2, 3):
        id = max(1, id + data[at] - 100)
        floor = max(1, id - data[at + 1] * 4)
        highest = max(highest, floor)
        seen, outcome = kept.receive(id, floor)
        assert (seen is Seen.NEW) <= (id not in done and id >= highest), (id, floor, seen)
        assert (outcome is not None) == (seen is Seen.SETTLED)
        if seen is Seen.NEW and data[at + 2] & 1:
            kept.settle(id, Done())
            done.add(id)
        elif seen is Seen.NEW and data[at + 2] & 2:
            kept.forget(id)
        assert len(kept) <= WINDOW_IDS


def _body(wire: bytes) -> bytes:
    header = fast_frames.parse_frame_header(wire)
    assert header is not None and header[1] + header[2] == len(wire)
    return wire[header[2] :]


MAX_PREFIXES, MAX_PREFIX_BYTES = 8, 12


def subscriptions(data: bytes) -> None:
    """Pairs of (operation, length) and prefixes, on Subscriptions and on a list; then who matches."""
    counted = not data[:1] or data[0] & 0x80 == 0
    kept = Subscriptions(max_topics=MAX_PREFIXES, max_topic_bytes=MAX_PREFIX_BYTES, counted=counted)
    plain: list[bytes] = []
    at = 0
    while at + 2 <= len(data):
        operation, size = data[at] & 3, data[at + 1] & 15
        prefix = data[at + 2 : at + 2 + size]
        at += 2 + size
        if operation <= 1:
            refused = prefix not in plain and (
                len(prefix) > MAX_PREFIX_BYTES or len(set(plain)) >= MAX_PREFIXES
            )
            try:
                added = kept.add(prefix, offset=at)
            except WireError as error:
                assert refused and error.offset == at and str(error).isprintable()
            else:
                assert not refused and added == (prefix not in plain)
                if counted or added:
                    plain.append(prefix)
        elif operation == 2:
            removed = kept.remove(prefix)
            if prefix in plain:
                plain.remove(prefix)
                assert removed == (prefix not in plain)
            else:
                assert not removed
        topic = data[at : at + 16]
        assert kept.matches(topic) == any(topic.startswith(each) for each in plain)
        assert kept.matches(prefix) == any(prefix.startswith(each) for each in plain)
    assert sorted(kept) == sorted(set(plain)) and len(kept) == len(set(plain))


def endpoints(data: bytes) -> None:
    """Text that a user may have from a file: an endpoint that says itself again, or ValueError that names it."""
    text = data.decode("utf-8", "surrogateescape")
    try:
        endpoint = parse_endpoint(text, "peer")
    except ValueError as error:
        assert str(error).startswith("peer: "), repr(error)
        return
    assert parse_endpoint(str(endpoint), "peer") == endpoint, endpoint
    assert 0 <= endpoint.port <= 65535 and (bool(endpoint.path) != bool(endpoint.host))
    assert endpoint.family in (1, 2, 10) and endpoint.address


def segments(data: bytes) -> None:
    """The segment table of a Cap'n Proto payload: exactly these bytes, or DecodeError."""
    with suppress(DecodeError):
        found = split_segments(data)
        assert all(len(each) % 8 == 0 for each in found)
        table = (len(found) // 2 + 1) * 8
        assert data[table:] == b"".join(found)


def _packet_slowly(data: bytes) -> pgm_packets.Packet | str:
    try:
        found = slow_pgm.parse(data)
    except ValueError as error:
        return str(error)
    kind, tsi = pgm_packets.PacketType(found.pop("type")), pgm_packets.Tsi(*found.pop("tsi"))
    return pgm_packets.Packet(kind, tsi, **found)


def _packet(data: Any) -> pgm_packets.Packet | str:
    try:
        return pgm_packets.parse(data)
    except pgm_packets.PgmError as error:
        assert str(error).isprintable()
        return error.fault


def packets(data: bytes) -> None:
    """A datagram as it came, and with a checksum that fits, for few mutations find one; data is written again."""
    for datagram in (data, slow_pgm.sealed(data)) if len(data) >= 16 else (data,):
        assert fast_pgm.checksum(datagram) == slow_pgm.checksum(datagram)
        expected = _packet_slowly(datagram)
        for form in (datagram, *_forms(datagram)):
            found = _packet(form)
            assert found == expected, (found, expected)
        if isinstance(expected, pgm_packets.Packet) and expected.tsdu and not expected.options:
            wire = pgm_packets.encode_data(
                expected.type, expected.tsi, expected.port, expected.sqn, expected.trail, expected.tsdu
            )
            assert wire == slow_pgm.sealed(datagram)


def deframer(data: bytes) -> None:
    """TSDUs, each behind its size in one byte; 255 is a gap. Once at a go, once with a stop after each message."""
    fast, stopping, slow = Probe(DEFRAME_LIMIT), Probe(DEFRAME_LIMIT), slow_deframer.Deframer(DEFRAME_LIMIT)
    at = 0
    while at < len(data):
        size = data[at]
        tsdu = data[at + 1 : at + 1 + size]
        stopping.stop_after = stopping.messages + 1
        if size == 255:
            at += 1
            fast.gap()
            slow.gap()
            stopping.gap()
        else:
            at += 1 + size
            fast.push(tsdu)
            slow.push(tsdu)
            stopping.push(bytearray(tsdu))
            while stopping.has_rest:
                stopping.stop_after += 1
                stopping.go_on()
        assert fast.buffer_bytes <= max(4096, 4 * len(data))
        for each in (fast, stopping):
            assert (each.found, each.faults) == (slow.found, slow.faults), (slow.found, slow.faults)
            assert (each.truncated, each.skipped) == (slow.truncated, slow.skipped)
