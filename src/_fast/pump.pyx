# SPDX-License-Identifier: Apache-2.0
"""A thread that receives beside the event loop: it waits for sockets, reads them into blocks, walks the blocks, and tells
the loop once that there are some. It never takes the interpreter's lock, and knows no object but this one.

What the thread and the loop share is behind one mutex, which nobody holds for longer than a few lines, and never while
asking for the interpreter's lock. Sockets are read outside of it: the slot is *busy* then, and its walk and its carry (the
unfinished message at the end of the last block) are the thread's.

Bounds: BLOCKS_AHEAD for one link, MAX_BLOCKS in all. Where the loop does not keep up, sockets are left alone, and their peers
find their connections full, as they would without a thread.

A forked child has no thread, and maybe a mutex that is locked for ever: there nothing is touched but the descriptors.
"""

from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy

from plexo._fast.blocks cimport BLOCK_BYTES, OPEN, free_blocks, open_channel, quiet, read_block, ring

cdef extern from "system.h" nogil:
    ctypedef struct plexo_instant:
        pass
    void plexo_mutex_init(plexo_mutex *)
    void plexo_mutex_destroy(plexo_mutex *)
    void plexo_mutex_lock(plexo_mutex *)
    void plexo_mutex_unlock(plexo_mutex *)
    void plexo_condition_init(plexo_condition *)
    void plexo_condition_destroy(plexo_condition *)
    void plexo_condition_wait(plexo_condition *, plexo_mutex *)
    int plexo_condition_wait_until(plexo_condition *, plexo_mutex *, const plexo_instant *)
    void plexo_condition_tell_all(plexo_condition *)
    plexo_instant plexo_deadline(int seconds)
    plexo_polled plexo_readable(int fd)
    int plexo_poll(plexo_polled *, int count, int timeout_ms)
    int plexo_process()
    void plexo_no_signals()
    void plexo_close(int fd)

# For the documents.
READ_BYTES = BLOCK_BYTES
MAX_AHEAD = BLOCKS_AHEAD
MAX_READS = MAX_BLOCKS

cdef enum:
    # How long `stop` waits for a thread that is in the middle of one read.
    STOP_S = 1
    # Where there is no memory for a block, how long until the next try.
    STARVED_MS = 100


