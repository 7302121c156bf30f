# SPDX-License-Identifier: Apache-2.0
from plexo.neuron.neuron import Neuron

__all__ = ["Neuron"]
