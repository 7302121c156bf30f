# SPDX-License-Identifier: Apache-2.0
"""When a series of samples counts as flat.

Samples are taken in calm moments: nobody sends, every queue is empty, garbage is collected. What is left of a slope
then is the allocator's: it keeps pages, and how many depends on which sizes met by chance. So a straight line is
fitted to the samples after the warm-up, and what it rises by over the whole of them is held against how far the
samples lie off it: up to three standard deviations is noise. A leak is a line: the longer the run, the further it
rises above its own scatter, while chance does not grow. A floor keeps a scatter of nearly nothing from making a
page or two a leak.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

# The first samples see buffers, caches and the allocator grow to their size.
WARM_UP_SHARE = 0.25
FEWEST_SAMPLES = 6
DEVIATIONS = 3.0


class Fit(NamedTuple):
    """`risen`: by how much the fitted line rises from the first to the last sample; `allowed`: what is noise."""

    first: float
    last: float
    per_s: float
    risen: float
    allowed: float

    @property
    def flat(self) -> bool:
        return self.risen <= self.allowed


def after_warm_up(samples: Sequence[tuple[float, float]]) -> Sequence[tuple[float, float]]:
    """(seconds, value) pairs without those of the warm-up."""
    begin = samples[0][0] + WARM_UP_SHARE * (samples[-1][0] - samples[0][0])
    return [sample for sample in samples if sample[0] >= begin]


def fit(samples: Sequence[tuple[float, float]], floor: float) -> Fit | None:
    """The line through the samples after the warm-up; None where they are too few to say anything."""
    kept = after_warm_up(samples) if samples else []
    if len(kept) < FEWEST_SAMPLES:
        return None
    count = len(kept)
    mean_at = sum(at for at, _ in kept) / count
    mean = sum(value for _, value in kept) / count
    spread = sum((at - mean_at) ** 2 for at, _ in kept)
    per_s = sum((at - mean_at) * (value - mean) for at, value in kept) / spread
    off = [value - mean - per_s * (at - mean_at) for at, value in kept]
    deviation = math.sqrt(sum(each * each for each in off) / (count - 2))
    risen = per_s * (kept[-1][0] - kept[0][0])
    return Fit(kept[0][1], kept[-1][1], per_s, risen, max(DEVIATIONS * deviation, floor))
