# SPDX-License-Identifier: Apache-2.0
"""Our end of the tests with plexo 1.0.0: running peer_1_0.py, and the messages it understands."""

from __future__ import annotations

import asyncio
import errno
import json
import socket
import tempfile
import warnings
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import msgspec
import pytest

from plexo import CapnpCodec, JsonCodec, Namespace, Neuron, PickleCodec, Plexus, StringCodec
from tests.interop.venv_1_0 import clean_environment
from tests.support import run, within

HOST = "127.0.0.1"
SCRIPT = Path(__file__).with_name("peer_1_0.py")
TIMEOUT_S = 20.0
TRIES = 5


class PortTaken(Exception):
    """Somebody else was quicker; the test is to be run again on other ports."""


def free_port() -> int:
    """A TCP port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def run_on_free_ports(test: Callable[[], Awaitable[None]], timeout_s: float = 60.0) -> None:
    """Run a test that uses free_port(), again if a port was taken meanwhile."""
    for left in reversed(range(TRIES)):

        async def main() -> None:
            await test()

        try:
            return run(main(), timeout_s)
        except PortTaken:
            if not left:
                raise
        except OSError as error:
            if error.errno != errno.EADDRINUSE or not left:
                raise


class Peer:
    """peer_1_0.py at work, in its own process. Its last words are in the failure of whoever waits for it."""

    def __init__(self, process: asyncio.subprocess.Process, errors: Any) -> None:
        self._process = process
        self._errors = errors

    @classmethod
    async def start(cls, python: Path, *arguments: object) -> Peer:
        """Returns when the peer has taken up its neurons. Raises PortTaken."""
        errors = tempfile.TemporaryFile()  # noqa: SIM115  closed with the peer
        process = await asyncio.create_subprocess_exec(
            str(python),
            str(SCRIPT),
            *(str(argument) for argument in arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            env=clean_environment(),
        )
        peer = cls(process, errors)
        try:
            if (await peer.event())["event"] == "taken":
                raise PortTaken
        except BaseException:
            await peer.kill()
            raise
        return peer

    async def event(self, timeout_s: float | None = TIMEOUT_S) -> dict[str, Any]:
        """The next line it prints."""
        assert self._process.stdout is not None
        try:
            line = await asyncio.wait_for(self._process.stdout.readline(), timeout_s)
        except asyncio.TimeoutError:
            raise AssertionError(f"the peer says nothing; it said {self._last_words()}") from None
        assert line, f"the peer has ended: {self._last_words()}"
        event: dict[str, Any] = json.loads(line)
        return event

    async def got(self, number: int) -> str | int:
        """The text of request `number`, which must be the next it receives (its length where long)."""
        event = await self.event()
        assert (event["event"], event["number"]) == ("got", number)
        text: str | int = event["text"]
        return text

    def send(self, number: int, text: str) -> None:
        """Let it send a reply that nobody asked for."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([number, text]).encode() + b"\n")

    def _last_words(self) -> str:
        self._errors.seek(0)
        return str(self._errors.read()[-2000:].decode(errors="replace"))

    async def kill(self) -> None:
        """End it without letting it say goodbye."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()
        # The transport is closed by callbacks that asyncio queues; without this turn it warns of an open one.
        await asyncio.sleep(0)
        self._errors.close()

    async def __aenter__(self) -> Peer:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()


# -- messages ------------------------------------------------------------------------------------------------

FAMILY = UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")
EPOCH = datetime(2024, 2, 29, tzinfo=timezone.utc)
REQUESTS = Namespace("interop.request")
REPLIES = Namespace("interop.reply")


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


class JsonMessage(msgspec.Struct):
    number: int
    text: str


class Messages:
    """One codec's neurons, and how its requests are made and its replies are read."""

    peer_codec: str
    request: Neuron[Any]
    reply: Neuron[Any]

    def make(self, number: int, text: str) -> Any:
        raise NotImplementedError

    def read(self, reply: Any) -> tuple[int, str]:
        raise NotImplementedError


class Texts(Messages):
    peer_codec = "string"

    def __init__(self) -> None:
        self.request = Neuron(str, REQUESTS, StringCodec())
        self.reply = Neuron(str, REPLIES, StringCodec())

    def make(self, number: int, text: str) -> str:
        return f"{number} {text}"

    def read(self, reply: str) -> tuple[int, str]:
        number, _, text = reply.partition(" ")
        return int(number), text


class Pickles(Messages):
    peer_codec = "pickle"

    def __init__(self) -> None:
        self.request = Neuron(Request, REQUESTS, PickleCodec())
        self.reply = Neuron(Reply, REPLIES, PickleCodec())

    def make(self, number: int, text: str) -> Request:
        return Request(number, text, uuid5(FAMILY, str(number)), EPOCH + timedelta(microseconds=number))

    def read(self, reply: Reply) -> tuple[int, str]:
        assert type(reply) is Reply
        assert reply.identity == uuid5(FAMILY, str(reply.number))
        assert reply.at == EPOCH + timedelta(microseconds=reply.number)
        return reply.number, reply.text


