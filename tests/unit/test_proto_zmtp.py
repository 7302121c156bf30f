# SPDX-License-Identifier: Apache-2.0
"""Greeting, NULL handshake and commands: cases whole, byte by byte, at every split, with bytes to spare."""

import copy
import pickle
from collections.abc import Iterable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from plexo._proto import zmtp
from plexo._proto.errors import Reason, WireError, printable
from plexo._proto.zmtp import Established, Handshake, SocketType
from plexo._proto.zmtp_commands import encode_ready, parse_metadata
from plexo._proto.zmtp_handshake import COMPATIBLE, TRANSITIONS, Event, State

SIGNATURE = b"\xff\0\0\0\0\0\0\0\x01\x7f"


def greeting(
    *,
    signature: bytes = SIGNATURE,
    version: bytes = b"\x03\x01",
    mechanism: bytes = b"NULL",
    rest: bytes = bytes(32),
) -> bytes:
    return signature + version + mechanism.ljust(20, b"\0") + rest


def prop(name: bytes, value: bytes) -> bytes:
    return bytes((len(name),)) + name + len(value).to_bytes(4, "big") + value


def command(body: bytes, *, long: bool = False) -> bytes:
    return (
        zmtp.encode_frame(body, command=True) if not long else b"\x06" + len(body).to_bytes(8, "big") + body
    )


def ready(*props: bytes, long: bool = False) -> bytes:
    return command(b"\x05READY" + b"".join(props), long=long)


SUB = prop(b"Socket-Type", b"SUB")
GOOD = greeting() + ready(SUB)


def feed(core: Handshake, pieces: Iterable[bytes]) -> tuple[Established | None, bytes]:
    """The result, and the pieces after it (as a caller that reads too much would have them)."""
    result, rest = None, b""
    for piece in pieces:
        if result is None:
            result = core.receive_data(piece)
        else:
            rest += piece
    return result, (result.trailing if result else b"") + rest


def single(data: bytes) -> list[bytes]:
    return [data[index : index + 1] for index in range(len(data))]


def verdict(pieces: Iterable[bytes], socket_type: SocketType = SocketType.PUB) -> tuple[object, ...]:
    core = Handshake(socket_type)
    try:
        result, rest = feed(core, pieces)
    except WireError as error:
        assert core.state is State.FAILED
        assert core.buffered_bytes == 0
        return (error.reason, error.offset)
    return (result and (result.peer_socket_type, result.version, result.properties), rest, core.state)


# ---- the good ways

GOOD_STREAMS = {
    "libzmq": (GOOD, (3, 1), {"socket-type": b"SUB"}),
    "minor 0": (greeting(version=b"\x03\x00") + ready(SUB), (3, 0), {"socket-type": b"SUB"}),
    "minor 9": (greeting(version=b"\x03\x09") + ready(SUB), (3, 1), {"socket-type": b"SUB"}),
    "major 4": (greeting(version=b"\x04\x00") + ready(SUB), (3, 1), {"socket-type": b"SUB"}),
    "padding": (greeting(signature=b"\xff12345678\x7f") + ready(SUB), (3, 1), {"socket-type": b"SUB"}),
    "as-server and filler": (greeting(rest=b"\x01" * 32) + ready(SUB), (3, 1), {"socket-type": b"SUB"}),
    "long frame": (greeting() + ready(SUB, long=True), (3, 1), {"socket-type": b"SUB"}),
    "properties": (
        greeting()
        + ready(prop(b"X-a.b_c+1", b""), prop(b"SOCKET-TYPE", b"SUB"), prop(b"Identity", bytes(300))),
        (3, 1),
        {"x-a.b_c+1": b"", "socket-type": b"SUB", "identity": bytes(300)},
    ),
}


@pytest.mark.parametrize("name", GOOD_STREAMS)
@pytest.mark.parametrize("trailing", [b"", b"\0", b"\x04\x04\x03abc", GOOD])
def test_every_split_gives_the_same(name: str, trailing: bytes) -> None:
    stream, version, properties = GOOD_STREAMS[name]
    data = stream + trailing
    expected = ((SocketType.SUB, version, properties), trailing, State.ESTABLISHED)
    assert verdict([data]) == expected
    assert verdict(single(data)) == expected
    for cut in range(len(data) + 1):
        assert verdict([data[:cut], data[cut:]]) == expected


