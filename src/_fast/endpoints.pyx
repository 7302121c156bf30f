# SPDX-License-Identifier: Apache-2.0
"""The sending halves of the ZMTP synapses: how one message of a neuron is laid out on a link.

pair          one frame: a Cap'n Proto PlexoMessage with topic and payload
publish       two frames: topic, payload; to every link that subscribed
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t
from libc.string cimport memcpy, memset

from plexo._fast.completion cimport Source
from plexo._fast.envelope cimport (ENVELOPE_MAX_PAYLOAD, envelope_head, envelope_head_size, envelope_padding,
                                   envelope_patch)
from plexo._fast.frames cimport FLAG_MORE, MAX_HEADER, frame_header_size, frame_write
from plexo._fast.hub cimport Hub, Line
from plexo._fast.outbox cimport BIG_PAYLOAD
from plexo._fast.synapse cimport Synapse, as_payload

# Forwarded messages kept while the pair has no peer; more are dropped and counted.
cdef enum:
    MAX_FORWARD_WAITING = 1000


cdef class Breath:
    """Awaited after a full buffer went out: lets the event loop have a turn in a sender's tight loop."""

    cdef bint taken

    def __await__(self):
        return self

    def __iter__(self):
        return self

    def __next__(self):
        if self.taken:
            raise StopIteration
        self.taken = True
        return None


cdef class PairSynapse(Synapse):
    def __init__(self, neuron, owner, Hub hub, Py_ssize_t receive_queue):
        Synapse.__init__(self, neuron, owner, receive_queue)
        self.hub = hub
        self.head = envelope_head(self.topic)

    cdef int push(self, bytes payload) except -1:
        cdef Line link = self.hub.pair_link
        cdef size_t size = <size_t>len(payload)
        cdef size_t head_size = <size_t>len(self.head)
        cdef size_t padding = envelope_padding(size)
        cdef size_t body = head_size + size + padding
        cdef size_t header
        cdef uint8_t *room
        cdef bytes head
        if size >= BIG_PAYLOAD:
            head = PyBytes_new(frame_header_size(body) + head_size)
            room = <uint8_t *>PyBytes_AS_STRING(head)
            header = frame_write(room, 0, body)
            memcpy(room + header, <const char *>self.head, head_size)
            envelope_patch(room + header, head_size, size)
            link.outbox.push_big(head, payload, padding)
        else:
            room = link.outbox.reserve(frame_header_size(body) + body, 1)
            room += frame_write(room, 0, body)
            memcpy(room, <const char *>self.head, head_size)
            envelope_patch(room, head_size, size)
            memcpy(room + head_size, <const char *>payload, size)
            memset(room + head_size + size, 0, padding)
        self.sent += 1
        return 0

    cdef int check(self, bytes payload) except -1:
        cdef size_t size = <size_t>len(payload)
        if size > ENVELOPE_MAX_PAYLOAD or size > self.hub.max_frame_bytes:
            self.hub.owner._too_large(self, size, min(<size_t>ENVELOPE_MAX_PAYLOAD, self.hub.max_frame_bytes))
        return 0

    cpdef object send(self, object payload):
        cdef Hub hub = self.hub
        cdef bytes wire = as_payload(payload)
        hub.here()
        self.check(wire)
        if hub.waiting or not hub.has_room():
            return hub.wait_for_room(self, wire)
        self.push(wire)
        if hub.touch(hub.pair_link):
            return Breath.__new__(Breath)
        return None

    cpdef bint would_wait(self):
        cdef Hub hub = self.hub
        hub.here()
        return len(hub.waiting) > 0 or not hub.has_room()

    cpdef int forward(self, object payload, Source source) except -1:
        cdef Hub hub = self.hub
        cdef bytes wire = as_payload(payload)
        hub.here()
        if hub.waiting or not hub.has_room():
            if len(hub.waiting) >= MAX_FORWARD_WAITING:
                self.dropped += 1
                hub.owner._dropped(self, "no room to forward")
            else:
                hub.waiting.append((None, self, wire))
            return 0
        self.push(wire)
        hub.touch(hub.pair_link)
        return 0


cdef class PubSynapse(Synapse):
    def __init__(self, neuron, owner, Hub hub, Py_ssize_t receive_queue):
        cdef size_t size = <size_t>len(neuron.topic)
        cdef uint8_t header[MAX_HEADER]
        Synapse.__init__(self, neuron, owner, receive_queue)
        self.hub = hub
        self.head = (<const char *>header)[:frame_write(header, FLAG_MORE, size)] + self.topic
        self.subscribers = ()

    def set_subscribers(self, links):
        """The links whose peers subscribed to this topic now."""
        self.subscribers = tuple(links)

    @property
    def subscriber_count(self):
        return len(self.subscribers)

    cpdef bint wanted_outside(self):
        self.hub.here()
        return len(self.subscribers) > 0

    cdef bint publish(self, bytes payload) except -1:
        """To every subscriber; one whose queue is full loses this message, and that is counted."""
        cdef Hub hub = self.hub
        cdef Line link
        cdef size_t size = <size_t>len(payload)
        cdef size_t head_size = <size_t>len(self.head)
        cdef size_t header = frame_header_size(size)
        cdef uint8_t *room
        cdef bytes head = None
        cdef bint breath = False
        for link in self.subscribers:
            if not link.open:
                continue
            if link.outbox.queued_bytes >= hub.send_queue_bytes:
                self.dropped += 1
                hub.owner._slow(link, self)
                continue
            if size >= BIG_PAYLOAD:
                if head is None:
                    head = PyBytes_new(head_size + header)
                    memcpy(PyBytes_AS_STRING(head), <const char *>self.head, head_size)
                    frame_write(<uint8_t *>PyBytes_AS_STRING(head) + head_size, 0, size)
                link.outbox.push_big(head, payload, 0)
            else:
                room = link.outbox.reserve(head_size + header + size, 1)
                memcpy(room, <const char *>self.head, head_size)
                frame_write(room + head_size, 0, size)
                memcpy(room + head_size + header, <const char *>payload, size)
            self.sent += 1
            if hub.touch(link):
                breath = True
        return breath

    cdef int check(self, bytes payload) except -1:
        if <size_t>len(payload) > self.hub.max_frame_bytes:
            self.hub.owner._too_large(self, len(payload), self.hub.max_frame_bytes)
        return 0

    cpdef object send(self, object payload):
        cdef bytes wire = as_payload(payload)
        self.hub.here()
        self.check(wire)
        if self.publish(wire):
            return Breath.__new__(Breath)
        return None

    cpdef int forward(self, object payload, Source source) except -1:
        self.hub.here()
        self.publish(as_payload(payload))
        return 0


cdef bytes PyBytes_new(size_t size):
    return PyBytes_FromStringAndSize(NULL, <Py_ssize_t>size)
