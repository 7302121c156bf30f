# SPDX-License-Identifier: Apache-2.0
"""What goes over a host's cable, and what Wireshark thinks of it: tcpdump writes, tshark dissects."""

from __future__ import annotations

import select
import shutil
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from tests.multicast.child import END_S, PATIENCE_S
from tests.multicast.network import Host
from tests.reference.pgm import sealed

DISSECT_S = 40
_FIELDS = (
    "frame.number",
    "frame.len",
    "pgm.hdr.type",
    "pgm.hdr.cksum.status",
    "_ws.malformed",
    "_ws.expert.message",
    "data.data",
)
# As tshark numbers them.
GOOD_CHECKSUM = "1"
SPMR, SPMR_BYTES = 0x0C, 16
TYPES = {0x00: "SPM", 0x04: "ODATA", 0x05: "RDATA", 0x08: "NAK", 0x0A: "NCF", SPMR: "SPMR"}


def trouble() -> str:
    """Why nothing can be captured; empty: it can."""
    missing = [tool for tool in ("tcpdump", "tshark") if shutil.which(tool) is None]
    return f"{', '.join(missing)} missing (Debian packages of these names)" if missing else ""


class Verdict(NamedTuple):
    """packets: how many of each type. faults: what is wrong with a packet, in words."""

    packets: Counter[str]
    faults: list[str]


class Capture:
    """Everything to and from a UDP port that passes a host's cable, in a file; to be used in a `with`."""

    def __init__(self, host: Host, port: int, path: Path) -> None:
        self._host = host
        self._port = port
        self.path = path

    def __enter__(self) -> Capture:
        self._process = self._host.start(
            *("tcpdump", "--immediate-mode", "-U", "-i", "eth0", "-n", "-B", "16384", "-Z", "root"),
            *("-w", str(self.path), f"udp port {self._port}"),
            stderr=subprocess.PIPE,
        )
        # It says so when it listens.
        deadline = time.monotonic() + PATIENCE_S
        said = b""
        stderr = self._process.stderr
        assert stderr is not None
        while b"listening" not in said:
            assert select.select([stderr], [], [], max(0, deadline - time.monotonic()))[0], said
            got = stderr.read1()  # type: ignore[attr-defined]
            assert got, f"tcpdump ended: {said!r}"
            said += got
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.communicate(timeout=END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()


def _is_spmr(payload: bytes) -> bool:
    """tshark dissects no packet below 18 bytes; an SPMR has 16."""
    return len(payload) == SPMR_BYTES and payload[4] == SPMR and sealed(payload) == payload


def dissect(path: Path, port: int) -> Verdict:
    """What tshark makes of a capture."""
    command = [
        "tshark",
        "-n",
        "-r",
        str(path),
        "-d",
        f"udp.port=={port},pgm",
        "-T",
        "fields",
        "-E",
        "separator=|",
    ]
    command += ["-o", "pgm.check_checksum:TRUE", "-Y", "udp"]
    for field in _FIELDS:
        command += ["-e", field]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DISSECT_S, check=False)
    assert done.returncode == 0, done.stderr
    packets: Counter[str] = Counter()
    faults = []
    for line in done.stdout.splitlines():
        number, size, kind, status, malformed, expert, payload = line.split("|", len(_FIELDS) - 1)
        name = TYPES.get(int(kind, 16), kind) if kind else "no PGM"
        if not kind and _is_spmr(bytes.fromhex(payload)):
            packets["SPMR"] += 1
            continue
        packets[name] += 1
        wrong = []
        if not kind:
            wrong.append("is not taken for PGM")
        # Its dissector says the status twice, the first time wrongly.
        elif status.rpartition(",")[2] != GOOD_CHECKSUM:
            wrong.append(f"has a wrong checksum, or none (status {status or 'none'})")
        if malformed:
            wrong.append("is malformed")
        if expert:
            wrong.append(f"is remarked on: {expert}")
        if wrong:
            faults.append(f"packet {number} ({name}, {size} bytes) {' and '.join(wrong)}")
    return Verdict(packets, faults)
