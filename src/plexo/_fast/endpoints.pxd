# SPDX-License-Identifier: Apache-2.0
from plexo._fast.hub cimport Hub, Line
from plexo._fast.synapse cimport Synapse


cdef class PairSynapse(Synapse):
    cdef readonly Hub hub
    cdef bytes head


cdef class PubSynapse(Synapse):
    cdef readonly Hub hub
    cdef bytes head
    cdef tuple subscribers
    cdef bint publish(self, bytes payload, object data, bint forwarded) except -1
    cdef Line full_link(self)
