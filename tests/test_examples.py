# SPDX-License-Identifier: Apache-2.0
"""Every example, run as a user runs it: a process with arguments, judged by what it prints.

Ports: the side that binds takes port 0 and prints where it is, so that no two runs can collide. Programs that
serve until they are interrupted get the SIGINT that Ctrl-C sends, and must end quietly.
"""

from __future__ import annotations

import re
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.program import END_S, TIMEOUT_S, Program, python

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"

PORT = re.compile(r"tcp://127\.0\.0\.1:(\d+)")


def free_udp_port() -> int:
    """One that nobody uses now: multicast programs share theirs, so there is none to be given out."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Example(Program):
    """One running example."""

    def __init__(self, name: str, *arguments: object) -> None:
        super().__init__(python(EXAMPLES / name, *arguments), PYTHONUNBUFFERED="1")

    def ports(self) -> list[int]:
        """The ports named in the next line."""
        return [int(port) for port in PORT.findall(self.line())]


def test_inproc() -> None:
    with Example("inproc.py") as example:
        lines = example.output().splitlines()
    assert "org.brewery.sake.Reading.msgpack: tank-1 is at 21.5 degrees" in lines
    assert "the same object: True" in lines
    assert "org.brewery.sake.Order.json: Order(bottles=12, label='Junmai')" in lines
    assert "org.brewery.sake.Recipe.pickle: Recipe('yeast starter')" in lines
    assert "org.brewery.sake.str.string_UTF-8: 'lights out'" in lines
    assert lines[-1].endswith("""b'{"bottles":12,"label":"Junmai"}'""")


def test_pair() -> None:
    with Example("pair.py", "bind", "--port", 0) as server:
        (port,) = server.ports()
        for _ in range(2):  # the second run is a restarted peer
            with Example("pair.py", "connect", "--port", port, "--count", 3) as client:
                assert client.output().splitlines() == [f"{n} squared is {n * n}" for n in (1, 2, 3)]
        server.interrupt()


def test_pair_serves_for_so_many_seconds() -> None:
    with Example("pair.py", "bind", "--port", 0, "--seconds", 0.1) as server:
        assert "waiting at tcp://127.0.0.1:" in server.output()


def test_acked(tmp_path: Path) -> None:
    journal = tmp_path / "till.journal"
    sales = ("--journal", journal, "--bottles", 6, 0, 12)
    with Example("acked.py", "store", "--port", 0) as store:
        (port,) = store.ports()
        with Example("acked.py", "till", "--port", port, *sales) as till:
            assert till.output().splitlines() == [
                "sale 1 is booked",
                "sale 2 failed over there: ValueError: a sale has bottles",
                "sale 3 is booked",
            ]
        assert [store.line() for _ in range(2)] == ["booked sale 1: 6 bottles", "booked sale 3: 12 bottles"]
        # A second life of the till, with the same journal: its numbers go on, and nothing is taken for a repeat.
        with Example("acked.py", "till", "--port", port, "--journal", journal, "--bottles", 7) as till:
            assert till.output() == "sale 1 is booked\n"
        assert store.line() == "booked sale 1: 7 bottles"
        store.process.send_signal(signal.SIGINT)
        assert "ValueError: a sale has bottles" in store.process.communicate(timeout=END_S)[1]


def test_request() -> None:
    with Example("request.py", "serve", "--port", 0) as server:
        line = server.line()
        assert line.endswith("; Root(value=2.0)")
        (port,) = PORT.findall(line)
        with Example("request.py", "ask", 7, -1, 0, "--port", port) as asker:
            first, second, third = asker.output().splitlines()
        assert (first, third) == ("7: 2.646", "0: 0.000")
        assert second.startswith("-1: ValueError: ")
        server.process.send_signal(signal.SIGINT)
        assert "ValueError" in server.process.communicate(timeout=END_S)[1]


def test_pubsub_with_three_processes() -> None:
    options = ("--port", 0, "--interval", 0.02)
    with Example("pubsub.py", "sensor", "tank-1", *options) as one:
        with Example("pubsub.py", "sensor", "tank-2", *options) as two:
            ports = one.ports() + two.ports()
            with Example("pubsub.py", "log", "--peers", *ports) as log:
                heard: dict[str, list[int]] = {"tank-1": [], "tank-2": []}
                while min(map(len, heard.values())) < 3:
                    sensor, number, celsius = log.line().removesuffix(" degrees").split(" ")
                    heard[sensor].append(int(number[1:-1]))
                    float(celsius)
                log.interrupt()
            two.interrupt()
        one.interrupt()
    for numbers in heard.values():
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))  # in order, none missing


def test_pubsub_counts() -> None:
    with (
        Example("pubsub.py", "sensor", "tank", "--port", 0, "--interval", 0.02) as sensor,
        Example("pubsub.py", "log", "--peers", *sensor.ports(), "--count", 2) as log,
    ):
        assert len(log.output().splitlines()) == 2
    with Example("pubsub.py", "sensor", "tank", "--port", 0, "--interval", 0, "--count", 2) as sensor:
        assert sensor.output().startswith("tank publishes at tcp://")


def test_ready() -> None:
    with Example("ready.py", "brew", "--port", 0, "--count", 100) as brewer:
        (port,) = brewer.ports()
        with (
            Example("ready.py", "cellar", "red", "--port", port) as red,
            Example("ready.py", "cellar", "white", "--port", port) as white,
        ):
            for example, name in ((red, "red"), (white, "white")):
                assert example.output().splitlines() == [f"{name}: {n} of 100" for n in range(1, 101)]
        told = brewer.output().splitlines()
    assert "sent 100" in told
    assert [line.partition(" ")[0] for line in told if line.startswith("connected")] == 2 * ["connected"]
    assert len([line for line in told if line.startswith("disconnected 127.0.0.1:")]) == 2


def test_ready_gives_up() -> None:
    with Example("ready.py", "brew", "--port", 0, "--cellars", 1, "--timeout", 0.1) as brewer:
        _, errors = brewer.process.communicate(timeout=TIMEOUT_S)
        assert brewer.process.returncode == 1
    assert re.search(r"not everybody came: .* expected 1 peers for .* within 0\.1 s; 0 are there", errors)


def test_batches() -> None:
    pytest.importorskip("numpy")
    with Example("batches.py") as example:
        assert example.output().splitlines() == [
            "columns n, volt: 50.0 V on average of 1000",
            "50000 samples, at most 1.000 V, in fewer than 5000 calls: True",
            "1000 events, the last is 'end'",
        ]


def test_collect() -> None:
    pytest.importorskip("numpy")
    with Example("collect.py") as example:
        output = example.output(expected_errors="dropped 19000 messages of .* before a stream or collector")
    assert output.splitlines() == [
        "first: 1000 samples, 2.0 V on average",
        "newest: [29997, 29998, 29999]",
        "rest: 10000 samples, 2.0 V on average",
        "overwritten: 19000",
    ]


def test_own_codec() -> None:
    with Example("own_codec.py") as example:
        output = example.output(expected_errors=r"11 bytes from 127.0.0.1 for \S+\.point3f do not decode")
    assert output.splitlines() == [
        "org.brewery.robot.Point.point3f: Point(x=1.0, y=2.5, z=-3.0)",
        "undecodable messages: 1",
    ]


def test_forward() -> None:
    with Example("forward.py", "bridge", "--pair-port", 0, "--pub-port", 0, "--watch") as bridge:
        pair_port, pub_port = bridge.ports()
        with (
            Example("forward.py", "sensor", "--pair-port", pair_port, "--count", 1000) as sensor,
            Example("forward.py", "display", "--pub-port", pub_port, "--count", 3) as display,
        ):
            first, *others = (eval(line) for line in display.output().splitlines())
            sensor.interrupt()
        seen = bridge.interrupt()
    assert [sample["number"] for sample in others] == [first["number"] + 1, first["number"] + 2]
    assert {sample["celsius"] for sample in (first, *others)} == {20.5}
    # What the raw reactant saw: a MessagePack map of two entries, which begins 82.
    assert re.match(r"26 bytes: 82[0-9a-f]{50}\n", seen)


def test_multicast() -> None:
    options = ("--interface", "127.0.0.1", "--multicast-port", free_udp_port())
    with Example("multicast.py", "log", *options) as log:
        assert re.fullmatch(
            r"listening; 239\.255\.\d+\.\d+ is the group of org\.brewery\.sake\.Reading\.msgpack", log.line()
        )
        with Example("multicast.py", "bridge", "--port", 0, *options) as bridge:
            (port,) = bridge.ports()
            with (
                Example("multicast.py", "sensor", "tank-1", "--interval", 0.02, *options) as one,
                Example("multicast.py", "sensor", "tank-2", "--interval", 0.02, *options) as two,
                Example("pubsub.py", "log", "--peers", port, "--count", 5) as subscriber,
            ):
                heard: dict[str, list[int]] = {"tank-1": [], "tank-2": []}
                while min(map(len, heard.values())) < 3:
                    sensor, number, _ = log.line().split(" ", 2)
                    heard[sensor].append(int(number[1:-1]))
                assert len(subscriber.output().splitlines()) == 5
                one.interrupt()
                two.interrupt()
            bridge.interrupt()
        log.interrupt()
    for numbers in heard.values():
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def test_sensors() -> None:
    pytest.importorskip("pty")
    with (
        Example("sensors.py", "imitate") as imitated,
        Example("sensors.py", "probe", imitated.line(), 0) as probe,
    ):
        (port,) = probe.ports()
        with Example("sensors.py", "panel", port, 3) as panel:
            *shown, book = panel.output().splitlines()
        assert re.fullmatch(r"connected 127\.0\.0\.1:\d+", probe.line())
        assert re.fullmatch(r"disconnected 127\.0\.0\.1:\d+ closed by the peer", probe.line())
        probe.interrupt()
        imitated.interrupt()
    assert len(shown) == 3
    for line in shown:
        # The newest value, although the panel takes 0.3 s for each.
        found = re.fullmatch(r"tank-1: \S+ degrees, (\S+) s ago", line)
        assert found is not None
        assert float(found[1]) < 0.25
    came, delivered, replaced = (int(number) for number in re.findall(r"\d+", book))
    assert delivered == 3
    assert came - 1 <= delivered + replaced <= came
    assert replaced > 10


def test_with_uvloop() -> None:
    pytest.importorskip("uvloop")
    with Example("with_uvloop.py", "--count", 5000) as example:
        assert re.fullmatch(r"uvloop\S*: 5000 messages in \S+ s, their sum is 12497500\n", example.output())


def test_numpy_arrays() -> None:
    pytest.importorskip("numpy")
    with Example("numpy_arrays.py") as example:
        assert example.output().splitlines() == [
            "image: (480, 640, 3) uint8 writeable: False",
            "track: (5, 2) float32 [8.0, 9.0]",
            "refused: expected dtype uint8, got float64; convert it with .astype()",
        ]


def test_streams() -> None:
    with Example("streams.py") as example:
        lines = example.output().splitlines()
    assert [line for line in lines if line.startswith("received")] == [f"received {n}" for n in range(1, 6)]
    # Two may wait: the producer is never more than two ahead.
    transmitted = received = 0
    for line in lines[: lines.index("stopped by: enough")]:
        transmitted += line.startswith("transmitted")
        received += line.startswith("received")
        assert transmitted - received <= 2
    assert "one more: 1" in lines


def test_json_schema() -> None:
    with Example("json_schema.py") as example:
        output = example.output(expected_errors=r">= -273\.15 - at `\$\.celsius`")
    assert '"minimum": -273.15' in output
    assert output.endswith("received: Reading(sensor='tank-1', celsius=21.5, tags=[])\ndid not fit: 1\n")


def _names_in_tests() -> Iterator[str]:
    for name, test in globals().items():
        if name.startswith("test_") and isinstance(test, Callable):  # type: ignore[arg-type]
            yield from (each for each in test.__code__.co_consts if re.fullmatch(r"\w+\.py", str(each)))


def test_every_example_has_a_test() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(_names_in_tests())


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_an_example_is_short_and_says_how_to_run_it(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 80
    assert f"\n    python examples/{path.name}" in text
