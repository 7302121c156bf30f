# SPDX-License-Identifier: Apache-2.0
"""Counting, where messages are: a ledger for each queue, and one tally by cause, neuron and peer for each ganglion.

What happens to every message is a `tick` of a C counter; a dictionary is touched only where something is dropped.
"""

from types import MappingProxyType

from plexo.statistics import Book

# Different (cause, topic, peer) triples kept apart by one ganglion; strangers choose their own addresses, so what
# comes after that many is counted under the peer "other".
MAX_TALLIES = 4096
OTHER = "other"


cdef class Cell:
    pass


cdef class Tally:
    """Counts faults; says of each whether it is the first of its kind, so that a log says it once."""

    def __cinit__(self):
        self.cells = {}

    cpdef bint add(self, object cause, object topic="", object peer="", uint64_t count=1) except -1:
        """Count; True for the first of this cause, topic (a neuron's name) and peer (a host)."""
        cdef Cell cell
        if cause is self.last_cause and topic is self.last_topic and peer is self.last_peer:
            # A burst of one kind; these comparisons are all it costs.
            self.last.count += count
            return False
        key = (cause, topic, peer)
        cell = self.cells.get(key)
        first = cell is None
        if cell is None and len(self.cells) >= MAX_TALLIES:
            key = (cause, topic, OTHER)
            cell = self.cells.get(key)
        if cell is None:
            cell = self.cells[key] = Cell.__new__(Cell)
        cell.count += count
        self.last_cause, self.last_topic, self.last_peer, self.last = cause, topic, peer, cell
        return first

    def clear(self):
        """Begin anew, in a forked child."""
        self.cells.clear()
        self.last_cause = self.last_topic = self.last_peer = self.last = None

    def snapshot(self):
        """The counts by (cause, topic, peer), read-only."""
        cdef Cell cell
        counts = {}
        for key, cell in self.cells.items():
            counts[key] = cell.count
        return MappingProxyType(counts)


cdef class Ledger:
    """One queue's counters; the queue itself says what is in it."""

    cdef int drop(self, object cause, uint64_t count) except -1:
        if self.dropped is None:
            self.dropped = {}
        self.dropped[cause] = self.dropped.get(cause, 0) + count
        return 0

    cdef uint64_t lost(self) except? 0:
        cdef uint64_t total = 0
        if self.dropped is not None:
            for count in self.dropped.values():
                total += count
        return total

    cdef int absorb(self, Ledger other) except -1:
        self.accepted += other.accepted
        self.delivered += other.delivered
        if other.dropped is not None:
            for cause, count in other.dropped.items():
                self.drop(cause, count)
        return 0

    cdef object book(self, uint64_t queued):
        return Book(self.accepted, self.delivered, queued,
                    MappingProxyType({} if self.dropped is None else dict(self.dropped)))
