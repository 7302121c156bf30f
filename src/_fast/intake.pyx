# SPDX-License-Identifier: Apache-2.0
"""The loop's side of the receive thread: blocks come in, messages go to their synapses.

The thread reads a link's socket while the link is *inside*. Where a reactant's queue is full the link leaves: what the thread had
read for it moves into the link's own memory, so that it holds no blocks while it waits, and the thread reads no more of it. It
enters again when that is worked off, and gives the thread the unfinished message at the end. Stopping, another event loop, and
whoever wants to read the socket himself use the same two doors.
"""

import os
import sys
from threading import Thread

from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport uint64_t
from libc.stdlib cimport realloc
from libc.string cimport memcpy, memmove

from cpython.object cimport PyObject
from plexo._fast.blocks cimport CLOSED, OPEN, Slot
from plexo._fast.frames cimport FLAG_COMMAND, FLAG_MORE
from plexo._fast.hub cimport Line, SCRATCH_BYTES
from plexo._fast.link cimport NAMED_TOPIC_BYTES, READS_PER_TURN
from plexo._fast.scan cimport Walk
from plexo._fast.synapse cimport Synapse

cdef extern from "system.h" nogil:
    Py_ssize_t plexo_receive(int fd, void *room, size_t size)

# The thread ends as soon as it has let go of the interpreter; this is for an interpreter that has much to do.
cdef double JOIN_S = 1.0


cdef class Intake:
    """What the links of one hub share of it; the thread runs while an event loop serves them, from the first link on."""

    def __init__(self, Hub hub):
        self.hub = hub
        self.links = []

    @property
    def running_now(self):
        """Whether there is a thread."""
        return self.thread is not None

    cdef Pump running(self):
        # Each step may be broken off by KeyboardInterrupt, and is made up for.
        if self.pump is None:
            self.pump = Pump()
        if self.thread is None:
            thread = Thread(target=self.pump.run, name="plexo-receive", daemon=True)
            thread.start()
            self.thread = thread
        if not self.listening:
            self.hub.loop.add_reader(self.pump.fileno, self.on_ready)
            self.listening = True
        return self.pump

    def stop(self):
        """Off the event loop, which `hub` still has; the links get what the thread had read. May be repeated."""
        cdef PumpedLink link
        cdef Pump pump = self.pump
        if pump is None:
            return
        loop = self.hub.loop
        if self.listening and loop is not None and not loop.is_closed():
            loop.remove_reader(pump.fileno)
        self.listening = False
        pump.stop()
        for link in [each for each in self.links if each is not None]:
            link.leave(True)
        if self.thread is not None and not sys.is_finalizing():
            self.thread.join(JOIN_S)
        if not pump.running:
            pump.close_channels()
        self.links = []
        self.pump = self.thread = None

    def forsake(self):
        """In a forked child: there is no thread here."""
        cdef PumpedLink link
        for link in [each for each in self.links if each is not None]:
            link.inside = False
            link.slot = -1
        if self.pump is not None:
            self.pump.forsake()
        self.links = []
        self.listening = False
        self.pump = self.thread = None

    def on_ready(self):
        """Work off what the thread has read. Faults of a peer close its link; nothing of it reaches the event loop."""
        cdef Hub hub = self.hub
        # A reactant may close the ganglion, which takes the hub off its loop, pool and pump.
        cdef TaskPool pool = hub.pool
        cdef Pump pump = self.pump
        cdef Block *block
        cdef PumpedLink link
        cdef int turn
        if pump is None or hub.loop is None or hub.in_turn:
            return
        hub.begin_turn()
        try:
            for turn in range(BLOCKS_PER_TURN):
                block = pump.take()
                if block == NULL:
                    break
                link = self.links[block.slot]
                try:
                    link.take_block(block)
                finally:
                    pump.give_back(block)
        finally:
            hub.end_turn(pool)


