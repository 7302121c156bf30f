# SPDX-License-Identifier: Apache-2.0
"""One target in one process: `python -m tests.fuzz.child TARGET SECONDS DIRECTORY [--blind SEED | --merge]`.

DIRECTORY/found collects inputs that reach something new, DIRECTORY/artifacts the one that is a finding. With --merge,
DIRECTORY/merged gets the smallest set of inputs that reaches as much as the corpus, the seeds and DIRECTORY/found do.
"""

from __future__ import annotations

import os
import shlex
import sys
import warnings
from pathlib import Path

# Seconds for one input, and megabytes for the process. The sanitizers need more memory.
ONE_INPUT_S = 20
MEMORY_MB = 2048 if os.environ.get("PLEXO_FUZZ_SANITIZED") else 1024


def main() -> None:
    name, seconds, place = sys.argv[1], float(sys.argv[2]), Path(sys.argv[3])
    mode = sys.argv[4] if len(sys.argv) > 4 else ""
    found, artifacts, start = place / "found", place / "artifacts", place / "seeds"
    for folder in (found, artifacts, start):
        folder.mkdir(parents=True, exist_ok=True)
    # As in the tests: a coroutine that nobody awaited, a file that nobody closed is a finding.
    warnings.simplefilter("error", ResourceWarning)
    warnings.simplefilter("error", RuntimeWarning)

    if mode == "--blind":
        from tests.fuzz import mutate
        from tests.fuzz.registry import MAX_BYTES, TARGETS, corpus

        target = TARGETS[name]
        known = [*target.seeds(), *(path.read_bytes() for path in corpus(name))]
        runs = mutate.fuzz(
            target.run, known, target.words,
            limit=MAX_BYTES, seconds=seconds, seed=int(sys.argv[5]), artifacts=artifacts,
        )  # fmt: skip
        print(f"Done {runs} runs in {seconds:.0f} second(s)", file=sys.stderr)
        return

    import atheris

    with atheris.instrument_imports(include=["plexo", "tests.reference"]):
        from tests.fuzz.registry import CORPUS, MAX_BYTES, TARGETS
    target = TARGETS[name]
    for number, seed in enumerate(target.seeds()):
        (start / f"{number:03}").write_bytes(seed)
    words = place / "words"
    quoted = ("".join(f"\\x{byte:02x}" for byte in word) for word in target.words)
    words.write_text("".join(f'"{word}"\n' for word in quoted))
    program = sys.argv[0]
    options = [
        f"-artifact_prefix={artifacts}/",
        f"-max_len={MAX_BYTES}",
        f"-timeout={ONE_INPUT_S}",
        f"-rss_limit_mb={MEMORY_MB}",
        "-print_final_stats=1",
        "-verbosity=0",
    ]
    kept = [str(folder) for folder in (CORPUS / name, start) if folder.is_dir()]
    if mode == "--options":
        options = sys.argv[5:]
    elif mode == "--merge":
        merged = place / "merged"
        merged.mkdir()
        # libFuzzer merges in a process that it starts by this name, with options of its own.
        again = [sys.executable, "-m", "tests.fuzz.child", *sys.argv[1:4], "--options"]
        script = place / "again"
        script.write_text(f'#!/bin/sh\nexec {shlex.join(again)} "$@"\n')
        script.chmod(0o755)
        program = str(script)
        options += ["-merge=1", str(merged), *kept, str(found)]
    else:
        options += [
            f"-max_total_time={max(1, round(seconds))}",
            *([f"-dict={words}"] if target.words else []),
            str(found),
            *kept,
        ]
    atheris.Setup([program, *options], target.run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
