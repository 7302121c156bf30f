# SPDX-License-Identifier: Apache-2.0
"""The demo as a user meets it, each run as a process of its own; and its accounting."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("psutil")
pytest.importorskip("rich")
pytest.importorskip("typer")

import psutil  # type: ignore[import-untyped, unused-ignore]
from rich.console import Console

import plexo
from plexo.demo import display
from plexo.demo.ledger import Entry, Ledger
from plexo.demo.messages import (
    CpuCore,
    DiskCounters,
    Memory,
    NetworkCounters,
    RateChanged,
    Stamp,
    Temperature,
)
from plexo.demo.readings import Readings, Stamps, busy_percent

# Far more than anything here takes, also on a busy machine.
TIMEOUT_S = 60.0

ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": str(Path(plexo.__file__).parent.parent),
    "PYTHONUNBUFFERED": "1",
    "COLUMNS": "100",
}


# --- runs ---------------------------------------------------------------------------------------------------


class Run:
    """`plexo demo` with its output; nothing of it outlives the test."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "plexo", "demo", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=ENVIRONMENT,
            start_new_session=True,
        )
        self.output = ""

    def read_until(self, text: str) -> None:
        """Wait for `text` in the output."""
        assert self.process.stdout is not None
        deadline = time.monotonic() + TIMEOUT_S
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while text not in self.output:
                left = deadline - time.monotonic()
                assert left > 0, f"no {text!r} in {self.output!r}"
                if selector.select(left):
                    data = os.read(self.process.stdout.fileno(), 65536)
                    assert data, f"ended without {text!r}: {self.output!r}"
                    self.output += data.decode()

    def finish(self) -> int:
        """Wait for the end; the exit code."""
        rest, _ = self.process.communicate(timeout=TIMEOUT_S)
        self.output += rest.decode()
        return self.process.returncode

    def sensor_process(self) -> psutil.Process:
        (child,) = psutil.Process(self.process.pid).children()
        return child

    def end(self) -> None:
        # Its own session, so that this reaches the sensor process too, and nothing else.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate(timeout=TIMEOUT_S)


@contextlib.contextmanager
def running(*arguments: str) -> Iterator[Run]:
    run = Run(*arguments)
    try:
        yield run
    finally:
        run.end()


