# SPDX-License-Identifier: Apache-2.0
"""What the books cost: instructions per message, counted with callgrind, with the counters and without them.

    python bench/books.py [--messages 4000]

Compiles this tree twice into a temporary folder, the second time with PLEXO_WITHOUT_BOOKS, and runs the paths of
instructions.py on both. They may cost three percent; `receive` is a pair's socket to an `async def`
reactant, `send` a transmit onto a pair.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import instructions

ROOT = Path(__file__).resolve().parents[1]
LIMIT_PERCENT = 3.0


def compiled(folder: Path, switches: dict[str, str]) -> Path:
    """A copy of the tree, built in place; returns what to put on PYTHONPATH."""
    shutil.copytree(
        ROOT,
        folder,
        ignore=shutil.ignore_patterns(".*", "build", "dist", "*.so", "__pycache__", "*.egg-info"),
    )
    subprocess.run(
        [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"],
        cwd=folder,
        env=dict(os.environ, **switches),
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return folder / "src"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--messages", type=int, help="of each path (default: by path)")
    arguments = parser.parse_args()
    if shutil.which("valgrind") is None:
        raise SystemExit("valgrind is not installed")
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        trees = {
            "with": compiled(Path(folder) / "with", {}),
            "without": compiled(Path(folder) / "without", {"PLEXO_WITHOUT_BOOKS": "1"}),
        }
        wanted = {path: arguments.messages or each for path, each in instructions.PATHS.items()}
        counts = {}
        for name, source in trees.items():
            os.environ["PYTHONPATH"] = str(source)
            counts[name] = instructions.count(wanted)
        print(f"{'path':<14}{'with':>10}{'without':>10}{'cost':>9}   instructions per message")
        for path in wanted:
            found = {
                name: instructions.per_message(sum(costs[path].values()), wanted[path])
                for name, costs in counts.items()
            }
            percent = 100 * (found["with"] / found["without"] - 1)
            failed = failed or percent > LIMIT_PERCENT
            print(f"{path:<14}{found['with']:>10.1f}{found['without']:>10.1f}{percent:>8.2f}%")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
