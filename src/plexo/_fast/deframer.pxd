# SPDX-License-Identifier: Apache-2.0
from libc.stdint cimport uint8_t, uint64_t

# Why a message, or what follows, was not delivered, see FAULTS in deframer.pyx.
cdef enum DeframeFault:
    DEFRAME_OK = 0
    DEFRAME_SHORT_TSDU         # less than an offset
    DEFRAME_OFFSET             # beyond the end of the TSDU
    DEFRAME_MISPLACED          # the offset says that a message begins elsewhere
    DEFRAME_LENGTH             # a frame of length 0
    DEFRAME_FLAGS              # another bit than MORE
    DEFRAME_TOO_LARGE          # above max_message_bytes
    DEFRAME_ONE_PART
    DEFRAME_MANY_PARTS
    DEFRAME_FAULTS             # how many there are

# A short token for programs and statistics; of something else than a DeframeFault "unknown".
cdef str deframe_fault_name(int fault)


cdef class Deframer:
    cdef readonly size_t max_message_bytes
    # Messages that were handed to `message`, also where that raised.
    cdef readonly uint64_t messages
    # Calls of `malformed`.
    cdef readonly uint64_t malformed_count
    # Messages whose beginning was here when a gap came.
    cdef readonly uint64_t truncated
    # TSDUs of which nothing could be read: no message was known to begin in them.
    cdef readonly uint64_t skipped
    # A TSDU waits half-read: `stopped` said so, or `message` raised. Go on with `resume`; nothing else is taken before.
    cdef readonly bint has_rest

    cdef bint synced
    cdef bint busy
    cdef bint gap
    # The beginning of a message that spans TSDUs, and how many bytes of it have to be here to see more.
    cdef uint8_t *part
    cdef size_t part_size
    cdef size_t part_capacity
    cdef uint64_t part_needed
    cdef uint8_t *rest
    cdef size_t rest_at
    cdef size_t rest_size

    # One whole TSDU, the next in sequence. Raises what `message` raises (then resume), RuntimeError where something is to
    # be done before, MemoryError; the state is usable in any case.
    cdef int feed(self, const uint8_t *tsdu, size_t size) except -1
    # A gap behind what was fed: the unfinished message is dropped, and so is everything up to the next known beginning.
    # Takes effect when the rest of a TSDU is done.
    cdef int skip(self) except -1
    # The rest of a TSDU. Called from within `message` it does nothing: whoever called that goes on.
    cdef int resume(self) except -1

    # To be overridden. The bytes are lent for the call.
    cdef int message(self, const uint8_t *topic, size_t topic_size, const uint8_t *payload, size_t size) except -1
    # Asked after every message; where it is true, the rest of the TSDU is copied and waits for `resume`.
    cdef bint stopped(self) noexcept
    cdef int malformed(self, int reason) except -1

    cdef int enter(self, const uint8_t *data, size_t size, size_t *at) except -1
    cdef bint finish_part(self, const uint8_t *data, size_t size, bint announced) except -1
    cdef int walk(self, const uint8_t *data, size_t size, size_t *at) except -1
    cdef bint add(self, const uint8_t *data, size_t size) noexcept
    cdef int fault(self, int reason) except -1
    cdef void drop_part(self) noexcept
    cdef void keep_rest(self, const uint8_t *data, size_t size) noexcept
    cdef void leave(self) noexcept
