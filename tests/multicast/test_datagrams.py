# SPDX-License-Identifier: Apache-2.0
"""Datagrams in batches, over the loopback."""

from __future__ import annotations

import errno
import select
import socket
import sys
from collections.abc import Callable, Iterator

import pytest

from plexo._fast.datagrams import LARGEST, MAX_READ, MAX_SENT, ROOM, DatagramReader, DatagramWriter

HOST = int.from_bytes(socket.inet_aton("127.0.0.1"), "big")
PATIENCE_S = 10
linux = pytest.mark.skipif(sys.platform != "linux", reason="the system divides and joins no datagrams")
SOL_UDP, UDP_GRO = 17, 104

MakeSocket = Callable[[], socket.socket]


@pytest.fixture
def make_socket() -> Iterator[MakeSocket]:
    made: list[socket.socket] = []

    def make() -> socket.socket:
        one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.append(one)
        one.setblocking(False)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        one.bind(("127.0.0.1", 0))
        return one

    yield make
    for one in made:
        one.close()


def port_of(one: socket.socket) -> int:
    return int(one.getsockname()[1])


def whole(datagrams: list[tuple[bytes, int, int, int, bool]]) -> list[bytes]:
    """What was sent, one by one."""
    return [
        data[at : at + segment]
        for data, segment, *_ in datagrams
        for at in range(0, len(data) or 1, segment or 1)
    ]


def read_bytes(one: socket.socket, size: int) -> list[tuple[bytes, int, int, int, bool]]:
    """All datagrams up to so many bytes."""
    reader = DatagramReader()
    found: list[tuple[bytes, int, int, int, bool]] = []
    while sum(len(each[0]) for each in found) < size:
        assert select.select([one], [], [], PATIENCE_S)[0], "nothing comes"
        found += reader.read(one.fileno())
    return found


