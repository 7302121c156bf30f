# SPDX-License-Identifier: Apache-2.0
"""The commands of `plexo`. Needs what the extra `demo` installs; `plexo.__main__` looks for that."""

from __future__ import annotations

import asyncio
import importlib.machinery
import math
import os
import platform
import sys

import typer

app = typer.Typer(
    name="plexo",
    help="Typed message passing: messages as types.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

MAX_SECONDS = 86400.0


def _checked_seconds(seconds: float) -> float:
    if not math.isfinite(seconds) or not 0.5 <= seconds <= MAX_SECONDS:
        raise typer.BadParameter(f"expected 0.5 to {MAX_SECONDS:g} seconds, got {seconds:g}")
    return seconds


def _checked_transport(transport: str) -> str:
    from plexo.demo.transport import TRANSPORTS

    if transport not in TRANSPORTS:
        raise typer.BadParameter(f"expected {' or '.join(TRANSPORTS)}, got {transport!r}")
    return transport


@app.command()
def demo(
    seconds: float = typer.Option(10.0, callback=_checked_seconds, help="How long to run."),
    port: int = typer.Option(0, min=0, max=65535, help="Port on 127.0.0.1; 0 takes a free one."),
    transport: str = typer.Option(
        "pair", callback=_checked_transport, help="pair (TCP), or multicast, with a second listener."
    ),
    plain: bool = typer.Option(False, "--plain", help="Lines instead of a table."),
) -> None:
    """Send this machine's sensor readings from one process to another, and show them.

    Exit code 0: messages of every type arrived and none was lost; 1: not so; 130: interrupted.
    """
    from plexo.demo.viewer import watch

    # A name with an umlaut must not end the demo on a terminal that has none.
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")
    try:
        code = asyncio.run(watch(seconds, port, plain, transport))
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has left; do not complain again when stdout is flushed at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        code = 1
    raise typer.Exit(code)


@app.command()
def version() -> None:
    """The versions of plexo and of what it runs on."""
    import msgspec

    import plexo
    from plexo._fast import dispatch

    typer.echo(f"plexo    {plexo.__version__}")
    python = f"{platform.python_version()} ({platform.python_implementation()}, {platform.platform()})"
    typer.echo(f"Python   {python}")
    typer.echo(f"msgspec  {msgspec.__version__}")
    typer.echo(f"compiled {_compiled(dispatch.__file__)}")


def _compiled(path: str | None) -> str:
    suffixes = tuple(importlib.machinery.EXTENSION_SUFFIXES)
    return "yes" if path is not None and path.endswith(suffixes) else f"no ({path})"
