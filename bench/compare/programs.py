# SPDX-License-Identifier: Apache-2.0
"""The programs that contenders are commands of. Each is prepared at its first use: an environment, or a build.

A program that cannot be had here is Missing, with the reason; the board shows that, and never a guess.
"""

from __future__ import annotations

import ast
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from . import environments
from .environments import Missing

ROOT = Path(__file__).resolve().parents[2]
BENCH = ROOT / "bench"
DRIVERS = BENCH / "compare" / "drivers"
CACHE = ROOT / ".cache" / "bench"
# The longest build is the Rust project's first one, which compiles libzmq.
BUILD_TIMEOUT_S = 1200


@dataclass(frozen=True)
class Program:
    """`command()` is what to write before COMMAND and its arguments; it raises Missing."""

    command: Callable[[], list[str]]
    # Names and versions, of what was prepared.
    versions: Callable[[], dict[str, str]] = dict
    # Nothing of this checkout on its path.
    foreign: bool = True


def _here(script: str) -> Program:
    """A driver in the environment that this runs in."""
    return Program(lambda: [sys.executable, str(DRIVERS / script)], foreign=False)


def _python(script: str, environment: str, *packages: str) -> Program:
    """A driver in an environment of its own, `requirements/ENVIRONMENT.txt`, for the sake of these packages in it."""

    def command() -> list[str]:
        if not (DRIVERS / script).exists():
            raise Missing(f"there is no {script}")
        return [environments.environment(environment), str(DRIVERS / script)]

    return Program(command, lambda: _pinned(environment, packages))


def _pinned(environment: str, packages: Sequence[str]) -> dict[str, str]:
    lines = (BENCH / "compare" / "requirements" / f"{environment}.txt").read_text().splitlines()
    pins = dict(line.split(";")[0].strip().split("==") for line in lines if "==" in line)
    return {package: pins.get(package, "unknown") for package in packages}


def _built(what: str, folder: Path, *command: str) -> None:
    if shutil.which(command[0]) is None:
        raise Missing(f"{command[0]} is not installed")
    print(f"building {what}", file=sys.stderr, flush=True)
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Missing(f"{what} cannot be built: {error}") from None
    if done.returncode:
        lines = [line for line in done.stderr.strip().splitlines() if line.strip()]
        reason = next((line for line in lines if line.startswith("error")), lines[-1] if lines else "")
        raise Missing(f"{what} cannot be built: {reason}")


def _rust() -> list[str]:
    folder = BENCH / "rust"
    if not folder.exists():
        raise Missing("there is no bench/rust")
    target = CACHE / "rust"
    # In its folder: cargo looks there, and not beside the manifest, for .cargo/config.toml.
    cargo = ("cargo", "build", "--release", "--locked", "--quiet", "--target-dir", str(target))
    _built("bench/rust", folder, *cargo)
    return [str(target / "release" / "rivals")]


def _rust_versions() -> dict[str, str]:
    compiler = subprocess.run(["rustc", "--version"], capture_output=True, text=True).stdout.split()
    said = subprocess.run([*_answer("rust"), "version"], capture_output=True, text=True, timeout=60).stdout
    found: dict[str, str] = json.loads(said.strip().splitlines()[-1]) if said.strip() else {}
    return {"rustc": compiler[1] if len(compiler) > 1 else "unknown", **found}


def _floors() -> list[str]:
    program = CACHE / "floors" / "floors"
    program.parent.mkdir(parents=True, exist_ok=True)
    compiler = shlex.split(os.environ.get("CC", "cc"))
    _built("bench/floors", ROOT, *compiler, "-O2", str(BENCH / "floors" / "floors.c"), "-o", str(program))
    return [str(program)]


PROGRAMS = {
    "plexo": _here("plexo_driver.py"),
    "floor": _here("plexo_floors.py"),
    "bare": _here("plexo_memory.py"),
    "plexo-1.0.0": _python("plexo_1_0_driver.py", "plexo-1.0.0", "plexo"),
    "events": _python("events_driver.py", "events", "blinker", "pyee"),
    "pyzmq": _python("pyzmq_driver.py", "pyzmq", "pyzmq"),
    "zenoh": _python("zenoh_driver.py", "zenoh", "eclipse-zenoh"),
    "nats": _python("nats_driver.py", "nats", "nats-py"),
    "pynng": _python("pynng_driver.py", "pynng", "pynng"),
    "lcm": _python("lcm_driver.py", "lcm", "lcm"),
    "zmq-epgm": _here("zmq_epgm_driver.py"),
    "rust": Program(_rust, _rust_versions),
    "floors": Program(_floors),
}


@cache
def _answer(name: str) -> list[str] | Missing:
    """Prepared once, and a refusal remembered."""
    try:
        return PROGRAMS[name].command()
    except Missing as reason:
        return reason


def command(name: str) -> list[str]:
    """The command line of a program, prepared if need be. Raises Missing."""
    found = _answer(name)
    if isinstance(found, Missing):
        raise found
    return list(found)


def prepare(names: Sequence[str]) -> dict[str, str]:
    """All of them, before anything is measured; says which are missing, and why."""
    missing = {}
    for name in names:
        try:
            command(name)
        except Missing as reason:
            missing[name] = str(reason)
    return missing


def versions(names: Sequence[str]) -> dict[str, str]:
    """What was prepared, and in which versions; first comes, first served where two have the same package."""
    found: dict[str, str] = {}
    for name in names:
        if not isinstance(_answer(name), Missing):
            for package, version in PROGRAMS[name].versions().items():
                found.setdefault(package, version)
    return found


@cache
def _notes(script: str) -> dict[str, str]:
    """What a driver says of its rows: the literal NOTES in it (it cannot be imported here)."""
    for statement in ast.parse(Path(script).read_text()).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "NOTES":
            found: dict[str, str] = ast.literal_eval(statement.value)
            return found
    return {}


def note(name: str, row: str) -> str:
    """What the driver says of how it does this row."""
    found = _answer(name)
    script = "" if isinstance(found, Missing) else found[-1]
    return _notes(script).get(row, "") if script.endswith(".py") else ""


def environment(name: str) -> dict[str, str]:
    """The environment variables for a program."""
    made = dict(os.environ, PYTHONHASHSEED="0")
    if PROGRAMS[name].foreign:
        for variable in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"):
            made.pop(variable, None)
    return made
