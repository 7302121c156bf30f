# SPDX-License-Identifier: Apache-2.0
"""A program as users run it: started in a folder, read line by line, ended by Ctrl-C."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

import pytest

TIMEOUT_S = 30
# How many seconds a program may take to end after Ctrl-C; closing may linger for half a second.
END_S = 10

_Wrap = Callable[..., list[str]]


def python(*arguments: object) -> list[str]:
    """What the reader types as `python …`."""
    return [sys.executable, *map(str, arguments)]


class Program:
    """One that runs in `folder`; its end is waited for, and what is left of it killed, on leaving `with`."""

    def __init__(
        self,
        command: Sequence[str],
        folder: Path | None = None,
        wrap: _Wrap | None = None,
        **environment: str,
    ) -> None:
        self.process = subprocess.Popen(
            wrap(*command) if wrap else command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **environment},
        )
        # Reading a line may block; the watchdog ends that, and every other kind of waiting.
        self._watchdog = threading.Timer(TIMEOUT_S, self.process.kill)
        self._watchdog.start()

    def __enter__(self) -> Program:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.communicate()
        self._watchdog.cancel()

    def line(self) -> str:
        """The next line it prints."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            pytest.fail(f"ended or hung instead of printing a line: {self.process.communicate()[1]}")
        return line.rstrip("\n")

    def lines(self, count: int) -> list[str]:
        """The next so many."""
        return [self.line() for _ in range(count)]

    def output(self, expected_errors: str = "") -> str:
        """The rest of what it prints, when it has ended by itself and well. `expected_errors` is found on stderr, which
        is empty where that is."""
        output, errors = self.process.communicate(timeout=TIMEOUT_S)
        assert self.process.returncode == 0, errors
        assert re.search(expected_errors, errors) if expected_errors else errors == "", errors
        return output

    def interrupt(self, expected_errors: str = "") -> str:
        """Ctrl-C: it must end soon and well, with `expected_errors`, a pattern for all of it, on stderr."""
        self.process.send_signal(signal.SIGINT)
        output, errors = self.process.communicate(timeout=END_S)
        assert self.process.returncode == 0, errors
        assert re.fullmatch(expected_errors, errors), errors
        return output
