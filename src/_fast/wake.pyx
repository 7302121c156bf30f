# SPDX-License-Identifier: Apache-2.0
"""Ending a wait from any thread: futures belong to the event loop they were made in."""

import asyncio

cdef extern from "Python.h":
    unsigned long PyThread_get_thread_ident() nogil

cdef object _get_running_loop = asyncio._get_running_loop


def finish(future):
    """End the wait; nothing happens where that was done or cancelled meanwhile."""
    if not future.done():
        future.set_result(None)


cpdef int wake(object future) except -1:
    """`finish`, in the thread where the future's event loop runs; a loop that was closed has nobody to wake."""
    if future.done():
        return 0
    loop = future.get_loop()
    if loop is _get_running_loop():
        future.set_result(None)
    elif loop.is_running():
        call_in(loop, finish, (future,))
    elif not loop.is_closed():
        future.set_result(None)
    return 0


cdef int wake_of(object future, unsigned long thread) except -1:
    """`wake` where the future was made in `thread`: asking for the running loop is a system call up to Python 3.11."""
    if PyThread_get_thread_ident() != thread:
        return wake(future)
    if not future.done():
        try:
            future.set_result(None)
        except RuntimeError:
            if not future.get_loop().is_closed():
                raise
    return 0


cdef int call_in(object loop, object function, tuple arguments) except -1:
    """Have `loop` call `function(*arguments)` in its next turn, from any thread."""
    try:
        if loop is _get_running_loop():
            loop.call_soon(function, *arguments)
        else:
            loop.call_soon_threadsafe(function, *arguments)
    except RuntimeError:
        if not loop.is_closed():  # closed since: nothing happens there any more
            raise
    return 0


def clock():
    """The clock that the compiled side reads, in seconds: not everywhere the same as that of `time.monotonic`."""
    return monotonic()
