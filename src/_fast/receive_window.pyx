# SPDX-License-Identifier: Apache-2.0
"""The packets of a multicast source that came out of sequence, or while nobody took them: a ring by sequence number.

The ring has room for the numbers from the next one to be delivered to the farthest that is here, in powers of two. It grows
with them, and is given back when it is empty; each packet has memory of its own. Both are bounded, in packets and in bytes.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

cdef enum:
    FIRST_CAPACITY = 64
    # A ring above this is given back when nothing is in it: a burst of losses is no reason to hold it for ever.
    MAX_KEPT_CAPACITY = 1024

# Numbers of 32 bits are compared with neighbours: a window is to be far below half of them.
MAX_PACKETS = 1 << 24


cdef class ReceiveWindow:
    """At most so many packets ahead of the next one that is to be delivered, and of so many bytes in all.

    Raises ValueError.
    """

    def __init__(self, Py_ssize_t most_packets, size_t most_bytes):
        if not 0 < most_packets <= MAX_PACKETS:
            raise ValueError(f"most_packets: expected 1 to {MAX_PACKETS}, got {most_packets}")
        self.most_packets = <uint32_t>most_packets
        self.most_bytes = most_bytes

    def __dealloc__(self):
        self.clear()
        free(self.slots)

    cdef Place place(self, uint32_t sqn) noexcept:
        cdef Slot *slot
        if self.capacity == 0:
            return PLACE_EMPTY
        slot = self.slots + (sqn & (self.capacity - 1))
        return <Place>slot.place if slot.sqn == sqn else PLACE_EMPTY

    cdef bint store(self, uint32_t expected, uint32_t sqn, const uint8_t *data, size_t size) noexcept:
        cdef uint32_t ahead = sqn - expected
        cdef Slot *slot
        cdef uint8_t *copy
        if ahead >= self.most_packets or self.place(sqn) == PLACE_STORED:
            return False
        if ahead and (size > self.most_bytes or self.stored_bytes > self.most_bytes - size):
            return False
        if not self.reach(ahead):
            return False
        copy = <uint8_t *>malloc(size if size else 1)
        if copy == NULL:
            return False
        memcpy(copy, data, size)
        self.pull_mark(sqn)
        slot = self.slots + (sqn & (self.capacity - 1))
        slot.data = copy
        slot.size = size
        slot.sqn = sqn
        slot.place = PLACE_STORED
        self.stored += 1
        self.stored_bytes += size
        return True

    cdef bint mark_lost(self, uint32_t expected, uint32_t sqn) noexcept:
        cdef uint32_t ahead = sqn - expected
        cdef Slot *slot
        if ahead >= self.most_packets or self.place(sqn) != PLACE_EMPTY or not self.reach(ahead):
            return False
        slot = self.slots + (sqn & (self.capacity - 1))
        slot.sqn = sqn
        slot.place = PLACE_LOST
        self.marks += 1
        return True

    cdef uint8_t *pull(self, uint32_t sqn, size_t *size) noexcept:
        cdef Slot *slot
        cdef uint8_t *data
        if self.place(sqn) != PLACE_STORED:
            return NULL
        slot = self.slots + (sqn & (self.capacity - 1))
        data = slot.data
        size[0] = slot.size
        slot.data = NULL
        slot.place = PLACE_EMPTY
        self.stored -= 1
        self.stored_bytes -= size[0]
        self.forget()
        return data

    cdef bint pull_mark(self, uint32_t sqn) noexcept:
        if self.place(sqn) != PLACE_LOST:
            return False
        self.slots[sqn & (self.capacity - 1)].place = PLACE_EMPTY
        self.marks -= 1
        return True

    cdef void clear(self) noexcept:
        cdef uint32_t i
        for i in range(self.capacity):
            free(self.slots[i].data)
            self.slots[i].data = NULL
            self.slots[i].place = PLACE_EMPTY
        self.stored = self.marks = 0
        self.stored_bytes = 0
        self.forget()

    # -- within ------------------------------------------------------------------------------------------------------

    cdef bint reach(self, uint32_t ahead) noexcept:
        """Make the ring large enough for what is so far ahead; whoever is in it is at most as far ahead as it is large."""
        cdef uint32_t capacity = self.capacity if self.capacity else FIRST_CAPACITY
        cdef uint32_t i
        cdef Slot *grown
        while capacity <= ahead:
            capacity *= 2
        if capacity == self.capacity:
            return True
        grown = <Slot *>calloc(capacity, sizeof(Slot))
        if grown == NULL:
            return False
        for i in range(self.capacity):
            if self.slots[i].place != PLACE_EMPTY:
                grown[self.slots[i].sqn & (capacity - 1)] = self.slots[i]
        free(self.slots)
        self.slots = grown
        self.capacity = capacity
        return True

    cdef void forget(self) noexcept:
        """Give a large ring back where nothing is in it."""
        if self.capacity > MAX_KEPT_CAPACITY and self.stored == 0 and self.marks == 0:
            free(self.slots)
            self.slots = NULL
            self.capacity = 0


# -- for tests ---------------------------------------------------------------------------------------------------------

cdef class WindowProbe(ReceiveWindow):
    """A ReceiveWindow that Python fills."""

    def put(self, uint32_t expected, uint32_t sqn, bytes data not None):
        """`store`."""
        return bool(self.store(expected, sqn, <const uint8_t *>PyBytes_AS_STRING(data), <size_t>len(data)))

    def mark(self, uint32_t expected, uint32_t sqn):
        """`mark_lost`."""
        return bool(self.mark_lost(expected, sqn))

    def unmark(self, uint32_t sqn):
        """`pull_mark`."""
        return bool(self.pull_mark(sqn))

    def take(self, uint32_t sqn):
        """`pull`: its bytes, or None."""
        cdef size_t size = 0
        cdef uint8_t *data = self.pull(sqn, &size)
        if data == NULL:
            return None
        try:
            return PyBytes_FromStringAndSize(<const char *>data, <Py_ssize_t>size)
        finally:
            free(data)

    def place_of(self, uint32_t sqn):
        """0 empty, 1 stored, 2 lost."""
        return <int>self.place(sqn)

    def empty(self):
        """`clear`."""
        self.clear()

    @property
    def ring_slots(self):
        """How large the ring is now."""
        return self.capacity
