# SPDX-License-Identifier: Apache-2.0
"""Typed message passing: messages as types. Start with Namespace, Neuron and Plexus."""

from plexo._fast.topics import topic_hash
from plexo.axon import Axon
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
