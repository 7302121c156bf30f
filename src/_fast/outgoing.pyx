# SPDX-License-Identifier: Apache-2.0
"""Sending many values in one call: checked and encoded chunk by chunk, handed to the synapses as a whole.

A chunk is a `Load`. Nothing of it is sent before all of it is checked, encoded and known to fit the transports, and what
is left over when something is wrong is neither sent nor counted. An iterable may be endless, so it is not looked at
further than one chunk ahead; a list, a tuple or an array is checked as a whole first.

Within a chunk the external ganglia come first, as far as they go without waiting, then the local reactants, one value
after the other, then what the external ganglia had no room for. So a local reactant gets its values in order, and a peer
too, but where there are both, the peer is up to a chunk ahead.
"""

from asyncio import isfuture
from itertools import chain, islice

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_GET_SIZE
from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport uint8_t

from plexo._fast.completion cimport raise_errors
from plexo._fast.dispatch cimport Fanout
from plexo._fast.load cimport LOAD_BYTES, LOAD_VALUES, Breath, Load
from plexo._fast.route cimport Route
from plexo._fast.synapse cimport Synapse, as_payload
from plexo._fast.wake cimport monotonic
from plexo.exceptions import QueueFull, WrongType

cdef enum:
    # Local reactants that are given values before the clock is looked at.
    VALUES_PER_LOOK = 16
    # Values that are so large get a bytes object each.
    APART_BYTES = 8192

# How long local reactants hold up the event loop before it has a turn, unless one of them takes longer.
cdef double TURN_S = 500e-6


