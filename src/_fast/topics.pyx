# SPDX-License-Identifier: Apache-2.0
"""The hash of topics, and the table that leads from a received topic to whoever wants it.

Layout. A dict would need a bytes object per received message only to look it up, so the index is our own:

* ``_items`` is one Python list, key, value, key, value, ...: it owns the references and the garbage collector sees
  them there. No other place holds a reference.
* ``_entries`` is a C array parallel to it: hash, and where the key's bytes are.
* ``_slots`` is the open-addressed index: numbers of entries, linear probing, at most half full.

Rules that keep it safe:

* A peer chooses what is looked up, never what is stored: ``find`` inserts nothing.
* FNV-1a is not keyed, so anyone can compute topics that crowd together. The slot is therefore the hash mixed with a
  secret of this table, and a search ends after the largest displacement that an insertion ever needed.
* Destroying a value, or making an object that the garbage collector tracks, may run any code, which may come back to
  this table. So while the table changes no such object is made, and references are dropped last.
* A search first compares the list's length with the number of entries. They differ only after the garbage collector
  has cleared the list of a dying table, when keys and values are gone.
"""

import os
from types import GenericAlias

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.string cimport memcmp, memset

cdef extern from "Python.h":
    # Declared on pointers: the declarations in cpython.list would count references at each use.
    Py_ssize_t PyList_GET_SIZE(PyObject *list) noexcept
    PyObject *PyList_GET_ITEM(PyObject *list, Py_ssize_t index) noexcept
    int PyList_SetSlice(PyObject *list, Py_ssize_t low, Py_ssize_t high, PyObject *items) except -1

cdef enum:
    MIN_BITS = 3               # 8 slots, 4 topics: most ganglia know only a few
    MAX_BITS = 31              # entry numbers are 32 bits wide; far beyond any sane number of topics

cdef extern from *:
    """
    #define PLEXO_NONE ((uint32_t)0xffffffffu)
    """
    uint32_t NONE "PLEXO_NONE"     # no entry: marks a free slot, and "no last topic"


cdef uint64_t fnv1a_64(const uint8_t *data, size_t size) noexcept nogil:
    cdef uint64_t prime = 0x100000001b3ULL
    cdef uint64_t value = 0xcbf29ce484222325ULL       # the offset basis
    cdef size_t i
    for i in range(size):
        value = (value ^ data[i]) * prime
    return value


def topic_hash(name):
    """The FNV-1a hash (64 bits, RFC 9923) of a topic; a str is hashed as UTF-8.

    Raises TypeError for anything but str and bytes.
    """
    cdef bytes raw
    if isinstance(name, str):
        raw = (<str>name).encode("utf-8")
    elif isinstance(name, bytes):
        raw = bytes(name)
    else:
        raise TypeError(f"name must be str or bytes, not {type(name).__name__}")
    return fnv1a_64(<const uint8_t *>PyBytes_AS_STRING(raw), <size_t>PyBytes_GET_SIZE(raw))


cdef inline bint same_topic(const TopicEntry *entry, const uint8_t *topic, size_t size) noexcept:
    # An empty topic may come with a null pointer, which memcmp must not see.
    return entry.size == size and (size == 0 or memcmp(entry.key, topic, size) == 0)


