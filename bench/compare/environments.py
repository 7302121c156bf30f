# SPDX-License-Identifier: Apache-2.0
"""Environments for the rivals, each made once in `.cache/bench/<name>` from `requirements/<name>.txt`.

    cd bench && python -m compare.environments [NAME ...]

makes them all, or those named. One each, so that nobody's dependencies decide anybody else's versions, and
nothing of this checkout is on their path. Another list of requirements, or another Python, makes it anew.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

HERE = Path(__file__).resolve().parent
CACHE = HERE.parent.parent / ".cache" / "bench"
# Not below 3.10, because the drivers are written for it; what plexo 1.0.0 needs does not build above 3.11.
OLD_VERSIONS = ("3.11", "3.10")
NATS_SERVER = "2.15.2"
# Making one takes seconds to minutes, the longest where there is something to compile.
TIMEOUT_S = 600


class Missing(Exception):
    """It cannot be had here; the message says why."""


def names() -> list[str]:
    return sorted(path.stem for path in (HERE / "requirements").glob("*.txt"))


def _run(what: str, *command: object, **options: object) -> str:
    try:
        done = subprocess.run(
            [str(each) for each in command],
            check=True,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            **options,  # type: ignore[call-overload]
        )
    except (subprocess.SubprocessError, OSError) as error:
        lines = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
        raise Missing(f"{what}: {lines[-1] if lines else error}") from None
    return str(done.stdout)


def _base(name: str) -> str:
    if name != "plexo-1.0.0":
        return sys.executable
    for version in OLD_VERSIONS:
        if "{}.{}".format(*sys.version_info) == version:
            return sys.executable
        found = shutil.which(f"python{version}")
        # A launcher may be there for a Python that is not.
        if found and subprocess.run([found, "--version"], capture_output=True).returncode == 0:
            return found
    raise Missing(f"{name} needs Python {' or '.join(OLD_VERSIONS)}; none found")


@cache
def environment(name: str) -> str:
    """The Python of this environment, and whatever else the rival needs; made if need be. Missing."""
    requirements = HERE / "requirements" / f"{name}.txt"
    base = _base(name)
    wanted = hashlib.sha256(
        requirements.read_bytes() + _run(base, base, "-c", "import sys; print(sys.version)").encode()
    ).hexdigest()
    directory = CACHE / name
    stamp = directory / "stamp"
    python = directory / "bin" / "python"
    if not (stamp.exists() and stamp.read_text() == wanted):
        print(f"making {directory} (once)", file=sys.stderr)
        _run(f"environment {name}", base, "-m", "venv", "--clear", directory)
        pip = (python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
        _run(f"environment {name}", *pip, "--requirement", requirements)
        stamp.write_text(wanted)
    if name == "nats":
        nats_server()
    return str(python)


@cache
def nats_server() -> str:
    """The program nats-server: the pinned release where there is a Go compiler, else what the system has. Missing."""
    directory = CACHE / f"nats-server-{NATS_SERVER}"
    program = directory / "nats-server"
    if program.exists():
        return str(program)
    reason = "there is no Go compiler, no nats-server on the path and no apt-get"
    if go := shutil.which("go"):
        print(f"making {program} (once)", file=sys.stderr)
        options = dict(os.environ, GOBIN=str(directory), CGO_ENABLED="0")
        try:
            module = f"github.com/nats-io/nats-server/v2@v{NATS_SERVER}"
            _run("nats-server", go, "install", "-p", "2", module, env=options)
            return str(program)
        except Missing as error:
            reason = str(error)
    if found := shutil.which("nats-server", path=f"{os.environ.get('PATH', '')}:/usr/sbin"):
        return found
    extracted = CACHE / "nats-server-debian"
    program = extracted / "usr" / "sbin" / "nats-server"
    if not program.exists() and shutil.which("apt-get"):
        try:
            extracted.mkdir(parents=True, exist_ok=True)
            _run("nats-server", "apt-get", "download", "nats-server", cwd=extracted)
            _run("nats-server", "dpkg", "-x", *extracted.glob("*.deb"), extracted)
        except Missing as error:
            reason = f"{reason}; {error}"
    if program.exists():
        return str(program)
    raise Missing(f"nats-server cannot be had: {reason}")


if __name__ == "__main__":
    for each in sys.argv[1:] or names():
        try:
            print(each, environment(each))
        except Missing as reason:
            print(each, "is missing:", reason)
