# SPDX-License-Identifier: Apache-2.0
"""The other processes, as seen by the viewer that starts them."""

from __future__ import annotations

import asyncio
import signal
import sys

# Of what it writes to stderr, the last so much is kept: a traceback is told by its end.
STDERR_KEPT_BYTES = 16384
# How long it may take to end when the link has gone, before it is killed.
GOODBYE_S = 0.4


class ChildProcess:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._stderr = b""
        self.ended: asyncio.Task[int] = asyncio.create_task(self._watch())

    @classmethod
    async def start(cls, module: str, viewer: str) -> ChildProcess:
        """OSError: it cannot be started."""
        # Ctrl-C goes to every process of the terminal; the viewer decides what follows from it. A blocked
        # signal stays blocked in the new process from its start, and reaches us when we unblock it.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", f"plexo.demo.{module}", viewer,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
            )  # fmt: skip
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        return cls(process)

    async def _watch(self) -> int:
        assert self._process.stderr is not None
        while data := await self._process.stderr.read(4096):
            self._stderr = (self._stderr + data)[-STDERR_KEPT_BYTES:]
        return await self._process.wait()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def stderr(self) -> str:
        """What it wrote, for people."""
        return self._stderr.decode(errors="replace").strip()

    def describe_end(self) -> str:
        """How it ended, for people; once `ended` is done."""
        code = self.ended.result()
        if code < 0:
            try:
                return f"was killed by {signal.Signals(-code).name}"
            except ValueError:
                return f"was killed by signal {-code}"
        return f"ended with exit code {code}"

    def kill(self) -> None:
        if not self.ended.done():
            try:
                self._process.kill()
            except ProcessLookupError:
                return

    async def end(self) -> None:
        """See it end: by itself, since the link has gone, or by force."""
        await asyncio.wait({self.ended}, timeout=GOODBYE_S)
        self.kill()
        await self.ended
