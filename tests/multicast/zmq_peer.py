# SPDX-License-Identifier: Apache-2.0
"""A program with libzmq on a host: `publish` or `subscribe`.

publish:    {"do": "send", "sender", "first", "count", "size", "pause_s"} is answered when libzmq has taken all
subscribe:  {"do": "until", "sender", "last", "within_s"} is answered with the log: that has come, or not in time
Both say "ready" first.
"""

from __future__ import annotations

import argparse
import json
import select
import sys
import time
from typing import Any

from tests.multicast.child import report
from tests.multicast.libzmq import PUB, SUB, Socket
from tests.multicast.truth import Log, message

POLL_MS = 20


def publish(socket: Socket, topic: bytes) -> None:
    for line in sys.stdin:
        command = json.loads(line)
        first, count, size = command["first"], command["count"], command["size"]
        for number in range(first, first + count):
            socket.send([topic, message(command["sender"], number, size)])
            if command["pause_s"]:
                time.sleep(command["pause_s"])
        report("send", sent=count)


def subscribe(socket: Socket, topic: bytes) -> None:
    log = Log()
    strange = 0
    waiting: dict[str, Any] | None = None
    deadline = 0.0
    lines = open(0, "rb", buffering=0)  # noqa: SIM115 - for as long as this runs
    while True:
        parts = socket.receive()
        if parts is not None:
            if len(parts) == 2 and parts[0] == topic:
                log.note(parts[1])
            else:
                strange += 1
            if log.count % 100:
                continue
        if waiting is None and select.select([lines], [], [], 0)[0]:
            got = lines.readline()
            if not got:
                return
            waiting = json.loads(got)
            deadline = time.monotonic() + waiting["within_s"]
        if waiting is not None and (
            log.has(waiting["sender"], waiting["last"]) or time.monotonic() > deadline
        ):
            report("until", strange=strange, **log.summary())
            waiting = None


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=("publish", "subscribe"))
    parser.add_argument("group")
    parser.add_argument("port", type=int)
    parser.add_argument("topic")
    parser.add_argument("--interface", required=True)
    parser.add_argument("--rate-kbit", type=int, default=40_000)
    parser.add_argument("--recovery-ms", type=int, default=10_000)
    given = parser.parse_args()
    kind = PUB if given.role == "publish" else SUB
    with Socket(
        kind,
        rate_kbit=given.rate_kbit,
        recovery_ms=given.recovery_ms,
        send_hwm=0,
        receive_hwm=0,
        send_buffer=4 << 20,
        receive_buffer=4 << 20,
        linger_ms=2000,
        receive_timeout_ms=POLL_MS,
    ) as socket:
        socket.connect(given.interface, given.group, given.port)
        report("ready")
        (publish if kind == PUB else subscribe)(socket, given.topic.encode())


if __name__ == "__main__":
    main()
