# SPDX-License-Identifier: Apache-2.0
"""x86_64 wheels: for every Python that is here, and for those of newer Debian suites, in roots of theirs.

    python -m tests.packaging.wheels.x86_64 [--sdist FILE] [--only 3.11,trixie,...] [--tests tests/unit,...]

Each wheel is built from the sdist, repaired by auditwheel, looked at by twine, installed in an empty environment in
which no compiler can be found, and there the tests run against it.

Not proved here: musllinux. There is no musl Python to run it in; that the modules compile for musl is seen by
elsewhere.py.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.packaging.wheels import cross, proving, roots
from tests.packaging.wheels.proving import CACHE, CHECKOUT, Proof, Result

VERSIONS = ("3.10", "3.11", "3.12", "3.13", "3.14", "3.14t")
TESTS = ("tests/unit", "tests/pgm", "tests/paxos", "tests/network")
# 3.13 and 3.14. They are built with the suite's own gcc and its newer glibc, and so have a newer tag than a release.
X86_64 = cross.Target("amd64", "x86_64-linux-gnu", "x86_64")
SUITES = {suite: Proof(suite, X86_64, TESTS) for suite in ("trixie", "forky")}
BUILD_TIMEOUT_S = 900


def pythons() -> dict[str, Path]:
    """One interpreter of each version that is here: of pyenv, or of the PATH."""
    found: dict[str, Path] = {}
    for version in VERSIONS:
        kept = sorted(
            Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")).glob(
                f"versions/{version}.*/bin/python"
            )
        )
        on_path = shutil.which(f"python{version}")
        for candidate in (*kept, *([Path(on_path)] if on_path else [])):
            usable = [candidate, str(CHECKOUT / "tests/packaging/usable.py")]
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
    return {**clean(), **proving.ENVIRONMENT, "PATH": f"{environment / 'bin'}:{programs}", "CC": "/bin/false"}


def prove_here(name: str, python: Path, sdist: Path, tests: Sequence[str]) -> Result:
    """With an interpreter of this machine, which brings its dependencies by pip."""
    work = CACHE / f"python-{name}"
    shutil.rmtree(work, ignore_errors=True)
    (work / "dist").mkdir(parents=True)
    started = time.monotonic()
    quiet = ("-m", "pip", "--disable-pip-version-check", "--quiet")
    must([python, "-m", "venv", work / "build"], work / "venv.log", 300, work, clean())
    building = work / "build/bin/python"
    must([building, *quiet, "install", "pip>=25.1"], work / "pip.log", 300, work, clean())
    must(
        [building, *quiet, "wheel", "--no-deps", "--wheel-dir", work / "dist", sdist],
        *(work / "build.log", BUILD_TIMEOUT_S, work, clean()),
    )
    result = proving.finish(cross.only(work / "dist", "*.whl"), f"python {name}")
    result.seconds["build"] = time.monotonic() - started

    started = time.monotonic()
    must([python, "-m", "venv", "--without-pip", work / "empty"], work / "venv.log", 300, work, clean())
    empty = work / "empty/bin/python"
    environment = without_compiler(work / "empty")
    pip = [building, *quiet, "--python", empty]
    # Also the dependencies: only wheels, as for somebody who cannot compile.
    must([*pip, "install", "--only-binary=:all:", result.wheel], work / "install.log", 300, work, environment)
    proving.copy_tests(work / "checkout")
    smoke = work / "checkout/tests/packaging/smoke.py"
    must([empty, "-I", smoke, work / "checkout"], work / "smoke.log", 120, work, environment)
    result.seconds["install"] = time.monotonic() - started
    if not tests:
        return result

    started = time.monotonic()
    group = f"{work / 'checkout/pyproject.toml'}:test"
    log = work / "tests.log"
    if run([*pip, "install", "--only-binary=:all:", "--group", group], log, 600, work, environment):
        # capnp and such need not have a wheel for every Python; the tests say what they skip.
        few = ["attrs", "hypothesis", "numpy", "psutil", "pytest", "pytest-benchmark", "rich", "typer"]
        must([*pip, "install", "--only-binary=:all:", *few], log, 600, work, environment)
    pytest = [empty, *proving.PYTEST, *tests]
    result.read(log, run(pytest, log, proving.TESTS_TIMEOUT_S, work / "checkout", environment))
    result.seconds["tests"] = time.monotonic() - started
    return result


def build_in_root(suite: str, sdist: Path, work: Path) -> Path:
    """A wheel by the suite's own Python and compiler."""
    compiling = roots.make("amd64", suite, ["python3", "python3-dev", "gcc", "libc6-dev"])
    version = cross.python_version(compiling)
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    cross.unpack(sdist, work)
    group = f"{CHECKOUT / 'pyproject.toml'}:compile"
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


def prove(name: str, sdist: Path, tests: Sequence[str] | None) -> Result:
    if name in SUITES:
        proof = SUITES[name]
        return proving.prove_in_root(
            proof, lambda: build_in_root(name, sdist, CACHE / f"build-{name}"), tests
        )
    here = pythons()
    if name not in here:
        raise roots.Unavailable(f"there is no Python {name} here")
    return prove_here(name, here[name], sdist, TESTS if tests is None else tests)


def main(words: Sequence[str] | None = None) -> int:
    return proving.main(__doc__, (*VERSIONS, *SUITES), prove, words)


if __name__ == "__main__":
    sys.exit(main())
