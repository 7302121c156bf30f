# SPDX-License-Identifier: Apache-2.0
"""Many programs with a ganglion on one host: `COUNT PORT`. They are forked, so that what they import is imported once.

Every one adapts the same neuron and hears it, and waits for the agreement. The first line of input says how many
messages each sends; the second how many seconds they wait for the messages of all others. The events "agreed" and
"finish" come from each of them.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import time
import traceback
from typing import Any

from plexo import GanglionPlexoMulticast
from plexo.typing import EncodedType
from tests.multicast.child import report
from tests.multicast.plexo_peer import LOOK_S, books, bytes_of, neuron_of
from tests.multicast.truth import Log, message, perfect

NAME = "Crowd"
SIZE = 64


async def take_part(number: int, count: int, port: int, commands: int) -> None:
    log = Log()

    async def note(payload: EncodedType) -> None:
        log.note(bytes_of(payload))

    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(lines), os.fdopen(commands, "rb")
    )
    neuron = neuron_of(NAME)
    async with GanglionPlexoMulticast("eth0", port=port) as ganglion:
        await ganglion.adapt(neuron, (), [note])
        group = await ganglion.agreed(neuron, timeout_s=60)
        report("agreed", number=number, group=str(group))
        messages = int(await lines.readline())
        for each in range(messages):
            await ganglion.transmit(message(number, each, SIZE), neuron)
            await asyncio.sleep(0.01)
        within_s = float(await lines.readline())
        deadline = time.monotonic() + within_s
        others = [each for each in range(count) if each != number]
        while time.monotonic() < deadline and not all(log.has(each, messages - 1) for each in others):
            await asyncio.sleep(LOOK_S)
        summary = log.summary()
        missed = [each for each in others if not perfect(summary, each, 0, messages)]
        told: dict[str, Any] = books(ganglion.stats())
        report("finish", number=number, missed=missed, balanced=told["balanced"], faults=told["faults"])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("count", type=int)
    parser.add_argument("port", type=int)
    given = parser.parse_args()
    pipes: list[int] = []
    pids: list[int] = []
    # Before there are others, who report by the same pipe.
    report("ready")
    for number in range(given.count):
        mine, theirs = os.pipe()
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                for other in (*pipes, theirs):
                    os.close(other)
                asyncio.run(take_part(number, given.count, given.port, mine))
                status = 0
            finally:
                if status:
                    traceback.print_exc()
                os._exit(status)
        os.close(mine)
        pipes.append(theirs)
        pids.append(pid)
    try:
        for line in sys.stdin.buffer:
            for pipe in pipes:
                os.write(pipe, line)
        statuses = [os.waitpid(pid, 0)[1] for pid in pids]
        pids.clear()
        sys.exit(any(statuses))
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
