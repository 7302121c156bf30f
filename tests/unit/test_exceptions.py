# SPDX-License-Identifier: Apache-2.0
import pickle

import pytest

from plexo import exceptions

KEY_ERRORS = ("IpNotFound", "NeuronNotFound", "TransmitterNotFound")
RUNTIME_ERRORS = (
    "ConsensusNotReached",
    "IpAddressIsNotMulticast",
    "IpLeaseExists",
    "IpNotLeased",
    "IpsExhausted",
    "NeuronNotAvailable",
    "PreparationRejection",
    "ProposalNotLatest",
    "ProposalPromiseNotMade",
    "SynapseDoesNotExist",
    "SynapseExists",
)


@pytest.mark.parametrize("name", KEY_ERRORS)
def test_key_errors_of_1_0_print_their_message_unquoted(name: str) -> None:
    error = getattr(exceptions, name)("no such thing")
    assert isinstance(error, (KeyError, exceptions.PlexoError))
    assert str(error) == "no such thing"


@pytest.mark.parametrize("name", RUNTIME_ERRORS)
def test_the_others_of_1_0_are_runtime_errors(name: str) -> None:
    assert issubclass(getattr(exceptions, name), RuntimeError)
    assert issubclass(getattr(exceptions, name), exceptions.PlexoError)


@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("CodecNotFound", TypeError),
        ("GanglionNotFound", KeyError),
        ("EncodeError", ValueError),
        ("DecodeError", ValueError),
        ("UnpicklingRefused", exceptions.DecodeError),
        ("WrongType", TypeError),
        ("AmbiguousNeuron", LookupError),
        ("QueueFull", RuntimeError),
        ("Closed", RuntimeError),
        ("UsedAfterFork", RuntimeError),
        ("MessageTooLarge", ValueError),
        ("AckNotSupported", RuntimeError),
        ("JournalError", RuntimeError),
        ("NoResponder", LookupError),
        ("RequestTimeout", TimeoutError),
        ("HandshakeFailed", exceptions.LinkError),
        ("ProtocolError", exceptions.LinkError),
    ],
)
def test_new_ones_have_the_root_and_a_fitting_base(name: str, base: type) -> None:
    assert issubclass(getattr(exceptions, name), base)
    assert issubclass(getattr(exceptions, name), exceptions.PlexoError)


def test_local_misuse_is_no_link_error() -> None:
    for name in ("CodecNotFound", "WrongType", "EncodeError", "QueueFull"):
        assert not issubclass(getattr(exceptions, name), exceptions.LinkError)


def test_wrong_type_tells_both_types_and_the_neuron() -> None:
    error = exceptions.WrongType(str, int, "x.str.string_UTF-8")
    assert (error.expected, error.actual, error.neuron_name) == (str, int, "x.str.string_UTF-8")
    assert str(error) == "neuron 'x.str.string_UTF-8' carries str, got int; nothing was sent"
    assert "dict[str, int]" in str(exceptions.WrongType(dict[str, int], int, "n"))


def test_link_errors_tell_peer_and_offset() -> None:
    error = exceptions.ProtocolError("expected a greeting, got 'GET '", peer="10.0.0.1:5580", offset=3)
    assert (error.peer, error.offset, error.reason) == ("10.0.0.1:5580", 3, "expected a greeting, got 'GET '")
    assert str(error) == "peer 10.0.0.1:5580: expected a greeting, got 'GET ' (at byte 3)"
    assert str(exceptions.LinkError("gone")) == "gone"
    assert str(exceptions.LinkError("gone", offset=0)) == "gone (at byte 0)"


@pytest.mark.parametrize(
    "error",
    [
        exceptions.WrongType(str, int, "n"),
        exceptions.ProtocolError("reason", peer="p", offset=1),
        exceptions.UnpicklingRefused("os.system"),
        exceptions.UnpicklingRefused("os.system", "because"),
    ],
)
def test_errors_survive_pickling(error: exceptions.PlexoError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (exceptions.NotDelivered("refused"), "refused"),
        (exceptions.NotDelivered("closed", True), "closed; it is in the journal and will be sent again"),
        (exceptions.RemoteError("KeyError", "'x'"), "KeyError: 'x'"),
        (exceptions.RemoteError("KeyError", "'x'", "tcp://host:1"), "KeyError: 'x' (raised at tcp://host:1)"),
        (exceptions.JournalError("/out", "the disk is full"), "journal /out: the disk is full"),
    ],
)
def test_those_of_delivery_say_it_and_come_through_a_pickle(error: exceptions.PlexoError, text: str) -> None:
    assert str(error) == text
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), vars(again)) == (type(error), text, vars(error))
