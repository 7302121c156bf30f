# SPDX-License-Identifier: Apache-2.0
from cpython.object cimport PyObject

cdef extern from "Python.h":
    # 1 (PYGEN_NEXT): suspended, *result is what it yielded; 0 (PYGEN_RETURN): finished, *result is its value.
    int PyIter_Send(object iterator, object value, PyObject **result) except -1


cdef class Work:
    # True while a coroutine or function of this work is on the call stack.
    cdef bint running
    cdef Runner runner

    # The coroutine in hand has ended (error None or not): settle it, give the next coroutine to drive or None.
    cdef object advance(self, object error)
    # The driving task was cancelled from outside: settle, keep what waits, drive nothing.
    cdef int halt(self, object error) except -1
    # Was the message in hand withdrawn by whoever sent it?
    cdef bint withdrawn(self)


cdef class Driven:
    cdef object step(self, object error)


cdef class Runner(Driven):
    cdef TaskPool pool
    cdef readonly object task
    cdef Work work
    cdef object coroutine
    cdef object yielded
    cdef bint has_yielded
    cdef object parked

    cdef int adopt(self, Work work, object coroutine, object yielded, bint has_yielded) except -1
    cdef object park(self)
    cdef int abandon(self) except -1


cdef class TaskPool:
    cdef object __weakref__
    cdef readonly object loop
    cdef list spare
    cdef Runner entered
    cdef object previous
    cdef object keep(self, Runner runner)
    cdef Runner take(self)
    cdef int drive(self, Work work, object coroutine) except -1
    cdef int finish(self) except -1
    cdef int start(self, Work work) except -1


cdef TaskPool pool_of(object loop)
cdef TaskPool current_pool()
cdef TaskPool running_pool()
cdef int finish_current() except -1
cdef TaskPool drive_alone(Work work, object coroutine)
cdef object as_coroutine(object result)
cdef object running_loop()
