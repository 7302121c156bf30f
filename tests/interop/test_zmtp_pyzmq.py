# SPDX-License-Identifier: Apache-2.0
"""Our ZMTP against libzmq over loopback TCP; also pins what libzmq does on the wire."""

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from plexo._proto import zmtp
from plexo._proto.errors import Reason, WireError
from plexo._proto.zmtp import Established, Handshake, SocketType

zmq = pytest.importorskip("zmq")
ZmqSocket = Any  # pyzmq may be absent: its types are not for annotations here

TIMEOUT_S = 5.0
SILENCE_S = 0.2  # how long nothing must come, where the point is that nothing comes
PARTNER = {
    SocketType.PAIR: SocketType.PAIR,
    SocketType.PUB: SocketType.SUB,
    SocketType.SUB: SocketType.PUB,
    SocketType.XPUB: SocketType.XSUB,
    SocketType.XSUB: SocketType.XPUB,
}


class Link:
    """Our end: a blocking socket, the handshake core, and a plain frame reader of its own."""

    def __init__(self, sock: socket.socket, ours: SocketType, *, minor: int = 1, cut: int = 65536) -> None:
        self.sock = sock
        self.minor = minor
        self.cut = cut
        self.core = Handshake(ours)
        self.pending = b""

    def shake(self) -> Established:
        while True:
            out = self.core.data_to_send()
            if out[:1] == b"\xff":
                out = out[:11] + bytes((self.minor,)) + out[12:]
            self.sock.sendall(out)
            data = self.sock.recv(self.cut)
            if not data:
                self.core.receive_eof()
            result = self.core.receive_data(data)
            if result is not None:
                self.sock.sendall(self.core.data_to_send())
                self.pending = result.trailing
                return result

    def exactly(self, size: int) -> bytes:
        while len(self.pending) < size:
            data = self.sock.recv(65536)
            if not data:
                raise EOFError(self.pending)
            self.pending += data
        taken, self.pending = self.pending[:size], self.pending[size:]
        return taken

    def frame(self) -> tuple[int, bytes]:
        flags = self.exactly(1)[0]
        size = int.from_bytes(self.exactly(8 if flags & zmtp.Flag.LONG else 1), "big")
        return flags, self.exactly(size)

    def command(self) -> zmtp.Command:
        flags, body = self.frame()
        assert flags & zmtp.Flag.COMMAND
        return zmtp.parse_command(body)

    def attach(self, sock: ZmqSocket) -> None:
        """Return when a libzmq SUB or XSUB has taken the link up, which it does in its user's thread only."""
        if sock.type == zmq.SUB:
            sock.subscribe(b"attach")
        else:
            sock.send(b"\x01attach")
        self.sock.settimeout(0.02)
        for _ in range(int(TIMEOUT_S / 0.02)):
            sock.poll(1)
            try:
                self.pending += self.sock.recv(65536)
                break
            except TimeoutError:
                continue
        self.sock.settimeout(TIMEOUT_S)
        assert self.frame()[1].endswith(b"attach")

    def silent(self) -> bool:
        self.sock.settimeout(SILENCE_S)
        try:
            return not self.pending and not self.sock.recv(1)
        except TimeoutError:
            return True
        finally:
            self.sock.settimeout(TIMEOUT_S)


class Stranger:
    """The libzmq end, and how to link to it from either side."""

    def __init__(self, context: Any) -> None:
        self.context = context
        self.ours: list[socket.socket] = []
        self.theirs: list[ZmqSocket] = []  # pyzmq closes what nobody refers to

    def new(self, kind: SocketType, **options: int) -> ZmqSocket:
        sock = self.context.socket(getattr(zmq, kind.name))
        self.theirs.append(sock)
        sock.linger = 0
        sock.rcvtimeo = sock.sndtimeo = int(TIMEOUT_S * 1000)
        for name, value in options.items():
            sock.setsockopt(getattr(zmq, name), value)
        return sock

    def we_connect(self, sock: ZmqSocket) -> socket.socket:
        port = sock.bind_to_random_port("tcp://127.0.0.1")
        return self.keep(socket.create_connection(("127.0.0.1", port), TIMEOUT_S))

    def we_bind(self, sock: ZmqSocket) -> socket.socket:
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.settimeout(TIMEOUT_S)
            sock.connect(f"tcp://127.0.0.1:{server.getsockname()[1]}")
            return self.keep(server.accept()[0])

    def keep(self, ours: socket.socket) -> socket.socket:
        ours.settimeout(TIMEOUT_S)
        self.ours.append(ours)
        return ours

    def link(self, sock: ZmqSocket, ours: SocketType, *, minor: int = 1) -> Link:
        link = Link(self.we_connect(sock), ours, minor=minor)
        link.shake()
        return link


