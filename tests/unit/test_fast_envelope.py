# SPDX-License-Identifier: Apache-2.0
"""The compiled envelope against the slow one, and both against the C++ reader and writer by way of pycapnp."""

from __future__ import annotations

import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from plexo._fast import envelope
from plexo._fast.envelope import EnvelopeError, build_envelope, parse_envelope
from tests.capnp_schema import plexo_message
from tests.reference import envelope as reference

names = st.sampled_from([b"", b"a", b"org.a.B", b"org.a.BC", b"org.brewery.sake.Temperature.json"]) | st.text(
    st.characters(codec="utf-8", exclude_characters="\0"), max_size=24
).map(str.encode)
payloads = st.binary(max_size=40)


@st.composite
def scattered(draw):
    """(name, payload, one of the many ways to write them)."""
    name, payload = draw(names), draw(payloads)
    rng = random.Random(draw(st.integers(0, 2**32)))
    count = draw(st.sampled_from([1, 2, 3, 4, 9, 64]))
    return name, payload, reference.scatter_envelope(name, payload, rng, count)


@st.composite
def mutated(draw):
    """A valid envelope, then flipped bits, altered fields, a cut or bytes behind it."""
    data = bytearray(draw(scattered())[2])
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(["flip", "half", "copy", "cut", "append"]))
        if not data:
            break
        # The first bytes hold the table and the pointers: change them more often than the rest.
        at = draw(st.integers(0, min(len(data), draw(st.sampled_from([16, 64, len(data)]))) - 1))
        if kind == "flip":
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "half":
            value = draw(
                st.sampled_from([0, 1, 2, 3, 511, 512, 2**29 - 1, 2**31, 2**32 - 1])
                | st.integers(0, 2**32 - 1)
            )
            data[at & ~3 : (at & ~3) + 4] = value.to_bytes(4, "little")
        elif kind == "copy":
            source = draw(st.integers(0, len(data) - 1)) & ~7
            data[at & ~7 : (at & ~7) + 8] = data[source : source + 8]
        elif kind == "cut":
            del data[draw(st.integers(0, len(data))) :]
        else:
            data += draw(st.binary(max_size=16))
    return bytes(data)


def outcome(parse, data):
    try:
        return parse(data)
    except ValueError:
        return ValueError


# Words of a message: a struct or list pointer, a far pointer, and the upper halves of the former.


def word(offset: int, kind: int, upper: int) -> int:
    return offset % 2**30 << 2 | kind | upper << 32


def far(segment: int, at: int, double: bool = False) -> int:
    return reference.FAR | double << 2 | at << 3 | segment << 32


TWO_POINTERS = 2 << 16
ONE_POINTER = 1 << 16


def byte_list(size: int) -> int:
    return 2 | size << 3


# -- against the reference ---------------------------------------------------------------------------------------------


@given(names, payloads)
@settings(deadline=None)
@example(b"", b"")
@example(b"1234567", b"12345678")
@example(b"12345678", b"1")
def test_written_like_the_reference(name, payload):
    data = build_envelope(name, payload)
    assert data == reference.build_envelope(name, payload)
    assert parse_envelope(data) == (name, payload)


@given(scattered())
@settings(max_examples=300, deadline=None)
def test_every_layout_is_read(case):
    name, payload, data = case
    assert parse_envelope(data) == reference.parse_envelope(data) == (name, payload)


@given(st.binary(max_size=80))
@settings(max_examples=200, deadline=None)
def test_random_bytes(data):
    assert outcome(parse_envelope, data) == outcome(reference.parse_envelope, data)


@given(mutated())
@settings(max_examples=1000, deadline=None)
def test_mutated_envelopes(data):
    assert outcome(parse_envelope, data) == outcome(reference.parse_envelope, data)


pointer_like = (
    st.integers(0, 2**64 - 1)
    | st.builds(word, st.integers(-4, 6), st.integers(0, 3), st.integers(0, 2**32 - 1))
    | st.builds(word, st.integers(-4, 6), st.just(0), st.sampled_from([0, 1, 1 << 16, 2 << 16, 2 << 16 | 1]))
    | st.builds(word, st.integers(-4, 6), st.just(1), st.integers(0, 24).map(byte_list))
    | st.builds(far, st.integers(0, 2), st.integers(0, 6), st.booleans())
)


@given(st.lists(pointer_like, max_size=6), st.integers(0, 6), st.integers(0, 3))
@settings(max_examples=1000, deadline=None)
def test_random_pointers(words, split, more):
    data = reference.join_segments([words[:split], words[split:], []][: more or 1])
    assert outcome(parse_envelope, data) == outcome(reference.parse_envelope, data)


