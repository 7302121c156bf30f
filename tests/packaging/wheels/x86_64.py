# SPDX-License-Identifier: Apache-2.0
"""x86_64 wheels: for every Python that is here, and for those of newer Debian suites, in roots of theirs.

    python -m tests.packaging.wheels.x86_64 [--sdist FILE] [--only 3.11,trixie,...] [--tests tests/unit,...]

Each wheel is built from the sdist, repaired by auditwheel, looked at by twine, installed in an empty environment in
which no compiler can be found, and there the tests run against it.

Not proved here: musllinux. There is no musl Python to run it in; that the modules compile for musl is seen by
elsewhere.py.
"""

import argparse
import importlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.packaging.wheels import aarch64, cross, roots

CACHE = aarch64.CACHE
VERSIONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
# 3.13 and 3.14. They are built with the suite's own gcc and its newer glibc, and so have a newer tag than a release.
SUITES = ("trixie", "forky")
X86_64 = cross.Target("amd64", "x86_64-linux-gnu", "x86_64")
TESTS = ("tests/unit", "tests/pgm", "tests/paxos", "tests/network")
ENVIRONMENT = {"PLEXO_SIM_SEEDS": "200", "PYTHONDONTWRITEBYTECODE": "1"}
BUILD_TIMEOUT_S = 900
TESTS_TIMEOUT_S = 1800


def pythons() -> dict[str, Path]:
    """One interpreter of each version: of the PATH, or of pyenv."""
    found: dict[str, Path] = {}
    for version in VERSIONS:
        kept = sorted(
            Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")).glob(
                f"versions/{version}.*/bin/python"
            )
        )
        on_path = shutil.which(f"python{version}")
        for candidate in (*kept, *([Path(on_path)] if on_path else [])):
            usable = [candidate, str(aarch64.CHECKOUT / "tests/packaging/usable.py")]
            if subprocess.run(usable, capture_output=True).returncode == 0:
                found[version] = candidate
                break
    return found


def run(
    words: Sequence[str | Path], log: Path, limit_s: float, cwd: Path, env: dict[str, str] | None = None
) -> int:
    with log.open("w") as output:
        return subprocess.run(
            [str(word) for word in words],
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            timeout=limit_s,
            cwd=cwd,
            env=env,
        ).returncode


def must(
    words: Sequence[str | Path], log: Path, limit_s: float, cwd: Path, env: dict[str, str] | None = None
) -> None:
    if run(words, log, limit_s, cwd, env):
        raise RuntimeError(f"{' '.join(map(str, words))}:\n{log.read_text()[-3000:]}")


def clean() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def without_compiler(environment: Path) -> dict[str, str]:
    """A PATH with the environment's programs and what tests call, and no compiler."""
    programs = environment / "programs"
    programs.mkdir()
    for name in ("ip", "git", "sh", "cat", "ps", "sleep", "uname", "ldd", "env"):
        if (program := shutil.which(name)) is not None:
            (programs / name).symlink_to(program)
    return {**clean(), **ENVIRONMENT, "PATH": f"{environment / 'bin'}:{programs}", "CC": "/bin/false"}


def tally(log: Path) -> tuple[dict[str, int], list[str]]:
    said = log.read_text().strip()
    counts = {
        what: int(number) for number, what in re.findall(aarch64.SUMMARY, (said or "\n").splitlines()[-1])
    }
    return counts, re.findall(r"^(?:FAILED|ERROR) (.+)$", said, re.MULTILINE)


def finish(built: Path) -> tuple[Path, list[str]]:
    """The repaired wheel, and what is wrong with it as a file."""
    shutil.rmtree(built.parent.parent / "repaired", ignore_errors=True)
    wheel = cross.repair(built)
    failures = []
    if wheel.stat().st_size > aarch64.MAX_WHEEL_BYTES:
        failures.append(f"{wheel.stat().st_size} bytes: expected at most {aarch64.MAX_WHEEL_BYTES}")
    checked = subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", wheel], capture_output=True, text=True
    )
    if checked.returncode:
        failures.append(f"twine check: {checked.stdout.strip()}")
    return wheel, failures


