# SPDX-License-Identifier: Apache-2.0
"""The soak: two processes exchange messages for as long as it is told, and are restarted at random meanwhile.

    python -m tests.soak --minutes 30 [--seed N] [--uvloop]

Both are restarted inside their process (everything closed and made anew), and during the first half the right one is
also killed and started again. Every few seconds there is a calm moment: what one side sent the other must have received
then, no book may be out of balance, nothing may be heard twice, out of order or with other contents, and memory,
descriptors, tasks and threads are sampled. At the end memory must be flat (see verdict.py) and the others what they
were. Prints a table; the exit status is 0 if nothing was wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import selectors
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.soak.verdict import Fit, after_warm_up, fit

ROOT = Path(__file__).parents[2]
ANSWER_LIMIT_S = 40.0
WORK_S = (2.0, 6.0)
SAME_LIMIT_S = 10.0
# Of a calm moment's resident memory: how much the allocator keeps depends on which sizes met. A leak of ten bytes for
# each message is more than that in two minutes. Of its allocated blocks: caches of the interpreter.
RSS_FLOOR_BYTES = 4 << 20
BLOCKS_FLOOR = 300
STEADY = ("fds", "tasks", "threads")


class Failed(Exception):
    """The soak cannot go on."""


class Process:
    """One worker; remembers what it answered."""

    def __init__(self, name: str, arguments: list[object], uvloop: bool) -> None:
        self.name = name
        self._arguments = [str(each) for each in arguments]
        self._uvloop = ["--uvloop"] if uvloop else []
        self.lives = 0
        self.restarts = 0
        self.samples: list[tuple[float, dict[str, Any]]] = []
        self.sent = self.heard = self.heard_bytes = 0
        self._process: subprocess.Popen[str] | None = None

    def start(self, seed: int) -> None:
        self.lives += 1
        self.samples = []
        first_stream = self.lives * 1_000_000
        seeded = [self.name, str(seed), str(first_stream), *self._arguments, *self._uvloop]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.soak.worker", *seeded],
            cwd=ROOT,
            env=dict(os.environ, PYTHONPATH=os.pathsep.join(["src", ".", os.environ.get("PYTHONPATH", "")])),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.answer()

    def tell(self, what: str) -> None:
        assert self._process is not None and self._process.stdin is not None
        self._process.stdin.write(what + "\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        assert self._process is not None and self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if not selector.select(ANSWER_LIMIT_S):
                raise Failed(f"{self.name} has said nothing for {ANSWER_LIMIT_S} s")
        line = self._process.stdout.readline()
        if not line:
            raise Failed(f"{self.name} has ended with status {self._process.wait(10)}")
        answer: dict[str, Any] = json.loads(line)
        if answer.get("wrong"):
            raise Failed(f"{self.name}: {'; '.join(answer['wrong'])}")
        return answer

    def do(self, what: str) -> dict[str, Any]:
        self.tell(what)
        return self.answer()

    def keep(self, at: float, sample: dict[str, Any]) -> None:
        last = self.samples[-1][1] if self.samples else {"sent": 0, "heard": 0, "heard_bytes": 0}
        self.sent += sample["sent"] - last["sent"]
        self.heard += sample["heard"] - last["heard"]
        self.heard_bytes += sample["heard_bytes"] - last["heard_bytes"]
        self.samples.append((at, sample))

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            for pipe in (self._process.stdin, self._process.stdout):
                assert pipe is not None
                pipe.close()
            self._process = None

    def stop(self) -> None:
        assert self._process is not None
        left = self.do("stop")
        if left["tasks"] != 1:
            raise Failed(f"{self.name} closed everything and still has {left['tasks'] - 1} tasks")
        if status := self._process.wait(10):
            raise Failed(f"{self.name} ended with status {status}")
        self.kill()

    # -- the end -------------------------------------------------------------------------------------------------

    def series(self, what: str) -> list[tuple[float, float]]:
        return [(at, float(sample[what])) for at, sample in self.samples]

    def grown(self) -> list[str]:
        """What is not what it was."""
        found = []
        for what, floor in (("rss", RSS_FLOOR_BYTES), ("blocks", BLOCKS_FLOOR)):
            line = fit(self.series(what), floor)
            if line is not None and not line.flat:
                found.append(f"{self.name}: {what} rises by {line.risen:,.0f}, noise is {line.allowed:,.0f}")
        for what in STEADY:
            kept = after_warm_up(self.series(what))
            if kept and kept[-1][1] > min(value for _, value in kept[:3]):
                found.append(f"{self.name}: {what} went from {kept[0][1]:.0f} to {kept[-1][1]:.0f}")
        return found


class Soak:
    def __init__(self, seconds: float, seed: int, uvloop: bool) -> None:
        self.seconds = seconds
        self.rng = random.Random(seed)
        pair_port, left_port, right_port = free_ports(self.rng, 3)
        self.left = Process("left", [pair_port, left_port, right_port], uvloop)
        self.right = Process("right", [pair_port, right_port, left_port], uvloop)
        self.sides = (self.left, self.right)
        self.began = time.monotonic()

    def elapsed(self) -> float:
        return time.monotonic() - self.began

    def run(self) -> list[str]:
        """What was wrong."""
        try:
            for side in self.sides:
                side.start(self.rng.getrandbits(30))
            while self.elapsed() < self.seconds:
                self.work()
                self.calm()
            for side in self.sides:
                side.stop()
        except Failed as failure:
            return [str(failure)]
        finally:
            for side in self.sides:
                side.kill()
        return [what for side in self.sides for what in side.grown()]

    def work(self) -> None:
        for side in self.sides:
            side.do("work")
        time.sleep(self.rng.uniform(*WORK_S) / 2)
        chance = self.rng.random()
        if chance < 0.6:
            side = self.rng.choice(self.sides)
            side.do("restart")
            side.restarts += 1
        elif chance < 0.75 and self.elapsed() < self.seconds / 2:
            self.right.kill()
            self.right.start(self.rng.getrandbits(30))
            self.right.do("work")
        time.sleep(self.rng.uniform(*WORK_S) / 2)

    def calm(self) -> None:
        for side in self.sides:
            side.tell("calm")
        for side in self.sides:
            side.answer()
        deadline = time.monotonic() + SAME_LIMIT_S
        while True:
            left, right = (side.do("sample") for side in self.sides)
            different = [
                f"{kind}: {sender} delivered {sent}, the other received {received}"
                for kind in left["links"]
                for sender, sent, received in (
                    ("left", left["links"][kind][0], right["links"][kind][1]),
                    ("right", right["links"][kind][0], left["links"][kind][1]),
                )
                if sent != received
            ]
            different += [
                f"{name}: {sample['waits']}"
                for name, sample in (("left", left), ("right", right))
                if sample["waits"]
            ]
            if not different:
                break
            if time.monotonic() > deadline:
                raise Failed(f"after {SAME_LIMIT_S} s of calm: {'; '.join(different)}")
            time.sleep(0.05)
        for side, sample in zip(self.sides, (left, right), strict=True):
            side.keep(self.elapsed(), sample)

    def table(self) -> str:
        rows = [("", *(side.name for side in self.sides))]
        rows += [
            ("processes", *(f"{side.lives}" for side in self.sides)),
            ("restarts inside", *(f"{side.restarts}" for side in self.sides)),
            ("sent", *(f"{side.sent:,}" for side in self.sides)),
            ("heard", *(f"{side.heard:,}" for side in self.sides)),
            ("heard, MB", *(f"{side.heard_bytes / 1e6:,.0f}" for side in self.sides)),
        ]
        for what, floor, unit in (("rss", RSS_FLOOR_BYTES, 1 << 20), ("blocks", BLOCKS_FLOOR, 1000)):
            label = {"rss": "resident, MiB", "blocks": "blocks, thousands"}[what]
            rows.append((label, *(shown(fit(side.series(what), floor), unit) for side in self.sides)))
        for what in STEADY:
            rows.append((what, *(first_and_last(side.series(what)) for side in self.sides)))
        causes = sorted(
            {cause for side in self.sides for _, sample in side.samples[-1:] for cause in sample["dropped"]}
        )
        for cause in causes:
            last = [side.samples[-1][1]["dropped"] if side.samples else {} for side in self.sides]
            rows.append(
                (f"dropped since the last restart: {cause}", *(f"{each.get(cause, 0):,}" for each in last))
            )
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        return "\n".join(
            f"  {row[0]:<{widths[0]}}  {row[1]:>{widths[1]}}  {row[2]:>{widths[2]}}" for row in rows
        )


def shown(line: Fit | None, unit: float) -> str:
    if line is None:
        return "too few samples"
    return (
        f"{line.first / unit:.1f} to {line.last / unit:.1f}, "
        f"slope {line.risen / unit:+.2f} (noise {line.allowed / unit:.2f})"
    )


def first_and_last(series: list[tuple[float, float]]) -> str:
    kept = after_warm_up(series) if series else []
    return f"{kept[0][1]:.0f} to {kept[-1][1]:.0f}" if kept else "-"


def free_ports(rng: random.Random, count: int) -> list[int]:
    """Ports below those that the kernel gives to outgoing connections: nobody takes them while we restart."""
    found: list[int] = []
    while len(found) < count:
        port = rng.randint(20_000, 29_999)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in found:
            found.append(port)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak", description="Two processes, for a long time."
    )
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=20_170_701)
    parser.add_argument("--uvloop", action="store_true", help="run both processes under uvloop")
    given = parser.parse_args()
    soak = Soak(60 * given.minutes, given.seed, given.uvloop)
    wrong = soak.run()
    print(f"soak of {soak.elapsed():.0f} s, seed {given.seed}{', uvloop' if given.uvloop else ''}")
    print(soak.table())
    for what in wrong:
        print(f"  WRONG: {what}")
    print("  nothing wrong" if not wrong else f"  {len(wrong)} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
