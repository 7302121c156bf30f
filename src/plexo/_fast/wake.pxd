# SPDX-License-Identifier: Apache-2.0
cpdef int wake(object future) except -1
cdef int wake_of(object future, unsigned long thread) except -1
cdef int call_in(object loop, object function, tuple arguments) except -1

# The monotonic clock in seconds; inlined where it is read.
cdef extern from "system.h" nogil:
    double monotonic "plexo_monotonic" () noexcept
