# SPDX-License-Identifier: Apache-2.0
"""The same scenarios with a stranger for the right side; the same must hold as far as it can be seen from ours."""

from __future__ import annotations

import pytest

from tests.faults.scenario import run
from tests.faults.strangers import ZmqLife

BATCHES = 4
PER_BATCH = 15


@pytest.mark.time_limit(120)
@pytest.mark.parametrize("batch", range(BATCHES))
def test_pyzmq(batch: int, seed: int) -> None:
    for n in range(batch * PER_BATCH, (batch + 1) * PER_BATCH):
        run(seed * 10_000 + n, ZmqLife)
