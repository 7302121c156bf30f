# SPDX-License-Identifier: Apache-2.0
"""A reactant sleeps for ten seconds while another process sends as fast as it can: memory stays within the limits,
and the neurons beside it go on. All policies at once, see flood.py."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest

from tests.faults.flood import KEYS, LOAD_BYTES, LOADS_PER_TICK, POLICIES, QUEUE_BYTES

ROOT = Path(__file__).parents[2]
LIMIT_S = 60.0
MIB = 1 << 20
# The queues, and for each link what is on its way through: a receive buffer, a send queue of 1 MiB, some slack for the
# allocator. An unbounded queue would hold what arrives in ten seconds, gigabytes.
MOST_GROWTH_BYTES = len(POLICIES) * (QUEUE_BYTES + 3 * MIB) + 16 * MIB
# Far more than the queue and the buffers of a link that had stopped could let through: 4 MiB and at most 8 MiB, in
# loads of 16 KiB, of which every fourth is followed by a tick, are 192 ticks. A count, not a rate: machines differ.
LEAST_TICKS = 5 * (QUEUE_BYTES + 8 * MIB) // (LOADS_PER_TICK * LOAD_BYTES)


class Flood(NamedTuple):
    reports: dict[str, dict[str, Any]]
    receiver_bytes: list[int]
    sender_bytes: list[int]


class Child:
    def __init__(self, *arguments: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.flood", *(str(each) for each in arguments)],
            cwd=ROOT,
            env=dict(os.environ, PYTHONPATH=os.pathsep.join(["src", ".", os.environ.get("PYTHONPATH", "")])),
            stdout=subprocess.PIPE,
            text=True,
        )
        self.memory = psutil.Process(self.process.pid).memory_info

    def line(self, until: float) -> Any:
        """The next line it says; None where it says nothing until then."""
        assert self.process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            if not selector.select(max(0.0, until - time.monotonic())):
                return None
        line = self.process.stdout.readline()
        assert line, f"a process of the flood has ended with status {self.process.wait(5)}"
        return json.loads(line)

    def end(self) -> None:
        self.process.kill()
        self.process.wait(10)
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture(scope="module")
def flooded() -> Iterator[Flood]:
    deadline = time.monotonic() + LIMIT_S
    receiver = Child("receive")
    sender: Child | None = None
    try:
        ports = receiver.line(deadline)
        assert ports, "the receiver says nothing"
        sender = Child("send", *ports)
        receiver_bytes = [receiver.memory().rss]
        sender_bytes = [sender.memory().rss]
        while receiver.line(time.monotonic() + 0.02) != "asleep":
            assert time.monotonic() < deadline, "still awake"
            receiver_bytes[0], sender_bytes[0] = receiver.memory().rss, sender.memory().rss
        while receiver.line(time.monotonic() + 0.05) != "awake":
            assert time.monotonic() < deadline, "still asleep"
            receiver_bytes.append(receiver.memory().rss)
            sender_bytes.append(sender.memory().rss)
        reports = receiver.line(deadline)
        assert reports, "the receiver does not report"
        yield Flood(reports, receiver_bytes, sender_bytes)
    finally:
        receiver.end()
        if sender is not None:
            sender.end()


def test_memory_of_both_sides_stays_within_the_limits(flooded: Flood) -> None:
    assert len(flooded.receiver_bytes) > 50
    for series in (flooded.receiver_bytes, flooded.sender_bytes):
        assert max(series) - series[0] < MOST_GROWTH_BYTES, [size // MIB for size in series]


@pytest.mark.parametrize("policy", POLICIES)
def test_other_neurons_go_on(flooded: Flood, policy: str) -> None:
    report = flooded.reports[policy]
    before, during, after = report["ticks"]
    assert during > before
    assert after - during > LEAST_TICKS
    assert report["ticks_in_order"]


@pytest.mark.parametrize("policy", POLICIES)
def test_the_queue_keeps_its_bound_and_its_books(flooded: Flood, policy: str) -> None:
    report = flooded.reports[policy]
    # One message may go over the bound, and one is in hand.
    most = KEYS if policy == "latest" else QUEUE_BYTES // LOAD_BYTES + 1
    # Under `block` also what had been read from the socket with the message that was one too many.
    most += 1 + (262_144 // LOAD_BYTES if policy == "block" else 0)
    assert KEYS // 2 < report["most_queued"] <= most
    assert report["imbalance"] is None
    assert report["loads_in_order"] or policy == "latest"
    assert report["loads_complete"] == (policy == "block")
    lost = {"block": None, "latest": "superseded"}.get(policy, "queue-full")
    assert set(report["dropped"]) == ({lost} if lost else set())
    if lost:
        assert report["dropped"][lost] > 1000
