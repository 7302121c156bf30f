# SPDX-License-Identifier: Apache-2.0
"""The message types of the demo and their neurons."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from plexo import Namespace, Neuron

MAX_HZ = 1000.0


class Stamp(msgspec.Struct, frozen=True):
    """Counts the messages of one type from 0, and says when this one was sent (time.monotonic_ns, which all
    processes of a machine share)."""

    sequence: int
    sent_ns: int


# --- from the sensor process --------------------------------------------------------------------------------


class CpuCore(msgspec.Struct, frozen=True):
    """How busy one core was during the last second."""

    stamp: Stamp
    core: int
    percent: float


class Memory(msgspec.Struct, frozen=True):
    stamp: Stamp
    used_bytes: int
    total_bytes: int


class Load(msgspec.Struct, frozen=True):
    """Runnable processes, averaged over 1, 5 and 15 minutes."""

    stamp: Stamp
    one: float
    five: float
    fifteen: float


class DiskCounters(msgspec.Struct, frozen=True):
    """Since the machine was started."""

    stamp: Stamp
    disk: str
    read_bytes: int
    written_bytes: int


class NetworkCounters(msgspec.Struct, frozen=True):
    """Since the interface exists."""

    stamp: Stamp
    interface: str
    received_bytes: int
    sent_bytes: int


class Temperature(msgspec.Struct, frozen=True):
    stamp: Stamp
    sensor: str
    celsius: float


class RateChanged(msgspec.Struct, frozen=True):
    """The answer to a SamplingRate: the rate from now on, and how many of each type were sent so far.

    Types that this machine has no sensor for are not named. It comes behind what it counts, so what is
    missing by then is lost.
    """

    stamp: Stamp
    request: int
    hz: float
    sent: dict[str, int]


# --- from the second listener, over multicast ----------------------------------------------------------------


class Heard(msgspec.Struct, frozen=True):
    """How many messages of each type it has heard when the request of this number was answered."""

    stamp: Stamp
    counts: dict[str, int]


# --- to the sensor process ----------------------------------------------------------------------------------


class SamplingRate(msgspec.Struct, frozen=True):
    """Measure so often from now on; 0 pauses. A rate out of bounds does not decode: no reactant sees one."""

    stamp: Stamp
    hz: Annotated[float, msgspec.Meta(ge=0, le=MAX_HZ)]


# --- neurons: a type, a namespace, and (chosen from the type) MessagePack -----------------------------------

demo = Namespace("dev.plexo.demo")

cpu_core = Neuron(CpuCore, demo)
memory = Neuron(Memory, demo)
load = Neuron(Load, demo)
disk_counters = Neuron(DiskCounters, demo)
network_counters = Neuron(NetworkCounters, demo)
temperature = Neuron(Temperature, demo)
rate_changed = Neuron(RateChanged, demo)
sampling_rate = Neuron(SamplingRate, demo)
heard = Neuron(Heard, demo)

Measurement = CpuCore | Memory | Load | DiskCounters | NetworkCounters | Temperature

MEASURED: tuple[Neuron[Any], ...] = (cpu_core, memory, load, disk_counters, network_counters, temperature)
