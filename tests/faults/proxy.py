# SPDX-License-Identifier: Apache-2.0
"""A TCP proxy that does to a connection what networks and crashing machines do.

Everything runs in callbacks of one event loop: no task, no thread, and after `close` no socket. Chance comes from the
`random.Random` that is passed in. Each accepted connection and the one made for it to the target are a `Wire`, and each
direction of it is a `Flow`:

    cut         a reset (what a crashing process leaves), or an orderly FIN in the midst of whatever was being said
    stall       nothing is read any more, so TCP's window closes; `resume` goes on without loss
    split       the next n pieces are 1 to k bytes long, each in a turn of the loop of its own
    delay       what arrives is held back for so long
    half_close  one direction ends with a FIN, the other goes on
    duplicate   a second connection that introduces itself with the same bytes: a peer that connects twice
    black_hole  what is sent vanishes and nobody is told: a machine without power

and for the whole proxy `refuse`/`accept` (nobody listens on the port, which stays ours). `heal` ends all of these;
wires that have lost bytes are reset then, since nothing can mend them.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import random
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterable
from types import TracebackType

HOST = "127.0.0.1"
READ_BYTES = 65536
# What a flow holds for its sink before it stops reading: little, so that back-pressure comes through.
HOLD_BYTES = 65536
# As much of what the client says first is remembered for `duplicate`.
PROLOGUE_BYTES = 4096
GREETING_BYTES = 64
NARROW_SEGMENT_BYTES = 536
NARROW_BUFFER_BYTES = 8192
RESET_ON_CLOSE = struct.pack("ii", 1, 0)

Loop = asyncio.AbstractEventLoop


class Flow:
    """One direction of a wire."""

    def __init__(self, wire: Wire, source: socket.socket, sink: socket.socket) -> None:
        self._wire = wire
        self._source = source
        self._sink = sink
        self.forwarded_bytes = 0
        self.stalled = False
        self.delay_s = 0.0
        self._pieces = 0
        self._largest_piece = 1
        self._held: deque[tuple[float, bytes]] = deque()
        self._held_bytes = 0
        # The source has ended; the sink has been told.
        self._ended = False
        self._told = False
        self._reading = False
        self._writing = False
        self._timer: asyncio.TimerHandle | asyncio.Handle | None = None

    # -- faults ------------------------------------------------------------------------------------------------

    def stall(self) -> None:
        """Neither read nor write; the sender's window closes."""
        self.stalled = True
        self.go_on()

    def resume(self) -> None:
        self.stalled = False
        self.go_on()

    def split(self, largest: int, pieces: int) -> None:
        """Forward the next `pieces` pieces with 1 to `largest` bytes each."""
        self._largest_piece = largest
        self._pieces = pieces

    def delay(self, seconds: float) -> None:
        """Hold back what arrives from now on; order is kept."""
        self.delay_s = seconds

    def half_close(self) -> None:
        """Tell the sink that this was all, and the source nothing. The wire cannot be mended."""
        self._wire.doomed = True
        self._forget()
        self._ended = True
        self.go_on()

    def calm(self) -> None:
        """No fault any more; what is held goes out at once."""
        self.stalled = False
        self.delay_s = 0.0
        self._pieces = 0
        self._held = deque((0.0, data) for _, data in self._held)
        self.go_on()

    # -- bytes -------------------------------------------------------------------------------------------------

    def _readable(self) -> None:
        # To the end: uvloop tells of a reset only once, together with the last bytes.
        while not (self._ended or self.stalled or self._held_bytes >= HOLD_BYTES or self._wire.closed):
            try:
                data = self._source.recv(READ_BYTES)
            except BlockingIOError:
                break
            except OSError:
                self._wire.broken()
                return
            self._take(data)
        self.go_on()

    def _take(self, data: bytes) -> None:
        if not data:
            self._ended = True
            return
        wire = self._wire
        if self is wire.up:
            wire.remember(data)
        if not (wire.lost_power or wire.ending):
            due = wire.loop.time() + self.delay_s if self.delay_s else 0.0
            if self._held:
                due = max(due, self._held[-1][0])
            self._held.append((due, data))
            self._held_bytes += len(data)

    def go_on(self) -> None:
        """Send what is due, then wait for whatever comes next."""
        wire = self._wire
        if wire.closed or not wire.connected:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        blocked = False
        while self._held and not self.stalled and not blocked and self._timer is None:
            due, data = self._held[0]
            if due > wire.loop.time():
                self._timer = wire.loop.call_at(due, self.go_on)
                break
            size = len(data)
            if self._pieces:
                size = min(size, wire.proxy.rng.randint(1, self._largest_piece))
            try:
                sent = self._sink.send(data[:size])
            except BlockingIOError:
                blocked = True
                break
            except OSError:
                wire.broken()
                return
            self.forwarded_bytes += sent
            self._held_bytes -= sent
            if sent < len(data):
                self._held[0] = (due, data[sent:])
            else:
                self._held.popleft()
            if self._pieces:
                self._pieces -= 1
                self._timer = wire.loop.call_soon(self._after_the_receiver)
        if self._ended and not self._held and not self._told and not wire.lost_power:
            self._told = True
            with contextlib.suppress(OSError):
                self._sink.shutdown(socket.SHUT_WR)
        self._watch(not self._ended and not self.stalled and self._held_bytes < HOLD_BYTES, blocked)
        wire.flow_ended()

    def _after_the_receiver(self) -> None:
        """Callbacks of sockets run after those that were queued: only one turn later the receiver has had its piece."""
        self._timer = self._wire.loop.call_soon(self.go_on)

    def _watch(self, reading: bool, writing: bool) -> None:
        loop = self._wire.loop
        if reading != self._reading:
            self._reading = reading
            if reading:
                loop.add_reader(self._source.fileno(), self._readable)
            else:
                loop.remove_reader(self._source.fileno())
        if writing != self._writing:
            self._writing = writing
            if writing:
                loop.add_writer(self._sink.fileno(), self.go_on)
            else:
                loop.remove_writer(self._sink.fileno())

    def _forget(self) -> None:
        self._held.clear()
        self._held_bytes = 0

    @property
    def done(self) -> bool:
        return self._ended and not self._held

    def end_orderly(self) -> None:
        """A FIN now; what still arrives is read and thrown away, for unread bytes would make it a reset."""
        self._forget()
        self.stalled = False
        if not self._told:
            self._told = True
            with contextlib.suppress(OSError):
                self._sink.shutdown(socket.SHUT_WR)
        self.go_on()

    def lose_power(self) -> None:
        self._forget()
        self.stalled = False
        self.go_on()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._watch(False, False)
        self._forget()


