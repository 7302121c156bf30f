# SPDX-License-Identifier: Apache-2.0
from libc.stdint cimport uint64_t

cdef extern from *:
    """
    #ifdef PLEXO_WITHOUT_BOOKS  /* bench/books.py builds both ways and compares */
    #define PLEXO_TICK(counter) ((void)0)
    #else
    #define PLEXO_TICK(counter) ((counter)++)
    #endif
    """
    void tick "PLEXO_TICK" (uint64_t counter) noexcept nogil


cdef class Tally:
    cdef dict cells
    cdef object last_cause
    cdef object last_topic
    cdef object last_peer
    cdef Cell last
    cpdef bint add(self, object cause, object topic=*, object peer=*, uint64_t count=*) except -1


cdef class Cell:
    cdef uint64_t count


cdef class Ledger:
    cdef uint64_t accepted
    cdef uint64_t delivered
    cdef dict dropped
    cdef int drop(self, object cause, uint64_t count) except -1
    cdef uint64_t lost(self) except? 0
    cdef int absorb(self, Ledger other) except -1
    cdef object book(self, uint64_t queued)
