# SPDX-License-Identifier: Apache-2.0
"""Scenarios of the allocation; PLEXO_SIM_SEEDS says how many (`make sim SEEDS=1000000`)."""

from __future__ import annotations

import faulthandler
import os

import pytest

from tests.paxos import sim
from tests.paxos.scenario import CONVERGE_BEATS

SEEDS = int(os.environ.get("PLEXO_SIM_SEEDS", "20000"))
# A hang is to end, a slow machine is not to fail.
LIMIT_S = 600 + SEEDS / 10


@pytest.mark.time_limit(LIMIT_S)
@pytest.mark.leaves("the tracker of multiprocessing's resources")
def test_nothing_is_violated_and_networks_converge(seed: int) -> None:
    # It takes minutes; pytest would print where every thread is.
    faulthandler.cancel_dump_traceback_later()
    failed, beats = sim.run(seed % 1_000_003, SEEDS)
    assert not failed, "\n".join(
        f"python -m tests.paxos.sim --seed {number} --verbose   # {why}" for number, why in failed[:20]
    )
    assert beats[int(0.99 * len(beats))] <= CONVERGE_BEATS