cdef class Outgoing:
    """The values of one `transmit_many`, all of one neuron, and how far they have come.

    Raises TypeError for what is no iterable, or text or bytes, whose items nobody means; WrongType and what the codec
    raises for a list, tuple or array with something in it that does not fit.
    """

    def __init__(self, values, neuron):
        refuse_text(values)
        self.neuron = neuron
        self.type = neuron.type if neuron.checks_type_only else None
        self.load = Load.__new__(Load)
        self.errors = []
        try:
            self.begin(values)
        except Exception as error:
            error.plexo_sent = 0
            raise

    cdef int begin(self, object values) except -1:
        cdef Py_ssize_t index
        neuron = self.neuron
        if neuron._encode_many is not None:
            self.blocks = neuron._encode_many(values)
        if self.blocks is not None:
            return self.begin_records(values)
        if isinstance(values, (list, tuple)):
            # A copy: the list may change while this waits.
            values = tuple(values)
            for index, value in enumerate(values):
                if type(value) is not self.type:
                    self.check(value, index)
            self.checked = True
        self.iterator = iter(values)
        return 0

    def __dealloc__(self):
        self.release()

    cdef int begin_records(self, object values) except -1:
        neuron = self.neuron
        self.blocks = iter(self.blocks)
        self.values = values
        self.record_bytes = neuron._record_bytes
        if len(values) and not isinstance(values[0], neuron.instance_types):
            # An element of an array of one axis is a scalar, or an array without axes: as the neuron has it.
            if getattr(values, "ndim", 0) != 1 or not isinstance(values[0, ...], neuron.instance_types):
                raise WrongType(neuron.type, type(values[0]), neuron.name, 0)
            self.load.as_arrays = True
        return 0

    cdef int check(self, object value, Py_ssize_t index) except -1:
        try:
            self.neuron.check(value)
        except WrongType as error:
            wrong = WrongType(error.expected, error.actual, error.neuron_name, index)
            wrong.plexo_index = index
            raise wrong from None
        except Exception as error:
            error.plexo_index = index
            raise
        return 0

    cdef bint fill(self, bint encode, bint in_steps) except -1:
        """Put the next chunk into `load`; False at the end. `in_steps`: an array in chunks as short as other values'."""
        if self.blocks is not None:
            return self.fill_records(in_steps)
        return self.fill_values(encode)

    cdef bint fill_records(self, bint in_steps) except -1:
        cdef Load load = self.load
        cdef Py_ssize_t count
        if self.block_at == self.block_count and not self.next_block():
            return False
        load.begin(self.values, self.taken)
        load.records = <const uint8_t *>self.view.buf + <size_t>self.block_at * self.record_bytes
        load.record_bytes = self.record_bytes
        count = self.block_count - self.block_at
        if in_steps and count > LOAD_VALUES:
            count = LOAD_VALUES
        load.count = count
        self.block_at += count
        self.taken += count
        return True

    cdef int next_block(self) except -1:
        """1 where there is one more, with anything in it."""
        self.block_at = self.block_count = 0
        while self.block_count == 0:
            self.release()
            try:
                block = next(self.blocks)
            except StopIteration:
                return 0
            PyObject_GetBuffer(block, &self.view, PyBUF_SIMPLE)
            self.has_view = True
            if <size_t>self.view.len % self.record_bytes:
                raise ValueError(f"{self.neuron}: its codec gave a block of {self.view.len} bytes for records of "
                                 f"{self.record_bytes}")
            self.block_count = self.view.len // <Py_ssize_t>self.record_bytes
        return 1

    cdef int release(self) except -1:
        if self.has_view:
            self.has_view = False
            PyBuffer_Release(&self.view)
        return 0

    cdef bint fill_values(self, bint encode) except -1:
        cdef Py_ssize_t index
        if self.ahead_at == self.ahead_count:
            self.ahead = list(islice(self.iterator, LOAD_VALUES))
            self.ahead_at = 0
            self.ahead_count = len(self.ahead)
            if not self.checked:
                for index, value in enumerate(self.ahead):
                    if type(value) is not self.type:
                        self.check(value, self.before + index)
        if self.ahead_count == 0:
            return False
        self.load.begin(self.ahead, self.ahead_at)
        if not encode:
            self.load.count = self.ahead_count - self.ahead_at
        elif self.neuron._encode_into is not None and not self.apart:
            self.encode_into(self.ahead_count - self.ahead_at)
        else:
            self.encode_each(self.ahead_count - self.ahead_at)
        self.ahead_at += self.load.count
        return True

    cdef int encode_into(self, Py_ssize_t most) except -1:
        """One encoding behind the other, in a buffer: no object is made for each."""
        cdef Load load = self.load
        cdef bytearray buffer = bytearray()
        cdef size_t before = 0
        cdef const uint8_t *at
        cdef Py_ssize_t i
        encode = self.neuron._encode_into
        load.make_pieces()
        load.buffer = buffer
        while load.count < most and before < LOAD_BYTES:
            try:
                encode(load.value(load.count), buffer, -1)
            except Exception as error:
                error.plexo_index = self.before + load.count
                raise
            load.pieces[load.count].size = <size_t>PyByteArray_GET_SIZE(buffer) - before
            if load.pieces[load.count].size > load.pieces[load.largest].size:
                load.largest = load.count
            before = <size_t>PyByteArray_GET_SIZE(buffer)
            load.count += 1
            if load.pieces[load.count - 1].size >= APART_BYTES:
                # To copy such values as the buffer grows costs more than an object for each, which is sent as it is.
                self.apart = True
                break
        # Only now: it moves as it grows.
        at = <const uint8_t *>PyByteArray_AS_STRING(buffer)
        for i in range(load.count):
            load.pieces[i].data = at
            at += load.pieces[i].size
        return 0

    cdef int encode_each(self, Py_ssize_t most) except -1:
        cdef Load load = self.load
        cdef bytes payload
        cdef size_t before = 0
        cdef list payloads = []
        encode = self.neuron.encode
        load.make_pieces()
        load.payloads = payloads
        while load.count < most and before < LOAD_BYTES:
            try:
                payload = as_payload(encode(load.value(load.count)))
            except Exception as error:
                error.plexo_index = self.before + load.count
                raise
            payloads.append(payload)
            load.pieces[load.count].data = <const uint8_t *>PyBytes_AS_STRING(payload)
            load.pieces[load.count].size = <size_t>len(payload)
            if load.pieces[load.count].size > load.pieces[load.largest].size:
                load.largest = load.count
            before += <size_t>len(payload)
            load.count += 1
        self.apart = before >= <size_t>load.count * APART_BYTES
        return 0

    cdef int fits(self, tuple outside) except -1:
        """MessageTooLarge where one of the ganglia could never take all of the chunk."""
        cdef Synapse synapse
        for synapse in outside:
            try:
                synapse.check(self.load.size(self.load.largest))
            except Exception as error:
                error.plexo_index = self.before + self.load.largest
                raise
        return 0

    cdef int offer(self, Rest rest) except -1:
        """The chunk to one ganglion, from where it was left, as far as it goes now."""
        try:
            rest.pending = rest.synapse.send_many(self.load, rest.reached)
        finally:
            rest.reached = self.load.reached
            self.handed += rest.synapse.handed
        return 0

    cdef int withdraw(self, list rests) except -1:
        """The end, by an error or a cancellation: what is not accepted yet will not be. Counts what is."""
        cdef Rest rest
        if rests:
            self.accepted = self.load.count
        for rest in rests:
            self.accepted = min(self.accepted, rest.withdraw())
        return 0


