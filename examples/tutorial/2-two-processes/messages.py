# SPDX-License-Identifier: Apache-2.0
import msgspec

from plexo import Neuron


class Reading(msgspec.Struct):
    tank: str
    number: int
    celsius: float


reading = Neuron(Reading, "org.brewery.tutorial")
