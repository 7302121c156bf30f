# SPDX-License-Identifier: Apache-2.0
"""The fault bench itself: each fault does what its name says, and what is no fault loses nothing."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import time
from collections.abc import AsyncIterator

import pytest

from tests.faults.proxy import HOST, Flow, Proxy, introduction
from tests.support import GREETING, frame, ready, run, until, within

DATA = random.Random(1).randbytes(1_000_000)


class Ends:
    """The proxy, its client and the target's end of the connection."""

    def __init__(
        self, proxy: Proxy, listening: socket.socket, client: socket.socket, server: socket.socket
    ) -> None:
        self.proxy = proxy
        self.listening = listening
        self.client = client
        self.server = server

    @property
    def up(self) -> Flow:
        return self.proxy.wires[0].up

    @property
    def down(self) -> Flow:
        return self.proxy.wires[0].down


@contextlib.asynccontextmanager
async def joined(seed: int = 0, narrow: bool = False) -> AsyncIterator[Ends]:
    loop = asyncio.get_running_loop()
    with socket.socket() as listening:
        listening.bind((HOST, 0))
        listening.listen()
        listening.setblocking(False)
        async with Proxy(random.Random(seed), listening.getsockname()[1], narrow) as proxy:
            with await dialled(proxy) as client:
                server, _ = await within(loop.sock_accept(listening))
                with server:
                    server.setblocking(False)
                    yield Ends(proxy, listening, client, server)


async def dialled(proxy: Proxy) -> socket.socket:
    client = socket.socket()
    client.setblocking(False)
    try:
        await within(asyncio.get_running_loop().sock_connect(client, (HOST, proxy.port)))
    except BaseException:
        client.close()
        raise
    return client


async def read(source: socket.socket, size: int) -> bytes:
    """So many bytes, or fewer if it ends before."""
    loop = asyncio.get_running_loop()
    data = b""
    while len(data) < size and (more := await within(loop.sock_recv(source, size - len(data)))):
        data += more
    return data


async def send(sink: socket.socket, data: bytes) -> None:
    await within(asyncio.get_running_loop().sock_sendall(sink, data))


async def passes(source: socket.socket, sink: socket.socket, data: bytes = DATA) -> None:
    sending = asyncio.create_task(send(source, data))
    assert await read(sink, len(data)) == data
    await sending


async def silent(source: socket.socket, seconds: float = 0.03) -> None:
    """Neither data nor an end comes."""
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(asyncio.get_running_loop().sock_recv(source, 1), seconds)


def test_without_a_fault_every_byte_passes_in_both_directions_and_ends_as_it_should() -> None:
    async def main() -> None:
        async with joined() as ends:
            await passes(ends.client, ends.server)
            await passes(ends.server, ends.client)
            assert ends.up.forwarded_bytes == ends.down.forwarded_bytes == len(DATA)
            ends.client.shutdown(socket.SHUT_WR)
            assert await read(ends.server, 1) == b""
            await passes(ends.server, ends.client)
            ends.server.shutdown(socket.SHUT_WR)
            assert await read(ends.client, 1) == b""
            await until(lambda: not ends.proxy.wires)

    run(main())


def test_a_cut_is_a_reset_or_an_orderly_end() -> None:
    async def main() -> None:
        async with joined() as ends:
            ends.proxy.cut()
            for each in (ends.client, ends.server):
                with pytest.raises(ConnectionResetError):
                    await read(each, 1)
        async with joined() as ends:
            await send(ends.client, DATA[:1000])
            await until(lambda: ends.up.forwarded_bytes)
            ends.proxy.cut(reset=False)
            assert await read(ends.server, 2000) == DATA[:1000]
            assert await read(ends.client, 1) == b""
            ends.client.close()
            ends.server.close()
            await until(lambda: not ends.proxy.wires)

    run(main())


def test_a_reset_of_one_side_goes_on_to_the_other() -> None:
    async def main() -> None:
        async with joined() as ends:
            ends.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            ends.client.close()
            with pytest.raises(ConnectionResetError):
                await read(ends.server, 1)

    run(main())


def test_stalling_closes_the_window_and_resuming_loses_nothing() -> None:
    async def main() -> None:
        data = DATA * 12
        async with joined() as ends:
            ends.up.stall()
            sending = asyncio.create_task(send(ends.client, data))
            await silent(ends.server)
            await passes(ends.server, ends.client)
            assert not sending.done()
            ends.up.resume()
            assert await read(ends.server, len(data)) == data
            await sending

    run(main())