@pytest.fixture
def stranger() -> Iterator[Stranger]:
    context = zmq.Context()
    made = Stranger(context)
    yield made
    for sock in made.ours:
        sock.close()
    context.destroy(linger=0)


Join = Callable[[Stranger, ZmqSocket], socket.socket]


@pytest.mark.parametrize("join", [Stranger.we_connect, Stranger.we_bind])
@pytest.mark.parametrize("theirs", SocketType)
@pytest.mark.parametrize("minor", [0, 1])
@pytest.mark.parametrize("cut", [1, 65536])
def test_handshake(stranger: Stranger, join: Join, theirs: SocketType, minor: int, cut: int) -> None:
    link = Link(join(stranger, stranger.new(theirs)), PARTNER[theirs], minor=minor, cut=cut)
    result = link.shake()
    assert result.peer_socket_type is theirs
    assert result.version == (3, 1)
    assert result.properties == {"socket-type": theirs.value}


@pytest.mark.parametrize("join", [Stranger.we_connect, Stranger.we_bind])
def test_pair_both_ways(stranger: Stranger, join: Join) -> None:
    sock = stranger.new(SocketType.PAIR)
    link = Link(join(stranger, sock), SocketType.PAIR)
    link.shake()
    link.sock.sendall(zmtp.encode_frame(b"to libzmq") + zmtp.encode_frame(bytes(300)))
    assert sock.recv() == b"to libzmq"
    assert sock.recv() == bytes(300)
    sock.send(b"from libzmq")
    assert link.frame() == (0, b"from libzmq")


def test_wrong_socket_type(stranger: Stranger) -> None:
    link = Link(stranger.we_connect(stranger.new(SocketType.PAIR)), SocketType.PUB)
    with pytest.raises(WireError) as caught:
        link.shake()
    assert caught.value.reason in (Reason.INCOMPATIBLE_SOCKET_TYPE, Reason.PEER_CLOSED)


def test_curve_peer_is_named(stranger: Stranger) -> None:
    if not zmq.has("curve"):
        pytest.skip("libzmq without CURVE")
    sock = stranger.new(SocketType.PUB, CURVE_SERVER=1)
    _, sock.curve_secretkey = zmq.curve_keypair()
    link = Link(stranger.we_connect(sock), SocketType.SUB)
    # Given all 64 bytes at once libzmq closes without a word; the version alone makes it say its mechanism.
    link.sock.sendall(link.core.data_to_send()[:12])
    link.pending = link.exactly(64)
    with pytest.raises(WireError, match="expected mechanism NULL, received 'CURVE'"):
        link.core.receive_data(link.pending)


# ---- libzmq subscribes


@pytest.mark.parametrize("minor", [0, 1])
def test_sub_speaks_the_minor_that_we_announce(stranger: Stranger, minor: int) -> None:
    sock = stranger.new(SocketType.SUB)
    link = stranger.link(sock, SocketType.PUB, minor=minor)
    link.attach(sock)
    for topic in (b"abc", b"", b"q" * 300):
        sock.subscribe(topic)
        assert link.frame() == split(zmtp.encode_subscribe(topic, (3, minor)))
    sock.unsubscribe(b"abc")
    assert link.frame() == split(zmtp.encode_cancel(b"abc", (3, minor)))


@pytest.mark.parametrize("minor", [0, 1])
def test_sub_cancels_once_what_it_subscribed_twice(stranger: Stranger, minor: int) -> None:
    """Not as RFC 37 has it; see ``plexo._proto.subscriptions``."""
    sock = stranger.new(SocketType.SUB)
    link = stranger.link(sock, SocketType.PUB, minor=minor)
    link.attach(sock)
    for change in (sock.subscribe, sock.subscribe, sock.unsubscribe, sock.unsubscribe):
        change(b"abc")
    sock.subscribe(b"end")
    seen = [link.frame() for _ in range(4)]
    subscribe = split(zmtp.encode_subscribe(b"abc", (3, minor)))
    assert seen[:3] == [subscribe, subscribe, split(zmtp.encode_cancel(b"abc", (3, minor)))]
    assert seen[3] == split(zmtp.encode_subscribe(b"end", (3, minor)))


@pytest.mark.parametrize("minor", [0, 1])
def test_xsub_sends_messages_at_any_minor(stranger: Stranger, minor: int) -> None:
    sock = stranger.new(SocketType.XSUB)
    link = stranger.link(sock, SocketType.PUB, minor=minor)
    link.attach(sock)
    for body in (b"\x01abc", b"\x00abc", b"\x02user"):
        sock.send(body)
    frames = [link.frame() for _ in range(3)]
    assert [flags for flags, _ in frames] == [0, 0, 0]
    parsed = [zmtp.parse_subscription_message(body) for _, body in frames]
    assert parsed == [zmtp.Subscribe(b"abc"), zmtp.Cancel(b"abc"), None]


