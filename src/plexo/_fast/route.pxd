# SPDX-License-Identifier: Apache-2.0
from plexo._fast.completion cimport Completion, Source, Target
from plexo._fast.dispatch cimport Fanout
from plexo._fast.tasks cimport TaskPool


cdef class Port(Target):
    cdef Route route
    cdef object origin
    cdef int delivered(self) except -1
    cdef int to_local(self, object data, object reaction_id, Completion completion, TaskPool pool, Source source,
                      object payload) except -1


cdef class Route:
    cdef readonly object neuron
    cdef readonly object plexus
    cdef object type
    cdef object encode
    # Of a codec that can show large values as they are sent; else None.
    cdef object view_of
    cdef readonly Fanout local
    cdef readonly tuple outside
    cdef readonly tuple inside
    # Reactants and peers that the last transmission went to.
    cdef Py_ssize_t handed
    cdef bytes encoded(self, object data)
    cdef int check(self, object data) except -1
    cdef object transmit(self, object data, object reaction_id)
    cdef object transmit_tracked(self, object data, object reaction_id, bytes payload=*)
    cdef int transmit_now(self, object data, object reaction_id) except -1
    cdef int spread(self, object data, object reaction_id, Source source) except -1
    cdef int spread_inside(self, object data, object reaction_id, Source source) except -1


cdef class Exchange:
    cdef dict routes
    cdef dict routes_by_type
    # By the address of their neurons, which they keep alive.
    cdef dict routes_by_identity
    cdef object last_neuron
    cdef Route last_route
    # Of the last transmission that is not done yet, until it is fetched.
    cdef object pending
    cdef Py_ssize_t handed
    cdef Route find(self, object data, object neuron)
