# SPDX-License-Identifier: Apache-2.0
"""What is done with a wheel, whatever built it: repaired, looked at, installed where no compiler is, and tested there.

Everything is kept in .cache/wheels and .cache/roots; pytest's output is in tests.log beside each wheel.
"""

import argparse
import email
import re
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.packaging.check import MAX_WHEEL_BYTES
from tests.packaging.wheels import cross, roots

CHECKOUT = Path(__file__).resolve().parents[3]
CACHE = CHECKOUT / ".cache" / "wheels"

# In a root: a wheel's folder, and what is in it.
INSIDE = "/mnt/proof"
PYTHON = f"{INSIDE}/env/bin/python"

# numpy's wheels want the C++ library of the system; `ip` is how tests look for interfaces.
RUNNING = ("python3", "python3-venv", "libstdc++6", "iproute2")

# Scenarios of the allocation: a hundredth of what runs on the machine itself, as only the arithmetic is in question.
ENVIRONMENT = {"PLEXO_SIM_SEEDS": "200", "PYTHONDONTWRITEBYTECODE": "1"}
PYTEST = ("-m", "pytest", "-q", "--benchmark-disable", "-p", "no:cacheprovider")
FIRST_PAGE = "examples/tutorial/1-one-process/brewery.py"
PROGRAM_TIMEOUT_S = 300
TESTS_TIMEOUT_S = 3000


@dataclass
class Result:
    """What was found out about one wheel; `failures` is empty when it is proved."""

    name: str
    wheel: Path
    seconds: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        counted = (
            ", ".join(f"{number} {what}" for what, number in self.counts.items()) or "no tests asked for"
        )
        timed = ", ".join(f"{what} {spent:.0f} s" for what, spent in self.seconds.items())
        size = f"{self.wheel.stat().st_size / 1e6:.2f} MB"
        lines = [f"{self.name}: {self.wheel.name}, {size}", f"  {counted} ({timed})"]
        return "\n".join([*lines, *(f"  FAILED: {each}" for each in self.failures)])

    def read(self, log: Path, status: int) -> None:
        """What pytest said."""
        said = log.read_text().strip()
        summary = r"(\d+) (passed|failed|errors?|skipped|deselected|xfailed)"
        self.counts = {what: int(number) for number, what in re.findall(summary, said.rpartition("\n")[2])}
        failed = re.findall(r"^(?:FAILED|ERROR) (.+)$", said, re.MULTILINE)
        if not failed and (status or not self.counts):
            failed = [f"pytest ended with status {status}: see {log}"]
        self.failures += failed


def finish(built: Path, name: str) -> Result:
    """Repair it, and look at it as a file."""
    result = Result(name, cross.repair(built))
    size = result.wheel.stat().st_size
    if size > MAX_WHEEL_BYTES:
        result.failures.append(f"{size} bytes: expected at most {MAX_WHEEL_BYTES}")
    checked = subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", result.wheel], capture_output=True, text=True
    )
    if checked.returncode:
        result.failures.append(f"twine check: {checked.stdout.strip()}{checked.stderr.strip()}")
    return result


def dependencies(wheel: Path) -> list[str]:
    """What it cannot do without, from its own metadata."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (each for each in archive.namelist() if each.endswith(".dist-info/METADATA"))
        required = email.message_from_bytes(archive.read(name)).get_all("Requires-Dist") or []
    return [each for each in required if "extra ==" not in each]


def copy_tests(to: Path) -> None:
    """The files of this checkout that git knows, as they are now: tests read others, and write beside themselves."""
    shutil.rmtree(to, ignore_errors=True)
    listed = subprocess.run(
        ["git", "-C", CHECKOUT, "ls-files", "-z"], capture_output=True, text=True, check=True
    )
    for name in filter(None, listed.stdout.split("\0")):
        source = CHECKOUT / name
        if source.exists():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, to / name)


def make_sdist(output: Path) -> Path:
    shutil.rmtree(output, ignore_errors=True)
    done = subprocess.run(
        [sys.executable, "-m", "build", "--sdist", "--outdir", str(output), str(CHECKOUT)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"no sdist (pip install --group build):\n{done.stdout[-3000:]}")
    return cross.only(output, "*.tar.gz")


# -- in a root -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Proof:
    """A wheel to be proved in a root of its suite, with the tests that are run on it, but for those `left_out`."""

    suite: str
    target: cross.Target
    tests: tuple[str, ...]
    # Debian's packages of what the tests import, where there are no wheels of it. The wheel's own dependencies are
    # compiled then, as the wheel is.
    debian_tests: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.suite}-{self.target.debian}"


class Machine:
    """A root in which nobody can compile, with an empty environment in a folder that is bound into it."""

    def __init__(self, proof: Proof, work: Path) -> None:
        self.proof = proof
        self.root = roots.make(proof.target.debian, proof.suite, (*RUNNING, *proof.debian_tests))
        for compiler in ("cc", "gcc", "clang"):
            if (self.root / "usr/bin" / compiler).exists():
                raise RuntimeError(f"{self.root} has a compiler: {compiler}")
        self.work = work
        # Debian's numpy finds its libraries by an alternative, which a script would have chosen.
        libraries = f"/usr/lib/{proof.target.gnu}"
        self.environment = {"LD_LIBRARY_PATH": f"{libraries}/blas:{libraries}/lapack", **ENVIRONMENT}
        work.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(work / "env", ignore_errors=True)
        # Without pip's own installation, which takes a minute and a half under emulation: it runs from its wheel.
        systems = ["--system-site-packages"] if proof.debian_tests else []
        self.run("python3", "-m", "venv", "--without-pip", *systems, f"{INSIDE}/env")

    def run(self, *words: str, cwd: str = "/tmp", **options: object) -> subprocess.CompletedProcess[str]:
        binds = {self.work: INSIDE}
        return roots.enter(self.root, words, binds, cwd=cwd, env=self.environment, **options)  # type: ignore[arg-type]

    def install(self, *what: str) -> None:
        """From the wheelhouse and nothing else, by the machine's own Python."""
        pip = cross.only(self.work / "wheelhouse", "pip-*.whl").name
        wheelhouse = f"{INSIDE}/wheelhouse"
        options = ("--no-compile", "--no-index", f"--find-links={wheelhouse}")
        self.run(PYTHON, f"{wheelhouse}/{pip}/pip", "install", *options, *what)

    def fill_wheelhouse(self, wheel: Path) -> None:
        """What is to be installed, brought by this machine's pip: the wheel, what it needs, what tests need, a pip."""
        proof = self.proof
        wheelhouse = self.work / "wheelhouse"
        wheelhouse.mkdir(parents=True, exist_ok=True)
        for old in wheelhouse.glob("pyplexo-*.whl"):
            old.unlink()
        shutil.copy(wheel, wheelhouse)
        cross.pip("download", "--no-deps", "--dest", wheelhouse, "pip")
        if not proof.debian_tests:
            options = cross.wheels_for(proof.suite, proof.target.python, cross.python_version(self.root))
            group = f"{CHECKOUT / 'pyproject.toml'}:test"
            cross.pip("download", "--dest", wheelhouse, *options, *dependencies(wheel), "--group", group)
            return
        for dependency in dependencies(wheel):
            sources = CACHE / "dependencies"
            shutil.rmtree(sources, ignore_errors=True)
            cross.pip("download", "--no-deps", "--no-binary=:all:", "--dest", sources, dependency)
            sdist = cross.only(sources, "*.tar.gz")
            shutil.copy(cross.build(proof.target, proof.suite, sdist, CACHE / "dependency"), wheelhouse)


