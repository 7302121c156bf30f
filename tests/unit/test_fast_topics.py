# SPDX-License-Identifier: Apache-2.0
"""The hash against its vectors and the slow one, the topic table against a dict."""

from __future__ import annotations

import gc
import sys
import weakref

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from plexo._fast.topics import TopicTable, topic_hash
from tests.reference.topics import fnv1a_64


class Thing:
    """Something to refer to, weakly too."""


# -- the hash ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),  # RFC 9923
    [("", 0xCBF29CE484222325), ("a", 0xAF63DC4C8601EC8C), ("foobar", 0x85944171F73967E8)],
)
def test_known_hashes(name, expected):
    assert topic_hash(name) == topic_hash(name.encode()) == expected


@given(st.binary())
@settings(deadline=None)
def test_hash_like_the_reference(data):
    assert topic_hash(data) == fnv1a_64(data)


@given(st.text())
@settings(deadline=None)
def test_text_is_hashed_as_utf8(text):
    assert topic_hash(text) == fnv1a_64(text.encode())


@pytest.mark.parametrize("name", [None, 1, bytearray(b"a"), ["a"]])
def test_hash_of_something_else(name):
    with pytest.raises(TypeError, match=f"name must be str or bytes, not {type(name).__name__}"):
        topic_hash(name)


# -- the table ---------------------------------------------------------------------------------------------------------

topics = st.integers(0, 40).map(lambda n: b"org.example.Topic%d.json" % n) | st.binary(max_size=2)


