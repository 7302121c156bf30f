# SPDX-License-Identifier: Apache-2.0
"""A small network made of namespaces: hosts on one switch (a bridge), which loses packets or is cut on demand.

A host is a network namespace with one interface, eth0, at 10.77.0.n. Losses and cuts are rules of nftables in the
switch's namespace (no queueing discipline is needed, which many kernels lack), and meet single packets: what a host has
put together for speed is taken apart before it leaves.

Names hold the process id of who made them, so runs do not meet, and what a killed run left is removed by the next.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO

ROOT = Path(__file__).parents[2]
COMMAND_S = 30
PREFIX = "plexo-test-"
# Loss is so many of so many packets.
PARTS = 1000

_numbers = itertools.count(1)


def run(*command: str, given: str = "") -> str:
    """A command that must work; what it says."""
    done = subprocess.run(
        command, input=given, capture_output=True, text=True, timeout=COMMAND_S, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: status {done.returncode}\n{done.stderr}{given}")
    return done.stdout


@functools.cache
def trouble() -> str:
    """Why there can be no network of namespaces; empty: there can be one."""
    if sys.platform != "linux":
        return "network namespaces are Linux's"
    if os.geteuid() != 0:
        return "network namespaces take root"
    for tool, package in (("ip", "iproute2"), ("nft", "nftables"), ("setpriv", "util-linux")):
        if shutil.which(tool) is None:
            return f"{tool} is missing (package {package})"
    # No more than that: what goes wrong beyond it is a failure of the tests.
    name = f"{PREFIX}{os.getpid()}-probe"
    try:
        run("ip", "netns", "add", name)
        run("ip", "-n", name, "link", "add", "br0", "type", "bridge")
        run("ip", "netns", "exec", name, "nft", "add", "table", "bridge", "faults")
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        return f"no network of namespaces can be made: {error}"
    finally:
        _remove(name)
    return ""


def remove_leftovers() -> None:
    """What runs left behind that were killed."""
    for name in _namespaces():
        found = re.match(PREFIX + r"(\d+)-", name)
        if found and not Path("/proc", found[1]).exists():
            _remove(name)


def _namespaces() -> list[str]:
    return [line.split()[0] for line in run("ip", "netns", "list").splitlines() if line.strip()]


def _remove(name: str) -> None:
    with contextlib.suppress(RuntimeError):
        for pid in run("ip", "netns", "pids", name).split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        run("ip", "netns", "delete", name)


class Host:
    """One namespace with an address."""

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        self.number = number
        self.address = f"10.77.0.{number + 1}"
        # The switch's end of its cable.
        self.port = f"p{number}"

    def command(self, *command: str) -> list[str]:
        """What runs a command there, which ends when we do."""
        return ["setpriv", "--pdeathsig", "KILL", "ip", "netns", "exec", self.name, *command]

    def start(
        self, *command: str, stdin: int | IO[bytes] | None = subprocess.DEVNULL, **options: object
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self.command(*command), cwd=ROOT, stdin=stdin, **options)  # type: ignore[call-overload, no-any-return]

    def pull_the_cable(self) -> None:
        run("ip", "-n", self.name, "link", "set", "eth0", "down")

    def plug_the_cable(self) -> None:
        """Routes went with it, and come again as they do on a configured host."""
        lines = "link set eth0 up\nroute replace 224.0.0.0/4 dev eth0\n"
        run("ip", "-n", self.name, "-batch", "-", given=lines)

    def groups(self) -> set[str]:
        """Which it has joined."""
        shown = run("ip", "-n", self.name, "-4", "maddress", "show", "dev", "eth0")
        return set(re.findall(r"inet\s+(\S+)", shown)) - {"224.0.0.1"}

    def __repr__(self) -> str:
        return f"<Host {self.address}>"


class Network:
    """`hosts` hosts on one switch; to be used in a `with`."""

    def __init__(self, hosts: int) -> None:
        base = f"{PREFIX}{os.getpid()}-{next(_numbers)}"
        self.switch = f"{base}s"
        self.hosts = [Host(f"{base}h{n}", n) for n in range(hosts)]
        self._losses: list[str] = []
        self._cuts: list[str] = []

    def __enter__(self) -> Network:
        remove_leftovers()
        try:
            self._make()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _make(self) -> None:
        lines = [f"netns add {self.switch}"] + [f"netns add {host.name}" for host in self.hosts]
        lines += [
            f"link add {host.port} netns {self.switch} type veth peer name eth0 netns {host.name}"
            for host in self.hosts
        ]
        run("ip", "-batch", "-", given="\n".join(lines) + "\n")
        lines = ["link set lo up", "link add br0 type bridge mcast_snooping 0 stp_state 0", "link set br0 up"]
        for host in self.hosts:
            lines += [f"link set {host.port} master br0 addrgenmode none", f"link set {host.port} up"]
        run("ip", "-n", self.switch, "-batch", "-", given="\n".join(lines) + "\n")
        for host in self.hosts:
            lines = [
                "link set lo up",
                "link set eth0 addrgenmode none",
                "link set eth0 gso_max_segs 1",
                f"address add {host.address}/24 dev eth0",
                "link set eth0 up",
                "route add 224.0.0.0/4 dev eth0",
            ]
            run("ip", "-n", host.name, "-batch", "-", given="\n".join(lines) + "\n")
        self._apply()

    def close(self) -> None:
        for name in (*(host.name for host in self.hosts), self.switch):
            _remove(name)

    # -- what is wrong with it -----------------------------------------------------------------------------------

    def lose(
        self, percent: float, *, into: Iterable[Host] | None = None, out_of: Iterable[Host] | None = None
    ) -> None:
        """From now on so much of all UDP is lost on its way; with `into` and `out_of` only between those hosts."""
        limit = round(PARTS * percent / 100)
        what = f"meta protocol ip ip protocol udp numgen random mod {PARTS} < {limit} counter drop"
        match = _ports("oifname", into) + _ports("iifname", out_of)
        self._losses = [match + what] if limit else []
        self._apply()

    def cut(self, *sides: Sequence[Host]) -> None:
        """From now on nothing gets from one of the sides to another; hosts that are in none hear everybody."""
        self._cuts = [
            _ports("iifname", one) + _ports("oifname", other) + "counter drop"
            for one, other in itertools.permutations(sides, 2)
        ]
        self._apply()

    def heal(self) -> None:
        """Nothing is lost and nothing is cut from now on."""
        self._losses, self._cuts = [], []
        self._apply()

    def dropped(self) -> int:
        """Packets that were lost since the last change."""
        shown = run("ip", "netns", "exec", self.switch, "nft", "list", "table", "bridge", "faults")
        return sum(int(count) for count in re.findall(r"counter packets (\d+)", shown))

    def _apply(self) -> None:
        rules = "\n".join([*self._cuts, *self._losses])
        script = (
            "table bridge faults {}\ndelete table bridge faults\n"
            f"table bridge faults {{ chain forward {{ type filter hook forward priority 0;\n{rules}\n}}\n}}\n"
        )
        run("ip", "netns", "exec", self.switch, "nft", "-f", "-", given=script)


def _ports(word: str, hosts: Iterable[Host] | None) -> str:
    if hosts is None:
        return ""
    return f"{word} {{ {', '.join(host.port for host in hosts)} }} "
