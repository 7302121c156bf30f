# SPDX-License-Identifier: Apache-2.0
"""Programs of the tests on a host of the network: they are told what to do, and report, by lines of JSON."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from tests.multicast.network import Host

# No report takes so long; a test that waits for it has failed.
PATIENCE_S = 20.0
END_S = 10.0


class Child:
    """`python -m module arguments` on a host; to be used in a `with`.

    Each line of its standard output is one report, a JSON object with the key "event".
    """

    def __init__(
        self, host: Host, module: str, *arguments: object, env: Mapping[str, str] | None = None
    ) -> None:
        self.host = host
        self.name = f"{module} on {host.address}"
        self.reports: list[dict[str, Any]] = []
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed in kill
        self._buffer = b""
        self.process = host.start(
            sys.executable,
            "-m",
            module,
            *(str(each) for each in arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})},
        )

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def tell(self, do: str, **details: Any) -> None:
        """One command."""
        self.tell_line(json.dumps({"do": do, **details}))

    def tell_line(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def expect(self, event: str, patience_s: float = PATIENCE_S) -> dict[str, Any]:
        """The next report of that kind; others before it are dropped. AssertionError, with what is known, otherwise."""
        deadline = time.monotonic() + patience_s
        while True:
            while self.reports:
                report = self.reports.pop(0)
                if report["event"] == event:
                    return report
                assert report["event"] != "failed", f"{self.name}: {report}\n{self.errors()}"
            left = deadline - time.monotonic()
            assert left > 0, f"{self.name}: no {event!r} within {patience_s} s\n{self.errors()}"
            assert self._read(left), f"{self.name} ended instead of reporting {event!r}\n{self.errors()}"

    def ask(self, do: str, patience_s: float = PATIENCE_S, **details: Any) -> dict[str, Any]:
        """A command, and the report of the same name that answers it."""
        self.tell(do, **details)
        return self.expect(do, patience_s)

    def _read(self, patience_s: float) -> bool:
        assert self.process.stdout is not None
        fd = self.process.stdout.fileno()
        if select.select([fd], [], [], patience_s)[0]:
            got = os.read(fd, 65536)
            if not got:
                return False
            *lines, self._buffer = (self._buffer + got).split(b"\n")
            self.reports += [json.loads(line) for line in lines if line]
        return True

    def errors(self) -> str:
        """What it has written to its standard error."""
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace")

    def end(self) -> None:
        """Closing its input ends it; it must end well."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(END_S)
        assert self.process.returncode == 0, f"{self.name}: status {self.process.returncode}\n{self.errors()}"

    def kill(self) -> None:
        """At once, as a power failure would."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(END_S)
        for each in (self.process.stdin, self.process.stdout, self._errors):
            if each is not None:
                with contextlib.suppress(BrokenPipeError):
                    each.close()


# -- on the child's side ---------------------------------------------------------------------------------------


def report(event: str, **details: Any) -> None:
    """To the test."""
    sys.stdout.write(json.dumps({"event": event, **details}) + "\n")
    sys.stdout.flush()