cdef class PumpedLink(Link):
    """A link whose socket a thread reads."""

    def __cinit__(self, *arguments):
        self.slot = -1

    # -- event loop ----------------------------------------------------------------------------------------------

    def start(self):
        if not self.open or self.hub.loop is None:
            return
        if self.blocked == 0:
            if self.partial_size or self.fate != OPEN:
                self.go_on_soon()
            else:
                self.enter()
        self.start_writing()

    def stop(self):
        self.leave(True)
        Line.stop(self)

    def on_resume(self):
        self.go_on(0)

    def on_readable(self):
        """Read the socket here and now: somebody wants to know whether the peer is still there."""
        self.go_on(READS_PER_TURN)

    cdef uint64_t arrived(self) noexcept:
        cdef Pump pump = (<Intake>self.hub.intake).pump
        return self.received_bytes + (pump.held(self.slot) if self.inside and pump is not None else 0)

    cdef int go_on_soon(self) except -1:
        loop = self.hub.loop
        if loop is not None and not loop.is_closed():
            loop.call_soon(self.on_resume)
        return 0

    cdef int go_on(self, int reads) except -1:
        """Work off what is here, read so many times, and let the thread go on."""
        cdef Hub hub = self.hub
        cdef TaskPool pool = hub.pool
        cdef bint done = False
        if not self.open or self.blocked or hub.loop is None or (self.inside and reads == 0):
            return 0
        if hub.in_turn:
            return 0 if self.inside else self.go_on_soon()
        self.leave(False)
        hub.in_turn = True
        try:
            self.work_off()
            while reads and self.open and self.blocked == 0 and self.fate == OPEN and self.read_now():
                reads -= 1
            done = True
        finally:
            hub.end_turn(pool)
            if not done and self.open and self.blocked == 0:
                self.go_on_soon()
        if self.open and self.blocked == 0 and hub.loop is not None:
            if self.fate != OPEN:
                self.meet_fate()
            else:
                self.enter()
        return 0

    cdef int read_now(self) except -1:
        """Whether something came."""
        cdef uint8_t *scratch = self.hub.scratch
        cdef Py_ssize_t got
        with nogil:
            got = plexo_receive(self.fd, scratch, SCRATCH_BYTES)
        if got <= 0:
            if got == 0 or (errno != EAGAIN and errno != EINTR):
                self.fate = CLOSED if got == 0 else errno
            return 0
        self.received_bytes += <uint64_t>got
        self.keep(scratch, <size_t>got)
        self.work_off()
        return 1

    cdef int meet_fate(self) except -1:
        return self.lost(None if self.fate == CLOSED else OSError(self.fate, os.strerror(self.fate)))

    # -- the doors -----------------------------------------------------------------------------------------------

    cdef int enter(self) except -1:
        """What is kept is less than a message, and goes before what the thread will read."""
        cdef Pump pump
        cdef size_t size = self.partial_size - self.at
        cdef Walk walk
        if self.inside:
            return 0
        walk = Walk(max_frame_bytes=self.hub.max_frame_bytes, opaque=0, is_pair=self.hub.is_pair, inside=self.part != 0,
                    raw=False)
        if self.big is not None:
            walk.opaque = self.big_size - self.big_have
            if not self.big_flags & FLAG_COMMAND:
                walk.inside = self.big_flags & FLAG_MORE
        pump = (<Intake>self.hub.intake).running()
        self.slot = pump.admit(self.slot, self.fd, &walk, self.partial + self.at, size)
        self.received_bytes -= size
        self.at = 0
        self.save(NULL, 0)
        links = (<Intake>self.hub.intake).links
        while len(links) <= self.slot:
            links.append(None)
        links[self.slot] = self
        self.inside = self.reading = True
        return 0

    cdef int leave(self, bint for_good) except -1:
        """Now the thread does not read the socket, and all that it had read is here. `for_good`: the socket may be closed."""
        cdef Pump pump
        cdef Block *block
        cdef Block *following
        cdef Slot *slot
        if self.slot < 0 or not (self.inside or for_good):
            return 0
        pump = (<Intake>self.hub.intake).pump
        block = pump.hold(self.slot, for_good)
        if self.inside:
            self.inside = self.reading = False
            while block != NULL:
                following = block.next
                self.received_bytes += block.size
                if block.fate != OPEN:
                    self.fate = block.fate
                try:
                    self.keep(block.data, block.size)
                finally:
                    pump.give_back(block)
                block = following
            slot = pump.slots[self.slot]
            self.received_bytes += slot.carry_size
            self.keep(slot.carry, slot.carry_size)
        if for_good:
            pump.release(self.slot)
            (<Intake>self.hub.intake).links[self.slot] = None
            self.slot = -1
        return 0

    cdef int keep(self, const uint8_t *data, size_t size) except -1:
        """Behind what is here."""
        cdef size_t have = self.partial_size - self.at
        cdef void *grown
        if size == 0:
            return 0
        if size > self.partial_capacity - self.partial_size:
            if have:
                memmove(self.partial, self.partial + self.at, have)
            self.at = 0
            self.partial_size = have
            if have + size > self.partial_capacity:
                grown = realloc(self.partial, have + size)
                if grown == NULL:
                    raise MemoryError(f"no memory for {have + size} received bytes")
                self.partial = <uint8_t *>grown
                self.partial_capacity = have + size
        memcpy(self.partial + self.partial_size, data, size)
        self.partial_size += size
        return 0

    cdef int keep_first(self, const uint8_t *data, size_t size) except -1:
        """Before what is here, which came behind it."""
        cdef size_t have = self.partial_size - self.at
        self.keep(data, size)
        if have and size:
            memmove(self.partial + self.at + size, self.partial + self.at, have)
            memcpy(self.partial + self.at, data, size)
        return 0

    # -- receiving -----------------------------------------------------------------------------------------------

    cdef int work_off(self) except -1:
        """Parse what is kept; what stays is an unfinished frame, or waits for a reactant. Only while not inside: nobody else
        touches that memory then."""
        if self.partial_size == self.at:
            return 0
        try:
            self.digest(self.partial + self.at, self.partial_size - self.at)
        finally:
            self.at += self.used
            if self.at == self.partial_size:
                self.at = 0
                self.save(NULL, 0)
        return 0

    cdef int take_block(self, Block *block) except -1:
        self.counted = self.used = 0
        try:
            self.take_entries(block)
        finally:
            if self.open:
                self.received_bytes += block.size - self.counted
                if block.fate != OPEN:
                    self.fate = block.fate
                if self.blocked or self.used < block.size or self.fate != OPEN:
                    # A reactant may have had this stopped meanwhile: then the blocks behind this one are here already.
                    self.keep_first(block.data + self.used, block.size - self.used)
                    self.leave(False)
                    if self.blocked == 0:
                        self.go_on_soon()
        return 0

    cdef int take_entries(self, Block *block) except -1:
        cdef Entry *entry
        cdef size_t i, size, start
        for i in range(block.count):
            if not self.open or self.blocked:
                break
            entry = &block.entries[i]
            size = entry.stride if entry.count == 0 else <size_t>entry.stride * entry.count
            self.received_bytes += size
            self.counted += size
            if entry.count:
                self.take_messages(block.data, entry)
                continue
            start = entry.start
            try:
                self.digest(block.data + start, size)
            finally:
                self.used += start
            if self.used < start + size:
                break
        return 0

    cdef int digest(self, const uint8_t *data, size_t size) except -1:
        """`used` says how much was parsed, also when this raises."""
        self.used = 0
        while self.used < size and self.open and self.blocked == 0:
            self.parsed = 0
            try:
                if self.big is not None:
                    self.fill(data + self.used, size - self.used)
                else:
                    self.parse(data + self.used, size - self.used)
            finally:
                self.used += self.parsed
            if self.parsed == 0:
                break
        return 0

    cdef int fill(self, const uint8_t *data, size_t size) except -1:
        """More of a large frame."""
        cdef size_t room
        cdef char *to
        while size and self.big_have < self.big_size:
            to = self.big_room(&room)
            room = min(room, size)
            memcpy(to, data, room)
            self.big_have += room
            self.parsed += room
            data += room
            size -= room
        if self.big_have == self.big_size:
            self.end_big()
        return 0

    cdef int take_messages(self, const uint8_t *data, const Entry *entry) except -1:
        """`used` is kept before anybody is called, who may close or stop this link."""
        cdef const uint8_t *name = data + entry.start + entry.name_at
        cdef const uint8_t *payload = data + entry.start + entry.prefix
        cdef Py_ssize_t left = <Py_ssize_t>entry.count
        cdef Py_ssize_t count
        cdef Synapse synapse
        cdef PyObject *found = self.hub.topics.find(name, entry.name)
        self.used = entry.start
        synapse = None if found == NULL else <Synapse>found
        while left and self.open and self.blocked == 0:
            count = 1
            if synapse is not None and entry.payload == synapse.record_bytes and synapse.takes_records():
                count = min(left, synapse.room_for_records())
            self.used += <size_t>count * entry.stride
            self.receiving.accepted += <uint64_t>count
            if synapse is None:
                self.unknown = name[:min(<size_t>entry.name, <size_t>NAMED_TOPIC_BYTES)]
                self.drop_unknown()
            elif entry.payload == synapse.record_bytes and synapse.takes_records():
                synapse.receive_records(payload, entry.stride, count, self.hub.pool, self)
            else:
                synapse.receive(payload, entry.payload, self.hub.pool, self)
            payload += <size_t>count * entry.stride
            left -= count
        return 0