def has_ended(process: psutil.Process, within_s: float) -> bool:
    """Whether it ends in time. A zombie has ended; who reaps it, and when, is not ours."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.01)
    return False


def test_a_run_shows_every_type_and_both_directions() -> None:
    with running("--seconds", "2.5") as run:
        assert run.finish() == 0, run.output
    lines = run.output.splitlines()
    assert any(re.match(r" +[12]\.\d s +\d+ messages .* 0 lost .*Memory", line) for line in lines), run.output
    assert re.search(r"^Summary: \d+ messages in \d\.\d s, \d+/s, 0 lost$", run.output, re.M)
    for name in ("CpuCore", "Memory", "Load", "NetworkCounters"):
        row = re.search(rf"^{name} +(\d+) +(\d+) +0 ", run.output, re.M)
        assert row is not None, run.output
        assert int(row[1]) == int(row[2]) > 25
    assert "4 SamplingRate sent (10, 50, 20, 0 Hz), 4 answered by RateChanged" in run.output
    assert lines[-1] == "All messages arrived."
    assert "\x1b" not in run.output


def test_a_run_over_multicast_is_heard_by_two() -> None:
    with running("--seconds", "1.5", "--transport", "multicast") as run:
        assert run.finish() == 0, run.output
    assert "All messages arrived." in run.output
    heard = re.search(r"A second process heard ([\d,]+) messages", run.output)
    counted = re.search(r"Summary: ([\d,]+) messages", run.output)
    assert heard is not None and counted is not None
    assert heard[1] == counted[1] != "0"
    assert "9 types in 9 multicast groups, 9 of them agreed" in run.output


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interruption_ends_both_and_prints_the_summary(number: int, code: int) -> None:
    with running("--seconds", "60") as run:
        run.read_until(" messages ")
        child = run.sensor_process()
        # As a terminal does it: to every process of the group.
        os.killpg(run.process.pid, number) if number == signal.SIGINT else run.process.send_signal(number)
        assert run.finish() == code, run.output
        assert has_ended(child, 1.0)
    assert "Summary: " in run.output
    assert run.output.endswith("Interrupted.\n")
    assert "Traceback" not in run.output
    # The sensor process was not hit by the Ctrl-C: it answered to the very end.
    assert re.search(r"(\d) SamplingRate sent .* \1 answered", run.output), run.output


def test_ctrl_c_while_the_sensor_process_starts() -> None:
    with running("--seconds", "60") as run:
        run.read_until("starting")
        os.killpg(run.process.pid, signal.SIGINT)
        assert run.finish() == 130, run.output
    assert "Traceback" not in run.output


def test_a_sensor_process_that_hangs_does_not_hold_up_the_end() -> None:
    with running("--seconds", "60") as run:
        run.read_until(" messages ")
        child = run.sensor_process()
        child.suspend()
        run.process.send_signal(signal.SIGINT)
        assert run.finish() == 130, run.output
        assert has_ended(child, 1.0)


def test_a_sensor_process_that_dies_is_reported() -> None:
    with running("--seconds", "60") as run:
        run.read_until(" messages ")
        run.sensor_process().kill()
        assert run.finish() == 1, run.output
    assert re.search(r"^Not all went well: the sensor process was killed by SIGKILL after", run.output, re.M)
    assert "Summary: " in run.output
    # Nobody knows what it sent last.
    assert re.search(r"^Memory +\? +\d+ ", run.output, re.M), run.output


def test_what_a_dying_sensor_process_wrote_is_shown(tmp_path: Path) -> None:
    # Its psutil breaks; the viewer never imports psutil but to see whether it is there.
    (tmp_path / "psutil.py").write_text(
        "Error = OSError\ndef cpu_times(percpu): raise SystemError('no core')\n"
    )
    environment = {**ENVIRONMENT, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ENVIRONMENT['PYTHONPATH']}"}
    done = subprocess.run(
        [sys.executable, "-m", "plexo", "demo", "--seconds", "60"],
        env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "SystemError: no core" in done.stdout
    assert "the sensor process ended with exit code 1" in done.stdout


def test_the_sensor_process_ends_when_its_viewer_is_killed() -> None:
    with running("--seconds", "60") as run:
        run.read_until(" messages ")
        child = run.sensor_process()
        run.process.kill()
        assert has_ended(child, 5.0)


def test_a_port_in_use_is_said_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with running("--port", str(port)) as run:
            assert run.finish() == 1
    reason = os.strerror(errno.EADDRINUSE)
    assert run.output == f"plexo demo: cannot bind tcp://127.0.0.1:{port}: {reason}\n"


def test_a_reader_that_leaves_ends_the_demo_quietly() -> None:
    with running("--seconds", "60") as run:
        run.read_until(" messages ")
        child = run.sensor_process()
        assert run.process.stdout is not None
        run.process.stdout.close()
        assert run.process.wait(TIMEOUT_S) == 1
        assert has_ended(child, 1.0)


# --- accounting ---------------------------------------------------------------------------------------------


def test_gaps_are_losses_and_repetitions_are_not_gains() -> None:
    entry = Entry()
    for sequence in (0, 1, 4, 4, 3, 5):
        entry.add(Stamp(sequence, 0), 1_000_000)
    assert (entry.received, entry.lost, entry.disordered) == (6, 2, 2)
    entry.settle(8)
    entry.settle(8)
    assert entry.lost == 4  # and 6 and 7, which no gap shows


def test_the_first_messages_can_be_lost_too() -> None:
    entry = Entry()
    entry.add(Stamp(3, 0), 0)
    assert entry.lost == 3


def test_rate_is_taken_over_the_last_second() -> None:
    entry = Entry()
    assert entry.rate(0) == 0.0
    for quarter in range(1, 13):  # 10 each quarter of a second for two seconds, then nothing
        for _ in range(10 if quarter <= 8 else 0):
            entry.add(Stamp(entry.received, 0), 0)
        rate = entry.rate(quarter * 250_000_000)
        if 1 <= quarter <= 8:
            assert rate == pytest.approx(40.0)
    assert rate == 0.0


def test_latency_is_a_median_in_milliseconds() -> None:
    entry = Entry()
    assert entry.latency_ms is None
    for sequence, late_ms in enumerate((1, 2, 400)):
        entry.add(Stamp(sequence, 5), 5 + late_ms * 1_000_000)
    assert entry.latency_ms == pytest.approx(2.0)


def ledger_after(sent: dict[str, int], received: int, lost_at: int | None = None) -> Ledger:
    ledger = Ledger(("CpuCore", "Memory", "Temperature"), lambda: 0)
    ledger.begin()
    for sequence in range(received):
        if sequence != lost_at:
            ledger.take(CpuCore(Stamp(sequence, 0), 0, 1.0))
            ledger.take(Memory(Stamp(sequence, 0), 1, 2))
    request = ledger.next_request(0.0)
    ledger.answer(RateChanged(Stamp(0, 0), request.stamp.sequence, 0.0, sent))
    return ledger


def test_a_complete_run_has_no_problems() -> None:
    ledger = ledger_after({"CpuCore": 3, "Memory": 3}, 3)
    assert ledger.problems() == []
    assert ledger.settled
    assert not ledger.is_available("Temperature")


@pytest.mark.parametrize(
    ("ledger", "problems"),
    [
        (Ledger(("CpuCore",)), ["no message arrived"]),
        (ledger_after({"CpuCore": 4, "Memory": 3}, 3), ["1 CpuCore lost"]),
        (ledger_after({"CpuCore": 3, "Memory": 3}, 3, lost_at=1), ["1 CpuCore lost", "1 Memory lost"]),
        (ledger_after({"CpuCore": 3, "Memory": 3, "Temperature": 0}, 3), ["no Temperature arrived"]),
        (ledger_after({}, 0), ["this machine shows no sensor at all"]),
    ],
)
def test_what_is_missing_is_named(ledger: Ledger, problems: list[str]) -> None:
    assert ledger.problems() == problems


def test_only_the_answer_to_a_request_answers_it() -> None:
    ledger = ledger_after({"CpuCore": 3, "Memory": 3}, 3)
    ledger.next_request(50.0)
    ledger.answer(RateChanged(Stamp(1, 0), 1, 20.0, {"CpuCore": 3, "Memory": 3}))
    ledger.answer(RateChanged(Stamp(2, 0), 7, 50.0, {"CpuCore": 3, "Memory": 3}))
    assert ledger.problems() == ["1 of 2 SamplingRate not answered by a RateChanged"]
    assert not ledger.settled


# --- readings -----------------------------------------------------------------------------------------------


def test_readings_are_numbered_by_type_from_zero() -> None:
    stamps = Stamps(lambda: 7)
    readings = Readings(stamps)
    assert set(stamps.sent.values()) == {0}
    seen: dict[str, list[int]] = {}
    for _ in range(3):
        for message in readings.sample():
            assert message.stamp.sent_ns == 7
            seen.setdefault(type(message).__name__, []).append(message.stamp.sequence)
    assert {name: list(range(count)) for name, count in stamps.sent.items()} == seen
    assert {"CpuCore", "Memory", "Load"} <= seen.keys()


def test_a_sensor_that_is_not_there_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(percpu: bool = False, perdisk: bool = False) -> None:
        raise PermissionError("not in this container")

    monkeypatch.setattr(psutil, "disk_io_counters", refused)
    monkeypatch.setattr(psutil, "sensors_temperatures", dict, raising=False)
    stamps = Stamps()
    Readings(stamps)
    assert not {"DiskCounters", "Temperature"} & stamps.sent.keys()
    assert "Memory" in stamps.sent


def test_a_sensor_that_fails_later_takes_only_itself_away(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    readings = Readings(Stamps())

    def refused() -> None:
        raise OSError("gone")

    monkeypatch.setattr(psutil, "getloadavg", refused)
    kinds = [type(message).__name__ for _ in range(2) for message in readings.sample()]
    assert kinds.count("Memory") == 2
    assert "Load" not in kinds
    assert capsys.readouterr().err == "Load: gone; no longer read\n"


@pytest.mark.parametrize(
    ("before", "after", "percent"),
    [
        ((1.0, 2.0), (1.5, 3.0), 50.0),
        ((1.0, 2.0), (1.0, 3.0), 100.0),
        ((1.0, 2.0), (1.0, 2.0), 0.0),
        ((1.0, 2.0), (3.0, 3.0), 0.0),
    ],
)
def test_busy_percent(before: tuple[float, float], after: tuple[float, float], percent: float) -> None:
    assert busy_percent(before, after) == pytest.approx(percent)


# --- display ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (9_994, "9.99 kB"),
        (9_996, "10.0 kB"),
        (99_960, "100 kB"),
        (999_499, "999 kB"),
        (999_600, "1.00 MB"),
        (25_276_502_016, "25.3 GB"),
        (3 * 10**18, "3000 PB"),
    ],
)
def test_bytes_have_three_digits(count: int, text: str) -> None:
    assert display.human_bytes(count) == text


def test_latest_values_are_for_people() -> None:
    stamp = Stamp(0, 10)
    cores = {core: CpuCore(stamp, core, 10.0 * core) for core in range(3)}
    assert display.latest_values("CpuCore", cores) == "10 % of 3: 0 10 20"
    many = {core: CpuCore(stamp, core, float(core)) for core in range(64)}
    assert display.latest_values("CpuCore", many) == "32 % of 64, core 63 63 %"
    disks = {name: DiskCounters(stamp, name, size, 2 * size) for name, size in (("a", 1), ("b", 10**6))}
    text = "b read 1.00 MB written 2.00 MB, a read 1 B written 2 B"
    assert display.latest_values("DiskCounters", disks) == text
    assert display.latest_values("Temperature", {"x": Temperature(stamp, "x", 41.6)}) == "x 42 °C"
    assert display.latest_values("Load", {}) == "-"


def test_what_has_gone_is_no_longer_shown_and_names_do_not_command_the_terminal() -> None:
    latest: dict[object, object] = {
        "gone": NetworkCounters(Stamp(0, 0), "gone", 1, 1),
        "evil": NetworkCounters(Stamp(1, display.STALE_NS), "e\x1b[2J", 2, 2),
    }
    assert display.latest_values("NetworkCounters", latest) == "e?[2J in 2 B out 2 B"


@pytest.mark.parametrize("width", [20, 40, 50, 64, 100, 200])
def test_every_row_of_the_table_is_one_line(width: int) -> None:
    ledger = ledger_after({"CpuCore": 3, "Memory": 3}, 3, lost_at=1)
    console = Console(width=width, file=None, color_system=None, record=True, quiet=False)
    with console.capture() as capture:
        console.print(display.live_table(ledger, 10.0, width, 0))
    lines = capture.get().rstrip("\n").split("\n")
    frame = 4 if width >= display.WIDTH_WITH_RATE else 1  # lines of the box and the headers
    assert len(lines) == 1 + frame + 3
    assert all(len(line.rstrip()) < width - 1 for line in lines)
    assert ("latency" in lines[2]) == (width >= display.WIDTH_WITH_LATENCY)


@pytest.mark.parametrize(
    ("environment", "plain", "table"),
    [
        ({"TERM": "xterm"}, False, True),
        ({"TERM": "xterm", "NO_COLOR": ""}, False, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False, False),
        ({"TERM": "dumb"}, False, False),
        ({}, False, False),
        ({"TERM": "xterm"}, True, False),
    ],
)
def test_when_a_table_is_drawn(
    environment: dict[str, str], plain: bool, table: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TERM", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert display.wants_table(plain) == table
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False)
    assert not display.wants_table(plain)
