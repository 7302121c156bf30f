# SPDX-License-Identifier: Apache-2.0
"""A virtual environment with plexo 1.0.0 as released, made once and kept in the repository's `.cache/`.

Only Python 3.11 will do: 1.0.0 allows 3.9 to 3.11, and its compiled parts were released for few platforms.
Whoever makes the environment holds a lock, so that two test runs at once make one environment; what a killed
run left half-made lacks the mark and is made anew.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

REQUIREMENT = "plexo==1.0.0"
PLACE = Path(__file__).parents[2] / ".cache" / "plexo-1.0.0"
INSTALL_TIMEOUT_S = 300
# Changes when the environment has to be made again on every machine.
MARK = f"{REQUIREMENT}\n"


class Unavailable(Exception):
    """There is no environment, and why."""


def python_1_0() -> Path:
    """The interpreter that imports plexo 1.0.0; made first where it does not exist. Raises Unavailable."""
    python, mark = PLACE / "bin" / "python", PLACE / "complete"
    PLACE.parent.mkdir(exist_ok=True)
    with open(PLACE.parent / "plexo-1.0.0.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (mark.exists() and mark.read_text() == MARK and _runs(str(python))):
            shutil.rmtree(PLACE, ignore_errors=True)
            try:
                _command(_interpreter(), "-m", "venv", str(PLACE))
                _command(str(python), "-m", "pip", "install", "--quiet", "--retries", "1", REQUIREMENT)
                _command(str(python), "-c", "import plexo.plexus, plexo.ganglion.tcp_pair")
            except BaseException:
                shutil.rmtree(PLACE, ignore_errors=True)
                raise
            mark.write_text(MARK)
    return python


def site_packages() -> Path:
    """Where that environment keeps its packages."""
    return PLACE / "lib" / "python3.11" / "site-packages"


def clean_environment() -> dict[str, str]:
    """Without what would lead another interpreter to our packages."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}


def _interpreter() -> str:
    """Some Python 3.11 that runs; a shim of pyenv's on the PATH may exist and yet refuse."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    candidates = [
        sys.executable if sys.version_info[:2] == (3, 11) else None,
        shutil.which("python3.11"),
        *(str(found) for found in sorted(pyenv.glob("3.11.*/bin/python3.11"))),
        "/usr/bin/python3.11",
    ]
    for candidate in candidates:
        if candidate and _runs(candidate):
            return candidate
    raise Unavailable(f"{REQUIREMENT} needs Python 3.11, and there is none")


def _runs(python: str) -> bool:
    code = "import sys, ensurepip; raise SystemExit(sys.version_info[:2] != (3, 11))"
    try:
        return (
            subprocess.run(
                [python, "-c", code], env=clean_environment(), capture_output=True, timeout=60, check=False
            ).returncode
            == 0
        )
    except OSError:
        return False


def _command(*command: str) -> None:
    try:
        done = subprocess.run(
            command,
            env=clean_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=INSTALL_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"not done within {INSTALL_TIMEOUT_S} s: {' '.join(command)}") from None
    if done.returncode:
        last = done.stdout.strip().splitlines()[-3:]
        raise Unavailable(f"{' '.join(command[1:])} failed: {' / '.join(last)}")
