# SPDX-License-Identifier: Apache-2.0
"""A few random scenarios; `python -m tests.multicast.scenario` plays others."""

from __future__ import annotations

import pytest

from tests.multicast.conftest import MakeNetwork
from tests.multicast.scenario import play


@pytest.mark.time_limit(120)
@pytest.mark.parametrize("number", range(2))
def test_everything_arrives_whatever_happens(make_network: MakeNetwork, seed: int, number: int) -> None:
    make_network(1)  # or skip
    play(100 * seed + number)
