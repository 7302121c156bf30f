# SPDX-License-Identifier: Apache-2.0
"""Driving coroutine reactants without a task each.

A reactant that finishes without suspending costs no ``Task``: its coroutine is sent ``None`` once, on the spot. It may
still ask for ``asyncio.current_task()`` (``asyncio.timeout``, ``TaskGroup`` and ``wait_for`` do), and if it then
suspends, that very task must be the one that goes on with it. So the first step runs under a *spare* task, made
beforehand, and the spare adopts the coroutine only if it suspends. ``asyncio`` names `_enter_task`, `_leave_task`,
`_register_task` and `_unregister_task` for such task implementations ("Extending asyncio" in its documentation).

A spare waits on a future of its own (parked) and is hidden from ``asyncio.all_tasks()``: it is stock, not work.
"""

import asyncio
from asyncio import CancelledError
from asyncio import tasks as asyncio_tasks
from collections.abc import Coroutine

from cpython.object cimport PyObject
from cpython.ref cimport Py_XDECREF

cdef extern from "Python.h":
    bint PyCoro_CheckExact(object)

cdef object _get_running_loop = asyncio._get_running_loop
cdef object _register_task = asyncio_tasks._register_task
cdef object _unregister_task = asyncio_tasks._unregister_task
cdef object _current_task = asyncio_tasks.current_task
cdef object _enter_task = asyncio_tasks._enter_task
cdef object _leave_task = asyncio_tasks._leave_task
cdef object Task = asyncio.Task
cdef object _swap_current_task = getattr(asyncio_tasks, "_swap_current_task", None)

# Parked tasks kept per loop; more than this many reactants suspended at once make and end tasks as they come and go.
cdef enum:
    MAX_PARKED = 64
    # Queued messages that one task step works through before the loop gets its turn.
    STEPS_PER_TURN = 128


cdef object _swap(object loop, object task):
    """Make `task` (or None) the current task of `loop`; return the one before."""
    if _swap_current_task is not None:
        return _swap_current_task(loop, task)
    previous = _current_task(loop)
    if previous is not None:
        _leave_task(loop, previous)
    if task is not None:
        _enter_task(loop, task)
    return previous


cdef object running_loop():
    return _get_running_loop()


cdef object as_coroutine(object result):
    """What a reactant returned, as something to drive; None if it was a plain result."""
    if result is None or PyCoro_CheckExact(result):  # before the abstract class, which is slow to ask
        return result
    if isinstance(result, Coroutine):
        return result
    if hasattr(type(result), "__await__"):
        return type(result).__await__(result)
    return None


cdef class Work:
    """Something whose coroutines a task drives one after another."""

    cdef object advance(self, object error):
        return None

    cdef int halt(self, object error) except -1:
        return 0

    cdef bint withdrawn(self):
        return False


cdef class Driven:
    """The coroutine protocol over one method, `step`: what to yield next; StopIteration at the end."""

    cdef object step(self, object error):
        raise StopIteration

    def __await__(self):
        return self

    def __iter__(self):
        return self

    def __next__(self):
        return self.step(None)

    def send(self, value):
        return self.step(None)

    def throw(self, error, value=None, traceback=None):
        if value is not None:
            error = value
        elif isinstance(error, type):
            error = error()
        return self.step(error)


cdef class Runner(Driven):
    """The coroutine of one pooled task: drives what it adopts, then parks."""

    def close(self):
        cdef Work work = self.work
        self.abandon()
        if work is not None:
            work.running = False
            work.runner = None
            work.halt(CancelledError("the event loop ended before the reactant"))

    def __del__(self):
        if self.work is not None:
            self.close()

    cdef int abandon(self) except -1:
        """Never to be driven again: its loop was closed."""
        coroutine, self.coroutine = self.coroutine, None
        self.work = None
        self.task._log_destroy_pending = False
        close = getattr(coroutine, "close", None)
        if close is not None:
            close()
        return 0

    cdef int adopt(self, Work work, object coroutine, object yielded, bint has_yielded) except -1:
        self.work = work
        work.runner = self
        self.coroutine = coroutine
        self.yielded = yielded
        self.has_yielded = has_yielded
        _register_task(self.task)
        self.task._log_destroy_pending = True
        parked, self.parked = self.parked, None
        if parked is not None and not parked.done():
            parked.set_result(None)
        return 0

    cdef object park(self):
        """Wait for work: hidden, and free to vanish with the loop. Ends the task where enough are parked."""
        if len(self.pool.spare) >= MAX_PARKED:
            raise StopIteration
        self.pool.keep(self)
        future = self.pool.loop.create_future()
        future._asyncio_future_blocking = True
        self.parked = future
        return future

    cdef object step(self, object error):
        cdef PyObject *out
        cdef int steps = 0
        cdef Work work = self.work
        if work is None:
            if error is not None:
                if self in self.pool.spare:
                    self.pool.spare.remove(self)
                raise error
            if self.parked is not None and not self.parked.done():
                # Woken by nobody we know (a stray call): go on waiting.
                self.parked._asyncio_future_blocking = True
                return self.parked
            future = self.pool.loop.create_future()
            future._asyncio_future_blocking = True
            self.parked = future
            return future
        if self.has_yielded and error is None:
            # What the first step, run before this task was awake, is waiting for.
            yielded, self.yielded = self.yielded, None
            self.has_yielded = False
            if yielded is not None:
                yielded._asyncio_future_blocking = True
            return yielded
        self.has_yielded = False
        self.yielded = None
        while True:
            ended = None
            work.running = True
            try:
                if self.coroutine is None:
                    pass
                elif error is not None:
                    pending, error = error, None
                    return self.coroutine.throw(pending)
                elif PyIter_Send(self.coroutine, None, &out) == 1:
                    result = <object>out
                    Py_XDECREF(out)
                    return result
                else:
                    Py_XDECREF(out)
            except StopIteration:
                pass
            except (KeyboardInterrupt, SystemExit) as fault:
                self.coroutine = None
                self.work = None
                work.running = False
                work.runner = None
                work.halt(fault)
                raise
            except BaseException as fault:
                ended = fault
            finally:
                work.running = False
            self.coroutine = None
            if isinstance(ended, CancelledError) and not work.withdrawn():
                self.work = None
                work.runner = None
                work.halt(ended)
                raise ended
            if ended is not None and isinstance(ended, CancelledError):
                uncancel = getattr(self.task, "uncancel", None)
                if uncancel is not None:
                    uncancel()
            self.coroutine = work.advance(ended)
            ended = None
            if self.coroutine is None:
                self.work = None
                work.runner = None
                return self.park()
            steps += 1
            if steps >= STEPS_PER_TURN:
                return None