class JsonStructs(Messages):
    """python-jsonschema-objects gives its classes names in lower case, and topics are made of these."""

    peer_codec = "json"

    def __init__(self) -> None:
        self.request = Neuron(JsonMessage, REQUESTS, JsonCodec(), type_name_alias="request")
        self.reply = Neuron(JsonMessage, REPLIES, JsonCodec(), type_name_alias="reply")

    def make(self, number: int, text: str) -> JsonMessage:
        return JsonMessage(number, text)

    def read(self, reply: JsonMessage) -> tuple[int, str]:
        return reply.number, reply.text


class JsonDicts(Messages):
    peer_codec = "json"

    def __init__(self) -> None:
        self.request = Neuron(dict, REQUESTS, JsonCodec(), type_name_alias="request")
        self.reply = Neuron(dict, REPLIES, JsonCodec(), type_name_alias="reply")

    def make(self, number: int, text: str) -> dict[str, Any]:
        return {"number": number, "text": text}

    def read(self, reply: dict[str, Any]) -> tuple[int, str]:
        return reply["number"], reply["text"]


class JsonSchemas(Messages):
    peer_codec = "json"

    def __init__(self) -> None:
        pytest.importorskip("python_jsonschema_objects")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the library's remarks on schemas without an id
            codecs = [JsonCodec.load_from_schema(self.schema(title), title) for title in ("Request", "Reply")]
        self.request = Neuron(codecs[0].schema_class, REQUESTS, codecs[0])
        self.reply = Neuron(codecs[1].schema_class, REPLIES, codecs[1])

    @staticmethod
    def schema(title: str) -> dict[str, Any]:
        properties = {"number": {"type": "integer"}, "text": {"type": "string"}}
        return {
            "$schema": "http://json-schema.org/draft-04/schema#",
            "title": title,
            "type": "object",
            "properties": properties,
            "required": list(properties),
        }

    def make(self, number: int, text: str) -> Any:
        return self.request.type(number=number, text=text)

    def read(self, reply: Any) -> tuple[int, str]:
        return int(reply.number), str(reply.text)


class Capnps(Messages):
    peer_codec = "capnp"
    # The layout of a struct that 1.0.0 brings along compiled. An id of our own: two schemas with one id
    # cannot be loaded into one process.
    schema = """
    @0xd1f2a8bb30c84e07;
    struct PlexoApproval {
        instanceId @0 :UInt64;
        proposalId @1 :UInt64;
        typeName @2 :Text;
        multicastIp @3 :Data;
    }
    """
    loaded: Any = None

    def __init__(self) -> None:
        capnp = pytest.importorskip("capnp")
        if Capnps.loaded is None:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, "approval.capnp")
                path.write_text(self.schema)
                Capnps.loaded = capnp.load(str(path))
        self.struct = Capnps.loaded.PlexoApproval
        self.request = Neuron(self.struct, REQUESTS, CapnpCodec(self.struct))
        self.reply = Neuron(self.struct, REPLIES, CapnpCodec(self.struct))

    def make(self, number: int, text: str) -> Any:
        return self.struct.new_message(
            instanceId=number, proposalId=2**64 - 1, typeName=text, multicastIp=bytes(range(256))
        )

    def read(self, reply: Any) -> tuple[int, str]:
        assert reply.proposalId == 2**64 - 1
        assert bytes(reply.multicastIp) == bytes(range(256))
        return reply.instanceId, reply.typeName


CODECS: dict[str, type[Messages]] = {
    "string": Texts,
    "pickle": Pickles,
    "json-struct": JsonStructs,
    "json-dict": JsonDicts,
    "json-schema": JsonSchemas,
    "capnp": Capnps,
}


class Ours:
    """A plexus that sends requests and keeps the replies."""

    def __init__(self, messages: Messages, ganglion: Any) -> None:
        self.messages = messages
        self.plexus = Plexus(ganglia=[ganglion])
        self.replies: asyncio.Queue[tuple[int, str]] = asyncio.Queue()

    async def __aenter__(self) -> Ours:
        await self.plexus.adapt(self.messages.reply, reactants=[self._keep])
        await self.plexus.adapt(self.messages.request)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.plexus.aclose()

    async def _keep(self, reply: Any) -> None:
        self.replies.put_nowait(self.messages.read(reply))

    async def request(self, number: int, text: str) -> None:
        await within(self.plexus.transmit(self.messages.make(number, text), self.messages.request), TIMEOUT_S)

    async def reply(self) -> tuple[int, str]:
        return await within(self.replies.get(), TIMEOUT_S)

    async def until_joined(self, peer: Peer, text: str = "joining") -> None:
        """Publish/subscribe: ask until both subscriptions are in place; let what is under way arrive."""
        asked = 0
        while self.replies.empty():
            asked += 1
            await self.request(-asked if self.messages.peer_codec != "capnp" else 10**6 + asked, text)
            await asyncio.sleep(0.02)
        last = -asked if self.messages.peer_codec != "capnp" else 10**6 + asked
        while (await self.reply())[0] != last:
            pass
        while (await peer.event())["number"] != last:
            pass

    async def exchange(self, peer: Peer, numbers: range, text: str = "späti ☂") -> None:
        """Requests there and replies back, all of them and in order."""
        for number in numbers:
            await self.request(number, f"{text} {number}")
        for number in numbers:
            assert await peer.got(number) == f"{text} {number}"
        for number in numbers:
            assert await self.reply() == (number, f"{text} {number}".upper())
        assert self.replies.empty()
