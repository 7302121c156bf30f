# SPDX-License-Identifier: Apache-2.0
"""Measures libzmq's epgm by floors/zmq_epgm.c, which is compiled here: Python's pyzmq has no PGM."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

from common import main
from multicast_common import one_way

NOTES = {
    "multicast": "in C, no codec; RATE is 4 Gbit/s, with losses 300 Mbit/s; what it cannot repair may freeze it"
}

BENCH = Path(__file__).parents[2]
PROGRAM = BENCH.parent / ".cache" / "bench" / "floors" / "zmq_epgm"
# kbit/s, both ends alike.
RATE, RATE_WITH_LOSSES = 4_000_000, 300_000


def multicast(count: int, size: int, percent: float) -> None:
    _build()
    rate = RATE_WITH_LOSSES if percent else RATE
    ends = [[str(PROGRAM), end, str(rate), str(size)] for end in ("send", "receive")]
    one_way(ends[0], ends[1], count, size, percent, loses=True)


def _build() -> None:
    source = BENCH / "floors" / "zmq_epgm.c"
    if PROGRAM.exists() and PROGRAM.stat().st_mtime > source.stat().st_mtime:
        return
    PROGRAM.parent.mkdir(parents=True, exist_ok=True)
    compiler = shlex.split(os.environ.get("CC", "cc"))
    command = [*compiler, "-O2", "-Wall", str(source), "-o", str(PROGRAM), "-l:libzmq.so.5"]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        raise SystemExit(f"missing: {compiler[0]} is not installed") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise SystemExit(f"missing: zmq_epgm cannot be built (package libzmq5): {lines[-1] if lines else ''}")


if __name__ == "__main__":
    main({"multicast": multicast})
