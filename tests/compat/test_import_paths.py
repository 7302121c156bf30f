# SPDX-License-Identifier: Apache-2.0
"""Every name that 1.0's users import, where they import it from; and the shape of its calls."""

from __future__ import annotations

import inspect
from importlib import import_module
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from tests.compat.program import PROGRAMS

NAMES = {
    "plexo.axon": "Axon",
    "plexo.codec.capnpy_codec": "CapnpyCodec",
    "plexo.codec.json_codec": "JsonCodec",
    "plexo.codec.pickle_codec": "PickleCodec",
    "plexo.codec.string_codec": "StringCodec",
    "plexo.dendrite": "DecoderDendrite Dendrite",
    "plexo.exceptions": (
        "ConsensusNotReached IpAddressIsNotMulticast IpLeaseExists IpNotFound IpNotLeased IpsExhausted "
        "NeuronNotAvailable NeuronNotFound PreparationRejection ProposalNotLatest ProposalPromiseNotMade "
        "SynapseDoesNotExist SynapseExists TransmitterNotFound"
    ),
    "plexo.ganglion.inproc": "GanglionInproc",
    "plexo.ganglion.plexo_multicast": "GanglionPlexoMulticast",
    "plexo.ganglion.tcp_pair": "GanglionZmqTcpPair",
    "plexo.ganglion.tcp_pubsub": "GanglionZmqTcpPubSub",
    "plexo.host_information": "get_primary_ip",
    "plexo.ip_lease": "IpLeaseManager",
    "plexo.namespace": "Namespace plexo_namespace",
    "plexo.namespace.namespace": "Namespace",
    "plexo.neuron": "Neuron",
    "plexo.neuron.neuron": "Neuron",
    "plexo.plexus": "Plexus",
    "plexo.synapse.inproc": "SynapseInproc",
    "plexo.synapse.zeromq_basic": "SynapseZmqBasic",
    "plexo.synapse.zeromq_basic_pub": "SynapseZmqBasicPub",
    "plexo.synapse.zeromq_plexopubsub_epgm": "SynapseZmqPlexoPubSubEPGM",
    "plexo.timer": "Timer",
    "plexo.transmitter": (
        "create_external_encoder_transmitter create_external_transmitter create_transmitter"
    ),
    "plexo.typing": "Decoder EncodedType Encoder IPAddress IPNetwork Signal UnencodedType",
    "plexo.typing.codec": "Codec",
    "plexo.typing.ganglion": "Ganglion GanglionExternal",
    "plexo.typing.reactant": "RawReactant Reactant",
    "plexo.typing.synapse": "SynapseExternal SynapseInternal",
    "plexo.typing.transmitter": "ExternalTransmitter Transmitter",
}

FILTERS = ["relevant_neurons", "ignored_neurons", "allowed_codecs"]

# Parameters in their order, as calls by position and by keyword rely on them.
PARAMETERS = {
    "plexo.axon.Axon": ["neuron", "ganglion"],
    "plexo.axon.Axon.react": ["reactants"],
    "plexo.axon.Axon.transmit": ["data"],
    "plexo.codec.capnpy_codec.CapnpyCodec": ["capnpy_struct"],
    "plexo.codec.json_codec.JsonCodec": ["schema_class", "serialize_args"],
    "plexo.codec.json_codec.JsonCodec.load_from_schema": ["json_schema", "schema_name", "serialize_args"],
    "plexo.dendrite.Dendrite": ["neuron", "reactants"],
    "plexo.dendrite.DecoderDendrite": ["neuron", "reactants", "raw_reactants"],
    "plexo.dendrite.DecoderDendrite.add_raw_reactants": ["raw_reactants"],
    "plexo.dendrite.DecoderDendrite.remove_raw_reactants": ["raw_reactants"],
    "plexo.dendrite.Dendrite.add_reactants": ["reactants"],
    "plexo.dendrite.Dendrite.remove_reactants": ["reactants"],
    "plexo.dendrite.Dendrite.transduce": ["data", "reaction_id"],
    "plexo.ganglion.inproc.GanglionInproc": FILTERS,
    "plexo.ganglion.inproc.GanglionInproc.adapt": ["neuron", "reactants"],
    "plexo.ganglion.inproc.GanglionInproc.react": ["neuron", "reactants"],
    "plexo.ganglion.inproc.GanglionInproc.transmit": ["data", "neuron", "reaction_id"],
    "plexo.ganglion.inproc.GanglionInproc.update_transmitter": ["neuron"],
    "plexo.ganglion.tcp_pair.GanglionZmqTcpPair": ["bind_interface", "port", "peer", *FILTERS],
    "plexo.ganglion.tcp_pair.GanglionZmqTcpPair.adapt": ["neuron", "reactants", "raw_reactants"],
    "plexo.ganglion.tcp_pair.GanglionZmqTcpPair.capable": ["neuron"],
    "plexo.ganglion.tcp_pair.GanglionZmqTcpPair.react": ["neuron", "reactants"],
    "plexo.ganglion.tcp_pair.GanglionZmqTcpPair.react_raw": ["neuron", "raw_reactants"],
    "plexo.ganglion.tcp_pair.GanglionZmqTcpPair.transmit": ["data", "neuron", "reaction_id"],
    "plexo.ganglion.tcp_pair.GanglionZmqTcpPair.transmit_encoded": ["data", "neuron", "reaction_id"],
    "plexo.ganglion.tcp_pair.GanglionZmqTcpPair.update_transmitter": ["neuron"],
    "plexo.ganglion.tcp_pubsub.GanglionZmqTcpPubSub": ["bind_interface", "port_pub", "peers", *FILTERS],
    "plexo.ganglion.plexo_multicast.GanglionPlexoMulticast": [
        "bind_interface",
        "multicast_cidr",
        "port",
        "heartbeat_interval_seconds",
        "proposal_timeout_seconds",
        *FILTERS,
    ],
    "plexo.ganglion.plexo_multicast.GanglionPlexoMulticast.startup": [],
    "plexo.host_information.get_primary_ip": [],
    "plexo.namespace.namespace.Namespace": ["parts", "delimiter"],
    "plexo.neuron.neuron.Neuron": ["_type", "namespace", "codec", "type_name_alias"],
    "plexo.plexus.Plexus": ["ganglia", "relevant_neurons", "ignored_neurons"],
    "plexo.plexus.Plexus.adapt": ["neuron", "reactants"],
    "plexo.plexus.Plexus.infuse_ganglion": ["ganglion"],
    "plexo.plexus.Plexus.react": ["neuron", "reactants"],
    "plexo.plexus.Plexus.transmit": ["data", "neuron", "reaction_id"],
    "plexo.plexus.Plexus.update_transmitter": ["neuron"],
    "plexo.synapse.inproc.SynapseInproc": ["neuron", "reactants"],
    "plexo.synapse.zeromq_plexopubsub_epgm.SynapseZmqPlexoPubSubEPGM": [
        "neuron",
        "multicast_address",
        "bind_interface",
        "port",
        "reactants",
        "raw_reactants",
    ],
    "plexo.timer.Timer": ["timeout", "callback"],
    "plexo.transmitter.create_external_encoder_transmitter": ["synapse", "encoder"],
    "plexo.transmitter.create_external_transmitter": ["synapse"],
    "plexo.transmitter.create_transmitter": ["synapse"],
}

