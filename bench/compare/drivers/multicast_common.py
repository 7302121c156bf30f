# SPDX-License-Identifier: Apache-2.0
"""Row multicast: one sender and one receiver on hosts of a network that this driver makes (namespaces on a bridge).

Both ends are programs that say "ready"; a line of input then is how many messages to send, or to wait for. The receiver
reports count, checksum and idle_s when as many have come, or when none has come for IDLE_S: what is lost for good does
not end the run. At the end of its input each reports what it used. Only the measured messages meet losses.
"""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from common import FAR, Far, check, expected, peak_bytes, report, warm_up

# The tests' network; it needs the standard library alone.
sys.path.append(str(Path(__file__).parents[3] / "tests" / "multicast"))

import network

IDLE_S = 1.5


def one_way(
    sender: Sequence[str], receiver: Sequence[str], count: int, size: int, percent: float, loses: bool = False
) -> None:
    """Report what came of `count` messages per second, with so much of all datagrams lost on their way.

    The ends are command lines, without the address of their host, which is appended. `loses`: it is a transport that
    may lose messages, and how many it lost is said; else that is a failure.
    """
    if reason := network.trouble():
        raise SystemExit(f"missing: {reason}")
    with network.Network(2) as made:
        near, far = made.hosts
        receives = _start(far, receiver)
        sends = _start(near, sender)
        if receives.line() != "ready" or sends.line() != "ready":
            raise RuntimeError("an end is not ready")
        warm = warm_up(count)
        _run(sends, receives, warm)
        made.lose(percent)
        seconds, got = _run(sends, receives, count)
        made.heal()
        for each in (sends, receives):
            assert each.process.stdin
            each.process.stdin.close()
        ends = [each.finish() for each in (sends, receives)]
    if not loses:
        check("the receiver", (got["count"], got["checksum"]), expected(count))
    report(
        per_second=got["count"] / seconds,
        bytes_per_second=got["count"] * size / seconds,
        lost=f"{100 * (count - got['count']) / count:.2g} %",
        count=got["count"],
        checksum=got["checksum"],
        cpu_s=sum(each["cpu_s"] for each in ends),
        peak_bytes=peak_bytes() + sum(each["peak_bytes"] for each in ends),
    )


def _start(host: network.Host, command: Sequence[str]) -> Far:
    os.environ[FAR] = shlex.join(host.command(*command, host.address))
    try:
        return Far("", stdin=True)
    finally:
        del os.environ[FAR]


def _run(sends: Far, receives: Far, count: int) -> tuple[float, dict[str, Any]]:
    receives.tell(str(count))
    begin = time.perf_counter()
    sends.tell(str(count))
    got = receives.figures()
    seconds = time.perf_counter() - begin - got["idle_s"]
    sends.line()
    return seconds, got


class Commands:
    """What an end does for its lines: `work(count)`; the CPU time of the last one is reported at the end."""

    def __init__(self) -> None:
        self._cpu_s = 0.0
        print("ready", flush=True)

    def __iter__(self) -> Commands:
        return self

    def __next__(self) -> int:
        line = sys.stdin.readline()
        if not line:
            report(cpu_s=time.process_time() - self._cpu_s, peak_bytes=peak_bytes())
            raise StopIteration
        self._cpu_s = time.process_time()
        return int(line)


def arrived(peek: Callable[[], tuple[int, int]], wait: Callable[[], None], count: int) -> None:
    """Wait (`wait` does for a moment) until `count` messages have come, or no more do; report it."""
    seen, changed = 0, time.perf_counter()
    while True:
        wait()
        got, checksum = peek()
        now = time.perf_counter()
        if got != seen:
            seen, changed = got, now
        elif got >= count or now - changed > IDLE_S:
            report(count=got, checksum=checksum, idle_s=now - changed)
            return