@given(scattered())
@settings(max_examples=40, deadline=None)
def test_every_truncation(case):
    data = case[2]
    for cut in range(len(data)):
        with pytest.raises(EnvelopeError, match="input ends"):
            parse_envelope(data[:cut])


@given(scattered(), st.integers(1, 7), st.binary(max_size=20))
@settings(deadline=None)
def test_unaligned_and_followed_by_more(case, shift, behind):
    name, payload, data = case
    assert parse_envelope(memoryview(bytes(shift) + data + behind)[shift:]) == (name, payload)


# -- each rule by itself -----------------------------------------------------------------------------------------------

NAME = int.from_bytes(b"name\0", "little")
DATA = int.from_bytes(b"data", "little")
LISTS = [word(1, 1, byte_list(5)), word(1, 1, byte_list(4)), NAME, DATA]


ACCEPTED = [
    ([[0]], (b"", b"")),
    ([[word(-1, 0, 0)]], (b"", b"")),
    ([[word(0, 0, 5), 1, 2, 3, 4, 5]], (b"", b"")),
    ([[word(0, 0, TWO_POINTERS), 0, 0]], (b"", b"")),
    ([[word(0, 0, TWO_POINTERS), *LISTS]], (b"name", b"data")),
    ([[word(0, 0, ONE_POINTER), *LISTS]], (b"name", b"")),
    ([[word(1, 0, TWO_POINTERS + 1), 99, 98, *LISTS]], (b"name", b"data")),
    ([[far(1, 0)], [word(0, 0, TWO_POINTERS), *LISTS]], (b"name", b"data")),
    ([[far(0, 1), word(0, 0, TWO_POINTERS), *LISTS]], (b"name", b"data")),
    ([[far(1, 0, True)], [far(2, 0), word(0, 0, TWO_POINTERS)], LISTS], (b"name", b"data")),
    # Of size zero: wherever it points.
    ([[word(99, 0, 0)]], (b"", b"")),
    ([[word(0, 0, TWO_POINTERS), 0, word(-99, 1, byte_list(0))]], (b"", b"")),
]

REJECTED = [
    ([[]], "root pointer"),
    ([[far(1, 0)]], "missing or empty"),
    ([[far(1, 0, True)], [far(2, 0), word(0, 0, 0)], []], "missing or empty"),
    ([[far(0, 1)]], "landing pad is outside"),
    ([[far(0, 2**29 - 1)]], "landing pad is outside"),
    ([[far(1, 0, True)], [far(0, 0)]], "landing pad is outside"),
    ([[far(0, 0)]], "another far pointer"),
    ([[far(1, 0, True)], [word(0, 0, 0), 0]], "does not begin with a far"),
    ([[word(0, 1, byte_list(0))]], "root is not a struct"),
    ([[3]], "root is not a struct"),
    ([[7]], "root is not a struct"),
    ([[word(0, 0, TWO_POINTERS), 0]], "root struct is outside"),
    ([[word(-2, 0, TWO_POINTERS), 0, 0]], "root struct is outside"),
    ([[word(-(2**29), 0, 1), 0, 0]], "root struct is outside"),
    ([[word(0, 0, 0xFFFFFFFF), 0, 0]], "root struct is outside"),
    ([[word(0, 0, ONE_POINTER), 3]], "not a list"),
    ([[word(0, 0, ONE_POINTER), word(0, 0, 1), 0]], "not a list"),
    *(
        ([[word(0, 0, ONE_POINTER), word(0, 1, element | 8), 0]], "not a list of bytes")
        for element in (0, 1, 3, 4, 5, 6, 7)
    ),
    ([[word(0, 0, ONE_POINTER), word(0, 1, byte_list(9)), 0]], "outside its segment"),
    ([[word(0, 0, ONE_POINTER), word(1, 1, byte_list(1)), 0]], "outside its segment"),
    ([[word(0, 0, TWO_POINTERS), 0, word(0, 1, byte_list(2**29 - 1)), 0]], "outside its segment"),
    ([[word(0, 0, ONE_POINTER), word(0, 1, byte_list(0))]], "NUL"),
    ([[word(0, 0, ONE_POINTER), word(0, 1, byte_list(4)), NAME]], "NUL"),
]


@pytest.mark.parametrize(("segments", "expected"), ACCEPTED)
def test_accepted(segments, expected):
    data = reference.join_segments(segments)
    assert parse_envelope(data) == reference.parse_envelope(data) == expected


