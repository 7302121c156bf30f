# SPDX-License-Identifier: Apache-2.0
"""What the drivers share: one driver process measures one thing once and prints one JSON object.

A driver starts the process at the other end itself, from the same file, so that rows need no knowledge of
transports. It uses nothing but the standard library: drivers of rivals run in environments of their own.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

# Bounds every wait of a driver, so that a lost message ends a run with an error and not never.
TIMEOUT_S = 60.0

# Environment: "same" or "apart", which end this process is, and the cores there were at first.
PIN = "PLEXO_BENCH_PIN"
END = "PLEXO_BENCH_END"
CORES = "PLEXO_BENCH_CORES"


def report(**figures: Any) -> None:
    """The result of this process, for who started it."""
    print(json.dumps(figures), flush=True)


def quantiles(seconds: Sequence[float]) -> dict[str, float]:
    """p50 and p99 in microseconds."""
    ordered = sorted(seconds)
    return {
        "p50_us": 1e6 * ordered[len(ordered) // 2],
        "p99_us": 1e6 * ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)],
    }


def run(coroutine: Coroutine[Any, Any, None], loop: str = "asyncio") -> None:
    """Run on asyncio's loop or on uvloop's, bounded in time."""
    bounded = asyncio.wait_for(coroutine, TIMEOUT_S)
    if loop == "uvloop":
        import uvloop

        uvloop.run(bounded)
    else:
        asyncio.run(bounded)


def other_end(script: str, *arguments: object, output: bool = False) -> subprocess.Popen[str]:
    """Start this very file as the peer."""
    return subprocess.Popen(
        [sys.executable, script, *map(str, arguments)],
        stdout=subprocess.PIPE if output else subprocess.DEVNULL,
        env=dict(os.environ, **{END: "peer"}),
        text=True,
    )


def place() -> None:
    """Keep to one core where the user wants the two ends on the same core, or apart (`run.py --pin`)."""
    pin = os.environ.get(PIN)
    if pin and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        far = pin == "apart" and os.environ.get(END) == "peer"
        # Cores are inherited, so the driver's own choice is undone before a peer chooses.
        os.environ.setdefault(CORES, ",".join(map(str, cores)))
        cores = [int(each) for each in os.environ[CORES].split(",")]
        os.sched_setaffinity(0, {cores[-1] if far else cores[0]})


def finish(peer: subprocess.Popen[str]) -> None:
    """Wait for the peer's end; it must be a good one."""
    try:
        code = peer.wait(timeout=5)
    except subprocess.TimeoutExpired:
        peer.kill()
        peer.wait()
        raise
    if code:
        raise RuntimeError(f"the process at the other end failed with exit status {code}")


def timed(work: Callable[[], object]) -> float:
    """Seconds that `work` takes."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def main(commands: dict[str, Callable[..., None]]) -> None:
    """`driver_x.py COMMAND [ARGUMENT ...]`; numbers become int."""
    if len(sys.argv) < 2 or sys.argv[1] not in commands:
        raise SystemExit(f"usage: {sys.argv[0]} {{{','.join(commands)}}} [ARGUMENT ...]")
    place()
    commands[sys.argv[1]](*(int(each) if each.isdigit() else each for each in sys.argv[2:]))