def prove(name: str, python: Path, sdist: Path, tests: Sequence[str]) -> aarch64.Result:
    """With an interpreter of this machine, which brings its dependencies by pip."""
    work = CACHE / f"python-{name}"
    shutil.rmtree(work, ignore_errors=True)
    (work / "dist").mkdir(parents=True)
    seconds: dict[str, float] = {}
    started = time.monotonic()
    quiet = ("-m", "pip", "--disable-pip-version-check", "--quiet")
    must([python, "-m", "venv", work / "build"], work / "venv.log", 300, work, clean())
    building = work / "build/bin/python"
    must([building, *quiet, "install", "pip>=25.1"], work / "pip.log", 300, work, clean())
    must(
        [building, *quiet, "wheel", "--no-deps", "--wheel-dir", work / "dist", sdist],
        *(work / "build.log", BUILD_TIMEOUT_S, work, clean()),
    )
    wheel, failures = finish(cross.only(work / "dist", "*.whl"))
    seconds["build"] = time.monotonic() - started

    started = time.monotonic()
    must([python, "-m", "venv", "--without-pip", work / "empty"], work / "venv.log", 300, work, clean())
    empty = work / "empty/bin/python"
    environment = without_compiler(work / "empty")
    pip = [building, *quiet, "--python", empty]
    # Also the dependencies: only wheels, as for somebody who cannot compile.
    must([*pip, "install", "--only-binary=:all:", wheel], work / "install.log", 300, work, environment)
    aarch64.copy_tests(work / "checkout")
    shutil.rmtree(work / "checkout/src/plexo/_fast/__pycache__", ignore_errors=True)
    smoke = work / "checkout/tests/packaging/smoke.py"
    must([empty, "-I", smoke, work / "checkout"], work / "smoke.log", 120, work, environment)
    seconds["install"] = time.monotonic() - started
    if not tests:
        return aarch64.Result(f"python {name}", wheel, seconds, {}, failures)

    started = time.monotonic()
    group = f"{work / 'checkout/pyproject.toml'}:test"
    log = work / "tests.log"
    if run([*pip, "install", "--only-binary=:all:", "--group", group], log, 600, work, environment):
        # capnp and such need not have a wheel for every Python; the tests say what they skip.
        few = ["attrs", "hypothesis", "numpy", "psutil", "pytest", "pytest-benchmark", "rich", "typer"]
        must([*pip, "install", "--only-binary=:all:", *few], log, 600, work, environment)
    pytest = [empty, "-m", "pytest", "-q", "--benchmark-disable", "-p", "no:cacheprovider", *tests]
    status = run(pytest, log, TESTS_TIMEOUT_S, work / "checkout", environment)
    counts, failed = tally(log)
    failures += failed
    if status and not failed:
        failures.append(f"pytest ended with status {status}: see {log}")
    seconds["tests"] = time.monotonic() - started
    return aarch64.Result(f"python {name}", wheel, seconds, counts, failures)


def build_in_root(suite: str, sdist: Path, work: Path) -> Path:
    """A wheel by the suite's own Python and compiler."""
    compiling = roots.make("amd64", suite, ["python3", "python3-dev", "gcc", "libc6-dev"])
    version = cross.python_version(compiling)
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    cross.unpack(sdist, work)
    group = f"{aarch64.CHECKOUT / 'pyproject.toml'}:compile"
    cross.pip(
        *("install", "--group", group, "--target", work / "tools"),
        *cross.wheels_for(suite, "x86_64", version),
    )
    inside = "/mnt/wheels"
    roots.enter(
        compiling,
        ["python3", "setup.py", "bdist_wheel", "--dist-dir", f"{inside}/out/dist"],
        {work: inside},
        cwd=f"{inside}/source",
        env={"PYTHONPATH": f"{inside}/tools"},
        timeout_s=BUILD_TIMEOUT_S,
        log=work / "build.log",
    )
    return cross.only(work / "out/dist", "*.whl")