class TableAgainstDict(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.table = TopicTable()
        self.model: dict[bytes, int] = {}

    @rule(topic=topics, value=st.integers())
    def insert(self, topic, value):
        self.table.insert(topic, value)
        self.model[topic] = value

    @rule(topic=topics)
    def remove(self, topic):
        if topic in self.model:
            del self.model[topic]
            self.table.remove(topic)
        else:
            with pytest.raises(KeyError):
                self.table.remove(topic)

    @rule(topic=topics)
    def look_up_twice(self, topic):
        # The second time is the shortcut's.
        assert self.table.get(topic, "none") == self.model.get(topic, "none")
        assert self.table.get(bytes(bytearray(topic)), "none") == self.model.get(topic, "none")

    @rule()
    def drain(self):
        for topic in self.table.topics():
            self.table.remove(topic)
        self.model.clear()

    @invariant()
    def same(self):
        assert len(self.table) == len(self.model)
        assert set(self.table.topics()) == set(self.model)
        assert all(topic in self.table for topic in self.model)


TableAgainstDict.TestCase.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
test_table_against_dict = TableAgainstDict.TestCase


def test_empty_table():
    table = TopicTable()
    assert len(table) == 0
    assert table.topics() == list(table) == []
    assert table.get(b"") is None
    assert b"" not in table
    assert table._probe_limit == 0


def test_probing_is_bounded_and_everything_is_found():
    table = TopicTable()
    names = [b"org.example.sensor.%d.json" % number for number in range(30_000)]
    for number, name in enumerate(names):
        table.insert(name, number)
    # At load 1/4 to 1/2 the longest run grows with the logarithm of the size; a bad mix gives hundreds.
    assert table._probe_limit < 100
    assert all(table.get(name) == number for number, name in enumerate(names))
    assert not any(name + b"x" in table for name in names)
    for name in names[::2]:
        table.remove(name)
    assert all((name in table) == bool(number % 2) for number, name in enumerate(names))
    for name in names[1::2]:
        table.remove(name)
    assert len(table) == 0
    assert table._probe_limit == 0


def test_topics_chosen_to_crowd_do_not():
    # Topics whose plain hashes agree in the low 12 bits, which an unmixed table of 4096 slots would put in one run.
    table = TopicTable()
    crowd = [name for name in (b"%d" % number for number in range(400_000)) if topic_hash(name) & 0xFFF == 7]
    assert len(crowd) > 50
    for name in crowd:
        table.insert(name, name)
    assert table._probe_limit < 40


def test_secret_differs_between_tables():
    def order_of_slots():
        table = TopicTable()
        limits = []
        for number in range(512):
            table.insert(b"%d" % number, number)
            limits.append(table._probe_limit)
        return limits

    assert len({tuple(order_of_slots()) for _ in range(8)}) > 1


def test_last_topic_is_forgotten_when_it_is_removed():
    table = TopicTable()
    table.insert(b"a", 1)
    table.insert(b"b", 2)
    assert table.get(b"a") == 1
    table.remove(b"a")
    assert table.get(b"a") is None
    assert table.get(b"b") == 2
    table.remove(b"b")
    assert table.get(b"b") is None


def test_last_topic_sees_its_new_value():
    table = TopicTable()
    table.insert(b"a", 1)
    assert table.get(b"a") == 1
    table.insert(b"a", 2)
    assert table.get(b"a") == 2
    assert len(table) == 1


def test_topics_are_compared_whole():
    table = TopicTable()
    table.insert(b"org.example.A", 1)
    assert table.get(b"org.example.A") == 1
    assert table.get(b"org.example.") is None
    assert table.get(b"org.example.A\0") is None
    assert table.get(b"") is None


def test_wrong_arguments():
    table = TopicTable()
    for call in (
        lambda: table.insert("a", 1),  # type: ignore[arg-type]
        lambda: table.insert(None, 1),  # type: ignore[arg-type]
        lambda: table.insert(bytearray(b"a"), 1),  # type: ignore[arg-type]
        lambda: table.remove(None),  # type: ignore[arg-type]
        lambda: table.get(None),  # type: ignore[call-overload]
        lambda: "a" in table,  # type: ignore[operator]
    ):
        with pytest.raises(TypeError):
            call()
    with pytest.raises(KeyError, match="absent"):
        table.remove(b"absent")
    assert len(table) == 0


# -- references --------------------------------------------------------------------------------------------------------


def test_references_are_counted():
    table = TopicTable()
    key, value = bytes(bytearray(b"a topic")), Thing()
    before = sys.getrefcount(key), sys.getrefcount(value)
    for _ in range(3):
        table.insert(key, value)
        assert table.get(key) is value
    assert (sys.getrefcount(key), sys.getrefcount(value)) == (before[0] + 1, before[1] + 1)
    with pytest.raises(KeyError):
        table.remove(b"another")
    table.remove(key)
    assert (sys.getrefcount(key), sys.getrefcount(value)) == before
    table.insert(key, value)
    del table
    assert (sys.getrefcount(key), sys.getrefcount(value)) == before


def test_key_lives_as_long_as_its_entry():
    table = TopicTable()
    for number in range(100):
        table.insert(b"topic %d" % number, number)
    table.insert(b"topic 7", 70)  # an equal key: the first one is kept
    gc.collect()
    assert [table.get(b"topic %d" % number) for number in (6, 7, 99)] == [6, 70, 99]


def test_cycle_through_a_value_is_collected():
    table, value = TopicTable(), Thing()
    value.table = table  # type: ignore[attr-defined]
    table.insert(b"a", value)
    gone = weakref.ref(value)
    del table, value
    gc.collect()
    assert gone() is None


class Meddler:
    """A value whose end changes the table it was in."""

    def __init__(self, table, action):
        self.table, self.action = table, action

    def __del__(self):
        self.action(self.table)


def grow(table):
    for number in range(50):
        table.insert(b"grown %d" % number, number)


def clear(table):
    for topic in table.topics():
        table.remove(topic)


@pytest.mark.parametrize("action", [grow, clear], ids=["grow", "clear"])
@pytest.mark.parametrize("how", ["replace", "remove", "remove the final one"])
def test_table_is_whole_when_a_value_ends(action, how):
    table = TopicTable()
    table.insert(b"a", Meddler(table, action))
    for name in (b"b", b"c", b"d"):
        table.insert(name, name)
    if how == "remove the final one":
        table.remove(b"b")
        table.remove(b"c")
        table.remove(b"d")
    if how == "replace":
        table.insert(b"a", None)
    else:
        table.remove(b"a")
    assert len(table) == len(table.topics()) == len(set(table.topics()))
    assert all(topic in table for topic in table.topics())
    assert (b"grown 49" in table) == (action is grow)


def test_collector_that_runs_inside_an_insertion():
    table = TopicTable()
    threshold = gc.get_threshold()
    gc.set_threshold(1)
    try:
        for number in range(200):
            loop = Meddler(table, lambda table: table.insert(b"from the collector %d" % len(table), 0))
            loop.me = loop  # type: ignore[attr-defined]
            del loop
            table.insert(b"%d" % number, number)
    finally:
        gc.set_threshold(*threshold)
    gc.collect()
    assert all(table.get(b"%d" % number) == number for number in range(200))
    assert len(table) == len(set(table.topics())) > 200
