# SPDX-License-Identifier: Apache-2.0
"""Reading a socket into a block: what the receive thread does while it holds no lock."""

import os
import socket

from libc.errno cimport EAGAIN, EINTR, ENOMEM, errno
from libc.stdint cimport uint32_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy

from plexo._fast.scan cimport walk

cdef extern from "system.h" nogil:
    Py_ssize_t plexo_receive(int fd, void *room, size_t size)
    Py_ssize_t plexo_read(int fd, void *room, size_t size)
    Py_ssize_t plexo_write(int fd, const void *data, size_t size)


cdef void read_block(Slot *slot, Block *block) noexcept nogil:
    cdef size_t have = slot.carry_size
    cdef size_t used, rest
    cdef void *grown
    cdef Py_ssize_t got
    block.size = block.count = block.got = 0
    block.fate = OPEN
    if have:
        memcpy(block.data, slot.carry, have)
    got = plexo_receive(slot.fd, block.data + have, BLOCK_BYTES - have)
    if got < 0 and (errno == EAGAIN or errno == EINTR):
        return
    if got > 0:
        block.got = <size_t>got
        have += <size_t>got
        used = walk(&slot.walk, block.data, have, block.entries, ENTRIES - 1, &block.count)
        block.size = used
        rest = have - used
        if rest > slot.carry_capacity:
            grown = realloc(slot.carry, rest)
            if grown != NULL:
                slot.carry = <uint8_t *>grown
                slot.carry_capacity = rest
        if rest <= slot.carry_capacity:
            if rest:
                memcpy(slot.carry, block.data + used, rest)
            slot.carry_size = rest
            return
        block.fate = ENOMEM
    else:
        block.fate = CLOSED if got == 0 else errno
    # The end: whatever is left goes with it, as one more entry, for the parser to see that it is no whole message.
    slot.carry_size = 0
    if have > block.size:
        block.entries[block.count] = Entry(start=<uint32_t>block.size, count=0, stride=<uint32_t>(have - block.size),
                                           prefix=0, payload=0, name_at=0, name=0)
        block.count += 1
        block.size = have


cdef void ring(int fd) noexcept nogil:
    # Eight bytes, for an eventfd; pipes and sockets take them, too. It is full only where nobody has listened for long.
    cdef long long one = 1
    if plexo_write(fd, &one, 8) < 0:
        pass


cdef void quiet(int fd) noexcept nogil:
    cdef long long noise[8]
    while plexo_read(fd, noise, 64) == 64:
        pass


cdef void free_blocks(Block *block) noexcept nogil:
    cdef Block *following
    while block != NULL:
        following = block.next
        free(block)
        block = following


cdef tuple open_channel():
    if hasattr(os, "eventfd"):
        both = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        return both, both
    if os.name == "nt":
        both = socket.socketpair()
        for each in both:
            each.setblocking(False)
        return both[0].detach(), both[1].detach()
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    return reading, writing
