# SPDX-License-Identifier: Apache-2.0
"""The sending half of multicast: sources, each with its window of packets, and the socket and the rate that they share.

A message is written into the window of its topic's source, which lays it out as packets, and keeps these for repairs after they
were sent. What goes out when is the business of `Turns`, as with every transport; here it is held back where the socket, the
rate or the window says so. The window does where all of it is either unsent or was asked for again a moment ago: so a source
waits for receivers that are behind, a while.
"""

from collections import deque

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.math cimport INFINITY
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from plexo._fast.books cimport Ledger
from plexo._fast.completion cimport Source
from plexo._fast.datagrams cimport DatagramWriter
from plexo._fast.endpoints cimport PubSynapse
from plexo._fast.load cimport Load
from plexo._fast.queues cimport Queue, Waiting
from plexo._fast.sending cimport Outlet
from plexo._fast.synapse cimport as_payload
from plexo._fast.transmit_window cimport TransmitWindow
from plexo._fast.turns cimport Turns, Waiters
from plexo._fast.wake cimport monotonic
from plexo.exceptions import MessageTooLarge, NeuronNotAvailable
from plexo.statistics import EMPTY_BOOK, LinkStats

# A burst may be as long as this at the given rate, or one run, whichever is more.
cdef double BURST_S = 2e-3
# The series of heartbeats begins anew with data; to be told this often is enough.
cdef double TELL_S = 0.01
# Where the network is away (no route, no interface): until the next attempt.
cdef double RETRY_S = 0.1
# Control datagrams that wait for the system. They are said again, so the oldest may go.
MAX_CONTROL_WAITING = 1024