# No tp_clear: every cycle through a table passes through its list, and clearing that list breaks the cycle. So
# `_items` is never None, not even in a table that is being collected.
@cython.no_gc_clear
@cython.auto_pickle(False)
cdef class TopicTable:
    """Maps topics (bytes) to objects; compiled callers look up bytes that they have not made an object of."""

    __class_getitem__ = classmethod(GenericAlias)

    def __cinit__(self):
        cdef bytes secret = os.urandom(16)
        self._items = []
        self._secret_xor = int.from_bytes(secret[:8], "little")
        self._secret_odd = int.from_bytes(secret[8:], "little") | 1
        self._last = NONE
        self._resize(MIN_BITS)

    def __dealloc__(self):
        PyMem_Free(self._entries)
        PyMem_Free(self._slots)

    # -- the index ---------------------------------------------------------------------------------------------------

    cdef uint32_t _home(self, uint64_t hash) noexcept:
        """The slot where a hash belongs: multiply-shift with secrets; the top bits are the good ones."""
        cdef uint64_t mixed = hash ^ self._secret_xor
        mixed = (mixed ^ (mixed >> 32)) * self._secret_odd
        return <uint32_t>(mixed >> (64 - self._bits))

    cdef uint32_t _locate(self, uint64_t hash, const uint8_t *topic, size_t size) noexcept:
        """The slot that holds this topic, or NONE."""
        cdef uint32_t mask = (<uint32_t>1 << self._bits) - 1
        cdef uint32_t slot = self._home(hash)
        cdef uint32_t distance, number
        cdef TopicEntry *entry
        if PyList_GET_SIZE(<PyObject *>self._items) != 2 * <Py_ssize_t>self._count:
            return NONE
        for distance in range(self._probe_limit + <uint32_t>1):
            number = self._slots[slot]
            if number == NONE:
                return NONE
            entry = &self._entries[number]
            if entry.hash == hash and same_topic(entry, topic, size):
                return slot
            slot = (slot + 1) & mask
        return NONE

    cdef void _place(self, uint32_t entry) noexcept:
        """Puts an entry into the first free slot from its home on; there is one, as at least half are free."""
        cdef uint32_t mask = (<uint32_t>1 << self._bits) - 1
        cdef uint32_t slot = self._home(self._entries[entry].hash)
        cdef uint32_t distance = 0
        while self._slots[slot] != NONE:
            slot = (slot + 1) & mask
            distance += 1
        self._slots[slot] = entry
        if distance > self._probe_limit:
            self._probe_limit = distance

    cdef int _resize(self, uint32_t bits) except -1:
        """Makes room for 2**bits slots and half as many entries; on failure the table is as it was."""
        cdef size_t slots = <size_t>1 << bits
        cdef uint32_t i
        if bits > MAX_BITS:
            raise OverflowError(f"a TopicTable holds at most {1 << (MAX_BITS - 1)} topics")
        cdef TopicEntry *new_entries = <TopicEntry *>PyMem_Malloc(slots // 2 * sizeof(TopicEntry))
        cdef uint32_t *new_slots = <uint32_t *>PyMem_Malloc(slots * sizeof(uint32_t))
        if new_entries == NULL or new_slots == NULL:
            PyMem_Free(new_entries)
            PyMem_Free(new_slots)
            raise MemoryError()
        memset(new_slots, 0xff, slots * sizeof(uint32_t))     # every slot is NONE
        for i in range(self._count):
            new_entries[i] = self._entries[i]
        PyMem_Free(self._entries)
        PyMem_Free(self._slots)
        self._entries = new_entries
        self._slots = new_slots
        self._bits = bits
        self._probe_limit = 0
        for i in range(self._count):
            self._place(i)
        return 0

    # -- for compiled callers ----------------------------------------------------------------------------------------

    cdef PyObject *find(self, const uint8_t *topic, size_t size) noexcept:
        """The value of a topic as a borrowed reference, or NULL. Makes no object and runs no Python code."""
        cdef PyObject *items = <PyObject *>self._items
        cdef uint32_t number = self._last
        cdef uint32_t slot
        if PyList_GET_SIZE(items) != 2 * <Py_ssize_t>self._count:
            return NULL
        # Messages of one topic come in runs. `_last` is NONE or below _count: every change of the table resets it.
        if number == NONE or not same_topic(&self._entries[number], topic, size):
            slot = self._locate(fnv1a_64(topic, size), topic, size)
            if slot == NONE:
                return NULL
            number = self._slots[slot]
            self._last = number
        return PyList_GET_ITEM(items, 2 * <Py_ssize_t>number + 1)

    cpdef insert(self, bytes topic, object value):
        """Stores the value under this topic, in place of an earlier one."""
        if topic is None:
            raise TypeError("topic must be bytes, not None")
        cdef tuple pair = (topic, value)   # made before the search: making it may run any code
        cdef const uint8_t *key = <const uint8_t *>PyBytes_AS_STRING(topic)
        cdef size_t size = <size_t>PyBytes_GET_SIZE(topic)
        cdef uint64_t hash = fnv1a_64(key, size)
        cdef uint32_t slot = self._locate(hash, key, size)
        cdef Py_ssize_t at
        cdef object old                    # dropped on return, when the table is whole
        if slot != NONE:
            at = 2 * <Py_ssize_t>self._slots[slot] + 1
            old = self._items[at]
            self._items[at] = value
            return
        if self._count >= <uint32_t>1 << (self._bits - 1):
            self._resize(self._bits + 1)
        at = PyList_GET_SIZE(<PyObject *>self._items)
        PyList_SetSlice(<PyObject *>self._items, at, at, <PyObject *>pair)     # both or, on MemoryError, neither
        self._entries[self._count] = TopicEntry(hash=hash, key=key, size=size)
        self._place(self._count)
        self._count += 1

    cpdef remove(self, bytes topic):
        """Forgets a topic. Raises KeyError if it is not in the table."""
        if topic is None:
            raise TypeError("topic must be bytes, not None")
        cdef const uint8_t *wanted = <const uint8_t *>PyBytes_AS_STRING(topic)
        cdef size_t size = <size_t>PyBytes_GET_SIZE(topic)
        cdef uint32_t hole = self._locate(fnv1a_64(wanted, size), wanted, size)
        if hole == NONE:
            raise KeyError(topic)
        cdef uint32_t mask = (<uint32_t>1 << self._bits) - 1
        cdef uint32_t number = self._slots[hole]
        cdef uint32_t final = self._count - 1
        cdef uint32_t slot = hole
        cdef Py_ssize_t at = 2 * <Py_ssize_t>number
        cdef list items = self._items
        cdef object key = items[at]        # these two are dropped on return, when the table is whole
        cdef object value = items[at + 1]

        # Close the hole: move back whatever follows it and may live there, so that no search stops short. Distances
        # only shrink, so the probe limit still holds.
        while True:
            slot = (slot + 1) & mask
            if self._slots[slot] == NONE:
                break
            if ((slot - self._home(self._entries[self._slots[slot]].hash)) & mask) >= ((slot - hole) & mask):
                self._slots[hole] = self._slots[slot]
                hole = slot
        self._slots[hole] = NONE

        # The final entry takes the free number.
        if number != final:
            slot = self._home(self._entries[final].hash)
            while self._slots[slot] != final:
                slot = (slot + 1) & mask
            self._slots[slot] = number
            self._entries[number] = self._entries[final]
            items[at] = items[2 * <Py_ssize_t>final]
            items[at + 1] = items[2 * <Py_ssize_t>final + 1]
        PyList_SetSlice(<PyObject *>items, 2 * <Py_ssize_t>final, 2 * <Py_ssize_t>final + 2, NULL)
        self._count = final
        self._last = NONE
        if final == 0:
            self._probe_limit = 0

    # -- for Python --------------------------------------------------------------------------------------------------

    def get(self, bytes topic not None, default=None):
        """The value of a topic, or the default."""
        cdef PyObject *value = self.find(
            <const uint8_t *>PyBytes_AS_STRING(topic), <size_t>PyBytes_GET_SIZE(topic)
        )
        return default if value == NULL else <object>value

    def topics(self):
        """The topics, as a new list, in no particular order."""
        return self._items[::2]

    def __len__(self):
        return self._count

    def __contains__(self, bytes topic not None):
        return self.find(<const uint8_t *>PyBytes_AS_STRING(topic), <size_t>PyBytes_GET_SIZE(topic)) != NULL

    def __iter__(self):
        return iter(self.topics())
