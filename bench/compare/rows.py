# SPDX-License-Identifier: Apache-2.0
"""The rows of the board, as data: what is measured, who does it, how it is shown, and what is aimed at.

Several rows may share a key (`pair` has one for each size), so that `--rows pair` means all of them. The first
contender that is ours leads: the others are compared with it. Counts are for about a second of work.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from .turns import Amount, Contender, Count

MILLION = 1e6
PLEXO = "plexo"
OLD = "plexo 1.0.0"


@dataclass(frozen=True)
class Unit:
    """How a figure is shown: divided by `scale`, with `digits` after the point."""

    name: str
    scale: float = 1.0
    digits: int = 1
    # Where less is better, "so many times as fast" is the other way round.
    less_is_better: bool = False


THOUSANDS = Unit("thousand/s", 1e3)
GIGABYTES = Unit("GB/s", 1e9, 2)
MICROSECONDS = Unit("µs", less_is_better=True)
MILLISECONDS = Unit("ms", less_is_better=True)
MEBIBYTES = Unit("MiB", float(1 << 20), 2, less_is_better=True)


@dataclass(frozen=True)
class Target:
    """At least or at most `bound`, of ours alone or of ours to a rival (turn by turn, where both ran).

    `ours` empty: the row's leader. With `above`, the difference of medians, ours less the rival's.
    """

    bound: float
    rival: str = ""
    ours: str = ""
    at_most: bool = False
    above: bool = False


@dataclass
class Row:
    key: str
    title: str
    # What to print of each contender, the first of them the one that targets and ratios are about.
    figures: dict[str, str]
    unit: Unit
    contenders: list[Contender]
    # Which one of the rows with this key.
    case: str = ""
    targets: Sequence[Target] = ()
    notes: Sequence[str] = ()
    # Fewest turns; a figure that is itself one short event needs more than a rate does.
    at_least: int = 5
    # In the chart, under this name.
    chart: str = ""
    # What "CPU per …" counts: messages by the million, or bytes of this many each by the gigabyte.
    message_bytes: int = 0
    # A curve over this: contenders are points.
    over: str = ""

    @property
    def name(self) -> str:
        return f"{self.key} {self.case}".strip()

    @property
    def figure(self) -> str:
        return next(iter(self.figures))


RATE = {"per_second": "messages"}
LATENCY = {"p50_us": "p50", "p99_us": "p99", "p999_us": "p99.9"}


def ours(name: str, *arguments: object) -> Contender:
    return Contender(name, "plexo", arguments, ours=True)


def rival(name: str, program: str, *arguments: object) -> Contender:
    return Contender(name, program, arguments)


# -- in process ----------------------------------------------------------------------------------------------


def _inproc() -> list[Row]:
    rows = []
    for reactants, neurons in ((1, 1), (8, 1), (1, 1000), (8, 1000)):
        first = (reactants, neurons) == (1, 1)
        shape = (reactants, neurons)
        fast = 2_000_000 // (1 if reactants == 1 else 4)
        old = [rival(OLD, "plexo-1.0.0", "inproc", Count(10_000), *shape)]
        if neurons > 1:
            # It needs half a minute to get to know a thousand neurons: once is enough.
            old[0].in_brief = False
            old = old[: reactants == 1]
        targets = [Target(1.0, "plexor-core, Plexus")]
        if first:
            targets += [Target(150.0, OLD), Target(2 * MILLION)]
        rows.append(
            Row(
                "inproc",
                f"in process, {_many(reactants, 'async reactant')}, {_many(neurons, 'neuron')} known",
                {"per_second": "transmits"},
                THOUSANDS,
                [
                    ours(PLEXO, "inproc", Count(fast, 10_000), *shape),
                    rival("plexor-core, Plexus", "rust", "inproc", Count(300_000, 10_000), *shape, "plexus"),
                    rival(
                        "plexor-core, GanglionInprocess",
                        "rust",
                        "inproc",
                        Count(500_000, 10_000),
                        *shape,
                        "ganglion",
                    ),
                    rival("blinker", "events", "inproc", Count(200_000), *shape, "blinker"),
                    rival("pyee", "events", "inproc", Count(50_000), *shape, "pyee"),
                    *old,
                ],
                f"{reactants}/{neurons}",
                targets,
                chart="in process, one reactant" if first else "",
            )
        )
    return rows


def _nowait() -> list[Row]:
    return [
        Row(
            "nowait",
            "in process, plexus.transmit_nowait(x) to one plain function",
            RATE,
            THOUSANDS,
            [
                ours(PLEXO, "nowait", Count(3_000_000, 10_000)),
                rival("floor: reactant(x)", "floor", "direct-call", Count(5_000_000, 10_000)),
                rival("floor: await reactant(x)", "floor", "direct-await", Count(3_000_000, 10_000)),
            ],
            targets=[Target(4 * MILLION)],
        )
    ]


# -- process to process --------------------------------------------------------------------------------------

# By size of the payload: for those that send about a million messages in a second, and for the others.
PAIR_COUNTS = {
    16: (Count(1_000_000), Count(300_000), Count(40_000), Count(5_000)),
    64: (Count(1_000_000), Count(300_000), Count(40_000), Count(5_000)),
    1024: (Count(500_000), Count(200_000), Count(40_000), Count(5_000)),
    65536: (Count(20_000), Count(20_000), Count(10_000), Count(1_000)),
}


def _pair() -> list[Row]:
    rows = []
    for size, (fast, blocking, slow, old) in PAIR_COUNTS.items():
        is64 = size == 64
        targets = []
        if is64:
            targets = [
                Target(1.0, "Rust zmq + capnp"),
                Target(200.0, OLD),
                Target(1.5 * MILLION),
                Target(3 * MILLION, ours="plexo, batches"),
            ]
        rows.append(
            Row(
                "pair",
                f"one way over TCP, typed on both sides, {_size(size)}",
                RATE,
                THOUSANDS,
                [
                    ours(PLEXO, "pair", fast, size),
                    ours("plexo, uvloop", "pair", fast, size, "uvloop"),
                    ours("plexo, batches", "pair", fast, size, "batch"),
                    rival("Rust zmq + capnp", "rust", "pair", fast, size, "capnp"),
                    rival("Rust zmq + MessagePack", "rust", "pair", fast, size, "msgpack"),
                    rival("pyzmq, blocking", "pyzmq", "pair", blocking, size, "blocking"),
                    rival("pyzmq, asyncio", "pyzmq", "pair", slow, size, "asyncio"),
                    rival("zenoh", "zenoh", "pair", blocking, size),
                    rival("nats", "nats", "pair", slow, size),
                    rival("pynng", "pynng", "pair", slow, size),
                    rival(OLD, "plexo-1.0.0", "pair", old, size),
                ],
                _size(size),
                targets,
                chart="one way over TCP, 64 B" if is64 else "",
            )
        )
    return rows


def _cross() -> list[Row]:
    count = Count(1_000_000)
    both = rival("Rust to Rust", "rust", "pair", count, 64, "msgpack")
    to_ours = Contender("Rust to plexo", "rust", ("pair", count, 64, "msgpack"), ours=True, far="plexo")
    to_rust = Contender("plexo to Rust", "plexo", ("pair", count, 64, "msgpack"), ours=True, far="rust")
    return [
        Row("cross", "Rust sends to plexo, 64 B MessagePack", RATE, THOUSANDS, [to_ours, both], "in"),
        Row(
            "cross", "plexo sends to Rust, 64 B MessagePack", RATE, THOUSANDS, [to_rust, _again(both)], "out"
        ),
    ]


def _round_trips(key: str, title: str, amount: Count, slow: Count, notes: Sequence[str] = ()) -> Row:
    return Row(
        key,
        title,
        LATENCY,
        MICROSECONDS,
        [
            ours(PLEXO, key, amount),
            ours("plexo, uvloop", key, amount, "uvloop"),
            ours("plexo, uvloop, busy poll", key, amount, "busy"),
            rival("floor: raw asyncio add_reader", "floor", key, amount),
            rival("floor: C, blocking", "floors", key, amount),
            rival("Rust zmq + capnp", "rust", key, amount, "capnp"),
            rival("Rust zmq + MessagePack", "rust", key, amount, "msgpack"),
            rival("pyzmq, blocking", "pyzmq", key, amount, "blocking"),
            rival("pyzmq, asyncio", "pyzmq", key, amount, "asyncio"),
            rival("zenoh", "zenoh", key, amount),
            rival("nats", "nats", key, amount),
            rival("pynng", "pynng", key, amount),
            rival(OLD, "plexo-1.0.0", key, slow),
        ],
        targets=[Target(0.5, "Rust zmq + capnp", at_most=True), Target(0.15, OLD, at_most=True)],
        notes=notes,
        chart="round trip over TCP, 64 B" if key == "rtt" else "",
    )


def _rtt() -> list[Row]:
    return [_round_trips("rtt", "round trip, one message at a time, 64 B", Count(10_000), Count(2_000))]


def _rttload() -> list[Row]:
    note = "counted from when a message was to be sent, so that waiting behind others counts"
    row = _round_trips(
        "rttload", "round trip at 50 % of what it can carry, 64 B", Amount(3, 1), Amount(3, 1), [note]
    )
    row.figures = {**LATENCY, "rate": "at"}
    row.targets = ()
    row.contenders = [each for each in row.contenders if not each.program.startswith("floor")]
    return [row]


def _fanout() -> list[Row]:
    return [
        Row(
            "fanout",
            "publish/subscribe, 1 → 8 processes, 100 topics, each wants 10, 64 B",
            {"per_second": "messages published"},
            THOUSANDS,
            [
                ours(PLEXO, "fanout", Count(300_000, 10_000)),
                ours("plexo, uvloop", "fanout", Count(300_000, 10_000), "uvloop"),
                ours("plexo, batches", "fanout", Count(300_000, 10_000), "batch"),
                rival("Rust zmq", "rust", "fanout", Count(300_000, 10_000)),
                rival("pyzmq", "pyzmq", "fanout", Count(100_000, 10_000)),
                rival("zenoh", "zenoh", "fanout", Count(100_000, 10_000)),
                rival("nats", "nats", "fanout", Count(100_000, 10_000)),
                rival(OLD, "plexo-1.0.0", "fanout", Count(10_000, 1000)),
            ],
            targets=[Target(1.0, "Rust zmq")],
            notes=[
                "queues are long enough to drop nothing; each subscriber must have seen every message it wants"
            ],
            chart="1 to 8 subscribers, 64 B",
        )
    ]


def _ingest() -> list[Row]:
    rows = []
    for connections in (1, 8):
        fast, slow = Count(8_000_000, 80_000), Count(400_000, 80_000)
        one = connections == 1
        rows.append(
            Row(
                "ingest",
                f"sensor samples of 64 B from {_many(connections, 'connection')} into NumPy structured arrays",
                {"per_second": "samples"},
                THOUSANDS,
                [
                    ours("plexo, batches", "ingest", fast, connections, "batch"),
                    ours("plexo, collect", "ingest", fast, connections, "collect"),
                    ours("plexo, receiving thread", "ingest", fast, connections, "thread"),
                    ours("plexo, batches, sent by plexo", "ingest", fast, connections, "both"),
                    ours("plexo, one by one", "ingest", Count(1_000_000, 80_000), connections, "async"),
                    rival("floor: C reading the same bytes", "floors", "ingest", fast, connections, "pubsub"),
                    # Fed as ours is, so that the row shows who collects.
                    Contender(
                        "Rust zmq into Vec<Sample>",
                        "rust",
                        ("ingest", Count(2_000_000, 80_000), connections),
                        far="plexo",
                    ),
                    rival("pyzmq + np.frombuffer", "pyzmq", "ingest", slow, connections),
                ],
                f"{connections}",
                [
                    *([Target(15 * MILLION)] if one else []),
                    Target(0.6, "floor: C reading the same bytes"),
                ],
                chart=f"samples into arrays, {_many(connections, 'connection')}",
            )
        )
    return rows


def _bytes(count: Count, size: int) -> Amount:
    return Amount(count.full * size, count.brief * size)


def _large() -> list[Row]:
    rows = []
    for size, count in ((1_000_000, Count(2000, 100)), (64_000_000, Count(40, 10))):
        rows.append(
            Row(
                "large",
                f"arrays of {_size(size)}, process to process",
                {"bytes_per_second": "payload", "copies": "copies"},
                GIGABYTES,
                [
                    ours(PLEXO, "large", count, size),
                    ours("plexo, publish/subscribe", "large", count, size, "pubsub"),
                    rival("floor: memcpy", "floors", "memcpy", size, count),
                    rival("floor: C over TCP", "floors", "stream", _bytes(count, size), 1 << 20),
                    rival("pyzmq, copy=False", "pyzmq", "large", count, size),
                    rival("Rust zmq", "rust", "large", count, size),
                    rival("zenoh", "zenoh", "large", count, size),
                    rival("nats", "nats", "large", count, size),
                    rival("pynng", "pynng", "large", count, size),
                ],
                _size(size),
                [Target(1.0, "pyzmq, copy=False")],
                chart=f"arrays of {_size(size)}",
                message_bytes=size,
            )
        )
    return rows


# Messages per second at the least; with losses half of it.
MULTICAST_TARGETS = {64: 1 * MILLION, 1024: 300e6 / 1024}


def _multicast() -> list[Row]:
    rows = []
    for size, percent in itertools.product((64, 1024), (0, 5)):
        counts = (1_000_000, 300_000, 200_000) if size == 64 else (300_000, 200_000, 100_000)
        ours_count, lcm, zmq = map(Count, counts)
        if percent:
            # It has another rate then.
            zmq = Count(150_000 if size == 64 else 25_000)
        losses = f"{percent} % of all datagrams lost" if percent else "nothing lost on the way"
        rows.append(
            Row(
                "multicast",
                f"multicast between two hosts (network namespaces), typed, {_size(size)}, {losses}",
                {"per_second": "messages", "lost": "lost"},
                THOUSANDS,
                [
                    ours(PLEXO, "multicast", ours_count, size, percent),
                    ours("plexo, batches", "multicast", ours_count, size, percent, "batch"),
                    rival("libzmq epgm, C", "zmq-epgm", "multicast", zmq, size, percent),
                    rival("LCM", "lcm", "multicast", lcm, size, percent),
                ],
                f"{_size(size)} {percent} %",
                [Target(MULTICAST_TARGETS[size] * (0.5 if percent else 1), ours="plexo, batches")],
                chart=f"multicast, {_size(size)}, {percent} % lost" if size == 64 else "",
            )
        )
    return rows


# -- what it costs to have it at all -------------------------------------------------------------------------


def _import() -> list[Row]:
    names = ("pyzmq", "zenoh", "nats", "pynng")
    return [
        Row(
            "import",
            "import in a fresh interpreter",
            {"import_ms": "the import statement"},
            MILLISECONDS,
            [
                ours("import plexo", "import"),
                rival("floor: import asyncio", "floor", "import", "asyncio"),
                *(rival(name, name, "import") for name in names),
                *(rival(name, "events", "import", name) for name in ("blinker", "pyee")),
                rival(OLD, "plexo-1.0.0", "import"),
            ],
            targets=[Target(60.0, at_most=True)],
            notes=["bytecode is cached by the warm-up; numpy must not have been imported by import plexo"],
            at_least=20,
        )
    ]


def _memory() -> list[Row]:
    return [
        Row(
            "memory",
            "resident memory with 1,000 neurons adapted on a Plexus with two ganglia",
            {"rss_bytes": "RSS"},
            MEBIBYTES,
            [
                ours("plexo, 1,000 Struct types", "memory", "types", 1000),
                ours("plexo, 1 Struct type in 1,000 namespaces", "memory", "namespaces", 1000),
                rival("floor: bare interpreter", "bare"),
            ],
            targets=[
                Target(40.0 * (1 << 20), "floor: bare interpreter", name, at_most=True, above=True)
                for name in ("plexo, 1,000 Struct types", "plexo, 1 Struct type in 1,000 namespaces")
            ],
            notes=[
                "resident pages (shared ones included) under a running event loop, no reactants, no peers"
            ],
        )
    ]


# -- curves --------------------------------------------------------------------------------------------------


def _curve(
    case: str, title: str, over: str, points: list[Contender], flat: bool, notes: Sequence[str] = ()
) -> Row:
    mine = [each for each in points if each.ours]
    return Row(
        "scaling",
        title,
        RATE,
        THOUSANDS,
        points,
        case,
        # Cost per message is the inverse of the rate: the first point's rate to another's is that one's cost.
        [Target(1.2, each.name, mine[0].name, at_most=True) for each in mine[1:]] if flat else (),
        notes,
        over=over,
    )


def _point(
    series: str, x: float, label: str, program: str, *arguments: object, in_brief: bool = True
) -> Contender:
    return Contender(
        f"{series}, {label}",
        program,
        arguments,
        ours=program == "plexo",
        series=series,
        x=x,
        in_brief=in_brief,
    )


def _scaling() -> list[Row]:
    def inproc(
        series: str, program: str, count: Count, reactants: int, neurons: int, over_neurons: bool
    ) -> Contender:
        x = neurons if over_neurons else reactants
        label = _many(x, "neuron" if over_neurons else "reactant")
        return _point(series, x, label, program, "inproc", count, reactants, neurons, in_brief=x <= 1000)

    fast, old = Count(1_000_000, 10_000), Count(5_000)
    neurons = [inproc(PLEXO, "plexo", fast, 1, n, True) for n in (1, 10, 100, 1000, 10_000, 100_000)]
    neurons += [inproc(OLD, "plexo-1.0.0", old, 1, n, True) for n in (1, 10, 100)]
    reactants = [
        inproc(PLEXO, "plexo", Count(1_000_000 // n, 1000), n, 1, False) for n in (1, 3, 10, 30, 100)
    ]
    reactants += [
        inproc(OLD, "plexo-1.0.0", Count(5_000 // n // 1000 * 1000 or 1000), n, 1, False) for n in (1, 10)
    ]
    links = [
        _point(
            PLEXO, n, _many(n, "idle link"), "plexo", "links", Count(300_000, 10_000), n, in_brief=n <= 100
        )
        for n in (1, 10, 100, 1000)
    ]
    counts = {
        16: Count(500_000),
        64: Count(500_000),
        1024: Count(300_000),
        16 << 10: Count(60_000),
        65536: Count(20_000),
        1 << 20: Count(1000),
    }
    payload = [_point(PLEXO, n, _size(n), "plexo", "pair", count, n) for n, count in counts.items()]
    payload += [
        _point(PLEXO, n, _size(n), "plexo", "large", count, n, in_brief=False)
        for n, count in ((16_000_000, Count(100, 20)), (64_000_000, Count(30, 10)))
    ]
    payload += [_point(OLD, n, _size(n), "plexo-1.0.0", "pair", Count(2000), n) for n in (16, 64, 1024)]
    return [
        _curve("neurons", "throughput over neurons known, in process", "neurons", neurons, True),
        _curve(
            "links",
            "throughput to one subscriber over idle links of the publisher",
            "idle links",
            links,
            True,
        ),
        _curve(
            "reactants", "throughput over reactants of one neuron, in process", "reactants", reactants, False
        ),
        _curve(
            "payload",
            "throughput over size of the payload, one way over TCP",
            "bytes",
            payload,
            False,
            ["above 1 MB arrays, as in the row large"],
        ),
    ]


def _again(contender: Contender) -> Contender:
    """The same contender, for runs of its own."""
    return Contender(contender.name, contender.program, contender.arguments, contender.ours, contender.far)


def _many(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _size(size: int) -> str:
    binary = size >= 1024 and size & (size - 1) == 0
    for number, name in ((1 << 20, "MiB"), (1 << 10, "KiB")) if binary else ((1_000_000, "MB"),):
        if size >= number:
            return f"{size // number} {name}"
    return f"{size} B"


ROWS = {
    "inproc": _inproc,
    "nowait": _nowait,
    "pair": _pair,
    "cross": _cross,
    "rtt": _rtt,
    "rttload": _rttload,
    "fanout": _fanout,
    "ingest": _ingest,
    "large": _large,
    "multicast": _multicast,
    "import": _import,
    "memory": _memory,
    "scaling": _scaling,
}
# Not rows of their own: what each of these costs is printed in a table at the end, from the same runs.
COST = "cost"
COSTED = ("inproc", "pair", "rtt", "fanout", "ingest", "large", "import")


def chosen(keys: Sequence[str]) -> list[Row]:
    """The rows with these keys, in the board's order. Raises LookupError for one that is none."""
    wanted = {each for key in keys for each in (COSTED if key == COST else (key,))}
    unknown = wanted - ROWS.keys()
    if unknown:
        raise LookupError(f"no row {', '.join(sorted(unknown))}; there are {', '.join((*ROWS, COST))}")
    return [row for key, make in ROWS.items() if key in wanted for row in make()]
