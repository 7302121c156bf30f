# SPDX-License-Identifier: Apache-2.0
"""One event loop after another serves the sockets of a ganglion: 1.0's users run one under several."""

from __future__ import annotations

import asyncio
import contextlib

from plexo._fast.turns import Turns
from plexo.exceptions import EventLoopNotSupported
from plexo.ganglion.events import Watchers
from plexo.ganglion.external import GanglionExternalBase


class GanglionServed(GanglionExternalBase):
    """`hub` knows the loop; a transport says how its sockets get onto it, and off it (`_start_on`, `_leave_loop`)."""

    hub: Turns

    def _start_on(self, loop: asyncio.AbstractEventLoop) -> None:
        """Serve everything from `loop`, `hub` included."""
        raise NotImplementedError(f"{type(self).__name__} must say how an event loop serves it")

    def _leave_loop(self) -> None:
        """Take everything off the loop that serves it, if there is one; sockets stay open."""
        raise NotImplementedError(f"{type(self).__name__} must say how it leaves an event loop")

    def _use_running_loop(self) -> None:
        loop = asyncio.get_running_loop()
        if loop is not self.hub.loop:
            self._use_loop(loop)

    def _use_loop(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Serve every socket from `loop`, whatever served them before."""
        self._require_open()
        if loop is None:
            raise RuntimeError(f"{self!r} needs a running event loop; this call was made outside of one")
        # Not called for trying: what it has to watch may have no socket yet.
        if type(loop).add_reader is asyncio.AbstractEventLoop.add_reader:
            raise EventLoopNotSupported(
                f"{self!r} needs an event loop with add_reader; {type(loop).__name__} has none. On Windows, where that "
                "is asyncio's default: asyncio.run(main(), loop_factory=asyncio.SelectorEventLoop), or before "
                "Python 3.12 asyncio.set_event_loop_policy(asyncio.WindowsSelectorEventLoopPolicy())"
            )
        before = self.hub.loop
        if before is not None and before.is_running():
            raise RuntimeError(f"{self!r} is served by another event loop, which is still running")
        self._leave_loop()
        self._start_on(loop)
        self._watchers.resume()

    def _serving(self) -> list[asyncio.AbstractEventLoop]:
        return [] if self.hub.loop is None else [self.hub.loop]

    def __del__(self) -> None:
        if not self._over:
            # No loop serves this, or it would not be dropped. At the end of the interpreter names may be gone.
            self._closed = True
            # Nobody is told: a callback may not run wherever the garbage collector does.
            self._watchers = Watchers()
            with contextlib.suppress(Exception):
                self._end()
