# SPDX-License-Identifier: Apache-2.0
"""One neuron's endpoint inside one external ganglion: what to do with a payload that arrived for it.

Nothing is made for a message nobody reacts to; nothing is decoded where only raw reactants are.
"""

from types import GenericAlias

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.memoryview cimport PyMemoryView_FromObject
from libc.stdint cimport uint8_t, uint64_t

from plexo._fast.books cimport Ledger, tick
from plexo._fast.completion cimport Completion, Source, Target
from plexo._fast.load cimport Load
from plexo._fast.queues cimport Queue
from plexo._fast.slabs cimport Slab
from plexo._fast.dispatch import DEFAULT_QUEUE
from plexo._fast.tasks cimport TaskPool, running_pool
from plexo.statistics import Cause, NeuronStats

cdef extern from "Python.h":
    Py_ssize_t PY_SSIZE_T_MAX

cdef object IGNORED = Cause.IGNORED
cdef object UNDECODABLE = Cause.UNDECODABLE


cpdef bytes as_payload(object encoded):
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
    """owner is the ganglion; beside what Place wants of it:

    owner._undecodable(error, payload, synapse, peer) is told of what a codec refused.
    """

    __class_getitem__ = classmethod(GenericAlias)

    def __init__(self, neuron, owner, Queue receive_queue=DEFAULT_QUEUE):
        self.neuron = neuron
        self.name = neuron.name
        self.topic = neuron.topic
        self.decode = neuron.decode
        self.takes_views = neuron._takes_views
        self.type = neuron.type
        self.instance_types = neuron.instance_types
        self.owner = owner
        self.typed = Fanout.__new__(Fanout, neuron, owner, receive_queue)
        self.raw = Fanout.__new__(Fanout, neuron, owner, receive_queue)
        self.unwanted = Ledger.__new__(Ledger)
        self.sending = Ledger.__new__(Ledger)

    @property
    def wanted(self):
        """Whether anybody here reacts to this neuron."""
        return self.typed.count > 0 or self.raw.count > 0

    def stats(self, queued):
        """NeuronStats; `queued` are the messages of this neuron that wait to be sent, as the ganglion counts them."""
        cdef Ledger receiving = Ledger.__new__(Ledger)
        cdef Ledger sending = Ledger.__new__(Ledger)
        receiving.absorb(self.unwanted)
        self.typed.add_up(receiving)
        self.raw.add_up(receiving)
        sending.absorb(self.sending)
        # Asked from another thread, what was counted as queued may have been dropped meanwhile.
        queued = min(queued, sending.accepted - sending.lost())
        # A message is laid out for its link, not followed: what is neither queued nor dropped was taken by the system.
        sending.delivered = sending.accepted - sending.lost() - <uint64_t>queued
        return NeuronStats(self.received, receiving.book(self.typed.queued + self.raw.queued), sending.book(queued),
                           self.typed.reactant_stats() + self.raw.reactant_stats())

    cdef int drop_unwanted(self, object cause, Source source) except -1:
        """A message that reached no reactant."""
        self.unwanted.accepted += 1
        self.unwanted.drop(cause, 1)
        if source is not None:
            source.receiving.drop(cause, 1)
        if self.owner is not None:
            self.typed.tally.add(cause, self.name, "" if source is None else source.host, 1)
        return 0

    def set_takers(self, Target port, tuple takers):
        """From now on `takers` get messages of their `record_bytes` undecoded, past `port`; None: nobody does.

        Only while `port` is all that wants this neuron here; else, and for messages of another size, they get what is
        decoded through it. Of several ports the last one counts.
        """
        if not takers and port is not self.takers_port:
            return
        self.takers = None
        self.record_head = None
        if takers:
            self.record_bytes = (<Target>takers[0]).record_bytes
            self.takers_port = port
            self.prepare_records()
            self.takers = takers

    cdef int prepare_records(self) except -1:
        """Say in record_head and record_stride how messages of record_bytes look on the wire; a transport that can does."""
        return 0

    cdef bint takes_records(self) noexcept:
        return (self.takers is not None and self.raw.count == 0 and self.typed.count == 1
                and self.typed.targets[0] is self.takers_port)

    cdef Py_ssize_t room_for_records(self) noexcept:
        cdef Target taker
        cdef Py_ssize_t room = PY_SSIZE_T_MAX
        for taker in self.takers:
            room = min(room, taker.room())
        return room

    cdef int receive_records(self, const uint8_t *data, size_t stride, Py_ssize_t count, TaskPool pool,
                             Source source) except -1:
        """So many messages, `stride` bytes apart, no more than there was room for."""
        cdef Target taker
        cdef Py_ssize_t taken, piece
        self.received += <uint64_t>count
        source.receiving.delivered += <uint64_t>count
        self.takers_port.ledger.accepted += <uint64_t>count
        self.takers_port.ledger.delivered += <uint64_t>count
        for taker in self.takers:
            # What an earlier one did with them may have left this one less room than there was.
            taken = 0
            while taken < count:
                piece = min(count - taken, taker.room())
                taker.take_records(data + <size_t>taken * stride, stride, piece, pool, source)
                taken += piece
        return 0

    cdef int receive(self, const uint8_t *data, size_t size, TaskPool pool, Source source) except -1:
        if size == self.record_bytes and self.takes_records():
            return self.receive_records(data, size, 1, pool, source)
        if self.typed.count == 0 and self.raw.count == 0:
            tick(self.received)
            return self.drop_unwanted(IGNORED, source)
        return self.receive_bytes(PyBytes_FromStringAndSize(<const char *>data, <Py_ssize_t>size), None, pool, source)

    cdef int receive_large(self, Slab slab, const uint8_t *data, size_t size, TaskPool pool, Source source) except -1:
        """A payload in a slab that nobody else has: decoded from where it lies, where the codec can and nobody wants bytes."""
        if self.takes_views and self.raw.count == 0 and self.typed.count > 0:
            start = data - slab.data
            return self.receive_bytes(PyMemoryView_FromObject(slab)[start:start + size].toreadonly(), None, pool, source)
        return self.receive(data, size, pool, source)

    cdef int receive_bytes(self, object payload, object settled, TaskPool pool, Source source) except -1:
        """Decode where anybody wants it decoded, and give it to all. `settled(cause, errors)`, if given, is called once."""
        cdef Completion completion = None
        tick(self.received)
        if self.typed.count > 0:
            try:
                value = self.decode(payload)
                if type(value) is not self.type and not isinstance(value, self.instance_types):
                    raise TypeError(f"decoded to {type(value).__name__}, expected {self.type}")
            except Exception as error:
                self.drop_unwanted(UNDECODABLE, source)
                if self.owner is not None:
                    self.owner._undecodable(error, payload, self, "" if source is None else source.host)
                if settled is not None:
                    settled(UNDECODABLE, None)
                if self.raw.count > 0:
                    self.raw.post(payload, None, None, pool, source, payload)
                return 0
        elif self.raw.count == 0:
            self.drop_unwanted(IGNORED, source)
            if settled is not None:
                settled(IGNORED, None)
            return 0
        if source is not None:
            tick(source.receiving.delivered)
        if settled is not None:
            completion = Completion.__new__(Completion)
            completion.settled = settled
            # One more, so that it cannot be settled before everybody has it.
            completion.waiting = 1 + self.typed.count + self.raw.count
            completion.targets = self.typed.targets + self.raw.targets
        if self.raw.count > 0:
            self.raw.post(payload, None, completion, pool, source, payload)
        if self.typed.count > 0:
            self.typed.post(value, None, completion, pool, source, payload)
        if completion is not None:
            completion.one_done(None)
        return 0

    def receive_payload(self, payload, Source source=None):
        """For ganglia written in Python: a payload arrived for this neuron (from `source`, usually a Feed)."""
        cdef TaskPool pool = running_pool()
        try:
            self.receive_bytes(payload, None, pool, source)
        finally:
            if pool is not None:
                pool.finish()

    def count_sent(self, Py_ssize_t handed, uint64_t accepted):
        """For ganglia written in Python: `send` handed its message to so many peers, so many copies of it are accepted."""
        self.handed = handed
        self.sending.accepted += accepted

    def drop_sent(self, cause):
        """For ganglia written in Python: an accepted copy is not sent."""
        self.sending.drop(cause, 1)
        self.typed.tally.add(cause, self.name, "", 1)

    cdef int check(self, size_t size) except -1:
        """Raise MessageTooLarge where the transport could never take a payload of so many bytes."""
        return 0

    cdef bint has_room(self) except -1:
        """Whether a message that waits can be accepted now."""
        return True

    cdef int lay_out(self, Source link, bytes payload) except -1:
        """Write one message into the outbox of `link`, which was asked for room."""
        raise NotImplementedError("this synapse has no links")

    cdef int push(self, bytes payload) except -1:
        """Accept a payload that had to wait for room."""
        raise NotImplementedError("this synapse has no queue of waiting messages")

    cpdef object send(self, object payload, object data=None):
        """Hand encoded bytes to the transport: None when accepted, or an awaitable that ends when they are.

        `data` is what was encoded, for queues that keep one message for each key; None: decode where that is needed.
        `handed` says afterwards to how many peers.
        """
        raise NotImplementedError("a synapse of an external ganglion must say how to send")

    cpdef object lend(self, object view, object data):
        """`send`, of memory that stays as it is until the awaitable ends, or, where there is none, until this returns."""
        return self.send(bytes(view), data)

    cdef object send_many(self, Load load, Py_ssize_t start):
        """The messages of `load` from `start` on, as far as they go without waiting: `load.reached` says how far.

        None, or an awaitable, after which the caller goes on from there, if anything is left. `handed` says afterwards
        to how many peers, over all messages. What is raised is about message `load.reached`; those before it were sent.
        """
        cdef Py_ssize_t handed = 0
        load.reached = start
        while load.reached < load.count:
            pending = self.send(load.payload(load.reached), load.value(load.reached))
            load.reached += 1
            handed += self.handed
            if pending is not None:
                self.handed = handed
                return pending
        self.handed = handed
        return None

    cpdef bint would_wait(self):
        """Whether `send` would have to wait, or be refused, now."""
        return False

    cpdef bint wanted_outside(self):
        """Whether anybody would get what is sent; nothing is encoded where nobody would."""
        return True

    cpdef int forward(self, object payload, Source source) except -1:
        """Send what another ganglion received: never waits; where there is no room it is dropped and counted."""
        raise NotImplementedError("a synapse of an external ganglion must say how to forward")
