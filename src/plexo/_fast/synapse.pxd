# SPDX-License-Identifier: Apache-2.0
from libc.stdint cimport uint8_t, uint64_t
from plexo._fast.books cimport Ledger
from plexo._fast.completion cimport Source, Target
from plexo._fast.dispatch cimport Fanout
from plexo._fast.load cimport Load
from plexo._fast.slabs cimport Slab
from plexo._fast.tasks cimport TaskPool


cdef class Synapse:
    cdef object __weakref__
    cdef readonly object neuron
    cdef readonly object name
    cdef readonly bytes topic
    cdef object decode
    cdef bint takes_views
    cdef object type
    cdef object instance_types
    cdef readonly object owner
    cdef readonly Fanout typed
    cdef readonly Fanout raw
    cdef readonly uint64_t received
    # Messages that reached no reactant.
    cdef Ledger unwanted
    cdef Ledger sending
    # Peers that the last `send` or `forward` handed its message to.
    cdef readonly Py_ssize_t handed
    # Where everybody who wants this neuron takes its messages undecoded, as records of one size: these, the port whose
    # book they pass, and, where runs of them can be told by it, what each begins with on the wire and how long it is.
    cdef tuple takers
    cdef Target takers_port
    cdef size_t record_bytes
    cdef bytes record_head
    cdef size_t record_stride
    cdef bint takes_records(self) noexcept
    cdef Py_ssize_t room_for_records(self) noexcept
    cdef int receive_records(self, const uint8_t *data, size_t stride, Py_ssize_t count, TaskPool pool,
                             Source source) except -1
    cdef int prepare_records(self) except -1
    cdef int receive(self, const uint8_t *data, size_t size, TaskPool pool, Source source) except -1
    cdef int receive_large(self, Slab slab, const uint8_t *data, size_t size, TaskPool pool, Source source) except -1
    cdef int receive_bytes(self, object payload, object settled, TaskPool pool, Source source) except -1
    cdef int drop_unwanted(self, object cause, Source source) except -1
    cdef int check(self, size_t size) except -1
    cdef bint has_room(self) except -1
    cdef int push(self, bytes payload) except -1
    cdef int lay_out(self, Source link, bytes payload) except -1
    cpdef object send(self, object payload, object data=*)
    cpdef object lend(self, object view, object data)
    cdef object send_many(self, Load load, Py_ssize_t start)
    cpdef bint would_wait(self)
    cpdef bint wanted_outside(self)
    cpdef int forward(self, object payload, Source source) except -1


cpdef bytes as_payload(object encoded)
