# SPDX-License-Identifier: Apache-2.0
"""Many scenarios of the allocation, on all cores.

python -m tests.paxos.sim --seeds 20000
python -m tests.paxos.sim --seed 4711 --verbose
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections.abc import Sequence

from tests.paxos.scenario import Violation, play, replay

CHUNK = 50


def run_chunk(seeds: range) -> list[tuple[int, str, float]]:
    """(seed, what was violated or "", heartbeats until it had converged)."""
    outcomes = []
    for seed in seeds:
        try:
            outcomes.append((seed, "", play(seed).beats_to_converge))
        except Violation as violation:
            outcomes.append((seed, str(violation), 0.0))
        except Exception as error:
            outcomes.append((seed, f"{type(error).__name__}: {error}", 0.0))
    return outcomes


def run(first: int, count: int) -> tuple[list[tuple[int, str]], list[float]]:
    """All of them: what failed, and how many heartbeats the others took."""
    chunks = [range(start, min(start + CHUNK, first + count)) for start in range(first, first + count, CHUNK)]
    failed: list[tuple[int, str]] = []
    beats: list[float] = []
    with multiprocessing.get_context("spawn").Pool() as pool:
        for outcomes in pool.imap_unordered(run_chunk, chunks):
            failed += [(seed, why) for seed, why, _ in outcomes if why]
            beats += [took for _, why, took in outcomes if not why]
    return sorted(failed), sorted(beats)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.paxos.sim")
    parser.add_argument("--seeds", type=int, default=20_000, help="how many scenarios")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="this scenario alone")
    parser.add_argument("--verbose", action="store_true", help="everything that happens in it")
    given = parser.parse_args(arguments)
    if given.seed is not None:
        outcome, trace = replay(given.seed)
        if given.verbose:
            print("\n".join(trace))
        print(f"seed {given.seed}: {outcome}")
        return isinstance(outcome, Violation)
    began = time.monotonic()
    failed, beats = run(given.first, given.seeds)
    for seed, why in failed[:20]:
        print(f"python -m tests.paxos.sim --seed {seed} --verbose   # {why}")
    if beats:
        print(
            f"{given.seeds} scenarios in {time.monotonic() - began:.0f} s, {len(failed)} failed; heartbeats until "
            f"all agreed: median {beats[len(beats) // 2]:.0f}, p99 {beats[int(0.99 * len(beats))]:.0f}, "
            f"most {beats[-1]:.0f}"
        )
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
