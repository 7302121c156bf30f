# SPDX-License-Identifier: Apache-2.0
"""A neuron on a multicast group, over the loopback with a TTL of 0: no allocation, no loss but what a test makes."""

from __future__ import annotations

import asyncio
import dataclasses
import errno
import random
import socket
from ipaddress import IPv4Address
from typing import Any

import pytest

from plexo import (
    Cause,
    Closed,
    GanglionPlexoMulticast,
    LinkEventKind,
    Neuron,
    Queue,
    QueueFull,
    UsedAfterFork,
)
from plexo._proto.keyed import Key
from plexo._proto.pgm.packets import PacketType, Tsi, encode_data, encode_nak, encode_spm, encode_spmr
from plexo.exceptions import IpAddressIsNotMulticast, MessageTooLarge, NeuronNotAvailable
from plexo.ganglion.multicast_sockets import receive_socket, resolve_interface, send_socket
from plexo.synapse.zeromq_plexopubsub_epgm import SynapseZmqPlexoPubSubEPGM
from tests.support import Reading, Tick, namespace, reading, run, tick, until

GROUP = "239.255.77.1"
HOST = "127.0.0.1"
text = Neuron(str, namespace)
SOURCE = Tsi(b"source", 7)


@pytest.fixture
def port() -> int:
    """One that nobody uses now."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def made(neuron: Neuron[Any], port: int, **arguments: Any) -> SynapseZmqPlexoPubSubEPGM[Any]:
    return SynapseZmqPlexoPubSubEPGM(neuron, GROUP, HOST, port, **arguments)


def stranger(port: int, *datagrams: bytes, group: str = GROUP) -> None:
    """Somebody who sends what he likes."""
    with send_socket(resolve_interface(HOST), 0) as sending:
        for datagram in datagrams:
            sending.sendto(datagram, (group, port))


def test_messages_go_both_ways_in_order_and_not_back(port: int) -> None:
    async def main() -> None:
        heard: dict[str, list[int]] = {"a": [], "b": []}
        async with (
            made(tick, port, reactants=[lambda each: heard["a"].append(each.n)]) as a,
            made(tick, port, reactants=[lambda each: heard["b"].append(each.n)]) as b,
        ):
            for n in range(500):
                await a.transmit(tick.encode(Tick(n)))
                await b.transmit(tick.encode(Tick(-n)))
            await until(lambda: min(map(len, heard.values())) == 500)
            assert heard == {"a": [-n for n in range(500)], "b": list(range(500))}
            for each in (a, b):
                stats = each.stats()
                assert stats.balanced
                book = stats.neurons[tick.name].sending
                assert (book.accepted, book.delivered) == (500, 500)
                assert stats.received == 500

    run(main())


def test_typed_and_raw_reactants(port: int) -> None:
    async def main() -> None:
        typed: list[Reading] = []
        raw: list[bytes] = []
        async with (
            made(reading, port, reactants=[typed.append], raw_reactants=[raw.append]),
            made(reading, port) as a,
        ):
            await a.transmit(reading.encode(Reading("tank", 20.5)))
            await until(lambda: typed and raw)
        assert typed == [Reading("tank", 20.5)]
        assert raw == [reading.encode(typed[0])]

    run(main())


@pytest.mark.parametrize("max_tpdu", [256, 1472, 9000])
def test_messages_of_every_size(port: int, rng: random.Random, max_tpdu: int) -> None:
    blobs = Neuron(bytes, namespace)
    sent = [rng.randbytes(size) for size in (0, 1, 200, 253, 254, 255, 1400, 1450, 70_000, 3_000_000, 5)]

    async def main() -> None:
        heard: list[bytes] = []
        async with made(blobs, port, reactants=[heard.append]), made(blobs, port, max_tpdu=max_tpdu) as a:
            for each in sent:
                await a.transmit(each)
            await until(lambda: len(heard) == len(sent))
        assert heard == sent

    run(main())


def test_a_message_that_never_fits_is_refused(port: int) -> None:
    blobs = Neuron(bytes, namespace)

    async def main() -> None:
        async with made(blobs, port, max_message_bytes=1000) as a:
            with pytest.raises(MessageTooLarge, match="carries at most 1000"):
                await a.transmit(bytes(1001))
        async with made(blobs, port, window_bytes=100_000) as a:
            with pytest.raises(MessageTooLarge):
                await a.transmit(bytes(60_000))
            await a.transmit(bytes(40_000))

    run(main())


def test_a_full_reactant_holds_up_its_source_and_nothing_is_lost(port: int) -> None:
    async def main() -> None:
        heard: list[int] = []

        async def slow(each: Tick) -> None:
            heard.append(each.n)
            await asyncio.sleep(0)

        async with (
            made(tick, port, reactants=[slow], receive_queue=Queue("block", messages=3)) as b,
            made(tick, port) as a,
        ):
            for n in range(20_000):
                await a.transmit(tick.encode(Tick(n)))
            await until(lambda: len(heard) == 20_000)
            assert heard == list(range(20_000))
            assert b.stats().balanced
            assert not b.stats().faults

    run(main())


def test_late_joiners_begin_with_a_whole_message(port: int) -> None:
    async def main() -> None:
        heard: list[str] = []
        async with made(text, port) as a:
            for n in range(1000):
                await a.transmit(f"{n} {'x' * (n % 3000)}".encode())
                if n == 500:
                    b = made(text, port, reactants=[heard.append])
            await until(lambda: heard and heard[-1].startswith("999 "))
            await b.aclose()
        numbers = [int(each.split(" ")[0]) for each in heard]
        assert numbers == list(range(numbers[0], 1000))
        assert all(each == f"{n} {'x' * (n % 3000)}" for n, each in zip(numbers, heard, strict=True))
        assert numbers[0] > 400

    run(main())


def test_a_rate_holds_back_and_loses_nothing(port: int) -> None:
    async def main() -> None:
        heard: list[str] = []
        async with made(text, port, reactants=[heard.append]), made(text, port, rate_bytes_per_s=2e6) as a:
            before = asyncio.get_running_loop().time()
            for n in range(1000):
                await a.transmit(f"{n:01000}".encode())
            await until(lambda: len(heard) == 1000)
            # A megabyte at two a second, with a burst of 130 kB and the headers.
            assert asyncio.get_running_loop().time() - before > 0.4
        assert heard == [f"{n:01000}" for n in range(1000)]

    run(main())


@pytest.mark.parametrize("policy", ["drop_newest", "drop_oldest", "latest", "reject"])
def test_queues_with_policies(port: int, policy: Any) -> None:
    async def main() -> None:
        heard: list[str] = []
        queue = Queue(policy, bytes=20_000)
        async with (
            made(text, port, reactants=[heard.append]),
            made(text, port, rate_bytes_per_s=1e6, send_queue=queue) as a,
        ):
            refused = 0
            for n in range(2000):
                try:
                    await a.transmit(f"{n:01000}".encode())
                except QueueFull:
                    refused += 1
            stats = a.stats()
            assert stats.balanced
            book = stats.neurons[text.name].sending
            assert (refused > 0) == (policy == "reject")
            assert (book.lost > 0) == (policy != "reject")
            assert book.accepted == 2000 - refused
            await until(
                lambda: (
                    len(heard) == a.stats().neurons[text.name].sending.delivered
                    and not a.stats().neurons[text.name].sending.queued
                )
            )
            assert len(heard) == 2000 - refused - a.stats().neurons[text.name].sending.lost
            if policy in ("latest", "drop_oldest"):
                assert heard[-1] == f"{1999:01000}"

    run(main())


def test_a_key_keeps_strangers_out(port: int) -> None:
    async def main() -> None:
        heard: list[str] = []
        key = b"of the brewery" * 2
        async with (
            made(text, port, reactants=[heard.append], key=key) as b,
            made(text, port, key=key) as a,
            made(text, port, key=b"of another one!!") as other,
            made(text, port) as open_one,
        ):
            await other.transmit(b"other")
            await open_one.transmit(b"open")
            stranger(port, b"", b"short", bytes(64))
            await until(lambda: b.stats().fault_count(Cause.UNAUTHENTIC) >= 5)
            for n in range(100):
                await a.transmit(str(n).encode())
            await until(lambda: len(heard) == 100)
            assert heard == [str(n) for n in range(100)]
            assert [each.host for each in b._ganglion.sources()] == [HOST]

    run(main())


def spm(tsi: Tsi, port: int, sqn: int = 0, lead: int = 0xFFFFFFFF) -> bytes:
    return encode_spm(tsi, port, sqn, 0, lead, HOST)


def test_hostile_datagrams_cost_one_count_each(port: int, rng: random.Random) -> None:
    async def main() -> None:
        heard: list[str] = []
        async with made(text, port, reactants=[heard.append]) as b, made(text, port) as a:
            tsi = Tsi(b"forger", 7)
            hostile = [
                b"",
                bytes(15),
                rng.randbytes(100),
                encode_data(PacketType.ODATA, tsi, port, 0, 0, b"\0\0")[:-1],
                encode_data(PacketType.ODATA, tsi, port ^ 1, 0, 0, b"\0\0abc"),
            ]
            stranger(port, *hostile)
            await until(lambda: b.stats().fault_count(Cause.MALFORMED) == len(hostile))
            # Well-formed packets with a stream that is none: the source's own reception notices.
            stranger(port, spm(tsi, port), encode_data(PacketType.ODATA, tsi, port, 0, 0, b"\0\0\0\0\0\0"))
            await until(lambda: b.stats().fault_count(Cause.MALFORMED) == len(hostile) + 1)
            stranger(port, encode_nak(tsi, port, [1, 2], HOST, GROUP), encode_spmr(tsi, port))
            await a.transmit(b"still there")
            await until(lambda: heard)
            assert heard == ["still there"]
            assert b.stats().balanced

    run(main())


def test_sources_are_bounded(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plexo.ganglion.multicast.MAX_SOURCES", 5)

    async def main() -> None:
        async with made(text, port, reactants=[lambda each: None]) as b:
            stranger(port, *(spm(Tsi(b"forger", n), port) for n in range(1, 9)))
            await until(lambda: b.stats().fault_count(Cause.REJECTED) == 3)
            assert len(b._ganglion.sources()) == 5

    run(main())


def packet(port: int, sqn: int, trail: int, word: bytes) -> bytes:
    """ODATA of the source that `SOURCE` is: one whole message of `text`."""
    topic = text.topic
    message = bytes([len(topic) + 1, 1]) + topic + bytes([len(word) + 1, 0]) + word
    return encode_data(PacketType.ODATA, SOURCE, port, sqn, trail, b"\0\0" + message)


def test_what_cannot_be_repaired_is_a_counted_loss_in_its_place(port: int) -> None:
    async def main() -> None:
        found: list[object] = []
        async with made(text, port, reactants=[found.append]) as b:
            b._ganglion.on_link_event(lambda event: found.append(event.kind))
            stranger(port, spm(SOURCE, port), packet(port, 0, 0, b"one"))
            await until(lambda: "one" in found)
            # Three packets are gone for ever: the trail says so.
            stranger(port, packet(port, 4, 4, b"five"))
            await until(lambda: "five" in found)
            await until(lambda: LinkEventKind.LOST in found)
            assert b.stats().fault_count(Cause.LOST) == 3
            assert b._ganglion.sources()[0].lost == 3
            assert b.stats().balanced
            assert found[0] is LinkEventKind.CONNECTED or found[0] == "one"

    run(main())


def test_a_loss_of_unknown_size_is_counted_as_one(port: int) -> None:
    async def main() -> None:
        found: list[object] = []
        async with made(text, port, reactants=[found.append]) as b:
            b._ganglion.on_link_event(lambda event: found.append(event.kind))
            stranger(port, spm(SOURCE, port), packet(port, 0, 0, b"one"))
            await until(lambda: "one" in found)
            # The source counts anew, from far behind: how much was between, nobody can tell.
            stranger(port, packet(port, 3 << 30, 3 << 30, b"far"))
            await until(lambda: "far" in found)
            await until(lambda: LinkEventKind.LOST in found)
            assert b.stats().fault_count(Cause.LOST) == 1
            assert b.stats().balanced

    run(main())


def test_what_is_stored_of_a_source_outlives_it(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reactant that is busy for longer than a silent source is remembered gets everything all the same."""
    monkeypatch.setattr("plexo.ganglion.multicast.SWEEP_S", 0.02)

    async def main() -> None:
        heard: list[str] = []
        gone: list[str] = []
        go_on = asyncio.Event()

        async def slow(word: str) -> None:
            await go_on.wait()
            heard.append(word)

        async with made(text, port, reactants=[slow], receive_queue=Queue("block", messages=1)) as b:
            b._ganglion._timing = dataclasses.replace(b._ganglion._timing, peer_expiry_s=0.1)
            b._ganglion.on_link_event(
                lambda event: gone.append(event.reason) if event.kind is LinkEventKind.DISCONNECTED else None
            )
            # Of 20 packets the 11th never comes.
            stranger(
                port, spm(SOURCE, port), *(packet(port, n, 0, str(n).encode()) for n in range(20) if n != 10)
            )
            await until(lambda: b._ganglion.sources() and b._ganglion.sources()[0].packets >= 19)
            # Ten times as long as it is remembered.
            await asyncio.sleep(1)
            assert not gone
            go_on.set()
            await until(lambda: gone)
            assert heard == [str(n) for n in range(20) if n != 10]
            assert "silent for" in gone[0]
            assert b.stats().fault_count(Cause.LOST) == 1
            assert b.stats().balanced

    run(main())


