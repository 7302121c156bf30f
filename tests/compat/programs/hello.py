# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: UP045  (written as for the Pythons of 1.0)
"""One program sends a Foo, the other answers each with a Bar.

hello.py send|respond pair|pubsub pickle|json|capnpy PORT PEER_PORT

send (COUNT Foos answered, then it ends) binds on the pair, respond connects and goes on for ever.
"""

import asyncio
import functools
import importlib.util
import logging
import sys
import uuid
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from timeit import default_timer as timer
from typing import Optional
from uuid import UUID

from plexo.axon import Axon
from plexo.codec.capnpy_codec import CapnpyCodec
from plexo.codec.json_codec import JsonCodec
from plexo.codec.pickle_codec import PickleCodec
from plexo.exceptions import TransmitterNotFound
from plexo.ganglion.tcp_pair import GanglionZmqTcpPair
from plexo.ganglion.tcp_pubsub import GanglionZmqTcpPubSub
from plexo.namespace.namespace import Namespace
from plexo.neuron.neuron import Neuron
from plexo.plexus import Plexus

COUNT = 20
HOST = "127.0.0.1"

role, transport, codec_name, port, peer_port = sys.argv[1:]

if codec_name == "pickle":
    partial = functools.partial

    @dataclass
    class Foo:
        message: str
        message_id: UUID
        message_num: int
        node_id: Optional[str] = None

    @dataclass
    class Bar:
        foo_message_id: UUID
        message_num: int

    def new_id():
        return uuid.uuid1()

    foo_codec = bar_codec = PickleCodec()
    foo_type, bar_type = Foo, Bar
elif codec_name == "capnpy":
    # A struct compiled by capnpy, found as a file: one of 1.0's own, whatever plexo runs this.
    pattern = "plexo/schema/plexo_multicast/plexo_approval.*.so"
    (found,) = {str(file) for folder in sys.path for file in Path(folder).glob(pattern)}
    spec = importlib.util.spec_from_file_location("plexo_approval", found)
    compiled = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(compiled)
    Struct = compiled.PlexoApproval
    partial = functools.partial

    class Foo:
        def __new__(cls, message, message_id, message_num):
            return Struct(message_num, 2**64 - 1, message.encode(), message_id)

    class Bar:
        def __new__(cls, foo_message_id, message_num):
            return Struct(message_num, 0, b"", foo_message_id)

    def new_id():
        return uuid.uuid1().bytes

    foo_codec = bar_codec = CapnpyCodec(Struct)
    foo_type = bar_type = Struct
else:
    import python_jsonschema_objects as pjs
    from returns.curry import partial

    foo_schema = {
        "title": "Foo",
        "type": "object",
        "properties": {
            "message": {"type": "string"},
            "message_id": {"type": "string"},
            "message_num": {"type": "number"},
            "node_id": {"type": "string"},
        },
        "required": ["message", "message_id", "message_num"],
    }
    bar_schema = {
        "title": "Bar",
        "type": "object",
        "properties": {"foo_message_id": {"type": "string"}, "message_num": {"type": "number"}},
        "required": ["foo_message_id", "message_num"],
    }
    Foo = pjs.ObjectBuilder(foo_schema).build_classes()["Foo"]
    bar_codec = JsonCodec.load_from_schema(bar_schema, "Bar")
    Bar = bar_codec.schema_class

    def new_id():
        return str(uuid.uuid1())

    foo_codec = JsonCodec(Foo)
    foo_type, bar_type = foo_codec.schema_class, bar_codec.schema_class

answered = set()


def number_of(message):
    return message.instance_id if codec_name == "capnpy" else message.message_num


def id_of(foo):
    return foo.multicast_ip if codec_name == "capnpy" else foo.message_id


async def bar_reaction(bar: Bar, _, _2):
    answered.add(int(number_of(bar)))


async def foo_reaction(bar_axon: Axon, foo: Foo, neuron: Neuron, reaction_id: Optional[UUID]):
    logging.info("received %s by %s", id_of(foo), neuron)
    try:
        bar = Bar(foo_message_id=id_of(foo), message_num=number_of(foo))
        task = asyncio.create_task(bar_axon.transmit(bar))
        await task
    except TransmitterNotFound as error:
        logging.error(error)


async def send(foo_axon: Axon, bar_axon: Axon):
    await foo_axon.adapt()
    await bar_axon.react(reactants=[bar_reaction])
    number = 0
    while len(answered) < COUNT:
        start = timer()
        foo = Foo(message=f"Hello, Plexo {number} …", message_id=new_id(), message_num=number)
        await foo_axon.transmit(foo)
        number += 1
        await asyncio.sleep(max(0, 0.02 - (timer() - start)))
    print("answered", flush=True)


async def respond(foo_axon: Axon, bar_axon: Axon):
    await foo_axon.react(reactants=[partial(foo_reaction, bar_axon)])
    print("reacting", flush=True)
    while True:
        await asyncio.sleep(10)


def run():
    logging.basicConfig(level=logging.INFO)

    namespace = Namespace(["dev", "plexo", "test"])
    foo_neuron = Neuron(foo_type, namespace, foo_codec, "Foo")
    bar_neuron = Neuron(bar_type, namespace, bar_codec, "Bar")

    if transport == "pubsub":
        ganglion = GanglionZmqTcpPubSub(
            bind_interface=HOST,
            port_pub=int(port),
            peers=[(IPv4Address(HOST), int(peer_port))],
            allowed_codecs=(type(foo_codec),),
        )
    elif role == "send":
        ganglion = GanglionZmqTcpPair(
            bind_interface=HOST, port=int(port), relevant_neurons=(bar_neuron, foo_neuron)
        )
    else:
        ganglion = GanglionZmqTcpPair(peer=(IPv4Address(HOST), int(peer_port)))
    plexus = Plexus(ganglia=(ganglion,))
    foo_axon = Axon(foo_neuron, plexus)
    bar_axon = Axon(bar_neuron, plexus)
    asyncio.run((send if role == "send" else respond)(foo_axon, bar_axon))
    plexus.close()
    print("closed", flush=True)


if __name__ == "__main__":
    run()
