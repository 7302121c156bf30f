# SPDX-License-Identifier: Apache-2.0
"""Random days of a network: hosts fail and come back, cables are pulled, packets are lost, the network is cut.

After each step every host sends on every topic, and everything must arrive at all others, once and in order. Only a
source's very first message, which may be lost before anybody knows of the source, is sent while nothing else is wrong.

    python -m tests.multicast.scenario 17 18 19
"""

from __future__ import annotations

import contextlib
import itertools
import random
import sys
import time

from tests.multicast.child import Child
from tests.multicast.network import Network
from tests.multicast.peers import TOPIC_OF, ganglion_peer

STEPS = 6
AGREE_S = 20.0
ARRIVE_S = 20.0
# Messages and bytes of each, between two looks.
SMALL, LARGE = (2000, 64), (20, 200_000)


class Scenario:
    """One network, its hosts, and what each has sent so far."""

    def __init__(self, seed: int, network: Network, rng: random.Random, stack: contextlib.ExitStack) -> None:
        self.seed, self.network, self.rng, self.stack = seed, network, rng, stack
        self.done: list[str] = []
        self.topics = [f"Topic{n}" for n in range(rng.randint(1, 4))]
        self.members = [stack.enter_context(ganglion_peer(host)) for host in network.hosts]
        self.next = dict.fromkeys(itertools.product(range(len(self.members)), self.topics), 0)
        self.percent = 0.0

    def run(self) -> None:
        for number in range(len(self.members)):
            self._adapt(number)
        for number in range(len(self.members)):
            self._introduce(number)
        steps = (self.lose, self.cut, self.fail, self.pull, self.nothing, self.nothing)
        for _ in range(STEPS):
            step = self.rng.choice(steps)
            self.done.append(step.__name__)
            step()
            self.exchange()
        self.network.heal()
        for member in self.members:
            told = member.ask("finish")
            assert told["balanced"] and not told["faults"], f"{self}: {told}"

    def __str__(self) -> str:
        return f"scenario {self.seed}, {len(self.members)} hosts, {self.percent} % lost, {self.done}"

    # -- steps

    def nothing(self) -> None:
        pass

    def lose(self) -> None:
        self.percent = self.rng.choice((0.0, 1.0, 5.0, 20.0, 35.0))
        self.network.lose(self.percent)

    def cut(self) -> None:
        hosts = list(self.network.hosts)
        self.rng.shuffle(hosts)
        where = self.rng.randrange(1, len(hosts))
        self.network.cut(hosts[:where], hosts[where:])
        time.sleep(self.rng.uniform(0, 2))
        self.network.heal()
        self.network.lose(self.percent)

    def fail(self) -> None:
        number = self.rng.randrange(len(self.members))
        self.members[number].kill()
        self.members[number] = self.stack.enter_context(ganglion_peer(self.network.hosts[number]))
        self.network.heal()
        self._adapt(number)
        self._introduce(number)
        self.network.lose(self.percent)

    def pull(self) -> None:
        host = self.rng.choice(self.network.hosts)
        host.pull_the_cable()
        time.sleep(self.rng.uniform(0, 1.5))
        host.plug_the_cable()

    # -- messages

    def exchange(self) -> None:
        count, size = self.rng.choice((SMALL, SMALL, LARGE))
        sent = [
            (number, topic, self.rng.randint(1, count))
            for number, topic in itertools.product(range(len(self.members)), self.topics)
        ]
        for number, topic, some in sent:
            self._send(number, topic, some, size)
        for number, _, _ in sent:
            self.members[number].expect("send", 60)
        for number, topic, _ in sent:
            for member in self._others(number):
                self._arrived(member, number, topic)

    def _send(self, number: int, topic: str, count: int, size: int) -> None:
        first = self.next[number, topic]
        self.next[number, topic] += count
        self.members[number].tell(
            "send", name=topic, sender=number, first=first, count=count, size=size, pause_s=0
        )

    def _arrived(self, member: Child, number: int, topic: str) -> None:
        last = self.next[number, topic] - 1
        found = member.ask("until", 60, name=topic, sender=number, last=last, within_s=ARRIVE_S)
        told = found["senders"].get(str(number), {})
        fine = (
            not found["spoilt"]
            and told
            and told["last"] == last
            and not told["missing"]
            and not told["stale"]
        )
        assert fine, f"{self}: {topic} of host {number} on {member.host}: {told}, {member.ask('books')}"

    def _others(self, number: int) -> list[Child]:
        return [member for each, member in enumerate(self.members) if each != number]

    def _adapt(self, number: int) -> None:
        for topic in self.topics:
            self.members[number].ask("adapt", name=topic, listen=True)
        for topic in self.topics:
            told = self.members[number].ask("agreed", 2 * AGREE_S, name=topic, within_s=AGREE_S)
            assert told["group"], f"{self}: {TOPIC_OF.format(topic)}: {told}"

    def _introduce(self, number: int) -> None:
        """The first message of its sources."""
        for topic in self.topics:
            self._send(number, topic, 1, 64)
            self.members[number].expect("send")
            for member in self._others(number):
                self._arrived(member, number, topic)


def play(seed: int) -> None:
    """AssertionError: something did not arrive; the text says the seed and what was done."""
    rng = random.Random(seed)
    with Network(rng.randint(2, 5)) as network, contextlib.ExitStack() as stack:
        Scenario(seed, network, rng, stack).run()


if __name__ == "__main__":
    for each in map(int, sys.argv[1:]):
        play(each)
        print(f"scenario {each}: all arrived", flush=True)
