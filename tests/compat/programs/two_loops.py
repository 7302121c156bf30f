# SPDX-License-Identifier: Apache-2.0

"""A pair whose sides add their reactants in one event loop and talk in others.

1.0's users expect that, and 1.0 could not do it. two_loops.py ask|answer PORT
"""

import asyncio
import sys
from ipaddress import IPv4Address

from plexo.axon import Axon
from plexo.codec.string_codec import StringCodec
from plexo.ganglion.tcp_pair import GanglionZmqTcpPair
from plexo.namespace.namespace import Namespace
from plexo.neuron.neuron import Neuron
from plexo.plexus import Plexus

LOOPS = 4

role, port = sys.argv[1:]
answers = []


async def question_reaction(axon: Axon, text: str, _, _2):
    await axon.transmit(text.upper())


async def answer_reaction(text: str, _, _2):
    answers.append(text)


async def ask(axon: Axon, number: int):
    await axon.transmit(f"question {number}")
    while f"QUESTION {number}" not in answers:
        await asyncio.sleep(0.005)


async def stay():
    await asyncio.sleep(0.05)


def run():
    namespace = Namespace(["dev", "plexo", "test"])
    questions = Neuron(str, namespace, StringCodec(), "Question")
    replies = Neuron(str, namespace, StringCodec(), "Answer")
    if role == "ask":
        plexus = Plexus(ganglia=(GanglionZmqTcpPair(bind_interface="127.0.0.1", port=int(port)),))
        asyncio.run(Axon(replies, plexus).react([answer_reaction]))
        axon = Axon(questions, plexus)
        for number in range(LOOPS):
            asyncio.run(ask(axon, number))
        print(answers, flush=True)
    else:
        plexus = Plexus(ganglia=(GanglionZmqTcpPair(peer=(IPv4Address("127.0.0.1"), int(port))),))
        axon = Axon(replies, plexus)

        async def reaction(text: str, neuron, reaction_id):
            await question_reaction(axon, text, neuron, reaction_id)

        asyncio.run(plexus.adapt(questions, reactants=(reaction,)))
        asyncio.run(axon.adapt())
        print("reacting", flush=True)
        while True:
            # What comes while no loop runs is served by the next that does something with the plexus.
            asyncio.run(turn(plexus, questions))
    plexus.close()
    print("closed", flush=True)


async def turn(plexus: Plexus, neuron: Neuron):
    await plexus.adapt(neuron)
    await stay()


if __name__ == "__main__":
    run()
