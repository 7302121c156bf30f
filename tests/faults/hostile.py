# SPDX-License-Identifier: Apache-2.0
"""Peers that speak ZMTP badly, in callbacks of the test's loop.

`Caller` dials a bound socket, `Impostor` is what a dialling side finds instead of its peer. Both say their words and
then listen to whatever comes (a deaf one: to nothing), without an answer, until they are closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket

from plexo._fast.envelope import build_envelope
from tests.faults.proxy import HOST
from tests.faults.truth import NEURONS
from tests.support import GREETING, frame, ready

READ_BYTES = 65536


class Hostile:
    """One connection: words out, ears open unless it is deaf."""

    def __init__(self, connection: socket.socket, words: bytes, deaf: bool = False) -> None:
        self._loop = asyncio.get_running_loop()
        self._socket = connection
        self._words = words
        self.received_bytes = 0
        self.closed = False
        connection.setblocking(False)
        self._loop.add_writer(connection.fileno(), self._writable)
        if not deaf:
            self._loop.add_reader(connection.fileno(), self._readable)

    def _writable(self) -> None:
        try:
            self._words = self._words[self._socket.send(self._words) :]
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        if not self._words:
            self._loop.remove_writer(self._socket.fileno())

    def _readable(self) -> None:
        # To the end: uvloop tells of a reset only once, together with the last bytes.
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


class Caller(Hostile):
    """Dials a port."""

    def __init__(self, port: int, words: bytes, deaf: bool = False) -> None:
        dialling = socket.socket()
        dialling.setblocking(False)
        dialling.connect_ex((HOST, port))
        super().__init__(dialling, words, deaf)


class Impostor:
    """Listens where a peer is expected; every caller hears the words."""

    def __init__(self, words: bytes) -> None:
        self._loop = asyncio.get_running_loop()
        self._words = words
        self._hostiles: list[Hostile] = []
        self._socket = socket.socket()
        self._socket.bind((HOST, 0))
        self._socket.listen(16)
        self._socket.setblocking(False)
        self.port: int = self._socket.getsockname()[1]
        self._loop.add_reader(self._socket.fileno(), self._acceptable)

    def _acceptable(self) -> None:
        with contextlib.suppress(OSError):
            accepted, _ = self._socket.accept()
            self._hostiles.append(Hostile(accepted, self._words))

    def close(self) -> None:
        if self._socket.fileno() < 0:
            return
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()
        for hostile in self._hostiles:
            hostile.close()


# -- what they say -------------------------------------------------------------------------------------------


def bad_words(rng: random.Random, role: bytes) -> bytes:
    """A greeting that is none, or a good one and then bad messages; role: b"PAIR", b"PUB" or b"SUB"."""
    if rng.random() < 0.3:
        return rng.choice(
            [
                b"GET / HTTP/1.1\r\n\r\n",
                b"\xff\0\0\0\0\0\0\0\x01\x7f\x01",
                rng.randbytes(100),
                GREETING[: rng.randrange(64)],
                GREETING + frame(b"\x05READY\xff\xff", 4),
                GREETING + frame(b"\x05HELLO", 4),
                GREETING + ready(b"REQ"),
                GREETING + ready(role)[:-1],
            ]
        )
    said = GREETING + ready(role)
    if role == b"SUB" and rng.random() < 0.5:
        said += frame(b"\x09SUBSCRIBE", 4)
    return said + b"".join(_bad_frames(rng, role) for _ in range(rng.randint(1, 5)))


def _bad_frames(rng: random.Random, role: bytes) -> bytes:
    topic = rng.choice(NEURONS).topic
    anywhere = [
        frame(b"\x04WHAT", 4),
        frame(b"\x04PING\x00\x0a", 4),
        frame(b"\x04PING\x00\x0a" + bytes(40), 4),
        frame(b"", 4),
        b"\x80\x00",
        b"\x06" + bytes(8),
        b"\x02" + (1 << 40).to_bytes(8, "big"),
        b"\x02" + (1 << 63).to_bytes(8, "big"),
        frame(rng.randbytes(50))[: rng.randrange(1, 50)],
    ]
    if role == b"PAIR":
        messages = [
            frame(b""),
            frame(rng.randbytes(rng.randrange(200))),
            frame(topic, 1) + frame(b"second part"),
            frame(build_envelope(b"org.brewery.nobody", b"x")),
            frame(build_envelope(topic, b"\xc1")),
            frame(build_envelope(topic, rng.randbytes(20))),
            frame(build_envelope(topic, b"\x93\x01\x02")),
        ]
    elif role == b"PUB":
        messages = [
            frame(topic),
            frame(b""),
            frame(topic, 1) + frame(b"\xc1"),
            frame(topic, 1) + frame(b"", 1) + frame(b""),
            frame(topic, 1) + frame(b"\x04PING\x00\x0a", 4),
            frame(b"org.brewery.nobody", 1) + frame(b"x"),
            frame(topic + b"!", 1) + frame(rng.randbytes(20)),
        ]
    else:
        messages = [
            frame(b"\x01" + topic),
            frame(b"\x00" + topic),
            frame(b"\x05neither"),
            frame(b""),
            frame(b"\x01", 1) + frame(b"more"),
            frame(b"\x09SUBSCRIBE" + topic, 4),
            frame(b"\x06CANCEL" + topic, 4),
            frame(b"\x06CANCELnever", 4),
        ]
    return rng.choice(messages if rng.random() < 0.7 else anywhere)
