# SPDX-License-Identifier: Apache-2.0
"""The rule that says "flat": it finds a leak of the smallest size that matters, and lets chance be chance."""

from __future__ import annotations

import random

import pytest

from tests.soak.__main__ import RSS_FLOOR_BYTES
from tests.soak.verdict import FEWEST_SAMPLES, fit

MIB = 1 << 20


def series(seconds: int, value: object) -> list[tuple[float, float]]:
    assert callable(value)
    return [(float(at), float(value(at))) for at in range(0, seconds, 6)]


@pytest.mark.parametrize("seed", range(50))
@pytest.mark.parametrize("seconds", [120, 1800])
def test_noise_is_flat(seed: int, seconds: int) -> None:
    rng = random.Random(seed)
    found = fit(series(seconds, lambda at: 50 * MIB + rng.gauss(0, MIB)), MIB)
    assert found is not None and found.flat, found


def test_steps_of_the_allocator_at_the_beginning_are_warm_up() -> None:
    found = fit(series(120, lambda at: 80 * MIB if at > 24 else 40 * MIB + at * MIB), MIB)
    assert found is not None and found.flat
    assert (found.first, found.last) == (80 * MIB, 80 * MIB)


@pytest.mark.parametrize("seed", range(50))
def test_a_leak_is_found(seed: int) -> None:
    """In two minutes 9 MiB, in half an hour 9 MiB too."""
    rng = random.Random(seed)
    for seconds in (120, 1800):
        leak = 12 * MIB / seconds
        found = fit(series(seconds, lambda at: 50 * MIB + leak * at + rng.gauss(0, MIB)), RSS_FLOOR_BYTES)  # noqa: B023
        assert found is not None and not found.flat, found


def test_the_floor_forgives_a_page_and_no_more() -> None:
    forgiven = fit(series(120, lambda at: 1000 + at / 120), 1)
    assert forgiven is not None and forgiven.flat
    found = fit(series(120, lambda at: 1000 + at / 12), 1)
    assert found is not None and not found.flat


def test_too_few_samples_say_nothing() -> None:
    assert fit([], 1) is None
    assert fit(series(6 * FEWEST_SAMPLES, lambda at: at), 1) is None