class Wire:
    """A client's connection and the one to the target that was made for it."""

    def __init__(self, proxy: Proxy, client: socket.socket) -> None:
        self.proxy = proxy
        assert proxy.loop is not None
        self.loop: Loop = proxy.loop
        self.client = client
        self.target, self._refused = proxy.dial()
        self.up = Flow(self, client, self.target)
        self.down = Flow(self, self.target, client)
        self.prologue = b""
        self.connected = False
        self.closed = False
        # Bytes were lost, or one direction has ended: healing means resetting it.
        self.doomed = False
        self.lost_power = False
        self.ending = False
        for each in (client, self.target):
            each.setblocking(False)
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.loop.add_writer(self.target.fileno(), self._dialled)

    @property
    def flows(self) -> tuple[Flow, Flow]:
        return self.up, self.down

    @property
    def troubled(self) -> bool:
        """Whether something that is said now may not arrive soon."""
        return self.doomed or self.up.stalled or self.down.stalled

    def _dialled(self) -> None:
        self.loop.remove_writer(self.target.fileno())
        if self._refused or self.target.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.cut()
            return
        self.connected = True
        for flow in self.flows:
            flow.go_on()

    def remember(self, data: bytes) -> None:
        if len(self.prologue) < PROLOGUE_BYTES:
            self.prologue += data

    def flow_ended(self) -> None:
        if self.up.done and self.down.done and not self.closed and not self.lost_power:
            self.cut(reset=False, at_once=True)

    def broken(self) -> None:
        """A reset from one side goes on to the other, unless the other has no power to get it."""
        if self.lost_power:
            for flow in self.flows:
                flow.stop()
        else:
            self.cut()

    def cut(self, reset: bool = True, at_once: bool = False) -> None:
        """End both directions: a reset, or FINs (orderly, though in the midst of a message perhaps)."""
        if self.closed:
            return
        if not reset and not at_once and self.connected:
            self.ending = self.doomed = True
            self.lost_power = False
            for flow in self.flows:
                flow.end_orderly()
            return
        if not self.connected:
            self.loop.remove_writer(self.target.fileno())
        for flow in self.flows:
            flow.stop()
        self.closed = True
        for each in (self.client, self.target):
            if reset:
                with contextlib.suppress(OSError):
                    each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            each.close()
        self.proxy.wires.remove(self)

    def black_hole(self) -> None:
        """Whatever is sent from now on vanishes; neither side is told anything, not even of the other's end."""
        self.lost_power = self.doomed = True
        for flow in self.flows:
            flow.lose_power()

    def duplicate(self) -> Double:
        """A second connection to the target, which hears the same introduction (hand-shake, subscriptions)."""
        return Double(self.proxy, introduction(self.prologue))

    def heal(self) -> None:
        if self.doomed:
            self.cut()
        else:
            for flow in self.flows:
                if not self.closed:
                    flow.calm()