cdef class TaskPool:
    """The spare tasks of one event loop."""

    def __cinit__(self, loop):
        self.loop = loop
        self.spare = []

    cdef object keep(self, Runner runner):
        _unregister_task(runner.task)
        runner.task._log_destroy_pending = False
        self.spare.append(runner)

    cdef Runner take(self):
        cdef Runner runner
        if self.spare:
            return self.spare.pop()
        runner = Runner.__new__(Runner)
        runner.pool = self
        runner.task = Task(runner, loop=self.loop, name="plexo-reactant")
        _unregister_task(runner.task)
        runner.task._log_destroy_pending = False
        return runner

    cdef int drive(self, Work work, object coroutine) except -1:
        """First step of `coroutine`: 1 it has finished, 0 it suspended and a task goes on with it; raises its error.

        Whoever calls this calls `finish` before going back to the event loop or to foreign code.
        """
        cdef PyObject *out
        cdef Runner runner = self.entered
        cdef object previous
        if runner is None:
            runner = self.take()
            previous = _swap(self.loop, runner.task)
        else:
            previous = self.previous
        # A reactant may dispatch again; that must not run under the same task.
        self.entered = None
        self.previous = None
        try:
            if PyIter_Send(coroutine, None, &out) == 0:
                Py_XDECREF(out)
                self.entered = runner
                self.previous = previous
                return 1
        except BaseException:
            self.entered = runner
            self.previous = previous
            raise
        _swap(self.loop, previous)
        yielded = <object>out
        Py_XDECREF(out)
        runner.adopt(work, coroutine, yielded, True)
        return 0

    cdef int finish(self) except -1:
        cdef Runner runner = self.entered
        if runner is not None:
            previous = self.previous
            self.entered = None
            self.previous = None
            _swap(self.loop, previous)
            self.spare.append(runner)
        return 0

    cdef int start(self, Work work) except -1:
        """A task that begins with `work.advance` in the next turn of the loop."""
        cdef Runner runner = self.take()
        runner.adopt(work, None, None, False)
        return 0


cdef dict _pools = {}
cdef object _last_loop = None
cdef TaskPool _last_pool = None


cdef TaskPool pool_of(object loop):
    global _last_loop, _last_pool
    cdef TaskPool pool
    if loop is _last_loop:
        return _last_pool
    pool = _pools.get(loop)
    if pool is None:
        for known in list(_pools):
            if known.is_closed():
                del _pools[known]
        pool = TaskPool.__new__(TaskPool, loop)
        _pools[loop] = pool
    _last_loop = loop
    _last_pool = pool
    return pool


cdef TaskPool current_pool():
    loop = _get_running_loop()
    if loop is None:
        raise RuntimeError("a coroutine reactant needs a running event loop; this call was made outside of one")
    return pool_of(loop)


cdef TaskPool running_pool():
    """The pool of the loop that runs in this thread, or None. Asking is a system call up to Python 3.11: once is enough."""
    loop = _get_running_loop()
    return None if loop is None else pool_of(loop)


cdef int finish_current() except -1:
    cdef TaskPool pool = running_pool()
    return 0 if pool is None else pool.finish()


cdef TaskPool drive_alone(Work work, object coroutine):
    """The coroutine's first step under a spare task: the pool if it suspended (`work` is told when it ends), or None."""
    cdef TaskPool pool
    try:
        pool = current_pool()
    except RuntimeError:
        close = getattr(coroutine, "close", None)
        if close is not None:
            close()
        raise
    entered, previous = pool.entered, pool.previous
    pool.entered = None
    try:
        return pool if pool.drive(work, coroutine) == 0 else None
    finally:
        pool.finish()
        pool.entered = entered
        pool.previous = previous


Coroutine.register(Runner)