def test_what_we_say() -> None:
    core = Handshake(SocketType.PUB, properties={"X-Name": b"v"})
    first = core.data_to_send()
    assert first == SIGNATURE + b"\x03\x01NULL" + bytes(16) + bytes(32)
    assert len(first) == 64
    assert core.data_to_send() == b""
    assert core.receive_data(greeting()[:63]) is None
    assert core.data_to_send() == b""
    assert core.receive_data(greeting()[63:]) is None
    assert core.data_to_send() == ready(prop(b"Socket-Type", b"PUB"), prop(b"X-Name", b"v"))
    assert core.receive_data(ready(SUB)) == Established(SocketType.SUB, (3, 1), {"socket-type": b"SUB"}, b"")
    assert core.data_to_send() == b""


def test_ready_is_still_to_be_sent_when_all_came_at_once() -> None:
    core = Handshake(SocketType.PUB)
    assert core.receive_data(GOOD) is not None
    assert core.data_to_send() == greeting() + ready(prop(b"Socket-Type", b"PUB"))


def test_buffer_types() -> None:
    for kind in (bytes, bytearray, memoryview):
        assert Handshake(SocketType.XPUB).receive_data(kind(GOOD)) is not None


PAIRS = [(ours, theirs) for ours in SocketType for theirs in SocketType]


@pytest.mark.parametrize(("ours", "theirs"), PAIRS, ids=lambda value: value.name)
@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_two_cores(ours: SocketType, theirs: SocketType, step: int) -> None:
    assert (theirs in COMPATIBLE[ours]) == (ours in COMPATIBLE[theirs])
    sides = [Handshake(ours, properties={"X-Who": b"a"}), Handshake(theirs, properties={"X-Who": b"b"})]
    results: dict[int, Established] = {}
    reason: Reason | None = None
    wires = [b"", b""]  # to each side
    for _ in range(2000):
        for index, core in enumerate(sides):
            wires[1 - index] += core.data_to_send()
            chunk, wires[index] = wires[index][:step], wires[index][step:]
            if chunk and index not in results:
                try:
                    got = core.receive_data(chunk)
                except WireError as error:
                    reason = error.reason
                    break
                if got is not None:
                    results[index] = got
        if reason is not None or (len(results) == 2 and not any(wires)):
            break
    if theirs not in COMPATIBLE[ours]:
        # Whoever reads first judges; the other may then be told instead of judging for itself.
        assert reason is Reason.INCOMPATIBLE_SOCKET_TYPE
        return
    assert reason is None
    assert results[0] == Established(theirs, (3, 1), {"socket-type": theirs.value, "x-who": b"b"}, b"")
    assert results[1] == Established(ours, (3, 1), {"socket-type": ours.value, "x-who": b"a"}, b"")


# ---- the bad ways: stream, reason, offset of the fault

