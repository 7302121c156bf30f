# SPDX-License-Identifier: Apache-2.0
"""Does cibuildwheel build what is promised, no more and no less? It is asked; nothing is built."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PYTHONS = ("cp310", "cp311", "cp312", "cp313", "cp314", "cp314t")
PLATFORMS = {
    "linux": tuple(
        f"{libc}linux_{machine}" for libc in ("many", "musl") for machine in ("x86_64", "aarch64", "armv7l")
    ),
    "macos": ("macosx_x86_64", "macosx_arm64"),
    "windows": ("win_amd64",),
}


def identifiers(platform: str) -> set[str]:
    asked = subprocess.run(
        [sys.executable, "-m", "cibuildwheel", "--platform", platform, "--print-build-identifiers", ROOT],
        capture_output=True,
        text=True,
        # Its own variables, of whoever calls, would change the answer.
        env={name: value for name, value in os.environ.items() if not name.startswith("CIBW_")},
    )
    if asked.returncode:
        sys.exit(f"cibuildwheel refuses its configuration in pyproject.toml:\n{asked.stderr}")
    return set(asked.stdout.split())


def main() -> int:
    if importlib.util.find_spec("cibuildwheel") is None:
        print(
            "identifiers: skipped, cibuildwheel is not installed (pip install --group wheels, Python 3.11 or later)"
        )
        return 0
    wrong = 0
    for platform, machines in PLATFORMS.items():
        promised = {f"{python}-{machine}" for python in PYTHONS for machine in machines}
        built = identifiers(platform)
        for name in sorted(promised ^ built):
            wrong += 1
            print(f"{name}: {'is not built' if name in promised else 'is built, and not promised'}")
        print(f"identifiers: {len(built)} wheels for {platform}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
