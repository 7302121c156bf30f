# SPDX-License-Identifier: Apache-2.0
import asyncio

import pytest

from plexo.timer import Timer


def test_runs_plain_and_async_callbacks() -> None:
    ran = []

    async def later() -> None:
        await asyncio.sleep(0)
        ran.append("async")

    async def main() -> None:
        for callback in (later, lambda: ran.append("plain"), None):
            timer = Timer(0, callback)
            timer.start()
            await timer.wait()

    asyncio.run(main())
    assert ran == ["async", "plain"]


def test_cancel() -> None:
    ran = []

    async def main() -> None:
        timer = Timer(0, lambda: ran.append(1))
        timer.cancel()  # not started: nothing to do
        await timer.wait()
        timer.start()
        timer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await timer.wait()

    asyncio.run(main())
    assert ran == []


def test_starting_anew_runs_once() -> None:
    ran = []

    async def main() -> None:
        timer = Timer(0, lambda: ran.append(1))
        timer.start()
        timer.start()
        await timer.wait()
        await asyncio.sleep(0)

    asyncio.run(main())
    assert ran == [1]


def test_an_exception_comes_out_of_wait() -> None:
    async def fail() -> None:
        raise ValueError("no")

    async def main() -> None:
        timer = Timer(0, fail)
        timer.start()
        with pytest.raises(ValueError, match="no"):
            await timer.wait()

    asyncio.run(main())


def test_start_needs_a_loop() -> None:
    with pytest.raises(RuntimeError):
        Timer(0).start()