G = len(greeting())
BODY = G + 2
META = BODY + 6
FAILURES = {
    "http": (b"GET / HTTP/1.1\r\n\r\n", Reason.BAD_SIGNATURE, 0),
    "tls": (b"\x16\x03\x01", Reason.BAD_SIGNATURE, 0),
    "signature end": (greeting(signature=SIGNATURE[:9] + b"\x0f"), Reason.BAD_SIGNATURE, 9),
    "1.0 anonymous": (b"\x01\x00", Reason.OLD_VERSION, 0),
    "1.0 long identity": (greeting(signature=SIGNATURE[:9] + b"\x00"), Reason.OLD_VERSION, 9),
    "revision 0": (greeting(version=b"\x00\x02"), Reason.OLD_VERSION, 10),
    "2.0": (SIGNATURE + b"\x01\x02\x00\x00", Reason.OLD_VERSION, 10),
    "major 2": (greeting(version=b"\x02\x00"), Reason.OLD_VERSION, 10),
    "plain": (greeting(mechanism=b"PLAIN"), Reason.MECHANISM_MISMATCH, 12),
    "null padding": (greeting(mechanism=b"NULL\0\0\0\0x"), Reason.MECHANISM_MISMATCH, 20),
    "nullx": (greeting(mechanism=b"NULLX"), Reason.MECHANISM_MISMATCH, 16),
    "lower case": (greeting(mechanism=b"null"), Reason.MECHANISM_MISMATCH, 12),
    "command more": (greeting() + b"\x05\x00", Reason.BAD_FLAGS, G),
    "reserved flag": (greeting() + b"\x84\x00", Reason.BAD_FLAGS, G),
    "message": (greeting() + b"\x00\x01a", Reason.UNEXPECTED_MESSAGE, G),
    "long message": (greeting() + b"\x03", Reason.UNEXPECTED_MESSAGE, G),
    "empty body": (greeting() + b"\x04\x00", Reason.MALFORMED_COMMAND, BODY),
    "empty name": (greeting() + command(b"\x00READY"), Reason.MALFORMED_COMMAND, BODY),
    "name beyond body": (greeting() + command(b"\x05READ"), Reason.MALFORMED_COMMAND, BODY),
    "ping": (greeting() + zmtp.encode_ping(1, b""), Reason.UNEXPECTED_COMMAND, BODY),
    "unknown": (greeting() + command(b"\x05HELLO"), Reason.UNEXPECTED_COMMAND, BODY),
    "ready in lower case": (greeting() + command(b"\x05ready" + SUB), Reason.UNEXPECTED_COMMAND, BODY),
    "size": (greeting() + b"\x06" + (8193).to_bytes(8, "big"), Reason.COMMAND_TOO_LARGE, G + 1),
    "giant size": (greeting() + b"\x06\x80" + bytes(7), Reason.COMMAND_TOO_LARGE, G + 1),
    "no type": (greeting() + ready(), Reason.MISSING_SOCKET_TYPE, BODY),
    "other type": (greeting() + ready(prop(b"X", b"SUB")), Reason.MISSING_SOCKET_TYPE, BODY),
    "wrong type": (greeting() + ready(prop(b"Socket-Type", b"PUB")), Reason.INCOMPATIBLE_SOCKET_TYPE, BODY),
    "type not ours": (
        greeting() + ready(prop(b"Socket-Type", b"REQ")),
        Reason.INCOMPATIBLE_SOCKET_TYPE,
        BODY,
    ),
    "type lower case": (
        greeting() + ready(prop(b"Socket-Type", b"sub")),
        Reason.INCOMPATIBLE_SOCKET_TYPE,
        BODY,
    ),
    "duplicate": (greeting() + ready(SUB, SUB), Reason.DUPLICATE_PROPERTY, META + len(SUB)),
    "duplicate by case": (
        greeting() + ready(SUB, prop(b"x", b"1"), prop(b"X", b"2")),
        Reason.DUPLICATE_PROPERTY,
        META + len(SUB) + 7,
    ),
    "zero name": (greeting() + ready(prop(b"", b"v"), SUB), Reason.MALFORMED_METADATA, META),
    "name character": (
        greeting() + ready(SUB, prop(b"a b", b"v")),
        Reason.MALFORMED_METADATA,
        META + len(SUB) + 2,
    ),
    "name not ascii": (greeting() + ready(prop(b"\xe9", b"v")), Reason.MALFORMED_METADATA, META + 1),
    "lone octet": (greeting() + ready(SUB, b"\x01"), Reason.MALFORMED_METADATA, META + len(SUB)),
    "truncated name": (greeting() + ready(SUB, b"\x09ab"), Reason.MALFORMED_METADATA, META + len(SUB)),
    "truncated value size": (greeting() + ready(b"\x01a\0\0\0"), Reason.MALFORMED_METADATA, META),
    "truncated value": (greeting() + ready(prop(b"a", b"vv")[:-1]), Reason.MALFORMED_METADATA, META + 2),
    "value of 4 GiB": (greeting() + ready(b"\x01a\xff\xff\xff\xff"), Reason.MALFORMED_METADATA, META + 2),
    "error": (greeting() + zmtp.encode_error("go-away"), Reason.PEER_ERROR, G),
    "error without size": (greeting() + command(b"\x05ERROR"), Reason.MALFORMED_COMMAND, META),
    "error truncated": (greeting() + command(b"\x05ERROR\x05abc"), Reason.MALFORMED_COMMAND, META),
}


@pytest.mark.parametrize("name", FAILURES)
@pytest.mark.parametrize("trailing", [b"", GOOD])
def test_failure(name: str, trailing: bytes) -> None:
    stream, reason, offset = FAILURES[name]
    data = stream + trailing
    assert verdict([data]) == (reason, offset)
    assert verdict(single(data)) == (reason, offset)
    for cut in range(len(data) + 1):
        assert verdict([data[:cut], data[cut:]]) == (reason, offset)


