# SPDX-License-Identifier: Apache-2.0
"""The constants of PGM that a receiver goes by, in seconds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Timing:
    """For a LAN, and for libzmq at the other end."""

    # Without an SPM for so long a receiver asks for one; it asks `spmr_tries` times, each time after twice as long.
    spmr_after_s: float = 0.025
    spmr_tries: int = 6
    # Drawn from 0 to this before the first NAK, and before later ones.
    nak_first_back_off_s: float = 0.002
    nak_back_off_s: float = 0.020
    # From a NAK to its NCF, and from there to the data: adaptive between these.
    nak_wait_least_s: float = 0.020
    nak_wait_most_s: float = 0.200
    nak_tries: int = 50
    # So many lists at a time, and so long until the next.
    naks_per_turn: int = 8
    nak_turn_s: float = 0.001
    # Silence of a source, and the time after its FIN, until what is missing is given up.
    peer_expiry_s: float = 60.0
    fin_expiry_s: float = 5.0
