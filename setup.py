# SPDX-License-Identifier: Apache-2.0
"""Builds the compiled modules; everything else is in pyproject.toml.

Switches, by environment:
  PLEXO_DEBUG=1                       no optimisation, C assertions, line tracing for coverage
  PLEXO_SANITIZE=address,undefined    instrument the modules (run under the matching runtime library)
  PLEXO_WITHOUT_BOOKS=1               no counters of messages, for bench/books.py alone: stats() are wrong
  PLEXO_WERROR=1                      C compiler warnings are errors (CI sets it; users' compilers differ)
"""

import os
import sys
from pathlib import Path
from typing import Any

from Cython.Build import cythonize
from Cython.Compiler import Options
from setuptools import Extension, setup

DEBUG = os.environ.get("PLEXO_DEBUG", "") not in ("", "0")
SANITIZE = os.environ.get("PLEXO_SANITIZE", "")
WITHOUT_BOOKS = os.environ.get("PLEXO_WITHOUT_BOOKS", "") not in ("", "0")
WERROR = os.environ.get("PLEXO_WERROR", "") not in ("", "0")

compile_args: list[str] = []
link_args: list[str] = []
libraries: list[str] = []
if os.name == "posix":
    # Sanitizers need not be quick, and their builds are made often.
    compile_args += ["-O0", "-g", "-UNDEBUG"] if DEBUG else ["-O1" if SANITIZE else "-O2", "-g0"]
    if WERROR:
        # Cython's own generated helpers may stay unused in a small module.
        compile_args += ["-Wall", "-Werror", "-Wno-unused-function"]
    if SANITIZE:
        compile_args += [f"-fsanitize={SANITIZE}", "-fno-omit-frame-pointer", "-g"]
        link_args += [f"-fsanitize={SANITIZE}"]
    elif not DEBUG:
        # Nobody links against a module, and nothing is thrown through it: no names but those that Python looks up, and
        # no tables for unwinding. A sixth of the wheel.
        compile_args += ["-fvisibility=hidden"]
        if sys.platform == "linux":
            compile_args += ["-fno-unwind-tables", "-fno-asynchronous-unwind-tables"]
        link_args += ["-Wl,-x" if sys.platform == "darwin" else "-Wl,--strip-all"]
else:
    compile_args += ["/Od", "/Zi"] if DEBUG else ["/O2"]
    if WERROR:
        # Of what Cython generates: unused labels and variables, constant conditions, and sizes that it narrows itself.
        compile_args += ["/W3", "/WX", "/wd4101", "/wd4102", "/wd4127", "/wd4244", "/wd4267", "/wd4018"]
    libraries += ["ws2_32"]

# The parsers' loops, which gain a sixth by -O3. The others gain at most 2 % of it, for a tenth of the wheel.
LOOPS = {"deframer", "reception", "scan", "pgm"}
loop_args = [*compile_args, "-O3"] if "-O2" in compile_args else compile_args

macros: list[tuple[str, str | None]] = []
if DEBUG:
    macros.append(("CYTHON_TRACE", "1"))
if WITHOUT_BOOKS:
    macros.append(("PLEXO_WITHOUT_BOOKS", None))

Options.warning_errors = True

# What Cython would repeat in each module (a fifth of the wheel) lies in one of its own, which it generates.
SHARED = "plexo._fast._cyutility"

sources = sorted(Path("src/_fast").glob("*.pyx"))
if not sources:
    raise SystemExit("src/_fast/*.pyx not found: run setup.py from the root of the source tree")

# Cython looks for a module's own .pxd beside its .pyx, does not see ours, and would keep C that no longer fits it.
declarations = max(
    path.stat().st_mtime
    for path in (Path("setup.py"), Path("src/_fast/system.h"), *Path("src/plexo/_fast").glob("*.pxd"))
)
translated = [Path("build/cython") / source.with_suffix(".c") for source in sources]
stale = any(path.exists() and path.stat().st_mtime < declarations for path in translated)

common: dict[str, Any] = {
    "include_dirs": ["src/_fast"],
    "extra_link_args": link_args,
    "libraries": libraries,
    "define_macros": macros,
}
extensions = [
    Extension(
        f"plexo._fast.{source.stem}",
        [source.as_posix()],
        extra_compile_args=loop_args if source.stem in LOOPS else compile_args,
        **common,
    )
    for source in sources
]
extensions.append(Extension(SHARED, ["src/_fast/_cyutility.c"], extra_compile_args=compile_args, **common))

setup(
    options={"build_ext": {"parallel": os.cpu_count() or 1}},
    ext_modules=cythonize(
        extensions,
        shared_utility_qualified_name=SHARED,
        # None of the modules has a typed memoryview.
        shared_utility_features_disabled=["MemoryView"],
        force=stale,
        include_path=["src"],
        build_dir="build/cython",
        compiler_directives={
            "language_level": 3,
            "linetrace": DEBUG,
            "embedsignature": True,
            # None of them can be pickled or copied: without Cython's helpers Python itself says so.
            "auto_pickle": False,
            # Stated, not left to default: one interpreter, with the GIL, until it is proved otherwise.
            "freethreading_compatible": False,
            "subinterpreters_compatible": "no",
        },
    ),
)
