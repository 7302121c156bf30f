# SPDX-License-Identifier: Apache-2.0
cdef class Vigil:
    # Seconds to stay awake after every message; 0: never; below 0: only where answers come quickly.
    cdef readonly double fixed_s
    cdef object handle
    cdef object loop
    cdef double until
    # The last message sent, and whether nothing came since.
    cdef double asked_at
    cdef bint expecting
    # Whether it pays to wait for an answer awake; answers in a row that came quickly, and how many it takes.
    cdef readonly bint willing
    cdef unsigned int quick
    cdef readonly unsigned int needed
    cdef int sent(self, double now, object loop) except -1
    cdef int received(self, double now, object loop) except -1
    cdef int stay(self, double until, object loop) except -1
    cdef int end(self) except -1
