# SPDX-License-Identifier: Apache-2.0
"""The other end of the tests with plexo 1.0.0: run by the interpreter of that environment, never imported.

peer_1_0.py pair    CODEC (--bind PORT | --connect PORT)
peer_1_0.py pubsub  CODEC --bind PORT --connect PORT

It answers each request with a reply that has the request's number and its text in capitals. Events go to
standard output, one JSON object a line: {"event": "ready"}, {"event": "got", "number": .., "text": ..},
{"event": "taken"} where the port is in use. A line [number, text] on standard input sends a reply that nobody
asked for; the end of standard input ends it.
"""

import argparse
import asyncio
import json
import logging
import os
import sys
import threading
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from ipaddress import IPv4Address
from uuid import UUID, uuid5

import zmq
from plexo.schema.plexo_multicast.plexo_approval import PlexoApproval  # only 1.0 has it

from plexo.codec.capnpy_codec import CapnpyCodec
from plexo.codec.json_codec import JsonCodec
from plexo.codec.pickle_codec import PickleCodec
from plexo.codec.string_codec import StringCodec
from plexo.ganglion.tcp_pair import GanglionZmqTcpPair
from plexo.ganglion.tcp_pubsub import GanglionZmqTcpPubSub
from plexo.namespace.namespace import Namespace
from plexo.neuron.neuron import Neuron
from plexo.plexus import Plexus

HOST = "127.0.0.1"
FAMILY = UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")
EPOCH = datetime(2024, 2, 29, tzinfo=timezone.utc)

REQUESTS = Namespace(["interop", "request"])
REPLIES = Namespace(["interop", "reply"])


@dataclass
class Request:
    number: int
    text: str
    identity: UUID
    at: datetime


@dataclass
class Reply:
    number: int
    text: str
    identity: UUID
    at: datetime


class Texts:
    def __init__(self):
        self.request = Neuron(str, REQUESTS, StringCodec())
        self.reply = Neuron(str, REPLIES, StringCodec())

    def read(self, request):
        number, _, text = request.partition(" ")
        return int(number), text

    def make(self, number, text):
        return f"{number} {text}"


class Pickles:
    def __init__(self):
        self.request = Neuron(Request, REQUESTS, PickleCodec())
        self.reply = Neuron(Reply, REPLIES, PickleCodec())

    def read(self, request):
        assert type(request) is Request
        assert request.identity == uuid5(FAMILY, str(request.number))
        assert request.at == EPOCH + timedelta(microseconds=request.number)
        return request.number, request.text

    def make(self, number, text):
        return Reply(number, text, uuid5(FAMILY, str(number)), EPOCH + timedelta(microseconds=number))


class Jsons:
    def __init__(self):
        codecs = [JsonCodec.load_from_schema(self.schema(title), title) for title in ("Request", "Reply")]
        self.reply_class = codecs[1].schema_class
        self.request = Neuron(codecs[0].schema_class, REQUESTS, codecs[0])
        self.reply = Neuron(codecs[1].schema_class, REPLIES, codecs[1])

    @staticmethod
    def schema(title):
        properties = {"number": {"type": "integer"}, "text": {"type": "string"}}
        return {
            "title": title,
            "type": "object",
            "properties": properties,
            "required": list(properties),
            "additionalProperties": False,
        }

    def read(self, request):
        return int(request.number), str(request.text)

    def make(self, number, text):
        return self.reply_class(number=number, text=text)


class Capnps:
    """A struct that 1.0.0 brings along compiled, so that no capnp compiler is needed."""

    def __init__(self):
        self.request = Neuron(PlexoApproval, REQUESTS, CapnpyCodec(PlexoApproval))
        self.reply = Neuron(PlexoApproval, REPLIES, CapnpyCodec(PlexoApproval))

    def read(self, request):
        assert request.proposal_id == 2**64 - 1
        assert request.multicast_ip == bytes(range(256))
        return request.instance_id, request.type_name.decode()

    def make(self, number, text):
        return PlexoApproval(number, 2**64 - 1, text.encode(), bytes(range(256)))


CODECS = {"string": Texts, "pickle": Pickles, "json": Jsons, "capnp": Capnps}


def say(event, **facts):
    print(json.dumps(dict(facts, event=event)), flush=True)


def make_ganglion(arguments):
    peer = (IPv4Address(HOST), arguments.connect) if arguments.connect else None
    if arguments.transport == "pair":
        if peer is None:
            return GanglionZmqTcpPair(bind_interface=HOST, port=arguments.bind)
        return GanglionZmqTcpPair(peer=peer)
    return GanglionZmqTcpPubSub(bind_interface=HOST, port_pub=arguments.bind, peers=[peer])


def listen(loop, send):
    for line in sys.stdin:
        asyncio.run_coroutine_threadsafe(send(*json.loads(line)), loop)
    os._exit(0)


async def main(arguments):
    messages = CODECS[arguments.codec]()
    plexus = Plexus(ganglia=(make_ganglion(arguments),))

    adapted = asyncio.Event()

    async def answer(request, _, _2):
        # A request that waits already is received in the midst of adapting. (The other way round would not
        # do: what comes for a neuron that is not adapted yet, 1.0 drops.)
        await adapted.wait()
        number, text = messages.read(request)
        say("got", number=number, text=text if len(text) < 200 else len(text))
        await plexus.transmit(messages.make(number, text.upper()), messages.reply)

    async def send(number, text):
        await plexus.transmit(messages.make(number, text), messages.reply)

    await plexus.adapt(messages.request, reactants=[answer])
    await plexus.adapt(messages.reply)
    threading.Thread(target=listen, args=(asyncio.get_running_loop(), send), daemon=True).start()
    say("ready")
    adapted.set()
    await asyncio.Event().wait()


if __name__ == "__main__":
    # Our requests are pickled by the name their class has over there, as if both sides imported one module of
    # the user's; the replies carry the name it has here.
    for name in ("tests", "tests.interop", "tests.interop.peer"):
        sys.modules[name] = sys.modules["__main__"]
    parser = argparse.ArgumentParser()
    parser.add_argument("transport", choices=["pair", "pubsub"])
    parser.add_argument("codec", choices=sorted(CODECS))
    parser.add_argument("--bind", type=int)
    parser.add_argument("--connect", type=int)
    logging.basicConfig(level=logging.WARNING)
    try:
        asyncio.run(main(parser.parse_args()))
    except zmq.ZMQError as error:
        if error.errno != zmq.EADDRINUSE:
            raise
        say("taken")
        os._exit(0)
