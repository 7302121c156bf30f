# SPDX-License-Identifier: Apache-2.0
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from plexo._fast.deframer cimport Deframer
from plexo._fast.pgm cimport PgmPacket
from plexo._fast.receive_window cimport ReceiveWindow


cdef class Reception(Deframer):
    # What was heard of the source itself last: SPM, data, NCF. 0.0 before any.
    cdef readonly double heard_at
    # Data packets that were taken; those among them that were missing; those that were here already.
    cdef readonly uint64_t received
    cdef readonly uint64_t repaired
    cdef readonly uint64_t repeated
    # Packets that `lost` was told of.
    cdef readonly uint64_t lost_packets
    # The source's address as its latest SPM says, in the host's byte order; 0: none said so.
    cdef readonly uint32_t nla
    # A FIN was heard.
    cdef readonly bint fin
    cdef readonly object policy

    # Next to be delivered; whatever is empty before the trail is lost; last that is known of. Always
    # expected <= trail <= lead + 1, and what is stored is from `expected` to `lead`.
    cdef uint32_t expected
    cdef uint32_t trail
    cdef uint32_t lead
    cdef bint started
    # `deliver` is at work: what comes from within it is stored.
    cdef bint delivering
    # A new beginning that `lost` was not told of yet, and of how many packets.
    cdef bint restarted
    cdef uint64_t restart_lost
    # A packet found no room since one was taken out.
    cdef bint full
    # One found none, and not all of what is known of is here yet.
    cdef bint crowded
    cdef double due
    cdef list ready
    cdef ReceiveWindow window

    # One packet: SPM, ODATA, RDATA, NCF of this source, NAK and SPMR of other receivers for it; others do nothing. Raises what
    # `message`, `malformed` and `lost` raise; the packet is taken all the same, and `resume_stored` goes on.
    cdef int take(self, const PgmPacket *packet, double now) except -1
    # Let timers act; the datagrams to send now, each to the source (nla, or where its packets come from) and to the group.
    cdef list advance(self, double now)
    # When to call `advance`; infinity: not before something came.
    cdef double due_at(self) noexcept
    # Not stopped any more: deliver what is stored. From within a callback it does nothing: whoever called that goes on.
    cdef int resume_stored(self, double now) except -1
    # The source is gone: all that is missing is lost, what is stored is delivered (at once, or when not stopped any more).
    cdef int abandon(self, double now) except -1

    # To be overridden. Called between the messages around a gap, of so many packets; 0: nobody knows how many.
    cdef int lost(self, uint64_t packets) except -1

    cdef int take_data(self, const PgmPacket *packet, double now) except -1
    cdef int take_spm(self, const PgmPacket *packet, double now) except -1
    cdef int take_ncf(self, const PgmPacket *packet, double now) except -1
    cdef int begin(self, uint32_t sqn, double now) except -1
    cdef int restart(self, uint32_t sqn, double now) except -1
    cdef int follow(self, uint32_t trail) except -1
    cdef int reveal(self, uint32_t sqn, double now) except -1
    cdef int64_t lead_ahead(self) noexcept
    cdef bint is_blocked(self) noexcept
    cdef bint is_level(self) noexcept
    cdef int deliver(self) except -1
    cdef uint64_t pass_lost(self) noexcept
    cdef int hasten(self, double now) except -1
    cdef int refresh(self) except -1
