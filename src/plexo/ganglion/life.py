# SPDX-License-Identifier: Apache-2.0
"""The life cycle that everything users hold has: closing from anywhere, any number of times, and forked children.

What is closed belongs to the event loops that serve its sockets or have suspended its reactants (its *homes*). Where
one of them runs in another thread, closing is handed over to it and waited for; where none runs, whoever closes does
it. All steps can be repeated, because each can be broken off: by KeyboardInterrupt between any two instructions, by
cancellation at every await, by a loop that ends. `_closed` says that calls are refused from now on, `_over` that
nothing is left.

One thread at a time takes a member apart; its claim is one `dict.setdefault`, which is atomic. A lock would stay locked
for ever in a forked child.

A forked child shares with its parent every socket and every epoll set. So the moment it begins, everything of ours
that has sockets is *forsaken* there: its copies of the descriptors are closed and nothing else is done, neither
shutdown (the connection is the parent's), nor remove_reader (the epoll set is), nor unlink, nor flush.
"""

from __future__ import annotations

import asyncio
import logging
import os
import selectors
import threading
import time
import weakref
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from plexo._fast.dispatch import Fanout
from plexo.exceptions import Closed, UsedAfterFork
from plexo.neuron.neuron import Neuron

if TYPE_CHECKING:
    from typing_extensions import Self

logger = logging.getLogger("plexo")

# How long closing waits for peers to take what was accepted, and for cancelled reactants to end.
LINGER_S = 0.5
# How long closing waits for an event loop in another thread.
HAND_OVER_S = 1.0
# Between two looks at what another thread or task is closing.
LOOK_S = 0.005


class Lingering(Protocol):
    """A connection at its end, with bytes that the peer has not taken."""

    # Whether it has to be looked at again after a while, whatever its socket says.
    goes_by_time: bool

    def fileno(self) -> int: ...

    def is_sending(self) -> bool:
        """Whether bytes wait for the operating system."""

    def finish_sending(self) -> bool:
        """Go on; never waits. True when there is nothing more to wait for."""


class _Closer(NamedTuple):
    thread: int
    task: asyncio.Task[Any] | None


