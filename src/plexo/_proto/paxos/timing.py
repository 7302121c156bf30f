# SPDX-License-Identifier: Apache-2.0
"""The times and bounds of the allocation."""

from __future__ import annotations

from dataclasses import dataclass

# Slots that are no topic's: 1.0's six neurons, control, repairs, and room for more.
RESERVED_SLOTS = 32
MAX_COUNCIL = 7
# Heartbeats of all nodes together, in bytes a second; and what one is taken to have.
HEARTBEAT_BUDGET_BYTES_S = 20_000
HEARTBEAT_BYTES = 160


@dataclass(frozen=True)
class Timing:
    """``heartbeat_s`` is the shortest interval between two heartbeats of one node; the other times are counted in
    it."""

    heartbeat_s: float = 0.2
    # Nobody with a lineage was heard for so long: found one.
    found_after: float = 3.0
    # Silent for so long: gone.
    gone_after: float = 5.0
    # A majority of the council was silent for so long: found a lineage without it.
    lost_after: float = 15.0
    # Between learning that a topic has another slot and sending there: at least, and where not all know it, at most.
    switch_after: float = 2.0
    switch_latest: float = 10.0
    # From when all know to not listening at the old one. By then the last publisher has switched, whose clock may be a
    # third slower than ours.
    leave_after: float = 16.0
    # A proposal without an answer is made again after this, doubled up to the most.
    retry_after: float = 0.25
    most_retry_after: float = 4.0
    # Somebody proposed and fell silent: others go on after this.
    adopt_after: float = 2.0
    # Who may join the council was here for so long.
    settled_after: float = 3.0
    # Between two questions for what others know, and two answers that are not heartbeats of their own accord.
    inquiry_after: float = 0.5