cdef class Rest:
    """What one ganglion has not accepted yet of a chunk."""

    def __cinit__(self, Synapse synapse):
        self.synapse = synapse

    cdef Py_ssize_t withdraw(self) except -1:
        """How many messages it has accepted."""
        pending, self.pending = self.pending, None
        if pending is None or isinstance(pending, Breath):
            return self.reached
        # It stands for one message, which waits for room.
        if isfuture(pending):
            if pending.done():
                return self.reached if not pending.cancelled() and pending.exception() is None else self.reached - 1
            if not pending.get_loop().is_closed():
                pending.cancel()
        return self.reached - 1


def refuse_text(values):
    """TypeError for text and bytes: they are one value, and nobody means their letters."""
    if isinstance(values, (str, bytes, bytearray, memoryview)):
        raise TypeError(f"values: expected an iterable of values, or an array, got one {type(values).__name__}")


def first_of(values):
    """The first of `values`, and an iterable of all of them; (None, None) where there are none. TypeError as Outgoing."""
    refuse_text(values)
    if isinstance(values, (list, tuple)) or hasattr(values, "__array__"):
        return (values[0], values) if len(values) else (None, None)
    iterator = iter(values)
    for first in iterator:
        return first, chain((first,), iterator)
    return None, None


async def give(Outgoing batch, Fanout local):
    """The chunk to local reactants, one value after the other; what they raise is kept in `errors`."""
    cdef Py_ssize_t i
    for i in range(batch.load.count):
        batch.accepted = i
        batch.handed += local.count
        try:
            pending = local.deliver(batch.load.value(i), None)
            if pending is not None:
                await pending
        except Exception as error:
            batch.errors.append(error)
        if i % VALUES_PER_LOOK == 0 and monotonic() - batch.began > TURN_S:
            await Breath.__new__(Breath)
            batch.began = monotonic()


async def give_tracked(Outgoing batch, Route route, bint encoded):
    """The chunk by way of internal ganglia: each value remembers where it has been."""
    cdef Py_ssize_t i
    for i in range(batch.load.count):
        batch.accepted = i
        try:
            pending = route.transmit_tracked(batch.load.value(i), None, batch.load.payload(i) if encoded else None)
            batch.handed += route.handed
            if pending is not None:
                await pending
        except QueueFull:
            raise
        except Exception as error:
            batch.errors.append(error)
        if i % VALUES_PER_LOOK == 0 and monotonic() - batch.began > TURN_S:
            await Breath.__new__(Breath)
            batch.began = monotonic()
    batch.accepted = batch.load.count


async def finish(Outgoing batch, list rests):
    """What the ganglia had no room for, or let the event loop have a turn after."""
    cdef Rest rest
    for rest in rests:
        while rest.pending is not None or rest.reached < batch.load.count:
            if rest.pending is not None:
                await rest.pending
                rest.pending = None
            if rest.reached < batch.load.count:
                batch.offer(rest)


async def send_chunk(Outgoing batch, Route route, tuple outside, Fanout local):
    """One chunk everywhere. A sender that is cancelled withdraws what was not accepted."""
    cdef Rest rest
    cdef list rests = []
    batch.fits(outside)
    if route is not None and route.inside:
        await give_tracked(batch, route, len(outside) > 0)
        return
    try:
        for synapse in outside:
            rest = Rest.__new__(Rest, synapse)
            rests.append(rest)
            batch.offer(rest)
        if local is not None and local.count:
            await give(batch, local)
        await finish(batch, rests)
    except BaseException:
        batch.withdraw(rests)
        raise


async def send_outgoing(Outgoing batch, Route route, Synapse synapse, Fanout local):
    """Send all of `batch` on a route, on one synapse, or to local reactants alone; to how many it went, in all.

    Whatever is raised gets the attribute `plexo_sent`: how many values, from the first on, were sent.
    """
    outside = () if synapse is None else (synapse,)
    batch.began = monotonic()
    try:
        while True:
            if route is not None:
                outside = route.outside
                local = route.local
            # Asked anew for each chunk: subscribers come and go.
            wanted = tuple([each for each in outside if (<Synapse>each).wanted_outside()])
            if not batch.fill(len(wanted) > 0, (local is not None and local.count > 0)
                              or (route is not None and len(route.inside) > 0)):
                return batch.handed
            await send_chunk(batch, route, wanted, local)
            batch.before += batch.load.count
            batch.accepted = 0
            if batch.errors:
                raise_errors(batch.errors)
    except BaseException as error:
        error.plexo_sent = batch.before + batch.accepted
        raise
