# SPDX-License-Identifier: Apache-2.0
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plexo._proto.errors import Reason, WireError
from plexo._proto.subscriptions import MAX_TOPIC_BYTES, Subscriptions


def test_nothing_is_wanted_at_first() -> None:
    wanted = Subscriptions()
    assert not wanted.matches(b"")
    assert not wanted.matches(b"a")
    assert len(wanted) == 0


def test_prefixes_match_what_they_begin() -> None:
    wanted = Subscriptions()
    assert wanted.add(b"ab") is True
    assert [topic for topic in (b"", b"a", b"ab", b"abc", b"ba", b"xab") if wanted.matches(topic)] == [
        b"ab",
        b"abc",
    ]


def test_empty_prefix_is_everything() -> None:
    wanted = Subscriptions()
    wanted.add(b"")
    assert wanted.matches(b"")
    assert wanted.matches(b"anything")
    assert wanted.remove(b"") is True
    assert not wanted.matches(b"")


def test_twice_in_needs_twice_out() -> None:
    wanted = Subscriptions()
    assert [wanted.add(b"a"), wanted.add(b"a")] == [True, False]
    assert wanted.remove(b"a") is False
    assert wanted.matches(b"a")
    assert wanted.remove(b"a") is True
    assert not wanted.matches(b"a")


def test_uncounted_is_a_set() -> None:
    wanted = Subscriptions(counted=False)
    assert [wanted.add(b"a"), wanted.add(b"a")] == [True, False]
    assert wanted.remove(b"a") is True
    assert not wanted.matches(b"a")


def test_removing_what_is_absent_is_ignored() -> None:
    wanted = Subscriptions()
    wanted.add(b"a")
    assert wanted.remove(b"ab") is False
    assert wanted.remove(b"") is False
    assert list(wanted) == [b"a"]


def test_topic_cap() -> None:
    wanted = Subscriptions(max_topics=2)
    wanted.add(b"a")
    wanted.add(b"b")
    assert wanted.add(b"a") is False
    with pytest.raises(WireError) as caught:
        wanted.add(b"c", offset=77)
    assert caught.value.reason is Reason.TOO_MANY_SUBSCRIPTIONS
    assert caught.value.offset == 77
    assert not wanted.matches(b"c")
    wanted.remove(b"b")
    wanted.remove(b"a")
    wanted.remove(b"a")
    assert wanted.add(b"c") is True


def test_length_cap() -> None:
    wanted = Subscriptions()
    assert wanted.add(bytes(MAX_TOPIC_BYTES)) is True
    with pytest.raises(WireError) as caught:
        wanted.add(bytes(MAX_TOPIC_BYTES + 1))
    assert caught.value.reason is Reason.SUBSCRIPTION_TOO_LONG
    assert len(wanted) == 1


def test_caps_below_one_are_refused() -> None:
    with pytest.raises(ValueError, match="max_topics must"):
        Subscriptions(max_topics=0)
    with pytest.raises(ValueError, match="max_topic_bytes must"):
        Subscriptions(max_topic_bytes=-1)


def test_clear() -> None:
    wanted = Subscriptions()
    wanted.add(b"a")
    wanted.clear()
    assert not wanted.matches(b"a")
    assert b"a" not in wanted
    assert wanted.add(b"a") is True


PREFIXES = st.binary(max_size=4).map(lambda raw: bytes(byte % 3 for byte in raw))


@given(
    steps=st.lists(st.tuples(st.booleans(), PREFIXES), max_size=40), topics=st.lists(PREFIXES, max_size=10)
)
def test_agrees_with_a_plain_count(steps: list[tuple[bool, bytes]], topics: list[bytes]) -> None:
    wanted, oracle = Subscriptions(), Counter[bytes]()
    for add, prefix in steps:
        if add:
            assert wanted.add(prefix) == (oracle[prefix] == 0)
            oracle[prefix] += 1
        else:
            assert wanted.remove(prefix) == (oracle[prefix] == 1)
            oracle[prefix] = max(oracle[prefix] - 1, 0)
    present = [prefix for prefix, count in oracle.items() if count]
    assert sorted(wanted) == sorted(present)
    for topic in topics:
        assert wanted.matches(topic) == any(topic.startswith(prefix) for prefix in present)


def test_thousands_of_exact_topics_need_one_look_up_a_length() -> None:
    wanted = Subscriptions()
    for number in range(5000):
        wanted.add(b"org.example.Kind%04d.json" % number)
    assert wanted.matches(b"org.example.Kind4999.json")
    assert wanted.matches(b"org.example.Kind4999.json\0payload")
    assert not wanted.matches(b"org.example.Kind5000.json\0payload")
    assert wanted._lengths == (25,)
