# SPDX-License-Identifier: Apache-2.0
"""An environment with plexo 1.0.0, made once in `.cache/plexo-1.0.0`. It needs Python 3.9 to 3.11."""

from __future__ import annotations

import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

from turns import Missing

ENVIRONMENT = Path(__file__).resolve().parent.parent / ".cache" / "plexo-1.0.0"
WANTED = "plexo==1.0.0"
# Not below 3.10, because the drivers are written for it; its dependencies do not build above 3.11.
VERSIONS = ("3.11", "3.10")


def _installed() -> bool:
    python = ENVIRONMENT / "bin" / "python"
    if not python.exists():
        return False
    probe = "import importlib.metadata as m, plexo.ganglion.tcp_pair; print(m.version('plexo'))"
    found = subprocess.run([python, "-I", "-c", probe], capture_output=True, text=True, timeout=60)
    return found.stdout.strip() == WANTED.partition("==")[2]


def _base_python() -> str:
    for version in VERSIONS:
        if "{}.{}".format(*sys.version_info) == version:
            return sys.executable
        found = shutil.which(f"python{version}")
        # A launcher may be there for a Python that is not.
        if found and subprocess.run([found, "--version"], capture_output=True).returncode == 0:
            return found
    raise Missing(f"plexo 1.0.0 needs Python {' or '.join(VERSIONS)}; none found")


@cache
def interpreter() -> str:
    """The Python that has it; makes the environment first if need be. Missing: it cannot be had here."""
    if not _installed():
        base = _base_python()
        print(f"making {ENVIRONMENT} with {WANTED} (once)", file=sys.stderr)
        try:
            subprocess.run([base, "-m", "venv", "--clear", ENVIRONMENT], check=True, capture_output=True)
            subprocess.run(
                [ENVIRONMENT / "bin" / "python", "-m", "pip", "install", "--quiet", WANTED],
                check=True,
                capture_output=True,
                text=True,
                timeout=600,
            )
        except (subprocess.SubprocessError, OSError) as error:
            detail = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
            raise Missing(f"{WANTED} cannot be installed: {detail[-1] if detail else error}") from None
        if not _installed():
            raise Missing(f"{WANTED} was installed and does not import")
    return str(ENVIRONMENT / "bin" / "python")
