# SPDX-License-Identifier: Apache-2.0
"""What can happen in a scenario. Each step says what it did, or None where it does not apply now."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any

from tests.faults.hostile import Caller, Impostor, bad_words
from tests.faults.proxy import Flow, Wire
from tests.faults.truth import HEARD_BY, SAID_BY

if TYPE_CHECKING:
    from tests.faults.scenario import Scenario
    from tests.faults.sides import Life

Step = Callable[["Scenario"], "Coroutine[Any, Any, str | None]"]


class Kind:
    """A step: what it does (None: it does not apply now), how often, and whether it breaks connections."""

    def __init__(self, run: Callable[[Scenario], Awaitable[str | None]], weight: float, breaks: bool) -> None:
        self.run = run
        self.weight = weight
        self.breaks = breaks


STEPS: list[Kind] = []


def step(weight: float, breaks: bool = False) -> Callable[[Step], Step]:
    def add(run: Step) -> Step:
        STEPS.append(Kind(run, weight, breaks))
        return run

    return add


def a_life(scenario: Scenario) -> Life | None:
    lives = [life for life in scenario.living() if life.side.name != "bridge"]
    return scenario.rng.choice(lives) if lives else None


def a_wire(scenario: Scenario) -> tuple[str, Wire] | None:
    wires = [
        (f"wire {proxy.accepted} to {proxy.target}", wire)
        for joint in scenario.joints
        for proxy in joint.proxies
        for wire in proxy.wires
        if wire.connected and not wire.closed
    ]
    return scenario.rng.choice(wires) if wires else None


def a_flow(scenario: Scenario) -> tuple[str, Flow] | None:
    chosen = a_wire(scenario)
    if chosen is None:
        return None
    name, wire = chosen
    up = scenario.rng.random() < 0.5
    return f"{name}, {'up' if up else 'down'}", wire.up if up else wire.down


@step(8)
async def flood(scenario: Scenario) -> str | None:
    life = a_life(scenario)
    if life is None or len(life.speaking) > 6:
        return None
    rng = scenario.rng
    speaker = scenario.new_speaker(rng.choice(SAID_BY[life.side.name]), life)
    count = rng.choice((1, 10, 40, 150))
    at_once = rng.random() < 0.25
    life.speak(speaker, count, at_once)
    how = " at once" if at_once else ""
    return f"{life.side.name} says {count} items of {speaker.neuron}{how} (speaker {speaker.number})"


@step(2)
async def withdraw(scenario: Scenario) -> str | None:
    life = a_life(scenario)
    if life is None or not life.speaking:
        return None
    task = scenario.rng.choice(sorted(life.speaking, key=lambda each: each.get_name()))
    task.cancel()
    return f"{life.side.name} gives up what it was saying"


@step(3)
async def pause(scenario: Scenario) -> str | None:
    life = a_life(scenario)
    if life is None or not life.listeners:
        return None
    listener = scenario.rng.choice(life.listeners)
    if listener.paused:
        listener.resume()
        return f"{listener.name} goes on"
    listener.pause()
    return f"{listener.name} pauses" if listener.paused else None


@step(1)
async def fail(scenario: Scenario) -> str | None:
    life = a_life(scenario)
    if life is None or not life.listeners:
        return None
    listener = scenario.rng.choice(life.listeners)
    listener.failures_to_come += scenario.rng.randint(1, 5)
    return f"{listener.name} will raise {listener.failures_to_come} times"


@step(1)
async def change_listeners(scenario: Scenario) -> str | None:
    life = a_life(scenario)
    if life is None:
        return None
    if len(life.listeners) > 1 and scenario.rng.random() < 0.5:
        listener = scenario.rng.choice(life.listeners)
        await life.stop_listening(listener)
        scenario.forget_what_is_not_wanted()
        return f"{listener.name} is removed"
    listener = await scenario.add_listener(life, scenario.rng.choice(HEARD_BY[life.side.name]))
    return f"{listener.name} is added"


@step(2)
async def stall(scenario: Scenario) -> str | None:
    chosen = a_flow(scenario)
    if chosen is None:
        return None
    name, flow = chosen
    if flow.stalled:
        flow.resume()
        return f"{name} resumes"
    flow.stall()
    return f"{name} stalls"


@step(2)
async def split(scenario: Scenario) -> str | None:
    chosen = a_flow(scenario)
    if chosen is None:
        return None
    name, flow = chosen
    largest, pieces = scenario.rng.choice((1, 3, 40)), scenario.rng.randint(5, 200)
    flow.split(largest, pieces)
    return f"{name} gives {pieces} pieces of at most {largest} bytes"


@step(1)
async def split_the_next(scenario: Scenario) -> str | None:
    joint = scenario.rng.choice(scenario.joints)
    proxy = scenario.rng.choice(joint.proxies)

    def from_the_start(wire: Wire) -> None:
        wire.up.split(2, 200)
        wire.down.split(2, 200)

    proxy.on_wire.append(from_the_start)
    return f"new wires to {proxy.target} are split"


@step(2)
async def delay(scenario: Scenario) -> str | None:
    chosen = a_flow(scenario)
    if chosen is None:
        return None
    name, flow = chosen
    seconds = scenario.rng.choice((0.0, 0.001, 0.004))
    flow.delay(seconds)
    return f"{name} is delayed by {seconds} s"


@step(1, breaks=True)
async def duplicate(scenario: Scenario) -> str | None:
    chosen = a_wire(scenario)
    if chosen is None:
        return None
    name, wire = chosen
    wire.duplicate()
    return f"{name} connects twice"


@step(3, breaks=True)
async def cut(scenario: Scenario) -> str | None:
    chosen = a_wire(scenario)
    if chosen is None:
        return None
    name, wire = chosen
    reset = scenario.rng.random() < 0.6
    wire.cut(reset)
    return f"{name} is cut{'' if reset else ' with a FIN'}"


@step(1, breaks=True)
async def half_close(scenario: Scenario) -> str | None:
    chosen = a_flow(scenario)
    if chosen is None:
        return None
    name, flow = chosen
    flow.half_close()
    return f"{name} is half-closed"


@step(1, breaks=True)
async def refuse(scenario: Scenario) -> str | None:
    proxy = scenario.rng.choice(scenario.rng.choice(scenario.joints).proxies)
    proxy.refuse()
    if scenario.rng.random() < 0.7:
        proxy.cut()
    return f"nobody listens for {proxy.target}"


@step(1, breaks=True)
async def black_hole(scenario: Scenario) -> str | None:
    proxy = scenario.rng.choice(scenario.rng.choice(scenario.joints).proxies)
    proxy.black_hole()
    return f"what goes to {proxy.target} and back vanishes"


@step(3, breaks=True)
async def kill(scenario: Scenario) -> str | None:
    side = scenario.rng.choice(scenario.sides)
    if side.life is None:
        return None
    await side.die(abruptly=True)
    return f"{side.name} is killed"


@step(3, breaks=True)
async def restart(scenario: Scenario) -> str | None:
    side = scenario.rng.choice(scenario.sides)
    if side.life is None:
        await scenario.begin(side)
        return f"{side.name} starts"
    # Closing in good order waits for whoever does not read; where that is known beforehand it would only cost time.
    orderly = not any(
        wire.troubled for joint, _ in side.ends for proxy in joint.proxies for wire in proxy.wires
    )
    orderly = orderly and not any(
        listener.paused for life in scenario.living() for listener in life.listeners
    )
    await side.die(abruptly=not orderly)
    await scenario.begin(side)
    return f"{side.name} {'restarts' if orderly else 'is killed and starts again'}"


@step(1.5, breaks=True)
async def call_badly(scenario: Scenario) -> str | None:
    side = scenario.rng.choice(scenario.sides)
    joint, binds = scenario.rng.choice(side.ends)
    proxy = joint.target_of(binds)
    # libzmq does not come back from a peer's breach of the protocol; that is not ours to test.
    if side.life is None or proxy is None or side.kind_of_life.is_stranger:
        return None
    role = b"PAIR" if joint.kind == "pair" else b"SUB"
    words = bad_words(scenario.rng, role)
    deaf = scenario.rng.random() < 0.3
    scenario.callers.append(Caller(proxy.target, words, deaf))
    return f"a hostile{' and deaf' if deaf else ''} peer calls {side.name} and says {words[64:][:150]!r}"


@step(1.5, breaks=True)
async def impersonate(scenario: Scenario) -> str | None:
    joint = scenario.rng.choice(scenario.joints)
    proxy = scenario.rng.choice(joint.proxies)
    if joint.caller_of(proxy).kind_of_life.is_stranger:
        return None
    words = bad_words(scenario.rng, b"PAIR" if joint.kind == "pair" else b"PUB")
    impostor = Impostor(words)
    scenario.impostors.append(impostor)
    proxy.detour = impostor.port
    proxy.cut()
    return f"an impostor in place of {proxy.target} says {words[64:][:150]!r}"


@step(1)
async def relieve(scenario: Scenario) -> str | None:
    proxy = scenario.rng.choice(scenario.rng.choice(scenario.joints).proxies)
    proxy.heal()
    return f"the way to {proxy.target} is healed"
