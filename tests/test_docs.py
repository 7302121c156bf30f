# SPDX-License-Identifier: Apache-2.0
"""The documents are true as far as a machine can tell: their Python runs and prints what they say, and their
links and the names they give exist.

A comment on the line before a block says what is special about it:

    <!-- prints -->          the text is the whole output of the Python block before it
    <!-- needs: numpy -->    skipped where this module is missing
    <!-- file: x.py -->      a program that a test of its own runs, with others
    <!-- not run: why -->    only compiled

The listings of the tutorial are files, which tests/docs/test_tutorial.py runs; of its pages only the links are looked
at here. What the site is made of beside the pages, and what comes out, is checked by tests/docs/check_site.py.
"""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted(
    [ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")]
    + list((ROOT / "docs").rglob("*.md"))
)
TUTORIAL = ROOT / "docs/tutorial"
TIMEOUT_S = 30

_FENCE = re.compile(
    r"(?:^<!-- (?P<mark>[^\n]*?) -->\n)?^```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
# The number is that of the first line that is shown: never the licence. Other forms of an inclusion ruff takes for
# Python, and formats.
_LISTING = re.compile(r"--8<--\n(?P<path>examples/[^:\n]+\.py):\d+\n--8<--\n")
_LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)")


class Block(NamedTuple):
    document: Path
    line: int
    mark: str
    text: str
    prints: str | None


def _blocks(document: Path) -> list[Block]:
    text = document.read_text()
    blocks: list[Block] = []
    for fence in _FENCE.finditer(text):
        mark = fence["mark"] or ""
        if mark == "prints":
            blocks[-1] = blocks[-1]._replace(prints=fence["text"])
        elif fence["language"] == "python":
            line = text.count("\n", 0, fence.start("text")) + 1
            blocks.append(Block(document, line, mark, fence["text"], None))
    return blocks


BLOCKS = [
    block for document in DOCUMENTS if not document.is_relative_to(TUTORIAL) for block in _blocks(document)
]


def _name(block: Block) -> str:
    return f"{block.document.name}:{block.line}"


def _program(block: Block) -> str:
    """With the line numbers of the document, for tracebacks."""
    return "\n" * (block.line - 1) + block.text


@pytest.mark.parametrize("block", BLOCKS, ids=_name)
def test_python_block(block: Block, tmp_path: Path) -> None:
    listing = _LISTING.fullmatch(block.text)
    if listing is not None:  # a file, which has a test of its own
        assert (ROOT / listing["path"]).is_file()
        return
    compile(_program(block), block.document.name, "exec", dont_inherit=True)
    kind, _, what = block.mark.partition(": ")
    assert kind in ("", "needs", "file", "not run"), f"unknown mark {block.mark!r}"
    if kind in ("file", "not run"):
        assert what, "say which file, or why it is not run"
        return
    if kind == "needs" and importlib.util.find_spec(what) is None:
        pytest.skip(f"needs {what}")
    program = tmp_path / block.document.with_suffix(".py").name
    program.write_text(_program(block))
    done = subprocess.run(
        [sys.executable, str(program)],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr
    if block.prints is not None:
        assert done.stdout == block.prints


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_the_two_terminals_of_the_readme(tmp_path: Path) -> None:
    files = {block.mark.removeprefix("file: "): block for block in BLOCKS if block.mark.startswith("file: ")}
    assert set(files) == {"sensor.py", "watch.py"}
    port = str(_free_port())
    for name, block in files.items():
        assert block.text.count("5570") == 1
        (tmp_path / name).write_text(block.text.replace("5570", port))

    def start(name: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, str(tmp_path / name)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )

    with contextlib.ExitStack() as cleanup:

        def started(name: str) -> subprocess.Popen[str]:
            process = start(name)
            watchdog = threading.Timer(TIMEOUT_S, process.kill)
            watchdog.start()
            for each in (watchdog.cancel, process.communicate, process.kill):  # called in the opposite order
                cleanup.callback(each)
            return process

        watch = started("watch.py")
        sensor = started("sensor.py")
        assert watch.stdout is not None
        assert watch.stdout.readline() == "tank-1: 21.5 degrees\n"
        sensor.send_signal(signal.SIGINT)
        sensor.communicate(timeout=TIMEOUT_S)
        started("sensor.py")  # the watcher finds the restarted sensor
        assert watch.stdout.readline() == "tank-1: 21.5 degrees\n"


def test_the_small_example_is_small() -> None:
    block = next(block for block in BLOCKS if block.mark == "file: sensor.py")
    assert len([line for line in block.text.splitlines() if line.strip()]) <= 20


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_links(document: Path) -> None:
    for link in _LINK.finditer(_FENCE.sub("", document.read_text())):
        target, _, anchor = link["target"].partition("#")
        if "://" in target or target.startswith("mailto:"):
            continue
        path = (document.parent / target).resolve() if target else document
        assert path.is_relative_to(ROOT), f"{link[0]} leaves the project"
        assert path.exists(), f"{link[0]} leads nowhere"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
            anchors = {
                re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings
            }
            assert anchor in anchors, f"{link[0]}: no such heading"


def test_every_public_name_is_in_the_reference() -> None:
    import plexo
    import plexo.exceptions

    described: set[str] = set()
    for page in (ROOT / "docs/reference").glob("*.md"):
        described.update(re.findall(r"^::: plexo\.(\w+)$", page.read_text(), re.MULTILINE))
    assert "::: plexo.exceptions\n" in (ROOT / "docs/reference/exceptions.md").read_text()
    described.update(name for name in vars(plexo.exceptions) if not name.startswith("_"))
    assert set(plexo.__all__) - described == set()


def _defined_names() -> set[str]:
    """Names of classes, functions and attributes in the sources, compiled ones too."""
    names: set[str] = set()
    for path in (ROOT / "src/plexo").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                names.add(node.name)
    compiled = re.compile(
        r"^\s*(?:(?:cdef|cpdef|async|inline|def|class)\s+)+(?:[\w.\[\]]+\s+\**)*(\w+)\s*[(:]", re.MULTILINE
    )
    for path in (ROOT / "src/_fast").glob("*.pyx"):
        names.update(compiled.findall(path.read_text()))
    return names


def test_the_walk_names_what_exists() -> None:
    text = (ROOT / "docs/walk.md").read_text()
    defined = _defined_names()
    missing = []
    for quoted in re.findall(r"`([^`\n]+)`", text):
        if quoted.endswith((".py", ".pyx")):
            home = ROOT / ("src/_fast" if quoted.endswith(".pyx") else "src/plexo")
            if not (home / quoted).is_file():
                missing.append(quoted)
        elif re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)?", quoted):
            missing += [part for part in quoted.split(".") if part not in defined | _OTHER_NAMES]
    assert missing == []


# Words of Python and C that the walk quotes beside our own.
_OTHER_NAMES = {"isinstance", "None", "bytes", "poll", "sendmsg"}


def test_limits_in_security_are_the_ones_in_the_code() -> None:
    from plexo._fast.books import MAX_TALLIES
    from plexo._fast.dispatch import DEFAULT_QUEUE
    from plexo._fast.envelope import MAX_PAYLOAD, MAX_SEGMENTS
    from plexo._fast.pump import MAX_AHEAD, MAX_READS, READ_BYTES
    from plexo._fast.reception import MOST_PACKETS
    from plexo._fast.sending import MAX_FORWARD_WAITING
    from plexo._proto import delivery
    from plexo._proto.paxos.acceptor import MAX_OPEN_SLOTS
    from plexo._proto.paxos.members import MAX_MEMBERS, MAX_OFFERED_BYTES
    from plexo._proto.subscriptions import MAX_TOPIC_BYTES, MAX_TOPICS
    from plexo._proto.zmtp_handshake import MAX_HANDSHAKE_COMMAND
    from plexo.codec.pickle_codec import _MAX_NESTED_TUPLES
    from plexo.ganglion import multicast, zmtp
    from plexo.ganglion.base import DEAD_LETTER_QUEUE
    from plexo.ganglion.channel import MAX_UNREAD_OUTCOMES
    from plexo.ganglion.events import MAX_EVENTS
    from plexo.ganglion.plugin import MAX_FEEDS

    rows = dict(re.findall(r"^\| (`.+?) \| (.+?) \|", (ROOT / "SECURITY.md").read_text(), re.MULTILINE))
    expected = {
        "`max_frame_bytes`": f"{zmtp.DEFAULT_MAX_FRAME_BYTES >> 30} GiB",
        "`send_queue`": f"{zmtp.DEFAULT_PAIR_QUEUE.bytes >> 20} MiB (pair), "
        f"{zmtp.DEFAULT_PUBLISH_QUEUE.bytes >> 20} MiB (publish)",
        "`receive_queue`": f"{DEFAULT_QUEUE.messages} messages or {DEFAULT_QUEUE.bytes >> 20} MiB",
        "`handshake_timeout_s`": f"{zmtp.DEFAULT_HANDSHAKE_TIMEOUT_S:.0f} s",
        "`MAX_HANDSHAKES`": f"{zmtp.MAX_HANDSHAKES} connections",
        "`MAX_LINKS`": f"{zmtp.MAX_LINKS} connections",
        "`MAX_HANDSHAKE_COMMAND`": f"{MAX_HANDSHAKE_COMMAND} bytes",
        "`MAX_TOPICS`, `MAX_TOPIC_BYTES`": f"{MAX_TOPICS:,} prefixes of {MAX_TOPIC_BYTES:,} bytes",
        "`ENVELOPE_MAX_SEGMENTS`": f"{MAX_SEGMENTS} segments",
        "`ENVELOPE_MAX_PAYLOAD`": f"{MAX_PAYLOAD:,} bytes",
        "`WINDOW_IDS`, `WINDOW_BYTES`": f"{delivery.WINDOW_IDS} messages, {delivery.WINDOW_BYTES >> 20} MiB",
        "`MAX_SESSIONS`": f"{delivery.MAX_SESSIONS} senders",
        "`MAX_REQUESTS`": f"{delivery.MAX_REQUESTS} questions",
        "`MAX_UNREAD_OUTCOMES`": f"{MAX_UNREAD_OUTCOMES} outcomes",
        "`MAX_SOURCES`": f"{multicast.MAX_SOURCES} multicast sources",
        "`receive_window_bytes`, `MOST_PACKETS`": f"{multicast.DEFAULT_RECEIVE_WINDOW_BYTES >> 20} MiB, "
        f"{MOST_PACKETS:,} packets",
        "`MAX_MEMBERS`, `MAX_OPEN_SLOTS`": f"{MAX_MEMBERS} other nodes, {MAX_OPEN_SLOTS:,} slots",
        "`MAX_OFFERED_BYTES`": f"{MAX_OFFERED_BYTES >> 20} MiB",
        "`BLOCKS_AHEAD`, `MAX_BLOCKS`": f"{MAX_AHEAD} reads of {READ_BYTES >> 10} KiB for one link, {MAX_READS} in all",
        "`MAX_FORWARD_WAITING`": f"{MAX_FORWARD_WAITING} forwarded messages",
        "`DEAD_LETTER_QUEUE`": f"{DEAD_LETTER_QUEUE.messages} dead letters",
        "`MAX_FEEDS`": f"{MAX_FEEDS} hosts",
        "`MAX_EVENTS`": f"{MAX_EVENTS} link events",
        "`MAX_TALLIES`": f"{MAX_TALLIES} kinds",
        "`_MAX_NESTED_TUPLES`": f"{_MAX_NESTED_TUPLES}",
    }
    assert rows.keys() == expected.keys()
    for limit, value in expected.items():
        assert rows[limit].startswith(value), limit
