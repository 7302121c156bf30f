# SPDX-License-Identifier: Apache-2.0
"""Functions that send to one synapse: `async (data, reaction_id=None)`."""

from __future__ import annotations

from functools import partial
from typing import Any
from uuid import UUID

from plexo.typing import EncodedType, Encoder, UnencodedType
from plexo.typing.synapse import SynapseExternal, SynapseInternal
from plexo.typing.transmitter import ExternalTransmitter, Transmitter


def create_transmitter(synapse: SynapseInternal[UnencodedType]) -> Transmitter:
    """A transmitter of values to a synapse of this process."""
    return partial(_transmit, synapse)


def create_external_transmitter(synapse: SynapseExternal[UnencodedType]) -> ExternalTransmitter:
    """A transmitter of data that is encoded already."""
    return partial(_transmit, synapse)


def create_external_encoder_transmitter(
    synapse: SynapseExternal[UnencodedType], encoder: Encoder[UnencodedType]
) -> Transmitter:
    """A transmitter that encodes with `encoder` what it is given."""
    return partial(_transmit_encoded, synapse, encoder)


async def _transmit(synapse: Any, data: Any, reaction_id: UUID | None = None) -> Any:
    return await synapse.transmit(data, reaction_id)


async def _transmit_encoded(
    synapse: SynapseExternal[UnencodedType],
    encoder: Encoder[UnencodedType],
    data: UnencodedType,
    reaction_id: UUID | None = None,
) -> Any:
    encoded: EncodedType = encoder(data)
    return await synapse.transmit(encoded, reaction_id)