class LifeCycle:
    """`close`, `aclose`, `with`, `async with`; a transport fills in the methods that begin with an underscore."""

    # Also of a half-made object, whose __init__ raised.
    _closed = False
    _over = False
    _forsaken = False

    def __init__(self) -> None:
        self._made_in = os.getpid()
        self._closer: dict[str, _Closer] = {}
        _living.add(self)

    # -- for the transport -------------------------------------------------------------------------------------

    def _fanouts(self) -> Iterable[tuple[Neuron[Any], Fanout[Any]]]:
        """Where its reactants are."""
        return ()

    def _suspended(self) -> list[tuple[object, asyncio.Task[Any] | None, asyncio.AbstractEventLoop]]:
        """(function, task, event loop) of everything it runs for users that waits in a loop which is not closed.

        The task is None where it is the sender's own.
        """
        return [each for _, fanout in self._fanouts() for each in fanout.suspended]

    def _serving(self) -> Iterable[asyncio.AbstractEventLoop]:
        """The event loops that serve its sockets."""
        return ()

    def _parts(self) -> Sequence[LifeCycle]:
        """What is closed with it."""
        return ()

    def _begin_close(self) -> Sequence[Lingering]:
        """Stop everything but sending what was accepted; may be called again after it was broken off."""
        return ()

    def _end_close(self) -> None:
        """Let go of everything, whether or not it was stopped before; may be called again after it was broken off."""

    def _forsake(self) -> bool:
        """In a forked child: forget what is the parent's. Whether nothing can be done with this object any more."""
        return False

    # -- who may call ------------------------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """Whether it was closed, or is being closed. Safe from any thread."""
        return self._closed

    def _require_open(self) -> None:
        if self._closed:
            self._require_own()
            raise Closed(f"{self!r} is closed")

    def _require_own(self) -> None:
        if self._forsaken:
            raise UsedAfterFork(
                f"{self!r} was made in process {self._made_in}, of which this one is a fork; "
                "its connections are not shared: make a new one here"
            )

    def _require_here(self) -> None:
        """RuntimeError where an event loop in another thread serves this: sockets and queues are not locked."""
        if (loop := running_elsewhere(self._serving())) is not None:
            raise RuntimeError(
                f"{self!r} is served by another event loop, which is still running; "
                f"call it from there, or with asyncio.run_coroutine_threadsafe(..., loop) [{loop!r}]"
            )

    # -- closing -----------------------------------------------------------------------------------------------

    def close(self) -> None:
        """End everything this runs. What was accepted is flushed for up to half a second; the rest is counted.

        From anywhere, also twice and from several threads at once. Where its event loop runs in another thread, that
        loop is asked to close it and waited for, for up to a second; if it is busy for longer this is logged, and
        happens when it wakes. Inside a running event loop prefer `aclose` or `async with`, which do not hold it up.
        """
        work = _Closing(self, None)
        while (mine := work.divide()) is not None:
            if mine:
                _close_all(mine)
            else:
                time.sleep(LOOK_S)

    async def aclose(self) -> None:
        """`close`, giving the event loop its turns meanwhile; waits also for suspended reactants, which it cancels.

        One that goes on after its cancellation is left to the loop after half a second, and logged. A reactant that
        closes its own ganglion is not cancelled once it runs. Cancelling this ends the lingering, not the closing.
        """
        work = _Closing(self, asyncio.current_task())
        while (mine := work.divide()) is not None:
            if mine:
                await _aclose_all(mine)
            else:
                await asyncio.sleep(LOOK_S)

    def _members(self) -> list[LifeCycle]:
        found = [self]
        for part in self._parts():
            found += (each for each in part._members() if each not in found)
        return found

    def _elsewhere(self) -> asyncio.AbstractEventLoop | None:
        """A home of this that runs in another thread."""
        return running_elsewhere([*self._serving(), *(loop for _, _, loop in self._suspended())])

    def _claim(self, closer: _Closer, force: bool) -> bool:
        """Whether `closer` is the one to take this apart now."""
        held = self._closer.setdefault("now", closer)
        if held is not closer:
            if not force:
                if held.thread != closer.thread:
                    return False
                # A plain close() takes over from a task of its thread, which cannot go on before it returns.
                if None not in (held.task, closer.task) and held.task is not closer.task:
                    assert held.task is not None
                    if not held.task.done():
                        return False
            self._closer["now"] = closer
        return True

    def _end(self) -> None:
        self._end_close()
        self._over = True
        self._closer.clear()

    def __enter__(self) -> Self:
        self._require_open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        self._require_open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()


class _Closing:
    """One call of `close` or `aclose`: who has to do what."""

    def __init__(self, whole: LifeCycle, task: asyncio.Task[Any] | None) -> None:
        self.whole = whole
        self.closer = _Closer(threading.get_ident(), task)
        self.asked: dict[LifeCycle, asyncio.AbstractEventLoop] = {}
        self.late_at = time.monotonic() + HAND_OVER_S
        # From now on calls are refused, before anything else is done anywhere.
        for member in whole._members():
            member._closed = True

    def divide(self) -> list[LifeCycle] | None:
        """The members to take apart here and now; none while others are at it; None when this call is done."""
        open_members = [each for each in self.whole._members() if not each._over]
        if not open_members:
            return None
        late = time.monotonic() >= self.late_at
        mine: list[LifeCycle] = []
        others: dict[asyncio.AbstractEventLoop, list[LifeCycle]] = {}
        for member in open_members:
            home = member._elsewhere()
            if home is None:
                if member._claim(self.closer, late):
                    mine.append(member)
            elif self.asked.get(member) is not home:
                self.asked[member] = home
                others.setdefault(home, []).append(member)
        for home, members in others.items():
            try:
                home.call_soon_threadsafe(_close_in_task, members)
            except RuntimeError:  # closed since; the next look finds it so
                for member in members:
                    del self.asked[member]
        if late and not mine:
            logger.warning(
                "%r: its event loop, which runs in another thread, has not answered within %g s; "
                "it is closed when that loop wakes", self.whole, HAND_OVER_S,
            )  # fmt: skip
            return None
        return mine


def running_elsewhere(loops: Iterable[asyncio.AbstractEventLoop]) -> asyncio.AbstractEventLoop | None:
    """The first of `loops` that runs, and not here: one thread runs one loop at a time, so it is another thread's."""
    here = asyncio._get_running_loop()
    for loop in loops:
        if loop is not here and loop.is_running():
            return loop
    return None


