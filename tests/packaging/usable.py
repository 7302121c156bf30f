# SPDX-License-Identifier: Apache-2.0
"""Can this Python make an environment and compile extensions? Exit status 0, or what is missing."""

import os
import shutil
import sys
import sysconfig


def missing():
    if sys.version_info < (3, 10):  # noqa: UP036
        return f"plexo needs Python 3.10 or newer; this is {sys.version_info[0]}.{sys.version_info[1]}"
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError as error:
        return f"this Python has no {error.name}; on Debian and Ubuntu: apt install python3-venv"
    if not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")):
        return "this Python has no headers; on Debian and Ubuntu: apt install python3-dev"
    compilers = [os.environ.get("CC", ""), sysconfig.get_config_var("CC") or "", "cc", "gcc", "clang"]
    if not any(shutil.which(compiler.split()[0]) for compiler in compilers if compiler.strip()):
        return "there is no C compiler; on Debian and Ubuntu: apt install gcc"
    return None


if __name__ == "__main__":
    answer = missing()
    if answer:
        sys.exit(f"{sys.executable}: {answer}")