@pytest.mark.parametrize(("segments", "reason"), REJECTED)
def test_rejected(segments, reason):
    data = reference.join_segments(segments)
    with pytest.raises(ValueError):
        reference.parse_envelope(data)
    with pytest.raises(EnvelopeError, match=reason):
        parse_envelope(data)


def test_number_of_segments_is_capped():
    most = [[0]] + [[]] * (envelope.MAX_SEGMENTS - 1)
    assert parse_envelope(reference.join_segments(most)) == (b"", b"")
    for data in (reference.join_segments([*most, []]), b"\xff\xff\xff\xff" + bytes(100)):
        with pytest.raises(EnvelopeError, match="too many segments"):
            parse_envelope(data)


def test_wrong_arguments():
    for call in (
        lambda: parse_envelope("text"),  # type: ignore[arg-type]
        lambda: build_envelope("text", b""),  # type: ignore[arg-type]
        lambda: build_envelope(b"", None),  # type: ignore[arg-type]
    ):
        with pytest.raises(TypeError):
            call()


# -- against pycapnp ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def capnp_message():
    return plexo_message()


def read_with_pycapnp(message_type, data):
    """(name, payload), the name None if it is no UTF-8; ValueError if the C++ reader refuses."""
    import capnp

    try:
        with message_type.from_bytes(data) as message:
            payload = bytes(message.payload)
            try:
                return message.typeName.encode(), payload
            except UnicodeDecodeError as error:
                # The C++ error about a missing NUL quotes the byte in its place, and if that is no UTF-8, pycapnp
                # stumbles over the message, which begins with a source file's name: still a refusal.
                return ValueError if error.object.startswith(b"capnp/layout.c++") else (None, payload)
    except capnp.KjException:
        return ValueError


@given(name=names, payload=payloads)
@settings(deadline=None)
def test_pycapnp_reads_ours(capnp_message, name, payload):
    assert read_with_pycapnp(capnp_message, build_envelope(name, payload)) == (name, payload)


@given(
    name=names,
    payload=payloads,
    payload_first=st.booleans(),
    first_words=st.integers(1, 12),
    segment_words=st.none() | st.integers(1, 6),
)
@settings(max_examples=150, deadline=None)
def test_we_read_pycapnp(capnp_message, name, payload, payload_first, first_words, segment_words):
    arguments = {"num_first_segment_words": first_words}
    if segment_words is not None:
        arguments["allocate_seg_callable"] = lambda minimum, *_: bytearray(8 * max(minimum, segment_words))
    message = capnp_message.new_message(**arguments)
    for field in ("payload", "typeName") if payload_first else ("typeName", "payload"):
        setattr(message, field, payload if field == "payload" else name.decode())
    assert parse_envelope(message.to_bytes()) == (name, payload)


@given(case=scattered())
@settings(max_examples=150, deadline=None)
def test_our_scattered_writer_is_correct(capnp_message, case):
    name, payload, data = case
    assert read_with_pycapnp(capnp_message, data) == (name, payload)


@given(data=mutated())
@settings(max_examples=500, deadline=None)
@example(
    data=reference.join_segments([[word(0, 0, ONE_POINTER), word(0, 1, byte_list(1)), 0xFF]])
)  # no NUL, no UTF-8
@example(
    data=reference.join_segments([[word(0, 0, ONE_POINTER), word(0, 1, byte_list(2)), 0x00FF]])
)  # no UTF-8
def test_accepted_exactly_when_pycapnp_accepts(capnp_message, data):
    data = data[: len(data) & ~7]  # pycapnp wants whole words, ...
    if len(data) < 8 or int.from_bytes(data[:4], "little") >= envelope.MAX_SEGMENTS:
        return  # ... and its reader of flat arrays has no cap on segments
    ours, theirs = outcome(parse_envelope, data), read_with_pycapnp(capnp_message, data)
    if isinstance(ours, tuple) and isinstance(theirs, tuple) and theirs[0] is None:
        ours = None, ours[1]
    assert ours == theirs


@pytest.mark.parametrize(("segments", "expected"), ACCEPTED)
def test_pycapnp_accepts_it_too(capnp_message, segments, expected):
    assert read_with_pycapnp(capnp_message, reference.join_segments(segments)) == expected


@pytest.mark.parametrize(("segments", "reason"), REJECTED)
def test_pycapnp_rejects_it_too(capnp_message, segments, reason):
    assert read_with_pycapnp(capnp_message, reference.join_segments(segments)) is ValueError
