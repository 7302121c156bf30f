# SPDX-License-Identifier: Apache-2.0
"""Every schedule of three acceptors and two proposers, to a depth; `explore` says of what."""

from __future__ import annotations

import os

import pytest

from tests.paxos.schedule import explore

# So many steps, none left out: PLEXO_EXPLORE=1 goes on to more states.
DEPTH = 8
DEPTH_WITH_CHANGE = 6
MORE = 3 if "PLEXO_EXPLORE" in os.environ else 0


@pytest.mark.time_limit(3600.0 if MORE else 240.0)
@pytest.mark.parametrize(("changing", "depth"), [(False, DEPTH), (True, DEPTH_WITH_CHANGE)])
def test_no_schedule_decides_twice(changing: bool, depth: int) -> None:
    done, states, transitions = explore(depth + MORE, 10_000_000, changing)
    assert done == depth + MORE
    assert transitions > states > 1000
