# SPDX-License-Identifier: Apache-2.0
"""python -m tests.fuzz [--seconds N] [--target NAME ...]: fuzz every parser and a whole link.

Half of the time goes to the modules as they are, half to what is compiled, built with sanitizers (--sanitize: all of
it; --plain: none). Each target runs in a process of its own, for its share of the time. A finding ends with the path
of its input and the command that runs it again; put the input into tests/fuzz/corpus/<target>/regression-<what>
together with the fix.

--keep afterwards minimises corpus, seeds and what was found into tests/fuzz/corpus/. What was found is in build/fuzz/.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import NamedTuple

from tests.fuzz import mutate, sanitized
from tests.fuzz.registry import CORPUS, TARGETS

BUILD = sanitized.ROOT / "build" / "fuzz"
# Starting Python, replaying the corpus, and one input that is stuck until libFuzzer breaks it off.
GRACE_S = 90.0
# So many inputs of at most so many bytes are kept for a target.
KEPT, KEPT_BYTES = 48, 2048


class Job(NamedTuple):
    target: str
    seconds: float
    is_sanitized: bool

    @property
    def place(self) -> Path:
        return BUILD / ("found-sanitized" if self.is_sanitized else "found") / self.target


class Result(NamedTuple):
    job: Job
    status: int
    runs: int
    seconds: float
    text: str
    input: Path | None


def has_atheris() -> bool:
    return importlib.util.find_spec("atheris") is not None


def is_guided(job: Job) -> bool:
    return sanitized.guided() if job.is_sanitized else has_atheris()


def environment(is_sanitized: bool) -> dict[str, str]:
    if is_sanitized:
        return {**os.environ, **sanitized.environment(BUILD / "sanitized")}
    return {**os.environ, "PYTHONPATH": f"{sanitized.ROOT / 'src'}{os.pathsep}{sanitized.ROOT}"}


def perform(job: Job, seed: int, *more: str) -> Result:
    """One target in one process."""
    artifacts = job.place / "artifacts"
    shutil.rmtree(artifacts, ignore_errors=True)
    mode = more or (() if is_guided(job) else ("--blind", str(seed)))
    command = [
        sys.executable,
        "-m",
        "tests.fuzz.child",
        job.target,
        f"{job.seconds:.1f}",
        str(job.place),
        *mode,
    ]
    started = time.monotonic()
    try:
        done = subprocess.run(
            command,
            cwd=BUILD / "sanitized" if job.is_sanitized else sanitized.ROOT,
            env=environment(job.is_sanitized),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=job.seconds + GRACE_S,
        )
        status, text = done.returncode, done.stdout.decode(errors="replace")
    except subprocess.TimeoutExpired as late:
        status, text = -1, (late.stdout or b"").decode(errors="replace") + "\nnot ended in time"
    runs = re.search(r"Done (\d+) runs|number_of_executed_units: (\d+)", text)
    found = mutate.last_input(artifacts) or next(iter(sorted(artifacts.glob("*"))), None)
    if found is not None and status == 0 and not more:
        status = 1
    count = int(runs[1] or runs[2]) if runs else 0
    return Result(job, status, count, time.monotonic() - started, text, found)


def report(result: Result) -> None:
    job = result.job
    how = "guided" if is_guided(job) else "blind"
    kind = "sanitized" if job.is_sanitized else "plain"
    if result.status == 0:
        rate = result.runs / max(result.seconds, 0.001)
        print(f"  {job.target:14}{kind:10}{how:7}{result.runs:9} runs  {rate:9.0f}/s", flush=True)
        return
    text = "\n".join(line for line in result.text.splitlines() if not line.startswith("INFO:"))
    # A sanitizer says what it found first, Python last.
    print(text if len(text) < 8000 else f"{text[:4000]}\n[...]\n{text[-4000:]}")
    print(f"\n{job.target} ({kind}): finding, status {result.status}")
    if result.input is not None:
        again = [sys.executable, "-m", "tests.fuzz", "--target", job.target, "--replay", str(result.input)]
        again += ["--sanitize"] if job.is_sanitized else []
        print(f"  input: {result.input}\n  again: {shlex.join(again)}")
    else:
        print("  it left no input behind; the text above is all there is")


def perform_all(jobs: Sequence[Job], workers: int, seed: int) -> list[Result]:
    """Longest first; what a process finds is said at once, and the others go on."""
    waiting: SimpleQueue[Job] = SimpleQueue()
    for job in sorted(jobs, key=lambda job: -job.seconds):
        waiting.put(job)
    results: list[Result] = []

    def work() -> None:
        while True:
            try:
                job = waiting.get_nowait()
            except Empty:
                return
            result = perform(job, seed)
            results.append(result)
            report(result)

    threads = [threading.Thread(target=work) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def replay(target: str, paths: Sequence[Path], is_sanitized: bool) -> int:
    """Run inputs once, in this process or, sanitized, in one of its own."""
    if is_sanitized and not os.environ.get("PLEXO_FUZZ_SANITIZED"):
        sanitized.build(BUILD / "sanitized")
        command = [
            sys.executable,
            "-m",
            "tests.fuzz",
            "--target",
            target,
            "--replay",
            *(str(path.resolve()) for path in paths),
        ]
        return subprocess.run(command, cwd=BUILD / "sanitized", env=environment(True)).returncode
    for path in paths:
        TARGETS[target].run(path.read_bytes())
        print(f"{path}: nothing found")
    return 0


def keep(names: Sequence[str], seed: int) -> None:
    """The smallest set that reaches as much as what was found does, into tests/fuzz/corpus/."""
    if not sanitized.guided():
        raise SystemExit("--keep needs atheris and clang: without them nothing says what an input reaches")
    sanitized.build(BUILD / "sanitized")
    for name in names:
        job = Job(name, 60.0, True)
        plain = Job(name, 0.0, False).place / "found"
        found, merged = job.place / "found", job.place / "merged"
        found.mkdir(parents=True, exist_ok=True)
        for path in plain.glob("*"):
            shutil.copy2(path, found)
        shutil.rmtree(merged, ignore_errors=True)
        result = perform(job, seed, "--merge")
        if result.status:
            report(result)
            raise SystemExit(1)
        # From the smallest on: a merge of libFuzzer's prefers those too.
        small = sorted(merged.glob("*"), key=lambda path: (path.stat().st_size, path.name))
        small = [path for path in small if path.stat().st_size <= KEPT_BYTES]
        step = max(1.0, len(small) / KEPT)
        chosen = [small[int(number * step)] for number in range(min(KEPT, len(small)))]
        if not chosen:
            raise SystemExit(f"{name}: merging kept nothing\n{result.text[-2000:]}")
        # Of inputs that found something once, the names say so; they stay.
        known = [path for path in (CORPUS / name).glob("*") if not path.name.startswith("regression-")]
        for path in known:
            path.unlink()
        (CORPUS / name).mkdir(parents=True, exist_ok=True)
        for path in chosen:
            shutil.copy(path, CORPUS / name / path.name[:16])
        print(f"  {name:14}{len(chosen)} of {len(small)} inputs kept")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=300.0, help="of fuzzing in all, without the build")
    parser.add_argument(
        "--target", action="append", choices=sorted(TARGETS), help="this one only (several times)"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes at a time")
    parser.add_argument(
        "--seed", type=int, default=20_170_701, help="of the mutator where atheris is missing"
    )
    parser.add_argument(
        "--replay", type=Path, nargs="+", metavar="FILE", help="run these inputs once, and end"
    )
    parser.add_argument("--keep", action="store_true", help="renew the corpus with what was found")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--sanitize", action="store_true", help="the build with sanitizers only")
    which.add_argument("--plain", action="store_true", help="the modules as they are only")
    chosen = parser.parse_args()
    names = chosen.target or sorted(TARGETS)
    if chosen.replay:
        if len(names) != 1:
            parser.error("--replay needs one --target")
        return replay(names[0], chosen.replay, chosen.sanitize)

    if not has_atheris():
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        print(f"no atheris here for Python {version}: blind mutations of the corpus instead")
    # One that was asked for by name is run sanitized, too.
    wanted = [(name, True) for name in names if chosen.target or TARGETS[name].sanitized]
    if chosen.plain or not chosen.sanitize:
        wanted = [(name, False) for name in names] + ([] if chosen.plain else wanted)
    if any(is_sanitized for _, is_sanitized in wanted):
        started = time.monotonic()
        sanitized.build(BUILD / "sanitized")
        by = "clang, guided" if sanitized.guided() else "gcc; no clang or no atheris, so blind"
        print(f"sanitized build ({by}): {time.monotonic() - started:.0f} s", flush=True)
    # Half of the time for each of the two.
    jobs = []
    for kind in (False, True):
        mine = [name for name, is_sanitized in wanted if is_sanitized is kind]
        shares = sum(TARGETS[name].share for name in mine) * (2 if len(wanted) > len(mine) else 1)
        each = chosen.seconds * chosen.jobs / max(1, shares)
        jobs += [Job(name, each * TARGETS[name].share, kind) for name in mine]
    results = perform_all(jobs, chosen.jobs, chosen.seed)
    bad = [result for result in results if result.status]
    runs = sum(result.runs for result in results)
    print(f"{len(names)} targets, {runs} runs, {len(bad)} findings")
    if bad:
        return 1
    if chosen.keep:
        keep(names, chosen.seed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
