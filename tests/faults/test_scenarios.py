# SPDX-License-Identifier: Apache-2.0
"""Two thousand seeded scenarios of faults; see scenario.py for what happens in one and what must hold after it."""

from __future__ import annotations

import pytest

from tests.faults.scenario import run

BATCHES = 20
PER_BATCH = 100


@pytest.mark.time_limit(120)
@pytest.mark.parametrize("batch", range(BATCHES))
def test_after_any_faults_both_sides_are_ready_and_every_message_is_accounted_for(
    batch: int, seed: int
) -> None:
    for n in range(batch * PER_BATCH, (batch + 1) * PER_BATCH):
        run(seed * 10_000 + n)
