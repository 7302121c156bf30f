# SPDX-License-Identifier: Apache-2.0
"""Typed message passing: messages as types. Start with Namespace, Neuron and Plexus."""

from typing import TYPE_CHECKING

from plexo._fast.queues import Queue
from plexo._fast.topics import topic_hash
from plexo.axon import Axon
from plexo.exceptions import (
    AckNotSupported,
    AmbiguousNeuron,
    Closed,
    CodecNotFound,
    DecodeError,
    EncodeError,
    EventLoopNotSupported,
    HandshakeFailed,
    JournalError,
    LinkError,
    MessageTooLarge,
    NoResponder,
    NotDelivered,
    PlexoError,
    ProtocolError,
    QueueFull,
    RemoteError,
    RequestTimeout,
    TransmitterNotFound,
    UnpicklingRefused,
    UsedAfterFork,
    WrongType,
)
from plexo.failure import DeadLetter, Failure
from plexo.ganglion.events import LinkEvent, LinkEventKind
from plexo.ganglion.inproc import GanglionInproc
from plexo.namespace.namespace import Namespace
from plexo.neuron.neuron import Neuron
from plexo.plexus import Plexus
from plexo.statistics import Book, Cause, GanglionStats
from plexo.stream import Stream

if TYPE_CHECKING:
    from plexo.codec import (
        BytesCodec,
        CapnpCodec,
        CapnpyCodec,
        JsonCodec,
        MsgpackCodec,
        NumpyCodec,
        PickleCodec,
        StringCodec,
    )
    from plexo.collector import Collector
    from plexo.ganglion.plexo_multicast import GanglionPlexoMulticast
    from plexo.ganglion.tcp_pair import GanglionZmqTcpPair
    from plexo.ganglion.tcp_pubsub import GanglionZmqTcpPubSub

__version__ = "2.0.0.dev0"

__all__ = [
    "AckNotSupported",
    "AmbiguousNeuron",
    "Axon",
    "Book",
    "BytesCodec",
    "CapnpCodec",
    "CapnpyCodec",
    "Cause",
    "Closed",
    "CodecNotFound",
    "Collector",
    "DeadLetter",
    "DecodeError",
    "EncodeError",
    "EventLoopNotSupported",
    "Failure",
    "GanglionInproc",
    "GanglionPlexoMulticast",
    "GanglionStats",
    "GanglionZmqTcpPair",
    "GanglionZmqTcpPubSub",
    "HandshakeFailed",
    "JournalError",
    "JsonCodec",
    "LinkError",
    "LinkEvent",
    "LinkEventKind",
    "MessageTooLarge",
    "MsgpackCodec",
    "Namespace",
    "Neuron",
    "NoResponder",
    "NotDelivered",
    "NumpyCodec",
    "PickleCodec",
    "PlexoError",
    "Plexus",
    "ProtocolError",
    "Queue",
    "QueueFull",
    "RemoteError",
    "RequestTimeout",
    "Stream",
    "StringCodec",
    "TransmitterNotFound",
    "UnpicklingRefused",
    "UsedAfterFork",
    "WrongType",
    "topic_hash",
]

# Codecs and transports are imported when first asked for: a program uses one or two, and import time is counted.
_HOMES = {
    **dict.fromkeys([name for name in __all__ if name.endswith("Codec")], "plexo.codec"),
    "Collector": "plexo.collector",
    "GanglionPlexoMulticast": "plexo.ganglion.plexo_multicast",
    "GanglionZmqTcpPair": "plexo.ganglion.tcp_pair",
    "GanglionZmqTcpPubSub": "plexo.ganglion.tcp_pubsub",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