DEFAULTS: dict[str, dict[str, object]] = {
    "plexo.ganglion.tcp_pair.GanglionZmqTcpPair": {"bind_interface": None, "port": 5580, "peer": None},
    "plexo.ganglion.tcp_pubsub.GanglionZmqTcpPubSub": {"bind_interface": None, "port_pub": 5570, "peers": ()},
    "plexo.namespace.namespace.Namespace": {"delimiter": "."},
}

KEY_ERRORS = {"NeuronNotFound", "IpNotFound", "TransmitterNotFound"}


@pytest.mark.parametrize(
    ("module", "name"), [(module, name) for module, names in NAMES.items() for name in names.split()]
)
def test_name(module: str, name: str) -> None:
    assert getattr(import_module(module), name) is not None


def resolve(path: str) -> object:
    """The object that a dotted path names."""
    parts = path.split(".")
    end = next(end for end in range(len(parts), 0, -1) if ".".join(parts[:end]) in NAMES)
    found: object = import_module(".".join(parts[:end]))
    for part in parts[end:]:
        found = getattr(found, part)
    return found


@pytest.mark.parametrize("path", list(PARAMETERS))
def test_parameters(path: str) -> None:
    parameters = [
        parameter
        for parameter in inspect.signature(resolve(path)).parameters.values()  # type: ignore[arg-type]
        if parameter.name != "self"
    ]
    expected = PARAMETERS[path]
    assert [parameter.name for parameter in parameters[: len(expected)]] == expected
    assert all(parameter.kind is parameter.POSITIONAL_OR_KEYWORD for parameter in parameters[: len(expected)])
    # More of ours may follow, but none that a program for 1.0 would have to give.
    for parameter in parameters[len(expected) :]:
        assert (
            parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
            or parameter.default is not parameter.empty
        )


@pytest.mark.parametrize("path", list(DEFAULTS))
def test_defaults(path: str) -> None:
    parameters = inspect.signature(resolve(path)).parameters  # type: ignore[arg-type]
    for name, value in DEFAULTS[path].items():
        assert parameters[name].default == value


@pytest.mark.parametrize("name", NAMES["plexo.exceptions"].split())
def test_exceptions_keep_their_built_in_bases(name: str) -> None:
    exception = resolve(f"plexo.exceptions.{name}")
    assert isinstance(exception, type)
    assert issubclass(exception, KeyError if name in KEY_ERRORS else RuntimeError)


def test_ip_lease_manager() -> None:
    from ipaddress import ip_network

    from plexo.ip_lease import IpLeaseManager

    manager = IpLeaseManager(ip_network("239.0.0.0/30"))
    for method in ("lease_address", "release_address", "address_is_leased", "get_address"):
        assert callable(getattr(manager, method))


def test_primary_ip_is_an_address() -> None:
    from plexo.host_information import get_primary_ip

    assert IPv4Address(get_primary_ip())


def test_codec_names_are_those_on_the_wire() -> None:
    from plexo.codec.capnpy_codec import CapnpyCodec
    from plexo.codec.json_codec import JsonCodec
    from plexo.codec.pickle_codec import PickleCodec
    from plexo.codec.string_codec import StringCodec

    class Struct:
        dumps = loads = staticmethod(bytes)

    assert [codec.name for codec in (StringCodec(), PickleCodec(), JsonCodec(dict), CapnpyCodec(Struct))] == [
        "string_UTF-8",
        "pickle",
        "json",
        "capnp",
    ]


def test_the_programs_import_nothing_else() -> None:
    """The programs of this folder are written for 1.0: what they import from plexo is in the table."""
    import ast

    programs: list[Path] = sorted(PROGRAMS.glob("*.py"))
    assert programs
    for program in programs:
        for node in ast.walk(ast.parse(program.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("plexo"):
                known = NAMES[node.module].split()
                assert all(alias.name in known for alias in node.names), program
