# SPDX-License-Identifier: Apache-2.0
"""Kinds of messages; see plexo.neuron.neuron."""

from plexo.neuron.neuron import Neuron

__all__ = ["Neuron"]
