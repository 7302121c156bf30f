# SPDX-License-Identifier: Apache-2.0
"""One neuron on a pair."""

from __future__ import annotations

from plexo._fast.endpoints import PairSynapse
from plexo.synapse.base import SynapseExternalFace
from plexo.typing import UnencodedType


class SynapseZmqBasic(PairSynapse[UnencodedType], SynapseExternalFace[UnencodedType]):
    """Made by GanglionZmqTcpPair; one frame with a PlexoMessage is a message."""

    __slots__ = ()
