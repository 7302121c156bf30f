# SPDX-License-Identifier: Apache-2.0
"""What the drivers share: one driver process measures one thing once and prints one JSON object.

A driver starts the process at the other end itself, so that rows need no knowledge of transports. This uses
nothing but the standard library: drivers of rivals run in environments of their own, where plexo is not.
"""

from __future__ import annotations

import asyncio
import faulthandler
import json
import math
import os
import select
import shlex
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any

HOST = "127.0.0.1"
# Bounds a process, and every wait in it: a lost message ends a run with an error and not never.
TIMEOUT_S = 60.0
MODULUS = 1 << 64

# Different values that a run cycles through: a sender that repeats one object measures its cache.
DIFFERENT = 1000
# From here on MessagePack gives an int five bytes, so that every message is equally long.
FIRST_SEQUENCE = 1 << 16

# Environment: the command line of a far end in place of the driver's own one.
FAR = "PLEXO_BENCH_FAR"
# Environment: "same" or "apart", the core of the two ends.
PIN = "PLEXO_BENCH_PIN"
# Set for far ends: they stay where they were put.
END = "PLEXO_BENCH_END"

# What one of the two loops of row rttload lets out, and for how long the closed one looks for the capacity.
WINDOW = 1000
CAPACITY_S = 0.5
# An open loop that fell behind sends so many before it looks at answers again.
BURST = 100

# Row fanout: topics of which each of the subscribers wants ten; some have two subscribers and some none.
TOPICS = 100
SUBSCRIBERS = 8

SAMPLE_TOPIC = b"bench.Sample.numpy"


def report(**figures: Any) -> None:
    """The result of this process, for who started it."""
    print(json.dumps(figures), flush=True)


def quantiles(seconds: Sequence[float]) -> dict[str, float]:
    """p50, p99 and p999 in microseconds (nearest rank)."""
    ordered = sorted(seconds)
    last = len(ordered) - 1
    shares = {"p50_us": 0.5, "p99_us": 0.99, "p999_us": 0.999}
    return {
        name: 1e6 * ordered[min(last, max(0, math.ceil(share * len(ordered)) - 1))]
        for name, share in shares.items()
    }


def warm_up(count: int) -> int:
    """Messages before the measured ones."""
    return count // 10


def warm_up_in(total: int) -> int:
    """The warm-up's part of `count + warm_up(count)` messages."""
    return total // 11


def wanted_topics(subscriber: int) -> list[int]:
    """Row fanout: numbers of the topics that this subscriber wants."""
    return [(5 * subscriber + j) % TOPICS for j in range(10)]


# -- accounting ----------------------------------------------------------------------------------------------


def process_cpu_s(pid: int) -> float:
    """User and system time of another process so far (Linux; in steps of a clock tick)."""
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_bytes(pid: int | str = "self") -> int:
    """The most memory that was resident.

    By VmHWM, not ru_maxrss: that one starts with the peak of who started the process, which survives exec.
    """
    try:
        with open(f"/proc/{pid}/status") as status:
            for line in status:
                if line.startswith("VmHWM:"):
                    return 1024 * int(line.split()[1])
    except OSError:
        pass
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most


class Phase:
    """Time and CPU time (user and system, all threads) of this process, and of `pids`, within the block."""

    def __init__(self, *pids: int) -> None:
        self._pids = pids
        self.seconds = self.cpu_s = 0.0

    def _cpu_s(self) -> float:
        # The same as getrusage says, in finer steps.
        return time.process_time() + sum(map(process_cpu_s, self._pids))

    def __enter__(self) -> Phase:
        self._cpu_begin = self._cpu_s()
        self._begin = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._begin
        self.cpu_s = self._cpu_s() - self._cpu_begin


def far_report(phase: Phase, **figures: Any) -> None:
    """The last line of a far end: what it used in the measured phase."""
    report(cpu_s=phase.cpu_s, peak_bytes=peak_bytes(), **figures)


