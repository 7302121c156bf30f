# SPDX-License-Identifier: Apache-2.0
"""Messages that wait for one reactant together, and what they are given as: a list, one array, one array for each field.

A batch also knows who its messages came from, how large they were, and who asked to be told of them. Nothing of that costs
an object for each message: those of one sender come in runs.

Arrays are made over a slab that is used again when nobody holds a view of it any more. While somebody does, the next
batch begins behind the last one, so that whoever keeps small batches keeps no large slabs.
"""

from types import MemberDescriptorType

from cpython.bytes cimport PyBytes_AS_STRING
from cpython.float cimport PyFloat_AsDouble
from cpython.object cimport PyObject
from libc.math cimport NAN
from libc.stdint cimport int64_t, uint8_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from plexo._fast.completion cimport Completion, Source
from plexo._fast.slabs cimport Slab, is_idle

cdef extern from "Python.h":
    ctypedef struct PyMemberDef:
        int type
        Py_ssize_t offset
    ctypedef struct PyMemberDescrObject:
        PyMemberDef *d_member
    long long PyLong_AsLongLong(object) except? -1
    Py_ssize_t PY_SSIZE_T_MAX

cdef extern from *:
    """
    #include "structmember.h"
    """
    int T_OBJECT_EX

cdef enum:
    COLUMN_BYTES = 8
    # Below this part of `most` the rest of a slab is not worth a batch; a new one is made.
    LEAST_REST = 4


cdef class Batch:
    """At most `most` messages. keep_sizes: whether messages may be dropped from its front, whose sizes then matter."""

    def __cinit__(self, Py_ssize_t most, bint keep_sizes, *args):
        self.most = most
        self.sizes = [] if keep_sizes else None
        self.spans = []

    cdef Py_ssize_t left(self) noexcept:
        """Messages in it that were not dropped."""
        return self.count - self.skipped

    cdef int note(self, Source source, Py_ssize_t count, size_t size) except -1:
        """`count` messages of `size` bytes each were added by `source`."""
        if source is not self.last_source or self.last_count == 0:
            if self.last_count:
                self.spans.append((self.last_source, self.last_count))
                self.last_count = 0
            self.last_source = source
        self.last_count += count
        self.bytes += <size_t>count * size
        if self.sizes is not None:
            self.sizes.extend([size] * count)
        return 0

    cdef list all_spans(self):
        """Of the messages that are left: (Source or None, count)."""
        return [*self.spans, (self.last_source, self.last_count)] if self.last_count else self.spans[:]

    cdef Source drop_front(self):
        """Take the oldest out; who it came from. `bytes` is less by its size."""
        cdef Source source
        if self.spans:
            source, count = self.spans[0]
            if count == 1:
                del self.spans[0]
            else:
                self.spans[0] = (source, count - 1)
        else:
            source = self.last_source
            self.last_count -= 1
        if self.sizes is not None:
            self.bytes -= <size_t>self.sizes[self.skipped]
        self.skipped += 1
        return source

    cdef int clear(self) except -1:
        self.count = self.skipped = self.last_count = 0
        self.bytes = 0
        self.last_source = None
        if self.spans:
            self.spans = []
        if self.sizes is not None:
            self.sizes = []
        self.payloads = self.asked = None
        return 0

    cdef int add(self, object data) except -1:
        """One more message; raises, and is as before, where it does not fit what this makes of it."""
        raise NotImplementedError("a batch must say how it takes a value")

    cdef int add_records(self, const uint8_t *data, size_t stride, Py_ssize_t count) except -1:
        """So many messages, undecoded, `stride` bytes apart; the caller has seen that there is room."""
        raise NotImplementedError("these are no records")

    cdef object cut(self):
        """What a reactant gets. Afterwards only `clear` and what the batch knows of senders is left."""
        raise NotImplementedError("a batch must say what a reactant gets")

    cdef Batch empty(self):
        """Another one of this kind."""
        raise NotImplementedError("a batch must make another of its kind")


cdef class ListBatch(Batch):
    """The values, in a list."""

    def __cinit__(self, Py_ssize_t most, bint keep_sizes):
        self.values = []

    cdef int add(self, object data) except -1:
        self.values.append(data)
        self.count += 1
        return 0

    cdef Source drop_front(self):
        self.values[self.skipped] = None
        return Batch.drop_front(self)

    cdef object cut(self):
        values, self.values = self.values, []
        if self.skipped:
            del values[:self.skipped]
        return values

    cdef int clear(self) except -1:
        if self.values:
            self.values = []
        return Batch.clear(self)

    cdef Batch empty(self):
        return ListBatch.__new__(ListBatch, self.most, self.sizes is not None)


cdef class SlabBatch(Batch):
    """Rows of `row_bytes` in a slab, from `start` on."""

    cdef int new_slab(self, Py_ssize_t rows) except -1:
        if <size_t>rows > <size_t>PY_SSIZE_T_MAX // self.row_bytes:
            raise MemoryError(f"no memory for {rows} rows of {self.row_bytes} bytes")
        self.slab = Slab.__new__(Slab, <size_t>rows * self.row_bytes)
        self.rows = self.most = rows
        self.start = 0
        return 0

    cdef int clear(self) except -1:
        if is_idle(<PyObject *>self.slab):
            self.start = 0
        else:
            self.start += self.count
        self.most = self.rows - self.start
        if self.most < 1 or self.most < self.rows // LEAST_REST:
            self.new_slab(self.rows)
        return Batch.clear(self)


