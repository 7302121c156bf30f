# SPDX-License-Identifier: Apache-2.0
"""Ending a wait from any thread: futures belong to the event loop they were made in."""

import asyncio

cdef object _get_running_loop = asyncio._get_running_loop


def finish(future):
    """End the wait; nothing happens where that was done or cancelled meanwhile."""
    if not future.done():
        future.set_result(None)


cpdef int wake(object future) except -1:
    """`finish`, in the thread where the future's event loop runs; a loop that was closed has nobody to wake."""
    loop = future.get_loop()
    if loop is _get_running_loop() or not loop.is_running():
        if not loop.is_closed():
            finish(future)
        return 0
    return call_in(loop, finish, (future,))


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
