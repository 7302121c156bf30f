# SPDX-License-Identifier: Apache-2.0
"""Bounded queues: what the user asks for, and the entries of one that is not empty.

Deciding what happens at the bound is the business of the two places that have queues: a reactant's inbox (`inbox`), and
the sending side of a ganglion (`hub`, `endpoints`).
"""

from collections import deque

cdef extern from "Python.h":
    Py_ssize_t PY_SSIZE_T_MAX

POLICIES = ("block", "drop_oldest", "drop_newest", "reject", "latest")

# Messages that may wait for one reactant where nothing else is said.
DEFAULT_QUEUE_MESSAGES = 1000


cdef class Queue:
    """How much may wait, and what happens to one message more. Immutable.

    policy      "block"         the sender waits; a link is read no further
                "drop_oldest"   the oldest that waits makes room
                "drop_newest"   the new one is dropped
                "reject"        QueueFull is raised; from a link, where nobody could catch it, as "drop_newest"
                "latest"        one message for each key: a new one takes the place of the one that waits
    messages    the bound, in messages; None: no bound of this kind
    bytes       the bound, in encoded bytes; None: no bound of this kind. One message may go over it. Local messages,
                which are not encoded, count nothing
    key         for "latest": function of the value, whose result is hashable; default: the neuron. Where more than
                `messages` keys wait, the oldest makes room

    What is dropped is counted. Raises ValueError or TypeError that names the argument.
    """

    def __cinit__(self, policy="block", messages=None, bytes=None, key=None):
        if policy not in POLICIES:
            raise ValueError(f"policy: expected one of {', '.join(POLICIES)}, got {policy!r}")
        for argument, bound in (("messages", messages), ("bytes", bytes)):
            if bound is None:
                continue
            if isinstance(bound, bool) or not isinstance(bound, int):
                raise TypeError(f"{argument}: expected an int or None, got {bound!r}")
            if bound < 1:
                raise ValueError(f"{argument}: expected at least 1, got {bound}")
        if key is not None and policy != "latest":
            raise ValueError(f"key: only the policy 'latest' has one, not {policy!r}")
        if key is not None and not callable(key):
            raise TypeError(f"key: expected a function of the value, got {key!r}")
        if messages is None and bytes is None:
            messages = DEFAULT_QUEUE_MESSAGES
        self.policy = POLICIES[POLICIES.index(policy)]
        self.messages = messages
        self.bytes = bytes
        self.key = key
        self.rule = POLICIES.index(policy)
        self.most = PY_SSIZE_T_MAX if messages is None or messages > PY_SSIZE_T_MAX else messages
        self.most_bytes = <size_t>PY_SSIZE_T_MAX if bytes is None or bytes > PY_SSIZE_T_MAX else bytes

    cdef bint waits(self) noexcept:
        """Whether a full queue is told to the sender (to wait, or by an exception) instead of dropping."""
        return self.rule == BLOCK or self.rule == REJECT

    cdef object key_of(self, object data, object neuron):
        return neuron if self.key is None else self.key(data)

    def __eq__(self, other):
        if not isinstance(other, Queue):
            return NotImplemented
        return ((self.policy, self.messages, self.bytes, self.key)
                == (other.policy, other.messages, other.bytes, other.key))

    def __hash__(self):
        return hash((self.policy, self.messages, self.bytes, self.key))

    def __repr__(self):
        given = [repr(self.policy)]
        if self.messages is not None:
            given.append(f"messages={self.messages}")
        if self.bytes is not None:
            given.append(f"bytes={self.bytes}")
        if self.key is not None:
            given.append(f"key={self.key!r}")
        return f"Queue({', '.join(given)})"


def as_queue(given, argument, default):
    """A Queue from what a user gave for `argument`: a Queue, the name of a policy (with the default's bounds), or None.

    Raises TypeError or ValueError that names the argument.
    """
    if given is None:
        return default
    if isinstance(given, Queue):
        return given
    if isinstance(given, str):
        if given not in POLICIES:
            raise ValueError(f"{argument}: expected a Queue or one of {', '.join(POLICIES)}, got {given!r}")
        return Queue(given, default.messages, default.bytes)
    raise TypeError(f"{argument}: expected a Queue or the name of a policy, got {given!r}")


cdef class Waiting:
    """The entries of one queue: tuples that begin with their size in bytes."""

    def __cinit__(self, Queue queue):
        self.queue = queue
        self.entries = {} if queue.rule == LATEST else deque()

    cdef bint full(self, Py_ssize_t more_messages, size_t more_bytes) noexcept:
        """Whether, with what waits elsewhere, the bound is reached."""
        cdef Queue queue = self.queue
        return (self.count + more_messages >= queue.most
                or (self.bytes >= queue.most_bytes or more_bytes >= queue.most_bytes - self.bytes))

    cdef bint half_empty(self) noexcept:
        return self.count <= self.queue.most // 2 and self.bytes <= self.queue.most_bytes // 2

    cdef int append(self, tuple entry) except -1:
        self.entries.append(entry)
        self.count += 1
        self.bytes += <size_t>entry[0]
        return 0

    cdef tuple replace(self, object key, tuple entry):
        """For `latest`: in the place of the entry with this key, which is returned; else last, and None."""
        before = self.entries.get(key)
        self.entries[key] = entry
        self.bytes += <size_t>entry[0]
        if len(self.entries) > self.count:
            # New; or it was there, and a stream's reader in another thread took it while the key was hashed.
            self.count += 1
            return None
        self.bytes -= <size_t>(<tuple>before)[0]
        return before

    cdef tuple pop(self):
        """The oldest entry, which is removed."""
        cdef tuple entry
        if self.queue.rule == LATEST:
            # In the order in which the keys came: one that changes all the time does not fall back behind the others.
            entry = self.entries.pop(next(iter(self.entries)))
        else:
            entry = self.entries.popleft()
        self.count -= 1
        self.bytes -= <size_t>entry[0]
        return entry

    cdef list all(self):
        return list(self.entries.values() if self.queue.rule == LATEST else self.entries)

    cdef list clear(self):
        """All entries, which are removed."""
        entries = self.all()
        self.entries.clear()
        self.count = 0
        self.bytes = 0
        return entries