def bytes_needed(data: bytes) -> int:
    core = Handshake(SocketType.PUB)
    for count, piece in enumerate(single(data), 1):
        try:
            core.receive_data(piece)
        except WireError:
            return count
    raise AssertionError("no failure")


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("http", 1),
        ("1.0 anonymous", 1),
        ("signature end", 10),
        ("2.0", 11),
        ("nullx", 17),
        ("command more", G + 1),
        ("message", G + 1),
        ("size", G + 9),
        ("giant size", G + 2),
        ("empty body", G + 2),
        ("name beyond body", G + 3),
        ("unknown", G + 8),
    ],
)
def test_fails_at_the_first_byte_that_tells(name: str, count: int) -> None:
    assert bytes_needed(FAILURES[name][0]) == count


@pytest.mark.parametrize("name", FAILURES)
def test_dead_after_an_error(name: str) -> None:
    core = Handshake(SocketType.PUB)
    with pytest.raises(WireError) as caught:
        core.receive_data(FAILURES[name][0])
    assert "\n" not in str(caught.value)
    assert str(caught.value).isprintable()
    assert caught.value.reason.value in str(caught.value)
    with pytest.raises(RuntimeError, match="failed"):
        core.receive_data(b"")
    with pytest.raises(RuntimeError, match="failed"):
        core.receive_eof()
    core.data_to_send()
    assert core.data_to_send() == b""


def test_over_after_success() -> None:
    core = Handshake(SocketType.PUB)
    assert core.receive_data(GOOD)
    with pytest.raises(RuntimeError, match="established"):
        core.receive_data(b"x")


@pytest.mark.parametrize(
    ("data", "awaited"), [(b"", "greeting"), (GOOD[:40], "greeting"), (GOOD[:-1], "READY")]
)
def test_peer_closed(data: bytes, awaited: str) -> None:
    core = Handshake(SocketType.PUB)
    core.receive_data(data)
    with pytest.raises(WireError, match=awaited) as caught:
        core.receive_eof()
    assert caught.value.reason is Reason.PEER_CLOSED
    assert caught.value.offset == len(data)


def test_wrong_type_is_told_instead_of_ready() -> None:
    core = Handshake(SocketType.PUB)
    with pytest.raises(WireError, match="SUB or XSUB for our PUB, received PAIR"):
        core.receive_data(greeting() + ready(prop(b"Socket-Type", b"PAIR")))
    assert core.data_to_send() == greeting() + zmtp.encode_error("incompatible-socket-type:PAIR")


def test_wrong_type_is_told_after_ready_when_that_is_out() -> None:
    core = Handshake(SocketType.PUB)
    core.receive_data(greeting())
    core.data_to_send()
    with pytest.raises(WireError):
        core.receive_data(ready(prop(b"Socket-Type", b"PAIR")))
    assert core.data_to_send() == zmtp.encode_error("incompatible-socket-type:PAIR")


def test_other_failures_are_not_told() -> None:
    core = Handshake(SocketType.PUB)
    with pytest.raises(WireError):
        core.receive_data(b"GET")
    assert core.data_to_send() == greeting()


def test_peer_error_text_is_made_harmless() -> None:
    text = b"\x1b[31m\nbad\xff" + b"x" * 240
    core = Handshake(SocketType.PUB)
    with pytest.raises(WireError) as caught:
        core.receive_data(greeting() + command(b"\x05ERROR" + bytes((len(text),)) + text))
    assert caught.value.received.startswith("ERROR '?[31m?bad?xxx")
    assert len(caught.value.received) < 300


def test_cap_is_inclusive_and_adjustable() -> None:
    filling = 200 - 6 - len(SUB) - len(prop(b"X", b""))
    exact = greeting() + ready(SUB, prop(b"X", bytes(filling)))
    assert Handshake(SocketType.PUB, max_command_bytes=200).receive_data(exact) is not None
    core = Handshake(SocketType.PUB, max_command_bytes=199)
    with pytest.raises(WireError) as caught:
        core.receive_data(exact[: G + 2])
    assert caught.value.reason is Reason.COMMAND_TOO_LARGE


@pytest.mark.parametrize(
    "properties",
    [
        {"": b""},
        {"a b": b""},
        {"é": b""},
        {"n" * 256: b""},
        {"socket-type": b"SUB"},
        {"X-a": b"", "x-A": b""},
        {"X": bytes(8192)},
    ],
)
def test_properties_that_we_must_not_send(properties: dict[str, bytes]) -> None:
    with pytest.raises(ValueError, match="propert"):
        Handshake(SocketType.PUB, properties=properties)