def prove_in_root(suite: str, sdist: Path, tests: Sequence[str]) -> aarch64.Result:
    """In a root of the suite without a compiler, and without the network: everything is in a wheelhouse."""
    proof = aarch64.Proof(suite, X86_64, tuple(tests))
    work = CACHE / proof.name
    seconds: dict[str, float] = {}
    started = time.monotonic()
    wheel, failures = finish(build_in_root(suite, sdist, CACHE / f"build-{suite}"))
    seconds["build"] = time.monotonic() - started

    started = time.monotonic()
    work.mkdir(parents=True, exist_ok=True)
    machine = aarch64.Machine(proof, work)
    version = cross.python_version(machine.root)
    aarch64.fill_wheelhouse(proof, work / "wheelhouse", version, CACHE)
    for old in (work / "wheelhouse").glob("pyplexo-*.whl"):
        old.unlink()
    shutil.copy(wheel, work / "wheelhouse")
    machine.install("pyplexo")
    aarch64.copy_tests(work / "checkout")
    python, checkout = "/mnt/work/env/bin/python", "/mnt/work/checkout"
    pages = [f"{checkout}/tests/packaging/smoke.py"]
    if (work / "checkout" / aarch64.FIRST_PAGE).exists():
        pages.append(f"{checkout}/{aarch64.FIRST_PAGE}")
    for page in pages:
        machine.run(python, "-I", page, checkout, timeout_s=120)
    seconds["install and first page"] = time.monotonic() - started

    counts: dict[str, int] = {}
    if tests:
        started = time.monotonic()
        machine.install("--group", f"{checkout}/pyproject.toml:test")
        log = work / "tests.log"
        machine.run(
            *("env", *(f"{variable}={value}" for variable, value in ENVIRONMENT.items())),
            *(python, "-m", "pytest", "-q", "--benchmark-disable", "-p", "no:cacheprovider", *tests),
            cwd=checkout,
            check=False,
            log=log,
            timeout_s=TESTS_TIMEOUT_S,
        )
        counts, failed = tally(log)
        failures += failed
        if not counts:
            failures.append(f"pytest did not come to its end: see {log}")
        seconds["tests"] = time.monotonic() - started
    return aarch64.Result(f"{proof.name}, Python {version}", wheel, seconds, counts, failures)


def free_threaded() -> Path:
    """3.14t, of freethreaded.py. Raises roots.Unavailable where it cannot be had."""
    try:
        module = importlib.import_module("tests.packaging.wheels.freethreaded")
    except ImportError:
        raise roots.Unavailable("nothing builds a free-threaded Python here yet") from None
    try:
        return Path(module.build())
    except module.Unavailable as lack:
        raise roots.Unavailable(str(lack)) from None


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--sdist", type=Path, help="the sdist to build from; else one is made of this checkout"
    )
    parser.add_argument("--only", help=f"of {','.join((*VERSIONS, '3.14t', *SUITES))}")
    parser.add_argument("--tests", help=f"folders and files of tests, '' for none; usually {','.join(TESTS)}")
    options = parser.parse_args(arguments)
    known = (*VERSIONS, "3.14t", *SUITES)
    wanted = options.only.split(",") if options.only else list(known)
    if unknown := set(wanted) - set(known):
        parser.error(f"--only {','.join(sorted(unknown))}: expected some of {','.join(known)}")
    tests = TESTS if options.tests is None else tuple(filter(None, options.tests.split(",")))
    sdist = (options.sdist or aarch64.make_sdist(CACHE / "sdist")).resolve()
    here = pythons()
    failed = False
    for name in wanted:
        try:
            if name in SUITES:
                result = prove_in_root(name, sdist, tests)
            elif name == "3.14t":
                result = prove(name, free_threaded(), sdist, tests)
            elif name in here:
                result = prove(name, here[name], sdist, tests)
            else:
                raise roots.Unavailable(f"there is no Python {name} here")
        except roots.Unavailable as lack:
            print(f"python {name}: skipped, {lack}", flush=True)
            continue
        except (RuntimeError, subprocess.SubprocessError) as error:
            print(f"python {name}: FAILED: {error}", flush=True)
            failed = True
            continue
        print(result, flush=True)
        failed |= bool(result.failures)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
