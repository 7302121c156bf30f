# SPDX-License-Identifier: Apache-2.0
"""One neuron on multicast."""

from __future__ import annotations

from plexo._fast.multicast import MulticastSynapse
from plexo.synapse.base import SynapseExternalFace
from plexo.typing import UnencodedType


class SynapseMulticast(MulticastSynapse[UnencodedType], SynapseExternalFace[UnencodedType]):
    """Made by a ganglion over multicast; topic and payload, in the stream of a source of its own, are a message."""

    __slots__ = ()