def test_narrow_connections_hold_little_and_still_pass_everything() -> None:
    async def main() -> None:
        async with joined(narrow=True) as ends:
            for sink, source, flow in (
                (ends.client, ends.server, ends.up),
                (ends.server, ends.client, ends.down),
            ):
                flow.stall()
                taken = 0
                with contextlib.suppress(BlockingIOError):
                    while taken < 10_000_000:
                        taken += sink.send(DATA)
                # A wide one takes four million; how much less this is, is up to the kernel.
                assert taken < 1_500_000
                flow.resume()
                assert len(await read(source, taken)) == taken
                await passes(sink, source)

    run(main())


def test_pieces_arrive_one_by_one_and_depend_on_the_seed_alone() -> None:
    async def pieces(seed: int) -> list[int]:
        loop = asyncio.get_running_loop()
        sizes: list[int] = []
        async with joined(seed) as ends:
            loop.add_reader(ends.server.fileno(), lambda: sizes.append(len(ends.server.recv(2000))))
            ends.up.split(7, 40)
            await send(ends.client, DATA[:1000])
            await until(lambda: sum(sizes) == 1000)
            loop.remove_reader(ends.server.fileno())
        return sizes

    async def main() -> None:
        sizes = await pieces(1)
        assert all(size <= 7 for size in sizes[:40])
        assert sizes == await pieces(1)
        assert sizes != await pieces(2)

    run(main())


def test_a_delay_keeps_order_and_time() -> None:
    async def main() -> None:
        async with joined() as ends:
            ends.up.delay(0.05)
            began = time.monotonic()
            await send(ends.client, b"first")
            await until(lambda: ends.up._held)
            ends.up.delay(0)
            await send(ends.client, b"second")
            assert await read(ends.server, 11) == b"firstsecond"
            assert time.monotonic() - began >= 0.05
            ends.up.delay(60)
            await send(ends.client, b"third")
            await until(lambda: ends.up._held)
            ends.proxy.heal()
            assert await read(ends.server, 5) == b"third"

    run(main())


def test_half_closed_one_direction_goes_on() -> None:
    async def main() -> None:
        async with joined() as ends:
            ends.up.half_close()
            assert await read(ends.server, 1) == b""
            await passes(ends.server, ends.client)
            ends.proxy.heal()
            with pytest.raises(ConnectionResetError):
                await read(ends.client, 1)

    run(main())


def test_a_black_hole_tells_nobody_anything() -> None:
    async def main() -> None:
        async with joined() as ends:
            ends.proxy.black_hole()
            await send(ends.client, DATA)
            await send(ends.server, DATA)
            await silent(ends.server)
            with await dialled(ends.proxy) as late:
                await send(late, b"hello")
                ends.server.close()
                await silent(ends.client)
                assert ends.proxy.accepted == 1
                ends.proxy.heal()
                with pytest.raises(ConnectionResetError):
                    await read(ends.client, 1)
                server, _ = await within(asyncio.get_running_loop().sock_accept(ends.listening))
                with server:
                    server.setblocking(False)
                    assert await read(server, 5) == b"hello"

    run(main())


def test_refusing_keeps_the_port() -> None:
    async def main() -> None:
        async with joined() as ends:
            ends.proxy.refuse()
            for _ in range(3):
                with pytest.raises(ConnectionRefusedError):
                    await dialled(ends.proxy)
                with socket.socket() as thief, pytest.raises(OSError, match="in use"):
                    thief.bind((HOST, ends.proxy.port))
            await passes(ends.client, ends.server)
            ends.proxy.accept()
            with await dialled(ends.proxy):
                await until(lambda: len(ends.proxy.wires) == 2)

    run(main())


def test_nobody_at_the_target_is_a_reset() -> None:
    async def main() -> None:
        async with joined() as ends:
            ends.listening.close()
            with await dialled(ends.proxy) as client, pytest.raises(ConnectionResetError):
                await read(client, 1)

    run(main())


def test_a_double_says_the_introduction_again_and_no_more() -> None:
    words = GREETING + ready(b"SUB") + frame(b"\x09SUBSCRIBEa", 4)
    assert introduction(words) == introduction(words + frame(b"message")) == words
    assert introduction(words + frame(b"\x09SUBSCRIBEb", 4)[:-1]) == words

    async def main() -> None:
        async with joined() as ends:
            await passes(ends.client, ends.server, words + frame(b"message"))
            double = ends.proxy.wires[0].duplicate()
            server, _ = await within(asyncio.get_running_loop().sock_accept(ends.listening))
            with server:
                server.setblocking(False)
                assert await read(server, len(words)) == words
                await send(server, b"news")
                await until(lambda: double.received_bytes == 4)
                ends.proxy.heal()
                assert await read(server, 1) == b""

    run(main())