def used(phase: Phase, *far: dict[str, Any], pids: Sequence[int] = ()) -> dict[str, Any]:
    """cpu_s and peak_bytes of this process and the far ends together (and of `pids`, while they still run)."""
    return {
        "cpu_s": phase.cpu_s + sum(each.get("cpu_s", 0.0) for each in far),
        "peak_bytes": peak_bytes() + sum(map(peak_bytes, pids)) + sum(each["peak_bytes"] for each in far),
    }


def rate(count: int, size: int, phase: Phase) -> dict[str, float]:
    return {"per_second": count / phase.seconds, "bytes_per_second": count * size / phase.seconds}


# -- what must have been seen --------------------------------------------------------------------------------


def check(what: str, got: tuple[int, int], expected: tuple[int, int]) -> None:
    """Compare counts and checksums: a benchmark that skips messages is very fast."""
    if got != expected:
        raise AssertionError(
            f"{what} saw {got[0]} messages with checksum {got[1]}, expected {expected[0]} with {expected[1]}"
        )


def cycle_checksum(count: int) -> int:
    """Sum of the sequences of the first `count` messages of the cycle, modulo 2**64."""
    rounds, rest = divmod(count, DIFFERENT)
    whole = DIFFERENT * FIRST_SEQUENCE + DIFFERENT * (DIFFERENT - 1) // 2
    return (rounds * whole + rest * FIRST_SEQUENCE + rest * (rest - 1) // 2) % MODULUS


def expected(count: int) -> tuple[int, int]:
    """Count and checksum after `count` messages."""
    return count, cycle_checksum(count)


def expected_fanout(count: int, topics: Sequence[int]) -> tuple[int, int]:
    """The same for who wants these topics, where message i of `count` goes to topic i % 100."""
    rounds, rest = divmod(count, DIFFERENT)
    every = [FIRST_SEQUENCE + index for index in range(DIFFERENT) if index % TOPICS in topics]
    some = [FIRST_SEQUENCE + index for index in range(rest) if index % TOPICS in topics]
    return rounds * len(every) + len(some), (rounds * sum(every) + sum(some)) % MODULUS


def check_fanout(reports: Sequence[dict[str, int]], count: int) -> tuple[int, int]:
    """Check what each subscriber saw of `count` messages; what all of them saw together."""
    for number, got in enumerate(reports):
        wanted = expected_fanout(count, wanted_topics(number))
        check(f"subscriber {number}", (got["count"], got["checksum"]), wanted)
    return sum(got["count"] for got in reports), sum(got["checksum"] for got in reports) % MODULUS


# -- far ends ------------------------------------------------------------------------------------------------

_running: list[subprocess.Popen[bytes]] = []


class Far:
    """The process at the other end; its stdout comes as lines, the last of them JSON."""

    def __init__(self, script: str, *arguments: object, stdin: bool = False) -> None:
        other = os.environ.get(FAR)
        command = shlex.split(other) if other else [sys.executable, script]
        with _elsewhere():
            self.process = subprocess.Popen(
                [*command, *map(str, arguments)],
                stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                env=dict(os.environ, **{END: "far"}),
            )
        _running.append(self.process)
        assert self.process.stdout
        self._output = self.process.stdout.fileno()
        self._buffer = b""

    def line(self, timeout_s: float = TIMEOUT_S) -> str:
        """The next line, waited for. EOFError: it ended; TimeoutError."""
        end = time.monotonic() + timeout_s
        while b"\n" not in self._buffer:
            if not select.select([self._output], [], [], max(0.0, end - time.monotonic()))[0]:
                raise TimeoutError(f"no line from the far end in {timeout_s} s")
            more = os.read(self._output, 65536)
            if not more:
                raise EOFError(f"the far end ended, exit status {self.process.wait(timeout=5)}")
            self._buffer += more
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.decode().strip()

    def has_line(self) -> bool:
        return b"\n" in self._buffer or bool(select.select([self._output], [], [], 0)[0])

    def figures(self) -> dict[str, Any]:
        """The next line as JSON."""
        found: dict[str, Any] = json.loads(self.line())
        return found

    def tell(self, line: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def finish(self) -> dict[str, Any]:
        """Its last line, after a good end."""
        last = ""
        try:
            while True:
                last = self.line(10.0) or last
        except EOFError:
            pass
        if code := self.process.wait(timeout=10):
            raise RuntimeError(f"the far end failed with exit status {code}")
        for stream in (self.process.stdin, self.process.stdout):
            if stream:
                stream.close()
        found: dict[str, Any] = json.loads(last)
        return found


def _end_others() -> None:
    for process in _running:
        if process.poll() is None:
            process.kill()
            process.wait()


class _elsewhere:
    """Within the block processes are started on the far end's core, where the user wants the ends apart."""

    def __enter__(self) -> None:
        self._mine: set[int] = set()
        if os.environ.get(PIN) == "apart" and len(_cores) > 1:
            self._mine = os.sched_getaffinity(0)
            os.sched_setaffinity(0, {_cores[-1]})

    def __exit__(self, *_: object) -> None:
        if self._mine:
            os.sched_setaffinity(0, self._mine)


_cores: list[int] = []


def _place() -> None:
    if os.environ.get(PIN) and END not in os.environ and hasattr(os, "sched_setaffinity"):
        _cores.extend(sorted(os.sched_getaffinity(0)))
        os.sched_setaffinity(0, {_cores[0]})


# -- row rttload ---------------------------------------------------------------------------------------------


class Load:
    """Paces row rttload: a closed loop finds the capacity, then an open one sends half of that.

    In the open loop message k is due at begin + k * interval whatever answers do, and its latency counts from
    then: who waits for an answer before sending leaves out the very messages that would have waited. Between
    messages the sender spins, because timers of event loops are a millisecond coarse; so the row has no cpu_s.
    It yields its core at each turn, which threads of a transport and the far end have need of.

        for batch in load.batches():
            for value in batch:
                send(value)
            ... let answers come; load.answered(sequence) for each
    """

    def __init__(self, seconds: float, values: Sequence[Any]) -> None:
        self._seconds = seconds
        self._values = values
        self._sequences = [value.sequence for value in values]
        self._sent = self._got = 0
        self._interval = 0.0
        self._begin = 0.0
        self._first = 0
        self._last = 0.0
        self._checksum = 0
        self._times: list[float] = []
        self.capacity = 0.0

    def answered(self, sequence: int) -> None:
        """The next answer came, decoded; they come in the order of sending."""
        now = time.perf_counter()
        if sequence != self._sequences[self._got % len(self._sequences)] or self._got == self._sent:
            raise AssertionError(f"answer {self._got} has sequence {sequence}")
        if self._interval:
            self._times.append(now - self._begin - (self._got - self._first) * self._interval)
            self._checksum += sequence
            self._last = now
        self._got += 1

    def _take(self, count: int) -> list[Any]:
        if count <= 0:
            os.sched_yield()
            return []
        first, self._sent = self._sent, self._sent + count
        return [self._values[index % len(self._values)] for index in range(first, self._sent)]

    def _drain(self) -> Iterator[list[Any]]:
        # The watchdog bounds it.
        while self._got < self._sent:
            yield self._take(0)

    def batches(self) -> Iterator[list[Any]]:
        """Again and again what is to be sent now, often nothing, until all is answered."""
        yield self._take(WINDOW)
        yield from self._drain()
        begin, before = time.perf_counter(), self._got
        while (now := time.perf_counter()) < begin + CAPACITY_S:
            yield self._take(WINDOW - (self._sent - self._got))
        self.capacity = (self._got - before) / (now - begin)
        yield from self._drain()
        self._first, self._interval = self._sent, 2 / self.capacity
        total = self._first + max(1, int(self._seconds / self._interval))
        self._begin = time.perf_counter()
        while self._sent < total:
            due = self._first + 1 + int((time.perf_counter() - self._begin) / self._interval)
            yield self._take(min(due, total, self._sent + BURST) - self._sent)
        yield from self._drain()

    def figures(self) -> dict[str, float]:
        return {
            **quantiles(self._times),
            "rate": len(self._times) / (self._last - self._begin),
            "capacity": self.capacity,
            "count": len(self._times),
            "checksum": self._checksum % MODULUS,
        }


# -- row ingest: the sensors ---------------------------------------------------------------------------------


def ingest_peer(count: int, connections: int) -> None:
    """Publishers of samples for any collector that speaks ZMTP; connection k's samples have id k.

    They write bytes made beforehand to plain sockets, so that the row shows the collector and not who feeds it.
    They announce ZMTP 3.0: subscriptions come as messages then, and nobody sends PING. A full socket blocks,
    hence nothing is dropped.
    """
    import samples

    listeners = [socket.create_server((HOST, 0)) for _ in range(connections)]
    report_ports = " ".join(str(each.getsockname()[1]) for each in listeners)
    print(report_ports, flush=True)
    links = []
    for listener in listeners:
        listener.settimeout(TIMEOUT_S)
        link, _ = listener.accept()
        link.settimeout(TIMEOUT_S)
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        links.append(link)
    for link in links:
        _greet_subscriber(link)
    cycles = [b"".join(map(_sample_message, samples.sample_bytes(ident))) for ident in range(connections)]
    _publish(links, cycles, warm_up(count) // connections, samples.DIFFERENT)
    if sys.stdin.readline().strip() != "go":
        raise SystemExit("expected go on stdin")
    with Phase() as phase:
        _publish(links, cycles, count // connections, samples.DIFFERENT)
    far_report(phase)
    for each in (*links, *listeners):
        each.close()


def _sample_message(sample: bytes) -> bytes:
    return b"\x01%c%b\x00%c%b" % (len(SAMPLE_TOPIC), SAMPLE_TOPIC, len(sample), sample)


def _greet_subscriber(link: socket.socket) -> None:
    """Greeting, READY, and wait for the subscription."""
    link.sendall(b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32))
    link.sendall(b"\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x03PUB")
    incoming = link.makefile("rb", buffering=0)
    _exactly(incoming, 64)
    while True:
        flags, size = _exactly(incoming, 2)
        if flags & 2:
            raise SystemExit("a subscriber sent a long frame")
        body = _exactly(incoming, size)
        if body[:1] == b"\x01" and not flags & 4 and SAMPLE_TOPIC.startswith(body[1:]):
            return


def _exactly(incoming: Any, size: int) -> bytes:
    got = b""
    while len(got) < size:
        more = incoming.read(size - len(got))
        if not more:
            raise SystemExit("a subscriber closed its connection")
        got += more
    return got


def _publish(links: list[socket.socket], cycles: list[bytes], each: int, different: int) -> None:
    """`each` messages to each link, all links at the same time."""

    def send(link: socket.socket, cycle: bytes) -> None:
        message = len(cycle) // different
        many = memoryview(cycle * min(10, max(1, each // different)))
        left = each * message
        while left > 0:
            link.sendall(many[:left])
            left -= len(many)

    threads = [threading.Thread(target=send, args=arguments) for arguments in zip(links, cycles, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


# -- running -------------------------------------------------------------------------------------------------


def run(coroutine: Coroutine[Any, Any, None], loop: str = "asyncio") -> None:
    """Run on asyncio's loop or on uvloop's, bounded in time."""
    bounded = asyncio.wait_for(coroutine, TIMEOUT_S)
    if loop == "uvloop":
        import uvloop

        uvloop.run(bounded)
    else:
        asyncio.run(bounded)


def import_ms(statement: str) -> None:
    """Report the time that an import statement takes in a fresh interpreter, its bytecode cached."""
    program = f"import time;begin=time.perf_counter();{statement};print(1e3 * (time.perf_counter() - begin))"
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=TIMEOUT_S
        )
    report(import_ms=float(done.stdout))


def free_port() -> int:
    """For programs that cannot be asked which port they bound."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _argument(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def main(commands: dict[str, Callable[..., None]]) -> None:
    """`x_driver.py COMMAND [ARGUMENT ...]`; numbers become int or float."""
    if len(sys.argv) < 2 or sys.argv[1] not in commands:
        raise SystemExit(f"usage: {sys.argv[0]} {{{','.join(commands)}}} [ARGUMENT ...]")
    # Says where it hung, and ends the process whatever it waits for.
    faulthandler.dump_traceback_later(TIMEOUT_S, exit=True)
    _place()
    try:
        commands[sys.argv[1]](*map(_argument, sys.argv[2:]))
    finally:
        _end_others()
        faulthandler.cancel_dump_traceback_later()
