# SPDX-License-Identifier: Apache-2.0
cpdef int wake(object future) except -1
cdef int wake_of(object future, unsigned long thread) except -1
cdef int call_in(object loop, object function, tuple arguments) except -1

# The monotonic clock in seconds; inlined where it is read.
cdef extern from "<time.h>" nogil:
    struct timespec:
        long tv_sec
        long tv_nsec
    int CLOCK_MONOTONIC
    int clock_gettime(int, timespec *)


cdef inline double monotonic() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <double>now.tv_sec + 1e-9 * <double>now.tv_nsec
