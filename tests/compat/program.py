# SPDX-License-Identifier: Apache-2.0
"""Runs a file of tests/compat/programs by our plexo or by 1.0.0, as a user would."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest

import plexo
from tests.interop.venv_1_0 import clean_environment, site_packages

PROGRAMS = Path(__file__).with_name("programs")
OURS, THEIRS = "ours", "1.0.0"
TIMEOUT_S = 60.0


class Program:
    """A program at work; killed at the end of the `with` if it is still there then."""

    def __init__(
        self, whose: str, python_1_0: Path | None, name: str, *arguments: object, extras: bool = False
    ) -> None:
        """extras: our plexo with the libraries that came with 1.0, such as returns."""
        environment = clean_environment()
        environment["PYTHONUNBUFFERED"] = "1"
        # What a program leaves open is then told on its standard error; so is what the schema library thinks.
        environment["PYTHONWARNINGS"] = "default,ignore::UserWarning"
        if whose == OURS:
            python = sys.executable
            path = [str(Path(plexo.__file__).parents[1])]
            if extras:
                if sys.version_info[:2] != (3, 11):
                    pytest.skip("the libraries of the environment with 1.0.0 are for Python 3.11")
                # Behind ours, so that `plexo` is ours.
                path.append(str(site_packages()))
            environment["PYTHONPATH"] = os.pathsep.join(path)
        else:
            python = str(python_1_0)
        self.name = f"{name} {' '.join(str(argument) for argument in arguments)} by {whose}"
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  closed in __exit__
        self._process = subprocess.Popen(
            [python, str(PROGRAMS / name), *(str(argument) for argument in arguments)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )

    @property
    def errors(self) -> str:
        """What it wrote to standard error so far."""
        self._errors.seek(0)
        return self._errors.read()

    def line(self) -> str:
        """The next line of its standard output."""
        line = self._read(lambda output: output.readline())
        assert line, f"{self.name} ended or was silent for {TIMEOUT_S} s:\n{self.errors[-3000:]}"
        return line.rstrip("\n")

    def output(self) -> str:
        """What it still prints until it ends by itself, which it must do well."""
        output = self._read(lambda output: output.read())
        code = self._process.wait(TIMEOUT_S)
        assert code == 0, f"{self.name} ended with {code} (negative: killed):\n{self.errors[-3000:]}"
        return output

    def _read(self, read: Callable[[IO[str]], str]) -> str:
        """A blocking read; the program is killed when it takes too long."""
        assert self._process.stdout is not None
        alarm = threading.Timer(TIMEOUT_S, self._process.kill)
        alarm.start()
        try:
            return read(self._process.stdout)
        finally:
            alarm.cancel()

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._errors.close()
