# SPDX-License-Identifier: Apache-2.0
"""Typed message passing: messages as types. Start with Namespace, Neuron and Plexus."""

from typing import TYPE_CHECKING

from plexo._fast.topics import topic_hash
from plexo.axon import Axon
from plexo.exceptions import (
    AmbiguousNeuron,
    Closed,
    CodecNotFound,
    DecodeError,
    EncodeError,
    HandshakeFailed,
    LinkError,
    MessageTooLarge,
    PlexoError,
    ProtocolError,
    QueueFull,
    TransmitterNotFound,
    UnpicklingRefused,
    WrongType,
)
from plexo.ganglion.inproc import GanglionInproc
from plexo.ganglion.tcp_pair import GanglionZmqTcpPair
from plexo.ganglion.tcp_pubsub import GanglionZmqTcpPubSub
from plexo.namespace.namespace import Namespace
from plexo.neuron.neuron import Neuron
from plexo.plexus import Plexus
from plexo.statistics import Cause, GanglionStats
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

__version__ = "2.0.0.dev0"

__all__ = [
    "AmbiguousNeuron",
    "Axon",
    "BytesCodec",
    "CapnpCodec",
    "CapnpyCodec",
    "Cause",
    "Closed",
    "CodecNotFound",
    "DecodeError",
    "EncodeError",
    "GanglionInproc",
    "GanglionStats",
    "GanglionZmqTcpPair",
    "GanglionZmqTcpPubSub",
    "HandshakeFailed",
    "JsonCodec",
    "LinkError",
    "MessageTooLarge",
    "MsgpackCodec",
    "Namespace",
    "Neuron",
    "NumpyCodec",
    "PickleCodec",
    "Plexus",
    "PlexoError",
    "ProtocolError",
    "QueueFull",
    "Stream",
    "StringCodec",
    "TransmitterNotFound",
    "UnpicklingRefused",
    "WrongType",
    "topic_hash",
]


def __getattr__(name: str) -> object:
    """Codecs are imported when first asked for: most programs use one, and some are slow to import."""
    if name.endswith("Codec") and name in __all__:
        from plexo import codec

        return getattr(codec, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