def failing_to_join(monkeypatch: pytest.MonkeyPatch, times: int) -> list[str]:
    """The next groups cannot be joined; returns which were asked for."""
    asked: list[str] = []

    def receiving(group: str, *arguments: Any) -> socket.socket:
        asked.append(group)
        if len(asked) <= times:
            raise OSError(errno.ENOBUFS, "No buffer space available")
        return receive_socket(group, *arguments)

    monkeypatch.setattr("plexo.ganglion.multicast.receive_socket", receiving)
    monkeypatch.setattr("plexo.ganglion.multicast.SWEEP_S", 0.02)
    return asked


def test_a_group_that_cannot_be_joined_raises_and_is_tried_again(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        heard: list[str] = []
        async with made(text, port) as b, made(text, port) as a:
            asked = failing_to_join(monkeypatch, 3)
            with pytest.raises(OSError, match="No buffer space"):
                await b.add_reactants([heard.append])
            await until(lambda: len(asked) == 4)
            await a.transmit(b"heard after all")
            await until(lambda: heard)
            # It is joined: no more tries (the fifth is that of who sends, for repairs), and it can be left.
            await asyncio.sleep(0.1)
            assert asked == [GROUP] * 5
            await b.remove_reactants([heard.append])
            assert not b._ganglion._joined

    run(main())


def test_a_group_that_a_topic_moves_to_and_cannot_be_joined_is_tried_again(
    port: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        heard: list[str] = []
        async with GanglionPlexoMulticast(HOST, port=port) as b:
            await b.react(text, [heard.append])
            asked = failing_to_join(monkeypatch, 3)
            home = b.groups()[text.name].address
            elsewhere = str(IPv4Address(home) + 1)
            monkeypatch.setattr(b, "_groups_to_hear", lambda topic: frozenset((elsewhere,)))
            b._route(text.name)
            assert list(b._joined) == [home]
            await until(lambda: list(b._joined) == [elsewhere])
            assert asked == [elsewhere] * 4
        told = [record for record in caplog.records if "cannot join a group of" in record.getMessage()]
        assert len(told) == 1

    run(main())


def test_sources_of_our_own_are_bounded(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plexo.ganglion.multicast.MAX_TRANSMISSIONS", 2)
    neurons = [Neuron(str, namespace, type_name_alias=f"N{number}") for number in range(3)]

    async def main() -> None:
        async with GanglionPlexoMulticast(HOST, port=port) as ganglion:
            for each in neurons:
                await ganglion.adapt(each)
            for _ in range(2):
                for each in neurons[:2]:
                    await ganglion.transmit("word", each)
                with pytest.raises(NeuronNotAvailable, match="publishes 2 neurons already"):
                    await ganglion.transmit("word", neurons[2])
            assert ganglion.stats().balanced

    run(main())


def test_topics_that_share_a_group_stay_apart(port: int, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        words: list[str] = []
        async with (
            made(text, port, reactants=[words.append]) as b,
            made(tick, port) as a,
            made(text, port) as c,
        ):
            await a.transmit(tick.encode(Tick(1)))
            await c.transmit(b"word")
            await until(lambda: words)
            await until(lambda: b.stats().fault_count(Cause.UNKNOWN_TOPIC) == 1)
            assert words == ["word"]
            assert b.stats().balanced

    run(main())


def test_leaving_the_group_from_within_a_reactant(port: int, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        heard: list[str] = []
        async with made(text, port) as b, made(text, port) as a:

            async def last(word: str) -> None:
                heard.append(word)
                await b.remove_reactants([last])

            for round_ in range(3):
                await b.add_reactants([last])
                for n in range(200):
                    await a.transmit(f"{round_} {n}".encode())
                await until(lambda wanted=round_: len(heard) > wanted)  # type: ignore[misc]
                await asyncio.sleep(0.02)
            assert len(heard) == 3
            assert b.stats().balanced
        assert not [record for record in caplog.records if "cannot" in record.getMessage()]

    run(main())


def test_several_loops_one_after_another(port: int) -> None:
    heard: list[str] = []
    b = made(text, port, reactants=[heard.append])
    a = made(text, port)

    async def once(word: str) -> None:
        await b.add_reactants([])
        await a.transmit(word.encode())
        await until(lambda: heard and heard[-1] == word)

    for word in ("one", "two", "three"):
        run(once(word))
    a.close()
    b.close()
    assert heard == ["one", "two", "three"]


def test_closing_sends_what_was_accepted(port: int) -> None:
    async def main() -> None:
        heard: list[str] = []
        events: list[LinkEventKind] = []
        async with made(text, port, reactants=[heard.append]) as b:
            b._ganglion.on_link_event(lambda event: events.append(event.kind))
            a = made(text, port)
            for n in range(2000):
                await a.transmit(str(n).encode())
            await a.aclose()
            await until(lambda: len(heard) == 2000)
            assert heard == [str(n) for n in range(2000)]
            await until(
                lambda: (
                    b._ganglion._groups.receptions
                    and all(each.finished for each in b._ganglion._groups.receptions.values())
                )
            )
            with pytest.raises(Closed):
                await a.transmit(b"late")
        assert events[0] is LinkEventKind.CONNECTED
        assert events[-1] is LinkEventKind.DISCONNECTED

    run(main())


def test_closing_outside_of_a_loop(port: int) -> None:
    heard: list[str] = []
    b = made(text, port, reactants=[heard.append])
    a = made(text, port)

    async def main() -> None:
        await b.add_reactants([])
        await a.transmit(b"word")
        await until(lambda: heard)

    run(main())
    a.close()
    a.close()
    b.close()


def test_a_forked_child_cannot_use_it(port: int) -> None:
    import os

    a = made(text, port)
    child = os.fork()
    if child == 0:
        try:
            a.stats()
        except UsedAfterFork:
            os._exit(7)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    a.close()


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        (
            {"multicast_address": "10.0.0.1"},
            IpAddressIsNotMulticast,
            "multicast_address: expected an IPv4 address in 224",
        ),
        ({"multicast_address": "nonsense"}, IpAddressIsNotMulticast, "multicast_address"),
        ({"bind_interface": "nosuch0"}, ValueError, "bind_interface: expected"),
        ({"port": 0}, ValueError, "port: expected 1 to 65535"),
        ({"ttl": 256}, ValueError, "ttl: expected 0 to 255"),
        ({"max_tpdu": 100}, ValueError, "max_tpdu: expected 256"),
        ({"key": b"short"}, ValueError, "key: expected 16 to 64 bytes"),
        ({"key": "text, not bytes."}, TypeError, "key: expected bytes"),
        ({"rate_bytes_per_s": -1}, ValueError, "rate_bytes_per_s: expected 0"),
        ({"send_queue": "nonsense"}, ValueError, "send_queue"),
    ],
)
def test_bad_arguments(port: int, arguments: dict[str, Any], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        SynapseZmqPlexoPubSubEPGM(
            text, **{"multicast_address": GROUP, "bind_interface": HOST, "port": port, **arguments}
        )


def test_key_signs_and_verifies() -> None:
    key = Key(b"0123456789abcdef")
    signed = key.sign(b"datagram")
    assert key.verified(signed) == b"datagram"
    assert key.verified(signed[:-1]) is None
    assert key.verified(signed[:3] + b"!" + signed[4:]) is None
    assert key.verified(b"") is None
    assert Key(b"0123456789abcdeF").verified(signed) is None
