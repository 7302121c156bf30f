# SPDX-License-Identifier: Apache-2.0
"""One neuron on publish/subscribe."""

from __future__ import annotations

from plexo._fast.endpoints import PubSynapse
from plexo.synapse.base import SynapseExternalFace
from plexo.typing import UnencodedType


class SynapseZmqBasicPub(PubSynapse[UnencodedType], SynapseExternalFace[UnencodedType]):
    """Made by GanglionZmqTcpPubSub; two frames, topic and payload, are a message."""

    __slots__ = ()