cdef class RecordBatch(SlabBatch):
    """One array, for a codec whose messages are records of one size: `record_bytes`, and `from_records(buffer, start,
    count)` that makes an array over them."""

    def __cinit__(self, Py_ssize_t most, bint keep_sizes, codec):
        self.codec = codec
        self.row_bytes = codec.record_bytes
        self.new_slab(most)

    cdef int add(self, object data) except -1:
        cdef bytes encoded = self.codec.encode(data)
        if <size_t>len(encoded) != self.row_bytes:
            raise ValueError(f"{self.codec!r} made {len(encoded)} bytes, expected {self.row_bytes}")
        return self.add_records(<const uint8_t *>PyBytes_AS_STRING(encoded), self.row_bytes, 1)

    cdef int add_records(self, const uint8_t *data, size_t stride, Py_ssize_t count) except -1:
        if count > self.most - self.count:
            raise OverflowError(f"{count} records for a batch that takes {self.most - self.count} more")
        copy_records(self.slab.data + <size_t>(self.start + self.count) * self.row_bytes, data, stride,
                     self.row_bytes, count)
        self.count += count
        return 0

    cdef object cut(self):
        return self.codec.from_records(self.slab, self.start + self.skipped, self.left())

    cdef Batch empty(self):
        return RecordBatch.__new__(RecordBatch, self.rows, self.sizes is not None, self.codec)


cdef void copy_records(uint8_t *out, const uint8_t *data, size_t stride, size_t size, Py_ssize_t count) noexcept:
    cdef Py_ssize_t i
    if size == 64:
        # The compiler makes a few vector moves of a copy whose size it knows.
        for i in range(count):
            memcpy(out, data, 64)
            out += 64
            data += stride
        return
    for i in range(count):
        memcpy(out, data, size)
        out += size
        data += stride


cdef class ColumnBatch(SlabBatch):
    """A dict with one array for each column: (name, code), the code 'q' (int64), 'd' (float64) or '?' (bool).

    Values are read from attributes of these names. None in a column 'd' is NaN. Raises OverflowError for an int that is
    beyond 64 bits, TypeError for a value that is no number.
    """

    def __cinit__(self, Py_ssize_t most, bint keep_sizes, kind, tuple columns):
        from numpy import frombuffer

        cdef Py_ssize_t index
        cdef object member
        self.frombuffer = frombuffer
        self.columns = columns
        self.kind = kind
        self.offsets = <Py_ssize_t *>calloc(<size_t>len(columns), sizeof(Py_ssize_t))
        self.codes = <char *>calloc(<size_t>len(columns), 1)
        if self.offsets == NULL or self.codes == NULL:
            raise MemoryError(f"no memory for {len(columns)} columns")
        for index, (name, code) in enumerate(columns):
            self.codes[index] = <char>ord(code)
            # Where the attribute is a slot of the object it is read from there; 0 (the reference count) says it is not.
            member = getattr(kind, name, None)
            if type(member) is MemberDescriptorType and (<PyMemberDescrObject *>member).d_member.type == T_OBJECT_EX:
                self.offsets[index] = (<PyMemberDescrObject *>member).d_member.offset
        self.row_bytes = <size_t>len(columns) * COLUMN_BYTES
        self.new_slab(most)

    def __dealloc__(self):
        free(self.offsets)
        free(self.codes)

    cdef int add(self, object data) except -1:
        cdef Py_ssize_t index
        cdef Py_ssize_t row = self.start + self.count
        # Reading an attribute may run any code: the memory must not go meanwhile.
        cdef Slab slab = self.slab
        cdef uint8_t *column = slab.data
        cdef bint slots = type(data) is self.kind
        cdef PyObject *found
        for index in range(len(self.columns)):
            found = NULL
            if slots and self.offsets[index]:
                found = (<PyObject **>(<char *><PyObject *>data + self.offsets[index]))[0]
            value = <object>found if found != NULL else getattr(data, <str>(<tuple>self.columns[index])[0])
            if self.codes[index] == c'd':
                (<double *>column)[row] = NAN if value is None else PyFloat_AsDouble(value)
            elif self.codes[index] == c'q':
                (<int64_t *>column)[row] = PyLong_AsLongLong(value)
            else:
                column[row] = value is True
            column += self.rows * COLUMN_BYTES
        self.count += 1
        return 0

    cdef object cut(self):
        cut = {}
        for index, (name, code) in enumerate(self.columns):
            at = index * self.rows * COLUMN_BYTES + (self.start + self.skipped) * (1 if code == "?" else COLUMN_BYTES)
            cut[name] = self.frombuffer(self.slab, code, self.left(), at)
        return cut

    cdef Batch empty(self):
        return ColumnBatch.__new__(ColumnBatch, self.rows, self.sizes is not None, self.kind, self.columns)
