# SPDX-License-Identifier: Apache-2.0
"""An ARM wheel: cross-compiled, installed where no compiler is, and tested there under emulation.

    python -m tests.packaging.wheels.aarch64 [--sdist FILE] [--only bookworm-arm64,...] [--tests tests/unit,...]

Needs root, Debian's apt, qemu-user-static; what is missing is said, and skipped. Everything is kept in .cache/wheels
and .cache/roots; pytest's output is in tests.log beside each wheel.

What qemu is not: another processor's memory order (its threads run with this machine's, which is stricter), and
quick: ten to twenty times slower here. What it is: ARM's instructions, its alignment, unsigned char, its sizes of
structures at the border to the kernel, and for armv7l 32-bit sizes.
"""

import argparse
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.packaging.wheels import cross, roots

CHECKOUT = Path(__file__).resolve().parents[3]
CACHE = CHECKOUT / ".cache" / "wheels"

# A wheel of more does not go out (issue of size: an SD card and a slow line at the fermenter).
MAX_WHEEL_BYTES = 1_500_000

# numpy's wheels want the C++ library of the system; `ip` is how tests look for interfaces.
RUNNING = ("python3", "python3-venv", "libstdc++6", "iproute2")

TESTS_TIMEOUT_S = 3000

# Scenarios of the allocation: a hundredth of what runs on the machine itself, as only the arithmetic is in question.
SIM_SEEDS = 200

FIRST_PAGE = "examples/tutorial/1-one-process/brewery.py"


@dataclass(frozen=True)
class Proof:
    """A wheel to be proved, with the tests that are run on it."""

    suite: str
    target: cross.Target
    tests: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.suite}-{self.target.debian}"


# What is compiled, with little else. The others (--tests) have limits of time that emulation beside other work meets:
# of tests/network some tests of full queues failed so, which nobody has looked at one by one yet.
COMPILED = ("tests/unit", "tests/pgm")

PROOFS = (
    Proof("bookworm", cross.AARCH64, COMPILED),
    Proof("trixie", cross.AARCH64, ("tests/unit",)),
    Proof("forky", cross.AARCH64, ()),
    Proof("trixie", cross.ARMV7L, COMPILED),
)

# Of what the tests import there are no wheels for armv7l: there it is Debian's. msgspec is compiled as plexo is.
DEBIAN_TESTS = {
    cross.ARMV7L: (
        "python3-attr",
        "python3-hypothesis",
        "python3-numpy",
        "python3-psutil",
        "python3-pydantic",
        "python3-pytest",
        "python3-pytest-benchmark",
        "python3-rich",
        "python3-typer",
        "python3-uvloop",
        "python3-zmq",
    )
}

# Tests that are not run here, each with the reason. Everything else that is skipped says so itself (-ra).
DESELECTED = {
    "tests/paxos/test_exhaustive.py": "plain Python, nothing compiled: far more than 60 s when emulated",
    "tests/unit/test_vigil.py::test_quick_answers_are_waited_for_awake": "no answer is quick under emulation",
}


@dataclass
class Result:
    """What was found out about one wheel; `failures` is empty when it is proved."""

    name: str
    wheel: Path
    seconds: dict[str, float]
    counts: dict[str, int]
    failures: list[str]

    def __str__(self) -> str:
        counted = (
            ", ".join(f"{number} {what}" for what, number in self.counts.items()) or "no tests asked for"
        )
        timed = ", ".join(f"{what} {spent:.0f} s" for what, spent in self.seconds.items())
        size = f"{self.wheel.stat().st_size / 1e6:.2f} MB"
        lines = [f"{self.name}: {self.wheel.name}, {size}", f"  {counted} ({timed})"]
        return "\n".join([*lines, *(f"  FAILED: {each}" for each in self.failures)])


class Machine:
    """An emulated root in which nobody can compile, with an empty environment in a folder that is bound into it."""

    def __init__(self, proof: Proof, work: Path) -> None:
        self.target = proof.target
        self.suite = proof.suite
        self.root = roots.make(
            proof.target.debian, proof.suite, (*RUNNING, *DEBIAN_TESTS.get(proof.target, ()))
        )
        for compiler in ("cc", "gcc", "clang"):
            if (self.root / "usr/bin" / compiler).exists():
                raise RuntimeError(f"{self.root} has a compiler: {compiler}")
        self.work = work
        self.binds = {work: "/mnt/work"}
        # Debian's numpy finds its libraries by an alternative, which a script would have chosen.
        libraries = f"/usr/lib/{proof.target.gnu}"
        self.environment = {
            "LD_LIBRARY_PATH": f"{libraries}/blas:{libraries}/lapack",
            "PLEXO_SIM_SEEDS": str(SIM_SEEDS),
        }
        work.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(work / "env", ignore_errors=True)
        # Without pip's own installation, which takes a minute and a half under emulation: it runs from its wheel.
        systems = ["--system-site-packages"] if proof.target in DEBIAN_TESTS else []
        self.run("python3", "-m", "venv", "--without-pip", *systems, "/mnt/work/env")

    def run(self, *words: str, cwd: str = "/tmp", **options: object) -> subprocess.CompletedProcess[str]:
        return roots.enter(self.root, words, self.binds, cwd=cwd, env=self.environment, **options)  # type: ignore[arg-type]

    def install(self, *what: str) -> None:
        """From the wheelhouse and nothing else, by the machine's own Python."""
        pip = cross.only(self.work / "wheelhouse", "pip-*.whl").name
        self.run(
            "/mnt/work/env/bin/python",
            f"/mnt/work/wheelhouse/{pip}/pip",
            "install",
            "--no-compile",
            "--no-index",
            "--find-links=/mnt/work/wheelhouse",
            *what,
        )


