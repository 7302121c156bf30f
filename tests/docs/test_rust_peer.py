# SPDX-License-Identifier: Apache-2.0
"""The Rust program of docs/rust-peer.md against the Python one, both ways, and what either side does with odd JSON.

Run by `make rust`. Building takes a minute, cargo and the network: without PLEXO_RUST_PEER=1 it is skipped.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import socket
import subprocess
from pathlib import Path

import msgspec
import pytest

from plexo import Cause, GanglionZmqTcpPubSub, JsonCodec, Neuron, Plexus
from tests.program import Program, python
from tests.support import run, within

ROOT = Path(__file__).resolve().parents[2]
RUST = ROOT / "examples/rust"
PAGE = (ROOT / "docs/rust-peer.md").read_text()
BUILT = ROOT / ".cache/rust-peer"
BUILD_S = 400


class Reading(msgspec.Struct):
    tank: str
    number: int
    celsius: float


reading = Neuron(Reading, "org.brewery.sake", JsonCodec())


def said(program: str) -> list[str]:
    (text,) = re.findall(rf"^<!-- prints: {program} -->\n```text\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return [str(line) for line in text.splitlines()]


def without_numbers(lines: list[str]) -> list[str]:
    return [re.sub(r"#\d+", "#", line) for line in lines]


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def test_the_page_shows_the_programs_and_their_versions() -> None:
    assert re.findall(r"^--8<--\n(.+):2\n--8<--$", PAGE, re.MULTILINE) == [
        "examples/rust/Cargo.toml",
        "examples/rust/src/main.rs",
        "examples/rust/brewery.py",
    ]
    lock = (RUST / "Cargo.lock").read_text()
    for crate, version in (
        ("plexor-core", "0.1.0-alpha.2"),
        ("plexor-codec-serde-json", "0.1.0-alpha.2"),
        ("zeromq", "0.7.0"),
    ):
        assert f'name = "{crate}"\nversion = "{version}"\n' in lock
        assert version in PAGE


@pytest.fixture(scope="module")
def tank() -> str:
    """The Rust program, built."""
    if not os.environ.get("PLEXO_RUST_PEER"):
        pytest.skip("building the Rust program takes a minute: make rust")
    assert shutil.which("cargo"), "make rust needs cargo"
    subprocess.run(
        ["cargo", "build", "--quiet", "--locked"],
        cwd=RUST,
        env={**os.environ, "CARGO_TARGET_DIR": str(BUILT)},
        timeout=BUILD_S,
        check=True,
    )
    return str(BUILT / "debug/tank")


@pytest.mark.time_limit(BUILD_S)
def test_both_ways(tank: str, tmp_path: Path) -> None:
    ours, theirs = free_ports(2)
    text = (RUST / "brewery.py").read_text()
    (tmp_path / "brewery.py").write_text(text.replace("5570", str(ours)).replace("5571", str(theirs)))
    with (
        Program(python("brewery.py"), tmp_path) as brewery,
        Program([tank, "publish", str(theirs)], tmp_path) as publisher,
        Program([tank, "log", str(ours)], tmp_path) as log,
    ):
        assert publisher.lines(1) == [f"publishing org.brewery.sake.Reading.json at tcp://127.0.0.1:{theirs}"]
        for program, name in ((brewery, "brewery.py"), (log, "tank log")):
            lines = program.lines(2)
            assert without_numbers(lines) == without_numbers(said(name))
            first, second = (int(re.findall(r"#(\d+)", line)[0]) for line in lines)
            assert second == first + 1
        brewery.interrupt()


@pytest.mark.time_limit(BUILD_S)
def test_what_rust_makes_of_odd_json(tank: str, tmp_path: Path) -> None:
    """Unknown fields and whole numbers are taken; null, missing fields and too large integers are dropped."""

    async def main() -> None:
        async with GanglionZmqTcpPubSub("127.0.0.1", port_pub=0) as ganglion:
            await ganglion.adapt(reading)
            with Program([tank, "log", str(ganglion.port_pub)], tmp_path) as log:
                await within(ganglion.ready(neuron=reading))
                for payload in (
                    b'{"tank":"a","number":1,"celsius":2,"extra":[true]}',
                    reading.encode(Reading("b", 2, float("nan"))),
                    b'{"tank":"c","number":3}',
                    b'{"tank":"d","number":4294967296,"celsius":1.5}',
                    reading.encode(Reading("e", 5, -1.5)),
                ):
                    await ganglion.transmit_encoded(payload, reading)
                lines = await within(asyncio.to_thread(log.lines, 2))
                assert lines == ["a #1: 2.0 degrees", "e #5: -1.5 degrees"]
                log.process.kill()
                errors = log.process.communicate()[1]
                assert errors.count("dropped: ") == 3

    run(main(), BUILD_S)


def test_what_python_makes_of_odd_json() -> None:
    assert reading.encode(Reading("b", 2, float("nan"))) == b'{"tank":"b","number":2,"celsius":null}'
    assert reading.decode(b'{"tank":"a","number":1,"celsius":2,"extra":[true]}') == Reading("a", 1, 2.0)
    for payload in (b'{"tank":"b","number":2,"celsius":null}', b'{"tank":"c","number":3}'):
        with pytest.raises(msgspec.ValidationError):
            reading.decode(payload)

    class Maybe(msgspec.Struct):
        celsius: float | None = None

    maybe = Neuron(Maybe, "org.brewery.sake", JsonCodec())
    assert maybe.decode(b"{}") == maybe.decode(b'{"celsius":null}') == Maybe(None)

    async def main() -> None:
        async with Plexus([GanglionZmqTcpPubSub("127.0.0.1", port_pub=0)]) as source:
            link = GanglionZmqTcpPubSub(port_pub=None, peers=[source.ganglia[0].endpoint])
            async with Plexus([link]) as log:
                stream = log.stream(reading)
                await source.adapt(reading)
                await within(source.ready(neuron=reading))
                await source.ganglia[0].transmit_encoded(b'{"tank":"c","number":3}', reading)
                await source.transmit(Reading("e", 5, -1.5))
                assert await within(anext(stream)) == Reading("e", 5, -1.5)
                assert link.stats().fault_count(Cause.UNDECODABLE) == 1

    run(main())
