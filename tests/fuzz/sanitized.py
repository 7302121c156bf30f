# SPDX-License-Identifier: Apache-2.0
"""The extension built with address and undefined-behaviour sanitizers, in a copy of the tree under build/.

With clang and atheris the modules also say which of their edges were run, so that the fuzzer is guided through the
compiled code; libFuzzer, the sanitizers and Python then share the run-time library that atheris brings. Without one of
them gcc's sanitizers do, under the mutator of tests/fuzz/mutate.py.

Python has extensions compiled with -fwrapv: an overflow of signed integers is defined there, and not looked for.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = {
    # Python keeps what it interned until it ends, which is no leak; the last two make it several times faster.
    "ASAN_OPTIONS": "detect_leaks=0:malloc_context_size=2:quarantine_size_mb=32",
    "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
    # Python's own allocator would hide what is read behind the end of an object.
    "PYTHONMALLOC": "malloc",
    "PLEXO_FUZZ_SANITIZED": "1",
}


def runtime_of_atheris() -> Path | None:
    """The sanitizers' run-time library with libFuzzer in it."""
    try:
        import atheris
    except ImportError:
        return None
    found = Path(atheris.path()) / "asan_with_fuzzer.so"
    return found if found.exists() else None


def gcc_library(name: str) -> str:
    return subprocess.run(
        ["gcc", f"-print-file-name={name}"], check=True, capture_output=True, text=True
    ).stdout.strip()


def guided() -> bool:
    """Whether atheris can drive the sanitized modules."""
    return runtime_of_atheris() is not None and shutil.which("clang") is not None


def sources() -> Iterator[Path]:
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        yield ROOT / name
    for folder in ("src", "tests"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.is_file() and path.suffix not in (".so", ".pyc", ".c") and ".egg-info" not in str(path):
                yield path


def environment(place: Path) -> dict[str, str]:
    """For a Python that loads the modules of the copy at `place`."""
    ours = runtime_of_atheris() if guided() else None
    preload = str(ours) if ours else f"{gcc_library('libasan.so')} {gcc_library('libubsan.so')}"
    return {"PYTHONPATH": f"{place / 'src'}{os.pathsep}{place}", "LD_PRELOAD": preload, **OPTIONS}


def build(place: Path) -> None:
    """Copy the tree to `place` and compile there, unless what is there is the same. CalledProcessError if it fails."""
    flags = "address,undefined,fuzzer-no-link" if guided() else "address,undefined"
    known = hashlib.sha256(f"{sys.version}{flags}".encode())
    copied = list(sources())
    for path in copied:
        if path.suffix in (".pyx", ".pxd") or path.name == "setup.py":
            known.update(path.read_bytes())
    stamp = place / "built"
    keep = stamp.exists() and stamp.read_text() == known.hexdigest()
    if not keep:
        shutil.rmtree(place, ignore_errors=True)
        # What Cython has translated already need not be again; copies keep their times.
        if (ROOT / "build/cython").is_dir():
            shutil.copytree(ROOT / "build/cython", place / "build/cython")
    for path in copied:
        target = place / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target)
    if keep:
        return
    compiler = {"CC": "clang", "LDSHARED": "clang -shared"} if guided() else {"CC": "gcc"}
    changed = {"PLEXO_SANITIZE": flags, "PLEXO_WERROR": "", **compiler}
    command = [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"]
    subprocess.run(command, cwd=place, env={**os.environ, **changed}, check=True, stdout=subprocess.DEVNULL)
    stamp.write_text(known.hexdigest())
