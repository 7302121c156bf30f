# SPDX-License-Identifier: Apache-2.0
"""Every exception this library raises on purpose.

One root, `PlexoError`. The names of 1.0 keep the built-in base they had, so `except KeyError` and `except
RuntimeError` written for 1.0 still catch them. Two families are kept apart: what the caller did wrong (raised
at the call), and what a peer did wrong (`LinkError` and below: raised or logged where the link is served).
"""

from __future__ import annotations


class PlexoError(Exception):
    """Root of every exception of this library."""


class _PlexoKeyError(PlexoError, KeyError):
    """`KeyError.__str__` prints the repr of its argument; a message should print as itself."""

    __str__ = Exception.__str__


# --- names of 1.0 -------------------------------------------------------------------------------------------


class NeuronNotAvailable(PlexoError, RuntimeError):
    """A neuron is not relevant to a ganglion or to a type."""


class NeuronNotFound(_PlexoKeyError):
    """A neuron does not exist in a ganglion."""


class ConsensusNotReached(PlexoError, RuntimeError):
    """A multicast ganglion could not agree with its peers on the address of a neuron."""


class IpAddressIsNotMulticast(PlexoError, RuntimeError):
    """An address that has to be a multicast address is none."""


class IpLeaseExists(PlexoError, RuntimeError):
    """An address that was asked for is leased already."""


class IpNotFound(_PlexoKeyError):
    """An address is outside the network it was looked up in."""


class IpNotLeased(PlexoError, RuntimeError):
    """An address that was given back is not leased."""


class IpsExhausted(PlexoError, RuntimeError):
    """Every address of the network is leased."""


class PreparationRejection(PlexoError, RuntimeError):
    """The consensus rejected a preparation."""


class ProposalPromiseNotMade(PlexoError, RuntimeError):
    """No promise was made for a proposal."""


class ProposalNotLatest(PlexoError, RuntimeError):
    """A newer proposal has been promised."""


class SynapseDoesNotExist(PlexoError, RuntimeError):
    """A ganglion has no synapse for a neuron."""


class SynapseExists(PlexoError, RuntimeError):
    """A ganglion has a synapse for a neuron already."""


class TransmitterNotFound(_PlexoKeyError):
    """A ganglion has no transmitter for a neuron: it was never adapted."""


# --- local misuse, raised at the call -----------------------------------------------------------------------


class CodecNotFound(PlexoError, TypeError):
    """No codec is known for a type; the message says which types are, and what to pass."""


class GanglionNotFound(_PlexoKeyError):
    """No installed distribution has a ganglion of that name."""


class EncodeError(PlexoError, ValueError):
    """A value does not fit the codec it was given to."""


class WrongType(PlexoError, TypeError):
    """A value was transmitted that is not of the neuron's type. Nothing was sent.

    `expected` is the neuron's type, `actual` the type of the value, `neuron_name` the neuron's full name, and
    `index` where in a batch the value is (None: it was transmitted alone).
    """

    def __init__(self, expected: object, actual: object, neuron_name: str, index: int | None = None) -> None:
        self.expected = expected
        self.actual = actual
        self.neuron_name = neuron_name
        self.index = index
        super().__init__(expected, actual, neuron_name, index)

    def __str__(self) -> str:
        where, unsent = "", "nothing was sent"
        if self.index is not None:
            where, unsent = f" at index {self.index}", "nothing of its chunk was sent"
        return (
            f"neuron {self.neuron_name!r} carries {_type_name(self.expected)}, "
            f"got {_type_name(self.actual)}{where}; {unsent}"
        )


class AmbiguousNeuron(PlexoError, LookupError):
    """A value was transmitted without a neuron, and more than one neuron carries its type."""


class QueueFull(PlexoError, RuntimeError):
    """A queue whose policy is `reject` is at its bound; the message was not accepted."""


class Closed(PlexoError, RuntimeError):
    """The object was closed; it takes no more calls."""


class MessageTooLarge(PlexoError, ValueError):
    """An encoded message is larger than the transport carries."""


