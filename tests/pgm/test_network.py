# SPDX-License-Identifier: Apache-2.0
"""Sources and receivers over bad networks, one seed a run: what can be repaired arrives once, the rest is told."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace

import pytest

from plexo._proto.pgm.packets import PacketType
from plexo._proto.pgm.timing import Timing
from tests.pgm.network import Listener, Network, Sender, Weather

TIMING = Timing()
SIZES = (0, 1, 7, 16, 64, 200, 227, 228, 229, 253, 254, 255, 600, 1500, 4000)


def payload(rng: random.Random, number: int, most: int) -> bytes:
    return b"%d " % number + bytes([number % 251]) * min(rng.choice(SIZES), most)


class Run:
    """One source, one to four receivers, of which some come late and some stop for a while."""

    def __init__(
        self,
        seed: int,
        *,
        slots: int = 8192,
        loss: float = 0.4,
        messages: int = 60,
        tries: int = 10_000,
        most_packets: tuple[int, ...] = (2048, 65536),
    ) -> None:
        rng = self.rng = random.Random(seed)
        self.network = Network(seed + 1)
        timing = replace(TIMING, nak_tries=tries, fin_expiry_s=1.0)
        max_tpdu = rng.choice((60, 120, 256, 1472))
        first = rng.choice((0, 0, 5, 2**31 - 20, 2**31, 2**32 - 30, 2**32 - 1))
        self.sender = Sender(
            self.network, slots=slots, max_tpdu=max_tpdu, first_sqn=first, timing=timing,
            rate=rng.choice((50_000, 1_000_000, 100_000_000)),
        )  # fmt: skip
        self.listeners = [
            Listener(
                self.sender,
                Weather(
                    rng.choice((0.0, 0.02, rng.uniform(0, loss))), rng.choice((0.0, rng.uniform(0, loss))),
                    rng.choice((0.0, 0.2)), rng.choice((0.0, 0.3)),
                ),
                heard_from=rng.choice((0.0, 0.0, rng.uniform(0, 2.0))), timing=timing,
                most_packets=rng.choice(most_packets), most_bytes=rng.choice((10_000, 1 << 26)),
            )
            for _ in range(rng.randrange(1, 5))
        ]  # fmt: skip
        self.network.at(0.0, self.sender.start)
        most = max(0, min(4000, self.sender.window.largest - 40))
        at = rng.choice((0.0, 0.1))
        for number in range(messages):
            text = payload(rng, number, most)
            self.network.at(at, lambda text=text: self.sender.publish(text))
            at += rng.choice((0.0, 0.0, 0.0, rng.expovariate(100), rng.uniform(0, 0.15)))
        self.last_at = at
        for each in self.listeners:
            if rng.random() < 0.4:
                self.network.at(
                    rng.uniform(0, 1.5),
                    lambda each=each: each.pause(rng.choice((0.01, 0.3, 1.5))),
                )

    def settle(self) -> None:
        """Until everybody has everything, however long that takes."""
        self.network.run(self.last_at + 3)
        for _ in range(200):
            if not self.sender.waiting and all(each.complete for each in self.listeners):
                break
            self.network.run(self.network.now + 1)

    def check(self) -> None:
        sender = self.sender
        assert not sender.waiting
        assert sender.window.queued == (0, 0)
        assert sender.window.sent_messages == len(sender.messages)
        assert sender.window.sent_packets == len(sender.begins) == sender.kinds.get(PacketType.ODATA, 0)
        for each in self.listeners:
            each.check()


def seeds(count: int) -> Iterable[int]:
    return range(count)


@pytest.mark.parametrize("seed", seeds(100))
def test_all_that_was_sent_since_the_join_arrives(seed: int) -> None:
    run = Run(seed)
    run.settle()
    run.check()
    for each in run.listeners:
        assert each.complete
        assert each.losses == []


@pytest.mark.parametrize("seed", seeds(100))
def test_what_a_window_too_small_let_go_is_told_exactly(seed: int) -> None:
    run = Run(seed, slots=random.Random(seed).choice((4, 6, 16)))
    run.settle()
    run.check()
    for each in run.listeners:
        assert each.complete
        assert all(end <= run.sender.trail for _, end, _ in each.losses)


@pytest.mark.parametrize("seed", seeds(50))
def test_after_the_end_receivers_finish_with_what_they_have(seed: int) -> None:
    run = Run(seed)
    run.network.run(random.Random(seed).uniform(0, run.last_at + 0.5))
    run.sender.finish()
    run.network.run(run.network.now + 8)
    assert run.sender.source.finished
    assert run.sender.source.due() == float("inf")
    run.check()
    for each in run.listeners:
        if each.reception.fin:
            assert each.complete
            assert each.reception.finished


@pytest.mark.parametrize("seed", seeds(100))
def test_whatever_is_given_up_is_told_exactly(seed: int) -> None:
    """Outages, receivers that store little, that soon stop asking."""
    rng = random.Random(seed)
    run = Run(seed, slots=rng.choice((16, 8192)), tries=rng.choice((1, 2, 50)), most_packets=(4, 8, 64))
    for each in run.listeners:
        run.network.at(rng.uniform(0, 1), lambda each=each: outage(run.network, each, rng.uniform(0, 1)))
    run.settle()
    run.check()
    assert all(each.complete for each in run.listeners)


def outage(network: Network, listener: Listener, seconds: float) -> None:
    """Nothing comes or goes for so long."""
    weather = listener.weather
    listener.weather = replace(weather, down=1.0, up=1.0)
    network.at(network.now + seconds, lambda: setattr(listener, "weather", weather))


def test_what_found_no_room_is_asked_for_at_once_when_there_is_some() -> None:
    """Before, it was asked for so often in vain that each next try took 200 ms: half a minute for this."""
    network = Network(1)
    sender = Sender(network, slots=1024, max_tpdu=256, first_sqn=0, timing=TIMING, rate=10_000_000)
    listener = Listener(
        sender, Weather(delay_s=0.0), heard_from=0, timing=TIMING, most_packets=65536, most_bytes=8000
    )
    network.at(0, sender.start)
    for number in range(600):
        network.at(0.1 + number / 2000, lambda number=number: sender.publish(b"%d " % number + b"x" * 200))
    network.at(0.15, lambda: listener.pause(1.0))
    network.run(1.149)
    assert listener.reception.messages < 200
    network.run(2.5)
    listener.check()
    assert listener.complete and not listener.losses
