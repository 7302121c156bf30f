# SPDX-License-Identifier: Apache-2.0
import msgspec
import numpy as np

from plexo import Neuron, NumpyCodec


class Reading(msgspec.Struct):
    tank: str
    number: int
    celsius: float


reading = Neuron(Reading, "org.brewery.tutorial")

# One sample of a vibration sensor: when, and the acceleration along three axes.
SAMPLE = np.dtype([("time_ns", "i8"), ("acceleration", "f4", (3,))])
# np.ndarray says nothing about what is in it, so this kind of message gets a name of its own.
vibration = Neuron(np.ndarray, "org.brewery.tutorial", NumpyCodec(SAMPLE, ()), type_name_alias="Vibration")