class UsedAfterFork(PlexoError, RuntimeError):
    """An object with sockets was made before `os.fork` and used in the child; only the parent may use it."""


class EventLoopNotSupported(PlexoError, RuntimeError):
    """The running event loop cannot watch sockets (`add_reader`), as asyncio's default on Windows. Run another there:
    `asyncio.run(main(), loop_factory=asyncio.SelectorEventLoop)`."""


class AckNotSupported(PlexoError, RuntimeError):
    """An acknowledgement or an answer was asked for where there is none: the transport is no pair, or the peer is a
    program that does not announce the extension (pyzmq, plexo 1.0). Nothing was sent."""


class NoResponder(PlexoError, LookupError):
    """Nobody answers questions of this neuron."""


class JournalError(PlexoError, RuntimeError):
    """The file of a journal cannot be used; `path` is which, `reason` why.

    A message that was to be stored was not sent.
    """

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(path, reason)

    def __str__(self) -> str:
        return f"journal {self.path}: {self.reason}"


# --- remote faults ------------------------------------------------------------------------------------------


class DecodeError(PlexoError, ValueError):
    """Received bytes are not an encoding of the neuron's type."""


class UnpicklingRefused(DecodeError):
    """A received pickle asks for something this side did not allow; nothing of it was resolved or called.

    `refused` is the `module.qualname` (or the pickle feature) that was asked for.
    """

    def __init__(self, refused: str, message: str | None = None) -> None:
        self.refused = refused
        super().__init__(refused, message)

    def __str__(self) -> str:
        refused, message = self.args
        if message is not None:
            return str(message)
        return (
            f"refused to unpickle {refused}: it is neither the neuron's type, nor named by its annotations, "
            "nor an inert value type; to accept it, pass the class with PickleCodec(allow=[...])"
        )


class LinkError(PlexoError):
    """Root of the faults of a peer.

    `reason` says what was expected and what came, `peer` from whom (None if not known yet), `offset` at which
    byte of the stream or datagram (None where that says nothing).
    """

    def __init__(self, reason: str, peer: object = None, offset: int | None = None) -> None:
        self.reason = reason
        self.peer = peer
        self.offset = offset
        super().__init__(reason, peer, offset)

    def __str__(self) -> str:
        at = "" if self.offset is None else f" (at byte {self.offset})"
        return f"{self.reason}{at}" if self.peer is None else f"peer {self.peer}: {self.reason}{at}"


class HandshakeFailed(LinkError):
    """A link could not be set up: the peer does not speak the protocol, or not our version of it."""


class ProtocolError(LinkError):
    """A peer broke the protocol on a link that was up; the link is closed."""


class NotDelivered(PlexoError):
    """A message that was to be acknowledged, or a question, was not; `reason` says why.

    `will_retry`: it is in the journal and will be sent again, when the journal is opened again or when a peer comes
    that acknowledges. Otherwise it is withdrawn; whether the other side has had it is not known where the link broke
    or the time was over.
    """

    def __init__(self, reason: str, will_retry: bool = False) -> None:
        self.reason = reason
        self.will_retry = will_retry
        super().__init__(reason, will_retry)

    def __str__(self) -> str:
        return (
            f"{self.reason}; it is in the journal and will be sent again" if self.will_retry else self.reason
        )


class RemoteError(PlexoError):
    """A reactant or a responder of the other side raised.

    `kind` is the name of the exception's type there and `text` what it said, cut to a thousand bytes; nothing of it is
    looked up or run here. `peer` is who says so ("" for a responder of this process).
    """

    def __init__(self, kind: str, text: str, peer: str = "") -> None:
        self.kind = kind
        self.text = text
        self.peer = peer
        super().__init__(kind, text, peer)

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}" + (f" (raised at {self.peer})" if self.peer else "")


class RequestTimeout(PlexoError, TimeoutError):
    """No answer came in time. The question is given up; a late answer is ignored and counted."""


def _type_name(_type: object) -> str:
    return _type.__qualname__ if isinstance(_type, type) and not hasattr(_type, "__origin__") else str(_type)
