# SPDX-License-Identifier: Apache-2.0
"""Sides of a scenario that are not ours: libzmq, as a pair's peer, and as publisher and subscriber.

Its sockets live in the scenario's event loop and are polled there: their descriptor tells only half of what happens.
"""

from __future__ import annotations

import asyncio
from typing import Any

import zmq

from plexo import Neuron, Queue
from plexo._fast.envelope import build_envelope
from tests.faults.proxy import HOST
from tests.faults.sides import AnyGanglion, Joint, Life, Side
from tests.faults.truth import HEARD_BY, Item, Listener
from tests.reference.envelope import parse_envelope

POLL_S = 0.001
RECEIVES_PER_POLL = 200
RECONNECT_IVL_MS = 3
RECONNECT_IVL_MAX_MS = 20
QUEUE_MESSAGES = 50


class ZmqLife(Life):
    """One run of a program that uses pyzmq."""

    is_stranger = True

    def __init__(self, side: Side) -> None:
        self.side = side
        self.arguments = [{"send_queue": None, "receive_queue": None}]
        self.ganglia: list[AnyGanglion] = []
        self.plexus = None
        self.place = None
        self.speakers = []
        self.listeners: list[Listener] = []
        self.removed = []
        self.speaking = set()
        self.over = False
        self.looked_at = False
        self.always_wanted = set()
        self._neurons = {neuron.topic: neuron for neuron in HEARD_BY[side.name]}
        self._context = zmq.Context(io_threads=1)
        self._timer: asyncio.TimerHandle | None = None
        # Who waits to send does so in the order of asking.
        self._sending = asyncio.Lock()
        ((self._joint, binds),) = side.ends
        self._open(self._joint, binds)

    def ganglia_of(self, joint: Joint) -> list[AnyGanglion]:
        return []

    # -- sockets -------------------------------------------------------------------------------------------------

    def _socket(self, kind: int) -> zmq.Socket[bytes]:
        made = self._context.socket(kind)
        made.linger = 0
        made.reconnect_ivl = RECONNECT_IVL_MS
        made.reconnect_ivl_max = RECONNECT_IVL_MAX_MS
        made.sndhwm = made.rcvhwm = QUEUE_MESSAGES
        return made

    def _open(self, joint: Joint, binds: bool) -> None:
        if joint.kind == "pair":
            self._in = self._out = self._socket(zmq.PAIR)
            if binds:
                joint.to_binder.target = self._in.bind_to_random_port(f"tcp://{HOST}")
            else:
                self._in.connect(joint.to_binder.endpoint)
            return
        assert joint.to_dialler is not None
        here, there = (joint.to_binder, joint.to_dialler) if binds else (joint.to_dialler, joint.to_binder)
        self._out = self._socket(zmq.PUB)
        here.target = self._out.bind_to_random_port(f"tcp://{HOST}")
        self._in = self._socket(zmq.SUB)
        self._in.connect(there.endpoint)

    async def start(self) -> None:
        self._poll()

    def _poll(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(POLL_S, self._poll)
        for _ in range(RECEIVES_PER_POLL):
            if any(listener.paused for listener in self.listeners):
                # libzmq does what is due (of a connection that has ended, for one) only when it is called.
                self._in.getsockopt(zmq.EVENTS)
                return
            try:
                parts = self._in.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            topic, payload = parse_envelope(parts[0]) if len(parts) == 1 else parts
            neuron = self._neurons[topic]
            item = neuron.decode(payload)
            for listener in self.listeners:
                if listener.neuron == neuron:
                    # A plain function of this program: what it raises is its own affair.
                    listener.failures_to_come = 0
                    listener.take(item)

    # -- what the scenario does with it --------------------------------------------------------------------------

    async def listen(self, listener: Listener, queue: Queue | None) -> None:
        listener.is_plain = False
        self.listeners.append(listener)
        if self._joint.kind == "pubsub":
            self._in.subscribe(listener.neuron.topic)

    async def stop_listening(self, listener: Listener) -> None:
        self.listeners.remove(listener)
        self.removed.append(listener)
        if self._joint.kind == "pubsub":
            self._in.unsubscribe(listener.neuron.topic)

    async def transmit(self, data: Item, neuron: Neuron[Item]) -> Any:
        payload = bytes(neuron.encode(data))  # type: ignore[arg-type]
        pair = self._joint.kind == "pair"
        parts = [build_envelope(neuron.topic, payload)] if pair else [neuron.topic, payload]
        async with self._sending:
            while not self.over:
                try:
                    self._out.send_multipart(parts, zmq.NOBLOCK)
                except zmq.Again:
                    await asyncio.sleep(POLL_S)
                else:
                    return 1
        raise asyncio.CancelledError

    async def end(self) -> None:
        self.over = True
        if self._timer is not None:
            self._timer.cancel()
        for task in self.speaking:
            task.cancel()
        if self.speaking:
            await asyncio.wait(list(self.speaking), timeout=5)
        self._in.close(0)
        self._out.close(0)
        self._context.term()
