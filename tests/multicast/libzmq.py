# SPDX-License-Identifier: Apache-2.0
"""libzmq with OpenPGM as the system has it (Debian: libzmq5), by ctypes: the stranger of these tests.

pyzmq's wheels bring a libzmq of their own, without PGM. Only what the tests need is here: PUB and SUB on epgm.
"""

from __future__ import annotations

import ctypes
import errno
import functools
from collections.abc import Sequence
from types import TracebackType
from typing import Any

LIBRARY = "libzmq.so.5"

PUB, SUB = 1, 2
_SNDMORE = 2
_INT_OPTIONS = {
    "rate_kbit": 8,
    "recovery_ms": 9,
    "send_buffer": 11,
    "receive_buffer": 12,
    "linger_ms": 17,
    "send_hwm": 23,
    "receive_hwm": 24,
    "hops": 25,
    "receive_timeout_ms": 27,
    "max_tpdu": 84,
}
_SUBSCRIBE, _RCVMORE = 6, 13


class ZmqError(OSError):
    """What libzmq says."""


@functools.cache
def _library() -> Any:
    library = ctypes.CDLL(LIBRARY, use_errno=True)
    pointer = ctypes.c_void_p
    for name, result, arguments in (
        ("zmq_ctx_new", pointer, ()),
        ("zmq_ctx_term", ctypes.c_int, (pointer,)),
        ("zmq_socket", pointer, (pointer, ctypes.c_int)),
        ("zmq_close", ctypes.c_int, (pointer,)),
        ("zmq_connect", ctypes.c_int, (pointer, ctypes.c_char_p)),
        ("zmq_setsockopt", ctypes.c_int, (pointer, ctypes.c_int, pointer, ctypes.c_size_t)),
        ("zmq_getsockopt", ctypes.c_int, (pointer, ctypes.c_int, pointer, pointer)),
        ("zmq_send", ctypes.c_int, (pointer, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int)),
        ("zmq_msg_init", ctypes.c_int, (pointer,)),
        ("zmq_msg_recv", ctypes.c_int, (pointer, pointer, ctypes.c_int)),
        ("zmq_msg_data", pointer, (pointer,)),
        ("zmq_msg_size", ctypes.c_size_t, (pointer,)),
        ("zmq_msg_more", ctypes.c_int, (pointer,)),
        ("zmq_msg_close", ctypes.c_int, (pointer,)),
        ("zmq_has", ctypes.c_int, (ctypes.c_char_p,)),
        ("zmq_strerror", ctypes.c_char_p, (ctypes.c_int,)),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def trouble() -> str:
    """Why there is no peer to be had; empty: there is one."""
    try:
        library = _library()
    except OSError as error:
        return f"{LIBRARY} is missing (package libzmq5): {error}"
    return "" if library.zmq_has(b"pgm") else f"{LIBRARY} is built without PGM"


def _check(result: Any) -> Any:
    if result is None or result == -1:
        number = ctypes.get_errno()
        raise ZmqError(number, _library().zmq_strerror(number).decode())
    return result


class Socket:
    """A PUB or SUB socket with a context of its own. Options: rate_kbit, recovery_ms, send_buffer, receive_buffer,
    send_hwm, receive_hwm, linger_ms, hops, max_tpdu, receive_timeout_ms."""

    def __init__(self, kind: int, **options: int) -> None:
        self._library = _library()
        self._context = _check(self._library.zmq_ctx_new())
        self._socket = _check(self._library.zmq_socket(self._context, kind))
        self._message = ctypes.create_string_buffer(64)
        for name, value in options.items():
            self._set(_INT_OPTIONS[name], ctypes.c_int(value))
        if kind == SUB:
            _check(self._library.zmq_setsockopt(self._socket, _SUBSCRIBE, b"", 0))

    def _set(self, option: int, value: Any) -> None:
        _check(self._library.zmq_setsockopt(self._socket, option, ctypes.byref(value), ctypes.sizeof(value)))

    def connect(self, interface: str, group: str, port: int) -> None:
        _check(self._library.zmq_connect(self._socket, f"epgm://{interface};{group}:{port}".encode()))

    def send(self, parts: Sequence[bytes]) -> None:
        """One message of such parts."""
        for i, part in enumerate(parts):
            flags = _SNDMORE if i + 1 < len(parts) else 0
            _check(self._library.zmq_send(self._socket, part, len(part), flags))

    def receive(self) -> list[bytes] | None:
        """The parts of the next message; None: nothing came within receive_timeout_ms."""
        parts = []
        library, message = self._library, self._message
        while True:
            library.zmq_msg_init(message)
            try:
                if library.zmq_msg_recv(message, self._socket, 0) < 0:
                    if ctypes.get_errno() in (errno.EAGAIN, errno.EINTR):
                        return None
                    _check(-1)
                parts.append(ctypes.string_at(library.zmq_msg_data(message), library.zmq_msg_size(message)))
                if not library.zmq_msg_more(message):
                    return parts
            finally:
                library.zmq_msg_close(message)

    def close(self) -> None:
        """What is queued is sent for linger_ms yet."""
        if self._socket:
            self._library.zmq_close(self._socket)
            self._library.zmq_ctx_term(self._context)
            self._socket = None

    def __enter__(self) -> Socket:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
