# SPDX-License-Identifier: Apache-2.0
from libc.stdint cimport uint8_t, uint64_t
from plexo._fast.completion cimport Source
from plexo._fast.dispatch cimport Fanout
from plexo._fast.tasks cimport TaskPool


cdef class Synapse:
    cdef object __weakref__
    cdef readonly object neuron
    cdef readonly bytes topic
    cdef object decode
    cdef object type
    cdef object instance_types
    cdef readonly object owner
    cdef readonly Fanout typed
    cdef readonly Fanout raw
    cdef readonly uint64_t received
    cdef readonly uint64_t ignored
    cdef readonly uint64_t undecodable
    cdef readonly uint64_t sent
    cdef readonly uint64_t dropped
    cdef int receive(self, const uint8_t *data, size_t size, TaskPool pool, Source source) except -1
    cdef int receive_bytes(self, object payload, TaskPool pool, Source source) except -1
    cdef int check(self, bytes payload) except -1
    cdef int push(self, bytes payload) except -1
    cpdef object send(self, object payload)
    cpdef bint would_wait(self)
    cpdef bint wanted_outside(self)
    cpdef int forward(self, object payload, Source source) except -1


cdef bytes as_payload(object encoded)
