# SPDX-License-Identifier: Apache-2.0
"""The tutorial, as a reader goes through it: listings are programs of examples/tutorial, and print what the pages say.

A listing is a block with a title that includes a file, an output a block behind a comment:

    <!-- prints -->            all that the listing before it prints
    <!-- prints: log.py -->    what log.py prints first
"""

from __future__ import annotations

import contextlib
import difflib
import itertools
import os
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.multicast.network import Host, Network, run, trouble
from tests.program import Program, python

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "docs/tutorial"
PROGRAMS = ROOT / "examples/tutorial"
STAGES = {
    "one-process": "1-one-process",
    "two-processes": "2-two-processes",
    "samples": "3-samples",
    "three-machines": "4-three-machines",
}
# How long programs may take to hear of each other.
JOIN_S = 20

# In this form of an inclusion ruff sees no Python that it could format.
_LISTING = re.compile(
    r'^```python title="(?P<title>[\w.]+)"(?: hl_lines="(?P<marked>[\d ]+)")?\n'
    r"--8<--\n(?P<path>[^:\n]+):2\n--8<--\n```$",
    re.MULTILINE,
)
_PRINTS = re.compile(r"^<!-- prints(?:: (?P<program>[\w.]+))? -->\n```text\n(?P<text>.*?)^```$", re.M | re.S)
_FENCE = re.compile(r"^```.+?^```$", re.MULTILINE | re.DOTALL)


class Page(NamedTuple):
    text: str
    listings: dict[str, Path]
    # Which of its lines stand out, counted from the second line of the file.
    marked: dict[str, list[int]]
    # Of a program without a second one: all of it. Otherwise: how it begins.
    outputs: dict[str, str]


def page(name: str) -> Page:
    text = (PAGES / f"{name}.md").read_text()
    listings: dict[str, Path] = {}
    marked: dict[str, list[int]] = {}
    outputs: dict[str, str] = {}
    for found in sorted([*_LISTING.finditer(text), *_PRINTS.finditer(text)], key=re.Match.start):
        parts = found.groupdict()
        if "title" in parts:
            last = parts["title"]
            listings[last] = ROOT / parts["path"]
            marked[last] = [int(number) for number in (parts["marked"] or "").split()]
        else:
            outputs[parts["program"] or last] = parts["text"]
    return Page(text, listings, marked, outputs)


def test_every_page_and_every_program_belongs_to_a_stage() -> None:
    assert {path.stem for path in PAGES.glob("*.md")} == {*STAGES, "index"}
    assert {path.name for path in PROGRAMS.iterdir()} == set(STAGES.values())


@pytest.mark.parametrize("name", STAGES)
def test_a_page_shows_all_programs_of_its_stage(name: str) -> None:
    this = page(name)
    files = {path.name: path for path in (PROGRAMS / STAGES[name]).glob("*.py")}
    for shared in files.keys() - this.listings.keys():
        # "`messages.py` stays as it is."
        assert f"`{shared}` stays as it is" in this.text
        assert files.pop(shared).read_text() == page("samples").listings[shared].read_text()
    assert this.listings == files
    for path in this.listings.values():
        assert path.read_text().startswith("# SPDX-License-Identifier: Apache-2.0\n")  # which pages leave out
    # Nothing is shown that no test sees.
    seen = len(this.listings) + len(this.outputs)
    assert len(_FENCE.findall(this.text)) == seen


def new_lines(old: Path, now: Path) -> list[int]:
    """The numbers of lines that are not blank and were not in the older file."""
    before, after = (path.read_text().splitlines()[1:] for path in (old, now))
    changes = difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
    changed = [index for kind, _, _, begin, end in changes if kind != "equal" for index in range(begin, end)]
    return [index + 1 for index in changed if after[index].strip()]


@pytest.mark.parametrize(("before", "now"), list(itertools.pairwise(STAGES)))
def test_what_is_new_stands_out(before: str, now: str) -> None:
    """New against the file of the same name; the programs of the second page come of brewery.py."""
    this, older = page(now), page(before).listings
    for title, path in this.listings.items():
        if title == "alarm.py" or (now, title) == ("two-processes", "messages.py"):
            assert this.marked[title] == []  # all of it is new, or none
        else:
            old = older.get(title) or older["brewery.py"]
            assert this.marked[title] == new_lines(old, path), title


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Desk:
    """The reader's folder with the files of a stage. What they say of port 5570 is said of a free one."""

    def __init__(self, name: str, folder: Path) -> None:
        self.page = page(name)
        self.folder = folder
        self.port = str(free_port())
        for path in self.page.listings.values():
            (folder / path.name).write_text(path.read_text().replace("5570", self.port))

    def start(self, program: str, *arguments: str) -> Program:
        return Program(python(program, *arguments), self.folder)

    def said(self, program: str) -> list[str]:
        return self.page.outputs[program].replace("5570", self.port).splitlines()


@pytest.mark.parametrize("program", ["brewery.py", "wrong.py"])
def test_one_process(program: str, tmp_path: Path) -> None:
    desk = Desk("one-process", tmp_path)
    with desk.start(program) as running:
        assert running.output() == desk.page.outputs[program]


def number_in(line: str) -> int:
    found = re.match(r"tank-\d #(\d+): ", line)
    assert found, line
    return int(found[1])


