# SPDX-License-Identifier: Apache-2.0
"""Acknowledged delivery without I/O: what is said, what is refused, what is remembered."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plexo._proto.delivery import (
    MAX_ID,
    MAX_KIND_BYTES,
    MAX_REASON_BYTES,
    MAX_SESSIONS,
    MAX_TEXT_BYTES,
    PROPERTY,
    WINDOW_BYTES,
    WINDOW_IDS,
    Answer,
    Ask,
    Deliver,
    DeliveryCommand,
    Done,
    Failed,
    Refused,
    Reply,
    Settle,
    announced_session,
    announcement,
    cut,
    encode_answer,
    encode_ask,
    encode_deliver,
    encode_settle,
    parse_delivery_command,
)
from plexo._proto.delivery_window import RepeatFilter, Seen, Sessions, Window
from plexo._proto.zmtp import Reason, UnknownCommand, WireError, parse_command
from plexo._proto.zmtp_handshake import Handshake, SocketType

SESSION = bytes(range(16))


def body_of(frame: bytes) -> bytes:
    """The body of one whole frame, which must be a command and nothing more."""
    assert frame[0] in (4, 6)
    start = 9 if frame[0] == 6 else 2
    assert len(frame) - start == int.from_bytes(frame[1:start], "big")
    return frame[start:]


def parsed_or_error(body: bytes, offset: int = 0) -> DeliveryCommand | WireError | None:
    try:
        return parse_delivery_command(body, offset=offset)
    except WireError as error:
        return error


def u64(number: int) -> bytes:
    return number.to_bytes(8, "big")


# -- announcing --------------------------------------------------------------------------------------------


def test_announcement_goes_through_a_handshake() -> None:
    ours = Handshake(SocketType.PAIR, properties=announcement(SESSION))
    theirs = Handshake(SocketType.PAIR)
    assert theirs.receive_data(ours.data_to_send()) is None
    ours.receive_data(theirs.data_to_send())
    established = theirs.receive_data(ours.data_to_send())
    assert established is not None
    assert announced_session(established.properties) == SESSION
    assert established.properties == {"socket-type": b"PAIR", "x-plexo-delivery": b"\x01" + SESSION}


@pytest.mark.parametrize(
    "properties", [{}, {"x-plexo-delivery": b""}, {"x-plexo-delivery": b"\x02" + SESSION}]
)
def test_who_does_not_speak_this_version_announces_nothing(properties: dict[str, bytes]) -> None:
    assert announced_session(properties) is None


@pytest.mark.parametrize("size", [0, 15, 17])
def test_an_announcement_without_a_whole_session_is_malformed(size: int) -> None:
    with pytest.raises(WireError) as caught:
        announced_session({PROPERTY.lower(): b"\x01" + bytes(size)}, offset=7)
    assert caught.value.reason is Reason.MALFORMED_METADATA
    assert caught.value.offset == 7
    with pytest.raises(ValueError, match="16 bytes"):
        announcement(bytes(size))


# -- bytes -------------------------------------------------------------------------------------------------

EXAMPLES: list[tuple[bytes, bytes, DeliveryCommand]] = [
    (
        encode_deliver(5, 3, b"envelope"),
        b"\x0cPLEXODELIVER" + u64(5) + u64(3) + b"envelope",
        Deliver(5, 3, b"envelope"),
    ),
    (encode_settle(5, Done()), b"\x0bPLEXOSETTLE" + u64(5) + b"\x01", Settle(5, Done())),
    (
        encode_settle(5, Failed("KeyError", "'é'")),
        b"\x0bPLEXOSETTLE" + u64(5) + b"\x02\x08KeyError'\xc3\xa9'",
        Settle(5, Failed("KeyError", "'é'")),
    ),
    (
        encode_settle(MAX_ID, Refused("unknown-topic")),
        b"\x0bPLEXOSETTLE" + u64(MAX_ID) + b"\x03unknown-topic",
        Settle(MAX_ID, Refused("unknown-topic")),
    ),
    (encode_ask(1, b"q"), b"\x08PLEXOASK" + u64(1) + b"q", Ask(1, b"q")),
    (encode_answer(1, Reply(b"a")), b"\x0bPLEXOANSWER" + u64(1) + b"\x04a", Answer(1, Reply(b"a"))),
    (
        encode_answer(1, Failed("E", "")),
        b"\x0bPLEXOANSWER" + u64(1) + b"\x02\x01E",
        Answer(1, Failed("E", "")),
    ),
    (
        encode_answer(1, Refused("no-responder")),
        b"\x0bPLEXOANSWER" + u64(1) + b"\x03no-responder",
        Answer(1, Refused("no-responder")),
    ),
]
named = pytest.mark.parametrize(("frame", "body", "command"), EXAMPLES, ids=lambda each: type(each).__name__)


@named
def test_whole(frame: bytes, body: bytes, command: DeliveryCommand) -> None:
    assert body_of(frame) == body
    assert parse_delivery_command(body) == command
    # A peer without the extension sees a well-formed command that it does not know.
    assert isinstance(parse_command(body), UnknownCommand)


@named
def test_equal_only_to_its_own_kind(frame: bytes, body: bytes, command: DeliveryCommand) -> None:
    assert pickle.loads(pickle.dumps(command)) == command
    assert [other for _, _, other in EXAMPLES if other == command] == [command]


@named
def test_short(frame: bytes, body: bytes, command: DeliveryCommand) -> None:
    """Cut anywhere: malformed, or another value where what is last has no size of its own, never the same."""
    name_end = 1 + body[0]
    for end in range(name_end, len(body)):
        found = parsed_or_error(body[:end], 100)
        if isinstance(found, WireError):
            assert found.reason is Reason.MALFORMED_COMMAND
            assert 100 + name_end <= found.offset <= 100 + end
        else:
            assert found is not None
            assert found != command
    for end in range(name_end):
        assert parse_delivery_command(body[:end]) is None


@named
def test_trailing(frame: bytes, body: bytes, command: DeliveryCommand) -> None:
    """Bytes behind belong to what is last in the command; where nothing may follow they are malformed."""
    if isinstance(command, Settle) and isinstance(command.outcome, Done):
        with pytest.raises(WireError, match="nothing behind status 1"):
            parse_delivery_command(body + b"x")
    else:
        found = parse_delivery_command(body + b"x")
        assert found is not None
        assert found != command


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"\x0cPLEXODELIVER" + u64(0) + u64(0) + b"e", "a number from 1"),
        (b"\x0cPLEXODELIVER" + u64(1) + u64(0) + b"e", "a number from 1"),
        (b"\x0cPLEXODELIVER" + u64(1) + u64(2) + b"e", "from its floor"),
        (b"\x0cPLEXODELIVER" + u64(1 + WINDOW_IDS) + u64(1) + b"e", "from its floor"),
        (b"\x0cPLEXODELIVER" + u64(MAX_ID + 1) + u64(MAX_ID) + b"e", "a number from 1"),
        (b"\x0cPLEXODELIVER" + u64(1) + u64(1), "an envelope"),
        (b"\x08PLEXOASK" + u64(0) + b"e", "a number from 1"),
        (b"\x08PLEXOASK" + u64(1), "an envelope"),
        (b"\x0bPLEXOSETTLE" + u64(1), "a status of 1, 2, 3"),
        (b"\x0bPLEXOSETTLE" + u64(1) + b"\x00", "a status of 1, 2, 3"),
        (b"\x0bPLEXOSETTLE" + u64(1) + b"\x04e", "a status of 1, 2, 3"),
        (b"\x0bPLEXOANSWER" + u64(1) + b"\x01", "a status of 2, 3, 4"),
        (b"\x0bPLEXOANSWER" + u64(1) + b"\x04", "an envelope"),
        (b"\x0bPLEXOSETTLE" + u64(1) + b"\x02", "the name of an error"),
        (b"\x0bPLEXOSETTLE" + u64(1) + b"\x02\x00text", "the name of an error"),
        (b"\x0bPLEXOSETTLE" + u64(1) + b"\x02\x05Erro", "the name of an error"),
        (b"\x0bPLEXOSETTLE" + u64(1) + b"\x02\x65" + b"E" * 101, "the name of an error"),
        (b"\x0bPLEXOSETTLE" + u64(1) + b"\x02\x01E" + b"t" * (MAX_TEXT_BYTES + 1), "a text of at most"),
        (b"\x0bPLEXOSETTLE" + u64(1) + b"\x02\x01\xff", "UTF-8"),
        (b"\x0bPLEXOSETTLE" + u64(1) + b"\x02\x01E\xff", "UTF-8"),
        (b"\x0bPLEXOSETTLE" + u64(1) + b"\x03", "a reason of 1 to 64"),
        (b"\x0bPLEXOSETTLE" + u64(1) + b"\x03two words", "a reason of 1 to 64"),
        (b"\x0bPLEXOSETTLE" + u64(1) + b"\x03" + b"r" * (MAX_REASON_BYTES + 1), "a reason of 1 to 64"),
    ],
)
def test_malformed(body: bytes, expected: str) -> None:
    with pytest.raises(WireError, match=expected) as caught:
        parse_delivery_command(body, offset=1000)
    assert caught.value.reason is Reason.MALFORMED_COMMAND
    assert 1000 < caught.value.offset <= 1000 + len(body)


@pytest.mark.parametrize("body", [b"", b"\x04PING\0\0", b"\x0bPLEXODELIVE" + bytes(20), b"\x0dPLEXODELIVERS"])
def test_other_commands_are_left_alone(body: bytes) -> None:
    assert parse_delivery_command(body) is None


@pytest.mark.parametrize(
    "mistake",
    [
        lambda: encode_deliver(0, 0, b"e"),
        lambda: encode_deliver(1, 2, b"e"),
        lambda: encode_deliver(WINDOW_IDS + 1, 1, b"e"),
        lambda: encode_deliver(1, 1, b""),
        lambda: encode_ask(0, b"e"),
        lambda: encode_ask(MAX_ID + 1, b"e"),
        lambda: encode_settle(0, Done()),
        lambda: encode_settle(1, Refused("two words")),
        lambda: encode_settle(1, Refused("")),
        lambda: encode_answer(1, Reply(b"")),
    ],
)
def test_we_say_nothing_malformed(mistake: Callable[[], bytes]) -> None:
    with pytest.raises(ValueError):
        mistake()


outcomes = st.one_of(
    st.just(Done()),
    st.builds(Failed, st.text(max_size=300), st.text(max_size=3000)),
    st.builds(
        Refused, st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=MAX_REASON_BYTES)
    ),
)
ids = st.integers(1, MAX_ID)


@given(id=ids, outcome=outcomes)
def test_every_outcome_comes_back_cut_to_its_limits(id: int, outcome: Done | Failed | Refused) -> None:
    found = parse_delivery_command(body_of(encode_settle(id, outcome)))
    assert isinstance(found, Settle)
    assert found.id == id
    if isinstance(outcome, Failed):
        assert isinstance(found.outcome, Failed)
        assert found.outcome.kind == (cut(outcome.kind, MAX_KIND_BYTES) or "?")
        assert found.outcome.text == cut(outcome.text, MAX_TEXT_BYTES)
    else:
        assert found.outcome == outcome


def test_texts_are_cut_at_characters() -> None:
    assert cut("é" * 10, 5) == "éé"
    assert cut("a\udc80b", 10) == "a?b"
    assert cut("short", 10) == "short"


@given(name=st.sampled_from([body[: 1 + body[0]] for _, body, _ in EXAMPLES]), rest=st.binary(max_size=60))
@settings(max_examples=400)
def test_random_bytes_are_parsed_or_malformed_and_parsed_ones_are_said_so(name: bytes, rest: bytes) -> None:
    body = name + rest
    found = parsed_or_error(body)
    if isinstance(found, WireError):
        assert found.reason is Reason.MALFORMED_COMMAND
        assert len(name) <= found.offset <= len(body)
    elif isinstance(found, Deliver):
        assert body_of(encode_deliver(found.id, found.floor, found.envelope)) == body
    elif isinstance(found, Ask):
        assert body_of(encode_ask(found.id, found.envelope)) == body
    elif isinstance(found, Settle):
        assert body_of(encode_settle(found.id, found.outcome)) == body
    else:
        assert isinstance(found, Answer)
        assert body_of(encode_answer(found.id, found.outcome)) == body


# -- the sender's window -----------------------------------------------------------------------------------


def said(window: Window, id: int) -> Deliver:
    found = parse_delivery_command(body_of(window.command(id)))
    assert isinstance(found, Deliver)
    return found


def test_numbers_rise_and_the_floor_follows_what_is_forgotten() -> None:
    window = Window()
    assert [window.add(b"m%d" % n, sendable=True) for n in range(4)] == [1, 2, 3, 4]
    assert said(window, 3) == Deliver(3, 1, b"m2")
    assert window.settle(2)
    window.forget(2)
    assert window.floor == 1
    assert window.to_send() == [1, 3, 4]
    assert window.settle(1)
    assert window.floor == 1, "the journal may bring it back"
    window.forget(1)
    assert window.floor == 3
    assert said(window, 4) == Deliver(4, 3, b"m3")
    window.forget(3)
    window.forget(4)
    window.forget(4)
    assert (window.floor, window.next_id, window.unsettled, window.bytes) == (5, 5, 0, 0)


def test_what_no_journal_has_yet_is_not_said() -> None:
    window = Window()
    window.add(b"a", sendable=False)
    window.add(b"b", sendable=True)
    assert window.to_send() == [2]
    with pytest.raises(KeyError):
        window.command(1)
    assert window.allow(1)
    assert window.to_send() == [1, 2]


def test_what_is_withdrawn_is_never_said_again() -> None:
    window = Window()
    id = window.add(b"a", sendable=False)
    assert window.settle(id)
    assert not window.settle(id)
    assert not window.allow(id)
    assert not window.allow(77)
    assert not window.settle(77)
    assert window.to_send() == []
    with pytest.raises(KeyError):
        window.command(id)


def test_the_window_is_bounded_by_numbers() -> None:
    window = Window()
    for _ in range(WINDOW_IDS):
        assert window.has_room(1)
        window.add(b"m", sendable=True)
    assert not window.has_room(1)
    for id in range(2, WINDOW_IDS + 1):
        window.forget(id)
    assert not window.has_room(1), "the lowest holds the floor"
    window.forget(1)
    assert window.has_room(1)


def test_the_window_is_bounded_by_bytes_and_takes_one_message_of_any_size() -> None:
    window = Window()
    assert window.has_room(WINDOW_BYTES + 1)
    id = window.add(b"x" * 1000, sendable=True)
    assert window.has_room(WINDOW_BYTES - 1000)
    assert not window.has_room(WINDOW_BYTES - 999)
    window.settle(id)
    assert window.has_room(WINDOW_BYTES + 1)


def test_a_new_life_goes_on_where_the_last_one_was() -> None:
    window = Window()
    window.restore(7, b"seven")
    window.restore(9, b"nine")
    window.skip_to(12)
    assert (window.floor, window.next_id, window.unsettled) == (7, 12, 2)
    assert window.to_send() == [7, 9]
    assert window.add(b"new", sendable=True) == 12
    window.forget(7)
    assert window.floor == 9
    window.forget(9)
    assert window.floor == 12
    for wrong in (12, 3):
        with pytest.raises(ValueError, match="rising order"):
            window.restore(wrong, b"again")
    with pytest.raises(ValueError):
        window.restore(12 + WINDOW_IDS, b"too far")
    empty = Window()
    empty.skip_to(40)
    assert (empty.floor, empty.next_id) == (40, 40)


def test_numbers_do_not_pass_the_end() -> None:
    window = Window(MAX_ID)
    assert window.has_room(1)
    assert said(window, window.add(b"last", sendable=True)) == Deliver(MAX_ID, MAX_ID, b"last")
    assert not window.has_room(1)
    with pytest.raises(ValueError):
        Window(MAX_ID + 1)


# -- the receiver's filter ---------------------------------------------------------------------------------


def test_a_repeat_is_known_in_hand_and_settled() -> None:
    known = RepeatFilter()
    assert known.receive(1, 1).seen is Seen.NEW
    assert known.receive(1, 1) == (Seen.IN_HAND, None)
    known.settle(1, Failed("E", "text"))
    assert known.receive(1, 1) == (Seen.SETTLED, Failed("E", "text"))
    assert known.receive(2, 2).seen is Seen.NEW
    assert known.receive(1, 1).seen is Seen.BELOW_FLOOR
    assert known.receive(2, 1).seen is Seen.IN_HAND
    known.forget(2)
    assert known.receive(2, 1).seen is Seen.NEW


def test_an_outcome_that_comes_late_is_not_kept() -> None:
    known = RepeatFilter()
    known.receive(1, 1)
    known.receive(2, 2)
    known.settle(1, Done())
    known.forget(1)
    assert len(known) == 1


@given(
    st.lists(
        st.tuples(
            st.one_of(st.integers(1, 3000), st.integers(1, MAX_ID - WINDOW_IDS)),
            st.integers(0, WINDOW_IDS - 1),
            st.booleans(),
        ),
        max_size=200,
    )
)
def test_no_sender_makes_the_filter_grow(commands: list[tuple[int, int, bool]]) -> None:
    known = RepeatFilter()
    for floor, above, finishes in commands:
        verdict = known.receive(floor + above, floor)
        if verdict.seen is Seen.NEW and finishes:
            known.settle(floor + above, Done())
        assert len(known) <= WINDOW_IDS
        assert known.floor >= floor


def test_a_flood_leaves_one_window() -> None:
    known = RepeatFilter()
    for id in range(1, 20_000):
        known.receive(id, max(1, id - WINDOW_IDS + 1))
    assert len(known) == WINDOW_IDS
    known.receive(MAX_ID, MAX_ID)
    assert len(known) == 1


def test_sessions_seen_last_are_remembered() -> None:
    sessions = Sessions()
    first = sessions.of(b"0" * 16)
    for n in range(1, MAX_SESSIONS):
        sessions.of(b"%016d" % n)
    assert sessions.of(b"0" * 16) is first
    second = sessions.of(b"%016d" % 1)
    for n in range(100, 100 + MAX_SESSIONS - 1):
        sessions.of(b"%016d" % n)
    assert len(sessions) == MAX_SESSIONS
    assert sessions.of(b"%016d" % 1) is second
    assert sessions.of(b"0" * 16) is not first


# -- both, with links that break anywhere ------------------------------------------------------------------


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_at_least_once_and_no_repeat_reaches_a_reactant(data: st.DataObject) -> None:
    """Cuts lose any suffix of what was said either way; what survives to the end is delivered just once."""
    window, known = Window(), RepeatFilter()
    worked_on: list[int] = []
    settled: set[int] = set()
    to_them: list[bytes] = []
    to_us: list[bytes] = []
    for step in data.draw(
        st.lists(st.sampled_from(["add", "take", "finish", "hear", "cut", "withdraw"]), max_size=60)
    ):
        if step == "add" and window.has_room(1):
            to_them.append(window.command(window.add(b"m", sendable=True)))
        elif step == "take" and to_them:
            command = parse_delivery_command(body_of(to_them.pop(0)))
            assert isinstance(command, Deliver)
            verdict = known.receive(command.id, command.floor)
            assert verdict.seen is not Seen.BELOW_FLOOR, "an honest sender never says what it has settled"
            if verdict.seen is Seen.NEW:
                worked_on.append(command.id)
            elif verdict.outcome is not None:
                to_us.append(encode_settle(command.id, verdict.outcome))
        elif step == "finish" and set(worked_on) - settled:
            id = data.draw(st.sampled_from(sorted(set(worked_on) - settled)))
            settled.add(id)
            known.settle(id, Done())
            to_us.append(encode_settle(id, Done()))
        elif step == "hear" and to_us:
            answer = parse_delivery_command(body_of(to_us.pop(0)))
            assert isinstance(answer, Settle)
            if window.settle(answer.id):
                assert answer.id in settled
                window.forget(answer.id)
        elif step == "cut":
            to_us.clear()
            to_them[:] = [window.command(id) for id in window.to_send()]
        elif step == "withdraw" and window.to_send() and not to_them:
            id = data.draw(st.sampled_from(window.to_send()))
            window.settle(id)
            window.forget(id)
    # The link holds from here on: everything is settled, once.
    to_them = [window.command(id) for id in window.to_send()]
    for frame in to_them:
        command = parse_delivery_command(body_of(frame))
        assert isinstance(command, Deliver)
        if known.receive(command.id, command.floor).seen is Seen.NEW:
            worked_on.append(command.id)
        window.settle(command.id)
        window.forget(command.id)
    assert len(worked_on) == len(set(worked_on))
    assert window.unsettled == 0
    assert window.floor == window.next_id