def test_bad_cap() -> None:
    with pytest.raises(ValueError, match="max_command_bytes"):
        Handshake(SocketType.PUB, max_command_bytes=0)


# ---- the table


def test_table_is_complete() -> None:
    assert set(TRANSITIONS) == {(state, event) for state in State for event in Event}


def test_only_the_good_way_leads_to_established() -> None:
    ways = [key for key, to in TRANSITIONS.items() if to is State.ESTABLISHED and key[0] is not to]
    assert ways == [(State.AWAIT_READY, Event.READY)]
    assert all(to is State.FAILED for (state, _), to in TRANSITIONS.items() if state is State.FAILED)


# ---- anything at all


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    data = bytearray(
        draw(st.sampled_from([b"", SIGNATURE, greeting(), GOOD, greeting() + b"\x04\x20\x05READY"]))
    )
    data += draw(st.binary(max_size=200))
    for index, byte in draw(st.lists(st.tuples(st.integers(0, 120), st.integers(0, 255)), max_size=3)):
        if index < len(data):
            data[index] = byte
    return bytes(data)


@given(data=streams(), cuts=st.lists(st.integers(0, 300), max_size=6), kind=st.sampled_from(SocketType))
@example(data=GOOD, cuts=[], kind=SocketType.PUB)
def test_random_bytes_are_judged_alike_and_hold_little(
    data: bytes, cuts: list[int], kind: SocketType
) -> None:
    marks = sorted(cuts)
    pieces = [data[start:end] for start, end in zip([0, *marks], [*marks, None], strict=True)]
    assert verdict([data], kind) == verdict(single(data), kind) == verdict(pieces, kind)
    core, offset = Handshake(kind, max_command_bytes=100), 0
    try:
        for piece in single(data):
            if core.receive_data(piece) is not None:
                break
            assert core.buffered_bytes <= 109
    except WireError as error:
        offset = error.offset
    assert offset < max(len(data), 1)
    assert core.buffered_bytes <= 109


NAMED = [
    bytes((len(name),)) + name for name in (b"PING", b"PONG", b"SUBSCRIBE", b"CANCEL", b"ERROR", b"READY")
]


@given(data=st.binary(max_size=80), prefix=st.sampled_from([b"", *NAMED]))
def test_random_commands_raise_only_wire_errors(data: bytes, prefix: bytes) -> None:
    offset = 0
    try:
        zmtp.parse_command(prefix + data)
    except WireError as error:
        offset = error.offset
    assert 0 <= offset <= len(prefix + data)


NAMES = st.text("abcXYZ019-_.+", min_size=1, max_size=20)


@given(st.dictionaries(NAMES, st.binary(max_size=50)).filter(lambda d: len({k.lower() for k in d}) == len(d)))
def test_metadata_round_trip(properties: dict[str, bytes]) -> None:
    frame = encode_ready(properties.items())
    body = frame[2:] if frame[0] == 4 else frame[9:]
    assert zmtp.parse_command(body) == zmtp.Ready({name.lower(): value for name, value in properties.items()})
    assert parse_metadata(body[6:]) == {name.lower(): value for name, value in properties.items()}


# ---- commands


@pytest.mark.parametrize(
    ("frame", "raw", "event"),
    [
        (zmtp.encode_ping(10, b"ctx"), b"\x04\x0a\x04PING\x00\x0actx", zmtp.Ping(10, b"ctx")),
        (zmtp.encode_ping(65535), b"\x04\x07\x04PING\xff\xff", zmtp.Ping(65535, b"")),
        (
            zmtp.encode_pong(b"0123456789abcdef"),
            b"\x04\x15\x04PONG0123456789abcdef",
            zmtp.Pong(b"0123456789abcdef"),
        ),
        (zmtp.encode_subscribe(b"ab", (3, 1)), b"\x04\x0c\x09SUBSCRIBEab", zmtp.Subscribe(b"ab")),
        (zmtp.encode_cancel(b"", (3, 1)), b"\x04\x07\x06CANCEL", zmtp.Cancel(b"")),
        (zmtp.encode_error("a b\né"), b"\x04\x0c\x05ERROR\x05a_b__", zmtp.Error("a_b__")),
    ],
)
def test_command_round_trip(frame: bytes, raw: bytes, event: zmtp.Command) -> None:
    assert frame == raw
    assert zmtp.parse_command(frame[2:]) == event