def fill_wheelhouse(proof: Proof, wheelhouse: Path, version: str, work: Path) -> None:
    """What the root is to install, brought by this machine's pip: the wheel's dependencies, the tests', and a pip."""
    wheelhouse.mkdir(parents=True, exist_ok=True)
    cross.pip("download", "--no-deps", "--dest", wheelhouse, "pip")
    if proof.target not in DEBIAN_TESTS:
        options = cross.wheels_for(proof.suite, proof.target.python, version)
        group = f"{CHECKOUT / 'pyproject.toml'}:test"
        cross.pip("download", "--dest", wheelhouse, *options, *DEPENDENCIES, "--group", group)
        return
    for dependency in DEPENDENCIES:
        sources = work / "dependencies"
        shutil.rmtree(sources, ignore_errors=True)
        cross.pip("download", "--no-deps", "--no-binary=:all:", "--dest", sources, dependency)
        sdist = cross.only(sources, "*.tar.gz")
        shutil.copy(cross.build(proof.target, proof.suite, sdist, work / "dependency"), wheelhouse)


# Of pyproject.toml.
DEPENDENCIES = ("msgspec>=0.19",)


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


def prove(proof: Proof, sdist: Path, tests: Sequence[str] | None = None, cache: Path = CACHE) -> Result:
    """Build, install, first page of the tutorial, tests. Raises roots.Unavailable with what this machine lacks."""
    work = cache / proof.name
    seconds: dict[str, float] = {}
    failures: list[str] = []

    def step(what: str, started: float) -> float:
        now = time.monotonic()
        seconds[what] = now - started
        return now

    with roots.emulated(proof.target.debian):
        started = time.monotonic()
        built = cross.build(proof.target, proof.suite, sdist, cache / "cross")
        wheel = cross.repair(built)
        started = step("build", started)
        if wheel.stat().st_size > MAX_WHEEL_BYTES:
            failures.append(f"{wheel.stat().st_size} bytes: expected at most {MAX_WHEEL_BYTES}")

        machine = Machine(proof, work)
        version = cross.python_version(machine.root)
        fill_wheelhouse(proof, work / "wheelhouse", version, cache)
        for old in (work / "wheelhouse").glob("pyplexo-*.whl"):
            old.unlink()
        shutil.copy(wheel, work / "wheelhouse")
        machine.install("pyplexo")
        copy_tests(work / "checkout")
        python, checkout = "/mnt/work/env/bin/python", "/mnt/work/checkout"
        for program in (f"{checkout}/tests/packaging/smoke.py", f"{checkout}/{FIRST_PAGE}"):
            machine.run(python, "-I", program, checkout, timeout_s=300)
        started = step("install and first page", started)

        counts: dict[str, int] = {}
        wanted = proof.tests if tests is None else tests
        if wanted:
            if proof.target not in DEBIAN_TESTS:
                machine.install("--group", f"{checkout}/pyproject.toml:test")
            log = work / "tests.log"
            done = machine.run(
                # Who starts this in the background has Ctrl-C ignored, which tests want to send.
                *("env", "--default-signal=INT", python),
                *("-m", "pytest", "-q", "--benchmark-disable", "-p", "no:cacheprovider", "--durations=20"),
                *("-o", f"faulthandler_timeout={TESTS_TIMEOUT_S}"),
                *(f"--deselect={test}" for test in DESELECTED),
                *wanted,
                cwd=checkout,
                check=False,
                log=log,
                timeout_s=TESTS_TIMEOUT_S,
            )
            said = log.read_text()
            counts = {
                what: int(number) for number, what in re.findall(SUMMARY, said.strip().splitlines()[-1])
            }
            failures += re.findall(r"^(?:FAILED|ERROR) (.+)$", said, re.MULTILINE)
            if done.returncode and not failures:
                failures.append(f"pytest ended with status {done.returncode}: see {log}")
            step("tests", started)
    return Result(proof.name, wheel, seconds, counts, failures)


SUMMARY = r"(\d+) (passed|failed|errors?|skipped|deselected|xfailed)"


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--sdist", type=Path, help="the sdist to build from; else one is made of this checkout"
    )
    parser.add_argument("--only", help=f"of {','.join(proof.name for proof in PROOFS)}")
    parser.add_argument("--tests", help="folders and files of tests, instead of each wheel's own")
    options = parser.parse_args(words)
    known = {proof.name: proof for proof in PROOFS}
    names = options.only.split(",") if options.only else list(known)
    if unknown := set(names) - set(known):
        parser.error(f"--only {','.join(sorted(unknown))}: expected some of {','.join(known)}")

    try:
        roots.need_root()
        sdist = options.sdist or make_sdist(CACHE / "sdist")
    except roots.Unavailable as lack:
        print(f"ARM wheels: skipped, {lack}")
        return 0
    tests = options.tests.split(",") if options.tests else None
    failed = False
    for name in names:
        try:
            result = prove(known[name], sdist.resolve(), tests)
        except roots.Unavailable as lack:
            print(f"{name}: skipped, {lack}", flush=True)
            continue
        print(result, flush=True)
        failed |= bool(result.failures)
    return int(failed)


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


if __name__ == "__main__":
    sys.exit(main())
