# SPDX-License-Identifier: Apache-2.0
"""What the viewer shows: on a terminal a table, drawn over and over, else lines; then the summary."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from plexo.demo.ledger import Ledger

REDRAW_S = 0.2
LINE_S = 1.0
# Below so many columns the table leaves out the latency, then the rate: the values need the room.
WIDTH_WITH_LATENCY = 64
WIDTH_WITH_RATE = 46
# A disk or an interface that has not been heard of for so long is no longer shown.
STALE_NS = 3_000_000_000
# So many cores one by one; of more, the mean and the busiest.
CORES_SHOWN = 8


def wants_table(plain: bool) -> bool:
    """Whether stdout is a terminal that can be drawn on, and nobody said no."""
    if plain or os.environ.get("NO_COLOR") or os.environ.get("TERM", "") in ("", "dumb"):
        return False
    return sys.stdout.isatty()


# --- values for people --------------------------------------------------------------------------------------


def human_bytes(count: float) -> str:
    """Three digits and a decimal unit: 999 B, 1.00 kB, 25.3 GB."""
    if count < 999.5:
        return f"{count:.0f} B"
    for unit in ("kB", "MB", "GB", "TB", "PB"):
        count /= 1000.0
        # Not what it is but what it would print as: 999.6 kB is 1.00 MB.
        if count < 999.5 or unit == "PB":
            digits = 2 if count < 9.995 else 1 if count < 99.95 else 0
            return f"{count:.{digits}f} {unit}"
    raise AssertionError("the last unit takes everything")


def human_latency(milliseconds: float | None) -> str:
    if milliseconds is None:
        return "-"
    return f"{milliseconds:.2f} ms" if milliseconds < 100 else f"{milliseconds:.0f} ms"


def latest_values(name: str, latest: Mapping[Any, Any]) -> str:
    """The latest message of each source of one type, on one line."""
    if not latest:
        return "-"
    newest = max(message.stamp.sent_ns for message in latest.values())
    current = [each for each in latest.values() if newest - each.stamp.sent_ns < STALE_NS]
    # Names come from the system; a terminal must not obey one.
    return "".join(c if c.isprintable() else "?" for c in _DESCRIBE[name](current))


def _cpu_cores(cores: Sequence[Any]) -> str:
    mean = sum(each.percent for each in cores) / len(cores)
    if len(cores) <= CORES_SHOWN:
        return f"{mean:.0f} % of {len(cores)}: " + " ".join(f"{each.percent:.0f}" for each in cores)
    busiest = max(cores, key=lambda each: each.percent)
    return f"{mean:.0f} % of {len(cores)}, core {busiest.core} {busiest.percent:.0f} %"


def _memory(seen: Sequence[Any]) -> str:
    used, total = seen[-1].used_bytes, seen[-1].total_bytes
    share = f" ({100 * used / total:.0f} %)" if total else ""
    return f"{human_bytes(used)} of {human_bytes(total)}{share}"


def _load(seen: Sequence[Any]) -> str:
    return f"{seen[-1].one:.2f} {seen[-1].five:.2f} {seen[-1].fifteen:.2f}"


def _disks(disks: Sequence[Any]) -> str:
    busiest_first = sorted(disks, key=lambda each: -(each.read_bytes + each.written_bytes))
    return ", ".join(
        f"{each.disk} read {human_bytes(each.read_bytes)} written {human_bytes(each.written_bytes)}"
        for each in busiest_first
    )


def _interfaces(interfaces: Sequence[Any]) -> str:
    busiest_first = sorted(interfaces, key=lambda each: -(each.received_bytes + each.sent_bytes))
    return ", ".join(
        f"{each.interface} in {human_bytes(each.received_bytes)} out {human_bytes(each.sent_bytes)}"
        for each in busiest_first
    )


def _temperatures(sensors: Sequence[Any]) -> str:
    hottest_first = sorted(sensors, key=lambda each: -each.celsius)
    return ", ".join(f"{each.sensor} {each.celsius:.0f} °C" for each in hottest_first)


_DESCRIBE: dict[str, Callable[[Sequence[Any]], str]] = {
    "CpuCore": _cpu_cores,
    "Memory": _memory,
    "Load": _load,
    "DiskCounters": _disks,
    "NetworkCounters": _interfaces,
    "Temperature": _temperatures,
}


# --- while it runs ------------------------------------------------------------------------------------------


def live_table(ledger: Ledger, seconds: float, width: int, now_ns: int) -> Table:
    """One row for each type; every row is one line, cut where the terminal ends."""
    with_rate, with_latency = width >= WIDTH_WITH_RATE, width >= WIDTH_WITH_LATENCY
    table = Table(
        title=_headline(ledger, seconds),
        title_style="bold",
        title_justify="left",
        box=box.HEAVY_HEAD if with_rate else None,
        pad_edge=with_rate,
        # A terminal echoes ^C behind the table. On a new line, the next table would not cover this one.
        width=max(10, width - 3),
    )
    table.add_column("type", no_wrap=True, overflow="ellipsis")
    table.add_column("latest", no_wrap=True, overflow="ellipsis", ratio=1)
    if with_rate:
        table.add_column("messages/s" if with_latency else "msg/s", justify="right", no_wrap=True)
    table.add_column("lost", justify="right", no_wrap=True)
    if with_latency:
        table.add_column("latency", justify="right", no_wrap=True)
    for name, entry in ledger.entries.items():
        here = ledger.is_available(name)
        cells = [Text(name), Text(latest_values(name, entry.latest) if here else "none on this machine")]
        if with_rate:
            cells.append(Text(f"{entry.rate(now_ns):,.0f}" if here else "-"))
        cells.append(Text(f"{entry.lost:,}", style="bold red" if entry.lost else ""))
        if with_latency:
            cells.append(Text(human_latency(entry.latency_ms) if here else "-"))
        table.add_row(*cells, style="" if here else "dim")
    return table


def _headline(ledger: Ledger, seconds: float) -> Text:
    rate = f"{ledger.requested[-1]:g} Hz asked for" if ledger.begun else "starting the sensor process"
    text = f"plexo demo: {min(ledger.elapsed_s, seconds):.1f} of {seconds:g} s, {rate}"
    return Text(text, no_wrap=True, overflow="ellipsis")


def plain_line(ledger: Ledger, now_ns: int) -> str:
    """One line about now: counts first, then values, so that it can be cut at any width."""
    latencies = [entry.latency_ms for entry in ledger.entries.values() if entry.latency_ms is not None]
    values = [
        f"{name} {latest_values(name, ledger.entries[name].latest)}"
        for name in ("CpuCore", "Memory", "Load")
        if name in ledger.entries and ledger.entries[name].latest
    ]
    return (
        f"{ledger.elapsed_s:5.1f} s  {ledger.received:,} messages  {ledger.rate(now_ns):,.0f}/s"
        f"  {ledger.lost:,} lost  {human_latency(max(latencies, default=None))}  {'  '.join(values)}"
    ).rstrip()


async def show_table(console: Console, ledger: Ledger, seconds: float) -> None:
    """Draw until cancelled; the last table stays."""
    size = console.size

    def table() -> Table:
        return live_table(ledger, seconds, console.width, time.monotonic_ns())

    with Live(table(), console=console, auto_refresh=False) as live:
        try:
            while True:
                await asyncio.sleep(REDRAW_S)
                if console.size != size:  # what is on the screen has been wrapped to the new width
                    size = console.size
                    console.clear()
                live.update(table(), refresh=True)
        finally:
            live.update(table(), refresh=True)


async def show_lines(ledger: Ledger) -> None:
    """A line each second of the run, until cancelled."""
    print("plexo demo: starting the sensor process", flush=True)
    shown = 0.0
    while True:
        await asyncio.sleep(max(0.02, shown + LINE_S - ledger.elapsed_s) if ledger.begun else 0.02)
        if ledger.elapsed_s >= shown + LINE_S:
            shown += LINE_S
            print(plain_line(ledger, time.monotonic_ns()), flush=True)


# --- at the end ---------------------------------------------------------------------------------------------


def print_summary(console: Console, ledger: Ledger) -> None:
    elapsed = ledger.elapsed_s
    rate = ledger.received / elapsed if elapsed else 0.0
    console.print(
        Text(f"Summary: {ledger.received:,} messages in {elapsed:.1f} s, {rate:,.0f}/s, {ledger.lost:,} lost")
    )
    narrow = console.width < WIDTH_WITH_LATENCY
    table = Table(box=None, pad_edge=False, padding=(0, 1 if narrow else 2, 0, 0))
    table.add_column("type", no_wrap=True, overflow="ellipsis")
    headers = ["sent", "received", "lost", "messages/s", "latency"][: 3 if narrow else None]
    for header in headers:
        table.add_column(header, justify="right", no_wrap=True)
    for name, entry in ledger.entries.items():
        if not ledger.is_available(name):
            table.add_row(Text(name if narrow else f"{name} (none here)"), *("-" for _ in headers))
            continue
        sent = f"{entry.sent:,}" if ledger.settled else "?"
        each_s = f"{entry.received / elapsed:,.0f}" if elapsed else "-"
        cells = [sent, f"{entry.received:,}", f"{entry.lost:,}", each_s, human_latency(entry.latency_ms)]
        table.add_row(Text(name), *cells[: len(headers)])
    console.print(table)
    if ledger.requested:
        rates = ", ".join(f"{hz:g}" for hz in ledger.requested)
        console.print(
            Text(f"The other way: {len(ledger.requested)} SamplingRate sent ({rates} Hz), "
                 f"{ledger.answered} answered by RateChanged")
        )  # fmt: skip
