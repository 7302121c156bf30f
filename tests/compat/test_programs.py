# SPDX-License-Identifier: Apache-2.0
"""Programs written for 1.0 do with ours what they did with 1.0.0, which runs the very same files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.compat.program import OURS, THEIRS, Program
from tests.interop.peer import TRIES, free_port

BOTH_WAYS = [(OURS, OURS), (OURS, THEIRS), (THEIRS, OURS)]
mixed = pytest.mark.parametrize(
    ("sender", "responder"), BOTH_WAYS, ids=["-".join(pair) for pair in BOTH_WAYS]
)

INPROCESS = """\
text hello 0 …
text hello 1 …
text hello 2 …
plain one
partial one dev.plexo.test.Plain
method 7 dev.plexo.test.Count.pickle True
plain two
plain three
not found True
True False False
text through two plexuses
text over a synapse
text and again
"""

RETURNS = """\
json {"name": "Alt"} {"name":"Alt"}
prost Kölsch {"name": "Kölsch", "strength": 4.8} dev.plexo.test.beer.json True
"""


def lines(text: str) -> list[str]:
    """In any order: 1.0 keeps reactants in sets."""
    return sorted(text.splitlines())


@pytest.mark.parametrize("whose", [OURS, THEIRS])
def test_inprocess(request: pytest.FixtureRequest, whose: str) -> None:
    python = request.getfixturevalue("plexo_1_0") if whose == THEIRS else None
    with Program(whose, python, "inprocess.py") as program:
        assert lines(program.output()) == lines(INPROCESS)
        if whose == OURS:
            assert complaints(program) == []


@pytest.mark.parametrize("whose", [OURS, THEIRS])
def test_reactants_and_messages_of_other_libraries(plexo_1_0: Path, whose: str) -> None:
    with Program(whose, plexo_1_0, "inprocess_returns.py", extras=True) as program:
        assert lines(program.output()) == lines(decoded(RETURNS))


def decoded(expected: str) -> str:
    # json.dumps, which python-jsonschema-objects writes with, escapes what is not ASCII.
    return expected.replace('"Kölsch"', '"K\\u00f6lsch"')


def complaints(program: Program) -> list[str]:
    """Warnings of the interpreter and tracebacks on standard error."""
    return re.findall(
        r"^.*(?:Traceback|\w+Warning|Error:|never awaited|never retrieved).*$", program.errors, re.MULTILINE
    )


def run_pair_of_programs(
    plexo_1_0: Path, sender: str, responder: str, transport: str, codec: str, sender_first: bool
) -> None:
    for left in reversed(range(TRIES)):
        ports = free_port(), free_port()
        extras = codec != "pickle"
        sending = (sender, plexo_1_0, "hello.py", "send", transport, codec, *ports)
        responding = (responder, plexo_1_0, "hello.py", "respond", transport, codec, *ports[::-1])
        order = (sending, responding) if sender_first else (responding, sending)
        with Program(*order[0], extras=extras) as first, Program(*order[1], extras=extras) as second:
            one, other = (first, second) if sender_first else (second, first)
            try:
                assert other.line() == "reacting"
                assert one.line() == "answered"
            except AssertionError:
                if left and "in use" in first.errors + second.errors:
                    continue
                raise
            assert one.output() == "closed\n"
            if sender == OURS:
                assert complaints(one) == []
            if responder == OURS:
                assert complaints(other) == []
            return


@pytest.mark.parametrize("sender_first", [True, False], ids=["sender-first", "responder-first"])
@pytest.mark.parametrize("codec", ["pickle", "json", "capnpy"])
@pytest.mark.parametrize("transport", ["pair", "pubsub"])
@mixed
def test_hello(
    plexo_1_0: Path, sender: str, responder: str, transport: str, codec: str, sender_first: bool
) -> None:
    run_pair_of_programs(plexo_1_0, sender, responder, transport, codec, sender_first)


def test_several_event_loops_on_one_pair() -> None:
    port = free_port()
    with Program(OURS, None, "two_loops.py", "answer", port) as answering:
        assert answering.line() == "reacting"
        with Program(OURS, None, "two_loops.py", "ask", port) as asking:
            assert asking.line() == "['QUESTION 0', 'QUESTION 1', 'QUESTION 2', 'QUESTION 3']"
            assert asking.output() == "closed\n"
            assert complaints(asking) == complaints(answering) == []


@pytest.mark.parametrize("service_first", [True, False], ids=["service-first", "client-first"])
def test_transmit_without_a_neuron(service_first: bool) -> None:
    port = free_port()
    order = ["service", "client"] if service_first else ["client", "service"]
    with (
        Program(OURS, None, "podping_style.py", order[0], port) as first,
        Program(OURS, None, "podping_style.py", order[1], port) as second,
    ):
        service, client = (first, second) if service_first else (second, first)
        assert service.line() == "reacting"
        assert client.line() == "answered"
        assert client.output() == ""
        assert complaints(service) == complaints(client) == []


@pytest.mark.parametrize("kind", ["ganglion", "synapse"])
def test_multicast(kind: str) -> None:
    """1.0.0 needs a libzmq with OpenPGM, which it does not bring, and then never starts: only ours runs it."""
    port = free_port()
    with (
        Program(OURS, None, "multicast.py", kind, "one", "other", port) as one,
        Program(OURS, None, "multicast.py", kind, "other", "one", port) as other,
    ):
        for program in (one, other):
            assert program.line() == "answered"
            assert program.output() == "closed\n"
            assert complaints(program) == []
