# SPDX-License-Identifier: Apache-2.0
"""The constants of PGM that sources and receivers go by, in seconds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Timing:
    """For a LAN, and for libzmq at the other end."""

    # -- sources

    # SPMs at the beginning: receivers have to know the source's address before they miss anything.
    first_spms_s: tuple[float, ...] = (0.0, 0.0, 0.0, 0.02, 0.06)
    # After the last data, each from the one before: who lost the last packet hears of it here.
    heartbeat_spms_s: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 1.3)
    # Afterwards, and where there was no data yet.
    ambient_spm_s: float = 5.0
    # Answers to SPMRs, and to NAKs for what is gone: no more often.
    spm_interval_s: float = 0.01
    last_spms_s: tuple[float, ...] = (0.0, 0.01, 0.03)
    # A packet is not repaired again so soon: several receivers may have asked, or one by two ways.
    repair_interval_s: float = 0.005
    # What was asked for is kept in the window so long, but not beyond the limit after it was first sent.
    hold_s: float = 0.25
    hold_limit_s: float = 2.0

    # -- receivers

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
