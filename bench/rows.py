# SPDX-License-Identifier: Apache-2.0
"""The rows of the speed table: what is measured, against what, and what is aimed at."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field

import plexo_1_0
from turns import Contender

NEURONS = 1000


@dataclass
class Unit:
    """How a figure is shown: divided by `scale`, with `digits` after the point."""

    name: str
    scale: float = 1.0
    digits: int = 1


THOUSANDS = Unit("thousand/s", 1e3)
MICROSECONDS = Unit("µs")
MILLISECONDS = Unit("ms")
MEBIBYTES = Unit("MiB", float(1 << 20), 2)


@dataclass
class Row:
    key: str
    title: str
    # Figures to print, the first of them the one that the target is about.
    figures: dict[str, str]
    unit: Unit
    contenders: list[Contender]
    target: str = ""
    meets: Callable[[float], bool] | None = None
    notes: list[str] = field(default_factory=list)
    # Fewest turns; a figure that is itself one short event needs more than a rate does.
    at_least: int = 5
    # Best as well as median, because a start-up time is disturbed in one direction only.
    best_counts: bool = False


def _have(module: str) -> str:
    return "" if importlib.util.find_spec(module) else f"{module} is not installed"


def _plexo(name: str, *arguments: object, missing: str = "") -> Contender:
    return Contender(name, ("driver_plexo.py", *arguments), ours=True, missing=missing)


def _raw(name: str, *arguments: object, missing: str = "") -> Contender:
    return Contender(name, ("driver_raw.py", *arguments), missing=missing)


def _pyzmq(name: str, *arguments: object) -> Contender:
    return Contender(name, ("driver_pyzmq.py", *arguments), missing=_have("zmq"))


def _old(*arguments: object) -> Contender:
    return Contender(
        "plexo 1.0.0",
        ("driver_plexo_1_0.py", *arguments),
        interpreter=plexo_1_0.interpreter,
        foreign=True,
    )


def _inproc() -> Row:
    return Row(
        "inproc",
        "in process: await plexus.transmit(x) to one async def reactant",
        {"per_second": "messages"},
        THOUSANDS,
        [
            _plexo("plexo", "inproc", 1_000_000),
            _raw("floor: await reactant(x)", "direct-await", 3_000_000),
            _old("inproc", 10_000),
        ],
        "at least 1500",
        lambda value: value >= 1.5e6,
    )


def _nowait() -> Row:
    return Row(
        "nowait",
        "in process: plexus.transmit_nowait(x) to one plain function",
        {"per_second": "messages"},
        THOUSANDS,
        [
            _plexo("plexo", "nowait", 3_000_000),
            _raw("floor: reactant(x)", "direct-call", 5_000_000),
        ],
        "at least 4000",
        lambda value: value >= 4e6,
    )


def _pair() -> Row:
    return Row(
        "pair",
        "pair over TCP, process to process, Plexus on both sides, async def reactant",
        {"per_second": "messages"},
        THOUSANDS,
        [
            _plexo("plexo", "pair", 500_000),
            _plexo("plexo, uvloop", "pair", 500_000, "uvloop", missing=_have("uvloop")),
            _pyzmq("pyzmq PAIR, blocking", "pair", 400_000, "blocking"),
            _pyzmq("pyzmq PAIR, asyncio", "pair", 40_000, "asyncio"),
            _old("pair", 4_000),
        ],
        "at least 600",
        lambda value: value >= 6e5,
        ["from the first transmit until the receiver's report that it has seen all is back at the sender"],
    )


def _roundtrip() -> Row:
    return Row(
        "roundtrip",
        "round trip over the pair, Plexus and async def reactants on both sides",
        {"p50_us": "p50", "p99_us": "p99"},
        MICROSECONDS,
        [
            _plexo("plexo", "roundtrip", 5_000),
            _raw("floor: raw asyncio add_reader, 72 bytes", "roundtrip", 5_000),
            _plexo("plexo, uvloop", "roundtrip", 5_000, "uvloop", missing=_have("uvloop")),
            _raw(
                "floor: raw uvloop add_reader, 72 bytes",
                "roundtrip",
                5_000,
                "uvloop",
                missing=_have("uvloop"),
            ),
            _pyzmq("pyzmq PAIR, blocking", "roundtrip", 5_000, "blocking"),
            _pyzmq("pyzmq PAIR, asyncio", "roundtrip", 5_000, "asyncio"),
            _old("roundtrip", 1_000),
        ],
        "p50 below 60",
        lambda value: value < 60,
    )


def _pubsub(subscribers: int, count: int) -> Row:
    return Row(
        f"pubsub{subscribers}",
        f"publish/subscribe over TCP, 1 publisher to {subscribers}, process to process",
        {"per_second": "messages published"},
        THOUSANDS,
        [
            _plexo("plexo", "pubsub", count, subscribers),
            _pyzmq("pyzmq PUB/SUB, blocking", "pubsub", count, subscribers),
        ],
        notes=["queues are long enough to drop nothing; each subscriber must have seen every message"],
    )


IMPORT = (
    "import sys,time;before=set(sys.modules);t=time.perf_counter();{statement};"
    "print('{{\"import_ms\": %f}}' % (1e3*(time.perf_counter()-t)));"
    "assert 'numpy' not in sys.modules, 'numpy was imported'"
)


def _import() -> Row:
    def contender(name: str, statement: str, ours: bool = False) -> Contender:
        return Contender(name, ("-c", IMPORT.format(statement=statement)), ours=ours)

    return Row(
        "import",
        "import plexo in a fresh interpreter, numpy not imported",
        {"import_ms": "the import statement", "process_ms": "whole process"},
        MILLISECONDS,
        [
            contender("import plexo", "import plexo", ours=True),
            contender("import asyncio", "import asyncio"),
            contender("nothing", "pass"),
        ],
        "below 60",
        lambda value: value < 60,
        ["bytecode is cached by the warm-up turn"],
        at_least=20,
        best_counts=True,
    )


def _memory() -> Row:
    return Row(
        "memory",
        f"memory: {NEURONS} neurons adapted on a Plexus with two ganglia",
        {"rss_bytes": "RSS"},
        MEBIBYTES,
        [
            _plexo(f"plexo, {NEURONS} Struct types", "memory", "types", NEURONS),
            _plexo(f"plexo, 1 Struct type in {NEURONS} namespaces", "memory", "namespaces", NEURONS),
            Contender("bare interpreter", ("memory.py",)),
        ],
        "below 40 above a bare interpreter",
        lambda value: value < 40 * (1 << 20),
        [
            "resident pages (shared ones included) of a process that has imported plexo, runs an event loop",
            f"and has adapted {NEURONS} neurons, without reactants or peers, on a Plexus with a bound pair",
            "and a bound pub/sub ganglion; less those of the same Python running a script that imports os",
        ],
    )


ROWS: dict[str, Callable[[], Row]] = {
    "inproc": _inproc,
    "nowait": _nowait,
    "pair": _pair,
    "roundtrip": _roundtrip,
    "pubsub1": lambda: _pubsub(1, 200_000),
    "pubsub4": lambda: _pubsub(4, 60_000),
    "import": _import,
    "memory": _memory,
}
