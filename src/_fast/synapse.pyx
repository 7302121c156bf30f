# SPDX-License-Identifier: Apache-2.0
"""One neuron's endpoint inside one external ganglion: what to do with a payload that arrived for it.

Nothing is made for a message nobody reacts to; nothing is decoded where only raw reactants are.
"""

from types import GenericAlias

from cpython.bytes cimport PyBytes_FromStringAndSize
from plexo._fast.dispatch import DEFAULT_QUEUE_MESSAGES
from plexo._fast.tasks cimport current_pool, running_loop


cdef bytes as_payload(object encoded):
    """What a codec made, as bytes: str is sent as UTF-8, other bytes-like things are copied."""
    if type(encoded) is bytes:
        return <bytes>encoded
    if isinstance(encoded, str):
        return (<str>encoded).encode()
    if isinstance(encoded, (bytes, bytearray, memoryview)):
        return bytes(encoded)
    try:
        return bytes(memoryview(encoded))
    except TypeError:
        raise TypeError(f"encoded data: expected bytes-like or str, got {type(encoded).__name__}") from None


cdef class Synapse:
    """owner is the ganglion; it is told of what goes wrong:

    owner._reactant_failed(error, reactant, neuron), owner._undecodable(error, payload, synapse).
    """

    __class_getitem__ = classmethod(GenericAlias)

    def __init__(self, neuron, owner, Py_ssize_t receive_queue=DEFAULT_QUEUE_MESSAGES):
        self.neuron = neuron
        self.topic = neuron.topic
        self.decode = neuron.decode
        self.type = neuron.type
        self.instance_types = neuron.instance_types
        self.owner = owner
        report = owner._reactant_failed if owner is not None else None
        self.typed = Fanout.__new__(Fanout, neuron, report, receive_queue)
        self.raw = Fanout.__new__(Fanout, neuron, report, receive_queue)

    @property
    def wanted(self):
        """Whether anybody here reacts to this neuron."""
        return self.typed.count > 0 or self.raw.count > 0

    cdef int receive(self, const uint8_t *data, size_t size, TaskPool pool, Source source) except -1:
        if self.typed.count == 0 and self.raw.count == 0:
            self.received += 1
            self.ignored += 1
            return 0
        return self.receive_bytes(PyBytes_FromStringAndSize(<const char *>data, <Py_ssize_t>size), pool, source)

    cdef int receive_bytes(self, object payload, TaskPool pool, Source source) except -1:
        self.received += 1
        if self.raw.count > 0:
            self.raw.post(payload, None, pool, source)
        if self.typed.count > 0:
            try:
                value = self.decode(payload)
                if type(value) is not self.type and not isinstance(value, self.instance_types):
                    raise TypeError(f"decoded to {type(value).__name__}, expected {self.type}")
            except Exception as error:
                self.undecodable += 1
                if self.owner is not None:
                    self.owner._undecodable(error, payload, self)
                return 0
            self.typed.post(value, None, pool, source)
        elif self.raw.count == 0:
            self.ignored += 1
        return 0

    def receive_payload(self, payload):
        """For ganglia written in Python: a payload arrived for this neuron."""
        cdef TaskPool pool = current_pool() if running_loop() is not None else None
        try:
            self.receive_bytes(payload, pool, None)
        finally:
            if pool is not None:
                pool.finish()

    cdef int check(self, bytes payload) except -1:
        """Raise MessageTooLarge where the transport could never take this payload."""
        return 0

    cdef int push(self, bytes payload) except -1:
        """Accept a payload that had to wait for room."""
        raise NotImplementedError("this synapse has no queue of waiting messages")

    cpdef object send(self, object payload):
        """Hand encoded bytes to the transport: None when accepted, or an awaitable that ends when they are."""
        raise NotImplementedError("a synapse of an external ganglion must say how to send")

    cpdef bint would_wait(self):
        """Whether `send` would have to wait now."""
        return False

    cpdef bint wanted_outside(self):
        """Whether anybody would get what is sent; nothing is encoded where nobody would."""
        return True

    cpdef int forward(self, object payload, Source source) except -1:
        """Send what another ganglion received: never waits; a full queue pauses `source` or counts a drop."""
        raise NotImplementedError("a synapse of an external ganglion must say how to forward")
