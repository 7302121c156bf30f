# SPDX-License-Identifier: Apache-2.0
"""MACs behind datagrams: what is taken, and that nothing else is."""

from __future__ import annotations

from hashlib import blake2b

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plexo._proto.keyed import MAC_BYTES, Key

KEY = Key(bytes(range(32)))


@given(st.binary(max_size=200))
def test_it_is_blake2b_of_16_bytes_behind_the_datagram(datagram: bytes) -> None:
    signed = KEY.sign(datagram)
    assert signed == datagram + blake2b(datagram, digest_size=16, key=bytes(range(32))).digest()
    assert len(signed) == len(datagram) + MAC_BYTES
    for given_as in (signed, memoryview(signed)):
        assert KEY.verified(given_as) == datagram


@given(st.binary(max_size=40), st.data())
def test_no_bit_may_be_another(datagram: bytes, data: st.DataObject) -> None:
    spoilt = bytearray(KEY.sign(datagram))
    bit = data.draw(st.integers(0, 8 * len(spoilt) - 1))
    spoilt[bit // 8] ^= 1 << bit % 8
    assert KEY.verified(bytes(spoilt)) is None


@given(st.binary(max_size=40))
def test_any_bytes_are_refused(datagram: bytes) -> None:
    assert KEY.verified(datagram) is None


def test_a_part_of_a_datagram_is_refused() -> None:
    signed = KEY.sign(b"datagram")
    assert all(KEY.verified(signed[:size]) is None for size in range(len(signed)))
    assert KEY.verified(signed + b"\0") is None


def test_another_key_is_another_key() -> None:
    assert Key(b"another key, of some more bytes").verified(KEY.sign(b"datagram")) is None


@pytest.mark.parametrize("size", [16, 17, 63, 64])
def test_keys_have_16_to_64_bytes(size: int) -> None:
    assert Key(bytes(size)).verified(Key(bytes(size)).sign(b"x")) == b"x"


@pytest.mark.parametrize("size", [0, 1, 15, 65])
def test_other_lengths_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"expected 16 to 64 bytes, got {size}"):
        Key(bytes(size))


@pytest.mark.parametrize("key", ["sixteen letters!", bytearray(16), None, 16])
def test_what_is_not_bytes_is_refused(key: object) -> None:
    with pytest.raises(TypeError, match="key: expected bytes"):
        Key(key)  # type: ignore[arg-type]
