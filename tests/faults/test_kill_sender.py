# SPDX-License-Identifier: Apache-2.0
"""kill -9 of a sender with a journal, again and again, at any moment; the receiver lives on.

Of every number: what the sender had been told is delivered, the reactant had seen; what was committed when the sender
died arrives later; nothing arrives twice.
"""

from __future__ import annotations

import asyncio
import errno
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from plexo import GanglionZmqTcpPair, Plexus
from tests.faults.sender import number
from tests.support import in_thread, run, until

ROOT = Path(__file__).resolve().parents[2]
HOST = "127.0.0.1"
ROUNDS = 30
NUMBERS_PER_ROUND = 1_000_000


def committed(journal: Path, scratch: Path) -> set[int]:
    """The numbers in the file as the dead sender left it; read from a copy, which SQLite may repair."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    for name in (journal.name, f"{journal.name}-wal"):
        if (journal.parent / name).exists():
            shutil.copy(journal.parent / name, scratch / name)
    connection = sqlite3.connect(scratch / journal.name)
    try:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'messages'").fetchone():
            return set()
        rows = connection.execute("SELECT payload FROM messages").fetchall()
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    finally:
        connection.close()
    return {number.decode(payload) for (payload,) in rows}


def start(endpoint: str, journal: Path, first: int, at_a_time: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.faults.sender", endpoint, str(journal), str(first), str(at_a_time)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,  # what readline has taken ahead, communicate would not see
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


async def one_life(receiver: GanglionZmqTcpPair, journal: Path, first: int, rng: random.Random) -> set[int]:
    """What a sender had been told is delivered when it was killed."""
    process = start(receiver.endpoint or "", journal, first, rng.choice((1, 4, 50)))
    try:
        assert process.stdout is not None
        up = await in_thread(process.stdout.readline)
        # From before the first commit to well into the traffic.
        await asyncio.sleep(rng.choice((0.0, 0.005, 0.02, 0.08)) * rng.random())
        if rng.random() < 0.5:
            # What the kernel has of a dead process it still delivers; so lose that too, now and then.
            for connection in list(receiver._connections):
                connection.lost(ConnectionResetError(errno.ECONNRESET, "reset by the test"), False)
    finally:
        process.kill()
        output, errors = await in_thread(process.communicate)
    assert (up, errors) == (b"up\n", b"")
    return {int(line) for line in output.splitlines()}


@pytest.mark.time_limit(150)
def test_nothing_that_was_committed_is_lost_and_nothing_comes_twice(
    tmp_path: Path, rng: random.Random
) -> None:
    journal = tmp_path / "out.journal"
    seen: Counter[int] = Counter()
    delivered: set[int] = set()
    owed: set[int] = set()

    async def main() -> None:
        binding = GanglionZmqTcpPair(HOST, 0)
        async with Plexus([binding]) as receiver:

            @receiver.on(number)
            async def react(data: int) -> None:
                seen[data] += 1
                if rng.random() < 0.5:
                    await asyncio.sleep(0.002 * rng.random())

            for life in range(ROUNDS):
                told = await one_life(binding, journal, life * NUMBERS_PER_ROUND, rng)
                assert told <= set(seen), "told that it was delivered, and it was not"
                delivered.update(told)
                owed.update(await in_thread(lambda: committed(journal, tmp_path / "copy")))
            # One that is not killed: it owes nothing in the end.
            async with GanglionZmqTcpPair(
                peer=binding.endpoint, reconnect_min_s=0.005, journal=journal
            ) as last:
                await last.adapt(number)
                await last.transmit(ROUNDS * NUMBERS_PER_ROUND, number, acked=True)
                await until(lambda: last.stats().acked.queued == 0)
                assert last.stats().acked.balanced

    run(main(), 140)
    assert owed <= set(seen), "committed, and it never came"
    twice = [value for value, times in seen.items() if times > 1]
    assert not twice
    assert committed(journal, tmp_path / "copy") == set()
    # The test has seen what it is for: deaths in mid-traffic, with messages that only the journal had.
    assert delivered
    assert owed
