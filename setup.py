# SPDX-License-Identifier: Apache-2.0
"""Builds the compiled modules; everything else is in pyproject.toml.

Switches, by environment:
  PLEXO_DEBUG=1                       no optimisation, C assertions, line tracing for coverage
  PLEXO_SANITIZE=address,undefined    instrument the modules (run under the matching runtime library)
  PLEXO_WITHOUT_BOOKS=1               no counters of messages, for bench/books.py alone: stats() are wrong
  PLEXO_WERROR=1                      C compiler warnings are errors (CI sets it; users' compilers differ)
"""

import os
from pathlib import Path

from Cython.Build import cythonize
from Cython.Compiler import Options
from setuptools import Extension, setup

DEBUG = os.environ.get("PLEXO_DEBUG", "") not in ("", "0")
SANITIZE = os.environ.get("PLEXO_SANITIZE", "")
WITHOUT_BOOKS = os.environ.get("PLEXO_WITHOUT_BOOKS", "") not in ("", "0")
WERROR = os.environ.get("PLEXO_WERROR", "") not in ("", "0")

compile_args: list[str] = []
link_args: list[str] = []
if os.name == "posix":
    # Sanitizers need not be quick, and their builds are made often.
    compile_args += ["-O0", "-g", "-UNDEBUG"] if DEBUG else ["-O1" if SANITIZE else "-O3", "-g0"]
    if WERROR:
        # Cython's own generated helpers may stay unused in a small module.
        compile_args += ["-Wall", "-Werror", "-Wno-unused-function"]
    if SANITIZE:
        compile_args += [f"-fsanitize={SANITIZE}", "-fno-omit-frame-pointer", "-g"]
        link_args += [f"-fsanitize={SANITIZE}"]

macros: list[tuple[str, str | None]] = []
if DEBUG:
    macros.append(("CYTHON_TRACE", "1"))
if WITHOUT_BOOKS:
    macros.append(("PLEXO_WITHOUT_BOOKS", None))

Options.warning_errors = True

sources = sorted(Path("src/_fast").glob("*.pyx"))
if not sources:
    raise SystemExit("src/_fast/*.pyx not found: run setup.py from the root of the source tree")

# Cython looks for a module's own .pxd beside its .pyx, does not see ours, and would keep C that no longer fits it.
declarations = max(
    path.stat().st_mtime for path in (Path("setup.py"), *Path("src/plexo/_fast").glob("*.pxd"))
)
translated = [Path("build/cython") / source.with_suffix(".c") for source in sources]
stale = any(path.exists() and path.stat().st_mtime < declarations for path in translated)

setup(
    options={"build_ext": {"parallel": os.cpu_count() or 1}},
    ext_modules=cythonize(
        [
            Extension(
                f"plexo._fast.{source.stem}",
                [source.as_posix()],
                extra_compile_args=compile_args,
                extra_link_args=link_args,
                define_macros=macros,
            )
            for source in sources
        ],
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
