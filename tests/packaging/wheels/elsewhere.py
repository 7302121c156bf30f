# SPDX-License-Identifier: Apache-2.0
"""Do the compiled modules compile for systems that are not here? Warnings are errors; `zig cc` has the headers.

For Windows they are linked, too, against a library of the names that this Python has: what else is missing would be
WinSock's or the C library's. Nothing of it is run. Microsoft's compiler is not asked: that is for continuous
integration.

    python tests/packaging/wheels/elsewhere.py [TARGET ...]
"""

import importlib.util
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
TRANSLATED = ROOT / "build/cython/src/_fast"
WINDOWS = "x86_64-windows-gnu"
# As zig names them; ARM of 32 bits for the sizes, musl for its headers.
TARGETS = (WINDOWS, "aarch64-macos", "x86_64-macos", "x86_64-linux-musl", "arm-linux-musleabihf")
WARNINGS = ("-Wall", "-Werror", "-Wno-unused-function")
# Half a minute is usual, with two at once.
TIMEOUT_S = 300
AT_ONCE = 2

# What Python's headers ask of pyconfig.h on 64-bit Windows.
PYCONFIG_WINDOWS = """
#include <io.h>
#include <stddef.h>
#define MS_WIN32
#define MS_WINDOWS
#define MS_WIN64
#define NT_THREADS
#define HAVE_DECLSPEC_DLL
#define Py_ENABLE_SHARED 1
#define HAVE_STDDEF_H 1
#define HAVE_ERRNO_H 1
#define HAVE_SYS_TYPES_H 1
#define HAVE_SYS_STAT_H 1
#define HAVE_WCHAR_H 1
#define HAVE_PY_SSIZE_T 1
typedef __int64 Py_ssize_t;
#define PY_SSIZE_T_MAX LLONG_MAX
#define SIZEOF_PID_T 8
#define SIZEOF_SHORT 2
#define SIZEOF_INT 4
#define SIZEOF_LONG 4
#define SIZEOF_LONG_LONG 8
#define SIZEOF_FLOAT 4
#define SIZEOF_DOUBLE 8
#define SIZEOF_VOID_P 8
#define SIZEOF_SIZE_T 8
#define SIZEOF_TIME_T 8
#define SIZEOF_OFF_T 4
#define SIZEOF_WCHAR_T 2
#define ALIGNOF_SIZE_T 8
#define ALIGNOF_MAX_ALIGN_T 8
#define PLATLIBDIR "lib"
"""
# What differs where a pointer has 32 bits, in a pyconfig.h of this machine.
BITS_32 = {
    "LONG": 4,
    "VOID_P": 4,
    "SIZE_T": 4,
    "UINTPTR_T": 4,
    "PTHREAD_T": 4,
    "PTHREAD_KEY_T": 4,
    "LONG_DOUBLE": 8,
}


def zig() -> list[str] | None:
    if importlib.util.find_spec("ziglang") is None:
        return None
    return [sys.executable, "-m", "ziglang"]


def headers(target: str, folder: Path) -> Path:
    """This Python's headers with a pyconfig.h of the target's."""
    made = folder / "include"
    shutil.copytree(sysconfig.get_path("include"), made)
    config = made / "pyconfig.h"
    if target == WINDOWS:
        config.write_text(PYCONFIG_WINDOWS)
        return made
    # Debian's is a choice among those of its architectures.
    text = Path(sysconfig.get_config_h_filename()).read_text()
    if not re.search(r"#define SIZEOF_VOID_P", text):
        name = re.search(r"<([a-z0-9_]+-linux-gnu/python[^>]+)>", text)
        text = (Path("/usr/include") / name.group(1)).read_text() if name else text
    if target.startswith("arm-"):
        for what, size in BITS_32.items():
            text = re.sub(rf"(#define (?:SIZEOF|ALIGNOF)_{what}) \d+", rf"\1 {size}", text)
    config.write_text(text)
    return made


def import_library(folder: Path) -> Path:
    """Names that this Python exports, as those of a DLL."""
    library = Path(sysconfig.get_config_var("LIBDIR") or "") / str(sysconfig.get_config_var("LDLIBRARY"))
    exporting = library if library.suffix == ".so" and library.exists() else Path(sys.executable).resolve()
    listed = subprocess.run(
        ["nm", "--dynamic", "--defined-only", exporting], capture_output=True, text=True, check=True
    ).stdout
    functions, data = set(), set()
    for line in listed.splitlines():
        _, kind, name = line.rsplit(maxsplit=2)
        if name.startswith(("Py", "_Py")):
            (functions if kind == "T" else data).add(name.partition("@")[0])
    definition = folder / "python.def"
    lines = ["LIBRARY python3.dll", "EXPORTS", *sorted(functions), *(f"{name} DATA" for name in sorted(data))]
    definition.write_text("\n".join(lines) + "\n")
    made = folder / "libpython3.a"
    command = [*(zig() or ()), "dlltool", "-m", "i386:x86-64", "-d", str(definition), "-l", str(made)]
    subprocess.run(command, check=True)
    return made


def compile_for(target: str, sources: list[Path], folder: Path) -> list[str]:
    """What the compiler and the linker said, a string for each module that failed."""
    compiler = [*(zig() or ()), "cc", "-target", target]
    include = headers(target, folder)
    common = [*WARNINGS, "-DNDEBUG", f"-I{ROOT / 'src/_fast'}", f"-I{include}"]
    library = import_library(folder) if target == WINDOWS else None

    def one(source: Path) -> str:
        if library:
            output = folder / f"{source.stem}.pyd"
            what = ["-O1", "-shared", "-o", str(output), str(source), str(library), "-lws2_32"]
        else:
            what = ["-O0", "-c", "-o", str(folder / f"{source.stem}.o"), str(source)]
        done = subprocess.run(
            [*compiler, *common, *what], capture_output=True, text=True, timeout=TIMEOUT_S, cwd=folder
        )
        return f"{source.name} for {target}:\n{done.stderr[-3000:]}" if done.returncode else ""

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return [said for said in pool.map(one, sources) if said]


def main(targets: list[str]) -> int:
    if zig() is None:
        print("elsewhere: skipped, ziglang is not installed (pip install --group wheels)")
        return 0
    sources = sorted(TRANSLATED.glob("*.c"))
    if not sources:
        sys.exit(f"no translated modules in {TRANSLATED}: build first")
    failed = False
    for target in targets or TARGETS:
        with tempfile.TemporaryDirectory(prefix="plexo-elsewhere-") as name:
            said = compile_for(target, sources, Path(name))
        failed |= bool(said)
        how = "compile and link" if target == WINDOWS else "compile"
        print(
            f"elsewhere: {len(sources) - len(said)} of {len(sources)} modules {how} for {target}", flush=True
        )
        for text in said[:5]:
            print(text)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
