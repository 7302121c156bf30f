# SPDX-License-Identifier: Apache-2.0
"""`plexo` and `python -m plexo`. The library does without what the commands need, so that may be missing."""

from __future__ import annotations

import importlib
import sys
from typing import NoReturn

NEEDED = ("psutil", "rich", "typer")
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


def main() -> NoReturn:
    """Run the command line; ends the process."""
    try:
        for name in NEEDED:
            try:
                importlib.import_module(name)
            except ImportError:
                print(
                    f"plexo: the commands need {name}, which is not installed: pip install 'pyplexo[demo]'",
                    file=sys.stderr,
                )
                sys.exit(EXIT_USAGE)
        from plexo.cli import app

        app(prog_name="plexo")
    except KeyboardInterrupt:  # before or after what handles it
        sys.exit(EXIT_INTERRUPTED)
    sys.exit(0)


if __name__ == "__main__":
    main()