def test_sub_filters_what_it_did_not_ask_for(stranger: Stranger) -> None:
    sock = stranger.new(SocketType.SUB)
    link = stranger.link(sock, SocketType.PUB)
    sock.subscribe(b"b")
    link.sock.sendall(zmtp.encode_frame(b"a1") + zmtp.encode_frame(b"b1"))
    assert sock.recv() == b"b1"


# ---- libzmq publishes


@pytest.mark.parametrize("ours", [SocketType.SUB, SocketType.XSUB])
@pytest.mark.parametrize("minor", [0, 1])
@pytest.mark.parametrize("form", [(3, 0), (3, 1)])
def test_xpub_takes_both_forms(
    stranger: Stranger, ours: SocketType, minor: int, form: tuple[int, int]
) -> None:
    sock = stranger.new(SocketType.XPUB)
    link = stranger.link(sock, ours, minor=minor)
    link.sock.sendall(zmtp.encode_subscribe(b"abc", form))
    assert sock.recv() == b"\x01abc"
    sock.send(b"other")
    sock.send(b"abcd")
    assert link.frame() == (0, b"abcd")
    link.sock.sendall(zmtp.encode_cancel(b"zz", form) + zmtp.encode_cancel(b"abc", form))
    assert {sock.recv(), sock.recv()} == {b"\x00zz", b"\x00abc"}
    sock.send(b"abcd")
    assert link.silent()


@pytest.mark.parametrize("form", [(3, 0), (3, 1)])
def test_xpub_keeps_a_set(stranger: Stranger, form: tuple[int, int]) -> None:
    """Not as RFC 37 has it: one CANCEL undoes two SUBSCRIBEs; see ``plexo._proto.subscriptions``."""
    sock = stranger.new(SocketType.XPUB)
    link = stranger.link(sock, SocketType.SUB)
    subscribe, cancel = zmtp.encode_subscribe(b"abc", form), zmtp.encode_cancel(b"abc", form)
    link.sock.sendall(subscribe + subscribe + cancel)
    assert sock.recv() == b"\x01abc"
    assert sock.recv() == b"\x00abc"
    sock.send(b"abc")
    assert link.silent()


@pytest.mark.parametrize("form", [(3, 0), (3, 1)])
def test_pub_delivers(stranger: Stranger, form: tuple[int, int]) -> None:
    sock = stranger.new(SocketType.PUB)
    link = stranger.link(sock, SocketType.SUB)
    # A PUB cannot say that it knows. PONG proves that SUBSCRIBE was read; a send() soon after heeds it.
    link.sock.sendall(zmtp.encode_subscribe(b"abc", form) + zmtp.encode_ping(0, b"sync"))
    assert link.command() == zmtp.Pong(b"sync")
    link.sock.settimeout(0.05)
    for _ in range(100):
        sock.send(b"abcd")
        try:
            got = link.frame()
            break
        except TimeoutError:
            continue
    assert got == (0, b"abcd")


# ---- heartbeats and other commands


@pytest.mark.parametrize("minor", [0, 1])
def test_heartbeats_both_ways(stranger: Stranger, minor: int) -> None:
    sock = stranger.new(SocketType.PAIR, HEARTBEAT_IVL=100, HEARTBEAT_TIMEOUT=1000, HEARTBEAT_TTL=1000)
    link = stranger.link(sock, SocketType.PAIR, minor=minor)
    for _ in range(12):  # longer than the time-out: libzmq keeps the link because it gets our PONGs
        assert link.command() == zmtp.Ping(10, b"")
        link.sock.sendall(zmtp.encode_pong(b""))
    link.sock.sendall(zmtp.encode_ping(600, b"0123456789abcdef"))
    answers = [link.command(), link.command()]
    assert zmtp.Pong(b"0123456789abcdef") in answers


def test_libzmq_closes_a_link_without_pongs(stranger: Stranger) -> None:
    sock = stranger.new(SocketType.PAIR, HEARTBEAT_IVL=50, HEARTBEAT_TIMEOUT=100)
    link = stranger.link(sock, SocketType.PAIR)

    def read_on() -> None:
        while True:
            link.frame()

    with pytest.raises((EOFError, ConnectionError)):
        read_on()


def test_libzmq_ignores_errors_and_unknown_commands_in_traffic(stranger: Stranger) -> None:
    sock = stranger.new(SocketType.PAIR)
    link = stranger.link(sock, SocketType.PAIR)
    strange = zmtp.encode_error("too-late") + zmtp.encode_frame(b"\x04JOINgroup", command=True)
    link.sock.sendall(strange + zmtp.encode_frame(b"still here"))
    assert sock.recv() == b"still here"


def split(frame: bytes) -> tuple[int, bytes]:
    return (frame[0], frame[9:] if frame[0] & zmtp.Flag.LONG else frame[2:])
