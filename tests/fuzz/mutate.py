# SPDX-License-Identifier: Apache-2.0
"""Fuzzing without atheris: random changes to the corpus and the seeds, blind to what the code does, from one number.

For Pythons that atheris has no wheel for, and for sanitizers whose run-time library it does not fit. The input at work
is kept in a mapped file, so that it is there also when the process is not any more.
"""

from __future__ import annotations

import faulthandler
import mmap
import random
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

STUCK_S = 25.0
INTERESTING = (0, 1, 2, 3, 4, 5, 7, 8, 16, 31, 32, 63, 64, 100, 127, 128, 200, 254, 255)


def mutated(rng: random.Random, known: Sequence[bytes], words: Sequence[bytes], limit: int) -> bytes:
    """One of `known`, changed in one to eight places."""
    data = bytearray(rng.choice(known))
    for _ in range(1 << rng.randrange(4)):
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(8)
        if kind == 0 and data:
            data[at % len(data)] ^= 1 << rng.randrange(8)
        elif kind == 1 and data:
            data[at % len(data)] = rng.choice(INTERESTING)
        elif kind == 2:
            del data[at : at + rng.randrange(1, 17)]
        elif kind == 3:
            data[at:at] = rng.randbytes(rng.randrange(1, 9))
        elif kind == 4 and words:
            word = rng.choice(words)
            data[at : at + (len(word) if rng.random() < 0.5 else 0)] = word
        elif kind == 5:
            other = rng.choice(known)
            start = rng.randrange(len(other) + 1)
            data[at:at] = other[start : start + rng.randrange(1, 129)]
        elif kind == 6:
            other = rng.choice(known)
            data[at:] = other[rng.randrange(len(other) + 1) :]
        else:
            piece = bytes(data[at : at + rng.randrange(1, 33)])
            data[at:at] = piece * rng.randrange(1, 5)
    return bytes(data[:limit])


def fuzz(
    run: Callable[[bytes], None],
    known: Sequence[bytes],
    words: Sequence[bytes],
    *,
    limit: int,
    seconds: float,
    seed: int,
    artifacts: Path,
) -> int:
    """How many inputs were run. SystemExit(77) with a finding, its input in `artifacts`."""
    rng = random.Random(seed)
    deadline = time.monotonic() + seconds
    current = artifacts / "current"
    current.write_bytes(bytes(4 + limit + max(map(len, known), default=0)))
    runs = 0
    with current.open("r+b") as file, mmap.mmap(file.fileno(), 0) as kept:
        while time.monotonic() < deadline or runs < len(known):
            data = known[runs] if runs < len(known) else mutated(rng, known, words, limit)
            kept[: 4 + len(data)] = len(data).to_bytes(4, "big") + data
            if runs % 64 == 0:
                faulthandler.dump_traceback_later(STUCK_S, exit=True)
            try:
                run(data)
            except Exception:
                traceback.print_exc()
                (artifacts / f"crash-{runs}-{seed}").write_bytes(data)
                raise SystemExit(77) from None
            runs += 1
    faulthandler.cancel_dump_traceback_later()
    current.unlink()
    return runs


def last_input(artifacts: Path) -> Path | None:
    """What was at work when the process ended before its time, as a file of its own."""
    current = artifacts / "current"
    if not current.exists():
        return None
    kept = current.read_bytes()
    found = artifacts / "crash-last"
    found.write_bytes(kept[4 : 4 + int.from_bytes(kept[:4], "big")])
    current.unlink()
    return found
