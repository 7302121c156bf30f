# SPDX-License-Identifier: Apache-2.0
from libc.stdint cimport uint8_t
from plexo._fast.batches cimport Batch
from plexo._fast.completion cimport Completion, Source
from plexo._fast.lanes cimport Lane
from plexo._fast.tasks cimport TaskPool


cdef class BatchLane(Lane):
    cdef double max_wait_s
    # A batch whose messages had so many bytes is handed over, however few they are.
    cdef size_t batch_bytes
    cdef bint is_whole(self) noexcept
    # What arrives now; full ones before it, oldest first; what the reactant has in hand.
    cdef Batch filling
    cdef object full
    cdef Batch hand
    # One that was done with, to fill next.
    cdef Batch spare
    cdef Py_ssize_t waiting
    cdef size_t waiting_bytes
    # A call of `flush` that its event loop owes us.
    cdef object handle
    cdef object handle_loop
    # The batch has waited long enough, or as long as its reactant was busy.
    cdef bint due
    # The cause for which nothing is taken any more: it was removed or closed.
    cdef object ended
    # Local senders that wait for room.
    cdef object senders
    cdef bint is_full(self) noexcept
    cdef Py_ssize_t space(self, size_t size) noexcept
    cdef Py_ssize_t make_room(self, Source source, Py_ssize_t count, size_t size) except -1
    cdef int keep_records(self, const uint8_t *data, size_t stride, Py_ssize_t count) except -1
    cdef int added(self, TaskPool pool, Source source) except -1
    cdef int arm(self, TaskPool pool) except -1
    cdef int disarm(self) except -1
    cdef int run(self, TaskPool pool) except -1
    cdef Batch next_batch(self)
    cdef int forget(self, Batch batch) except -1
    cdef int refuse(self, object cause, Source source, Py_ssize_t count) except -1
    cdef Batch fresh(self)
    cdef Batch lay_down(self)
    cdef int drop_failed(self, Batch batch, object error, object data) except -1
    cdef Completion forget_asked(self, Batch batch)
    cdef object full_error(self, str why)
    cdef int drop_batch(self, Batch batch, object cause) except -1
    cdef int tell_asked(self, Batch batch, object error, object cause) except -1