def numbered(count: int, size: int, last: int = 0) -> bytes:
    """`count` datagrams of `size` bytes that are told apart, and one of `last`."""
    return b"".join(n.to_bytes(2, "big") * (size // 2) for n in range(count)) + b"!" * last


def split(data: bytes, segment: int) -> list[bytes]:
    return [data[at : at + segment] for at in range(0, len(data), segment)]


def test_an_empty_socket_gives_nothing(make_socket: MakeSocket) -> None:
    assert DatagramReader().read(make_socket().fileno()) == []


def test_batches_keep_order_sizes_and_senders(make_socket: MakeSocket) -> None:
    receiving, first, second = make_socket(), make_socket(), make_socket()
    sent = []
    for n in range(MAX_READ + 5):
        sender = second if n % 3 else first
        data = b"%d " % n * (n % 4)  # empty ones, too
        sender.sendto(data, receiving.getsockname())
        sent.append((data, len(data), HOST, port_of(sender), False))
    reader = DatagramReader()
    got = reader.read(receiving.fileno())
    assert len(got) == MAX_READ
    assert got + reader.read(receiving.fileno()) == sent
    assert reader.read(receiving.fileno()) == []


def test_a_reader_serves_several_sockets(make_socket: MakeSocket) -> None:
    reader, sender = DatagramReader(), make_socket()
    for n in range(5):
        receiving = make_socket()
        sender.sendto(b"a" * (1000 - n), receiving.getsockname())
        assert [data for data, *_ in reader.read(receiving.fileno())] == [b"a" * (1000 - n)]


@pytest.mark.parametrize("divides", [True, False])
def test_a_run_arrives_as_its_datagrams(make_socket: MakeSocket, divides: bool) -> None:
    receiving, sender = make_socket(), make_socket()
    writer = DatagramWriter(divides)
    data = numbered(20, 1400, last=7)
    at = 0
    while at < len(data):
        taken = writer.send(sender.fileno(), HOST, port_of(receiving), data[at:], 1400)
        assert taken > 0 and (taken % 1400 == 0 or at + taken == len(data))
        at += taken
    got = read_bytes(receiving, len(data))
    assert [each for each, *_ in got] == split(data, 1400)
    assert {(host, port) for _, _, host, port, _ in got} == {(HOST, port_of(sender))}


@linux
def test_what_the_system_joined_can_be_told_apart(make_socket: MakeSocket) -> None:
    receiving, sender = make_socket(), make_socket()
    receiving.setsockopt(SOL_UDP, UDP_GRO, 1)
    data = numbered(20, 1400, last=7)
    assert DatagramWriter().send(sender.fileno(), HOST, port_of(receiving), data, 1400) == len(data)
    got = read_bytes(receiving, len(data))
    assert len(got) < 21  # else this test has shown nothing
    assert whole(got) == split(data, 1400)


@linux
def test_datagrams_of_other_sizes_behind_joined_ones(make_socket: MakeSocket) -> None:
    """The length of the system's own notes must be set anew for every batch."""
    receiving, sender = make_socket(), make_socket()
    receiving.setsockopt(SOL_UDP, UDP_GRO, 1)
    reader, writer = DatagramReader(), DatagramWriter()
    data = numbered(10, 100)
    for _ in range(3):
        sender.sendto(b"short", receiving.getsockname())
        assert writer.send(sender.fileno(), HOST, port_of(receiving), data, 100) == len(data)
        sender.sendto(b"b" * 5000, receiving.getsockname())
        assert whole(reader.read(receiving.fileno())) == [b"short", *split(data, 100), b"b" * 5000]


@linux
@pytest.mark.parametrize("divides", [True, False])
def test_more_than_the_system_takes_at_once(make_socket: MakeSocket, divides: bool) -> None:
    receiving, sender = make_socket(), make_socket()
    writer = DatagramWriter(divides)
    for segment, count in ((1472, LARGEST // 1472 if divides else MAX_SENT), (100, MAX_SENT)):
        data = numbered(2 * MAX_SENT, segment)
        taken = writer.send(sender.fileno(), HOST, port_of(receiving), data, segment)
        assert taken == count * segment
        assert [each for each, *_ in read_bytes(receiving, taken)] == split(data, segment)[:count]
    assert writer.divides == divides  # one too large a piece must not cost it for good


@linux
def test_datagrams_too_large_to_be_divided_go_one_by_one(make_socket: MakeSocket) -> None:
    receiving, sender = make_socket(), make_socket()
    receiving.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    writer = DatagramWriter()
    data = numbered(3, 40000)
    assert writer.send(sender.fileno(), HOST, port_of(receiving), data, 40000) == len(data)
    assert [each for each, *_ in read_bytes(receiving, len(data))] == split(data, 40000)
    assert writer.divides


def test_the_largest_datagram_is_whole(make_socket: MakeSocket) -> None:
    receiving, sender = make_socket(), make_socket()
    sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 18)
    assert LARGEST < ROOM
    data = numbered(1, LARGEST - 1, last=1)
    assert DatagramWriter().send(sender.fileno(), HOST, port_of(receiving), data, LARGEST) == LARGEST
    assert read_bytes(receiving, LARGEST) == [(data, LARGEST, HOST, port_of(sender), False)]


def test_a_larger_one_is_refused(make_socket: MakeSocket) -> None:
    sender = make_socket()
    with pytest.raises(OSError) as caught:
        DatagramWriter().send(sender.fileno(), HOST, port_of(sender), bytes(LARGEST + 1), LARGEST + 1)
    assert caught.value.errno == errno.EMSGSIZE


def test_segments_of_nothing_are_refused(make_socket: MakeSocket) -> None:
    sender = make_socket()
    with pytest.raises(ValueError, match="segment"):
        DatagramWriter().send(sender.fileno(), HOST, port_of(sender), b"abc", 0)


@pytest.mark.skipif(sys.platform == "darwin", reason="a connected socket takes no address there")
def test_a_port_that_nobody_listens_on_ends_nothing(make_socket: MakeSocket) -> None:
    gone, mine = make_socket(), make_socket()
    address = gone.getsockname()
    mine.connect(address)  # only then does Linux bring such errors back
    gone.close()
    reader, writer = DatagramReader(), DatagramWriter()
    for _ in range(3):
        assert writer.send(mine.fileno(), HOST, address[1], b"a", 1) == 1
    assert reader.read(mine.fileno()) == []
    mine.sendto(b"a", address)
    assert (
        mine.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED
    )  # there was one to pass over
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as back:
        back.bind(address)
        back.sendto(b"here", mine.getsockname())
        assert read_bytes(mine, 4)[0][0] == b"here"


def test_a_closed_socket_raises(make_socket: MakeSocket) -> None:
    one = make_socket()
    fd = one.fileno()
    one.close()
    with pytest.raises(OSError) as caught:
        DatagramReader().read(fd)
    assert caught.value.errno == errno.EBADF
    with pytest.raises(OSError) as caught:
        DatagramWriter().send(fd, HOST, 9, b"a", 1)
    assert caught.value.errno == errno.EBADF