def test_subscription_messages_of_minor_0() -> None:
    assert zmtp.encode_subscribe(b"ab", (3, 0)) == b"\x00\x03\x01ab"
    assert zmtp.encode_cancel(b"ab", (3, 0)) == b"\x00\x03\x00ab"
    assert zmtp.parse_subscription_message(b"\x01ab") == zmtp.Subscribe(b"ab")
    assert zmtp.parse_subscription_message(b"\x00") == zmtp.Cancel(b"")
    assert zmtp.parse_subscription_message(b"") is None
    assert zmtp.parse_subscription_message(b"\x02ab") is None


@pytest.mark.parametrize("size", [0, 244, 245, 246, 255, 256, 70_000])
@pytest.mark.parametrize("version", [(3, 0), (3, 1)])
def test_long_topics_take_long_frames(size: int, version: tuple[int, int]) -> None:
    frame = zmtp.encode_subscribe(bytes(size), version)
    header = 9 if frame[0] & zmtp.Flag.LONG else 2
    body = frame[header:]
    assert int.from_bytes(frame[1:header], "big") == len(body)
    assert (header == 9) == (len(body) > 255)
    parsed = (
        zmtp.parse_command(body) if frame[0] & zmtp.Flag.COMMAND else zmtp.parse_subscription_message(body)
    )
    assert parsed == zmtp.Subscribe(bytes(size))


def test_error_reason_is_cut() -> None:
    event = zmtp.parse_command(zmtp.encode_error("x" * 300)[9:])
    assert event == zmtp.Error("x" * 255)


@pytest.mark.parametrize(("ttl_ds", "context"), [(-1, b""), (65536, b""), (0, bytes(17))])
def test_ping_arguments(ttl_ds: int, context: bytes) -> None:
    with pytest.raises(ValueError, match="must be"):
        zmtp.encode_ping(ttl_ds, context)


@pytest.mark.parametrize("body", [b"\x04JOINgroup", b"\x05LEAVE", b"\x04ping\0\0"])
def test_unknown_commands(body: bytes) -> None:
    event = zmtp.parse_command(body)
    assert isinstance(event, zmtp.UnknownCommand)
    assert event.name.encode() in body


@pytest.mark.parametrize(
    ("body", "offset"),
    [
        (b"", 0),
        (b"\x00", 0),
        (b"\x05PING", 0),
        (b"\x04PI\0G", 1),
        (b"\x04\xc3\xa9ab", 1),
        (b"\x04PING", 5),
        (b"\x04PING\0", 5),
        (b"\x04PING\0\0" + bytes(17), 7),
        (b"\x04PONG" + bytes(17), 5),
        (b"\x05ERROR\x02abc", 6),
    ],
)
def test_malformed_commands(body: bytes, offset: int) -> None:
    with pytest.raises(WireError) as caught:
        zmtp.parse_command(body, offset=1000)
    assert caught.value.reason is Reason.MALFORMED_COMMAND
    assert caught.value.offset == 1000 + offset


# ---- values


def test_events_are_frozen_and_distinct() -> None:
    event = zmtp.Subscribe(b"a")
    with pytest.raises(AttributeError):
        event.topic = b"b"
    with pytest.raises(AttributeError):
        del event.topic
    assert event != zmtp.Cancel(b"a")
    assert event == zmtp.Subscribe(b"a")
    assert len({event, zmtp.Subscribe(b"a"), zmtp.Cancel(b"a")}) == 2
    assert repr(zmtp.Ping(1, b"c")) == "Ping(ttl_ds=1, context=b'c')"
    assert copy.copy(event) == pickle.loads(pickle.dumps(event)) == event
    with pytest.raises(TypeError):
        hash(zmtp.Ready({}))


def test_errors_survive_pickling() -> None:
    error = WireError(Reason.BAD_FLAGS, expected="a", received="b", offset=3)
    twin = pickle.loads(pickle.dumps(error))
    assert (twin.reason, twin.expected, twin.received, twin.offset) == ("bad-flags", "a", "b", 3)
    assert str(twin) == str(error) == "bad-flags at byte 3: expected a, received b"


def test_printable() -> None:
    assert printable(b"ok\n\xff") == "ok??"
    assert printable(b"x" * 100) == "x" * 64 + "..."