cdef class Pump:
    def __cinit__(self):
        self.wake_out = self.wake_in = self.tell_out = self.tell_in = -1
        self.process = plexo_process()
        plexo_mutex_init(&self.mutex)
        plexo_condition_init(&self.changed)
        self.wake_out, self.wake_in = open_channel()
        self.tell_out, self.tell_in = open_channel()

    def __dealloc__(self):
        cdef int i
        self.close_channels()
        if plexo_process() != self.process:
            return  # the lists may be as the thread left them, half changed
        free_blocks(self.free_blocks)
        free_blocks(self.ready_first)
        for i in range(self.slot_count):
            free(self.slots[i].carry)
            free(self.slots[i])
        free(self.slots)
        free(self.polled)
        free(self.polled_slots)
        plexo_condition_destroy(&self.changed)
        plexo_mutex_destroy(&self.mutex)

    # -- the thread ----------------------------------------------------------------------------------------------

    def run(self):
        """What the thread does, until `stop`."""
        with nogil:
            self.body()

    cdef void body(self) noexcept nogil:
        cdef int count, i
        plexo_no_signals()
        plexo_mutex_lock(&self.mutex)
        self.running = True
        while not self.stopping:
            count = self.choose()
            self.polling = True
            plexo_mutex_unlock(&self.mutex)
            plexo_poll(self.polled, count, STARVED_MS if self.starved else -1)
            plexo_mutex_lock(&self.mutex)
            self.polling = self.starved = False
            self.rounds += 1
            plexo_condition_tell_all(&self.changed)
            if self.polled[0].revents:
                quiet(self.wake_out)
                self.woken = False
            for i in range(1, count):
                if self.stopping:
                    break
                if self.polled[i].revents and not self.read_slot(self.polled_slots[i]):
                    # Its turn comes first when there are blocks again.
                    self.first = self.polled_slots[i]
                    break
        self.running = False
        plexo_condition_tell_all(&self.changed)
        plexo_mutex_unlock(&self.mutex)

    cdef int choose(self) noexcept nogil:
        """What to wait for."""
        cdef int i, k
        cdef int count = 1
        cdef Slot *slot
        cdef void *polled
        cdef bint room = self.free_blocks != NULL or (self.block_count < MAX_BLOCKS and not self.starved)
        self.short = not room
        if self.polled_room <= self.slot_count:
            polled = realloc(self.polled, <size_t>(self.slot_count + 8) * sizeof(plexo_polled))
            if polled != NULL:
                self.polled = <plexo_polled *>polled
                polled = realloc(self.polled_slots, <size_t>(self.slot_count + 8) * sizeof(int))
                if polled != NULL:
                    self.polled_slots = <int *>polled
                    self.polled_room = self.slot_count + 8
        self.polled[0] = plexo_readable(self.wake_out)
        for k in range(self.slot_count):
            i = (self.first + k) % self.slot_count
            slot = self.slots[i]
            if not slot.used or not slot.eligible or slot.ended or count == self.polled_room:
                continue
            if slot.ahead >= BLOCKS_AHEAD:
                self.short = True
            elif room:
                self.polled[count] = plexo_readable(slot.fd)
                self.polled_slots[count] = i
                count += 1
        return count

    cdef bint read_slot(self, int index) noexcept nogil:
        """False: there is no block for this one."""
        cdef Slot *slot = self.slots[index]
        cdef Block *block
        cdef bint tell = False
        if not slot.used or not slot.eligible or slot.ended:
            return True
        block = self.free_blocks
        if block != NULL:
            self.free_blocks = block.next
            self.free_count -= 1
        else:
            block = <Block *>malloc(sizeof(Block)) if self.block_count < MAX_BLOCKS else NULL
            if block == NULL:
                self.starved = self.block_count < MAX_BLOCKS
                return False
            self.block_count += 1
        block.slot = index
        block.next = NULL
        slot.busy = True
        plexo_mutex_unlock(&self.mutex)
        read_block(slot, block)
        plexo_mutex_lock(&self.mutex)
        slot.busy = False
        slot.held += block.got
        slot.ended = block.fate != OPEN
        if block.size or slot.ended:
            if self.ready_last == NULL:
                self.ready_first = block
            else:
                self.ready_last.next = block
            self.ready_last = block
            slot.ahead += 1
            tell = not self.told
            self.told = True
        else:
            block.next = self.free_blocks
            self.free_blocks = block
            self.free_count += 1
        plexo_condition_tell_all(&self.changed)
        if tell:
            ring(self.tell_in)
        return True

    cdef void wake(self) noexcept nogil:
        if not self.woken:
            self.woken = True
            ring(self.wake_in)

    # -- the loop ------------------------------------------------------------------------------------------------

    @property
    def fileno(self):
        """Readable when there is something to take."""
        return self.tell_out

    cdef int admit(self, int index, int fd, const Walk *start, const uint8_t *carry, size_t size) except -1:
        cdef Slot *slot = NULL
        cdef void *grown
        cdef int i
        if index < 0:
            for i in range(self.slot_count):
                if not self.slots[i].used:
                    index = i
                    break
        if index < 0:
            slot = <Slot *>calloc(1, sizeof(Slot))
            if slot == NULL:
                raise MemoryError("no memory for a slot")
            plexo_mutex_lock(&self.mutex)
            grown = realloc(self.slots, <size_t>(self.slot_count + 1) * sizeof(Slot *))
            if grown != NULL:
                self.slots = <Slot **>grown
                index = self.slot_count
                self.slots[index] = slot
                self.slot_count += 1
            plexo_mutex_unlock(&self.mutex)
            if grown == NULL:
                free(slot)
                raise MemoryError("no memory for a slot")
        # Nobody else has it now.
        slot = self.slots[index]
        if size > slot.carry_capacity:
            grown = realloc(slot.carry, size)
            if grown == NULL:
                raise MemoryError(f"no memory for {size} received bytes")
            slot.carry = <uint8_t *>grown
            slot.carry_capacity = size
        if size:
            memcpy(slot.carry, carry, size)
        slot.carry_size = size
        slot.walk = start[0]
        plexo_mutex_lock(&self.mutex)
        slot.fd = fd
        slot.held = size
        slot.ended = False
        slot.used = slot.eligible = True
        self.wake()
        plexo_mutex_unlock(&self.mutex)
        return index

    cdef Block *hold(self, int index, bint out_of_poll) noexcept:
        cdef Slot *slot
        cdef Block *found = NULL
        cdef Block **end = &found
        cdef Block **place
        cdef Block *block
        cdef Block *before = NULL
        cdef uint64_t round
        plexo_mutex_lock(&self.mutex)
        slot = self.slots[index]
        slot.eligible = False
        if slot.busy or (out_of_poll and self.polling):
            with nogil:
                while slot.busy:
                    plexo_condition_wait(&self.changed, &self.mutex)
                if out_of_poll and self.polling and self.running:
                    round = self.rounds
                    self.wake()
                    while self.rounds == round and self.running:
                        plexo_condition_wait(&self.changed, &self.mutex)
        place = &self.ready_first
        while place[0] != NULL:
            block = place[0]
            if block.slot == index:
                place[0] = block.next
                block.next = NULL
                end[0] = block
                end = &block.next
            else:
                before = block
                place = &block.next
        self.ready_last = before
        plexo_mutex_unlock(&self.mutex)
        return found

    cdef void release(self, int index) noexcept:
        cdef Slot *slot = self.slots[index]
        plexo_mutex_lock(&self.mutex)
        slot.used = False
        plexo_mutex_unlock(&self.mutex)
        free(slot.carry)
        slot.carry = NULL
        slot.carry_size = slot.carry_capacity = 0

    cdef Block *take(self) noexcept:
        """The next block, or NULL: then the thread will tell when there is one."""
        cdef Block *block
        if self.forsaken:
            return NULL
        plexo_mutex_lock(&self.mutex)
        block = self.ready_first
        if block == NULL:
            quiet(self.tell_out)
            self.told = False
        else:
            self.ready_first = block.next
            if block.next == NULL:
                self.ready_last = NULL
            self.slots[block.slot].held -= block.size
        plexo_mutex_unlock(&self.mutex)
        return block

    cdef void give_back(self, Block *block) noexcept:
        cdef Slot *slot = self.slots[block.slot]
        if self.forsaken:
            return
        plexo_mutex_lock(&self.mutex)
        slot.ahead -= 1
        block.next = self.free_blocks
        self.free_blocks = block
        self.free_count += 1
        # Not for every single block: waking a thread costs as much as reading one.
        if self.short and (2 * slot.ahead <= BLOCKS_AHEAD or 4 * self.free_count >= MAX_BLOCKS):
            self.wake()
        plexo_mutex_unlock(&self.mutex)

    cdef uint64_t held(self, int index) noexcept:
        """Bytes that were read and not taken."""
        cdef uint64_t held
        plexo_mutex_lock(&self.mutex)
        held = self.slots[index].held
        plexo_mutex_unlock(&self.mutex)
        return held

    # -- the end -------------------------------------------------------------------------------------------------

    def stop(self):
        """End the thread, and wait for its last read. May be repeated. Blocks and carries stay to be taken."""
        cdef plexo_instant until = plexo_deadline(STOP_S)
        plexo_mutex_lock(&self.mutex)
        self.stopping = True
        self.wake()
        with nogil:
            while self.running and plexo_condition_wait_until(&self.changed, &self.mutex, &until) == 0:
                pass
        plexo_mutex_unlock(&self.mutex)

    cdef void close_channels(self) noexcept:
        """After `stop`, or in a forked child."""
        if self.wake_in != self.wake_out:
            plexo_close(self.wake_in)
        if self.tell_in != self.tell_out:
            plexo_close(self.tell_in)
        if self.wake_out >= 0:
            plexo_close(self.wake_out)
        if self.tell_out >= 0:
            plexo_close(self.tell_out)
        self.wake_out = self.wake_in = self.tell_out = self.tell_in = -1

    cdef void forsake(self) noexcept:
        """In a forked child; a block that is in hand there stays so."""
        self.forsaken = True
        self.close_channels()
