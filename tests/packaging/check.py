# SPDX-License-Identifier: Apache-2.0
"""Build the sdist, a wheel from the sdist alone, install that into an empty environment, and use it from elsewhere.

Run by `make packaging`; needs `build` and, in the new environment, the run-time dependencies only.

    python -m tests.packaging.check [WHEEL ...]    of these, only what is in them and how large they are
"""

import os
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SMOKE = Path(__file__).with_name("smoke.py")

# People get it on an SD card, over a slow line.
MAX_WHEEL_BYTES = 1_500_000

# Without the checkout's own path, and without what the caller's environment adds.
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def run(*command: str | Path, cwd: Path) -> None:
    words = [str(part) for part in command]
    status = subprocess.run(words, cwd=cwd, env=CLEAN).returncode
    expect(status == 0, f"status {status} from {' '.join(words)}")


def only(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        sys.exit(f"expected one {pattern} in {folder}, found {[path.name for path in found]}")
    return found[0]


def expect(condition: bool, what: str) -> None:
    if not condition:
        sys.exit(f"packaging: {what}")


def check_sdist(path: Path) -> None:
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for source in (
        *ROOT.glob("src/_fast/*.pyx"),
        *ROOT.glob("src/_fast/*.h"),
        *ROOT.glob("src/plexo/**/*.p*"),
    ):
        name = source.relative_to(ROOT).as_posix()
        if source.suffix in (".py", ".pyi", ".pxd", ".pyx", ".h") or source.name == "py.typed":
            expect(name in names, f"{name} is missing in the sdist")
    for name in ("LICENSE", "README.md", "pyproject.toml", "setup.py"):
        expect(name in names, f"{name} is missing in the sdist")
    strange = sorted(
        name
        for name in names
        if name.endswith((".so", ".c")) or name.startswith(("tests/", "bench/", "docs/", "examples/", "."))
    )
    expect(not strange, f"the sdist has what it should not: {strange}")


def check_wheel(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
    for source in ROOT.glob("src/_fast/*.pyx"):
        built = [
            name
            for name in names
            if name.startswith(f"plexo/_fast/{source.stem}.") and name.endswith((".so", ".pyd"))
        ]
        expect(len(built) == 1, f"the wheel has {built} for {source.name}")
        expect(f"plexo/_fast/{source.stem}.pyi" in names, f"the wheel has no types for {source.name}")
    expect("plexo/py.typed" in names, "the wheel has no py.typed")
    strange = sorted(
        name
        for name in names
        if name.endswith((".c", ".h", ".pyx")) or not name.startswith(("plexo/", "pyplexo-"))
    )
    expect(not strange, f"the wheel has what it should not: {strange}")
    size = path.stat().st_size
    print(f"{path.name}: {size / 1e6:.2f} MB of at most {MAX_WHEEL_BYTES / 1e6:.2f}, {len(names)} files")
    expect(size <= MAX_WHEEL_BYTES, f"the wheel has {size} bytes, expected at most {MAX_WHEEL_BYTES}")


def main(wheels: Sequence[str]) -> None:
    for given in wheels:
        check_wheel(Path(given))
    if not wheels:
        check_all()


def check_all() -> None:
    with tempfile.TemporaryDirectory(prefix="plexo-packaging-") as name:
        scratch = Path(name)
        dist = scratch / "dist"
        log = scratch / "build.log"
        # The sdist first, then the wheel from what is in it; each in an environment of its own.
        with log.open("w") as output:
            built = subprocess.run(
                [sys.executable, "-m", "build", "--outdir", dist, ROOT],
                cwd=scratch,
                env=CLEAN,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        if built.returncode:
            sys.exit(f"{log.read_text()[-6000:]}\npackaging: the build failed")
        check_sdist(only(dist, "*.tar.gz"))
        wheel = only(dist, "*.whl")
        check_wheel(wheel)

        empty = scratch / "empty"
        venv.create(empty, with_pip=False, symlinks=True)
        python = empty / "bin" / "python"
        pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--python", python)
        run(*pip, "install", wheel, cwd=scratch)
        run(*pip, "check", cwd=scratch)
        run(python, "-I", "-W", "error", SMOKE, ROOT, cwd=scratch)


if __name__ == "__main__":
    main(sys.argv[1:])
