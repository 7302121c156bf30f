# SPDX-License-Identifier: Apache-2.0
"""Numbers of lineages: where two meet, the lower one stays.

16 bits of depth and 48 at random. What is founded because a council was lost is lower than what it leaves, which
would be taken up again otherwise, dead as it is; so the depth counts down, from the highest at a cold start.
"""

from __future__ import annotations

from plexo._proto.randomness import Random

_RANDOM_BITS = 48
_FIRST_DEPTH = 0xFFFF


def first_lineage(rng: Random) -> int:
    """At a cold start."""
    return (_FIRST_DEPTH << _RANDOM_BITS) | rng.randrange(1, 1 << _RANDOM_BITS)


def lineage_below(lineage: int, rng: Random) -> int:
    """For what is founded in the place of another one."""
    depth = max(0, (lineage >> _RANDOM_BITS) - 1)
    return (depth << _RANDOM_BITS) | rng.randrange(1, 1 << _RANDOM_BITS)