class Double:
    """A connection that says its introduction and then only listens."""

    def __init__(self, proxy: Proxy, words: bytes) -> None:
        assert proxy.loop is not None
        self._proxy = proxy
        self._loop: Loop = proxy.loop
        self._words = words
        self._socket, _ = proxy.dial()
        self.received_bytes = 0
        self.closed = False
        self._loop.add_writer(self._socket.fileno(), self._writable)
        proxy.doubles.append(self)

    def _writable(self) -> None:
        if not self._words:
            self._loop.remove_writer(self._socket.fileno())
            self._loop.add_reader(self._socket.fileno(), self._readable)
            return
        try:
            self._words = self._words[self._socket.send(self._words) :]
        except BlockingIOError:
            return
        except OSError:
            self.close()

    def _readable(self) -> None:
        while not self.closed:
            try:
                data = self._socket.recv(READ_BYTES)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            self.received_bytes += len(data)
            if not data:
                self.close()

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._loop.remove_writer(self._socket.fileno())
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()
            self._proxy.doubles.remove(self)


class Proxy:
    """Listens on a free port of 127.0.0.1 and joins whoever connects to the port `target`, or to `detour` while that is
    set; both may be changed at any time. With `narrow`, the kernel holds some 50 KB of a connection where it would hold
    4 MB otherwise, so that little data is enough to feel a stall.
    """

    def __init__(self, rng: random.Random, target: int = 0, narrow: bool = False) -> None:
        self.rng = rng
        self.target = target
        self.detour: int | None = None
        self.narrow = narrow
        self.loop: Loop | None = None
        self.wires: list[Wire] = []
        self.doubles: list[Double] = []
        self.accepted = 0
        # Done to each new wire, before its first byte.
        self.on_wire: list[Callable[[Wire], None]] = []
        # Bound and not listening: keeps the port for us while nobody listens on it.
        self._home = _bound(0, narrow)
        self.port: int = self._home.getsockname()[1]
        self.endpoint = f"tcp://{HOST}:{self.port}"
        self._listening: socket.socket | None = None

    def start(self) -> None:
        """Serve from the running loop."""
        self.loop = asyncio.get_running_loop()
        self.accept()

    def _acceptable(self) -> None:
        while self._listening is not None:
            try:
                client, _ = self._listening.accept()
            except BlockingIOError:
                return
            except OSError:
                continue
            self.accepted += 1
            wire = Wire(self, client)
            self.wires.append(wire)
            for fault in self.on_wire:
                fault(wire)

    def dial(self) -> tuple[socket.socket, bool]:
        """A socket on its way to whom this leads to, and whether it was refused at once."""
        dialling = _socket(self.narrow)
        port = self.target if self.detour is None else self.detour
        return dialling, dialling.connect_ex((HOST, port)) not in (0, errno.EINPROGRESS)

    # -- faults ------------------------------------------------------------------------------------------------

    def refuse(self) -> None:
        """Nobody listens: connecting is refused. The port stays ours."""
        self._ignore()
        if self._listening is not None:
            self._listening.close()
            self._listening = None

    def accept(self) -> None:
        """Listen (again)."""
        assert self.loop is not None
        if self._listening is None:
            self._listening = _bound(self.port, self.narrow)
            self._listening.listen(128)
        self.loop.add_reader(self._listening.fileno(), self._acceptable)

    def cut(self, reset: bool = True) -> None:
        """Cut every wire."""
        for wire in list(self.wires):
            wire.cut(reset)

    def black_hole(self) -> None:
        """Every wire leads nowhere. Who connects now gets the kernel's answer and then silence until `heal`."""
        self._ignore()
        for wire in list(self.wires):
            wire.black_hole()

    def heal(self) -> None:
        """No fault any more; wires that are past mending are reset, doubles leave."""
        self.detour = None
        self.on_wire.clear()
        for wire in list(self.wires):
            wire.heal()
        for double in list(self.doubles):
            double.close()
        self.accept()

    def _ignore(self) -> None:
        if self._listening is not None and self.loop is not None:
            self.loop.remove_reader(self._listening.fileno())

    # -- end ---------------------------------------------------------------------------------------------------

    def close(self) -> None:
        self.on_wire.clear()
        self.refuse()
        self._home.close()
        for wire in list(self.wires):
            wire.cut()
        for double in list(self.doubles):
            double.close()

    async def __aenter__(self) -> Proxy:
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def introduction(said: bytes) -> bytes:
    """The greeting and the commands (READY, SUBSCRIBE) that a ZMTP client began with, as whole frames."""
    position = GREETING_BYTES
    for size in _command_sizes(said):
        position += size
    return said[:position]


def _command_sizes(said: bytes) -> Iterable[int]:
    position = GREETING_BYTES
    while position + 2 <= len(said) and said[position] & 4:
        if said[position] & 2:
            size = 9 + int.from_bytes(said[position + 1 : position + 9], "big")
        else:
            size = 2 + said[position + 1]
        position += size
        if position > len(said):
            return
        yield size


def _bound(port: int, narrow: bool) -> socket.socket:
    bound = _socket(narrow)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind((HOST, port))
    return bound


def _socket(narrow: bool) -> socket.socket:
    made = socket.socket()
    made.setblocking(False)
    if narrow:
        # The peer's send buffer follows the segment size that it is told, and both are told before they connect.
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, NARROW_SEGMENT_BYTES)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, NARROW_BUFFER_BYTES)
    return made