def prove_in_root(proof: Proof, build: Callable[[], Path], tests: Sequence[str] | None) -> Result:
    """Build, install, first page of the tutorial, tests; `tests` instead of the proof's own.

    Raises roots.Unavailable with what this machine lacks.
    """
    work = CACHE / proof.name
    with roots.emulated(proof.target.debian):
        started = time.monotonic()
        result = finish(build(), proof.name)
        result.seconds["build"] = time.monotonic() - started

        started = time.monotonic()
        machine = Machine(proof, work)
        machine.fill_wheelhouse(result.wheel)
        machine.install("pyplexo")
        copy_tests(work / "checkout")
        checkout = f"{INSIDE}/checkout"
        for program in ("tests/packaging/smoke.py", FIRST_PAGE):
            machine.run(PYTHON, "-I", f"{checkout}/{program}", checkout, timeout_s=PROGRAM_TIMEOUT_S)
        result.seconds["install and first page"] = time.monotonic() - started

        wanted = proof.tests if tests is None else tests
        if wanted:
            started = time.monotonic()
            if not proof.debian_tests:
                machine.install("--group", f"{checkout}/pyproject.toml:test")
            log = work / "tests.log"
            done = machine.run(
                # Who starts this in the background has Ctrl-C ignored, which tests want to send.
                *("env", "--default-signal=INT", PYTHON, *PYTEST, "--durations=20"),
                *("-o", f"faulthandler_timeout={TESTS_TIMEOUT_S}"),
                *(f"--deselect={test}" for test in proof.left_out),
                *wanted,
                cwd=checkout,
                check=False,
                log=log,
                timeout_s=TESTS_TIMEOUT_S,
            )
            result.read(log, done.returncode)
            result.seconds["tests"] = time.monotonic() - started
    return result


# -- the command -----------------------------------------------------------------------------------------------------


def main(
    description: str | None,
    known: Iterable[str],
    prove: Callable[[str, Path, Sequence[str] | None], Result],
    words: Sequence[str] | None,
) -> int:
    """`prove` what is asked for of `known`, say what came of it, and skip what this machine lacks."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sdist", type=Path, help="to build from; else one is made of this checkout")
    parser.add_argument("--only", help=f"of {','.join(known)}")
    parser.add_argument(
        "--tests", help="folders and files of tests, '' for none, instead of each wheel's own"
    )
    options = parser.parse_args(words)
    names = options.only.split(",") if options.only else list(known)
    if unknown := set(names) - set(known):
        parser.error(f"--only {','.join(sorted(unknown))}: expected some of {','.join(known)}")
    tests = None if options.tests is None else list(filter(None, options.tests.split(",")))
    sdist = (options.sdist or make_sdist(CACHE / "sdist")).resolve()
    failed = False
    for name in names:
        try:
            result = prove(name, sdist, tests)
        except roots.Unavailable as lack:
            print(f"{name}: skipped, {lack}", flush=True)
            continue
        except (RuntimeError, subprocess.SubprocessError) as error:
            print(f"{name}: FAILED: {error}", flush=True)
            failed = True
            continue
        print(result, flush=True)
        failed |= bool(result.failures)
    return int(failed)