def _close_all(members: list[LifeCycle]) -> None:
    with ExitStack() as stack:
        # The parts first: what a plexus tells of them comes before its own end.
        for member in members:
            stack.callback(member._end)
        linger([each for member in members for each in member._begin_close()])


async def _aclose_all(members: list[LifeCycle]) -> None:
    deadline = time.monotonic() + LINGER_S
    turns = 0
    with ExitStack() as stack:
        for member in members:  # the parts first, as above
            stack.callback(member._end)
        lingering = [each for member in members for each in member._begin_close()]
        while not all(member._over for member in members):  # a plain close() may take over
            lingering = [
                each for each in lingering if time.monotonic() >= deadline or not each.finish_sending()
            ]
            leaving = _leaving(members)
            if not lingering and not leaving:
                break
            if time.monotonic() >= deadline:
                for reactant in leaving:
                    logger.warning(
                        "%r: reactant %r goes on after its cancellation; left to its event loop",
                        members[0], reactant,
                    )  # fmt: skip
                break
            turns += 1
            # A cancelled reactant mostly needs a turn or two.
            await asyncio.sleep(0 if turns < 4 else min(0.001 * 2.0 ** (turns - 4), 0.02))


def _leaving(members: list[LifeCycle]) -> list[object]:
    """Reactants and responders that this loop is still to end; not the one that closes."""
    here, task = asyncio.get_running_loop(), asyncio.current_task()
    return [
        reactant
        for member in members
        for reactant, suspended, loop in member._suspended()
        if loop is here and suspended is not None and suspended is not task
    ]


# Tasks are held weakly by their loop.
_handed_over: set[asyncio.Task[None]] = set()


def _close_in_task(members: list[LifeCycle]) -> None:
    """Handed over by another thread: close what is not closed yet."""

    async def close() -> None:
        closer = _Closer(threading.get_ident(), asyncio.current_task())
        mine = [each for each in members if not each._over and each._claim(closer, False)]
        if mine:
            await _aclose_all(mine)

    task = asyncio.get_running_loop().create_task(close(), name="plexo-close")
    _handed_over.add(task)
    task.add_done_callback(_handed_over.discard)


def linger(connections: Iterable[Lingering]) -> None:
    """Wait until the peers have taken what was accepted for them, at most LINGER_S."""
    deadline = time.monotonic() + LINGER_S
    with (
        selectors.PollSelector()
        if hasattr(selectors, "PollSelector")
        else selectors.SelectSelector() as waiting
    ):
        ready = [each for each in connections if not each.finish_sending()]
        for each in ready:
            waiting.register(each, selectors.EVENT_READ | (selectors.EVENT_WRITE if each.is_sending() else 0))
        by_time = any(each.goes_by_time for each in ready)
        while waiting.get_map() and (left := deadline - time.monotonic()) > 0:
            happened = {key.fd for key, _ in waiting.select(min(left, LOOK_S) if by_time else left)}
            for key in list(waiting.get_map().values()):
                connection: Any = key.fileobj
                if key.fd not in happened and not connection.goes_by_time:
                    continue
                if time.monotonic() >= deadline:
                    break
                if connection.finish_sending():
                    waiting.unregister(key.fd)
                elif key.events & selectors.EVENT_WRITE and not connection.is_sending():
                    waiting.modify(key.fd, selectors.EVENT_READ, connection)


# -- forked children ---------------------------------------------------------------------------------------

_living: weakref.WeakSet[LifeCycle] = weakref.WeakSet()


def _forsake_all() -> None:
    """In the child, before anything else runs there: no compiled or other path can reach a shared socket afterwards."""
    for each in list(_living):
        try:
            forsake(each)
        except Exception:
            logger.exception("%r: the forked child could not forget it", type(each))


def forsake(each: LifeCycle) -> bool:
    """Whether `each` is of no use in this process, a forked child, because it has sockets of the parent."""
    if not each._forsaken:
        if each._forsake():
            each._forsaken = each._closed = each._over = True
        elif "_closer" in each.__dict__:
            each._closer.clear()
    return each._forsaken


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forsake_all)
