# SPDX-License-Identifier: Apache-2.0
"""One seeded scenario: programs joined through proxies, random faults, healing, and the reckoning.

Two sides (sometimes a third that joins them) talk over a pair or publish/subscribe, all in one event loop. Random steps
flood, cut, stall, kill, restart and so on; after each one the books are looked at. Then the network is healed, and both
sides must be ready again within READY_LIMIT_S, what is said from then on must arrive completely and in order, and every
message must be accounted for. A scenario depends on its seed and on the kernel's timing.

    python -m tests.faults.scenario SEED [TIMES [ZmqLife]]    replays one, and prints what it did
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import logging
import random
import sys
import time
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

from plexo import Neuron
from tests.faults import books
from tests.faults.hostile import Caller, Impostor
from tests.faults.sides import Joint, Life, Side, ganglion_arguments, may_lose, small_queue
from tests.faults.steps import STEPS
from tests.faults.truth import HEARD_BY, NEURONS, SAID_BY, Item, Listener, Speaker, Untrue, sizes_from

# After healing, both sides are connected to each other again within this time.
READY_LIMIT_S = 2.0
# What was accepted has arrived, and queues are empty, within this time after that.
REST_LIMIT_S = 5.0
SCENARIO_LIMIT_S = 20.0
USUAL_SIZES = (0, 1, 20, 200, 600, 2000)
RARE_SIZES = (33_000, 70_000, 150_000)
LAST_WORDS = 25


class Scenario:
    """`stranger`: a kind of life that is not ours, which the right side leads then."""

    def __init__(self, seed: int, stranger: type[Life] | None = None) -> None:
        self.seed = seed
        self.stranger = stranger
        self.rng = rng = random.Random(seed)
        self.journal: list[str] = []
        self.began = time.monotonic()
        # Steps that break no connection; then nothing at all may be lost without a cause.
        self.unbroken = rng.random() < 0.3
        # Neither a stranger nor a second connection ever took copies of what a side sent.
        self.private = True
        self.lossless = True
        self.speakers: dict[int, Speaker] = {}
        self.callers: list[Caller] = []
        self.impostors: list[Impostor] = []
        self.left, self.right = self._side("left"), self._side("right")
        if stranger is not None:
            self.right.kind_of_life = stranger
        self.sides = [self.left, self.right]
        self.joints: list[Joint] = []
        kinds = ("pair", "pubsub")
        if rng.random() < 0.12 and stranger is None:
            bridge = self._side("bridge", in_plexus=True)
            self.sides.append(bridge)
            self._join(rng.choice(kinds), self.left, bridge)
            self._join(rng.choice(kinds), bridge, self.right)
        else:
            self._join(rng.choice(kinds), self.left, self.right)

    def _side(self, name: str, in_plexus: bool | None = None) -> Side:
        if in_plexus is None:
            in_plexus = self.rng.random() < 0.5
        return Side(name, in_plexus, self.arguments)

    def arguments(self) -> dict[str, Any]:
        arguments = ganglion_arguments(self.rng)
        self.lossless = self.lossless and not any(may_lose(each) for each in arguments.values())
        return arguments

    def _join(self, kind: str, one: Side, other: Side) -> None:
        joint = Joint(kind, self.rng)
        self.joints.append(joint)
        joint.sides = (one, other)
        one_binds = self.rng.random() < 0.5
        one.ends.append((joint, one_binds))
        other.ends.append((joint, not one_binds))

    def note(self, text: str) -> None:
        self.journal.append(f"{time.monotonic() - self.began:7.3f} {text}")

    # -- life ----------------------------------------------------------------------------------------------------

    async def begin(self, side: Side) -> None:
        life = await side.begin()
        if side.name == "bridge":
            return
        for neuron, counts in zip(HEARD_BY[side.name], ((1, 1, 1, 2), (0, 1, 1)), strict=True):
            for _ in range(self.rng.choice(counts)):
                await self.add_listener(life, neuron)

    async def add_listener(self, life: Life, neuron: Neuron[Item]) -> Listener:
        name = f"listener {len(life.listeners) + len(life.removed)} of {neuron} at {life.side.name}"
        queue = small_queue(self.rng)
        is_plain, max_batch = self.rng.random() < 0.3, self.rng.choice((None, None, 1, 7, 1000))
        if not life.takes_batches(queue):
            max_batch = None
        listener = Listener(name, neuron, self.speakers, is_plain, max_batch)
        self.lossless = self.lossless and not may_lose(queue)
        listener.offered_before = books.handed_to_reactants(life, neuron)
        await life.listen(listener, queue)
        return listener

    def new_speaker(self, neuron: Neuron[Item], life: Life) -> Speaker:
        large = self.rng.random() < 0.5
        sizes = sizes_from(self.rng, USUAL_SIZES if large else USUAL_SIZES[:4], RARE_SIZES if large else ())
        speaker = Speaker(len(self.speakers), neuron, sizes)
        self.speakers[speaker.number] = speaker
        return speaker

    # -- looking -------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """At any instant: no listener heard what it should not have, no book is out of balance."""
        for side in self.sides:
            if side.failures:
                raise side.failures[0]
            # Nothing changes in a life that is over; it is looked at once more.
            over = [life for life in side.past if not life.looked_at]
            for life in over if side.life is None else (*over, side.life):
                life.looked_at = life.over
                for listener in (*life.listeners, *life.removed):
                    listener.check()
                books.audit(life)

    async def until(self, condition: Callable[[], str | None], limit_s: float, what: str) -> None:
        """Wait until `condition` gives None; what it gives otherwise is in the error."""
        deadline = time.monotonic() + limit_s
        pause = 0.0
        while (left := condition()) is not None:
            if time.monotonic() > deadline:
                raise Untrue(f"{what}: not within {limit_s} s: {left}")
            await asyncio.sleep(pause)
            pause = 0.001
        self.look()

    # -- the whole -----------------------------------------------------------------------------------------------

    async def play(self) -> None:
        for joint in self.joints:
            for proxy in joint.proxies:
                proxy.start()
        try:
            for side in self.sides:
                if self.unbroken or self.rng.random() < 0.8:
                    await self.begin(side)
            if self.unbroken:
                await self.until(self.not_ready, READY_LIMIT_S, "ready at first")
                self.remember_what_is_wanted()
            steps = [step for step in STEPS if not (self.unbroken and step.breaks)]
            for _ in range(self.rng.randint(6, 16)):
                step = self.rng.choices(steps, [step.weight for step in steps])[0]
                told = await step.run(self)
                if told is not None:
                    self.note(told)
                    self.look()
                    await self.some_turns()
                    self.look()
            await self.heal()
            await self.reckon()
            await self.end()
        finally:
            await self.clean_up()

    async def some_turns(self) -> None:
        if self.rng.random() < 0.6:
            for _ in range(self.rng.randint(0, 6)):
                await asyncio.sleep(0)
        else:
            await asyncio.sleep(self.rng.uniform(0.0002, 0.004))

    async def heal(self) -> None:
        self.note("heal")
        self.send_hostiles_away()
        for side in self.sides:
            if side.life is None:
                continue
            for listener in (*side.life.listeners, *side.life.removed):
                listener.failures_to_come = 0
                listener.resume()
        for joint in self.joints:
            for proxy in joint.proxies:
                proxy.heal()
        for side in self.sides:
            if side.life is None:
                await self.begin(side)
        await self.notice()
        # Who reads nothing because a reactant is busy cannot know that its connection is gone; now it is not busy.
        await self.until(self.not_listening, REST_LIMIT_S, "listeners at work again")
        await self.notice()
        began = time.monotonic()
        await asyncio.gather(*self.ready())
        left_s = READY_LIMIT_S - (time.monotonic() - began)
        await self.until(self.not_ready, left_s, "ready after healing")
        self.note("ready")

    async def notice(self) -> None:
        """Every socket that has something to say is read in the next turns of the loop."""
        for _ in range(4):
            await asyncio.sleep(0)

    def send_hostiles_away(self) -> None:
        for caller in self.callers:
            caller.close()
        for impostor in self.impostors:
            impostor.close()

    def living(self) -> list[Life]:
        return [side.life for side in self.sides if side.life is not None]

    def not_listening(self) -> str | None:
        for life in self.living():
            for listener in life.listeners:
                if listener.begun != listener.finished + listener.raised + listener.interrupted:
                    return f"{listener.name} is busy"
        return None

    def remember_what_is_wanted(self) -> None:
        """Everybody is connected, nobody has spoken: who listens now will hear all."""
        for life in self.living():
            for listener in life.listeners:
                listener.from_the_start = True
        self.forget_what_is_not_wanted(at_first=True)

    def forget_what_is_not_wanted(self, at_first: bool = False) -> None:
        for here, there in ((self.left, self.right), (self.right, self.left)):
            if here.life is None or there.life is None:
                continue
            wanted = {listener.neuron for listener in there.life.listeners}
            if len(self.joints) > 1:
                wanted = set(NEURONS)  # by the bridge
            here.life.always_wanted = wanted if at_first else here.life.always_wanted & wanted

    def ready(self) -> list[Awaitable[None]]:
        """What a program would wait for that must not lose its first message."""
        return [
            ganglion.ready(neuron=neuron, timeout_s=READY_LIMIT_S)
            for here, there in ((self.left, self.right), (self.right, self.left))
            if here.life is not None and there.life is not None
            for ganglion in here.life.ganglia
            for neuron in {listener.neuron for listener in there.life.listeners}
        ]

    def not_ready(self) -> str | None:
        for joint in self.joints:
            for here, there in (joint.sides, joint.sides[::-1]):
                assert here.life is not None and there.life is not None
                # A bridge wants everything: it passes on whatever comes.
                bridged = there.name == "bridge"
                wanted = NEURONS if bridged else [listener.neuron for listener in there.life.listeners]
                for ganglion in here.life.ganglia_of(joint):
                    if (missing := books.missing_peers(ganglion, wanted)) is not None:
                        return f"{here.name}: {missing}"
        return None

    async def reckon(self) -> None:
        """Everything accepted is somewhere; what is said now arrives completely and in order."""
        try:
            await self.come_to_rest()
        except Untrue:
            if not self.stranger_may_be_stuck():
                raise
            await self.right.die(abruptly=True)
            await self.begin(self.right)
            self.note("a libzmq that was stuck is killed and starts again")
            await self.come_to_rest()
        self.note("at rest")
        books.settle_accounts(self)
        for here, there in ((self.left, self.right), (self.right, self.left)):
            assert here.life is not None and there.life is not None
            for neuron in SAID_BY[here.name]:
                listeners = [listener for listener in there.life.listeners if listener.neuron == neuron]
                if listeners:
                    await self.speak_plainly(here.life, neuron, listeners)
        await self.until(self.not_at_rest, REST_LIMIT_S, "everything has arrived after healing")
        books.settle_accounts(self)
        self.note("all heard")

    async def come_to_rest(self) -> None:
        await self.until(self.still_speaking, REST_LIMIT_S, "those who were speaking have ended")
        await self.until(self.not_at_rest, REST_LIMIT_S, "everything has arrived")
        if self.stranger is not None:
            await self.acquaint()

    def stranger_may_be_stuck(self) -> bool:
        """A bound PAIR of libzmq holds on to a connection that has ended until all of it is read. The next one it
        accepts meanwhile, and throws away what comes on it, for good.
        """
        joint = self.joints[0]
        return self.stranger is not None and joint.kind == "pair" and (joint, True) in self.right.ends

    async def acquaint(self) -> None:
        """What a stranger knows of its connections cannot be asked; say something until it is heard."""
        deadline = time.monotonic() + READY_LIMIT_S
        for here, there in ((self.left, self.right), (self.right, self.left)):
            assert here.life is not None and there.life is not None
            for listener in there.life.listeners:
                speaker = self.new_speaker(listener.neuron, here.life)
                here.life.speakers.append(speaker)
                while not listener.heard_of(speaker):
                    if time.monotonic() > deadline:
                        raise Untrue(f"{listener.name} hears nothing within {READY_LIMIT_S} s")
                    await asyncio.wait_for(speaker.say(here.life.transmit), READY_LIMIT_S)
                    await asyncio.sleep(0.002)
        await self.until(self.not_at_rest, REST_LIMIT_S, "everything has arrived")

    async def speak_plainly(self, life: Life, neuron: Neuron[Item], listeners: list[Listener]) -> None:
        """Twelve items, all of which every listener must hear. Where queues may drop, one at a time."""
        speaker = self.new_speaker(neuron, life)
        life.speakers.append(speaker)
        for n in range(12):
            await asyncio.wait_for(speaker.say(life.transmit), REST_LIMIT_S)
            if speaker.accepted != set(range(n + 1)):
                raise Untrue(f"speaker {speaker.number} could not say item {n} on a healthy network")
            if not self.lossless or n == 11:
                wanted = list(range(n + 1))
                await self.until(
                    lambda: next(
                        (
                            f"{listener.name} heard {listener.heard_of(speaker)}"
                            for listener in listeners
                            if listener.heard_of(speaker) != wanted  # noqa: B023
                        ),
                        None,
                    ),
                    REST_LIMIT_S,
                    f"items up to {n} of speaker {speaker.number} are heard",
                )

    def still_speaking(self) -> str | None:
        left = sum(len(life.speaking) for life in self.living())
        return f"{left} speak" if left else None

    def not_at_rest(self) -> str | None:
        for life in self.living():
            if (why := books.not_at_rest(life)) is not None:
                return f"{life.side.name}: {why}"
        return self.not_listening() or books.unequal_ends(self)

    async def end(self) -> None:
        for side in self.sides:
            await side.die(abruptly=False)
        self.note("closed")
        self.look()
        for side in self.sides:
            books.closed(side.past[-1])

    async def clean_up(self) -> None:
        self.send_hostiles_away()
        for joint in self.joints:
            for proxy in joint.proxies:
                proxy.close()
        for side in self.sides:
            if side.life is not None:
                await side.die(abruptly=True)


# -- running -------------------------------------------------------------------------------------------------------


def run(seed: int, stranger: type[Life] | None = None) -> Scenario:
    """Play one; what goes wrong is raised with the seed and what was done. Some run under uvloop."""
    loop = _new_loop(seed)
    logger = logging.getLogger("plexo")
    level = logger.level
    # Thousands of expected warnings; those of a failure are seen when it is replayed alone.
    logger.setLevel(level if __name__ == "__main__" else logging.CRITICAL)
    scenario = Scenario(seed, stranger)
    unseen: list[str] = []
    loop.set_exception_handler(lambda _, context: unseen.append(_told_by(context)))
    try:
        loop.run_until_complete(asyncio.wait_for(scenario.play(), SCENARIO_LIMIT_S))
        if left := asyncio.all_tasks(loop):
            raise Untrue(f"tasks are left: {left}")
        gc.collect(0)
        if unseen:
            raise Untrue("; ".join(unseen))
    except Exception as error:
        done = "\n  ".join(scenario.journal[-LAST_WORDS:])
        raise Untrue(
            f"scenario {seed}: {type(error).__name__}: {error}\n  {done}\n"
            + "".join(f"{each}\n" for each in unseen)
            + f"replay: python -m tests.faults.scenario {seed} 20{f' {stranger.__name__}' if stranger else ''}"
        ) from error
    finally:
        logger.setLevel(level)
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
    return scenario


def _told_by(context: dict[str, Any]) -> str:
    """What an event loop says of an exception that nobody caught."""
    error = context.get("exception")
    where = "".join(traceback.format_exception(error)[-4:]) if error else ""
    return f"{context.get('message')} {where}"


def _new_loop(seed: int) -> asyncio.AbstractEventLoop:
    if seed % 5 == 4:
        try:
            import uvloop
        except ImportError:
            pass
        else:
            return uvloop.new_event_loop()
    return asyncio.new_event_loop()


def main() -> None:
    seed, times = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1
    stranger: type[Life] | None = None
    if len(sys.argv) > 3:
        stranger = getattr(importlib.import_module("tests.faults.strangers"), sys.argv[3])
    logging.basicConfig(level=logging.DEBUG if times == 1 else logging.CRITICAL)
    for _ in range(times):
        scenario = run(seed, stranger)
    print("\n".join(scenario.journal))
    print(f"scenario {seed}: nothing wrong in {times} run(s)")


if __name__ == "__main__":
    main()