def test_two_processes(tmp_path: Path) -> None:
    desk = Desk("two-processes", tmp_path)
    with contextlib.ExitStack() as stack:
        tank = stack.enter_context(desk.start("tank.py"))
        assert tank.lines(1) == desk.said("tank.py")
        log = stack.enter_context(desk.start("log.py"))
        assert log.lines(3) == desk.said("log.py")
        # "Start a second log: both get everything."
        second = stack.enter_context(desk.start("log.py"))
        (heard,) = second.lines(1)
        while (line := log.line()) != heard:
            assert number_in(line) <= number_in(heard)
        # "Stop the log and start it again: it goes on with what the tank sends now."
        log.interrupt()
        log = stack.enter_context(desk.start("log.py"))
        assert number_in(log.line()) > number_in(heard)
        # "Stop the tank and start it again: the log finds it, and begins with number 1."
        second.interrupt()
        tank.interrupt()
        tank = stack.enter_context(desk.start("tank.py"))
        assert tank.lines(1) == desk.said("tank.py")
        while number_in(line := log.line()) != 1:
            pass
        assert [line, *log.lines(2)] == desk.said("log.py")
        log.interrupt()
        tank.interrupt()


def test_two_processes_started_in_the_other_order(tmp_path: Path) -> None:
    desk = Desk("two-processes", tmp_path)
    with desk.start("log.py") as log, desk.start("tank.py") as tank:
        assert log.lines(3) == desk.said("log.py")
        tank.interrupt()
        log.interrupt()


def test_samples(tmp_path: Path) -> None:
    pytest.importorskip("numpy")
    desk = Desk("samples", tmp_path)
    with desk.start("tank.py") as tank, desk.start("log.py") as log:
        assert log.lines(6) == desk.said("log.py")
        # "It says how many messages never came to the reactant", unless the batch had just been handed over.
        log.interrupt(r"(.*closed with \d+ messages of \S+Vibration.numpy waiting.*\n)?")
        tank.interrupt()


# -- three machines ----------------------------------------------------------------------------------------------


@pytest.fixture
def machines() -> Iterator[list[Host]]:
    """Four machines on one switch, whose way to the rest of the world is that cable too."""
    reason = trouble()
    if reason and os.environ.get("PLEXO_REQUIRE_NAMESPACES"):
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)
    pytest.importorskip("numpy")
    with Network(4) as network:
        for host in network.hosts:
            run("ip", "-n", host.name, "route", "add", "default", "via", "10.77.0.254")
        yield network.hosts


def joined(host: Host, count: int) -> set[str]:
    """The groups of a host, when there are at least so many."""
    deadline = time.monotonic() + JOIN_S
    while len(groups := host.groups()) < count:
        assert time.monotonic() < deadline, groups
        time.sleep(0.02)
    return groups


def on(host: Host, program: str, *arguments: str) -> Program:
    return Program(python(program, *arguments), PROGRAMS / STAGES["three-machines"], host.command)


def until(program: Program, beginning: str) -> str:
    while not (line := program.line()).startswith(beginning):
        pass
    return line


def test_three_machines(machines: list[Host]) -> None:
    this = page("three-machines")
    one, two, three, four = machines
    with contextlib.ExitStack() as stack:
        # Each is in the group of control, and in one for each neuron that it reacts to.
        log = stack.enter_context(on(one, "log.py"))
        of_log = joined(one, 3)
        alarm = stack.enter_context(on(two, "alarm.py"))
        of_alarm = joined(two, 2)
        tank = stack.enter_context(on(three, "tank.py", "tank-1"))
        assert tank.lines(1) == ["tank-1 is measuring"]
        assert log.lines(3) == this.outputs["log.py"].splitlines()
        assert alarm.lines(1) == this.outputs["alarm.py"].splitlines()
        # "It does not join the group of the vibrations."
        assert of_alarm < of_log
        assert len(of_log - of_alarm) == 1
        until(log, "5000 samples, 0.707 g")
        # "Plug in a fourth machine": with the interface named, and no other way into the world.
        run("ip", "-n", four.name, "route", "delete", "default")
        other = stack.enter_context(on(four, "tank.py", "tank-2", "eth0"))
        assert until(log, "tank-2 ") == "tank-2 #1: 18.2 degrees"
        assert re.fullmatch(r"tank-2 is too warm: (19\.\d|20\.0) degrees", until(alarm, "tank-2 "))
        # "Who comes late hears what is sent from then on."
        late = stack.enter_context(on(four, "log.py", "eth0"))
        assert number_in(until(late, "tank-1 ")) > 6
        for source in (tank, other):
            source.interrupt()
        for listener in (alarm, log, late):
            listener.interrupt(r"(.*closed with \d+ messages of \S+ waiting for a reactant\n)*")


def test_three_machines_are_one_machine(machines: list[Host]) -> None:
    """The page's last resort, in three terminals; nothing goes over the cable."""
    this = page("three-machines")
    (host, *_) = machines
    host.pull_the_cable()
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(on(host, "log.py", "127.0.0.1"))
        alarm = stack.enter_context(on(host, "alarm.py", "127.0.0.1"))
        time.sleep(1)
        tank = stack.enter_context(on(host, "tank.py", "tank-1", "127.0.0.1"))
        assert log.lines(3) == this.outputs["log.py"].splitlines()
        assert alarm.lines(1) == this.outputs["alarm.py"].splitlines()
        tank.interrupt()