cdef class MulticastHub(Turns):
    """What the sources of one ganglion share: `fd`, a UDP socket to send from, and the rate (bytes/s; 0: unlimited).

    owner._cannot_send(error) is told when the system refuses; owner._begin_source(synapse) has to make a Transmission.
    """

    def __init__(self, owner, topics, uint64_t max_message_bytes, Queue send_queue, int fd, uint16_t port,
                 double rate, alarms, key=None, double busy_poll_s=-1):
        Turns.__init__(self, owner, topics, max_message_bytes, send_queue, busy_poll_s)
        self.fd = fd
        self.port = port
        self.key = key
        self.alarms = alarms
        self.writer = DatagramWriter()
        self.rate = rate
        self.burst = max(rate * BURST_S, <double>(2 * MOST_RUN_BYTES))
        self.tokens = self.burst
        self.filled_at = monotonic()
        self.control = deque(maxlen=MAX_CONTROL_WAITING)
        self.stuck = []

    def attach(self, loop):
        cdef Transmission each
        self.detach()
        self.begin_serving(loop)
        for each in self.links:
            if each.queued_bytes() or each.backlog.count:
                self.now = monotonic()
                self.touch(each)

    def detach(self):
        """Off the event loop; those waiting to send belonged to it and are forgotten."""
        cdef Transmission each
        loop = self.loop
        if self.watching and loop is not None and not loop.is_closed():
            loop.remove_writer(self.fd)
        self.watching = False
        self.stuck = []
        self.end_serving()
        for each in self.links:
            each.writing = False
            each.synapse.waiting.forget()

    def forsake(self):
        """In a forked child: forget sources and loop without touching either."""
        self.forsake_turns()
        self.stuck = []
        self.control.clear()
        self.watching = False

    # -- rate ----------------------------------------------------------------------------------------------------

    cdef double allowance(self, double now) noexcept:
        """Bytes that may be sent now; not above zero: none."""
        if self.rate == 0:
            return INFINITY
        self.tokens = min(self.burst, self.tokens + self.rate * max(0.0, now - self.filled_at))
        self.filled_at = now
        return self.tokens

    cdef double allowed_at(self, double now) noexcept:
        """When a run may be sent; in whole milliseconds, as event loops wait: shorter ones would be no rest."""
        return now + max(1e-3, (<double>MOST_RUN_BYTES / 2 - self.tokens) / self.rate)

    cdef void spend(self, size_t size, size_t segment) noexcept:
        if self.rate != 0:
            self.tokens -= <double>(size + DATAGRAM_OVERHEAD * ((size + segment - 1) // segment))

    # -- the socket ----------------------------------------------------------------------------------------------

    def send_control(self, uint32_t host, uint16_t port, bytes datagram not None):
        """Send it at once, before what waits of data; with the key's MAC where there is a key."""
        if self.key is not None:
            datagram = self.key.sign(datagram)
        if self.control or not self.push_control(host, port, datagram):
            self.control.append((host, port, datagram))
            self.wait_for_socket(None)

    def push_control(self, uint32_t host, uint16_t port, bytes datagram not None):
        """Whether the system took it, or never will."""
        cdef size_t size = <size_t>len(datagram)
        try:
            if self.writer.send_run(self.fd, host, port, <const uint8_t *>PyBytes_AS_STRING(datagram), size, size) == 0:
                return False
        except OSError as error:
            self.owner._cannot_send(error)
        self.spend(size, size)
        return True

    cdef int wait_for_socket(self, Transmission outlet) except -1:
        if outlet is not None and outlet not in self.stuck:
            self.stuck.append(outlet)
        if not self.watching and self.loop is not None and not self.loop.is_closed():
            self.watching = True
            self.loop.add_writer(self.fd, self.on_writable)
        return 0

    def on_writable(self):
        cdef Transmission each
        if self.loop is None:
            return
        self.watching = False
        self.loop.remove_writer(self.fd)
        self.push_waiting()
        stuck, self.stuck = self.stuck, []
        for each in stuck:
            if each.open:
                each.writing = False
                each.flush()

    def push_waiting(self):
        """Control datagrams that wait; whether all of them are out."""
        while self.control:
            host, port, datagram = self.control[0]
            if not self.push_control(host, port, datagram):
                self.wait_for_socket(None)
                return False
            self.control.popleft()
        return True

    @property
    def waiting_messages(self):
        """Messages not accepted yet: their senders wait for room."""
        cdef Transmission each
        return sum([each.synapse.waiting.count() for each in self.links])

    def close(self, error):
        """No more sending: everybody who waits for room gets `error`."""
        cdef Transmission each
        for each in self.links:
            each.synapse.waiting.fail(error)


cdef class Transmission(Outlet):
    """One source: a topic's messages as packets of `window`, to `group`.

    `policy` says what else it has to say, and when; it acts through `alarms`, which call `on_alarm`.
    """

    def __init__(self, MulticastHub hub, MulticastSynapse synapse, TransmitWindow window, policy, tsi,
                 uint32_t group, str peer):
        self.hub = self.queues = hub
        self.synapse = synapse
        self.topic = synapse.topic
        self.window = window
        self.policy = policy
        self.tsi = tsi
        self.group = group
        self.peer = self.host = peer
        self.connection = self
        self.sending = Ledger.__new__(Ledger)
        self.backlog = Waiting.__new__(Waiting, hub.send_queue)
        self.pending = deque()
        self.alarm_at = INFINITY
        self.open = True
        hub.links.append(self)

    # -- the queue -----------------------------------------------------------------------------------------------

    cdef size_t queued_bytes(self) noexcept:
        return self.window.queued_bytes() + self.pending_bytes

    cdef Py_ssize_t queued_messages(self) noexcept:
        return self.window.queued_messages() + len(self.pending)

    cdef int census(self, dict counts) except -1:
        cdef Py_ssize_t count = self.queued_messages()
        if count:
            counts[self.topic] = counts.get(self.topic, 0) + count
        return 0

    cdef bint has_room(self) except -1:
        if self.pending or not self.window.has_room(0):
            # What is held may be free meanwhile.
            self.window.now = monotonic()
            if not self.writing:
                self.flush()
        return not self.pending and self.window.has_room(0) and Outlet.has_room(self)

    cdef int append(self, const uint8_t *data, size_t size, bytes payload) except -1:
        """A message that was accepted. `payload` has it too, or is None."""
        if not self.pending and self.window.append_message(
                <const uint8_t *>PyBytes_AS_STRING(self.topic), <size_t>len(self.topic), data, size):
            return 0
        if payload is None:
            payload = PyBytes_FromStringAndSize(<const char *>data, <Py_ssize_t>size)
        self.pending.append(payload)
        self.pending_bytes += size
        return 0

    cdef bint fill(self) except -1:
        """Into the window what had to wait for it; whether anything went."""
        cdef bytes payload
        cdef bint moved = False
        while self.pending:
            payload = self.pending[0]
            if not self.window.append_message(
                    <const uint8_t *>PyBytes_AS_STRING(self.topic), <size_t>len(self.topic),
                    <const uint8_t *>PyBytes_AS_STRING(payload), <size_t>len(payload)):
                break
            self.pending.popleft()
            self.pending_bytes -= <size_t>len(payload)
            moved = True
        return moved

    # -- sending -------------------------------------------------------------------------------------------------

    cdef int flush(self) except -1:
        cdef double now = monotonic()
        cdef bint blocked
        if not self.open:
            return 0
        self.window.now = now
        while True:
            self.fill()
            self.window.seal_open()
            blocked = self.send_runs(now)
            if blocked or not self.pending or not self.fill():
                break
        if not blocked and (self.pending or not self.window.has_room(0)):
            blocked = True
            self.arm(max(now + 1e-3, min(now + RETRY_S, self.window.room_at())))
        self.writing = blocked
        if self.backlog.told:
            self.tell_freed(False)
        if self.backlog.count and not self.refilling:
            self.refill()
        return self.synapse.waiting.admit()

    cdef bint send_runs(self, double now) except -1:
        """What is ready; whether there is more, for which somebody will call `flush`."""
        cdef const uint8_t *data
        cdef size_t segment = 0
        cdef size_t size
        cdef double allowed
        cdef Py_ssize_t taken
        cdef bint sent = False
        cdef bint blocked = False
        if self.hub.control:
            self.hub.push_waiting()
        while True:
            allowed = self.hub.allowance(now)
            size = self.window.next_run(&data, &segment, <size_t>max(0.0, min(allowed, <double>MOST_RUN_BYTES)))
            if size == 0:
                break
            if allowed <= 0:
                blocked = True
                self.arm(self.hub.allowed_at(now))
                break
            try:
                taken = self.hub.writer.send_run(self.hub.fd, self.group, self.hub.port, data, size, segment)
            except OSError as error:
                self.hub.owner._cannot_send(error)
                blocked = True
                self.arm(now + RETRY_S)
                break
            if taken == 0:
                blocked = True
                self.hub.wait_for_socket(self)
                break
            self.window.sent_run(<size_t>taken, now)
            self.hub.spend(<size_t>taken, segment)
            sent = True
        if sent:
            self.sent_at = now
            if now - self.told_at > TELL_S:
                self.told_at = now
                self.policy.data_sent(now)
                self.arm(self.policy.due())
        return blocked

    cdef int arm(self, double due) except -1:
        if due < self.alarm_at:
            self.hub.alarms.set(self, due)
        return 0

    def on_alarm(self, double now):
        """Say what is due, go on sending; returns when it is to be called again."""
        if not self.open:
            return INFINITY
        self.say(now)
        if self.writing and self not in self.hub.stuck:
            self.writing = False
            self.flush()
        return self.policy.due()

    def say(self, double now):
        """What the policy has to say now, to the group; what follows is said in its time."""
        for datagram in self.policy.take(now):
            self.hub.send_control(self.group, self.hub.port, datagram)
        self.arm(self.policy.due())

    def nak(self, packet, double now):
        """A receiver asks for packets: confirm, and repair."""
        cdef const uint8_t *data
        cdef size_t size = 0
        wanted = self.policy.nak(packet, now)
        self.say(now)
        for sqn in wanted:
            data = self.window.repair(sqn, &size, now)
            if data == NULL:
                continue
            try:
                if self.hub.writer.send_run(self.hub.fd, self.group, self.hub.port, data, size, size) == 0:
                    break  # it is asked for again
            except OSError as error:
                self.hub.owner._cannot_send(error)
                break
            self.hub.spend(size, size)

    def spmr(self, double now):
        """A receiver asks where the source is."""
        self.policy.spmr(now)
        self.say(now)

    def begin(self, double now):
        """Tell the group that there is this source."""
        self.policy.start(now)
        self.say(now)

    def move(self, uint32_t group, str name, str peer, double now):
        """From now on everything goes to another group."""
        self.group = group
        self.peer = self.host = peer
        self.policy.moved(name, now)
        self.say(now)

    def push_out(self):
        """Send what can be sent now; whether all of it is with the system."""
        if self.open:
            self.writing = False
            self.flush()
        return self.queued_bytes() == 0 and self.backlog.count == 0

    # -- books and end -------------------------------------------------------------------------------------------

    def stats(self):
        """LinkStats, with the group as the peer."""
        cdef uint64_t messages = 0
        cdef size_t size = 0
        if self.open:  # else what it has was dropped
            messages = <uint64_t>(self.queued_messages() + self.backlog.count)
            size = self.queued_bytes()
        self.sending.delivered = self.window.sent_messages
        return LinkStats(self.peer, EMPTY_BOOK, self.sending.book(messages), 0, self.window.sent_bytes, size)

    def end(self, cause):
        """Closed for good: what was not sent is dropped; how many messages that were."""
        cdef Py_ssize_t lost = 0
        if not self.open:
            return 0
        self.open = False
        if self.backlog.told:
            self.tell_freed(True)
        for _ in range(self.queued_messages()):
            self.queues.drop(self.synapse, self, cause)
            lost += 1
        for _, synapse, _ in self.backlog.clear():
            self.queues.drop(synapse, self, cause)
            lost += 1
        if self in self.hub.links:
            self.hub.links.remove(self)
        self.connection = None
        return lost


cdef class MulticastSynapse(PubSynapse):
    """One neuron on multicast; its source begins with the first message."""

    def __init__(self, neuron, owner, MulticastHub hub, Queue receive_queue):
        PubSynapse.__init__(self, neuron, owner, hub, receive_queue, Waiters.__new__(Waiters))

    cdef int begin(self) except -1:
        if len(self.subscribers) == 0:
            self.hub.here()
            self.hub.owner._begin_source(self)
        return 0

    @property
    def transmission(self):
        """Its source; None before the first message."""
        return self.subscribers[0] if self.subscribers else None

    cdef int lay_out(self, Source source, bytes payload) except -1:
        return (<Transmission>source).append(<const uint8_t *>PyBytes_AS_STRING(payload), <size_t>len(payload), payload)

    cdef int lay_out_many(self, Outlet outlet, Load load, Py_ssize_t start, Py_ssize_t count) except -1:
        cdef Transmission transmission = <Transmission>outlet
        cdef Py_ssize_t i
        for i in range(start, start + count):
            transmission.append(load.data(i), load.size(i), None)
        return 0

    cdef int check(self, size_t size) except -1:
        cdef size_t most = self.hub.max_frame_bytes
        if self.subscribers:
            most = min(most, (<Transmission>self.subscribers[0]).window.largest_message(<size_t>len(self.topic)))
        if size > most:
            self.hub.owner._too_large(self, size, most)
        return 0

    cpdef bint wanted_outside(self):
        """Nobody knows who listens to a group."""
        return True

    cpdef object send(self, object payload, object data=None):
        self.begin()
        return PubSynapse.send(self, payload, data)

    cdef object send_many(self, Load load, Py_ssize_t start):
        self.begin()
        return PubSynapse.send_many(self, load, start)

    cpdef int forward(self, object payload, Source source) except -1:
        cdef bytes wire = as_payload(payload)
        try:
            self.begin()
            self.check(<size_t>len(wire))
        except (MessageTooLarge, NeuronNotAvailable) as error:
            # Nobody is there to be told, and who else the message is for gets it.
            self.hub.owner._not_forwarded(self, error)
            return 0
        return PubSynapse.forward(self, wire, source)
