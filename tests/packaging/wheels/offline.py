# SPDX-License-Identifier: Apache-2.0
"""Is the sdist enough to build from, without a network? In a network namespace without interfaces, with the build's
requirements from a folder. Argument: the sdist. Needs root."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

# The same as build-system.requires.
REQUIRED = f"{Path(__file__).resolve().parents[3] / 'pyproject.toml'}:compile"
BUILD_TIMEOUT_S = 900


def main(sdist: Path) -> int:
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        print("offline: skipped, only root can make a network namespace (with unshare)")
        return 0
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    with tempfile.TemporaryDirectory(prefix="plexo-offline-") as name:
        scratch = Path(name)
        subprocess.run([*pip, "download", "--dest", scratch / "wheelhouse", "--group", REQUIRED], check=True)
        # That it has no network is seen, not believed.
        reach = "import socket; socket.create_connection(('127.0.0.1', 9), 1)"
        alone = ["unshare", "--net"]
        lonely = subprocess.run([*alone, sys.executable, "-c", reach], capture_output=True, text=True)
        if "Network is unreachable" not in lonely.stderr:
            sys.exit(f"offline: the namespace has a network: {lonely.stderr}")
        built = subprocess.run(
            [
                *(*alone, *pip, "wheel", "--no-index", "--find-links", scratch / "wheelhouse", "--no-deps"),
                *("--no-cache-dir", "--wheel-dir", scratch / "dist", sdist),
            ],
            cwd=scratch,
            timeout=BUILD_TIMEOUT_S,
        )
        if built.returncode:
            sys.exit("offline: the build failed")
        print(
            f"offline: {next((scratch / 'dist').glob('*.whl')).name} built from {sdist.name} without a network"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
