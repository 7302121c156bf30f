# SPDX-License-Identifier: Apache-2.0
"""A program as a reader of the documents runs it: started in a folder, read line by line, ended by Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

import pytest

TIMEOUT_S = 50
# How many seconds a program may take to end after Ctrl-C; closing may linger for half a second.
END_S = 10

_Wrap = Callable[..., list[str]]


def python(*arguments: object) -> list[str]:
    """What the reader types as `python …`."""
    return [sys.executable, *map(str, arguments)]


class Program:
    """One that runs in `folder`; its end is waited for, and what is left of it killed, on leaving `with`."""

    def __init__(self, command: Sequence[str], folder: Path, wrap: _Wrap | None = None) -> None:
        self.process = subprocess.Popen(
            wrap(*command) if wrap else command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
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

    def lines(self, count: int) -> list[str]:
        """The next so many lines it prints."""
        assert self.process.stdout is not None
        lines = []
        for _ in range(count):
            line = self.process.stdout.readline()
            if not line:
                pytest.fail(f"ended or hung after {lines}: {self.process.communicate()[1]}")
            lines.append(line.rstrip("\n"))
        return lines

    def output(self) -> str:
        """The rest of what it prints, when it has ended by itself without an error."""
        output, errors = self.process.communicate(timeout=TIMEOUT_S)
        assert (self.process.returncode, errors) == (0, "")
        return output

    def interrupt(self) -> str:
        """Ctrl-C: it must end soon and well. What it says on stderr while it ends."""
        self.process.send_signal(signal.SIGINT)
        _, errors = self.process.communicate(timeout=END_S)
        assert self.process.returncode == 0, errors
        assert "Traceback" not in errors
        return errors
